"""Branches: where a branch of a log begins, found by asking whoever holds it for single entries.

Entries chain, so two branches are the same up to some place and different from there on. Each run
of theirs, compared with ours, narrows down where that is; half of what is left is asked for next.
An author's signature vouches for all before it, so nobody can lie about the place. Pure.

Spec: docs/protocol.md, section 7, "Forks".
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from ..sync.session_limits import SEQ_MAX
from .receiving import Forked, Known


class Span(NamedTuple):
    """The branch begins after `same` and not after `other`."""

    same: int = 0
    """The last place that is known to be the same."""
    other: int = SEQ_MAX
    """The first that is known to be another, if it is one that may be."""
    other_id: bytes = b""
    """Which entry they hold there."""

    @property
    def is_branch(self) -> bool:
        """Whether there is a branch at all, as far as is known."""
        return self.same < self.other < SEQ_MAX

    @property
    def begins(self) -> int | None:
        """The first place that is another, once that is known."""
        return self.other if self.is_branch and self.other == self.same + 1 else None

    @property
    def next_seq(self) -> int:
        """The place to ask for next; an answer for it always narrows the span."""
        return (self.same + self.other) // 2


class Source(Protocol):
    """Whoever sent a run."""

    branches: dict[tuple[bytes, bytes], Span]

    def want_entry(self, scope: bytes, instance: bytes, seq: int) -> bool:
        """Ask for one entry; False if that cannot be now."""

    def tell_ruling(self, scope: bytes, instance: bytes) -> None:
        """Tell, once more if need be, the ruling on a log that is known here."""


def places(run: Known | Forked) -> list[tuple[int, bytes]]:
    """Which entry a run says is where, from that before its first."""
    first = run.entries[0].seq
    before = [(first - 1, run.prev_id)] if first > 1 else []
    return before + [(entry.seq, entry.entry_id) for entry in run.entries]


def narrowed(span: Span, ours: Mapping[int, bytes], theirs: Sequence[tuple[int, bytes]]) -> Span:
    """The span after a run of theirs; what we do not hold durably counts as another."""
    for seq, id in theirs:
        if ours.get(seq) != id:
            return Span(span.same, seq, id) if seq < span.other else span
        span = span._replace(same=max(span.same, seq))
    return span
