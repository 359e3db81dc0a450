"""Codecs: an object of an application's domain as the fields of a record, and back.

    @dataclass(frozen=True)
    class Fact:
        text: str
        cups: int = 0
        id: str = ""

    DataclassCodec(Fact)

The domain class knows nothing of Covey. Every field of it is a field of the record but `id`, which
is the record's id. A record may have been written by another version of the application: fields
that the class does not have are left alone, missing ones take the default of the class, and a value
of another type is an error that names its place, not an object with a surprise in it.
"""

import dataclasses
import types
from collections.abc import Callable, Mapping
from dataclasses import fields as fields_of
from datetime import datetime
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from ... import CoveyError
from ...sync.values import BlobRef, Counter, Increment, Text, Vector

T = TypeVar("T")

ID_FIELD = "id"

_PLAIN = (str, bytes, bool, int, datetime, Text, Counter, Vector, BlobRef, types.NoneType)

Read = Callable[[Any], Any]


class RecordShapeError(CoveyError):
    """A record is not what the class needs, or the other way round. Nothing was written.

    The text names the record, the field, what is there and what is needed. For a record of a newer
    version of the application: install that version here, or give the field a wider type.
    """

    exit_code = 3


class _MisfitError(Exception):
    """A value is not of the type. Its text says what is needed. Never leaves this module."""


class Codec(Protocol[T]):
    """Turns objects into fields and back. One that is not about dataclasses is easily written."""

    def encode(self, item: T) -> tuple[str, dict[str, Any]]:
        """The id, empty if the item has none yet, and all fields. Raises RecordShapeError."""
        ...

    def encode_some(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Some fields, by the names that the item has for them. Raises RecordShapeError."""
        ...

    def decode(self, id: str, fields: Mapping[str, Any]) -> T:
        """The item. Raises RecordShapeError, whose text begins with the id."""
        ...


class DataclassCodec(Generic[T]):
    """For a dataclass with a field `id: str`.

    Its fields may be of the types that a record holds (docs/data/repositories.md), an `Enum`,
    `X | None`, `list[X]`, `tuple[X, ...]`, `dict[str, X]` and `Any`. Raises RecordShapeError for
    any other.
    """

    def __init__(self, kind: type[T]) -> None:
        if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
            raise RecordShapeError(f"{kind!r:.60}: a dataclass is needed")
        self.kind = kind
        hints = get_type_hints(kind)
        self._fields = {field.name: field for field in fields_of(kind) if field.init}
        if hints.get(ID_FIELD) is not str or ID_FIELD not in self._fields:
            raise RecordShapeError(f"{kind.__name__}: a field `id: str` is needed")
        del self._fields[ID_FIELD]
        self._readers = {
            name: _reader(hints[name], f"{kind.__name__}.{name}") for name in self._fields
        }

    def encode(self, item: T) -> tuple[str, dict[str, Any]]:
        if not isinstance(item, self.kind):
            raise RecordShapeError(f"a {self.kind.__name__} is needed, not {type(item).__name__}")
        fields = {name: getattr(item, name) for name in self._fields}
        return getattr(item, ID_FIELD), self.encode_some(fields)

    def encode_some(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        written = {}
        for name, value in fields.items():
            if name not in self._fields:
                raise RecordShapeError(f"{self.kind.__name__} has no field {name!r:.40}")
            held = plain(value)
            try:
                # What could not be read again must not be written.
                if not isinstance(held, Increment):
                    self._readers[name](held)
            except _MisfitError as misfit:
                raise RecordShapeError(f"{self.kind.__name__}.{name}: {misfit}") from None
            written[name] = held
        return written

    def decode(self, id: str, fields: Mapping[str, Any]) -> T:
        found: dict[str, Any] = {ID_FIELD: id}
        for name, field in self._fields.items():
            if name in fields:
                try:
                    found[name] = self._readers[name](fields[name])
                except _MisfitError as misfit:
                    raise RecordShapeError(
                        f"{id}: its field {name!r} is no {self.kind.__name__}.{name}: {misfit}"
                    ) from None
            elif _is_required(field):
                raise RecordShapeError(
                    f"{id}: has no field {name!r}, which a {self.kind.__name__} needs:"
                    " give it a default"
                )
        return self.kind(**found)


def _is_required(field: "dataclasses.Field[Any]") -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def plain(value: Any) -> Any:
    """A value of the domain as a record holds it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def _reader(hint: Any, place: str) -> Read:
    """What makes a value of the type from that of a record, or raises _MisfitError."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda value: value
    if hint is float:
        # JSON knows one kind of number: 2.0 may come back as 2.
        return lambda value: float(_exactly(value, int if type(value) is int else float, "float"))
    if hint in _PLAIN:
        return lambda value: _exactly(value, hint, hint.__name__)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return lambda value: _member(hint, value)
    if hint in (list, dict):
        return lambda value: _exactly(value, hint, hint.__name__)
    if origin in (types.UnionType, Union):
        return _union([_reader(argument, place) for argument in arguments])
    if origin is list or (origin is tuple and arguments[1:] == (Ellipsis,)):
        return _sequence(origin, _reader(arguments[0], place))
    if origin is dict and arguments[0] is str:
        return _mapping(_reader(arguments[1], place))
    raise RecordShapeError(f"{place}: a record cannot hold {hint}")


def _exactly(value: Any, kind: type, name: str) -> Any:
    if type(value) is not kind:
        needed = "None" if name == "NoneType" else name
        raise _MisfitError(f"{needed} is needed, not {type(value).__name__}")
    return value


def _member(kind: type[Enum], value: Any) -> Any:
    for member in kind:
        if type(member.value) is type(value) and member.value == value:
            return member
    # Not what is there instead: errors are shown and logged, and records are private.
    raise _MisfitError(f"it is none of {', '.join(str(member.value) for member in kind)}")


def _union(readers: list[Read]) -> Read:
    def read(value: Any) -> Any:
        misfits = []
        for reader in readers:
            try:
                return reader(value)
            except _MisfitError as misfit:
                misfits.append(str(misfit))
        raise _MisfitError("; ".join(misfits))

    return read


def _sequence(kind: Any, reader: Read) -> Read:
    def read(value: Any) -> Any:
        return kind(map(reader, _exactly(value, list, "list")))

    return read


def _mapping(reader: Read) -> Read:
    def read(value: Any) -> Any:
        return {key: reader(item) for key, item in _exactly(value, dict, "dict").items()}

    return read
