"""Fitting: whether what this device writes is what the schemas of its collections allow.

A write is judged by the fields that it writes, a new record also by what it lacks. What a field has
already is never refused: a peer of another version may have written it, and whoever reads a record
and puts it back has to be able to. So nothing that came from elsewhere is refused or lost here.

Two steps. `judged` looks at the values as the application gave them, before what is large is put
beside the record; `fitted` knows the record as it is and decides. A reason names the place and
what is allowed, and never the content.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ...storage.vector_rows import model_key
from ...sync.errors import BadValueError
from ...sync.limits import RECORD_DEPTH_MAX
from ...sync.values import BlobRef, Counter, Increment, Text, Vector, same
from .definition import LENGTH_OF, CollectionSchema, FieldSchema, VectorSchema
from .reading import shown_name

if TYPE_CHECKING:
    from ..record_requests import Put, Request
    from .sealing import Sealing

_CLASSES: Mapping[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "text": (Text,),
    "bytes": (bytes,),
    "time": (datetime,),
    "vector": (Vector,),
    "blob": (BlobRef,),
    "counter": (Counter, Increment),
    "object": (dict,),
    "array": (list,),
}
_SHOWN_MAX = 8
_SHOWN_CHARACTERS_MAX = 40


class Fitting:
    """What is installed, by database and collection, and what it says of writes."""

    def __init__(self, sealing: "Sealing | None" = None) -> None:
        self.sealing = sealing
        self.schemas: dict[tuple[str, str], CollectionSchema] = {}

    def judged(self, database: str, request: "Request") -> "Request":
        """A put with the reasons why fields of it do not fit, if there are any."""
        schema = self.schemas.get((database, request.collection))
        value = getattr(request, "value", None)
        if schema is None or not isinstance(value, Mapping) or getattr(request, "is_late", True):
            return request
        put: Put = request  # type: ignore[assignment]  # only a put has a value
        found = misfits(schema, value)
        return replace(put, unfit=found) if found else put

    def concerns(self, database: str, put: "Put") -> bool:
        """Whether there is anything to be said of a put."""
        return put.remake is not None or (database, put.collection) in self.schemas

    def fitted(
        self,
        database: str,
        put: "Put",
        held: Mapping[str, Any] | None,
        shown: Mapping[str, Any] | None,
    ) -> "Put | None":
        """A put with all that it writes, defaults included; None if it writes nothing.

        `held` and `shown` are the fields as the record has them and as it shows them, which differ
        where they are in dispute; None if there is no record. Raises BadValueError, and as
        `Sealing.sealed`.
        """
        if put.remake is not None:
            made = None if held is None or shown is None else put.remake(shown)
            if made is None:
                return None
            remade = replace(put, value=_held(made, held or {}, shown or {}), replace=True)
            return self._sealed(database, remade, shown)
        schema = self.schemas[database, put.collection]
        if put.is_late or put.settle is not None or put.rewrite:
            return self._sealed(database, put, shown)
        for name, why in (put.unfit or {}).items():
            if shown is None or name not in shown or not same(shown[name], put.value.get(name)):
                raise BadValueError(f"{put.collection}/{put.id}: {shown_name(name)}{why}")
        if shown is not None and not put.replace:
            return self._sealed(database, put, shown)
        whole = with_defaults(schema.fields, put.value)
        if shown is not None and held is not None and not schema.additional:
            # What only a newer schema knows is not this device's to drop.
            unknown = {name: shown[name] for name in shown if name not in schema.fields}
            whole = {**_held(unknown, held, shown), **whole}
        if lacking := missing(schema.fields, whole):
            raise BadValueError(f"{put.collection}/{put.id}: {lacking[0]} is required")
        return self._sealed(database, replace(put, value=whole), shown)

    def _sealed(self, database: str, put: "Put", shown: Mapping[str, Any] | None) -> "Put":
        """A put with its encrypted fields sealed, as late as can be: everything else looks first.

        Raises NotOpenError, NotEntitledError.
        """
        schema, place = self.schemas.get((database, put.collection)), (database, put.collection)
        if schema is None or not schema.encrypted:
            return put
        assert self.sealing is not None, "a node that installs schemas can seal"
        seal = self.sealing.sealed
        if put.is_late or put.remake is not None:
            seal = self.sealing.sealed_if_possible
        return replace(put, value=seal(schema, place, put.value, shown or {}))


def _held(
    value: Mapping[str, Any], held: Mapping[str, Any], shown: Mapping[str, Any]
) -> dict[str, Any]:
    """A value with what stays as it is shown as it is held: writing it decides no conflict."""
    return {
        name: held[name] if name in held and name in shown and same(shown[name], item) else item
        for name, item in value.items()
    }


def misfits(schema: CollectionSchema, value: Mapping[Any, Any]) -> dict[str, str]:
    """Why fields of a record do not fit, by root field; each begins with the place inside."""
    found = {}
    for name, item in value.items():
        field = schema.fields.get(name)
        if field is not None:
            why = misfit(field, item) or _embedding(schema.vectors.get(name), item)
        else:
            why = None if schema.additional else f" is no field of this collection{_named(schema)}"
        if why:
            found[str(name)] = why if why[0] in " .[" else f": {why}"
    return found


def missing(fields: Mapping[str, FieldSchema], value: Mapping[str, Any]) -> list[str]:
    """The required fields that a record, or an object, does not have."""
    return [name for name, field in fields.items() if field.required and name not in value]


def with_defaults(fields: Mapping[str, FieldSchema], value: Mapping[str, Any]) -> dict[str, Any]:
    """A record with the defaults of what it does not have, also inside of objects that it has."""
    whole = dict(value)
    for name, field in fields.items():
        if name not in whole and field.default is not None:
            whole[name] = field.default
        elif field.fields and type(whole.get(name)) is dict:
            whole[name] = with_defaults(field.fields, whole[name])
    return whole


def misfit(schema: FieldSchema, value: Any, depth: int = 0) -> str | None:
    """Why a field cannot hold a value, None if it can. Begins with the place inside, if any."""
    if value is None:
        return None if schema.nullable or schema.type == "any" else "null is not allowed"
    if schema.type != "any" and type(value) not in _CLASSES[schema.type]:
        return f"{_kind(value)}, {schema.type} expected{_HINTS.get((schema.type, type(value)), '')}"
    if schema.enum and not any(type(value) is type(one) and value == one for one in schema.enum):
        return f"none of {_shown(schema.enum)}"
    check = _CHECKS.get(schema.type)
    return None if check is None else check(schema, value, depth)


def _length(schema: FieldSchema, value: Any, depth: int) -> str | None:
    length = len(value.content if isinstance(value, Text) else value)
    least, most = schema.min_length, schema.max_length
    unit = LENGTH_OF[schema.type]
    if most is not None and length > most:
        return f"{length} {unit}, {most} allowed"
    if least is not None and length < least:
        return f"{length} {unit}, at least {least} expected"
    if schema.type != "array" or schema.items is None:
        return None
    for index, item in enumerate(value):
        if why := misfit(schema.items, item, depth + 1):
            return _inside(f"[{index}]", why)
    return None


def _bounds(schema: FieldSchema, value: Any, _: int) -> str | None:
    if isinstance(value, Increment):
        return None  # What it comes to is known only once all devices have counted.
    number = value.total if isinstance(value, Counter) else value
    try:
        if schema.max is not None and number > schema.max:
            return f"more than {schema.max}, which is the most allowed"
        # Turned round, so that what compares with nothing (NaN) is not let through.
        if schema.min is not None and not number >= schema.min:
            return f"less than {schema.min}, which is the least allowed"
    except TypeError:
        return "a time without its zone"
    return None


def _dimension(schema: FieldSchema, value: Vector, _: int) -> str | None:
    numbers = len(value.data) // 4
    if schema.dimension is not None and numbers != schema.dimension:
        return f"a vector of {numbers} numbers, {schema.dimension} expected"
    return None


def _embedding(model: VectorSchema | None, value: Any) -> str | None:
    """Why what stands under the model of a field is no vector of it. Other models may be there."""
    key = "" if model is None else model_key(model.model, model.version)
    if model is None or type(value) is not dict or key not in value:
        return None
    if why := misfit(FieldSchema("vector", dimension=model.dimension), value[key]):
        return _inside(f".{shown_name(key)}", why)
    return None


def _object(schema: FieldSchema, value: dict[Any, Any], depth: int) -> str | None:
    if depth > RECORD_DEPTH_MAX:
        return f"nested deeper than {RECORD_DEPTH_MAX}"
    for name, item in value.items():
        field = schema.fields.get(name)
        if field is None and not schema.additional:
            return f".{shown_name(name)} is no field of this object"
        if field is not None and (why := misfit(field, item, depth + 1)):
            return _inside(f".{shown_name(name)}", why)
    whole = with_defaults(schema.fields, value)
    lacking = missing(schema.fields, whole)
    return f".{lacking[0]} is required" if lacking else None


_CHECKS: Mapping[str, Callable[[FieldSchema, Any, int], str | None]] = {
    **dict.fromkeys(LENGTH_OF, _length),
    **dict.fromkeys(("integer", "number", "counter", "time"), _bounds),
    "vector": _dimension,
    "object": _object,
}
_HINTS: Mapping[tuple[str, type], str] = {
    ("text", str): ': write covey.Text, or {"$text": ...} in JSON',
    ("time", str): ': write a datetime with its zone, or {"$time": ...} in JSON',
    ("vector", list): ': write covey.Vector, or {"$vector": [...]} in JSON',
    ("bytes", str): ': write bytes, or {"$bytes": base64} in JSON',
    ("counter", int): ': write covey.Counter, or {"$counter": ...} in JSON',
}


def _inside(place: str, why: str) -> str:
    return f"{place}{why}" if why[0] in " .[" else f"{place}: {why}"


def _kind(value: Any) -> str:
    """What a value is, in the words of schemas."""
    for name, classes in _CLASSES.items():
        if type(value) in classes:
            return name
    return type(value).__name__


def _shown(values: tuple[Any, ...]) -> str:
    """What is allowed: it stands in the definition, and is no content of a record."""
    parts = [str(one)[:_SHOWN_CHARACTERS_MAX] for one in values[:_SHOWN_MAX]]
    more = len(values) - len(parts)
    return ", ".join(parts) + (f" and {more} more" if more else "")


def _named(schema: CollectionSchema) -> str:
    return f"; it has {_shown(tuple(schema.fields))}" if schema.fields else ""
