"""The fetch plan: which missing ranges are wanted from which peer, so that none is wanted twice.

One plan serves all sessions of a node. A log is fetched from one peer at a time: its range is
claimed by that peer until the entries are durable, or until the session ends and `release` makes
the rest free for others. Batches that arrive unasked (a peer pushes what was just written) count as
well while they are on their way to the disk.

What is in flight from one peer is bounded in entries; a new request is made when half of it has
arrived, so that a long transfer never waits for a round trip and never asks in crumbs.

Promises: two claims never overlap, and a claim is only for what a peer said it holds. The plan does
not talk, does not time out and does not judge: sessions do.

Spec: docs/protocol.md, section 7, "Order", step 4.
"""

from dataclasses import dataclass

from .session_limits import ENTRIES_IN_FLIGHT_MAX, WANT_ROWS_MAX
from .vectors import CONTROL_SCOPE, Range, Vector

_Log = tuple[bytes, bytes]
"""Scope and instance."""


@dataclass(slots=True)
class _Claim:
    """Entries `first` to `last` of one log are wanted from `peer` and not durable yet."""

    peer: bytes
    first: int
    last: int
    rank: int = 0
    """How urgent it was; less is more urgent."""


class FetchPlan:
    """What all sessions of this node have asked for. A peer is what `Opened` names a session."""

    def __init__(self, entries_max: int = ENTRIES_IN_FLIGHT_MAX) -> None:
        self._entries_max = entries_max
        self._claims: dict[_Log, _Claim] = {}
        self._in_flight: dict[bytes, dict[int, int]] = {}
        """Of each peer, how many entries of which rank."""
        self._arriving: dict[_Log, list[_Claim]] = {}

    def request(
        self, peer: bytes, scope: bytes, theirs: Vector, ours: Vector, rank: int = 0
    ) -> tuple[Range, ...]:
        """Claim, and return, what to want from this peer now; ascending, one range a log.

        Empty if nothing is missing that others do not already bring, or if more than half of
        what this peer may have in flight still is. What is less urgent does not count, so
        nothing waits for it. The control scope is always let through.
        """
        room = self._entries_max
        if scope != CONTROL_SCOPE:
            # The membership log never waits for data, because data may be waiting for it.
            counts = self._in_flight.get(peer, {})
            room -= sum(count for other, count in counts.items() if other <= rank)
            if room < self._entries_max // 2:
                return ()
        ranges: list[Range] = []
        for instance, head in theirs.items():
            held = ours.get(instance)
            held_seq = 0 if held is None else held[1]
            if head[1] <= held_seq:
                continue
            first = self._first_free(peer, (scope, instance), held_seq)
            if first is None or first > head[1]:
                continue
            last = min(head[1], first + room - 1)
            self._claim(peer, (scope, instance), first, last, rank)
            ranges.append((instance, first, last))
            room -= last - first + 1
            if not room or len(ranges) == WANT_ROWS_MAX:
                break
        ranges.sort()
        return tuple(ranges)

    def receiving(self, peer: bytes, scope: bytes, instance: bytes, first: int, last: int) -> None:
        """Entries have arrived, wanted or not, and go to the disk; `settled` ends it."""
        self._arriving.setdefault((scope, instance), []).append(_Claim(peer, first, last))

    def settled(self, peer: bytes, scope: bytes, instance: bytes, first: int, last: int) -> None:
        """What `receiving` was told is stored, or was found unfit."""
        arriving = self._arriving.get((scope, instance), [])
        piece = _Claim(peer, first, last)
        if piece in arriving:
            arriving.remove(piece)
        if not arriving:
            self._arriving.pop((scope, instance), None)

    def arrived(self, scope: bytes, instance: bytes, up_to: int) -> None:
        """This log is durable here up to `up_to`, whoever it was wanted from."""
        claim = self._claims.get((scope, instance))
        if claim is None or up_to < claim.first:
            return
        self._count(claim, -(min(up_to, claim.last) - claim.first + 1))
        if up_to >= claim.last:
            del self._claims[(scope, instance)]
        else:
            claim.first = up_to + 1

    def claimed(self, peer: bytes) -> tuple[tuple[bytes, bytes], ...]:
        """(scope, instance) of the logs that are wanted from this peer, in the order of asking."""
        return tuple(log for log, claim in self._claims.items() if claim.peer == peer)

    def drop(self, peer: bytes, scope: bytes, instance: bytes) -> None:
        """Give up this peer's claim on one log: what it sent did not fit."""
        claim = self._claims.get((scope, instance))
        if claim is not None and claim.peer == peer:
            self._count(claim, -(claim.last - claim.first + 1))
            del self._claims[(scope, instance)]

    def release(self, peer: bytes) -> bool:
        """Free everything that was claimed by this peer; whether there was anything."""
        logs = [log for log, claim in self._claims.items() if claim.peer == peer]
        for log in logs:
            del self._claims[log]
        self._in_flight.pop(peer, None)
        stranded = [
            log for log, ways in self._arriving.items() if any(w.peer == peer for w in ways)
        ]
        for log in stranded:
            left = [way for way in self._arriving.pop(log) if way.peer != peer]
            if left:
                self._arriving[log] = left
        return bool(logs or stranded)

    def covers(self, scope: bytes, instance: bytes, seq: int) -> bool:
        """Whether this entry is wanted from somebody, or on its way to the disk."""
        claim = self._claims.get((scope, instance))
        ways = [*self._arriving.get((scope, instance), ())] + ([claim] if claim else [])
        return any(way.first <= seq <= way.last for way in ways)

    def in_flight(self, peer: bytes) -> int:
        """How many entries are wanted from this peer and not durable yet."""
        return sum(self._in_flight.get(peer, {}).values())

    def is_busy_besides(self, peer: bytes) -> bool:
        """Whether anything is wanted from anybody else."""
        return len(self._in_flight) > (peer in self._in_flight)

    def missing(self, scope: bytes, theirs: Vector, ours: Vector) -> tuple[int, int]:
        """How many entries they hold and we do not, and how many of these nobody brings yet."""
        lacking = unclaimed = 0
        for instance, head in theirs.items():
            held = ours.get(instance)
            held_seq = 0 if held is None else held[1]
            if head[1] <= held_seq:
                continue
            lacking += head[1] - held_seq
            claim = self._claims.get((scope, instance))
            ways = [*self._arriving.get((scope, instance), ())] + ([claim] if claim else [])
            brought = max((way.last for way in ways), default=0)
            unclaimed += max(0, head[1] - max(held_seq, brought))
        return lacking, unclaimed

    def _first_free(self, peer: bytes, log: _Log, held_seq: int) -> int | None:
        """The first entry this peer may be asked for; None while another brings the log."""
        claim = self._claims.get(log)
        if claim is not None and claim.last <= held_seq:
            self.arrived(*log, held_seq)
            claim = None
        reached = held_seq
        for way in sorted(self._arriving.get(log, ()), key=lambda way: way.first):
            if way.first <= reached + 1:
                reached = max(reached, way.last)
        if claim is not None and claim.first > reached + 1:
            # What was on its way before it did not reach the disk, so nothing of it will fit.
            self.drop(claim.peer, *log)
            claim = None
        if claim is not None:
            return claim.last + 1 if claim.peer == peer else None
        return reached + 1

    def _claim(self, peer: bytes, log: _Log, first: int, last: int, rank: int) -> None:
        claim = self._claims.get(log)
        if claim is None:
            claim = self._claims[log] = _Claim(peer, first, last, rank)
        else:
            assert claim.peer == peer and claim.last + 1 == first, "claims overlap"
            claim.last = last
        self._count(claim, last - first + 1)

    def _count(self, claim: _Claim, change: int) -> None:
        counts = self._in_flight.setdefault(claim.peer, {})
        count = counts.get(claim.rank, 0) + change
        assert count >= 0
        if count:
            counts[claim.rank] = count
            return
        counts.pop(claim.rank, None)
        if not counts:
            del self._in_flight[claim.peer]
