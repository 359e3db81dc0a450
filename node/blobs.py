"""Blobs: the blobs of one node, for whoever puts, reads or lists them.

A put seals chunk after chunk to the disk, as the content comes, and only then writes the record
that refers to it: a gigabyte takes the memory of a few chunks. A read opens chunk after chunk, and
has what is missing or damaged fetched. What is under way is *held*: `blob_care` deletes nothing
that somebody holds, so a blob cannot vanish between its last chunk and its record, nor while it is
being fetched or read.

Who brings what is not here: `blob_fetching`; what peers are given: `blob_serving`.

Spec: docs/protocol.md, section 14. Sizes are bytes; `beside` runs calls on files off the loop.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, assert_never

from .. import CoveyError
from ..crypto.blob import CHUNK_BYTES, FILE_KEY_BYTES, PLACE_BYTES, chunk_id, seal_chunk
from ..crypto.secret import Secret
from ..storage import blob_rows
from ..storage.blob_files import BlobFiles
from ..storage.blob_rows import Blob, BlobState, Place
from ..storage.errors import StorageError
from ..storage.files import Files
from ..storage.store import Conn
from ..storage.stores import StoreKind
from ..sync.blob_messages import (
    BlobAsk,
    BlobChunk,
    BlobHave,
    BlobMessage,
    BlobNone,
    BlobWant,
    bits_of,
)
from ..sync.errors import BadValueError
from ..sync.limits import BLOB_BYTES_MAX
from ..sync.manifest import Manifest, blob_id, decode_manifest, encode_manifest
from ..sync.values import BlobRef, blob_ref
from .blob_care import BlobCare
from .blob_content import ChunkDamagedError, Content, load, read_chunk
from .blob_demand import BlobDemand
from .blob_fetching import BlobFetching
from .blob_names import check_media_type, shown_name
from .blob_serving import BlobServing
from .record_requests import Put, Written
from .variants import Variants

if TYPE_CHECKING:
    from .engine import Engine
    from .links import Link

T = TypeVar("T")


class Beside(Protocol):
    """Runs a call on files without stopping the event loop; gives what it gives."""

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]: ...


class NoBlobError(CoveyError):
    """The record has no blob at this field, or there is no such record here."""

    exit_code = 1


class BlobTooLargeError(CoveyError):
    """A content is larger than a blob may be. Nothing of it was kept."""

    exit_code = 3

    def __init__(self) -> None:
        super().__init__(
            f"a blob has at most {BLOB_BYTES_MAX >> 30} GiB: split it, and nothing of it was kept"
        )


class PutBlob(NamedTuple):
    """What became of a put."""

    ref: BlobRef
    written: Written


class Outside(Protocol):
    """Files of the person, read and made for them (`outside.py`)."""

    def read(self, path: Path, /) -> AsyncIterator[bytes]: ...

    async def write(self, path: Path, content: AsyncIterator[bytes], /) -> int: ...


class Nowhere:
    """The `Outside` of a node that may touch no files."""

    def read(self, path: Path, /) -> AsyncIterator[bytes]:
        raise NoBlobError(f"{path}: this node reads no files")

    async def write(self, path: Path, content: AsyncIterator[bytes], /) -> int:
        raise NoBlobError(f"{path}: this node writes no files")


async def here(call: Callable[[], T]) -> T:
    """The `Beside` of whoever has no other thread: the call stops the loop while it runs."""
    return call()


class Blobs:
    """The blobs of one engine."""

    def __init__(self, engine: "Engine", files: Files, beside: Beside) -> None:
        self._engine = engine
        self.files = BlobFiles(engine.place, files)
        engine.stores.register("blobs", StoreKind.CIPHERTEXT_FILE, self.files.root)
        self.beside = beside
        self.lock = asyncio.Lock()
        """Held by who begins to hold a blob of the store, and by who picks blobs to delete."""
        self._holds: dict[int, int] = {}
        self.variants = Variants()
        self.care = BlobCare(engine, self)
        self.serving = BlobServing(engine, self)
        self.fetching = BlobFetching(engine, self)
        self.demand = BlobDemand(engine, self)
        self.outside: Outside = Nowhere()
        """Files of the person."""
        self.known = False
        """Whether this store has ever known a blob: nodes without any spend nothing on them."""
        self.has_moved = False
        """Set before `start` if the home was copied or put back: its files may not have come."""

    # Holding -----------------------------------------------------------------------------------

    @contextmanager
    def holding(self, number: int) -> Iterator[None]:
        """Nothing of this blob is deleted while the block runs."""
        self.hold(number)
        try:
            yield
        finally:
            self.release(number)

    def hold(self, number: int) -> None:
        """Nothing of this blob is deleted until as many `release`."""
        self._holds[number] = self._holds.get(number, 0) + 1

    def release(self, number: int) -> None:
        self._holds[number] -= 1
        if not self._holds[number]:
            del self._holds[number]

    def held(self) -> list[int]:
        """The blobs that are held now."""
        return sorted(self._holds)

    # Starting ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take up what the last run left."""
        if self.known:
            await self.care.start(self.has_moved)
            self.fetching.looking.look_soon()

    def noticed(self) -> None:
        """Records that refer to blobs were written."""
        self.known = True
        self.care.wind_up()
        self.fetching.looking.look_soon()

    def held_changed(self) -> None:
        """Other databases wait on this device than before: their blobs neither come nor go."""
        if self.known:
            self.fetching.start_over()
            self.serving.held_changed()

    # Links -------------------------------------------------------------------------------------

    def heard(self, link: "Link", message: BlobMessage) -> None:
        """A peer says something about blobs; data may flow to it."""
        match message:
            case BlobAsk():
                self.serving.asked(link, message)
            case BlobHave():
                self.fetching.told(link, message)
            case BlobWant():
                self.serving.wanted(link, message)
            case BlobChunk():
                self.fetching.came(link, message)
            case BlobNone():
                self.fetching.refused(link, message)
            case _:
                assert_never(message)

    def left(self, link: "Link") -> None:
        """A link has ended."""
        self.serving.left(link)
        self.fetching.left(link)

    # Putting -----------------------------------------------------------------------------------

    async def put(
        self,
        place: tuple[str, str, str, str],
        content: AsyncIterator[bytes],
        *,
        media_type: str = "",
        name: str = "",
        privacy: str | None = None,
    ) -> PutBlob:
        """Keep a content and write it to a field: `place` is database, collection, id and field.

        The record is made if there is none. Durable when it returns; if it raises, the record is as
        it was and the room is free again.

        Raises BadValueError, BlobTooLargeError, BlobQuotaError, PrivacyFixedError, StorageError,
        and what `content` raises.
        """
        database, collection, id, field = place
        check_media_type(media_type)
        if not field or field.startswith("$"):
            raise BadValueError(f"{field!r}: the name of a field was expected")
        made: list[int] = []
        with self.holding_all(made):
            try:
                whole = await self.keep(content, made)
                variants = await self._make_variants(whole, media_type, made)
            except BaseException:
                self.discard(made)
                raise
            key, shown = whole.key.reveal(), shown_name(name)
            ref = blob_ref(Manifest(key, whole.size, whole.cids, media_type, shown, variants))
            put = Put(collection, id, {field: ref}, privacy, False)
            # If this fails, nobody knows whether the record will be: what no record refers to is
            # deleted when its time has come, and not now.
            (written,) = await self._engine.writer.write(database, [put])
            return PutBlob(ref, written)

    @contextmanager
    def holding_all(self, numbers: list[int]) -> Iterator[None]:
        """As `holding`, for blobs that are begun within the block (`_begin`)."""
        try:
            yield
        finally:
            for number in numbers:
                self.release(number)

    def discard(self, made: list[int]) -> None:
        """No record will refer to these: delete them, in the background."""
        for number in made:
            self._engine.spawn(self.care.discard(number), "blob discard")

    async def _begin(self, made: list[int]) -> tuple[int, bytes]:
        place, now_ms = self._engine.entropy.draw(PLACE_BYTES), self._engine.clock.wall_ms()
        number = await self._engine.database.write(
            lambda conn: blob_rows.begin(conn, place, now_ms)
        )
        made.append(number)
        self.hold(number)
        return number, place

    async def keep(self, content: AsyncIterator[bytes], made: list[int]) -> Content:
        """Seal a content to the disk. No record refers to it yet."""
        number, place = await self._begin(made)
        key = Secret(self._engine.entropy.draw(FILE_KEY_BYTES))
        size, cids = 0, bytearray()
        with self.care.reserving() as reserve:
            async for piece, last in pieces(content):
                size += len(piece)
                if size > BLOB_BYTES_MAX:
                    raise BlobTooLargeError
                await reserve(len(piece))
                index = len(cids) // 32
                cids += await self.beside(
                    lambda p=piece, n=index, end=last: self._seal(key, place, n, p, end)  # type: ignore[misc]
                )
            whole = Content(number, b"", size, key, bytes(cids), place)
            manifest = Manifest(key.reveal(), size, whole.cids)
            await self._finish(whole, manifest)
        return whole

    def _seal(self, key: Secret, place: bytes, index: int, piece: bytes, last: bool) -> bytes:
        sealed = seal_chunk(key, index, piece, last=last)
        self.files.write(place, index, sealed)
        return chunk_id(sealed)

    async def _finish(self, whole: Content, manifest: Manifest) -> None:
        now_ms, bits = self._engine.clock.wall_ms(), bits_of(whole.all, whole.count)
        id, encoded = blob_id(manifest), encode_manifest(manifest)

        def write(conn: Conn) -> None:
            blob_rows.finish(conn, whole.number, id, whole.size, encoded, bits, now_ms)

        await self._engine.database.write(write)

    async def _make_variants(
        self, whole: Content, media_type: str, made: list[int]
    ) -> tuple[tuple[str, Manifest], ...]:
        """What the registered callbacks make of a content. One that fails costs its variant."""
        found = []
        for name, variant in await self.variants.make(self.beside, self.files, whole, media_type):
            kept = await self.keep(once(variant.content), made)
            found.append(
                (name, Manifest(kept.key.reveal(), kept.size, kept.cids, variant.media_type))
            )
        return tuple(found)

    # Reading -----------------------------------------------------------------------------------

    async def find(
        self, database: str, collection: str, id: str, field: str, variant: str = ""
    ) -> tuple[Blob, Place]:
        """The blob at a field of a record. Raises NoBlobError."""
        found = await self._engine.database.read(
            lambda conn: blob_rows.at(conn, database, collection, id, field, variant)
        )
        if found is None:
            what = f"no blob {variant or 'at'} {field}".replace("  ", " ")
            raise NoBlobError(f"{collection}/{id} in {database} has {what}")
        return found

    async def read(self, number: int, timeout_ms: int) -> AsyncIterator[bytes]:
        """The content of a blob, a chunk at a time; what is not here is fetched first.

        Raises BlobUnreachableError, ChunkDamagedError, StorageError.
        """
        with self.holding(number):
            await self.demand.bring(number, timeout_ms)
            content = await self._loaded(number)
            for index in range(content.count):
                yield await self._chunk(content, index, timeout_ms)
        now_ms = self._engine.clock.wall_ms()
        self._engine.note(lambda conn: blob_rows.used(conn, number, now_ms), ("blob used", number))

    async def _chunk(self, content: Content, index: int, timeout_ms: int) -> bytes:
        """A chunk that is here; one that turns out damaged is fetched again, once."""
        try:
            return await self.beside(lambda: read_chunk(self.files, content, index))
        except ChunkDamagedError:
            self._engine.counters.add("blob.damaged")
            await self.care.lost(content.number, index)
            await self.demand.bring(content.number, timeout_ms)
            content = await self._loaded(content.number)
            return await self.beside(lambda: read_chunk(self.files, content, index))

    async def _loaded(self, number: int) -> Content:
        found = await self._engine.database.read(lambda conn: load(conn, number))
        if found is None:
            raise NoBlobError("the record with this blob was changed meanwhile")
        return found[0]

    async def only_here(self) -> int:
        """How many blobs no other device is known to hold, and are here at least in part."""
        return await self._engine.database.read(blob_rows.only_here)

    # Resolving ---------------------------------------------------------------------------------

    async def resolve(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        """A record in which references that came as JSON have their manifests.

        Raises BadValueError for a blob that this node does not know.
        """
        wanted: dict[bytes, None] = {}
        for item in value.values():
            _gather(item, wanted)
        if not wanted:
            return value

        def read(conn: Conn) -> dict[bytes, bytes | None]:
            found: dict[bytes, bytes | None] = {}
            for id in wanted:
                row = blob_rows.by_id(conn, id)
                is_kept = row is not None and row.state is BlobState.KEPT
                found[id] = blob_rows.manifest(conn, row.blob_no) if row and is_kept else None
            return found

        manifests = await self._engine.database.read(read)
        return {name: _filled(item, manifests) for name, item in value.items()}

    async def close(self) -> None:
        """Say what is on the disk, and end."""
        with suppress(StorageError):
            await self.fetching.close()
        self.care.close()


async def pieces(content: AsyncIterator[bytes]) -> AsyncIterator[tuple[bytes, bool]]:
    """The same bytes in pieces of a chunk, each with whether it is the last. At least one comes."""
    buffer = bytearray()
    async for part in content:
        buffer += part
        # One byte more than a chunk must be here before it is known not to be the last.
        while len(buffer) > CHUNK_BYTES:
            yield bytes(buffer[:CHUNK_BYTES]), False
            del buffer[:CHUNK_BYTES]
    yield bytes(buffer), True


async def once(content: bytes) -> AsyncIterator[bytes]:
    """A content that is in memory already."""
    yield content


def _gather(value: Any, wanted: dict[bytes, None]) -> None:
    # By type, as what may stand in a record is checked: every put comes through here, before that
    # check, so what is nested too deep must not end this one.
    waiting = [value]
    while waiting:
        value = waiting.pop()
        kind = type(value)
        if kind is BlobRef:
            if not value.manifest:
                for ref in (value, *(variant for _, variant in value.variants)):
                    wanted[ref.id] = None
        elif kind is dict:
            waiting += reversed(value.values())
        elif kind is list:
            waiting += reversed(value)


def _filled(value: Any, manifests: Mapping[bytes, bytes | None]) -> Any:
    kind = type(value)
    if kind is BlobRef:
        return value if value.manifest else blob_ref(_manifest(value, manifests))
    if kind is dict:
        return {name: _filled(item, manifests) for name, item in value.items()}
    if kind is list:
        return [_filled(item, manifests) for item in value]
    return value


def _manifest(ref: BlobRef, manifests: Mapping[bytes, bytes | None]) -> Manifest:
    encoded = manifests.get(ref.id)
    if encoded is None:
        raise BadValueError(f"blob {ref.id.hex()[:16]}…: no record here refers to such a blob")
    check_media_type(ref.media_type)
    known = decode_manifest(encoded)
    if known.size != ref.size:
        raise BadValueError(f"blob {ref.id.hex()[:16]}…: it has {known.size} bytes, not {ref.size}")
    variants = tuple((name, _manifest(variant, manifests)) for name, variant in ref.variants)
    name = shown_name(ref.name)
    return Manifest(known.key, known.size, known.cids, ref.media_type, name, variants)
