"""Stored entries: an entry of the store with all that opening or sending it needs."""

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
    heading = log_rows.headings_by_no(conn, [entry.heading_no])[entry.heading_no]
    prev = ZERO_ID if seq == 1 else log_rows.entry_id_at(conn, log, seq - 1)
    assert prev is not None, "a log has no gaps"
    return StoredEntry(entry, heading.kind, heading.key_id, split_heads(heading.heads), prev)
