"""Ingest rows: a verified batch as one transaction of the store. What `ingest` runs in jobs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..storage import log_rows, membership_rows
from ..storage.log_rows import EntryState, NewEntry
from ..storage.store import Conn
from ..sync.change import Change
from .headings import HeadingKey, HeadingNumbers
from .ledger import Log
from .projection import Row, insert, taken, upsert
from .receiving import Arrived

APPLIED, PENDING = EntryState.APPLIED, EntryState.PENDING
QUARANTINED, SHELVED = EntryState.QUARANTINED, EntryState.SHELVED


@dataclass(slots=True, eq=False)
class Opened:
    """One verified entry with what could be learned of its content."""

    log: Log
    arrived: Arrived
    heading: HeadingKey
    state: EntryState
    why: str = ""
    attempts: int = 0
    hlc: int = 0
    changes: tuple[tuple[Any, Change], ...] = ()
    rows: list[Row] = field(default_factory=list)
    operation: bytes | None = None


@dataclass(slots=True)
class Prepared:
    """A batch that has passed every check that needs no disk."""

    scope: bytes
    entries: list[Opened]
    logs: list[Log]
    """Those that grow."""
    touched: list[Log] = field(default_factory=list)
    """Every log of the batch that we hold something of, also where nothing is new."""
    began: dict[Log, tuple[int, bytes]] = field(default_factory=dict)
    """Where the tail of each log that grows stood before this batch."""
    ends: dict[Log, tuple[int, bytes]] = field(default_factory=dict)
    """Where it stands after it; a batch prepared later may have moved it on since."""

    def continues(self) -> bool:
        """Whether it still fits the store: a batch before it may have failed meanwhile."""
        return all(self.began[log] == (log.head_seq, log.head_id) for log in self.logs)


def write_batch(
    conn: Conn, prepared: Prepared, headings: HeadingNumbers
) -> tuple[list[Opened], dict[HeadingKey, int]]:
    """Store the entries, and the records of those that are plain. Returns those that are not.

    A record that exists already makes its entry slow: the merge needs the CRDT.
    """
    plain = [e for e in prepared.entries if e.rows]
    known = taken(conn, [row for e in plain for row in e.rows])
    slow = []
    if known:
        for opened in plain:
            if any((r.scope, r.collection, r.id) in known for r in opened.rows):
                opened.state, opened.attempts = PENDING, 1
                slow.append(opened)
    numbers: dict[HeadingKey, int] = {}
    by_log: dict[int, list[NewEntry]] = {}
    for e in prepared.entries:
        arrived = e.arrived
        by_log.setdefault(e.log.number, []).append(
            NewEntry(
                arrived.seq,
                headings.number(conn, numbers, e.heading),
                arrived.salt,
                arrived.ciphertext,
                arrived.entry_id,
                arrived.signature,
                e.state,
                e.attempts,
            )
        )
    for number, entries in by_log.items():
        log_rows.append_entries(conn, number, entries)
    for e in prepared.entries:
        if e.state != APPLIED:
            log_rows.set_entry_state(conn, e.log.number, [(e.arrived.seq, e.state, e.why)])
    insert(conn, [row for e in plain if e.state == APPLIED for row in e.rows])
    membership_rows.add_operations(
        conn,
        [
            membership_rows.Operation(e.arrived.entry_id, e.log.author, e.operation)
            for e in prepared.entries
            if e.operation is not None
        ],
    )
    return slow, numbers


def write_applied(conn: Conn, entries: Sequence[Opened]) -> None:
    """Mark entries as applied, with the records they made; of one record the last row counts."""
    by_log: dict[int, list[tuple[int, EntryState, str | None]]] = {}
    for opened in entries:
        by_log.setdefault(opened.log.number, []).append((opened.arrived.seq, APPLIED, None))
    for number, changes in by_log.items():
        log_rows.set_entry_state(conn, number, changes)
    upsert(conn, [row for opened in entries for row in opened.rows])
