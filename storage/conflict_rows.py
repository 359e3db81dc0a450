"""Conflict rows: what is or was in dispute about records, as functions inside a job.

The rows of a record are replaced together, with the record, because both are made from its changes.
What the JSON of a row says is the caller's.
"""

import json
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from .bulk import execute_rows
from .store import Conn


class ConflictState(IntEnum):
    """The values of the column `state`."""

    OPEN = 0
    SETTLED = 1
    RESOLVED = 2


class Conflict(NamedTuple):
    """One conflict of a record."""

    conflict_id: bytes
    state: int
    hlc: int
    field: str
    rule: str
    body: str


class Found(NamedTuple):
    """A conflict, and the record that it is about."""

    database: str
    collection: str
    id: str
    privacy: int
    bucket: int
    conflict_id: bytes
    state: int
    hlc: int
    field: str
    rule: str
    body: str


_FOUND = (
    "SELECT s.database, c.name, r.id, s.privacy, s.bucket,"
    " f.conflict_id, f.state, f.hlc, f.field, f.rule, f.body"
    " FROM conflicts f CROSS JOIN records r ON r.record_no = f.record_no"
    " CROSS JOIN collections c ON c.coll_no = r.coll_no"
    " CROSS JOIN scopes s ON s.scope_no = c.scope_no"
)


def replace_conflicts(conn: Conn, rows: Mapping[int, Sequence[Conflict]]) -> None:
    """Give records, by number, these conflicts and no others."""
    forget_conflicts(conn, list(rows))
    execute_rows(
        conn,
        "INSERT INTO conflicts (record_no, conflict_id, state, hlc, field, rule, body)",
        7,
        [(number, *row) for number, found in rows.items() for row in found],
    )


def forget_conflicts(conn: Conn, record_nos: Sequence[int]) -> None:
    """These records have none any more."""
    if record_nos:
        conn.execute(
            "DELETE FROM conflicts WHERE record_no IN (SELECT value FROM json_each(?))",
            (json.dumps(list(record_nos)),),
        )


def page(
    conn: Conn,
    states: Sequence[ConflictState],
    database: str | None,
    after: tuple[int, int, bytes] | None,
    limit: int,
    resolved_since: int = 0,
) -> list[Found]:
    """Conflicts in these states, the newest first; open ones before settled ones, and so on.

    `after` is (state, hlc, conflict id) of the last of the page before. What was resolved before
    `resolved_since` is left out.
    """
    found: list[Found] = []
    for state in sorted(states):
        if after is not None and state < after[0]:
            continue
        since = resolved_since if state == ConflictState.RESOLVED else 0
        place = after[1:] if after is not None and state == after[0] else None
        found += _page_of(conn, state, database, place, limit - len(found), since)
        if len(found) == limit:
            break
    return found


def _page_of(
    conn: Conn,
    state: ConflictState,
    database: str | None,
    after: tuple[int, bytes] | None,
    limit: int,
    since: int,
) -> list[Found]:
    """Of one state: read in the order of the index, so that a page costs what is on it."""
    where, arguments = ["f.state = ? AND f.hlc >= ?"], [state, since]
    values: list[str | int | bytes] = list(arguments)
    if database is not None:
        where.append("s.database = ?")
        values.append(database)
    if after is not None:
        hlc, conflict_id = after
        where.append("f.hlc <= ? AND (f.hlc < ? OR f.conflict_id > ?)")
        values += [hlc, hlc, conflict_id]
    rows = conn.execute(
        f"{_FOUND} WHERE {' AND '.join(where)} ORDER BY f.hlc DESC, f.conflict_id LIMIT ?",
        (*values, limit),
    )
    return [Found(*row) for row in rows.fetchall()]


def by_id(conn: Conn, conflict_id: bytes) -> list[Found]:
    """The conflict with this id; more than one only where a record lives in several scopes."""
    rows = conn.execute(f"{_FOUND} WHERE f.conflict_id = ?", (conflict_id,))
    return [Found(*row) for row in rows.fetchall()]


def of_record(conn: Conn, database: str, collection: str, record_id: str) -> list[Found]:
    """What is or was in dispute about a record, open first."""
    rows = conn.execute(
        f"{_FOUND} WHERE s.database = ? AND c.name = ? AND r.id = ?"
        " ORDER BY f.state, f.field, f.conflict_id",
        (database, collection, record_id),
    )
    return [Found(*row) for row in rows.fetchall()]


def places(
    conn: Conn, keys: Sequence[tuple[int, str, str]]
) -> dict[tuple[int, str, str], tuple[int, int, int, int]]:
    """Where the latest changes of records stand: log number, seq, item, and their time."""
    found = {}
    for key in keys:
        row = conn.execute(
            "SELECT r.log_no, r.seq, r.item, r.hlc FROM collections c"
            " CROSS JOIN records r ON r.coll_no = c.coll_no"
            " WHERE c.scope_no = ? AND c.name = ? AND r.id = ?",
            key,
        ).fetchone()
        if row is not None:
            found[key] = (row[0], row[1], row[2], row[3])
    return found


def contested_records(
    conn: Conn, database: str, rule: str | None = None
) -> list[tuple[int, str, str]]:
    """(scope number, collection, id) of the records of a database that have a conflict.

    With `rule`, of those that have one under this rule.
    """
    rows = conn.execute(
        "SELECT DISTINCT s.scope_no, c.name, r.id FROM scopes s"
        " CROSS JOIN collections c ON c.scope_no = s.scope_no"
        " CROSS JOIN records r ON r.coll_no = c.coll_no"
        " CROSS JOIN conflicts f ON f.record_no = r.record_no"
        " WHERE s.database = ? AND f.rule = coalesce(?, f.rule)"
        " ORDER BY s.scope_no, c.name, r.id",
        (database, rule),
    )
    return [tuple(row) for row in rows.fetchall()]
