"""Stored entries: an entry of the store with all that opening or sending it needs."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..crypto.entry import ZERO_ID
from ..storage import log_rows
from ..storage.log_rows import Entry
from ..storage.store import Conn

HEAD_BYTES = 32


@dataclass(frozen=True, slots=True)
class StoredEntry:
    entry: Entry
    kind: int
    key_id: bytes
    heads: tuple[bytes, ...]
    prev: bytes
    """The id of the entry before, `ZERO_ID` for the first."""


def split_heads(joined: bytes) -> tuple[bytes, ...]:
    """Membership heads as the store joins them."""
    return tuple(joined[i : i + HEAD_BYTES] for i in range(0, len(joined), HEAD_BYTES))


def stored_entry(conn: Conn, log: int, seq: int) -> StoredEntry | None:
    """The entry at one place of a log, or None. To be run in a job."""
    entry = log_rows.entry_at(conn, log, seq)
    if entry is None:
        return None
    return stored_entries(conn, [entry])[0]


def stored_entries(conn: Conn, entries: Sequence[Entry]) -> list[StoredEntry]:
    """Entries that were read, with the rest of each. To be run in a job."""
    headings = log_rows.headings_by_no(conn, {entry.heading_no for entry in entries})
    found = []
    for entry in entries:
        heading = headings[entry.heading_no]
        first = entry.seq == 1
        prev = ZERO_ID if first else log_rows.entry_id_at(conn, entry.log_no, entry.seq - 1)
        assert prev is not None, "a log has no gaps"
        heads = split_heads(heading.heads)
        found.append(StoredEntry(entry, heading.kind, heading.key_id, heads, prev))
    return found
