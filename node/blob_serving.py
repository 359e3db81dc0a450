"""Blob serving: what peers are told of our blobs, and given.

A peer gets a chunk only of a blob that it asked for in a scope that both share by the membership
and the policies of now, and only if a record here, in that scope and written by somebody whose logs
are shared, refers to that blob. A blob may be asked for in several scopes; any of them will do.
Whether one is shared is looked at again for each chunk: a device may be lowered while its blob is
on the way.

A peer that asked for a blob is told again when there is more of it here, or nothing any more. At
most `BLOB_WANTS_QUEUED_MAX` chunks wait for one peer; the link reads each when it has nothing
more urgent to send (`links.py`). Spec: docs/protocol.md, section 14.
"""

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..storage import blob_rows
from ..storage.blob_rows import Blob, BlobState
from ..storage.errors import StorageError
from ..storage.store import Conn
from ..sync.blob_messages import (
    BlobAsk,
    BlobChunk,
    BlobHave,
    BlobNone,
    BlobWant,
    bits_of,
    encode_blob_message,
)
from ..sync.manifest import chunk_count
from ..sync.messages import Reason
from ..sync.session_events import CloseRequested

if TYPE_CHECKING:
    from .blobs import Blobs
    from .engine import Engine
    from .ledger import Scope
    from .links import Link

BLOB_WANTS_QUEUED_MAX = 16
"""Chunks that wait for one peer. An honest one wants four at a time, of all blobs together."""
SCOPES_ASKED_MAX = 8
"""Of each blob so many scopes are remembered, those that were named last."""
ASKED_MAX = 4_096
"""Blobs of which a peer is told again; the oldest are forgotten."""


@dataclass(slots=True)
class _Peer:
    """What one link asked for."""

    asked: dict[bytes, list[bytes]] = field(default_factory=dict)
    """Blob id to the tags of the scopes in which it was asked for: first the one in which it was
    found last, then those that were named last."""
    wanted: deque[tuple[bytes, int]] = field(default_factory=deque)


class BlobServing:
    """The giving side of one node."""

    def __init__(self, engine: "Engine", blobs: "Blobs") -> None:
        self._engine = engine
        self._blobs = blobs
        self._peers: dict[bytes, _Peer] = {}

    def left(self, link: "Link") -> None:
        """A link has ended."""
        self._peers.pop(link.key, None)

    # What peers say ----------------------------------------------------------------------------

    def asked(self, link: "Link", ask: BlobAsk) -> None:
        """Tell what of these blobs the peer may have from us, and remember that it asked."""
        peer = self._peers.setdefault(link.key, _Peer())
        for id in ask.ids:
            before = [tag for tag in peer.asked.pop(id, ()) if tag != ask.scope]
            peer.asked[id] = [ask.scope, *before][:SCOPES_ASKED_MAX]
        while len(peer.asked) > ASKED_MAX:
            del peer.asked[next(iter(peer.asked))]
        self._engine.spawn(self._tell(link, ask.ids), "blob tell")

    async def _tell(self, link: "Link", ids: tuple[bytes, ...]) -> None:
        found = await self._allowed(link, ids)
        for id in ids:
            bits = found[id].bits if id in found else b""
            link.say(encode_blob_message(BlobHave(id, bits)))

    async def _allowed(self, link: "Link", ids: Sequence[bytes]) -> dict[bytes, Blob]:
        """Of these blobs those that are here, at least in part, and that the peer may have."""
        peer, found = self._peers.get(link.key), {}
        if peer is None:
            return {}
        scopes = {id: self._shared(link, peer.asked.get(id, ())) for id in ids}

        def read(conn: Conn) -> "list[tuple[Blob, list[tuple[Scope, list[int]]]]]":
            rows = [blob_rows.by_id(conn, id) for id in ids if scopes[id]]
            return [
                (
                    row,
                    [
                        (scope, blob_rows.referring_logs(conn, row.blob_no, scope.number))
                        for scope in scopes[row.id]
                    ],
                )
                for row in rows
                if row is not None
            ]

        with suppress(StorageError):
            for row, places in await self._engine.database.read(read):
                if row.state is not BlobState.KEPT or not row.held or row.place is None:
                    continue
                for scope, logs in places:
                    # Asked only now: the sharing may be another one than when the store was asked.
                    if any(self._shares(link, scope, log) for log in logs):
                        found[row.id] = row
                        tags = peer.asked.get(row.id, [])
                        tags.sort(key=lambda tag, first=scope.tag: tag != first)  # type: ignore[misc]
                        break
        return found

    def _shared(self, link: "Link", tags: Sequence[bytes]) -> list["Scope"]:
        """Of these scopes those that are known and shared with a peer."""
        known = [self._engine.ledger.scope(tag) for tag in tags]
        return [scope for scope in known if scope is not None and self._shares(link, scope)]

    def _shares(self, link: "Link", scope: "Scope", log_no: int | None = None) -> bool:
        """Whether this scope is shared with a peer, or what the author of a log writes in it."""
        mesh, ledger = self._engine.mesh, self._engine.ledger
        device = mesh.registry.devices.get(link.device)
        if device is None or not device.active or scope.database in self._engine.scheduling.held:
            return False
        sharing = self._engine.switchboard.sharing_on(link)
        if log_no is None:
            return ledger.holdings.is_shared(scope.tag, sharing)
        author = ledger.log_numbered(log_no).author
        return ledger.holdings.shares(scope.tag, author, sharing)

    def wanted(self, link: "Link", want: BlobWant) -> None:
        """Queue chunks for the peer; what it did not ask for before is not there for it."""
        peer = self._peers.setdefault(link.key, _Peer())
        for index in want.indices:
            if want.id in peer.asked:
                peer.wanted.append((want.id, index))
            else:
                link.say(encode_blob_message(BlobNone(want.id, index)))
        if len(peer.wanted) > BLOB_WANTS_QUEUED_MAX:
            link.deliver(CloseRequested(Reason.TOO_MUCH, "too many chunks are wanted at once"))
            return
        link.look_for_chunks()

    # What is given -----------------------------------------------------------------------------

    def has_chunks(self, link: "Link") -> bool:
        """Whether a chunk waits for this peer."""
        peer = self._peers.get(link.key)
        return peer is not None and bool(peer.wanted)

    def next_database(self, link: "Link") -> bytes:
        """The tag of the database that the next chunk is of; empty if it is not known any more."""
        peer, holdings = self._peers[link.key], self._engine.ledger.holdings
        tags = peer.asked.get(peer.wanted[0][0])
        return holdings.database(tags[0]) if tags and holdings.knows(tags[0]) else b""

    async def next_chunk(self, link: "Link") -> bytes:
        """The frame for what the peer wants next: a chunk, or that it cannot have it."""
        peer = self._peers[link.key]
        id, index = peer.wanted.popleft()
        sealed = await self._read(link, id, index)
        if sealed is None:
            return encode_blob_message(BlobNone(id, index))
        self._engine.counters.add("blob.chunks_sent")
        return encode_blob_message(BlobChunk(id, index, sealed))

    async def _read(self, link: "Link", id: bytes, index: int) -> bytes | None:
        row = (await self._allowed(link, (id,))).get(id)
        if row is None or not int.from_bytes(row.bits, "little") >> index & 1:
            return None
        place = row.place
        assert place is not None, "who has chunks has a place"
        with suppress(StorageError):
            found: bytes | None = await self._blobs.beside(
                lambda: self._blobs.files.read(place, index)
            )
            return found
        return None

    # News --------------------------------------------------------------------------------------

    def whole(self, id: bytes, size: int) -> None:
        """All of a blob is here: tell whoever asked for it."""
        count = chunk_count(size)
        self._say_again(BlobHave(id, bits_of((1 << count) - 1, count)), check=True)

    def held_changed(self) -> None:
        """Other databases wait here than before: tell everybody anew what they may have."""
        for link in list(self._engine.switchboard.links.values()):
            peer = self._peers.get(link.key)
            if peer is not None and peer.asked:
                self._engine.spawn(self._tell(link, tuple(peer.asked)), "blob tell")

    def gone(self, id: bytes) -> None:
        """A blob was put away here: nobody may rely on us."""
        self._say_again(BlobHave(id, b""), check=False)

    def _say_again(self, message: BlobHave, *, check: bool) -> None:
        for link in list(self._engine.switchboard.links.values()):
            peer = self._peers.get(link.key)
            if peer is None or message.id not in peer.asked or not link.is_open_for_blobs:
                continue
            if check:
                self._engine.spawn(self._tell(link, (message.id,)), "blob tell")
            else:
                link.say(encode_blob_message(message))
