"""Fields in SQL: how a field of a record `r` is compared and ordered, with everything bound.

A field is named by a root field's name, or by a path of names in the notation of JSON Pointer
(RFC 6901): `/mood/value`, with `~1` for a slash and `~0` for a tilde in a name. Names in objects
only, no places in lists. A name that a path of SQLite cannot quote (with a quotation mark, a
backslash, a control character) works for root fields, and compares what stands there as it is.

What a field is worth: the number of a `$counter`, the characters of a `$text`, the ISO 8601 text
of a `$time`, the base64 of `$bytes`; else what JSON says. Its kind is number, text, time, bytes,
true, false, null, array or object, and NULL where it is missing. In an order, the missing and null
come first, then numbers (false and true among them as 0 and 1), then all that is a text.
"""

import re
from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import NamedTuple

from .store import Value

LOWEST = float("-inf")
"""Sorts before every value of JSON: what an order and an index have for missing and null."""

PATH_NAMES_MAX = 32

_PLAIN_NAME = re.compile(r"[^\"\\\x00-\x1f\x7f]+")
_HALF_PAIR = re.compile(r"[\ud800-\udfff]")
_TAGS = ("$counter", "$text", "$time", "$bytes")


class BadFieldError(ValueError):
    """A field that cannot be named in a query. The text says why."""


class Sql(NamedTuple):
    """A piece of SQL, and the parameters of its question marks in order."""

    text: str
    values: tuple[Value, ...] = ()

    def __add__(self, other: "Sql | str") -> "Sql":  # type: ignore[override]
        if isinstance(other, str):
            return Sql(self.text + other, self.values)
        return Sql(self.text + other.text, self.values + other.values)


def joined(pieces: Sequence[Sql], between: str) -> Sql:
    """The pieces one after the other."""
    if not pieces:
        return Sql("")
    return reduce(add, [pieces[0], *(Sql(between) + piece for piece in pieces[1:])])


def numbers_in(numbers: Sequence[int]) -> Sql:
    """`(?, ?, …)` of numbers."""
    return Sql(f"({','.join('?' * len(numbers))})", tuple(numbers))


def is_text(typed: str) -> bool:
    """False for half of a surrogate pair, which a command line can carry and JSON here cannot."""
    return _HALF_PAIR.search(typed) is None


def path_of(field: str) -> tuple[str, ...]:
    """The names that lead to a field. Raises: BadFieldError."""
    if not field.startswith("/"):
        return (field,)
    names = tuple(part.replace("~1", "/").replace("~0", "~") for part in field[1:].split("/"))
    if len(names) > PATH_NAMES_MAX or not all(names):
        raise BadFieldError(f"a path has 1 to {PATH_NAMES_MAX} names, none of them empty")
    if len(names) > 1 and not all(map(_PLAIN_NAME.fullmatch, names)):
        raise BadFieldError("a name in a path has no quotation mark, backslash, control character")
    return names


def value_of(field: str) -> Sql:
    """What a field is worth, NULL where it is missing or null. Raises: BadFieldError."""
    names = path_of(field)
    if not all(map(_PLAIN_NAME.fullmatch, names)):
        return Sql("(SELECT j.atom FROM json_each(r.value) j WHERE j.key = ? LIMIT 1)", names)
    path = _quoted(names)
    tagged = Sql(
        "coalesce(" + "json_extract(r.value, ?), " * len(_TAGS) + "json_extract(r.value, ?))",
        (*(f'{path}."{tag}"' for tag in _TAGS), path),
    )
    return (
        Sql("CASE json_type(r.value, ?) WHEN 'object' THEN ", (path,))
        + tagged
        + Sql(" ELSE json_extract(r.value, ?) END", (path,))
    )


def kind_of(field: str) -> Sql:
    """What kind of value stands in a field, NULL where it is missing. Raises: BadFieldError."""
    names = path_of(field)
    if not all(map(_PLAIN_NAME.fullmatch, names)):
        kind = "replace(replace(j.type, 'integer', 'number'), 'real', 'number')"
        return Sql(f"(SELECT {kind} FROM json_each(r.value) j WHERE j.key = ? LIMIT 1)", names)
    path = _quoted(names)
    tagged = Sql("CASE")
    for tag, kind in zip(_TAGS, ("number", "text", "time", "bytes"), strict=True):
        where = f'{path}."{tag}"'
        tagged += Sql(f" WHEN json_type(r.value, ?) IS NOT NULL THEN '{kind}'", (where,))
    return (
        Sql(
            "CASE json_type(r.value, ?) WHEN 'integer' THEN 'number' WHEN 'real' THEN 'number'",
            (path,),
        )
        + " WHEN 'object' THEN "
        + tagged
        + Sql(" ELSE 'object' END ELSE json_type(r.value, ?) END", (path,))
    )


def rank_of(field: str) -> Sql:
    """What a field is ordered and indexed by; never NULL. Raises: BadFieldError."""
    return Sql("ifnull(") + value_of(field) + ", -9e999)"


def list_of(field: str) -> Sql:
    """The path of a list, for `json_each(r.value, …)`. Raises: BadFieldError."""
    names = path_of(field)
    if not all(map(_PLAIN_NAME.fullmatch, names)):
        raise BadFieldError("what a list contains cannot be asked of a field with such a name")
    return Sql("?", (_quoted(names),))


def _quoted(names: Sequence[str]) -> str:
    return "$" + "".join(f'."{name}"' for name in names)
