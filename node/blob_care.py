"""Blob care: room on the disk. What no record refers to is deleted; what others hold may be.

*Collecting* deletes blobs that no record has referred to for `grace_ms`. *Evicting* keeps the
chunks of this node within its quota: it puts away blobs that another active device holds wholly,
those unused longest first. They are fetched again when somebody asks for them.

Devices must not rely on one another in a circle: two that each evict because the other has it would
lose it. So a device evicts only what one *before* it holds, in an order that all agree on: servers,
desktops, laptops, tablets, phones, and by id. The first of all holders never evicts.

Neither touches what is held (`Blobs.holding`). Rows are marked before files are removed, so a crash
leaves work that the next start finds. Sizes are bytes.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from .. import CoveyError
from ..crypto.blob import CHUNK_BYTES
from ..storage import blob_rows, meta_rows
from ..storage.blob_rows import Blob, BlobState
from ..storage.errors import StorageError
from ..storage.store import Conn
from ..sync.blob_messages import bits_of
from ..sync.manifest import chunk_count
from .alarm import Alarm
from .blob_content import Content, load

if TYPE_CHECKING:
    from .blobs import Blobs
    from .engine import Engine

GRACE_MS = 24 * 3_600_000
"""A record that is edited, restored or settled may refer to a blob again within a day."""
COLLECT_EVERY_MS = 3_600_000
QUOTA = "blob_quota"
"""Bytes of chunks that this node keeps at most, 8 bytes; 0 or not there for no limit."""
QUOTA_MAX = 2**62
TYPES = ("mailbox", "server", "desktop", "laptop", "tablet", "phone")
"""Kinds of devices in the order in which others rely on them."""

Reserve = Callable[[int], Awaitable[None]]


class BlobQuotaError(CoveyError):
    """The chunks would not fit this node's quota, and nothing else may be put away for them."""

    exit_code = 6

    def __init__(self, quota: int) -> None:
        super().__init__(
            f"blobs may take {quota} bytes here, and what is here is nowhere else: raise the"
            " limit with `covey blob quota`, or let another device fetch them first"
        )


class BlobCare:
    """The room that the blobs of one node take."""

    def __init__(self, engine: "Engine", blobs: "Blobs") -> None:
        self._engine = engine
        self._blobs = blobs
        self.grace_ms = GRACE_MS
        self._reserved = 0
        """What is being put or fetched now, beyond what the rows say."""
        self._alarm = Alarm(engine.clock, self._strike)

    # Life --------------------------------------------------------------------------------------

    async def start(self, moved: bool) -> None:
        """Finish what was begun before. `moved`: the files may not have come with the store."""
        with suppress(StorageError):
            for row in await self._unfinished(BlobState.PUTTING):
                await self._discard(row)
            for row in await self._unfinished(BlobState.DELETING):
                await self._delete(row, evicted=False)
            if moved:
                await self._recount()
        self.wind_up()

    def wind_up(self) -> None:
        """Look once an hour from now on."""
        if not self._engine.closing:
            self._alarm.set(COLLECT_EVERY_MS)

    def _strike(self) -> None:
        self._engine.spawn(self._collect_quietly(), "blob care")
        self.wind_up()

    async def _collect_quietly(self) -> None:
        with suppress(StorageError):
            await self.collect()
            self._blobs.fetching.looking.retry()

    def close(self) -> None:
        self._alarm.stop()

    async def _unfinished(self, state: BlobState) -> list[Blob]:
        return await self._engine.database.read(lambda conn: blob_rows.unfinished(conn, state))

    async def _recount(self) -> None:
        """Believe no bit: look which files are there."""
        rows: list[Blob] = []
        while page := await self._engine.database.read(
            lambda conn, n=rows[-1].blob_no if rows else 0: blob_rows.referred(conn, n, 256)  # type: ignore[misc]
        ):
            rows += page
            for row in page:
                if row.held:
                    await self._recount_one(row)

    async def _recount_one(self, row: Blob) -> None:
        place = row.place
        files, count = self._blobs.files, chunk_count(row.size)

        def look() -> int:
            found = 0
            for index in range(count if place is not None else 0):
                assert place is not None
                found |= (files.read(place, index) is not None) << index
            return found

        bits = bits_of(await self._blobs.beside(look), count)
        if bits != row.bits:
            await self._engine.database.write(
                lambda conn: blob_rows.set_bits(conn, row.blob_no, bits)
            )

    # Deleting ----------------------------------------------------------------------------------

    async def collect(self) -> int:
        """Delete what no record has referred to for long enough; how many blobs."""
        now_ms = self._engine.clock.wall_ms()
        before_ms = now_ms - self.grace_ms

        def pick(conn: Conn) -> list[Blob]:
            blob_rows.mark_unreferenced(conn, now_ms)
            return blob_rows.begin_deleting(conn, before_ms, held)

        async with self._blobs.lock:
            # Read here, where nobody can begin to hold one until the store has marked them.
            held = self._blobs.held()
            picked = await self._engine.database.write(pick)
        for row in picked:
            await self._delete(row, evicted=False)
        return len(picked)

    async def discard(self, number: int) -> None:
        """A put that failed: its chunks are no use to anybody."""

        def mark(conn: Conn) -> Blob | None:
            blob_rows.give_up(conn, number)
            return blob_rows.get(conn, number)

        with suppress(StorageError):
            row = await self._engine.database.write(mark)
            if row is not None:
                await self._discard(row)

    async def _discard(self, row: Blob) -> None:
        """Of a put that did not end it is not known how many chunks there are."""
        await self._remove(row, None)

    async def _delete(self, row: Blob, *, evicted: bool) -> None:
        await self._remove(row, chunk_count(row.size), evicted=evicted)

    async def _remove(self, row: Blob, count: int | None, *, evicted: bool = False) -> None:
        place, files = row.place, self._blobs.files

        def remove() -> None:
            index = 0
            while place is not None and (count is None or index < count):
                # Chunks of a put are written in order: the first that is not there ends them.
                if not files.remove(place, index) and count is None:
                    break
                index += 1

        await self._blobs.beside(remove)
        await self._engine.database.write(
            lambda conn: blob_rows.deleted(conn, row.blob_no, evicted=evicted)
        )

    async def lost(self, number: int, index: int) -> None:
        """A chunk that should be here is not, or not right."""

        def mark(conn: Conn) -> None:
            found = load(conn, number)
            if found is not None:
                content, held = found
                bits = bits_of(held & ~(1 << index), content.count)
                blob_rows.set_bits(conn, number, bits)

        await self._engine.database.write(mark)

    # Quota -------------------------------------------------------------------------------------

    async def quota(self) -> int:
        """How many bytes of chunks this node keeps at most; 0 for no limit."""
        stored = await self._engine.database.read(lambda conn: meta_rows.get_meta(conn, QUOTA))
        return int.from_bytes(stored or b"", "big")

    async def set_quota(self, quota: int) -> None:
        """Keep at most so much from now on, and put away what is too much and may go."""
        value = quota.to_bytes(8, "big")
        await self._engine.database.write(lambda conn: meta_rows.set_meta(conn, QUOTA, value))
        if quota:
            with suppress(BlobQuotaError):
                await self._make_room(quota, 0)

    async def used(self) -> int:
        """About how many bytes of chunks are here."""
        return await self._engine.database.read(lambda c: blob_rows.held_bytes(c, CHUNK_BYTES))

    @contextmanager
    def reserving(self) -> Iterator[Reserve]:
        """Within the block, `reserve(bytes)` makes room as a content grows.

        Raises (from `reserve`) BlobQuotaError, StorageError.
        """
        taken = 0

        async def reserve(size: int) -> None:
            nonlocal taken
            before, taken = taken, taken + size
            self._reserved += size
            if not before or before // RESERVE_STEP_BYTES != taken // RESERVE_STEP_BYTES:
                quota = await self.quota()
                if quota:
                    await self._make_room(quota, self._reserved)

        try:
            yield reserve
        finally:
            self._reserved -= taken

    async def has_room(self, content: Content) -> bool:
        """Whether a blob may be fetched here; others are put away for it if they may."""
        quota = await self.quota()
        if not quota:
            return True
        with suppress(BlobQuotaError):
            await self._make_room(quota, self._reserved + content.size)
            return True
        return False

    async def _make_room(self, quota: int, coming: int) -> None:
        """Evict until what is coming fits. Raises BlobQuotaError if it never will."""
        too_much = await self.used() + coming - quota
        if too_much <= 0:
            return
        picked: list[Blob] = []
        async with self._blobs.lock:
            held = self._blobs.held()
            rows = await self._engine.database.read(blob_rows.evictable)
            for row in rows:
                if too_much > 0 and row.blob_no not in held and await self._may_go(row):
                    picked.append(row)
                    too_much -= min(row.size, row.held * CHUNK_BYTES)
            if too_much > 0:
                raise BlobQuotaError(quota)

            def mark(conn: Conn) -> None:
                for row in picked:
                    blob_rows.give_up(conn, row.blob_no)

            await self._engine.database.write(mark)
        for row in picked:
            self._blobs.serving.gone(row.id)
            await self._delete(row, evicted=True)
            self._engine.counters.add("blob.evicted")

    async def _may_go(self, row: Blob) -> bool:
        devices = self._engine.mesh.registry.devices
        holders = await self._engine.database.read(lambda c: blob_rows.holders(c, row.blob_no))
        ours = self._rank(self._engine.keys.sig_pk)
        return any(
            device in devices and devices[device].active and self._rank(device) < ours
            for device in holders
        )

    def _rank(self, device: bytes) -> tuple[int, bytes]:
        kind = self._engine.mesh.registry.devices[device].type
        return TYPES.index(kind) if kind in TYPES else len(TYPES), device


RESERVE_STEP_BYTES = 16 * CHUNK_BYTES
"""A put looks for room at its first chunk and then as often."""
