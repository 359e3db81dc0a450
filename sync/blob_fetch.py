"""Blob fetch: which chunk is wanted from which peer, so that none is wanted twice.

One `BlobFetch` serves all links of a node. It is told what is missing (`seek`), which peer has
what (`offered`), what arrived and what the disk has taken, and answers with what to want now. From
one peer at most `BLOB_CHUNKS_IN_FLIGHT_MAX` chunks are under way, counted until they are on the
disk; so a slow disk slows its peers, and memory stays bounded. Several peers give different chunks
of one blob. What was under way when a link ended is free for others at once.

Invariants:
1. A chunk is under way from one peer at most, and only from one that offered it.
2. A chunk that is on the disk is never wanted again; so a broken transfer goes on where it was.
3. A peer that sent a wrong chunk is not asked for that blob again; after `BLOB_BAD_CHUNKS_MAX` of
   them its link ends.
4. A peer that sends nothing for `BLOB_STALL_MS` is passed over until it says something.

No I/O and no clock; whether a chunk is right is for the caller to see, by its hash. A set of chunks
is an integer with bit `i` for chunk `i`. Spec: docs/protocol.md, section 14; times in milliseconds.
"""

from dataclasses import dataclass, field

from .session_limits import (
    BLOB_BAD_CHUNKS_MAX,
    BLOB_CHUNKS_COMING_MAX,
    BLOB_CHUNKS_IN_FLIGHT_MAX,
    BLOB_STALL_MS,
)


@dataclass(frozen=True, slots=True)
class WantChunks:
    """Tell the peer to send these chunks, ascending."""

    peer: bytes
    id: bytes
    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BlobWhole:
    """Every chunk of a blob is on the disk. It is not sought any more."""

    id: bytes


@dataclass(frozen=True, slots=True)
class DropPeer:
    """This peer sent so many wrong chunks that its link has to end."""

    peer: bytes


FetchEffect = WantChunks | BlobWhole | DropPeer


@dataclass(slots=True)
class _Sought:
    missing: int
    """Not on the disk; those under way included."""
    urgent: bool
    coming: int = 0
    """Under way, or being stored."""
    offers: dict[bytes, int] = field(default_factory=dict)
    shunned: dict[bytes, None] = field(default_factory=dict)
    """Peers that sent a wrong chunk of it."""


@dataclass(slots=True)
class _Giver:
    under_way: dict[tuple[bytes, int], None] = field(default_factory=dict)
    storing: dict[tuple[bytes, int], None] = field(default_factory=dict)
    bad: int = 0
    is_stalled: bool = False
    heard_ms: int = 0


class BlobFetch:
    """What this node seeks, and from whom it comes. A peer is named as its link is."""

    def __init__(self) -> None:
        self._sought: dict[bytes, _Sought] = {}
        self._givers: dict[bytes, _Giver] = {}

    # What is sought ----------------------------------------------------------------------------

    def seek(self, id: bytes, missing: int, *, urgent: bool, now_ms: int) -> list[FetchEffect]:
        """Bring these chunks of a blob, urgent blobs first. Whoever has them is still to say so."""
        known = self._sought.get(id)
        if known is None:
            self._sought[id] = _Sought(missing, urgent)
        else:
            known.urgent = known.urgent or urgent
        return self._finish(id) or self._fill(now_ms)

    def forget(self, id: bytes, now_ms: int) -> list[FetchEffect]:
        """Seek a blob no more. What is under way may still come, and is not expected."""
        if self._sought.pop(id, None) is None:
            return []
        for giver in self._givers.values():
            for coming in (giver.under_way, giver.storing):
                for key in [key for key in coming if key[0] == id]:
                    del coming[key]
        return self._fill(now_ms)

    def seeks(self, id: bytes) -> bool:
        """Whether a blob is sought."""
        return id in self._sought

    def missing(self, id: bytes) -> int:
        """What of a blob that is sought is not on the disk."""
        return self._sought[id].missing

    def is_offered(self, id: bytes) -> bool:
        """Whether a peer offers something of it that is missing, or is sending it."""
        sought = self._sought[id]
        return bool(sought.coming) or any(
            offer & sought.missing and not self._givers[peer].is_stalled
            for peer, offer in sought.offers.items()
        )

    @property
    def is_waiting(self) -> bool:
        """Whether anything is under way: only then time matters (`passed`)."""
        return any(giver.under_way for giver in self._givers.values())

    # What peers do -----------------------------------------------------------------------------

    def offered(self, peer: bytes, id: bytes, chunks: int, now_ms: int) -> list[FetchEffect]:
        """A peer has these chunks of a blob, in place of what it said before."""
        sought = self._sought.get(id)
        if sought is None or peer in sought.shunned:
            return []
        giver = self._givers.setdefault(peer, _Giver())
        giver.is_stalled = False
        sought.offers[peer] = chunks
        return self._fill(now_ms)

    def expects(self, peer: bytes, id: bytes, index: int) -> bool:
        """Whether this chunk is under way from this peer."""
        giver = self._givers.get(peer)
        return giver is not None and (id, index) in giver.under_way

    def arrived(
        self, peer: bytes, id: bytes, index: int, *, is_right: bool, now_ms: int
    ) -> list[FetchEffect]:
        """A chunk that was expected came. If it is right, it is going to the disk."""
        giver, sought = self._givers[peer], self._sought[id]
        del giver.under_way[(id, index)]
        giver.is_stalled, giver.heard_ms = False, now_ms
        if is_right:
            giver.storing[(id, index)] = None
            return []
        sought.coming &= ~(1 << index)
        sought.offers.pop(peer, None)
        sought.shunned[peer] = None
        giver.bad += 1
        if giver.bad >= BLOB_BAD_CHUNKS_MAX:
            return [DropPeer(peer)]  # What it was to give is wanted of others once it has `left`.
        return self._fill(now_ms)

    def stored(
        self, peer: bytes, id: bytes, index: int, *, is_durable: bool, now_ms: int
    ) -> list[FetchEffect]:
        """The disk has taken a chunk, or has refused it. Its giver may be gone by now."""
        giver, sought = self._givers.get(peer), self._sought.get(id)
        if giver is not None:
            giver.storing.pop((id, index), None)
        if sought is None:
            return self._fill(now_ms)
        sought.coming &= ~(1 << index)
        if is_durable:
            sought.missing &= ~(1 << index)
        return self._finish(id) + self._fill(now_ms)

    def refused(self, peer: bytes, id: bytes, index: int, now_ms: int) -> list[FetchEffect]:
        """A peer cannot give a chunk that it had offered."""
        if not self.expects(peer, id, index):
            return []
        giver, sought = self._givers[peer], self._sought[id]
        del giver.under_way[(id, index)]
        giver.heard_ms = now_ms
        sought.coming &= ~(1 << index)
        sought.offers[peer] = sought.offers.get(peer, 0) & ~(1 << index)
        return self._fill(now_ms)

    def left(self, peer: bytes, now_ms: int) -> list[FetchEffect]:
        """The link to a peer ended. What it sent and is being stored stays on its way there."""
        giver = self._givers.pop(peer, None)
        for sought in self._sought.values():
            sought.offers.pop(peer, None)
            sought.shunned.pop(peer, None)
        if giver is None:
            return []
        self._free(giver)
        return self._fill(now_ms)

    def passed(self, now_ms: int) -> list[FetchEffect]:
        """Time has passed: look for peers that send nothing of what they were asked for."""
        for giver in self._givers.values():
            if giver.under_way and now_ms - giver.heard_ms >= BLOB_STALL_MS:
                self._free(giver)
                giver.is_stalled = True
        return self._fill(now_ms)

    # What follows ------------------------------------------------------------------------------

    def _free(self, giver: _Giver) -> None:
        for id, index in giver.under_way:
            self._sought[id].coming &= ~(1 << index)
        giver.under_way.clear()

    def _finish(self, id: bytes) -> list[FetchEffect]:
        if self._sought[id].missing:
            return []
        del self._sought[id]
        return [BlobWhole(id)]

    def _fill(self, now_ms: int) -> list[FetchEffect]:
        """Want what there is room for: of each peer in turn, urgent blobs first."""
        effects: list[FetchEffect] = []
        coming = sum(len(g.under_way) + len(g.storing) for g in self._givers.values())
        order = sorted(self._sought.items(), key=lambda item: not item[1].urgent)
        for peer, giver in self._givers.items():
            if giver.is_stalled:
                continue
            for id, sought in order:
                room = min(
                    BLOB_CHUNKS_IN_FLIGHT_MAX - len(giver.under_way) - len(giver.storing),
                    BLOB_CHUNKS_COMING_MAX - coming,
                )
                free = sought.offers.get(peer, 0) & sought.missing & ~sought.coming
                indices = _lowest(free, room)
                if not indices:
                    continue
                if not giver.under_way:
                    giver.heard_ms = now_ms
                for index in indices:
                    giver.under_way[(id, index)] = None
                    sought.coming |= 1 << index
                coming += len(indices)
                effects.append(WantChunks(peer, id, indices))
        return effects


def _lowest(chunks: int, count: int) -> tuple[int, ...]:
    found: list[int] = []
    while chunks and len(found) < count:
        lowest = chunks & -chunks
        found.append(lowest.bit_length() - 1)
        chunks ^= lowest
    return tuple(found)
