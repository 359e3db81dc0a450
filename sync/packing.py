"""Canonical msgpack: exactly one encoding of every value.

Writes and reads the bodies of membership operations, session frames and everything else small
that is not a fixed header. Promises: `unpack(pack(x)) == x`, `pack(unpack(b)) == b`, and that
no input costs more than its caps allow: a scan in Python bounds tokens, depth and lengths
before the C decoder allocates anything (a megabyte of empty maps costs it over a second).

Allowed: nil, bool, integers of 64 bits in the shortest form, float64 (not NaN), str, bin,
array, and map with str keys in ascending byte order without duplicates. Float32, extensions
and the reserved byte are refused. UTF-8 order of bytes is the order of code points, so sorting
Python strings sorts their bytes.

Does not know what the values mean: every caller checks shape and ranges itself. Change sets,
which are large, have a strict reader of their own (changeset.py).

Spec: docs/protocol.md, section 9. Sizes are in bytes; depth counts open arrays and maps.
"""

from collections.abc import Sequence
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types

from .errors import DecodeError
from .limits import CONTROL_BYTES_MAX, CONTROL_DEPTH_MAX, CONTROL_TOKENS_MAX

_INT_MIN = -(2**63)
_INT_MAX = 2**64 - 1

# How many bytes a token takes altogether, by its first byte; 0: has a length field or is refused.
_FIXED = bytes(
    1 if first < 0x80 or first >= 0xE0 or first in (0xC0, 0xC2, 0xC3)
    else first - 0xA0 + 1 if 0xA0 <= first < 0xC0
    else {0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}.get(first, 0)
    for first in range(256)
)  # fmt: skip
# Size of the length field of bin 8/16/32 and str 8/16/32.
_LENGTH_FIELD = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
# Size of the count field and children per count of array 16/32 and map 16/32.
_COUNT_FIELD = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


def pack(value: Any) -> bytes:
    """The canonical encoding of `value`: maps are sorted, tuples are arrays.

    Only what section 9 allows: anything else (a key that is no str, NaN, an integer beyond 64
    bits, a type of ours) is a fault of ours and fails an assertion.
    """
    packed: bytes = msgpack.packb(_sorted(value))
    return packed


def unpack(
    data: bytes,
    *,
    bytes_max: int = CONTROL_BYTES_MAX,
    tokens_max: int = CONTROL_TOKENS_MAX,
    depth_max: int = CONTROL_DEPTH_MAX,
) -> Any:
    """The one value whose canonical encoding is `data`; arrays come back as lists.

    Raises: DecodeError if `data` is longer than `bytes_max`, holds more than `tokens_max`
    tokens, nests deeper than `depth_max`, or is not canonical msgpack.
    """
    if len(data) > bytes_max:
        raise DecodeError(f"msgpack: {len(data)} bytes, {bytes_max} allowed")
    _scan(data, tokens_max, depth_max)
    try:
        value = msgpack.unpackb(data, strict_map_key=True, object_pairs_hook=_ordered)
    except (ValueError, UnicodeDecodeError) as error:
        raise DecodeError(f"msgpack: {type(error).__name__}") from None
    if msgpack.packb(value) != data:
        raise DecodeError("msgpack: not the shortest form")
    return value


def _sorted(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is bytes or kind is bool or value is None:
        return value
    if kind is int:
        assert _INT_MIN <= value <= _INT_MAX, "integer beyond 64 bits"
        return value
    if kind is list or kind is tuple:
        return [_sorted(item) for item in value]
    if kind is dict:
        assert all(type(key) is str for key in value), "map keys are str"
        return {key: _sorted(value[key]) for key in sorted(value)}
    assert kind is float, f"{kind.__name__} has no canonical msgpack"
    assert value == value, "NaN has no canonical msgpack"
    return value


def _ordered(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    previous = None
    for key, _ in pairs:
        if type(key) is not str:  # msgpack's own check lets bytes through
            raise DecodeError("msgpack: a map key is no string")
        if previous is not None and key <= previous:
            raise DecodeError("msgpack: map keys out of order or repeated")
        previous = key
    return dict(pairs)


def _scan(data: bytes, tokens_max: int, depth_max: int) -> None:
    """Walk the tokens without building anything, and refuse what `unpack` must not see."""
    end = len(data)
    at = 0
    tokens = 0
    open_counts: list[int] = []  # children still to come, of each enclosing container
    left = 1
    while True:
        while not left:
            if not open_counts:
                if at != end:
                    raise DecodeError("msgpack: bytes after the value")
                return
            left = open_counts.pop()
        left -= 1
        tokens += 1
        if at >= end or tokens > tokens_max:
            raise DecodeError("msgpack: truncated, or too many tokens")
        first = data[at]
        size = _FIXED[first]
        if size:
            at += size
            continue
        if first == 0xC4 and at + 1 < end:  # bin 8: ids and hashes, too many for a call each
            at += 2 + data[at + 1]
            continue
        at, children = _scan_sized(data, at)
        if children is None:
            continue
        open_counts.append(left)
        left = children
        # Every child takes a byte at least, so a count beyond the rest is a lie.
        if len(open_counts) > depth_max or children > end - at:
            raise DecodeError("msgpack: too deep, or a count beyond the data")


def _scan_sized(data: bytes, at: int) -> tuple[int, int | None]:
    """Step over a float, a long str or bin, or the head of a container (then with its count)."""
    first = data[at]
    if 0x80 <= first < 0xA0:
        return at + 1, (first - 0x80) * 2 if first < 0x90 else first - 0x90
    if first == 0xCB:
        bits = int.from_bytes(data[at + 1 : at + 9], "big") & 0x7FFFFFFFFFFFFFFF
        if bits > 0x7FF0000000000000:
            raise DecodeError("msgpack: NaN")
        return at + 9, None
    if first in _LENGTH_FIELD:
        after = at + 1 + _LENGTH_FIELD[first]
        length = int.from_bytes(data[at + 1 : after], "big")
        if length > len(data) - after:
            raise DecodeError("msgpack: truncated")
        return after + length, None
    if first in _COUNT_FIELD:
        field, per_count = _COUNT_FIELD[first]
        after = at + 1 + field
        return after, int.from_bytes(data[at + 1 : after], "big") * per_count
    raise DecodeError(f"msgpack: type 0x{first:02x} is not used")
