"""Definitions: what a collection holds, as values, read from plain data that anybody may have made.

The data has the form that a person writes in TOML, JSON or Python: maps, arrays, texts, numbers,
and what `covey.sync.values` adds. It is JSON-Schema-like, not JSON Schema: every key is one of
those below and means one thing, and whatever is not understood is refused with the place where it
stands (`SchemaError.path`) and the word that was probably meant.

Nothing here reads records (`fitting.py`) or runs anything (`migrating.py`). Lengths are characters
of texts, bytes of bytes, items of arrays, numbers of vectors.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from math import isfinite
from typing import Any

from ...sync.errors import BadValueError
from ...sync.limits import (
    INTEGER_MAX,
    RECORD_BYTES_MAX,
)
from ...sync.rules import DELETION_RULES, LAST_WRITER_WINS, MANUAL
from ...sync.session_limits import SETTING_BYTES_MAX
from . import embedding
from .reading import (
    ECHO,
    Path,
    Read,
    SchemaError,
    boolean,
    echo,
    field_name,
    name_of,
    read_keys,
    read_list,
    read_table,
    value_of,
    whole_number,
    word,
)

TYPES = (
    *("any", "boolean", "integer", "number", "string", "text", "bytes", "time"),
    *("vector", "blob", "counter", "object", "array"),
)
LENGTH_OF = {"string": "characters", "text": "characters", "bytes": "bytes", "array": "items"}
"""The types that have a length, and what it counts."""
ORDERED = frozenset({"integer", "number", "counter", "time"})
SEALABLE = frozenset(
    {"any", "boolean", "integer", "number", "string", "bytes", "time", "vector", "object", "array"}
)
"""The types of fields that can be encrypted: none that merges, and none that refers to a blob."""
BLIND_RULES = (LAST_WRITER_WINS, MANUAL, "origin-wins")
"""The conflict rules that choose without looking."""
DEPTH_MAX = 16
FIELDS_MAX = 1_000
"""Of one collection, those inside of others included."""
COLLECTIONS_MAX = 256
INDEX_FIELDS_MAX = 8
DIMENSION_MAX = 65_536
TIERS = ("hot", "warm", "cold")

_DAYS = re.compile(r"([1-9][0-9]{0,4})d")


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
    encrypted: tuple[str, ...] = ()
    """Fields that are sealed inside of the record (`sealing.py`)."""
    rule: str | None = None
    """The conflict rule of all fields that have none of their own."""
    rules: Mapping[str, str] = field(default_factory=dict)
    deletion: str | None = None
    """The rule for a record that was deleted here and edited there."""
    vectors: Mapping[str, VectorSchema] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    """Field to the collection whose ids it holds."""
    expires: str | None = None
    """After how many days without a change a record goes, as `90d`; or the field with the time."""
    tier: str | None = None


def read_collection(data: Any, path: Path = ()) -> CollectionSchema:
    """The definition that the data of one collection gives. Raises SchemaError."""
    said = read_keys(data, path, _COLLECTION_KEYS)
    fields = said.get("fields", {})
    if _count(fields.values()) > FIELDS_MAX:
        raise SchemaError(f"more than {FIELDS_MAX} fields", (*path, "fields"))
    sealed = said.get("encrypted", ())
    for part in ("encrypted", "indexes", "vectors", "links"):
        named = said.get(part, ())
        for name in chain.from_iterable(one if isinstance(one, tuple) else (one,) for one in named):
            if name not in fields:
                raise SchemaError(f"no field {echo(name)} in this collection", (*path, part))
            if name in sealed and part != "encrypted":
                raise SchemaError(f"{echo(name)} is encrypted: nothing can read it", (*path, part))
    _check_encrypted(fields, sealed, said.get("rules", {}), path)
    _check_expires(fields, sealed, said.get("expires"), path)
    for name in said.get("vectors", {}):
        _check_vector(fields[name], (*path, "vectors", name))
    for name in said.get("rules", {}):
        if name not in fields and said.get("additional") is False:
            raise SchemaError(f"no field {echo(name)} in this collection", (*path, "rules", name))
    return CollectionSchema(**said)


def _check_encrypted(
    fields: Mapping[str, FieldSchema], sealed: Sequence[str], rules: Mapping[str, str], path: Path
) -> None:
    for name in sealed:
        if fields[name].type not in SEALABLE:
            why = f"a field of the type {fields[name].type} cannot be encrypted"
            raise SchemaError(why, (*path, "fields", name))
        if rules.get(name, LAST_WRITER_WINS) not in BLIND_RULES:
            why = f"a rule that needs no content was expected: {', '.join(BLIND_RULES)}"
            raise SchemaError(why, (*path, "rules", name))


def _check_expires(
    fields: Mapping[str, FieldSchema], sealed: Sequence[str], expires: str | None, path: Path
) -> None:
    if expires is None or days_of(expires) is not None:
        return
    if expires not in fields or fields[expires].type != "time" or expires in sealed:
        why = "days such as 90d, or a field of the type time, were expected"
        raise SchemaError(why, (*path, "expires"))


def _check_vector(field: FieldSchema, path: Path) -> None:
    # An embedding names its model: it is an object of vectors (`embedding.py`), not one alone.
    if field.type not in ("object", "any"):
        raise SchemaError("an embedding is of the type object: a vector by its model", path)


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
        field_name(name, path): read_field(one, (*path, str(name)), depth)
        for name, one in read_table(data, path).items()
    }


# Parts of these --------------------------------------------------------------------------------


def _count(fields: Any) -> int:
    return sum(
        1 + _count(one.fields.values()) + (_count([one.items]) if one.items else 0)
        for one in fields
    )


def days_of(expires: str) -> int | None:
    """The days of `90d`; None for the name of a field."""
    match = _DAYS.fullmatch(expires)
    return int(match[1]) if match else None


def _expires(value: Any, path: Path) -> str:
    if not isinstance(value, str):
        raise SchemaError("days such as 90d, or a field with a time, were expected", path)
    return value


def _limit(value: Any, path: Path) -> Any:
    is_number = type(value) in (int, float) and isfinite(value) and abs(value) <= INTEGER_MAX
    if not is_number and not (isinstance(value, datetime) and value.utcoffset() is not None):
        raise SchemaError("a number, or a time with its zone, was expected", path)
    return value


def _values(value: Any, path: Path) -> tuple[Any, ...]:
    return tuple(value_of(one, path) for one in read_list(value, path))


def _names(value: Any, path: Path) -> tuple[str, ...]:
    names = tuple(field_name(name, path) for name in read_list(value, path))
    if len(set(names)) < len(names):
        raise SchemaError("a field is named twice", path)
    return names


def _indexes(value: Any, path: Path) -> tuple[tuple[str, ...], ...]:
    found = tuple(
        _names([one] if isinstance(one, str) else read_list(one, path, INDEX_FIELDS_MAX), path)
        for one in read_list(value, path)
    )
    if len(set(found)) < len(found):
        raise SchemaError("an index is named twice", path)
    return found


def _rules(value: Any, path: Path) -> dict[str, str]:
    found = {}
    for name, rule in read_table(value, path).items():
        at = (*path, str(name)[:ECHO])
        found[field_name(name, path)] = _rule(rule, at)
    return found


def _rule(value: Any, path: Path) -> str:
    return name_of(value, path, SETTING_BYTES_MAX)


def _vectors(value: Any, path: Path) -> dict[str, VectorSchema]:
    keys: dict[str, Read] = {
        "model": name_of,
        "version": name_of,
        "dimension": whole_number(1, embedding.DIMENSION_MAX),
    }
    found = {}
    for name, data in read_table(value, path).items():
        said = read_keys(data, (*path, str(name)), keys)
        if missing := sorted(keys.keys() - said.keys()):
            raise SchemaError(f"{missing[0]} is missing", (*path, str(name)))
        try:
            embedding.check_model(said["model"], said["version"])
        except BadValueError as error:
            raise SchemaError(str(error), (*path, str(name))) from None
        found[field_name(name, path)] = VectorSchema(**said)
    return found


def _links(value: Any, path: Path) -> dict[str, str]:
    return {
        field_name(name, path): name_of(to, (*path, str(name)))
        for name, to in read_table(value, path).items()
    }


_LENGTH = whole_number(0, RECORD_BYTES_MAX)
_FIELD_KEYS: dict[str, Read] = {
    "type": word(TYPES),
    "required": boolean,
    "nullable": boolean,
    "min_length": _LENGTH,
    "max_length": _LENGTH,
    "min": _limit,
    "max": _limit,
    "enum": _values,
    "default": value_of,
    "dimension": whole_number(1, DIMENSION_MAX),
    "additional": boolean,
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
    "additional": boolean,
    "indexes": _indexes,
    "encrypted": _names,
    "rule": _rule,
    "rules": _rules,
    "deletion": word(DELETION_RULES),
    "vectors": _vectors,
    "links": _links,
    "expires": _expires,
    "tier": word(TIERS),
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
