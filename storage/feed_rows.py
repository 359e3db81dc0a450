"""Feed rows: what changed since, for whatever follows the records, as functions inside a job.

Indexes, vectors, tables for analysis, views and caches are made from the records and keep up with
them by this feed. Each remembers the number of the last change that it took; there may be any
number of them, and each may be away for as long as it likes. A record occurs once, with its latest
change, so the feed does not grow with the number of writes. The numbers are this store's own.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

from .store import Conn


class Mark(NamedTuple):
    """One changed record. `value` is its JSON, None if it is deleted.

    `coll_no` and `id` are None if its row is gone, or is in no collection that was asked for.
    """

    change_no: int
    record_no: int
    coll_no: int | None
    id: str | None
    value: str | None


class Page(NamedTuple):
    """Changes in order, and how far they reach. No marks: whoever asked has seen everything."""

    marks: list[Mark]
    reached: int


def last_change(conn: Conn) -> int:
    """The number of the latest change, 0 if there never was one."""
    number: int = conn.execute("SELECT ifnull(max(change_no), 0) FROM record_marks").fetchone()[0]
    return number


def numbers_of(conn: Conn, database: str, collection: str) -> list[int]:
    """The numbers that a collection has, one for each scope it is in. They can become more."""
    rows = conn.execute(
        "SELECT c.coll_no FROM scopes s CROSS JOIN collections c ON c.scope_no = s.scope_no"
        " WHERE s.database = ? AND c.name = ? ORDER BY c.coll_no",
        (database, collection),
    )
    return [row[0] for row in rows.fetchall()]


def changes(conn: Conn, after: int, collections: Sequence[int], limit: int) -> Page:
    """The next changes after a number, at most `limit`. Only records of these collections are read.

    Marks of other records are in it too, by number alone: one whose row is gone may have been in
    these collections, and whoever holds something of that number has to let go of it.
    """
    rows = conn.execute(
        "SELECT m.change_no, m.record_no, r.coll_no, r.id, r.value FROM"
        " (SELECT change_no, record_no FROM record_marks WHERE change_no > ?"
        " ORDER BY change_no LIMIT ?) m LEFT JOIN records r ON r.record_no = m.record_no"
        " AND r.coll_no IN (SELECT value FROM json_each(?)) ORDER BY m.change_no",
        (after, limit, json.dumps(list(collections))),
    ).fetchall()
    return Page([Mark(*row) for row in rows], rows[-1][0] if rows else after)


def changed_since(conn: Conn, seen: int, collections: Sequence[int]) -> bool:
    """Whether a record of these collections, or one that is gone, has changed after a number."""
    marks = ",".join("?" * len(collections))
    row = conn.execute(
        "SELECT 1 FROM record_marks m LEFT JOIN records r ON r.record_no = m.record_no"
        f" WHERE m.change_no > ? AND (r.coll_no IS NULL OR r.coll_no IN ({marks})) LIMIT 1",
        (seen, *collections),
    ).fetchone()
    return row is not None
