"""Record queries: lists, searches and counts over live records, as functions inside a job.

A database is seen as a whole: its collections are those of all its scopes. Deleted records are not
seen. Field names and values are bound as parameters or, for a field name of plain characters,
quoted into a JSON path; nothing of what a person types becomes SQL or a search expression.

No query walks a whole table; `find` without a text walks the records of one collection.

Field names are the root fields of the JSON. It is compared as `json.dumps(...,
ensure_ascii=False)` writes it.
"""

import math
import re
from collections.abc import Iterator, Mapping
from heapq import merge
from itertools import islice
from typing import NamedTuple

from .store import Conn, Value
from .text_rows import match_expression, stage_pending

Scalar = None | bool | int | float | str

_PLAIN_FIELD = re.compile(r"[^\"\\\x00-\x1f\x7f]+")
_HALF_PAIR = re.compile(r"[\ud800-\udfff]")
_INTEGER_MAX = 2**63 - 1
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


class _Part(NamedTuple):
    """One collection of one scope."""

    coll_no: int
    name: str
    privacy: int
    bucket: int

    @property
    def place(self) -> tuple[int, int]:
        """Twins of one id are in this order: as `record_rows.locate` finds them."""
        return self.privacy, -self.bucket


class _Query(NamedTuple):
    """What `find` looks for: SQL tests of a record `r`, and their parameters."""

    parts: Mapping[int, _Part]
    tests: str
    values: list[Value]
    order: str | None
    descending: bool
    limit: int

    @property
    def marks(self) -> str:
        return ",".join("?" * len(self.parts))

    def sorting(self) -> tuple[str, list[Value]]:
        """SQL to sort by, and its parameters."""
        direction = " DESC" if self.descending else ""
        if self.order is None or not _is_text(self.order):
            return f"r.id{direction}, r.coll_no", []
        value, _, parameter = _field(self.order)
        return f"{value}{direction}, r.id, r.coll_no", [parameter]


_COLUMNS = "r.record_no, r.coll_no, r.id, r.value, r.hlc, r.log_no, r.seq"


def list_records(
    conn: Conn, database: str, collection: str | None, after: Position | None, limit: int
) -> list[Found]:
    """A page of records in order of (collection, id, privacy, newest bucket first), from `after`
    (exclusive).

    `collection` None means all of them. Going on until a page is shorter than `limit` visits every
    record once (export); each page is a seek, however far it lies.
    """
    parts: dict[str, list[_Part]] = {}
    for part in _parts(conn, database, collection):
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


def find(
    conn: Conn,
    database: str,
    collection: str,
    where: Mapping[str, Scalar],
    text: str | None,
    order: str | None,
    descending: bool,
    limit: int,
) -> list[Found]:
    """The live records of a collection whose fields equal `where` and whose text matches.

    Numbers equal numbers (1 and 1.0), booleans only booleans, None only a null that is there.
    `order` is a field: nulls and missing first, then numbers, then strings; equal ones by id.
    Without `order` the newest (by arrival here) come first for a text, and ids ascend
    otherwise; `descending` turns round all but a text without `order`.
    """
    parts = {part.coll_no: part for part in _parts(conn, database, collection)}
    passing = _conditions(where)
    if not parts or passing is None:
        return []
    tests, values = passing
    query = _Query(parts, "r.value IS NOT NULL" + "".join(tests), values, order, descending, limit)
    return _find_any(conn, query) if text is None else _find_text(conn, query, text)


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


def _find_any(conn: Conn, query: _Query) -> list[Found]:
    in_collection = f"coll_no IN ({query.marks})"
    if query.values or query.order is not None:
        # All of the collection is looked at. In the order of the table, not of the ids, each page
        # is decrypted once: 1.8 us a record instead of 5.
        source = f"r.record_no IN (SELECT record_no FROM records WHERE {in_collection})"
    else:
        source = f"r.{in_collection}"
    sort, sort_values = query.sorting()
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM records r WHERE {source} AND {query.tests}"
        f" ORDER BY {sort} LIMIT ?",
        [*query.parts, *query.values, *sort_values, query.limit],
    ).fetchall()
    return [_found(row, query.parts) for row in rows]


def _find_text(conn: Conn, query: _Query, text: str) -> list[Found]:
    match = match_expression(text)
    if match is None:
        return []
    staged = stage_pending(conn)
    tests = f"r.coll_no IN ({query.marks}) AND {query.tests}"
    old = (
        "FROM record_text t CROSS JOIN records r ON r.record_no = t.rowid WHERE record_text MATCH ?"
        f" AND t.rowid NOT IN (SELECT record_no FROM text_pending) AND {tests}"
    )
    new = (
        "FROM temp.fresh_text t CROSS JOIN records r ON r.record_no = t.rowid"
        f" WHERE fresh_text MATCH ? AND {tests}"
    )
    parameters = [match, *query.parts, *query.values]
    if query.order is None:
        # Each side is walked from its newest hit and left as soon as there are enough.
        rows = []
        for side in (old, new) if staged else (old,):
            rows += conn.execute(
                f"SELECT {_COLUMNS} {side} ORDER BY t.rowid DESC LIMIT ?",
                [*parameters, query.limit],
            ).fetchall()
        rows.sort(key=lambda row: -row[0])
        del rows[query.limit :]
    else:
        sort, sort_values = query.sorting()
        both = f"SELECT {_COLUMNS} {old}"
        if staged:
            both += f" UNION ALL SELECT {_COLUMNS} {new}"
            parameters += parameters
        rows = conn.execute(
            f"SELECT * FROM ({both}) r ORDER BY {sort} LIMIT ?",
            [*parameters, *sort_values, query.limit],
        ).fetchall()
    return [_found(row, query.parts) for row in rows]


def _parts(conn: Conn, database: str, collection: str | None) -> list[_Part]:
    rows = conn.execute(
        "SELECT c.coll_no, c.name, s.privacy, s.bucket FROM scopes s"
        " CROSS JOIN collections c ON c.scope_no = s.scope_no"
        " WHERE s.database = ? AND c.name = ifnull(?, c.name) ORDER BY s.privacy, s.bucket DESC",
        (database, collection),
    )
    return [_Part(*row) for row in rows.fetchall()]


def _run(
    conn: Conn, part: _Part, after: Position | None, limit: int, parts: int
) -> Iterator[Found]:
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
            f"SELECT {_COLUMNS} FROM records r WHERE r.coll_no = ? AND r.value IS NOT NULL"
            + (f" AND r.id {beyond} ?" if id is not None else "")
            + " ORDER BY r.id LIMIT ?",
            [part.coll_no, *(() if id is None else (id,)), size],
        ).fetchall()
        for row in rows:
            yield _found(row, by_number)
        if len(rows) < size:
            return
        id, beyond, limit = rows[-1][2], ">", limit - size


def _in_order(found: Found) -> tuple[str, int, int]:
    return found.id, found.privacy, -found.bucket


def _found(row: tuple[int, int, str, str, int, int, int], parts: Mapping[int, _Part]) -> Found:
    part = parts[row[1]]
    return Found(row[0], part.name, part.privacy, part.bucket, *row[2:])


def _field(name: str) -> tuple[str, str, str]:
    """SQL for the value and for the JSON type of a root field, and the parameter of either."""
    if _PLAIN_FIELD.fullmatch(name):
        return "json_extract(r.value, ?)", "json_type(r.value, ?)", f'$."{name}"'
    # A name that a path cannot quote in every version of SQLite is compared as it is.
    each = "FROM json_each(r.value) j WHERE j.key = ? LIMIT 1"
    return f"(SELECT j.atom {each})", f"(SELECT j.type {each})", name


def _conditions(where: Mapping[str, Scalar]) -> tuple[list[str], list[Value]] | None:
    """SQL tests for all fields and their parameters, or None if no record can pass."""
    tests: list[str] = []
    values: list[Value] = []
    for name, wanted in where.items():
        value, kind, parameter = _field(name)
        match wanted:
            case None:
                tests.append(f" AND {kind} = 'null'")
                values.append(parameter)
            case bool():
                tests.append(f" AND {kind} = '{'true' if wanted else 'false'}'")
                values.append(parameter)
            case int() | float():
                if not _is_storable(wanted):
                    return None
                tests.append(f" AND {value} = ? AND {kind} IN ('integer', 'real')")
                values += [parameter, wanted, parameter]
            case str():
                if not _is_text(wanted):
                    return None
                tests.append(f" AND {value} = ? AND {kind} = 'text'")
                values += [parameter, wanted, parameter]
        if not _is_text(name):
            return None
    return tests, values


def _is_storable(number: int | float) -> bool:
    return abs(number) <= _INTEGER_MAX if isinstance(number, int) else math.isfinite(number)


def _is_text(typed: str) -> bool:
    """False for half of a surrogate pair, which a command line can carry and JSON here cannot."""
    return _HALF_PAIR.search(typed) is None
