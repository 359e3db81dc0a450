"""Definitions: what a collection holds, as values, read from plain data that anybody may have made.

The data has the form that a person writes in TOML, JSON or Python: maps, arrays, texts, numbers,
and what `covey.sync.values` adds. It is JSON-Schema-like, not JSON Schema: every key is one of
those below and means one thing, and whatever is not understood is refused with the place where it
stands (`SchemaError.path`) and the word that was probably meant.

Nothing here reads records (`fitting.py`) or runs anything (`migrating.py`). Lengths are characters
of texts, bytes of bytes, items of arrays, numbers of vectors.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from difflib import get_close_matches
from itertools import chain
from math import isfinite
from typing import Any

from ... import CoveyError
from ...sync.errors import BadValueError
from ...sync.limits import (
    COLLECTION_NAME_BYTES_MAX,
    INTEGER_MAX,
    NAME_BYTES_MAX,
    RECORD_BYTES_MAX,
)
from ...sync.rules import DELETION_RULES
from ...sync.session_limits import SETTING_BYTES_MAX
from ...sync.values import to_plain
from ..record_requests import check_name

TYPES = (
    *("any", "boolean", "integer", "number", "string", "text", "bytes", "time"),
    *("vector", "blob", "counter", "object", "array"),
)
LENGTH_OF = {"string": "characters", "text": "characters", "bytes": "bytes", "array": "items"}
"""The types that have a length, and what it counts."""
ORDERED = frozenset({"integer", "number", "counter", "time"})
DEPTH_MAX = 16
FIELDS_MAX = 1_000
"""Of one collection, those inside of others included."""
COLLECTIONS_MAX = 256
LIST_MAX = 256
"""Entries of an enum, indexes of a collection, and other lists."""
INDEX_FIELDS_MAX = 8
DIMENSION_MAX = 65_536
TIERS = ("hot", "warm", "cold")

Path = tuple[str, ...]
Read = Callable[[Any, Path], Any]
_EXPIRES = re.compile(r"[1-9][0-9]{0,5}[mhd]")
_ECHO = 40


class SchemaError(CoveyError):
    """A schema is not one, or does not fit what is installed. Nothing was changed.

    `path` leads to the key that is meant, as far as it is known; the message begins with it.
    """

    exit_code = 2

    def __init__(self, message: str, path: Path = ()) -> None:
        super().__init__(f"{'.'.join(path)}: {message}" if path else message)
        self.message = message
        self.path = path


@dataclass(frozen=True, slots=True)
class FieldSchema:
    """What a field may hold. None stands for what was not said."""

    type: str = "any"
    required: bool = False
    nullable: bool = False
    min_length: int | None = None
    max_length: int | None = None
    min: Any = None
    max: Any = None
    enum: tuple[Any, ...] = ()
    default: Any = None
    dimension: int | None = None
    items: "FieldSchema | None" = None
    fields: "Mapping[str, FieldSchema]" = field(default_factory=dict)
    additional: bool = True


@dataclass(frozen=True, slots=True)
class VectorSchema:
    """Which model makes the vectors of a field."""

    model: str
    version: str
    dimension: int


@dataclass(frozen=True, slots=True)
class CollectionSchema:
    """What the records of a collection hold, and what is made from them."""

    fields: Mapping[str, FieldSchema] = field(default_factory=dict)
    additional: bool = True
    """Whether a record may have fields that are not named here."""
    indexes: tuple[tuple[str, ...], ...] = ()
    rule: str | None = None
    """The conflict rule of all fields that have none of their own."""
    rules: Mapping[str, str] = field(default_factory=dict)
    deletion: str | None = None
    """The rule for a record that was deleted here and edited there."""
    vectors: Mapping[str, VectorSchema] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    """Field to the collection whose ids it holds."""
    expires: str | None = None
    """After how long a record may go: a number with `m`, `h` or `d`."""
    tier: str | None = None


def read_collection(data: Any, path: Path = ()) -> CollectionSchema:
    """The definition that the data of one collection gives. Raises SchemaError."""
    said = read_keys(data, path, _COLLECTION_KEYS)
    fields = said.get("fields", {})
    if _count(fields.values()) > FIELDS_MAX:
        raise SchemaError(f"more than {FIELDS_MAX} fields", (*path, "fields"))
    for part in ("indexes", "vectors", "links"):
        named = said.get(part, ())
        for name in chain.from_iterable(one if isinstance(one, tuple) else (one,) for one in named):
            if name not in fields:
                raise SchemaError(f"no field {_echo(name)} in this collection", (*path, part))
    for name, vector in said.get("vectors", {}).items():
        _check_vector(fields[name], vector, (*path, "vectors", name))
    for name in said.get("rules", {}):
        if name not in fields and said.get("additional") is False:
            raise SchemaError(f"no field {_echo(name)} in this collection", (*path, "rules", name))
    return CollectionSchema(**said)


def _check_vector(field: FieldSchema, vector: VectorSchema, path: Path) -> None:
    if field.type != "vector":
        raise SchemaError("the field is not of the type vector", path)
    if field.dimension not in (None, vector.dimension):
        raise SchemaError(f"the field has the dimension {field.dimension}", path)


def read_field(data: Any, path: Path, depth: int = 0) -> FieldSchema:
    """The definition that the data of one field gives. Raises SchemaError."""
    if depth >= DEPTH_MAX:
        raise SchemaError(f"nested deeper than {DEPTH_MAX}", path)
    if isinstance(data, str):
        data = {"type": data}
    keys: dict[str, Read] = {
        **_FIELD_KEYS,
        "items": lambda value, at: read_field(value, at, depth + 1),
        "fields": lambda value, at: read_fields(value, at, depth + 1),
    }
    said = read_keys(data, path, keys)
    kind = said.get("type", "any")
    for key, kinds in _ONLY.items():
        if key in said and kind not in kinds:
            raise SchemaError(f"a field of the type {kind} has no {key}", (*path, key))
    for low, high in (("min", "max"), ("min_length", "max_length")):
        _in_order(said, low, high, kind, path)
    found = FieldSchema(**said)
    _check_samples(found, path)
    return found


def read_fields(data: Any, path: Path, depth: int = 0) -> dict[str, FieldSchema]:
    """A table of fields by name. Raises SchemaError."""
    return {
        _field_name(name, path): read_field(one, (*path, str(name)), depth)
        for name, one in read_table(data, path).items()
    }


def name_of(value: Any, path: Path, bytes_max: int = COLLECTION_NAME_BYTES_MAX) -> str:
    """A name that prints and is not too long. Raises SchemaError."""
    try:
        check_name("name", value, bytes_max)
    except BadValueError as error:
        raise SchemaError(str(error).removeprefix("name: "), path) from None
    return str(value)


def whole_number(least: int, most: int) -> Read:
    """Reads a whole number within limits."""

    def read(value: Any, path: Path) -> int:
        if type(value) is not int or not least <= value <= most:
            raise SchemaError(f"a whole number from {least} to {most} was expected", path)
        return value

    return read


def read_keys(data: Any, path: Path, keys: Mapping[str, Read]) -> dict[str, Any]:
    """Each key of a table, read as the key says. Raises SchemaError for any other key."""
    found = {}
    for key, value in read_table(data, path).items():
        if key not in keys:
            near = get_close_matches(_snake(str(key)[:_ECHO]), keys, 1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            known = ", ".join(sorted(keys))
            raise SchemaError(f"no key {_echo(key)}{meant}; there are {known}", path)
        found[key] = keys[key](value, (*path, key))
    return found


def read_table(data: Any, path: Path) -> Mapping[Any, Any]:
    """A table, whatever is in it. Raises SchemaError."""
    if not isinstance(data, Mapping):
        raise SchemaError(f"a table was expected, not {type(data).__name__}", path)
    if len(data) > FIELDS_MAX:
        raise SchemaError(f"{len(data)} keys, {FIELDS_MAX} allowed", path)
    return data


# Parts of these --------------------------------------------------------------------------------


def _list(data: Any, path: Path, most: int = LIST_MAX) -> Sequence[Any]:
    if not isinstance(data, list | tuple):
        raise SchemaError(f"an array was expected, not {type(data).__name__}", path)
    if not 1 <= len(data) <= most:
        raise SchemaError(f"{len(data)} entries, 1 to {most} allowed", path)
    return data


def _count(fields: Any) -> int:
    return sum(
        1 + _count(one.fields.values()) + (_count([one.items]) if one.items else 0)
        for one in fields
    )


def _field_name(name: Any, path: Path) -> str:
    if not isinstance(name, str) or not name or name[:1] == "$":
        raise SchemaError(f"{_echo(name)}: a field name is a text without '$' before it", path)
    return name_of(name, (*path, name[:_ECHO]), NAME_BYTES_MAX)


def _boolean(value: Any, path: Path) -> bool:
    if type(value) is not bool:
        raise SchemaError("true or false was expected", path)
    return value


def _word(words: Sequence[str]) -> Read:
    def read(value: Any, path: Path) -> str:
        if value not in words or not isinstance(value, str):
            near = get_close_matches(value[:_ECHO], words, 1) if isinstance(value, str) else ()
            meant = f" (did you mean {near[0]}?)" if near else ""
            raise SchemaError(f"{_echo(value)} is none of {', '.join(words)}{meant}", path)
        return value

    return read


def _expires(value: Any, path: Path) -> str:
    if not isinstance(value, str) or not _EXPIRES.fullmatch(value):
        raise SchemaError("a time such as 90d, 12h or 30m was expected", path)
    return value


def _limit(value: Any, path: Path) -> Any:
    is_number = type(value) in (int, float) and isfinite(value) and abs(value) <= INTEGER_MAX
    if not is_number and not (isinstance(value, datetime) and value.utcoffset() is not None):
        raise SchemaError("a number, or a time with its zone, was expected", path)
    return value


def _values(value: Any, path: Path) -> tuple[Any, ...]:
    return tuple(value_of(one, path) for one in _list(value, path))


def value_of(value: Any, path: Path) -> Any:
    """A value that a record can hold. Raises SchemaError."""
    try:
        to_plain({"value": value})
    except BadValueError:
        raise SchemaError("no value that a record can hold", path) from None
    return value


def _names(value: Any, path: Path) -> tuple[str, ...]:
    names = tuple(_field_name(name, path) for name in _list(value, path))
    if len(set(names)) < len(names):
        raise SchemaError("a field is named twice", path)
    return names


def _indexes(value: Any, path: Path) -> tuple[tuple[str, ...], ...]:
    found = tuple(
        _names([one] if isinstance(one, str) else _list(one, path, INDEX_FIELDS_MAX), path)
        for one in _list(value, path)
    )
    if len(set(found)) < len(found):
        raise SchemaError("an index is named twice", path)
    return found


def _rules(value: Any, path: Path) -> dict[str, str]:
    found = {}
    for name, rule in read_table(value, path).items():
        at = (*path, str(name)[:_ECHO])
        found[_field_name(name, path)] = _rule(rule, at)
    return found


def _rule(value: Any, path: Path) -> str:
    return name_of(value, path, SETTING_BYTES_MAX)


def _vectors(value: Any, path: Path) -> dict[str, VectorSchema]:
    keys: dict[str, Read] = {
        "model": name_of,
        "version": name_of,
        "dimension": whole_number(1, DIMENSION_MAX),
    }
    found = {}
    for name, data in read_table(value, path).items():
        said = read_keys(data, (*path, str(name)), keys)
        if missing := sorted(keys.keys() - said.keys()):
            raise SchemaError(f"{missing[0]} is missing", (*path, str(name)))
        found[_field_name(name, path)] = VectorSchema(**said)
    return found


def _links(value: Any, path: Path) -> dict[str, str]:
    return {
        _field_name(name, path): name_of(to, (*path, str(name)))
        for name, to in read_table(value, path).items()
    }


_LENGTH = whole_number(0, RECORD_BYTES_MAX)
_FIELD_KEYS: dict[str, Read] = {
    "type": _word(TYPES),
    "required": _boolean,
    "nullable": _boolean,
    "min_length": _LENGTH,
    "max_length": _LENGTH,
    "min": _limit,
    "max": _limit,
    "enum": _values,
    "default": value_of,
    "dimension": whole_number(1, DIMENSION_MAX),
    "additional": _boolean,
}
_ONLY: dict[str, frozenset[str]] = {
    "min_length": frozenset(LENGTH_OF),
    "max_length": frozenset(LENGTH_OF),
    "min": ORDERED,
    "max": ORDERED,
    "dimension": frozenset({"vector"}),
    "items": frozenset({"array"}),
    "fields": frozenset({"object"}),
    "additional": frozenset({"object"}),
    "enum": frozenset({"any", "boolean", "integer", "number", "string", "time"}),
}
"""Keys that say something of these types alone."""

_COLLECTION_KEYS: dict[str, Read] = {
    "fields": read_fields,
    "additional": _boolean,
    "indexes": _indexes,
    "rule": _rule,
    "rules": _rules,
    "deletion": _word(DELETION_RULES),
    "vectors": _vectors,
    "links": _links,
    "expires": _expires,
    "tier": _word(TIERS),
}


def _in_order(said: Mapping[str, Any], low: str, high: str, kind: str, path: Path) -> None:
    limits = [(key, said[key]) for key in (low, high) if key in said]
    for key, value in limits:
        if key in ("min", "max") and isinstance(value, datetime) != (kind == "time"):
            wanted = "a time with its zone" if kind == "time" else "a number"
            raise SchemaError(f"{wanted} was expected", (*path, key))
    if len(limits) == 2 and limits[0][1] > limits[1][1]:
        raise SchemaError(f"{low} is more than {high}: nothing could be stored", path)


def _check_samples(schema: FieldSchema, path: Path) -> None:
    """The values that a definition itself names must be ones that it allows."""
    from .fitting import misfit  # It knows what fits, and rests on the classes of this file.

    for value in schema.enum:
        if why := misfit(_without_enum(schema), value):
            raise SchemaError(f"a value that the field itself refuses: {why}", (*path, "enum"))
    if schema.default is not None and (why := misfit(schema, schema.default)):
        raise SchemaError(f"a value that the field itself refuses: {why}", (*path, "default"))


def _without_enum(schema: FieldSchema) -> FieldSchema:
    return replace(schema, enum=())


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _echo(value: Any) -> str:
    """What was written, cut short, in letters that print."""
    return ascii(value if isinstance(value, str | int | float) else type(value).__name__)[:_ECHO]
