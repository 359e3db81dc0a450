"""Cache values: the bytes of names, keys and values as a cache keeps them, and back.

A value is whatever a field of a record may be, nested alike, or bytes: kept as tagged JSON
(`covey.sync.values`), or as they are. Unlike in a record it may be larger, and the reference to a
blob may be one that was read. One byte tells which of the two it is.
"""

import json
from datetime import datetime
from math import isfinite
from typing import Any

from ...storage.fields import is_text
from ...sync.errors import BadValueError
from ...sync.limits import INTEGER_MAX, RECORD_DEPTH_MAX, TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN
from ...sync.values import BlobRef, Counter, Text, Vector, from_json, milliseconds_of, to_json

VALUE_BYTES_MAX = 8 << 20
KEY_BYTES_MAX = 65_536
NAME_BYTES_MAX = 64
_BYTES, _JSON = b"\0", b"\1"
_KEY_TEXT, _KEY_BYTES = b"\0", b"\1"


def name_bytes(name: Any) -> bytes:
    """The name of a cache. Raises: BadValueError."""
    if type(name) is not str or not name.isprintable() or not name.strip():
        raise BadValueError("a cache has a name, a text that prints")
    found = name.encode()
    if len(found) > NAME_BYTES_MAX:
        raise BadValueError(
            f"the name of a cache has {len(found)} bytes, {NAME_BYTES_MAX} are allowed"
        )
    return found


def key_bytes(key: Any) -> bytes:
    """A key. A text and its bytes are two keys. Raises: BadValueError."""
    if type(key) is str and is_text(key):
        found = _KEY_TEXT + key.encode()
    elif type(key) is bytes:
        found = _KEY_BYTES + key
    else:
        raise BadValueError(f"a key of a cache is a text or bytes, not this {type(key).__name__}")
    if not 1 < len(found) <= KEY_BYTES_MAX + 1:
        raise BadValueError(
            f"a key of a cache has {len(found) - 1} bytes, 1 to {KEY_BYTES_MAX} are allowed"
        )
    return found


def encode_value(value: Any) -> bytes:
    """Raises: BadValueError, naming the place, for what no cache holds."""
    if type(value) is bytes:
        found = _BYTES + value
    else:
        tagged = _tagged(value, "the value", 0)
        text = json.dumps(tagged, ensure_ascii=False, separators=(",", ":"))
        try:
            found = _JSON + text.encode()
        except UnicodeEncodeError:
            raise BadValueError("the value: a string with half a surrogate pair") from None
    if len(found) > VALUE_BYTES_MAX + 1:
        raise BadValueError(
            f"the value has {len(found) - 1} bytes, {VALUE_BYTES_MAX} are allowed in a cache"
        )
    return found


def decode_value(kept: bytes) -> Any:
    """What `encode_value` was given; a datetime in UTC, to the millisecond.

    Raises: BadValueError for what it would not have made.
    """
    if kept[:1] == _BYTES:
        return kept[1:]
    try:
        if kept[:1] == _JSON:
            return from_json(json.loads(kept[1:]))
    except (ValueError, RecursionError):
        pass
    raise BadValueError("a value of a cache in another form")


def _tagged(value: Any, place: str, depth: int) -> Any:
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is dict or kind is list:
        if depth >= RECORD_DEPTH_MAX:
            raise BadValueError(f"{place:.200}: nested deeper than {RECORD_DEPTH_MAX}")
        if kind is list:
            return [_tagged(item, f"{place}[{at}]", depth + 1) for at, item in enumerate(value)]
        return {
            _field(name, place): _tagged(item, f"{place}.{name}", depth + 1)
            for name, item in value.items()
        }
    if kind is Counter:
        _tagged(value.total, place, depth)
    if kind is int and -INTEGER_MAX <= value <= INTEGER_MAX:
        return value
    if kind is float and isfinite(value):
        return value
    if kind is bytes or (kind is datetime and _is_time(value)):
        return to_json(value)
    if kind in (Text, Counter, Vector, BlobRef) and _reads_the_same(value):
        return to_json(value)
    raise BadValueError(
        f"{place:.200}: this {kind.__name__} cannot be kept: see docs/data/cache.md for what can"
    )


def _field(name: Any, place: str) -> str:
    if type(name) is not str or not name or name[0] == "$":
        raise BadValueError(f"{place:.200}: a field has a name, a text that begins with no '$'")
    return name


def _reads_the_same(value: Any) -> bool:
    """Whether what is inside of one of our own types is what belongs there."""
    try:
        return bool(from_json(to_json(value)) == value)
    except (BadValueError, TypeError, AttributeError):
        return False


def _is_time(value: datetime) -> bool:
    if value.utcoffset() is None:
        return False
    return TIMESTAMP_MS_MIN <= milliseconds_of(value) <= TIMESTAMP_MS_MAX
