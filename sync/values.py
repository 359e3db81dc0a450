"""The values of records: what an application may store, and how it reads as JSON.

A record is a dict of str to: None, bool, int, float, str, bytes, an aware datetime (kept to the
millisecond, in UTC), list, dict, and the classes of this module: `Text` (merges character by
character), `Counter` and `Increment`, `Vector` (float32) and `BlobRef`.

Beside this form, the application's, there are two: the *plain* form, which is what the CRDT
holds, where `Vector` and `BlobRef` are maps with one `$` key (`to_plain` checks every limit,
`from_plain` never fails); and tagged JSON (`to_json`, `from_json`,
`value_text`), where what JSON cannot say is a map with one `$` key: `$bytes` base64, `$time`
ISO 8601 in UTC, `$text`, `$counter` and `$increment` numbers, `$vector` base64 of float32
little-endian (or, when read, a list of numbers), `$blob` `{id (hex), size, type, name, variants}`.
The key of a blob stands in its manifest alone, which has no JSON form: what a person writes only
names a blob, and the node that knows it puts the manifest in (`covey.node.blob_refs`).

An application's own field names do not start with `$`. Spec: docs/protocol.md, section 3,
"Values". Sizes are in bytes of UTF-8, times in milliseconds since 1970.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import isfinite
from struct import error as struct_error
from struct import pack, unpack
from typing import Any

from .errors import BadValueError, DecodeError
from .limits import (
    INTEGER_MAX,
    NAME_BYTES_MAX,
    RECORD_BYTES_MAX,
    RECORD_DEPTH_MAX,
    TIMESTAMP_MS_MAX,
    TIMESTAMP_MS_MIN,
)
from .manifest import Manifest, blob_id, decode_manifest, encode_manifest, is_variant_name

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Text:
    """A string whose concurrent edits merge character by character."""

    content: str


@dataclass(frozen=True, slots=True)
class Counter:
    """A number that concurrent increments add up to. Reading gives the sum of all devices.

    Writing a Counter adds the difference to what this device has contributed.
    """

    total: int


@dataclass(frozen=True, slots=True)
class Increment:
    """Written over a `Counter`, or where nothing is: adds `by`. It never is read."""

    by: int


@dataclass(frozen=True, slots=True, init=False)
class Vector:
    """Numbers of 32 bits, such as an embedding; merges as a whole."""

    data: bytes  # float32, little-endian

    def __init__(self, numbers: bytes | Sequence[float]) -> None:
        data = numbers if isinstance(numbers, bytes) else _float32(numbers)
        if len(data) % 4 or not all(map(isfinite, _floats(data))):
            raise BadValueError("a vector is float32 numbers, 4 bytes each, none NaN or infinite")
        object.__setattr__(self, "data", data)

    def floats(self) -> list[float]:
        """The numbers, as Python's doubles."""
        return list(_floats(self.data))


@dataclass(frozen=True, slots=True)
class BlobRef:
    """Names a blob, whose bytes travel outside the record. Made by `put_blob`, or by reading."""

    id: bytes  # 32 bytes
    size: int  # bytes
    media_type: str = ""
    name: str = ""
    """As whoever put it called the file. For people: never a path."""
    variants: tuple[tuple[str, "BlobRef"], ...] = ()
    """Small stand-ins by name, such as a thumbnail; ascending."""
    manifest: bytes = field(default=b"", repr=False, compare=False)
    """What a record holds, the key included; empty in a reference that came as JSON."""


def blob_ref(manifest: bytes | Manifest) -> BlobRef:
    """The reference that a manifest makes. Raises: DecodeError."""
    if isinstance(manifest, Manifest):
        found, encoded = manifest, encode_manifest(manifest)
    else:
        found, encoded = decode_manifest(manifest), manifest
    variants = tuple((name, blob_ref(variant)) for name, variant in found.variants)
    id = blob_id(found)
    return BlobRef(id, found.size, found.media_type, found.name, variants, encoded)


def timestamp_of(milliseconds: int) -> datetime:
    """The aware datetime, in UTC, of a time within the limits."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def milliseconds_of(time: datetime) -> int:
    """Milliseconds since 1970, rounded down. `time` is aware."""
    return (time - _EPOCH) // _MILLISECOND


# --- the application's value to the plain form, and back -------------------------------------


def to_plain(record: dict[str, Any]) -> dict[str, Any]:
    """A checked copy of an application's record in the plain form.

    Raises: BadValueError, naming the place, for what no record may hold.
    """
    if type(record) is not dict:
        raise BadValueError(f"a record is a dict, not {type(record).__name__}")
    room = [RECORD_BYTES_MAX]
    return _plain_map(record, "", 0, room)


def _plain_map(value: dict[Any, Any], place: str, depth: int, room: list[int]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, item in value.items():
        if type(name) is not str:
            raise BadValueError(f"{place or 'the record'}: a field name is a str, not {name!r:.40}")
        if name[:1] == "$":
            raise BadValueError(f"{place}{name:.40}: a field name must not start with '$'")
        _take(_size(name, place or "a field name"), place, room)
        if not name or len(name.encode()) > NAME_BYTES_MAX:
            raise BadValueError(
                f"{place or 'the record'}: a field name has 1 to {NAME_BYTES_MAX} bytes"
            )
        out[name] = _plain(item, f"{place}.{name}" if place else name, depth, room)
    return out


def _plain(value: Any, place: str, depth: int, room: list[int]) -> Any:  # noqa: C901 - by type
    kind = type(value)
    if kind is str:
        _take(_size(value, place), place, room)
        return value
    if kind is dict or kind is list:
        if depth >= RECORD_DEPTH_MAX:
            raise BadValueError(f"{place}: nested deeper than {RECORD_DEPTH_MAX}")
        if kind is dict:
            return _plain_map(value, place, depth + 1, room)
        return [
            _plain(item, f"{place}[{index}]", depth + 1, room) for index, item in enumerate(value)
        ]
    _take(8, place, room)
    if kind is bool or value is None:
        return value
    if kind is int:
        return _integer(value, place)
    if kind is float:
        if not isfinite(value):
            raise BadValueError(f"{place}: {value} cannot be stored")
        return value
    if kind is bytes:
        _take(len(value), place, room)
        return value
    if kind is datetime:
        return _timestamp(value, place)
    return _plain_special(value, place, depth, room)


def _plain_special(value: Any, place: str, depth: int, room: list[int]) -> Any:
    levels = {Text: 1, Counter: 2, Increment: 2, Vector: 1, BlobRef: 1}.get(type(value))
    if levels is None:
        raise BadValueError(f"{place}: {type(value).__name__} cannot be stored in a record")
    if depth + levels > RECORD_DEPTH_MAX:
        raise BadValueError(f"{place}: nested deeper than {RECORD_DEPTH_MAX}")
    match value:
        case Text(content):
            if type(content) is not str:
                raise BadValueError(f"{place}: a Text holds a str")
            _take(_size(content, place), place, room)
            return value
        case Counter(number) | Increment(number):
            _integer(number, place)
            return value
        case Vector(data):
            _take(len(data), place, room)
            return {"$vector": data}
        case BlobRef(manifest=manifest):
            if not _is_made_of(value, manifest):
                raise BadValueError(f"{place}: this names a blob that is not known here")
            _take(len(manifest), place, room)
            return {"$blob": manifest}
    raise AssertionError(type(value))


def from_plain(plain: Any) -> Any:
    """The application's view of a plain value. Maps that only look special stay maps."""
    if type(plain) is list:
        return [from_plain(item) for item in plain]
    if type(plain) is not dict:
        return plain
    if len(plain) == 1:
        ((name, inner),) = plain.items()
        if name == "$counter" and type(inner) is dict:
            if all(type(part) is int for part in inner.values()):
                return Counter(sum(inner.values()))
        elif name == "$vector" and type(inner) is bytes:
            try:
                return Vector(inner)
            except BadValueError:
                return {name: inner}
        elif name == "$blob" and type(inner) is bytes:
            try:
                return blob_ref(inner)
            except DecodeError:
                return {name: inner}
    return {name: from_plain(item) for name, item in plain.items()}


def same(a: Any, b: Any) -> bool:
    """Whether two plain values are equal, types included: 1, 1.0 and True are three values."""
    kind = type(a)
    if kind is not type(b):
        return False
    if kind is dict:
        return len(a) == len(b) and all(name in b and same(a[name], b[name]) for name in a)
    if kind is list:
        return len(a) == len(b) and all(map(same, a, b))
    if kind is float:
        return pack("<d", a) == pack("<d", b)  # 0.0 and -0.0 are two values
    return bool(a == b)


def _size(text: str, place: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise BadValueError(f"{place!a}: a string with half a surrogate pair") from None


def _take(size: int, place: str, room: list[int]) -> None:
    room[0] -= size
    if room[0] < 0:
        raise BadValueError(
            f"{place or 'the record'}: the record exceeds {RECORD_BYTES_MAX} bytes;"
            " keep large things as blobs"
        )


def _integer(value: Any, place: str) -> int:
    if type(value) is not int or not -INTEGER_MAX <= value <= INTEGER_MAX:
        raise BadValueError(f"{place}: an integer is within ±(2^63 - 1)")
    return value


def _timestamp(value: datetime, place: str) -> datetime:
    if value.utcoffset() is None:
        raise BadValueError(f"{place}: a datetime needs a time zone")
    milliseconds = milliseconds_of(value)
    if not TIMESTAMP_MS_MIN <= milliseconds <= TIMESTAMP_MS_MAX:
        raise BadValueError(f"{place}: a datetime is within the years 2 to 9998")
    return timestamp_of(milliseconds)


def _float32(numbers: Sequence[float]) -> bytes:
    try:
        return pack(f"<{len(numbers)}f", *numbers)
    except (struct_error, OverflowError, TypeError):
        raise BadValueError("a vector is a list of numbers in the range of float32") from None


def _floats(data: bytes) -> tuple[float, ...]:
    return unpack(f"<{len(data) // 4}f", data[: len(data) // 4 * 4])


# --- tagged JSON ----------------------------------------------------------------------------------


def to_json(value: Any) -> Any:
    """The tagged form of an application's value: only dict, list, str, int, float, bool, None."""
    kind = type(value)
    if kind is dict:
        return {name: to_json(item) for name, item in value.items()}
    if kind is list:
        return [to_json(item) for item in value]
    if value is None or kind in (str, int, float, bool):
        return value
    return _tagged(value)


def from_json(tagged: Any) -> Any:
    """The application's value of tagged JSON.

    Raises: BadValueError for a `$` key that is no tag, or a tag whose content is not its kind.
    """
    kind = type(tagged)
    if kind is list:
        return [from_json(item) for item in tagged]
    if kind is not dict:
        return tagged
    for name in tagged:
        if type(name) is str and name[:1] == "$":
            if len(tagged) != 1:
                raise BadValueError(f"{name:.40}: a tag stands alone in its object")
            return _untagged(name, tagged[name])
    return {name: from_json(item) for name, item in tagged.items()}


def _tagged(value: Any) -> dict[str, Any]:
    match value:
        case bytes():
            return {"$bytes": base64.b64encode(value).decode()}
        case datetime():
            text = value.astimezone(UTC).isoformat(timespec="milliseconds")
            return {"$time": text.removesuffix("+00:00") + "Z"}
        case Text(content):
            return {"$text": content}
        case Counter(total):
            return {"$counter": total}
        case Increment(by):
            return {"$increment": by}
        case Vector(data):
            return {"$vector": base64.b64encode(data).decode()}
        case BlobRef():
            return {"$blob": _blob_face(value)}
    raise BadValueError(f"{type(value).__name__} has no JSON form")


# Built once: json.dumps with options would build one for every record.
_CANONICAL = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"), default=_tagged
)


def value_text(value: Any) -> str:
    """The canonical tagged JSON of an application's value: sorted keys, no spaces."""
    return _CANONICAL.encode(value)


def _untagged(tag: str, content: Any) -> Any:
    try:
        match tag, content:
            case "$bytes", str():
                return base64.b64decode(content, validate=True)
            case "$time", str():
                time = datetime.fromisoformat(content)
                if time.utcoffset() is not None:
                    return time.astimezone(UTC)
            case "$text", str():
                return Text(content)
            case "$counter" | "$increment", int() if type(content) is int:
                return Counter(content) if tag == "$counter" else Increment(content)
            case "$vector", str():
                return Vector(base64.b64decode(content, validate=True))
            case "$vector", list():
                return Vector(content)
            case "$blob", dict():
                return _blob_of_face(content)
    except (ValueError, OverflowError):
        pass
    raise BadValueError(f"{tag:.40}: not a tag of Covey, or not what belongs under it")


def _is_made_of(ref: BlobRef, manifest: Any) -> bool:
    try:
        return type(manifest) is bytes and blob_ref(manifest) == ref
    except DecodeError:
        return False


def _blob_face(ref: BlobRef) -> dict[str, Any]:
    """What a person may see of a blob. What is empty is left out, but for the media type."""
    face: dict[str, Any] = {"id": ref.id.hex(), "size": ref.size, "type": ref.media_type}
    if ref.name:
        face["name"] = ref.name
    if ref.variants:
        face["variants"] = {name: _blob_face(variant) for name, variant in ref.variants}
    return face


def _blob_of_face(face: Any, depth: int = 0) -> BlobRef:
    """Raises: ValueError for anything that `_blob_face` would not write."""
    if type(face) is not dict:
        raise ValueError("not an object")
    face = dict(face)
    variants = face.pop("variants", {})
    if (
        type(variants) is not dict
        or (variants and depth)
        or not all(map(is_variant_name, variants))
    ):
        raise ValueError("variants")
    match {"name": "", **face}:
        case {
            "id": str(id),
            "size": int(size),
            "type": str(media_type),
            "name": str(name),
            **rest,
        } if not rest and type(size) is int and len(id) == 64:
            inner = [(word, _blob_of_face(variants[word], depth + 1)) for word in sorted(variants)]
            return BlobRef(bytes.fromhex(id), size, media_type, name, tuple(inner))
    raise ValueError("not the face of a blob")
