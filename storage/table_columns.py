"""Table columns: how records of any shape become rows of one table with typed columns.

A root field is a column. Its type follows from the values that are there now, and from nothing that
was there before: a text VARCHAR (a `Text` too), a whole number BIGINT (a `Counter` too), any number
DOUBLE, true and false BOOLEAN, a time TIMESTAMPTZ. Whatever is of several types, or nested, or only
ever null, is JSON. Null and absent are NULL.

A table keeps a record as JSON in one column; the others are expressions over it, so nothing is
converted when a type changes. Pure: values in, SQL out. Names of fields come from anybody; they
occur in SQL only as quoted identifiers and as quoted JSON pointers (RFC 6901).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import IntEnum
from typing import Any, NamedTuple

DOUBLE_EXACT_MAX = 2**53
"""A whole number beyond is changed by becoming a double."""
BIGINT_MAX = 2**63 - 1
FIXED = ("id", "privacy", "device", "time", "value")
"""Columns of every table beside the fields; a field of such a name has another column."""
FIELDS_MAX = 500
"""With more fields none has a column: a name stands in the place of a value there, and only `value`
is of use."""


class Kind(IntEnum):
    """What a value is."""

    NULL = 0
    BOOL = 1
    INT = 2
    LONG = 3
    """A whole number that no double holds exactly."""
    FLOAT = 4
    TEXT = 5
    TIME = 6
    NESTED = 7


_TYPES = {
    frozenset({Kind.BOOL}): "BOOLEAN",
    frozenset({Kind.INT}): "BIGINT",
    frozenset({Kind.LONG}): "BIGINT",
    frozenset({Kind.INT, Kind.LONG}): "BIGINT",
    frozenset({Kind.FLOAT}): "DOUBLE",
    frozenset({Kind.INT, Kind.FLOAT}): "DOUBLE",
    frozenset({Kind.TEXT}): "VARCHAR",
    frozenset({Kind.TIME}): "TIMESTAMPTZ",
}
"""The kinds that a field has beside null -> the type of its column. All others are JSON."""

Shape = tuple[tuple[str, Kind], ...]


class Column(NamedTuple):
    """A column as a person sees it: its name, and SQL that makes it from the row `r`."""

    name: str
    expression: str


class Flat(NamedTuple):
    """A record as a table holds it: JSON whose root has no tags, and what its fields are."""

    value: str
    shape: Shape


def flat(value: str) -> Flat:
    """A record's JSON with texts, counters and times at its root as JSON has them."""
    record = json.loads(value)
    shape = []
    for field in sorted(record):
        kind, record[field] = _read(record[field])
        shape.append((field, kind))
    return Flat(json.dumps(record, allow_nan=False, separators=(",", ":")), tuple(shape))


def _read(value: Any) -> tuple[Kind, Any]:
    match value:
        case None:
            return Kind.NULL, None
        case bool():
            return Kind.BOOL, value
        case int():
            if abs(value) > BIGINT_MAX:
                return Kind.NESTED, value
            return (Kind.INT if abs(value) <= DOUBLE_EXACT_MAX else Kind.LONG), value
        case float():
            return Kind.FLOAT, value
        case str():
            return Kind.TEXT, value
        case {"$text": str(content)} if len(value) == 1:
            return Kind.TEXT, content
        case {"$counter": int(total)} if len(value) == 1:
            return _read(total)
        case {"$time": str(written)} if len(value) == 1 and _is_time(written):
            return Kind.TIME, written
        case _:
            return Kind.NESTED, value


def _is_time(written: str) -> bool:
    try:
        return datetime.fromisoformat(written).tzinfo is not None
    except ValueError:
        return False


class Tally:
    """Which fields the records of a table have, and of which kinds: counts, by shapes in use."""

    def __init__(self) -> None:
        self._shapes: dict[Shape, Shape] = {}
        self._uses: dict[Shape, int] = {}
        self._fields: dict[str, dict[Kind, int]] = {}

    def add(self, shape: Shape) -> Shape:
        """Count one more record; gives the equal shape to remember, so that it is kept once."""
        shape = self._shapes.setdefault(shape, shape)
        self._uses[shape] = self._uses.get(shape, 0) + 1
        for field, kind in shape:
            kinds = self._fields.setdefault(field, {})
            kinds[kind] = kinds.get(kind, 0) + 1
        return shape

    def remove(self, shape: Shape) -> None:
        """Count one record less. It was added before."""
        self._uses[shape] -= 1
        if not self._uses[shape]:
            del self._uses[shape], self._shapes[shape]
        for field, kind in shape:
            kinds = self._fields[field]
            kinds[kind] -= 1
            if not kinds[kind]:
                del kinds[kind]
                if not kinds:
                    del self._fields[field]

    def columns(self) -> list[Column]:
        """The fields as columns, by name; none if there are more than FIELDS_MAX."""
        if len(self._fields) > FIELDS_MAX:
            return []
        names = unique_names(self._fields, FIXED)
        return [
            Column(names[field], _expression(field, self._fields[field]))
            for field in sorted(self._fields)
        ]


def _expression(field: str, kinds: Mapping[Kind, int]) -> str:
    at = literal("/" + field.replace("~", "~0").replace("/", "~1"))
    type_name = _TYPES.get(frozenset(kinds) - {Kind.NULL})
    if type_name is None:
        return f"nullif(json_extract(r.value, {at}), 'null'::JSON)"
    return f"json_extract_string(r.value, {at})::{type_name}"


def unique_names(names: Iterable[str], taken: Sequence[str]) -> dict[str, str]:
    """Each name as SQL can tell it from the others, which ignores upper and lower case.

    A name in lower case keeps its own; one that is `taken` or stands already gets `_2`, or more.
    What no identifier can be is shown: NUL as `\\0`, and no name at all as `_`.
    """
    shown = {name: name.replace("\0", "\\0") or "_" for name in names}
    given: dict[str, str] = {}
    used = {_folded(name) for name in taken}
    late = []
    for name in sorted(shown, key=lambda name: (name != name.lower(), name)):
        if _folded(shown[name]) in used:
            late.append(name)
            continue
        given[name] = shown[name]
        used.add(_folded(shown[name]))
    for name in late:
        number = 2
        while _folded(f"{shown[name]}_{number}") in used:
            number += 1
        given[name] = f"{shown[name]}_{number}"
        used.add(_folded(given[name]))
    return given


def _folded(name: str) -> str:
    return name.lower().casefold()


def quoted(name: str) -> str:
    """A name as an identifier of SQL. It is not empty and holds no NUL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as a constant of SQL."""
    return "'" + text.replace("'", "''") + "'"
