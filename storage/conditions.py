"""Conditions: what a query asks of one field, as SQL over a record `r`, and as bounds of an index.

Values of different kinds are never equal, and none is before or after another: `>= 3` finds
numbers, `>= "a"` texts. A number is a number however it is written (1 and 1.0, a counter too).
Bounds of an index only narrow down: every record is tested in full.
"""

import math
from enum import Enum
from typing import NamedTuple

from .fields import LOWEST, BadFieldError, Sql, is_text, joined, kind_of, list_of, value_of
from .store import Value

INTEGER_MAX = 2**63 - 1


class Test(Enum):
    """What may be asked; the values are what a person types."""

    EQUAL = "="
    UNEQUAL = "!="
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="
    ONE_OF = "in"
    PREFIX = "prefix"
    EXISTS = "exists"
    HAS = "has"


class Operand(NamedTuple):
    """A value to compare with: its kind as `kind_of` names it, and what `value_of` is then."""

    kind: str
    value: Value


class Condition(NamedTuple):
    """One test of one field. `operands` has one value; any number for `in`.

    `exists` has `true` or `false`: whether the field is there, be it null.
    """

    field: str
    test: Test
    operands: tuple[Operand, ...]


class Bounds(NamedTuple):
    """Where in an index the records lie. `equal` has the values, or low and high are the ends."""

    equal: tuple[Value, ...] | None
    low: tuple[str, Value] | None
    """`>` or `>=`, and the value."""
    high: tuple[str, Value] | None


_RANGES = {Test.LESS, Test.AT_MOST, Test.MORE, Test.AT_LEAST}
_LAST_CHARACTER = "\U0010ffff"


def test_of(condition: Condition) -> Sql | None:
    """SQL that is true of the records that pass, or None if none can. Raises: BadFieldError."""
    field, test, operands = condition
    if not is_text(field):  # No record has it.
        is_true = test is Test.UNEQUAL or (test is Test.EXISTS and operands[0].kind == "false")
        return Sql("1") if is_true else None
    if test is Test.EXISTS:
        there = operands[0].kind == "true"
        return Sql("(") + kind_of(field) + (" IS NOT NULL)" if there else " IS NULL)")
    possible = [operand for operand in operands if _is_storable(operand)]
    if test is Test.UNEQUAL:
        return Sql("NOT ifnull(") + _any(field, possible) + ", 0)"
    if not possible:
        return None
    if test in (Test.EQUAL, Test.ONE_OF):
        return _any(field, possible)
    if test is Test.HAS:
        return _has(field, possible[0])
    return _compared(field, test, possible[0])


def bounds_of(condition: Condition) -> Bounds | None:
    """Where an index has the records that pass, None if it does not help."""
    test, operands = condition.test, condition.operands
    if test in (Test.EQUAL, Test.ONE_OF):
        return Bounds(tuple(_indexed(o) for o in operands if _is_storable(o)), None, None)
    if test is Test.PREFIX:
        first = operands[0].value
        assert isinstance(first, str)
        return Bounds(None, (">=", first), _end_of(first))
    if test not in _RANGES:
        return None
    kind, value = operands[0]
    if test in (Test.MORE, Test.AT_LEAST):
        # Texts are after all numbers, and nothing is after them that is indexed.
        return Bounds(None, (test.value, value), ("<", "") if kind == "number" else None)
    return Bounds(None, (">", LOWEST) if kind == "number" else (">=", ""), (test.value, value))


def _compared(field: str, test: Test, operand: Operand) -> Sql:
    if operand.kind not in ("number", "text", "time"):
        raise BadFieldError(f"{test.value} compares numbers, texts and times")
    kind = Sql("(") + kind_of(field) + f" = '{operand.kind}')"
    if test is Test.PREFIX:
        if operand.kind != "text":
            raise BadFieldError("a prefix is a text")
        assert isinstance(operand.value, str)
        first = operand.value.encode()
        if not first:
            return kind  # Of an empty BLOB `substr` is NULL, and that is equal to nothing.
        # Not LIKE: it folds case, and has characters of its own. Texts would end at a zero byte.
        same = Sql(" AS BLOB), 1, ?) = ?", (len(first), first))
        return kind + " AND substr(CAST(" + value_of(field) + same
    return Sql("(") + value_of(field) + Sql(f" {test.value} ?) AND ", (operand.value,)) + kind


def _any(field: str, operands: list[Operand]) -> Sql:
    """Equal to one of them."""
    kinds: dict[str, dict[Value, None]] = {}
    for operand in operands:
        kinds.setdefault(operand.kind, {})[operand.value] = None
    tests = []
    for name, values in kinds.items():
        test = Sql("(") + kind_of(field) + f" = '{name}'"
        if name not in ("true", "false", "null"):
            # Not one comparison each: SQLite nests them, 1,000 deep at most.
            listed = Sql(f" IN ({','.join('?' * len(values))})", tuple(values))
            test += Sql(" AND ") + value_of(field) + listed
        tests.append(test + ")")
    return Sql("(") + joined(tests, " OR ") + ")" if tests else Sql("0")


def _has(field: str, operand: Operand) -> Sql:
    """A list with an element that is equal."""
    kinds = {"number": "'integer', 'real'", "text": "'text'"}.get(operand.kind, f"'{operand.kind}'")
    if operand.kind in ("time", "bytes"):
        raise BadFieldError("a list is asked for texts, numbers, true, false and null")
    each = Sql("EXISTS (SELECT 1 FROM json_each(r.value, ") + list_of(field)
    of_kind = Sql(f") j WHERE j.type IN ({kinds})")
    same = Sql("")
    if operand.kind in ("number", "text"):
        same = Sql(" AND j.atom = ?", (operand.value,))
    return Sql("(") + kind_of(field) + " = 'array' AND " + each + of_kind + same + "))"


def _end_of(first: str) -> tuple[str, Value] | None:
    """The least text that is after all that begin with `first`, None if there is none."""
    kept = first.rstrip(_LAST_CHARACTER)
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    # Halves of pairs are no characters.
    last = "\ue000" if following == 0xD800 else chr(following)
    return ("<", kept[:-1] + last)


def _is_storable(operand: Operand) -> bool:
    """Whether SQLite can compare with it."""
    value = operand.value
    if isinstance(value, str):
        return is_text(value)
    if isinstance(value, int):
        return abs(value) <= INTEGER_MAX
    return not isinstance(value, float) or not math.isnan(value)


def _indexed(operand: Operand) -> Value:
    return {"true": 1, "false": 0, "null": LOWEST}.get(operand.kind, operand.value)
