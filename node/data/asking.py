"""Asking: a query as an application or a person writes it, checked and made ready for the store.

    {"kind": "person", "age": {">=": 18, "<": 65}, "/address/city": {"in": ["Bern", "Basel"]}}

A field is a root field's name or a path (`/address/city`, covey.storage.fields). A value that is
no object must be equal; an object holds tests by name, all of which must be true: `=` `!=` `<` `<=`
`>` `>=` with a text, a number, a time, bytes (`=` and `!=` alone), true, false or null; `in` with a
list of such; `prefix` with a text; `exists` with true or false; `has` for a list that contains a
value. `!=` is also true where the field is missing.

A cursor is text for whoever pages: where a page stopped, and a mark of the query it belongs to.
"""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

from ...storage import finding
from ...storage.conditions import INTEGER_MAX, Condition, Operand, Test, test_of
from ...storage.fields import BadFieldError, is_text, rank_of
from ...sync.errors import BadValueError
from ...sync.values import Counter, Text, to_json

LIMIT_MAX = 10_000_000
OFFSET_MAX = 10_000_000
CONDITIONS_MAX = 64
ONE_OF_MAX = 1_000
ORDER_FIELDS_MAX = 4
CURSOR_CHARACTERS_MAX = 8_000_000
"""A page may stop at a record that is ordered by a text as large as a record may be."""
VALUES_MAX = 10_000
"""In all lists of a query together."""
MARK_BYTES = 6
_ORDERED = {
    Test.LESS: (Test.AT_MOST, Test.LESS),
    Test.AT_MOST: (Test.AT_MOST, Test.LESS),
    Test.MORE: (Test.MORE, Test.AT_LEAST),
    Test.AT_LEAST: (Test.MORE, Test.AT_LEAST),
}
"""What is asked of the float beside a number, if it is below that number, and if above."""


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for, in an application's terms.

    `order` is a field or several; one that begins with `-` descends, and `descending` turns all of
    them round. `after` is the cursor of a page.
    """

    where: Mapping[str, Any]
    text: str | None = None
    order: str | Sequence[str] | None = None
    descending: bool = False
    limit: int = 100
    offset: int = 0
    after: str | None = None


def prepared(query: Query) -> finding.Query:
    """The query as the store takes it. Raises: BadValueError, which names the field."""
    if type(query.limit) is not int or not 0 <= query.limit <= LIMIT_MAX:
        raise BadValueError(f"limit: a number from 0 to {LIMIT_MAX} was expected")
    if type(query.offset) is not int or not 0 <= query.offset <= OFFSET_MAX:
        raise BadValueError(f"offset: a number from 0 to {OFFSET_MAX} was expected; page by cursor")
    if query.text is not None and type(query.text) is not str:
        raise BadValueError("text: words were expected")
    made = finding.Query(
        conditions(query.where),
        query.text,
        _order(query),
        query.descending and not query.order,
        query.limit,
        query.offset,
    )
    return made if query.after is None else made._replace(after=_place(made, query.after))


def conditions(where: Mapping[str, Any]) -> tuple[Condition, ...]:
    """What is asked of each field. Raises: BadValueError, which names the field."""
    if not isinstance(where, Mapping):
        raise BadValueError("where: an object of fields and what is asked of them was expected")
    found: list[Condition] = []
    for field, asked in where.items():
        if type(field) is not str:
            raise BadValueError("where: the name of a field is a text")
        tests = asked if isinstance(asked, dict) else {"=": asked}
        if not tests:
            raise BadValueError(f"{field:.80}: says nothing about the field; `exists` asks for it")
        for name, wanted in tests.items():
            found.append(_condition(field, name, wanted))
    if len(found) > CONDITIONS_MAX:
        raise BadValueError(f"where: {len(found)} conditions, {CONDITIONS_MAX} allowed")
    values = sum(len(condition.operands) for condition in found)
    if values > VALUES_MAX:
        raise BadValueError(f"where: {values} values, {VALUES_MAX} allowed")
    return tuple(found)


def root_field(name: str) -> str:
    """How a query names a root field, whatever its name begins with."""
    if not name.startswith(("/", "-")):
        return name
    return "/" + name.replace("~", "~0").replace("/", "~1")


def cursor_of(made: finding.Query, last: tuple[Any, ...] | None) -> str | None:
    """The cursor of a page, None if nothing is after it."""
    if last is None:
        return None
    place = json.dumps(finding.lowest_as_none(last), ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(_mark(made) + place.encode()).decode().rstrip("=")


def shape_of(made: finding.Query) -> str:
    """The fields of a query, how they are tested and ordered, and no value. For people."""
    parts = [f"{c.field} {c.test.value}" for c in sorted(made.where, key=lambda c: c.field)]
    order = [f"{'-' if down else ''}{field}" for field, down in made.order]
    text = ["words"] if made.text is not None else []
    return ", ".join([*parts, *text]) + (f" by {', '.join(order)}" if order else "")


def _condition(field: str, name: Any, wanted: Any) -> Condition:
    try:
        test = Test(name)
    except ValueError:
        known = " ".join(test.value for test in Test)
        raise BadValueError(f"{field:.80}: no test {name!r:.40}; there are {known}") from None
    if test is Test.ONE_OF:
        if not isinstance(wanted, list | tuple) or len(wanted) > ONE_OF_MAX:
            raise BadValueError(f"{field:.80}: `in` takes a list of up to {ONE_OF_MAX} values")
        operands = tuple(_operand(field, value) for value in wanted)
    else:
        operands = (_operand(field, wanted),)
    condition = _within_integers(Condition(field, test, operands))
    if test is Test.EXISTS and operands[0].kind not in ("true", "false"):
        raise BadValueError(f"{field:.80}: `exists` takes true or false")
    try:
        test_of(condition)
    except BadFieldError as error:
        raise BadValueError(f"{field:.80}: {error}") from None
    return condition


def _within_integers(condition: Condition) -> Condition:
    """The same for records, in numbers that the store has: integers of 64 bits, and floats.

    Beyond its integers a record has floats alone. So a greater integer asks what the float nearest
    to it asks, if records cannot tell them apart; what is equal to no float stays as it is.
    """
    field, test, operands = condition
    found = []
    for operand in operands:
        whole, near = operand.value, operand.value
        if operand.kind == "number" and isinstance(whole, int) and abs(whole) > INTEGER_MAX:
            near = _nearest(whole)
            assert near is not None
            if near != whole and test not in _ORDERED:
                near = whole
            elif near != whole:
                test = _ORDERED[test][near > whole]
        found.append(Operand(operand.kind, near))
    return Condition(field, test, tuple(found))


def _nearest(whole: int) -> float:
    try:
        return float(whole)
    except OverflowError:
        return math.inf if whole > 0 else -math.inf


def _operand(field: str, wanted: Any) -> Operand:
    match wanted:
        case None:
            return Operand("null", None)
        case bool():
            return Operand("true" if wanted else "false", int(wanted))
        case int() | float():
            return Operand("number", wanted)
        case str():
            return Operand("text", wanted)
        case Text(content):
            return Operand("text", content)
        case Counter(total):
            return Operand("number", total)
        case bytes():
            return Operand("bytes", to_json(wanted)["$bytes"])
        case datetime() if wanted.utcoffset() is not None:
            return Operand("time", to_json(wanted)["$time"])
    raise BadValueError(
        f"{field:.80}: only texts, numbers, times with a zone, bytes, true, false and null compare"
    )


def _order(query: Query) -> tuple[tuple[str, bool], ...]:
    order = query.order
    if order is None:
        return ()
    if not isinstance(order, str | list | tuple):
        raise BadValueError("order: a field or a list of fields was expected")
    fields = [order] if isinstance(order, str) else list(order)
    if len(fields) > ORDER_FIELDS_MAX:
        raise BadValueError(f"order: {len(fields)} fields, {ORDER_FIELDS_MAX} allowed")
    found = []
    for field in fields:
        if type(field) is not str:
            raise BadValueError("order: a field was expected, with `-` before it to descend")
        down, name = field.startswith("-"), field.removeprefix("-")
        try:
            rank_of(name)
        except BadFieldError as error:
            raise BadValueError(f"order: {name:.80}: {error}") from None
        if is_text(name):
            found.append((name, down != query.descending))
    return tuple(found)


def _mark(made: finding.Query) -> bytes:
    """Tells one query from another: a cursor of one means nothing to the other."""
    asked = repr((made.where, made.text, made.order, made.ids_descend)).encode("utf-8", "replace")
    return blake2b(asked, digest_size=MARK_BYTES).digest()


def _place(made: finding.Query, cursor: str) -> tuple[Any, ...]:
    try:
        if type(cursor) is not str or len(cursor) > CURSOR_CHARACTERS_MAX:
            raise ValueError
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        said = json.loads(raw[MARK_BYTES:])
        if raw[:MARK_BYTES] != _mark(made) or not isinstance(said, list):
            raise ValueError
        place = finding.none_as_lowest(said)
        # The mark is a hash that anyone can compute, so what stands behind it may be anything.
        if not finding.is_place(made, place):
            raise ValueError
    except (ValueError, RecursionError):
        raise BadValueError(
            "after: not where a page of this query stopped; take `next` of the page before"
        ) from None
    return place
