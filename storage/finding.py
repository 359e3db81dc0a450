"""Finding: the records of a collection that pass conditions, in an order, a page at a time.

Three ways lead to the records: an index that was declared (`index_rows.plan`), the index of words
for a text, or else all records of the collection. Every record is tested in full on each way, and
what an index has not taken yet is looked at beside it, so the way decides the time and never the
answer. `explain` says which it is.

An order is total: fields, then the id, then the place among twins of one id. A page names
where it stopped by what its last record is ordered by, so records that come or go elsewhere move
nothing; for a text without an order it is the number of the record.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

from .conditions import Bounds, Condition, bounds_of, test_of
from .fields import LOWEST, Sql, is_text, joined, numbers_in, rank_of
from .index_rows import Index, Walk, indexes_of, pending, plan
from .record_queries import COLUMNS, Found, Part, found_row, parts_of
from .store import Conn, Value
from .text_rows import match_expression, stage_pending

PENDING_CHANGES_MAX = 500
"""An index that has not taken more changes than this is not used: to look at each is slower."""


class Query(NamedTuple):
    """What to look for. `order` has fields and whether they descend; without it ids are the order,
    or for a text the newest by arrival come first. `after` is a `Page.last`.
    """

    where: tuple[Condition, ...] = ()
    text: str | None = None
    order: tuple[tuple[str, bool], ...] = ()
    ids_descend: bool = False
    limit: int = 100
    offset: int = 0
    after: tuple[Value, ...] | None = None


class Page(NamedTuple):
    """Records in order. `last` is where the page stopped, None if there is no more."""

    records: list[Found]
    last: tuple[Value, ...] | None


class Way(NamedTuple):
    """How a query goes to the records: by which fields of an index, a text, or neither.

    `late` is how many changes an index that would help has not taken, if that is why it is not
    used.
    """

    fields: tuple[str, ...]
    text: bool
    ordered: bool
    late: int


class Answer(NamedTuple):
    """A page, how it was reached, and the indexes that its collection has."""

    page: Page
    way: Way
    indexes: Sequence[Index]


class _Plan(NamedTuple):
    parts: Mapping[int, Part]
    tests: Sql
    keys: list[tuple[Sql, bool]]
    walk: Walk | None
    late: int
    indexes: list[Index]
    table: str = "records"


def find(conn: Conn, database: str, collection: str | None, query: Query) -> Page:
    """Records of one collection; of all of them, without any declared index, if it is None.

    Raises: BadFieldError.
    """
    return answer(conn, database, collection, query).page


def answer(conn: Conn, database: str, collection: str | None, query: Query) -> Answer:
    """A page, with what is known by then of how it was reached. Raises as `find`."""
    made = _plan(conn, database, collection, query)
    if made is None:
        return Answer(Page([], None), _way(query, None), ())
    return Answer(_page(conn, query, made), _way(query, made), made.indexes)


def find_in(conn: Conn, table: str, database: str, query: Query) -> Page:
    """As `find`, of what is in a table that has the columns of `records`, for fields alone.

    Raises: BadFieldError.
    """
    assert query.text is None
    made = _plan(conn, database, None, query)
    return Page([], None) if made is None else _page(conn, query, made._replace(table=table))


def explain(conn: Conn, database: str, collection: str, query: Query) -> Way:
    """How `find` would go about it. Raises: BadFieldError."""
    return _way(query, _plan(conn, database, collection, query))


def _page(conn: Conn, query: Query, made: _Plan) -> Page:
    keys = made.keys
    if query.limit <= 0:
        return Page([], None)
    by = _by_fields if query.text is None else _by_text
    source = by(conn, query, made)
    if source is None:
        return Page([], None)
    order = ", ".join(f"k{n}{' DESC' if down else ''}" for n, (_, down) in enumerate(keys))
    # One more than asked for tells whether there is a page after this one.
    whole = source + Sql(f" ORDER BY {order} LIMIT ? OFFSET ?", (query.limit + 1, query.offset))
    rows = conn.execute(whole.text, whole.values).fetchall()
    more = len(rows) > query.limit
    del rows[query.limit :]
    width = len(keys)
    records = [found_row(row[width:], made.parts) for row in rows]
    return Page(records, tuple(rows[-1][:width]) if more else None)


def _way(query: Query, made: _Plan | None) -> Way:
    if made is None:
        return Way((), False, False, 0)
    if query.text is not None:
        return Way((), True, False, 0)
    if made.walk is None:
        return Way((), False, False, made.late)
    return Way(made.walk.of.fields, False, bool(made.walk.ordered), 0)


def _plan(conn: Conn, database: str, collection: str | None, query: Query) -> _Plan | None:
    """None if no record can pass."""
    parts = {part.coll_no: part for part in parts_of(conn, database, collection)}
    tests = [test_of(condition) for condition in query.where]
    if not parts or any(test is None for test in tests):
        return None
    keys = _keys(query)
    passing = [Sql("r.coll_no IN ") + numbers_in(list(parts)), Sql("r.value IS NOT NULL")]
    passing += [test for test in tests if test is not None]
    if query.after is not None:
        passing.append(_beyond(keys, query.after))
    indexes = [] if collection is None else indexes_of(conn, database, collection)
    walk, late = None, 0
    if query.text is None and collection is not None:
        bounds, is_whole = _bounds(query.where)
        order = [(field, down) for field, down in query.order if is_text(field)]
        walk = plan(indexes, bounds, order, is_whole)
        if walk is not None:
            late = pending(conn, walk.of, PENDING_CHANGES_MAX + 1)
            if late > PENDING_CHANGES_MAX:
                walk = None
    return _Plan(parts, joined(passing, " AND "), keys, walk, late, indexes)


def _keys(query: Query) -> list[tuple[Sql, bool]]:
    """What is sorted by, and whether it descends."""
    if query.text is not None and not query.order:
        return [(Sql("r.record_no"), True)]
    keys = [(rank_of(field), down) for field, down in query.order if is_text(field)]
    return [*keys, (Sql("r.id"), query.ids_descend), (Sql("r.coll_no"), False)]


def _bounds(where: Sequence[Condition]) -> tuple[dict[str, Bounds], bool]:
    """The bounds of each field, and whether they say all that is asked.

    Of several conditions for one field the ends are put together; one that says what the field is
    equal to says all.
    """
    found: dict[str, Bounds] = {}
    is_whole = True
    for condition in where:
        bounds = bounds_of(condition)
        if bounds is None:
            is_whole = False
            continue
        before = found.get(condition.field)
        if before is not None and before.equal is not None:
            continue
        if before is not None and bounds.equal is None:
            bounds = Bounds(None, before.low or bounds.low, _narrower(before.high, bounds.high))
        found[condition.field] = bounds
    return found, is_whole


def _narrower(one: Any, other: Any) -> Any:
    """Of two upper ends the one that somebody asked for: `< ""` is only where the numbers end."""
    return other if one is None or (one == ("<", "") and other is not None) else one


def _beyond(keys: Sequence[tuple[Sql, bool]], after: tuple[Value, ...]) -> Sql:
    """True of the records that come after a place, which is one of `is_place`."""
    assert len(after) == len(keys), "a page of another query stopped there"
    test = Sql("0")
    for (key, down), value in reversed(list(zip(keys, after, strict=True))):
        further = Sql("(") + key + Sql(f" {'<' if down else '>'} ?", (value,))
        test = further + " OR (" + key + Sql(" = ?", (value,)) + " AND " + test + "))"
    return test


def _columns(keys: Sequence[tuple[Sql, bool]]) -> Sql:
    named = [key + f" AS k{n}" for n, (key, _) in enumerate(keys)]
    return Sql("SELECT ") + joined(named, ", ") + f", {COLUMNS}"


def _by_fields(conn: Conn, query: Query, made: _Plan) -> Sql:
    select, walk = _columns(made.keys), made.walk
    if walk is None:
        if not query.where and not query.order:
            return select + f" FROM {made.table} r WHERE " + made.tests
        # All of the collection is looked at. In the order of the table, not of the ids, each page
        # is decrypted once: 1.8 us a record instead of 5.
        inside = Sql(f"r.record_no IN (SELECT record_no FROM {made.table} WHERE coll_no IN ")
        inside += numbers_in(list(made.parts))
        return select + f" FROM {made.table} r WHERE " + inside + ") AND " + made.tests
    reached = walk.of.reached
    late = "(SELECT record_no FROM record_marks WHERE change_no > ?)"
    old = Sql(
        f" FROM {walk.of.table} i CROSS JOIN records r ON r.record_no = i.record_no WHERE"
        f" i.record_no NOT IN {late} AND ",
        (reached,),
    )
    if walk.narrowed.text:
        old += walk.narrowed + " AND "
    old += made.tests
    if walk.ordered:
        if query.after is not None:
            sign = "<=" if query.order[0][1] else ">="
            old += Sql(f" AND i.{walk.ordered} {sign} ?", (query.after[0],))
        old += _as_far(conn, query, walk, old)
    new = Sql(
        " FROM record_marks m CROSS JOIN records r ON r.record_no = m.record_no"
        " WHERE m.change_no > ? AND ",
        (reached,),
    )
    return select + old + " UNION ALL " + select + new + made.tests


def _as_far(conn: Conn, query: Query, walk: Walk, old: Sql) -> Sql:
    """How far an index has to be gone through for the page, if there are so many that pass.

    The index gives the order of its fields alone; among records that are equal in them the rest of
    the order decides. So it is asked for the value at which the page ends, and all up to there,
    that value included, are sorted.
    """
    down = query.order[0][1]
    last = (
        Sql(f"SELECT i.{walk.ordered}")
        + old
        + Sql(
            f" ORDER BY i.{walk.ordered}{' DESC' if down else ''} LIMIT 1 OFFSET ?",
            (query.limit + query.offset,),
        )
    )
    row = conn.execute(last.text, last.values).fetchone()
    if row is None:
        return Sql("")
    return Sql(f" AND i.{walk.ordered} {'>=' if down else '<='} ?", (row[0],))


def _by_text(conn: Conn, query: Query, made: _Plan) -> Sql | None:
    assert query.text is not None
    match = match_expression(query.text)
    if match is None:
        return None
    select = _columns(made.keys)
    staged = stage_pending(conn)
    old = Sql(
        " FROM record_text t CROSS JOIN records r ON r.record_no = t.rowid WHERE record_text"
        " MATCH ? AND t.rowid NOT IN (SELECT record_no FROM text_pending) AND ",
        (match,),
    )
    new = Sql(
        " FROM temp.fresh_text t CROSS JOIN records r ON r.record_no = t.rowid"
        " WHERE fresh_text MATCH ? AND ",
        (match,),
    )
    sides = [old, new] if staged else [old]
    found = [select + side + made.tests for side in sides]
    if not query.order:
        # Each side is walked from its newest hit and left as soon as there are enough.
        enough = Sql(" ORDER BY t.rowid DESC LIMIT ?", (query.limit + query.offset + 1,))
        found = [Sql("SELECT * FROM (") + side + enough + ")" for side in found]
    return joined(found, " UNION ALL ")


def is_place(query: Query, last: Sequence[object]) -> bool:
    """Whether a page of this query can have stopped there: each value is of the kind of its key."""
    if query.text is not None and not query.order:
        return len(last) == 1 and _is_number(last[0])
    *ranks, id, number = last if len(last) >= 2 else ("", None, None)
    return (
        len(ranks) == len([field for field, _ in query.order if is_text(field)])
        and all(rank == LOWEST or _is_rank(rank) for rank in ranks)
        and type(id) is str
        and is_text(id)
        and _is_number(number)
    )


def _is_rank(value: object) -> bool:
    if type(value) is str:
        return is_text(value)
    return _is_number(value) or (type(value) is float and isfinite(value))


def _is_number(value: object) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def lowest_as_none(last: tuple[Value, ...]) -> list[Value]:
    """A place in a form that JSON can say."""
    return [None if value == LOWEST else value for value in last]


def none_as_lowest(last: Sequence[Value]) -> tuple[Value, ...]:
    """A place that was written by `lowest_as_none`."""
    return tuple(LOWEST if value is None else value for value in last)
