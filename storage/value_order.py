"""Value order: rows of values as bytes that sort as the values do, and back.

null < false < true < numbers < texts < bytes < times. Numbers compare exactly, whole or not, also
beyond 2^53; texts by code point; times by the millisecond. No value's bytes are the beginning of
another's, so those of a row stand one after the other, and rows that begin alike lie together:
`key_of(row)` to `key_of(row) + END` are all rows that begin with `row`.

One number has one form: 3.0 reads back as 3, and -0.0 as 0.
"""

from collections.abc import Sequence
from datetime import datetime
from math import frexp, isfinite, ldexp
from struct import pack, unpack_from
from typing import Any

from ..sync.errors import BadValueError
from ..sync.limits import TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN
from ..sync.values import milliseconds_of, timestamp_of

END = b"\xff"
"""Greater than what any value begins with."""

_NULL, _FALSE, _TRUE, _NUMBER, _TEXT, _BYTES, _TIME = 0x10, 0x20, 0x21, 0x30, 0x40, 0x50, 0x60
_BELOW, _ZERO, _ABOVE = 0, 1, 2
_BITS = 64
_EXPONENT_SHIFT = 2_000
_STOP = b"\0\0"
_INVERTED = bytes(255 - byte for byte in range(256))
_WORDS = {_NULL: None, _FALSE: False, _TRUE: True}


def key_of(row: Sequence[Any]) -> bytes:
    """The bytes of a row. Raises BadValueError for what has no place in the order."""
    return b"".join(map(_bytes_of, row))


def row_of(key: bytes) -> tuple[Any, ...]:
    """The row that `key_of` made these bytes of."""
    row: list[Any] = []
    at = 0
    while at < len(key):
        value, at = _read(key, at)
        row.append(value)
    return tuple(row)


def beginning(key: bytes, count: int) -> bytes | None:
    """The bytes of the first `count` values of a row, None if it has fewer."""
    at = 0
    for _ in range(count):
        if at >= len(key):
            return None
        _, at = _read(key, at)
    return key[:at]


def _read(key: bytes, at: int) -> tuple[Any, int]:
    """The value that stands here, and where the next one does."""
    kind = key[at]
    at += 1
    if kind in _WORDS:
        return _WORDS[kind], at
    if kind == _NUMBER:
        return _read_number(key, at)
    if kind == _TIME:
        return timestamp_of(unpack_from(">Q", key, at)[0] - 2**63), at + 8
    assert kind in (_TEXT, _BYTES)
    end = _end_of_string(key, at)
    content = key[at:end].replace(b"\0\xff", b"\0")
    return (content.decode() if kind == _TEXT else content), end + len(_STOP)


def _bytes_of(value: Any) -> bytes:
    kind = type(value)
    if kind is str:
        try:
            return bytes([_TEXT]) + _string(value.encode())
        except UnicodeEncodeError:
            raise BadValueError("a key holds a text with half a surrogate pair") from None
    if kind is bool:
        return bytes([_TRUE if value else _FALSE])
    if value is None:
        return bytes([_NULL])
    if kind is int or kind is float:
        return bytes([_NUMBER]) + _number(value)
    if kind is bytes:
        return bytes([_BYTES]) + _string(value)
    if kind is datetime and value.utcoffset() is not None:
        milliseconds = milliseconds_of(value)
        if TIMESTAMP_MS_MIN <= milliseconds <= TIMESTAMP_MS_MAX:
            return bytes([_TIME]) + pack(">Q", milliseconds + 2**63)
    raise BadValueError(
        "a key is made of texts, numbers, true, false, None, bytes and times with a time zone, not"
        f" {kind.__name__}"
    )


def _string(content: bytes) -> bytes:
    return content.replace(b"\0", b"\0\xff") + _STOP


def _end_of_string(key: bytes, at: int) -> int:
    """Where the stop stands: a zero that is followed by none of an escape."""
    while True:
        at = key.index(b"\0", at)
        if key[at + 1] == 0:
            return at
        at += 2


def _number(value: int | float) -> bytes:
    """A sign; of the magnitude an exponent and 64 bits, which hold any integer and any double."""
    if isinstance(value, float):
        if not isfinite(value):
            raise BadValueError(f"a key holds {value}, which has no place among numbers")
        fraction, exponent = frexp(abs(value))
        mantissa = int(fraction * 2**_BITS)
    else:
        exponent = abs(value).bit_length()
        if exponent > _BITS:
            raise BadValueError("a key holds an integer of more than 64 bits")
        mantissa = abs(int(value)) << (_BITS - exponent)
    if not mantissa:
        return bytes([_ZERO])
    size = pack(">HQ", exponent + _EXPONENT_SHIFT, mantissa)
    return bytes([_ABOVE]) + size if value > 0 else bytes([_BELOW]) + size.translate(_INVERTED)


def _read_number(key: bytes, at: int) -> tuple[int | float, int]:
    sign = key[at]
    if sign == _ZERO:
        return 0, at + 1
    size = key[at + 1 : at + 11]
    shifted, mantissa = unpack_from(">HQ", size if sign == _ABOVE else size.translate(_INVERTED))
    exponent = shifted - _EXPONENT_SHIFT
    low_bits = max(0, _BITS - exponent)
    number: int | float
    if exponent <= _BITS and low_bits <= _BITS and mantissa & ((1 << low_bits) - 1) == 0:
        number = mantissa >> low_bits
    else:
        # Exact: only doubles come here, so of the 64 bits at most 53 are set.
        number = ldexp(mantissa, exponent - _BITS)
    return (number if sign == _ABOVE else -number), at + 11
