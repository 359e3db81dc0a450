"""Log rows: scopes, logs, headings and entries, as functions to be run inside a job.

What an entry is stands in docs/protocol.md, section 2; here it is a row: the part of the header
that differs from entry to entry, and a reference to a *heading* for the part that does not (kind,
key id, membership heads). Chains, signatures and authority are the caller's to check: this
module stores what it is given and refuses only a second entry at the same place of a log.

`arrival` numbers the entries of this store in the order in which it got them.
"""

import json
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

from .bulk import ensure_row, execute_rows, select_in
from .store import Conn

ENTRIES_PER_RUN_MAX = 4096
ENTRY_OVERHEAD_BYTES = 12
"""What an entry costs in a batch beside its ciphertext: salt and length (protocol, section 8)."""


class EntryState(IntEnum):
    """What became of an entry. The values are those of the column `state`."""

    APPLIED = 0
    PENDING = 1
    QUARANTINED = 2
    SHELVED = 3
    """Its author was removed before anybody who belongs had seen it, and nobody built on it."""


class Scope(NamedTuple):
    scope_no: int
    tag: bytes
    database: str
    privacy: int
    bucket: int = 0
    """Its time bucket; 0 for none."""


class LogHead(NamedTuple):
    """A log and its last entry; `head_seq` 0 and `head_id` empty if it has none."""

    log_no: int
    scope_no: int
    instance: bytes
    author: bytes
    head_seq: int
    head_id: bytes


class Heading(NamedTuple):
    """`heads`: membership head ids, 32 bytes each, sorted, joined."""

    kind: int
    key_id: bytes
    heads: bytes


class NewEntry(NamedTuple):
    """A row to append. `signature` is None inside a run that was vouched for at its end."""

    seq: int
    heading_no: int
    salt: bytes
    ct: bytes
    entry_id: bytes
    signature: bytes | None
    state: int
    attempts: int


class RunEntry(NamedTuple):
    """What a batch needs of an entry."""

    seq: int
    heading_no: int
    salt: bytes
    ct: bytes
    entry_id: bytes
    signature: bytes | None


class Entry(NamedTuple):
    """A whole row."""

    arrival: int
    log_no: int
    seq: int
    heading_no: int
    salt: bytes
    ct: bytes
    entry_id: bytes
    signature: bytes | None
    state: int
    attempts: int
    why: str | None


_ENTRY_COLUMNS = (
    "arrival, log_no, seq, heading_no, salt, ct, entry_id, signature, state, attempts, why"
)


def ensure_scope(conn: Conn, tag: bytes, database: str, privacy: int, bucket: int = 0) -> int:
    """The number of a scope, made if it is new."""
    return ensure_row(
        conn,
        ("SELECT scope_no FROM scopes WHERE tag = ?", (tag,)),
        (
            "INSERT INTO scopes (tag, database, privacy, bucket) VALUES (?, ?, ?, ?)",
            (tag, database, privacy, bucket),
        ),
    )


def scopes(conn: Conn) -> list[Scope]:
    """All scopes, by number."""
    rows = conn.execute(
        "SELECT scope_no, tag, database, privacy, bucket FROM scopes ORDER BY scope_no"
    )
    return [Scope(*row) for row in rows.fetchall()]


def ensure_log(conn: Conn, scope_no: int, instance: bytes, author: bytes) -> int:
    """The number of the log of an instance in a scope, made if it is new."""
    return ensure_row(
        conn,
        ("SELECT log_no FROM logs WHERE scope_no = ? AND instance = ?", (scope_no, instance)),
        (
            "INSERT INTO logs (scope_no, instance, author) VALUES (?, ?, ?)",
            (scope_no, instance, author),
        ),
    )


def logs(conn: Conn) -> list[LogHead]:
    """All logs with their heads, by number. Two seeks a log."""
    rows = conn.execute(
        "SELECT l.log_no, l.scope_no, l.instance, l.author,"
        " ifnull(e.seq, 0), ifnull(e.entry_id, x'') FROM logs l"
        " LEFT JOIN entries e ON e.log_no = l.log_no"
        " AND e.seq = (SELECT max(seq) FROM entries WHERE log_no = l.log_no)"
        " ORDER BY l.log_no"
    )
    return [LogHead(*row) for row in rows.fetchall()]


def ensure_heading(conn: Conn, kind: int, key_id: bytes, heads: bytes) -> int:
    """The number of a heading, made if it is new."""
    values = (kind, key_id, heads)
    return ensure_row(
        conn,
        ("SELECT heading_no FROM headings WHERE kind = ? AND key_id = ? AND heads = ?", values),
        ("INSERT INTO headings (kind, key_id, heads) VALUES (?, ?, ?)", values),
    )


def headings_by_no(conn: Conn, numbers: Iterable[int]) -> dict[int, Heading]:
    """The headings of these numbers."""
    wanted = sorted(set(numbers))
    rows = select_in(
        conn, "SELECT heading_no, kind, key_id, heads FROM headings WHERE heading_no", (), wanted
    )
    return {row[0]: Heading(*row[1:]) for row in rows}  # type: ignore[arg-type, misc]


def append_entries(conn: Conn, log_no: int, rows: Sequence[NewEntry]) -> None:
    """Append to a log, in order. A place that is taken is an IntegrityError of the library."""
    execute_rows(
        conn,
        "INSERT INTO entries"
        " (log_no, seq, heading_no, salt, ct, entry_id, signature, state, attempts)",
        9,
        [(log_no, *row) for row in rows],
    )


def read_run(conn: Conn, log_no: int, first: int, last: int, bytes_max: int) -> list[RunEntry]:
    """Consecutive entries from `first` that may be sent as one run: the last one is signed.

    It ends at the last signed entry with seq ≤ `last` within `bytes_max` (ciphertexts and 12 bytes
    each) and 4,096 entries. If there is none, it goes on to the first signed entry after:
    a holder can cut only where it holds a signature. Empty if we do not hold `first`.
    """
    cursor = conn.execute(
        "SELECT seq, heading_no, salt, ct, entry_id, signature FROM entries"
        " WHERE log_no = ? AND seq >= ? ORDER BY seq LIMIT ?",
        (log_no, first, ENTRIES_PER_RUN_MAX),
    )
    run: list[RunEntry] = []
    signed = size = 0
    expected = first
    for row in cursor:
        entry = RunEntry(*row)
        size += len(entry.ct) + ENTRY_OVERHEAD_BYTES
        beyond = size > bytes_max or entry.seq > last
        if entry.seq != expected or (beyond and signed):
            break
        run.append(entry)
        expected += 1
        if entry.signature is not None:
            signed = len(run)
            if beyond:
                break
    del run[signed:]
    return run


def entry_at(conn: Conn, log_no: int, seq: int) -> Entry | None:
    """The entry at one place of a log."""
    row = conn.execute(
        f"SELECT {_ENTRY_COLUMNS} FROM entries WHERE log_no = ? AND seq = ?", (log_no, seq)
    ).fetchone()
    return None if row is None else Entry(*row)


def entry_id_at(conn: Conn, log_no: int, seq: int) -> bytes | None:
    """The id of the entry at one place of a log."""
    row = conn.execute(
        "SELECT entry_id FROM entries WHERE log_no = ? AND seq = ?", (log_no, seq)
    ).fetchone()
    return None if row is None else bytes(row[0])


def entry_ids(conn: Conn, log_no: int, first: int, last: int) -> dict[int, bytes]:
    """The ids of the entries of a log from one place to another, by place."""
    rows = conn.execute(
        "SELECT seq, entry_id FROM entries WHERE log_no = ? AND seq BETWEEN ? AND ?",
        (log_no, first, last),
    )
    return {seq: bytes(id) for seq, id in rows.fetchall()}


def entries_in_state(
    conn: Conn, state: EntryState, after: int = 0, limit: int = ENTRIES_PER_RUN_MAX
) -> list[Entry]:
    """Entries of a state but applied, in the order of arrival, a page from `after` (exclusive)."""
    assert state is not EntryState.APPLIED, "use entries_by_arrival"
    # `state != 0` is said again because only then SQLite takes the partial index.
    rows = conn.execute(
        f"SELECT {_ENTRY_COLUMNS} FROM entries"
        " WHERE state = ? AND state != 0 AND arrival > ? ORDER BY arrival LIMIT ?",
        (int(state), after, limit),
    )
    return [Entry(*row) for row in rows.fetchall()]


def entries_by_arrival(conn: Conn, after: int, limit: int) -> list[Entry]:
    """Entries of all logs in the order of arrival, a page from `after` (exclusive): for replay."""
    rows = conn.execute(
        f"SELECT {_ENTRY_COLUMNS} FROM entries WHERE arrival > ? ORDER BY arrival LIMIT ?",
        (after, limit),
    )
    return [Entry(*row) for row in rows.fetchall()]


def entries_of_scope(conn: Conn, scope_no: int, after: int, limit: int) -> list[Entry]:
    """Entries of one scope in the order of arrival, a page from `after` (exclusive)."""
    columns = ", ".join(f"e.{name}" for name in _ENTRY_COLUMNS.split(", "))
    rows = conn.execute(
        f"SELECT {columns} FROM entries e CROSS JOIN logs l ON l.log_no = e.log_no"
        " WHERE l.scope_no = ? AND e.arrival > ? ORDER BY e.arrival LIMIT ?",
        (scope_no, after, limit),
    )
    return [Entry(*row) for row in rows.fetchall()]


def entries_by_key(conn: Conn) -> dict[bytes, int]:
    """Key id to how many entries of this store are under it."""
    rows = conn.execute(
        "SELECT h.key_id, count(*) FROM entries e JOIN headings h ON h.heading_no = e.heading_no"
        " GROUP BY h.key_id"
    )
    return {bytes(key): count for key, count in rows.fetchall()}


def set_entry_state(
    conn: Conn, log_no: int, changes: Sequence[tuple[int, EntryState, str | None]]
) -> None:
    """Set (seq, state, why) of entries of one log."""
    execute_rows(
        conn,
        "UPDATE entries SET state = v.column3, why = v.column4 FROM (",
        4,
        [(log_no, seq, int(state), why) for seq, state, why in changes],
        ") AS v WHERE log_no = v.column1 AND seq = v.column2",
    )


def bump_attempts(conn: Conn, arrivals: Sequence[int]) -> None:
    """Count one more attempt to apply these entries. Commit this before the attempt."""
    conn.execute(
        "UPDATE entries SET attempts = attempts + 1"
        " WHERE arrival IN (SELECT value FROM json_each(?))",
        (json.dumps(list(arrivals)),),
    )


def take_back_attempt(conn: Conn, log_no: int, seq: int) -> None:
    """An attempt to apply a pending entry was broken off for no fault of the entry."""
    conn.execute(
        "UPDATE entries SET attempts = attempts - 1"
        " WHERE log_no = ? AND seq = ? AND state = 1 AND attempts > 0",
        (log_no, seq),
    )


def cut_log(conn: Conn, log_no: int, from_seq: int) -> list[Entry]:
    """Take the end of a log off, from `from_seq` on, and return it in order (forks)."""
    rows = conn.execute(
        f"SELECT {_ENTRY_COLUMNS} FROM entries WHERE log_no = ? AND seq >= ? ORDER BY seq",
        (log_no, from_seq),
    ).fetchall()
    conn.execute("DELETE FROM entries WHERE log_no = ? AND seq >= ?", (log_no, from_seq))
    return [Entry(*row) for row in rows]
