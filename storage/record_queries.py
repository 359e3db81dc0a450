"""Record queries: lists, searches and counts over live records, as functions inside a job.

A database is seen as a whole: its collections are those of all its scopes. Deleted records are not
seen. Field names and values are bound as parameters or, for a field name of plain characters,
quoted into a JSON path; nothing of what a person types becomes SQL or a search expression.

No query walks a whole table; `find` without a text walks the records of one collection.

Field names are the root fields of the JSON. It is compared as `json.dumps(...,
ensure_ascii=False)` writes it.
"""

from collections.abc import Iterator, Mapping
from heapq import merge
from itertools import islice
from typing import NamedTuple

from .fields import is_text
from .store import Conn

ROWS_PER_STEP_MIN = 8


class Found(NamedTuple):
    """A live record. `value` is its JSON; (log_no, seq) is where its latest change stands."""

    record_no: int
    collection: str
    privacy: int
    bucket: int
    id: str
    value: str
    hlc: int
    log_no: int
    seq: int


class Position(NamedTuple):
    """Where a list stopped, to go on after it."""

    collection: str
    id: str
    privacy: int
    bucket: int


class Part(NamedTuple):
    """One collection of one scope."""

    coll_no: int
    name: str
    privacy: int
    bucket: int

    @property
    def place(self) -> tuple[int, int]:
        """Twins of one id are in this order: as `record_rows.locate` finds them."""
        return self.privacy, -self.bucket


COLUMNS = "r.record_no, r.coll_no, r.id, r.value, r.hlc, r.log_no, r.seq"


def list_records(
    conn: Conn, database: str, collection: str | None, after: Position | None, limit: int
) -> list[Found]:
    """A page of records in order of (collection, id, privacy, newest bucket first), from `after`
    (exclusive).

    `collection` None means all of them. Going on until a page is shorter than `limit` visits every
    record once (export); each page is a seek, however far it lies.
    """
    parts: dict[str, list[Part]] = {}
    for part in parts_of(conn, database, collection):
        parts.setdefault(part.name, []).append(part)
    page: list[Found] = []
    for name in sorted(parts):
        if after is not None and name < after.collection:
            continue
        start = after if after is not None and name == after.collection else None
        of_name = parts[name]
        runs = [_run(conn, part, start, limit - len(page), len(of_name)) for part in of_name]
        page += islice(merge(*runs, key=_in_order), limit - len(page))
        if len(page) >= limit:
            break
    return page


def counts(conn: Conn) -> dict[str, int]:
    """How many live records each database has; every database of a scope is named.

    Walks the index of ids, and the index of deleted records, but not the records.
    """
    total = (
        "SELECT s.database, (SELECT ifnull(sum((SELECT count(*) FROM records r"
        " WHERE r.coll_no = c.coll_no)"
        " - (SELECT count(*) FROM records r WHERE r.coll_no = c.coll_no AND r.value IS NULL)), 0)"
        " FROM collections c WHERE c.scope_no = s.scope_no) FROM scopes s"
    )
    sums: dict[str, int] = {}
    for database, count in conn.execute(total).fetchall():
        sums[database] = sums.get(database, 0) + count
    return sums


def parts_of(conn: Conn, database: str, collection: str | None) -> list[Part]:
    if not is_text(database) or not is_text(collection or ""):
        return []  # SQLite takes no such text, so nothing is called so.
    rows = conn.execute(
        "SELECT c.coll_no, c.name, s.privacy, s.bucket FROM scopes s"
        " CROSS JOIN collections c ON c.scope_no = s.scope_no"
        " WHERE s.database = ? AND c.name = ifnull(?, c.name) ORDER BY s.privacy, s.bucket DESC",
        (database, collection),
    )
    return [Part(*row) for row in rows.fetchall()]


def _run(conn: Conn, part: Part, after: Position | None, limit: int, parts: int) -> Iterator[Found]:
    """Live records of one part in order of id, after a position in its collection, at most `limit`.

    Of many parts (time buckets) each gives a few to a page, so a part is read in steps. Not row by
    row: cursors that are open at the same time cannot share a prepared statement.
    """
    step = limit if parts == 1 else min(max(2 * limit // parts, ROWS_PER_STEP_MIN), limit)
    # A twin of the last record, in a scope that comes later, has the same id and comes after it.
    beyond = ">=" if after is not None and part.place > (after.privacy, -after.bucket) else ">"
    id = None if after is None else after.id
    by_number = {part.coll_no: part}
    while limit > 0:
        size = min(step, limit)
        rows = conn.execute(
            f"SELECT {COLUMNS} FROM records r WHERE r.coll_no = ? AND r.value IS NOT NULL"
            + (f" AND r.id {beyond} ?" if id is not None else "")
            + " ORDER BY r.id LIMIT ?",
            [part.coll_no, *(() if id is None else (id,)), size],
        ).fetchall()
        for row in rows:
            yield found_row(row, by_number)
        if len(rows) < size:
            return
        id, beyond, limit = rows[-1][2], ">", limit - size


def _in_order(found: Found) -> tuple[str, int, int]:
    return found.id, found.privacy, -found.bucket


def found_row(row: tuple[int, int, str, str, int, int, int], parts: Mapping[int, Part]) -> Found:
    part = parts[row[1]]
    return Found(row[0], part.name, part.privacy, part.bucket, *row[2:])
