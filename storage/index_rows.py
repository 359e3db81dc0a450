"""Index rows: declared indexes over fields of records, as functions inside a job.

An index belongs to one collection of one database on this device, in whatever scopes it is, and
has one to `FIELDS_MAX` fields. Its table has a row a record with what the fields are ordered by
(`fields.rank_of`), and follows the feed of changes: `catch_up` takes the next changes, all of it in
SQL. What it has not taken yet, a query looks at one by one (`finding.py`), so an answer is
right however far behind an index is. Names of tables are made of numbers alone.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

from .conditions import Bounds
from .feed_rows import last_change, numbers_of
from .fields import Sql, joined, numbers_in, rank_of
from .store import Conn, Value

FIELDS_MAX = 4
INDEXES_MAX = 200
"""Of one store."""


class Index(NamedTuple):
    """A declared index, and the number of the last change that it has taken."""

    index_no: int
    database: str
    collection: str
    fields: tuple[str, ...]
    reached: int

    @property
    def table(self) -> str:
        return f"index_{self.index_no:d}"


class Walk(NamedTuple):
    """How an index is gone through for a query: what narrows it down, and what it is sorted by.

    `ordered` is the column that gives the order asked for, "" if it gives none.
    """

    of: Index
    narrowed: Sql
    ordered: str
    served: int
    """How many fields of the query it serves."""


_SELECT = "SELECT index_no, database, collection, fields, reached FROM field_indexes"


def indexes(conn: Conn) -> list[Index]:
    """All indexes, in the order of their names and fields."""
    rows = conn.execute(f"{_SELECT} ORDER BY database, collection, fields").fetchall()
    return [_index(row) for row in rows]


def indexes_of(conn: Conn, database: str, collection: str) -> list[Index]:
    """The indexes of one collection, the oldest first."""
    rows = conn.execute(
        f"{_SELECT} WHERE database = ? AND collection = ? ORDER BY index_no", (database, collection)
    ).fetchall()
    return [_index(row) for row in rows]


def declare(conn: Conn, database: str, collection: str, fields: Sequence[str]) -> Index:
    """The index, made empty if there is none: it has taken no change yet.

    Raises: BadFieldError. The caller checks the number of fields and of indexes.
    """
    for field in fields:
        rank_of(field)
    names = json.dumps(list(fields), ensure_ascii=False)
    values = (database, collection, names)
    where = f"{_SELECT} WHERE database = ? AND collection = ? AND fields = ?"
    row = conn.execute(where, values).fetchone()
    if row is not None:
        return _index(row)
    conn.execute(
        "INSERT INTO field_indexes (database, collection, fields, reached) VALUES (?, ?, ?, 0)",
        values,
    )
    index = _index(conn.execute(where, values).fetchone())
    columns = ", ".join(_columns(index))
    # A table for the record's number, by which a change finds its row, and an index for the fields.
    conn.execute(f"CREATE TABLE {index.table} (record_no INTEGER PRIMARY KEY, {columns})")
    conn.execute(f"CREATE INDEX {index.table}_fields ON {index.table} ({columns})")
    return index


def drop(conn: Conn, index: Index) -> None:
    """Forget an index; the records stay as they are."""
    conn.execute("DELETE FROM field_indexes WHERE index_no = ?", (index.index_no,))
    conn.execute(f"DROP TABLE IF EXISTS {index.table}")


def catch_up(conn: Conn, index_no: int, changes_max: int) -> int:
    """Take the next changes; how many are left. Nothing is left of an index that was dropped."""
    row = conn.execute(f"{_SELECT} WHERE index_no = ?", (index_no,)).fetchone()
    if row is None:
        return 0
    index = _index(row)
    (upto,) = conn.execute(
        "SELECT max(change_no) FROM (SELECT change_no FROM record_marks WHERE change_no > ?"
        " ORDER BY change_no LIMIT ?)",
        (index.reached, changes_max),
    ).fetchone()
    if upto is None:
        return 0
    span = (index.reached, upto)
    if index.reached:  # Until then there are no rows.
        conn.execute(
            f"DELETE FROM {index.table} WHERE record_no IN"
            " (SELECT record_no FROM record_marks WHERE change_no > ? AND change_no <= ?)",
            span,
        )
    numbers = numbers_of(conn, index.database, index.collection)
    if numbers:
        ranks = joined([rank_of(field) for field in index.fields], ", ")
        take = (
            Sql(f"INSERT OR REPLACE INTO {index.table} SELECT r.record_no, ")
            + ranks
            + Sql(
                " FROM record_marks m CROSS JOIN records r ON r.record_no = m.record_no"
                " WHERE m.change_no > ? AND m.change_no <= ? AND r.value IS NOT NULL"
                " AND r.coll_no IN ",
                span,
            )
            + numbers_in(numbers)
        )
        conn.execute(take.text, take.values)
    conn.execute("UPDATE field_indexes SET reached = ? WHERE index_no = ?", (upto, index_no))
    return last_change(conn) - int(upto)


def pending(conn: Conn, index: Index, at_most: int) -> int:
    """How many changes an index has not taken yet, counted up to `at_most`."""
    (count,) = conn.execute(
        "SELECT count(*) FROM (SELECT 1 FROM record_marks WHERE change_no > ? LIMIT ?)",
        (index.reached, at_most),
    ).fetchone()
    return int(count)


def plan(
    candidates: Sequence[Index],
    bounds: dict[str, Bounds],
    order: Sequence[tuple[str, bool]],
    is_whole: bool,
) -> Walk | None:
    """The index that narrows a query down most, or gives its order; None if none helps.

    `bounds` has those of each field that a condition bounds; `order` the fields to sort by, and
    whether descending; `is_whole` that there is no other condition.
    """
    walks = [walk for index in candidates if (walk := _walk(index, bounds, order, is_whole))]
    return max(walks, key=lambda w: (w.served, bool(w.ordered), -len(w.of.fields)), default=None)


def _walk(
    index: Index, bounds: dict[str, Bounds], order: Sequence[tuple[str, bool]], is_whole: bool
) -> Walk | None:
    narrowed: list[Sql] = []
    place, single = 0, True
    for field in index.fields:
        found = bounds.get(field)
        if found is None or found.equal is None:
            break
        narrowed.append(_equal(place, found.equal))
        single = single and len(found.equal) == 1
        place += 1
    served = 2 * place
    if place < len(index.fields):
        found = bounds.get(index.fields[place])
        ends = [] if found is None else [end for end in (found.low, found.high) if end is not None]
        narrowed += [Sql(f"i.c{place} {sign} ?", (value,)) for sign, value in ends]
        served += bool(ends)
    ordered = ""
    if order and single and index.fields[place : place + 1] == (order[0][0],):
        ordered = f"c{place}"
    if not served and not (ordered and is_whole):
        return None
    return Walk(index, joined(narrowed, " AND "), ordered, served)


def _equal(place: int, values: Sequence[Value]) -> Sql:
    # With `IN`, even of one value, the index would not be gone through in its order.
    if len(values) == 1:
        return Sql(f"i.c{place} = ?", tuple(values))
    return Sql(f"i.c{place} IN ({','.join('?' * len(values))})", tuple(values))


def _columns(index: Index) -> list[str]:
    return [f"c{place}" for place in range(len(index.fields))]


def _index(row: Sequence[int | str]) -> Index:
    number, database, collection, fields, reached = row
    return Index(
        int(number), str(database), str(collection), tuple(json.loads(str(fields))), int(reached)
    )
