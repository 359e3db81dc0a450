"""Traffic: what went over a link, in bytes and entries, and what one round of it came to.

A round begins with its link, or with the first entry that moves after a proof of sync. It ends with
the next proof, or else with the link. People are told of rounds, so they name databases, and of the
rest hold numbers only.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..sync.messages import Reason

REFUSALS = frozenset(
    {
        Reason.NO_SHARED_VERSION,
        Reason.MALFORMED,
        Reason.OUT_OF_ORDER,
        Reason.MEMBERSHIP_FIRST,
        Reason.CREDIT_EXCEEDED,
        Reason.TOO_MUCH,
        Reason.BATCH_REFUSED,
        Reason.STORE_FULL,
        Reason.TOO_SLOW,
        Reason.REMOVED,
        Reason.OTHER,
    }
)
"""Ends of a session that one side decided on, because of what the other is or did."""


@dataclass(slots=True)
class LinkTraffic:
    """What went over a link, for people."""

    sent_bytes: int = 0
    received_bytes: int = 0
    sent_entries: int = 0
    received_entries: int = 0
    sent_by_type: dict[int, int] = field(default_factory=dict)
    """The sent bytes by the type of their frame, its first byte (docs/protocol.md, section 7)."""
    received_by_type: dict[int, int] = field(default_factory=dict)
    entries_by_scope: dict[bytes, int] = field(default_factory=dict)
    """Entries sent, or received and stored."""

    def moved(self, scope: bytes, entries: int) -> None:
        """Entries of a scope went one way or the other."""
        self.entries_by_scope[scope] = self.entries_by_scope.get(scope, 0) + entries

    def sent(self, frame: bytes) -> None:
        self.sent_bytes += len(frame)
        _count(self.sent_by_type, frame)

    def received(self, frame: bytes) -> None:
        self.received_bytes += len(frame)
        _count(self.received_by_type, frame)

    def add(self, other: "LinkTraffic") -> None:
        """Take what went over another link as well into these totals."""
        self.sent_bytes += other.sent_bytes
        self.received_bytes += other.received_bytes
        self.sent_entries += other.sent_entries
        self.received_entries += other.received_entries
        for ours, theirs in (
            (self.sent_by_type, other.sent_by_type),
            (self.received_by_type, other.received_by_type),
        ):
            for kind, size in theirs.items():
                ours[kind] = ours.get(kind, 0) + size
        for scope, entries in other.entries_by_scope.items():
            self.entries_by_scope[scope] = self.entries_by_scope.get(scope, 0) + entries


@dataclass(slots=True)
class Round:
    """The round that goes on on a link."""

    is_open: bool = True
    """Whether something is to be told of it: nothing is proved, or entries moved since."""
    scopes: set[bytes] = field(default_factory=set)
    """Whose entries moved."""
    _before: tuple[int, int, int, int] = (0, 0, 0, 0)
    """What the link had carried when it began."""

    def moved(self, scope: bytes) -> None:
        """Entries of this scope were sent, or received and stored."""
        self.is_open = True
        self.scopes.add(scope)

    def end(self, traffic: LinkTraffic, databases: Iterable[str]) -> dict[str, Any]:
        """What it came to, for people; another one may begin."""
        now = (
            traffic.received_entries,
            traffic.sent_entries,
            traffic.received_bytes,
            traffic.sent_bytes,
        )
        received, sent, received_bytes, sent_bytes = (
            after - before for after, before in zip(now, self._before, strict=True)
        )
        self.is_open, self._before = False, now
        self.scopes.clear()
        return {
            "databases": sorted(set(databases)),
            "received": received,
            "sent": sent,
            "received_bytes": received_bytes,
            "sent_bytes": sent_bytes,
        }


def _count(totals: dict[int, int], frame: bytes) -> None:
    if frame:
        totals[frame[0]] = totals.get(frame[0], 0) + len(frame)
