"""Blob fetching: brings the blobs that are to be here and are not.

A few blobs are *active* at a time; which, is decided in `blob_looking`. Every peer with whom we
share a scope that refers to an active blob is asked what it has of it, and `covey.sync.blob_fetch`
decides what is wanted from whom. A chunk is verified by its hash before it is stored, and its bit
is set when its file is on the disk. Bits reach the store a few at a time: after a crash the files
are found again by their names.

A blob that no peer offers is *parked* until a peer comes or says more, so that others get their
turn. Spec: docs/protocol.md, section 14. Times are milliseconds.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .. import CoveyError
from ..crypto.blob import PLACE_BYTES
from ..storage import blob_rows
from ..storage.blob_rows import BlobState, Wanted
from ..storage.errors import StorageError
from ..storage.store import Conn
from ..sync.blob_fetch import BlobFetch, BlobWhole, DropPeer, FetchEffect, WantChunks
from ..sync.blob_messages import (
    BlobAsk,
    BlobChunk,
    BlobHave,
    BlobNone,
    BlobWant,
    bits_of,
    chunks_of,
    encode_blob_message,
)
from ..sync.errors import DecodeError
from ..sync.manifest import chunk_count
from ..sync.messages import Reason
from ..sync.session_events import CloseRequested
from ..sync.session_limits import BLOB_IDS_PER_ASK_MAX, BLOB_STALL_MS
from .alarm import Alarm
from .blob_content import Content, find_on_disk, load
from .blob_looking import BlobLooking

if TYPE_CHECKING:
    from .blobs import Blobs
    from .engine import Engine
    from .links import Link

ACTIVE_MAX = 8
"""Blobs that are fetched at the same time. The manifest of each is in memory."""
UNSAVED_MAX = 16
"""Chunks on the disk of which the store does not know yet."""
STRAY_CHUNKS_MAX = 64
"""Chunks of one link that nobody expects any more, before its end."""


@dataclass(slots=True)
class Active:
    """One blob that is being fetched."""

    content: Content
    held: int
    """The set of chunks that are on the disk."""
    scopes: tuple[bytes, ...]
    """The tags of the scopes in which records refer to it."""
    unsaved: int = 0
    asked: dict[bytes, list[bytes]] = field(default_factory=dict)
    """By link: the tags of the scopes in which its peer was asked."""
    answered: dict[bytes, int] = field(default_factory=dict)
    """By link: which chunks its peer says it has."""
    gave: dict[bytes, int] = field(default_factory=dict)
    """By device: how many chunks came from it."""
    trouble: CoveyError | None = None
    """Why it cannot be stored."""


class BlobFetching:
    """The taking side of one node."""

    def __init__(self, engine: "Engine", blobs: "Blobs") -> None:
        self._engine = engine
        self._blobs = blobs
        self._fetch = BlobFetch()
        self._active: dict[bytes, Active] = {}
        self.looking = BlobLooking(engine, blobs, self)
        self._links: dict[bytes, Link] = {}
        self._strays: dict[bytes, int] = {}
        self._alarm = Alarm(engine.clock, self._strike)
        self.waiters: dict[int, int] = {}
        """By blob: how many wait for it now."""
        self.gave: dict[int, dict[bytes, int]] = {}
        """By blob: which devices gave how many chunks of it in this run."""

    # What is fetched ---------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether one more may be fetched, and from anybody."""
        return bool(self._links) and len(self._active) < ACTIVE_MAX

    def active(self, id: bytes) -> Active | None:
        """What is known of a blob that is being fetched now."""
        return self._active.get(id)

    def is_moving(self, id: bytes) -> bool:
        """Whether somebody sends it, or is about to, or the store is being told that it is here."""
        return id in self._active and (not self._fetch.seeks(id) or self._fetch.is_offered(id))

    async def activate(self, number: int) -> Active | None:
        """Hold a blob and load it; None if it is gone. It is not sought yet."""
        engine = self._engine
        async with self._blobs.lock:
            found = await engine.database.read(
                lambda conn: (
                    blob_rows.get(conn, number),
                    load(conn, number),
                    blob_rows.places(conn, number),
                )
            )
            row, loaded, places = found
            if row is None or loaded is None or row.state is not BlobState.KEPT or not places:
                return None
            content, held = loaded
            if content.id in self._active:
                return self._active[content.id]
            tags = {engine.ledger.scope_numbered(place.scope_no).tag for place in places}
            active = Active(content, held, tuple(sorted(tags)))
            self._active[content.id] = active
            self._blobs.hold(number)
            try:
                await self._prepare(active)
            except BaseException:
                self.drop(active, park=True)
                raise
        return active

    async def _prepare(self, active: Active) -> None:
        """Give it names of files, or find what is there under the names it has."""
        content = active.content
        if content.place is None:
            place = self._engine.entropy.draw(PLACE_BYTES)
            await self._engine.database.write(
                lambda conn: blob_rows.set_place(conn, content.number, place)
            )
            active.content = Content(
                content.number, content.id, content.size, content.key, content.cids, place
            )
            return
        missing = content.all & ~active.held
        files = self._blobs.files
        found = await self._blobs.beside(lambda: find_on_disk(files, content, missing))
        active.held |= found
        active.unsaved += found.bit_count()

    def seek(self, active: Active, *, urgent: bool) -> None:
        content = active.content
        if self._active.get(content.id) is not active:
            return  # It came by itself meanwhile.
        missing = content.all & ~active.held
        self._obey(self._fetch.seek(content.id, missing, urgent=urgent, now_ms=self._now_ms()))
        for link in list(self._links.values()):
            self._ask(link, [active])

    def drop(self, active: Active, *, park: bool) -> None:
        """Fetch a blob no more, for now or for good."""
        content = active.content
        if self._active.pop(content.id, None) is None:
            return
        self._blobs.release(content.number)
        if active.unsaved and not self._engine.closing:
            self._engine.spawn(self._save_quietly(active), "blob save")
        if park:
            self.looking.park(content.number)
        self._obey(self._fetch.forget(content.id, self._now_ms()))

    def start_over(self) -> None:
        """The store is another one: what was sought may be referred to in other scopes, or not."""
        for active in list(self._active.values()):
            self.drop(active, park=False)
        self.looking.forget()

    # Links -------------------------------------------------------------------------------------

    def met(self, link: "Link") -> None:
        """Data may flow on a link, and its peer knows of blobs."""
        self._links[link.key] = link
        self._ask(link, list(self._active.values()))
        self.looking.retry()

    def left(self, link: "Link") -> None:
        """A link has ended."""
        self._strays.pop(link.key, None)
        if self._links.pop(link.key, None) is None:
            return
        for active in self._active.values():
            active.answered.pop(link.key, None)
            active.asked.pop(link.key, None)
        self._obey(self._fetch.left(link.key, self._now_ms()))
        for active in list(self._active.values()) if self._links else ():
            self.park_if_hopeless(active)
        if not self._engine.closing:
            self._engine.spawn(self._save_all(), "blob save")

    def _ask(self, link: "Link", actives: list[Active]) -> None:
        """Ask a peer what it has of these, each in a scope that both share."""
        by_scope: dict[bytes, list[bytes]] = {}
        for active in actives:
            asked = active.asked.setdefault(link.key, [])
            if not asked:
                asked += self._next_scopes(link, active)[:1]
            if asked:
                by_scope.setdefault(asked[-1], []).append(active.content.id)
            else:
                active.answered[link.key] = 0
        for tag, ids in by_scope.items():
            ids.sort()
            for start in range(0, len(ids), BLOB_IDS_PER_ASK_MAX):
                link.say(
                    encode_blob_message(
                        BlobAsk(tag, tuple(ids[start : start + BLOB_IDS_PER_ASK_MAX]))
                    )
                )

    def _next_scopes(self, link: "Link", active: Active) -> list[bytes]:
        """Scopes that are shared with a peer, and in which it was not asked for this yet."""
        holdings, sharing = self._engine.ledger.holdings, self._engine.switchboard.sharing_on(link)
        asked = active.asked.get(link.key, ())
        shared = [tag for tag in active.scopes if holdings.is_shared(tag, sharing)]
        return [tag for tag in shared if tag not in asked]

    def told(self, link: "Link", message: BlobHave) -> None:
        """A peer says what it has of a blob."""
        active = self._active.get(message.id)
        if active is None:
            self._engine.spawn(self._told_of_other(link, message), "blob told")
            return
        try:
            chunks = chunks_of(message.bits, active.content.count)
        except DecodeError as error:
            link.deliver(CloseRequested(Reason.MALFORMED, str(error)))
            return
        if not chunks and (next_scopes := self._next_scopes(link, active)):
            # In the scope where it was asked it may wait with the database, lack the record, or not
            # share the logs of whoever wrote it.
            active.asked.setdefault(link.key, []).append(next_scopes[0])
            self._ask(link, [active])
            return
        active.answered[link.key] = chunks
        self._note_holder(link.device, active.content.number, chunks == active.content.all)
        self._obey(self._fetch.offered(link.key, message.id, chunks, self._now_ms()))
        self.park_if_hopeless(active)

    async def _told_of_other(self, link: "Link", message: BlobHave) -> None:
        """A blob that is not being fetched: it may be whole here, or nobody had it before."""
        with suppress(StorageError):
            row = await self._engine.database.read(lambda c: blob_rows.by_id(c, message.id))
            if row is None:
                return
            try:
                chunks = chunks_of(message.bits, chunk_count(row.size))
            except DecodeError:
                return
            is_whole = chunks == (1 << chunk_count(row.size)) - 1
            self._note_holder(link.device, row.blob_no, is_whole)
            if chunks:
                self.looking.unpark(row.blob_no)

    def _note_holder(self, device: bytes, number: int, is_whole: bool) -> None:
        change = blob_rows.add_holder if is_whole else blob_rows.drop_holder
        self._engine.note(
            lambda conn: change(conn, number, device), ("blob holder", number, device)
        )

    def refused(self, link: "Link", message: BlobNone) -> None:
        """A peer cannot give a chunk that was wanted. Its disk may only be slow to answer."""
        self.looking.retry_later()
        self._obey(self._fetch.refused(link.key, message.id, message.index, self._now_ms()))
        active = self._active.get(message.id)
        if active is not None:
            if link.key in active.answered:
                active.answered[link.key] &= ~(1 << message.index)
            self.park_if_hopeless(active)

    def park_if_hopeless(self, active: Active) -> None:
        """Nobody who is linked has what is missing: let another blob have its turn."""
        id = active.content.id
        if not self._fetch.seeks(id) or self._fetch.is_offered(id):
            return
        if (
            all(key in active.answered for key in self._links)
            and active.content.number not in self.waiters
        ):
            self.drop(active, park=True)
            self.looking.look_soon()

    # Chunks ------------------------------------------------------------------------------------

    def came(self, link: "Link", chunk: BlobChunk) -> None:
        """A chunk: is it expected, is it right, then to the disk with it."""
        active = self._active.get(chunk.id)
        if active is None or not self._fetch.expects(link.key, chunk.id, chunk.index):
            self._strays[link.key] = self._strays.get(link.key, 0) + 1
            if self._strays[link.key] > STRAY_CHUNKS_MAX:
                link.deliver(CloseRequested(Reason.TOO_MUCH, "chunks that nobody wanted"))
            return
        is_right = active.content.is_right(chunk.index, chunk.sealed)
        if is_right:
            active.gave[link.device] = active.gave.get(link.device, 0) + 1
            self._engine.spawn(self._store(link.key, active, chunk), "blob store")
        else:
            self._engine.counters.add("blob.wrong_chunk")
            active.answered[link.key] = 0
        self._obey(
            self._fetch.arrived(
                link.key, chunk.id, chunk.index, is_right=is_right, now_ms=self._now_ms()
            )
        )
        if not is_right and chunk.id in self._active:
            self.park_if_hopeless(active)

    async def _store(self, peer: bytes, active: Active, chunk: BlobChunk) -> None:
        """Goes on if its link ends meanwhile: what has come need not come again."""
        content, is_durable = active.content, False
        place, files = content.place, self._blobs.files
        assert place is not None, "an active blob has a place"
        try:
            await self._blobs.beside(lambda: files.write(place, chunk.index, chunk.sealed))
            is_durable = True
            active.held |= 1 << chunk.index
            active.unsaved += 1
            if active.unsaved >= UNSAVED_MAX:
                await self._save(active)
        except StorageError as error:
            active.trouble = error
            self._engine.counters.add("blob.disk_refused")
            self.drop(active, park=True)
            self.looking.retry_later()
        finally:
            self._obey(
                self._fetch.stored(
                    peer, chunk.id, chunk.index, is_durable=is_durable, now_ms=self._now_ms()
                )
            )

    async def _save(self, active: Active) -> None:
        """Tell the store which chunks are on the disk."""
        active.unsaved = 0
        number, bits = active.content.number, bits_of(active.held, active.content.count)
        await self._engine.database.write(lambda conn: blob_rows.set_bits(conn, number, bits))

    async def _save_quietly(self, active: Active) -> None:
        """A disk that refuses costs nothing: the files are found again by their names."""
        if active.unsaved:
            with suppress(StorageError):
                await self._save(active)

    async def _save_all(self) -> None:
        for active in list(self._active.values()):
            await self._save_quietly(active)

    def _obey(self, effects: list[FetchEffect]) -> None:
        for effect in effects:
            match effect:
                case WantChunks(peer, id, indices):
                    self._links[peer].say(encode_blob_message(BlobWant(id, indices)))
                case DropPeer(peer):
                    self._links[peer].deliver(
                        CloseRequested(
                            Reason.BATCH_REFUSED, "chunks that are not what they are named"
                        )
                    )
                case BlobWhole(id):
                    self._engine.spawn(self._whole(self._active[id]), "blob whole")
        self._watch_time()

    async def _whole(self, active: Active) -> None:
        """Every chunk is on the disk: say so to the store, to who waits and to who asked."""
        content, now_ms = active.content, self._engine.clock.wall_ms()
        bits = bits_of(content.all, content.count)

        def write(conn: Conn) -> None:
            blob_rows.set_bits(conn, content.number, bits)
            blob_rows.set_wanted(conn, content.number, Wanted.BY_POLICY)
            blob_rows.used(conn, content.number, now_ms)

        try:
            await self._engine.database.write(write)
        except StorageError as error:
            active.trouble = error
            self.drop(active, park=True)
            self.looking.retry_later()
            return
        self.gave[content.number] = active.gave
        self.drop(active, park=False)
        self._engine.counters.add("blob.whole")
        self._blobs.serving.whole(content.id, content.size)
        for link in list(self._links.values()):
            if active.answered.get(link.key):
                # So that those who gave it know that they do not have the only copy.
                link.say(encode_blob_message(BlobHave(content.id, bits)))
        self._engine.patience.look_again()
        self.looking.look_soon()

    def _watch_time(self) -> None:
        """Time matters only while something is under way."""
        if self._fetch.is_waiting and not self._engine.closing:
            self._alarm.set(BLOB_STALL_MS // 2)

    def _strike(self) -> None:
        self._obey(self._fetch.passed(self._now_ms()))
        for active in list(self._active.values()):
            self.park_if_hopeless(active)

    def _now_ms(self) -> int:
        return self._engine.clock.monotonic_ms()

    async def close(self) -> None:
        """Say what is on the disk, and keep no timer."""
        self.looking.close()
        self._alarm.stop()
        await self._save_all()
