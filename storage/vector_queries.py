"""Vector queries: vectors of records that pass conditions, as functions inside a job.

Conditions are tested on the short copy of the fields that stands beside each vector, and mean what
they mean to `record_queries.find`. Vectors are float32, little-endian.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

from .conditions import Condition, Test, test_of
from .fields import Sql, joined
from .sketch_rows import Held
from .store import Conn
from .vector_rows import TEXT_MAX, Standing


def count(conn: Conn, field_no: int) -> int:
    """How many records can be found by this field."""
    total, without = conn.execute(
        "SELECT (SELECT count(*) FROM vectors WHERE field_no = ?),"
        " (SELECT count(*) FROM vectors WHERE field_no = ? AND vector IS NULL)",
        (field_no, field_no),
    ).fetchone()
    return int(total - without)


def left_out(conn: Conn, field_no: int) -> dict[Standing, int]:
    """How many records cannot be found by this field, by the reason."""
    rows = conn.execute(
        "SELECT standing, count(*) FROM vectors WHERE field_no = ? AND vector IS NULL"
        " GROUP BY standing ORDER BY standing",
        (field_no,),
    )
    return {Standing(row[0]): row[1] for row in rows.fetchall()}


def one(conn: Conn, field_no: int, record_no: int) -> tuple[Standing, bytes | None] | None:
    """The row of a record, None if it has none."""
    row = conn.execute(
        "SELECT standing, vector FROM vectors WHERE field_no = ? AND record_no = ?",
        (field_no, record_no),
    ).fetchone()
    return None if row is None else (Standing(row[0]), row[1])


def page(
    conn: Conn, field_no: int, after: int, limit: int, where: Sequence[Condition] = ()
) -> list[Held]:
    """The next vectors in the order of record numbers, of records that pass the conditions.

    Fewer than `limit`: there are no more.
    """
    if where:
        return among(conn, field_no, _passing(conn, field_no, after, limit, where))
    rows = conn.execute(
        "SELECT record_no, vector FROM vectors WHERE field_no = ? AND record_no > ?"
        " AND vector NOTNULL ORDER BY record_no LIMIT ?",
        (field_no, after, limit),
    )
    return [Held(*row) for row in rows.fetchall()]


def _passing(
    conn: Conn, field_no: int, after: int, limit: int, where: Sequence[Condition]
) -> list[int]:
    tests = _tests(where)
    if tests is None:
        return []
    rows = conn.execute(
        f"SELECT r.record_no FROM {tests.source} WHERE r.field_no = ? AND r.record_no > ?"
        f" AND {_HAS_VECTOR}{tests.test.text} ORDER BY r.record_no LIMIT ?",
        [field_no, after, *tests.test.values, limit],
    )
    return [row[0] for row in rows.fetchall()]


def among(
    conn: Conn, field_no: int, numbers: Sequence[int], where: Sequence[Condition] = ()
) -> list[Held]:
    """The vectors of these records, of those that have one and pass the conditions."""
    tests = _tests(where)
    if tests is None:
        return []
    # In the order of the numbers, as `page` has to be; the vectors lie in that order too.
    rows = conn.execute(
        f"SELECT r.record_no, v.vector FROM {tests.source} CROSS JOIN vectors v"
        " ON v.field_no = r.field_no AND v.record_no = r.record_no WHERE r.field_no = ?"
        f" AND r.record_no IN (SELECT value FROM json_each(?)) AND {_HAS_VECTOR}{tests.test.text}"
        " ORDER BY r.record_no",
        [field_no, json.dumps(list(numbers)), *tests.test.values],
    )
    return [Held(*row) for row in rows.fetchall()]


class _Tests(NamedTuple):
    """SQL of a source of rows `r` of vectors with the value to be tested, and tests of it."""

    source: str
    test: Sql


_EQUAL = {Test.EQUAL, Test.ONE_OF}
_RANGES = {Test.LESS, Test.AT_MOST, Test.MORE, Test.AT_LEAST}
_HAS_VECTOR = f"r.standing IN ({int(Standing.WRITTEN)}, {int(Standing.MADE)})"
_SHORT = "(SELECT field_no, record_no, standing, fields AS value FROM vectors) r"
_WHOLE = (
    "(SELECT v.field_no, v.record_no, v.standing, w.value FROM vectors v"
    " CROSS JOIN records w ON w.record_no = v.record_no WHERE w.value NOTNULL) r"
)


def _tests(where: Sequence[Condition]) -> _Tests | None:
    """None if no record can pass."""
    found: list[Sql] = []
    for condition in where:
        test = test_of(condition)
        if test is None:
            return None
        found.append(Sql(" AND ") + test)
    return _Tests(_SHORT if all(map(_is_short, where)) else _WHOLE, joined(found, ""))


def _is_short(condition: Condition) -> bool:
    """Whether the short copy of the fields tells what the record would."""
    if condition.field.startswith("/"):
        return False
    if condition.test in _EQUAL:
        return all(
            operand.kind != "bytes" and len(str(operand.value)) <= TEXT_MAX
            for operand in condition.operands
        )
    return condition.test in _RANGES and condition.operands[0].kind in ("number", "time")


def sample(conn: Conn, field_no: int, limit: int) -> list[Held]:
    """Some vectors, at most `limit`, from everywhere between the oldest and the newest record."""
    first, last = conn.execute(
        "SELECT min(record_no), max(record_no) FROM vectors WHERE field_no = ?", (field_no,)
    ).fetchone()
    found: dict[int, Held] = {}
    for step in range(limit if first is not None else 0):
        after = first - 1 + (last - first) * step // limit
        for held in page(conn, field_no, after, 1):
            found[held.record_no] = held
    return list(found.values())


def records(conn: Conn, numbers: Sequence[int]) -> dict[int, tuple[str, str]]:
    """The id and the JSON of live records, by number."""
    rows = conn.execute(
        "SELECT record_no, id, value FROM records WHERE value NOTNULL"
        " AND record_no IN (SELECT value FROM json_each(?))",
        (json.dumps(list(numbers)),),
    )
    return {row[0]: (row[1], row[2]) for row in rows.fetchall()}
