"""The shortcut for the commonest change: the first of a record, scalars at the root only.

`decode_flat` reads that one shape straight from the bytes, in a fifth of the time that the
general decoder takes, and `encode_flat` writes it. Promises: what `decode_flat` returns is what
`decode_general` of chunk.py returns for the same bytes; for whatever is not plainly of the
shape it returns None, also for what is wrong, so that one place decides on refusals.

The shape: no dependency, seq 1, first operation 1, no other actor; 2 to 63 puts at distinct
names of under 128 bytes, at least one with a value of some length. Its bytes, by column:

    00 01 01 00 00 00 | 06 | 15 n 34 n 42 n 56 n 57 n 70 n |
    names | n | n 01 | metas | values | n 00

Spec: docs/protocol.md, section 3, "Tail". The encodings are those of column_reading.py.
"""

from functools import lru_cache
from hashlib import sha256
from operator import eq
from struct import Struct
from struct import error as struct_error
from typing import Any

from .change import DELETED_KEY, Change, change_body
from .column_reading import read_signed
from .column_writing import number, runs, scalar, signed, string
from .errors import GateError
from .limits import TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN
from .values import timestamp_of

_START = bytes((0, 1, 1, 0, 0, 0, 6, 0x15))
_MIDDLE = bytes((0x34, 1, 0x42, 2, 0x56))
_FLOAT = Struct("<d").unpack_from
# Records of a collection mostly have the same fields, so their column of names is read once.
# Longer columns are read each time: the cache stays under a megabyte.
_CACHED_BYTES_MAX = 512
_CACHED_NAMES_MAX = 32


def decode_flat(tail: bytes, actor: bytes) -> Change | None:
    """The change, if `tail` is plainly of the flat shape and canonical; otherwise None."""
    if not tail.startswith(_START):
        return None
    try:
        fields = _read_fields(tail)
    except (IndexError, ValueError, struct_error, GateError):
        return None
    if fields is None:
        return None
    body = change_body(tail, 1, actor)
    return Change(
        sha256(body).digest(), actor, (), 1, 1, len(fields), tuple(fields),
        fields.get(DELETED_KEY) is True, fields, None, body,
    )  # fmt: skip


def encode_flat(fields: dict[str, Any]) -> bytes:
    """The tail of the first change that puts the scalars of `fields`, of which there is one."""
    rows = len(fields)
    metas: list[int] = []
    parts: list[bytes] = []
    for value in fields.values():
        if type(value) is str:
            data = value.encode()
            metas.append(len(data) << 4 | 6)
        else:
            meta, data = scalar(value)
            metas.append(meta)
        parts.append(data)
    names = _names_column(tuple(fields)) if rows <= _CACHED_NAMES_MAX else _write_names(fields)
    if any(map(eq, metas, metas[1:])):
        meta_column = runs(metas, number)
    else:
        meta_column = signed(-rows) + b"".join(map(number, metas))
    values = b"".join(parts)
    repeated = b"\x7f" if rows == 1 else signed(rows)
    inserts = number(rows)
    columns = b"\x15%b\x34%b\x42%b\x56%b" % (
        number(len(names)), number(len(inserts)), number(len(repeated) + 1),
        number(len(meta_column)),
    )  # fmt: skip
    if values:
        columns += b"\x57" + number(len(values))
    columns += b"\x70" + number(len(repeated) + 1)
    return b"\0\1\1\0\0\0%c%b%b%b%b\1%b%b%b\0" % (
        6 if values else 5, columns, names, inserts, repeated, meta_column, values, repeated,
    )  # fmt: skip


@lru_cache(maxsize=512)
def _names_column(names: tuple[str, ...]) -> bytes:
    return _write_names(names)


def _write_names(names: Any) -> bytes:
    return signed(-len(names)) + b"".join(map(string, names))


def _read_fields(tail: bytes) -> dict[str, Any] | None:
    """Name and value of each row, or None; IndexError where the tail ends too early."""
    names_size = tail[8]
    at = 9
    if names_size >= 0x80:
        high = tail[9]
        if not 0 < high < 0x80:
            return None
        names_size += (high - 1) << 7
        at = 10
    metas_size = tail[at + 5]
    if tail[at : at + 5] != _MIDDLE or metas_size >= 0x80 or tail[at + 6] != 0x57:
        return None
    values_size = tail[at + 7]
    at += 8
    if values_size >= 0x80:
        high = tail[at]
        at += 1
        if not 0 < high < 0x80:
            return None
        values_size += (high - 1) << 7
    if not values_size or tail[at] != 0x70 or tail[at + 1] != 2:
        return None
    at += 2
    metas_at = at + names_size + 3
    values_at = metas_at + metas_size
    values_end = values_at + values_size
    rows = tail[metas_at - 1 - 2]
    if (
        not 1 < rows < 0x40
        or tail[metas_at - 2] != rows
        or tail[metas_at - 1] != 1
        or len(tail) != values_end + 2
        or tail[values_end] != rows
        or tail[values_end + 1]
    ):
        return None
    column = tail[at : metas_at - 3]
    names = _cached_names(column) if names_size <= _CACHED_BYTES_MAX else _read_names(column)
    if names is None or len(names) != rows:
        return None
    values = _read_values(tail, metas_at, values_at, values_end, rows)
    return None if values is None else dict(zip(names, values, strict=True))


def _read_names(column: bytes) -> tuple[str, ...] | None:
    """The names of a literal run of up to 63, if they are distinct and 1 to 127 bytes long."""
    rows = 0x80 - column[0]
    at = 1
    names: list[str] = []
    for _ in range(rows):
        size = column[at]
        at += 1
        if not 0 < size < 0x80:
            return None
        names.append(column[at : at + size].decode())
        at += size
    if at != len(column) or rows >= 0x40 or len(set(names)) != rows:
        return None
    return tuple(names)


_cached_names = lru_cache(maxsize=512)(_read_names)


def _read_values(  # noqa: C901, PLR0915 - the loop over the rows, without a call for each
    tail: bytes, at: int, end: int, values_end: int, rows: int
) -> list[Any] | None:
    """The values of the rows; the columns of metadata and of values meet at `end`."""
    values: list[Any] = []
    add = values.append
    value_at = end
    last = -1
    after_literal = False
    while at < end:
        count = tail[at]
        at += 1
        if count < 0x40:
            if count < 2:
                return None
            times, count = count, 1
            after_literal = False
        elif count >= 0x80 or after_literal:
            return None
        else:
            times, count = 1, 0x80 - count
            after_literal = True
        for _ in range(count):
            meta = tail[at]
            at += 1
            if meta >= 0x80:
                high = tail[at]
                at += 1
                if high < 0x80:
                    meta += (high - 1) << 7
                    if not high:
                        return None
                else:
                    top = tail[at]
                    at += 1
                    meta += ((high & 0x7F) - 1 << 7) + (top << 14)
                    if not 0 < top < 0x80:
                        return None
            if meta == last:
                return None
            last = meta
            kind = meta & 15
            size = meta >> 4
            for _ in range(times):
                value_end = value_at + size
                if kind == 6:
                    add(tail[value_at:value_end].decode())
                elif kind == 4 or kind == 9:
                    integer, after = read_signed(tail, value_at)
                    if after != value_end or integer == -(2**63):
                        return None
                    if kind == 4:
                        add(integer)
                    elif TIMESTAMP_MS_MIN <= integer <= TIMESTAMP_MS_MAX:
                        add(timestamp_of(integer))
                    else:
                        return None
                elif kind == 5 and size == 8:
                    (double,) = _FLOAT(tail, value_at)
                    if double - double != 0.0:
                        return None
                    add(double)
                elif kind < 3 and not size:
                    add((None, False, True)[kind])
                elif kind == 7:
                    add(tail[value_at:value_end])
                else:
                    return None
                value_at = value_end
    return values if len(values) == rows and value_at == values_end else None
