"""Writes the columns of an Automerge change chunk, byte for byte as the library does.

The inverse of column_reading.py, which says what the encodings are. With it the first change of
a record is made without the library (first_change.py), and tests can build every change that a
hostile peer could. Promises: for any rows, the one canonical column; no row, no byte.

Does not check what the rows mean. Spec: docs/protocol.md, section 3; the Automerge binary
format, "Column encodings".
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from struct import Struct
from typing import Any

from .change import (
    ACTION,
    INSERT,
    KEY_ACTOR,
    KEY_COUNTER,
    KEY_STRING,
    OBJECT_ACTOR,
    OBJECT_COUNTER,
    PRED_ACTOR,
    PRED_COUNT,
    PRED_COUNTER,
    VALUE,
    VALUE_META,
    Operations,
)
from .values import milliseconds_of

_FLOAT = Struct("<d").pack


def number(value: int) -> bytes:
    """Unsigned LEB128."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def signed(value: int) -> bytes:
    """Signed LEB128."""
    out = bytearray()
    while not -0x40 <= value < 0x40:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value & 0x7F)
    return bytes(out)


def string(value: str) -> bytes:
    """A string with its length in bytes before it."""
    data = value.encode()
    return number(len(data)) + data


def runs(rows: Sequence[Any], write: Callable[[Any], bytes]) -> bytes:
    """A run-length encoded column; None is null. Nulls alone are no column."""
    out = bytearray()
    literal: list[bytes] = []
    at = 0
    end = len(rows)
    while at < end:
        value = rows[at]
        start = at
        while at < end and rows[at] == value:
            at += 1
        count = at - start
        if count == 1 and value is not None:
            literal.append(write(value))
            continue
        if literal:
            out += signed(-len(literal)) + b"".join(literal)
            literal.clear()
        if value is not None:
            out += signed(count) + write(value)
        elif count < end:
            out += b"\0" + number(count)
    if literal:
        out += signed(-len(literal)) + b"".join(literal)
    return bytes(out)


def deltas(rows: Iterable[int | None]) -> bytes:
    """A delta column."""
    differences: list[int | None] = []
    last = 0
    for row in rows:
        if row is None:
            differences.append(None)
        else:
            differences.append(row - last)
            last = row
    return runs(differences, signed)


def booleans(rows: Iterable[bool]) -> bytes:
    """A boolean column."""
    out = bytearray()
    value = False
    count = 0
    for row in rows:
        if row is not value:
            out += number(count)
            value = row
            count = 0
        count += 1
    if count:
        out += number(count)
    return bytes(out)


def scalar(value: Any) -> tuple[int, bytes]:
    """The metadata and the raw bytes of a value that records have."""
    kind = type(value)
    if kind is str:
        data = value.encode()
        return len(data) << 4 | 6, data
    if kind is int:
        data = signed(value)
        return len(data) << 4 | 4, data
    if kind is float:
        return 0x85, _FLOAT(value)
    if kind is bytes:
        return len(value) << 4 | 7, value
    if kind is datetime:
        data = signed(milliseconds_of(value))
        return len(data) << 4 | 9, data
    assert value is None or kind is bool, f"{kind.__name__} is no scalar of a record"
    return (0 if value is None else 1 + value), b""


def encode_tail(
    operations: Operations, actor: bytes, *, deps: Sequence[bytes], seq: int, start_op: int
) -> bytes:
    """The tail of the change with these operations (see `decode_tail`)."""
    others = sorted(_actors(operations) - {actor})
    numbers = {actor: 0, **{other: index + 1 for index, other in enumerate(others)}}
    columns = b""
    table = b""
    count = 0
    for spec, column in _columns(operations, numbers):
        if column:
            table += number(spec) + number(len(column))
            columns += column
            count += 1
    head = number(len(deps)) + b"".join(deps) + number(seq) + number(start_op) + b"\0\0"
    actors = b"".join(bytes((len(other),)) + other for other in others)
    return head + number(len(others)) + actors + number(count) + table + columns


def _actors(operations: Operations) -> set[bytes]:
    ids = [*operations.objects, *operations.keys]
    for predecessors in operations.predecessors:
        ids += predecessors
    return {found[1] for found in ids if type(found) is tuple}


def _columns(operations: Operations, numbers: dict[bytes, int]) -> Iterable[tuple[int, bytes]]:
    objects, keys, inserts, actions, scalars, predecessors = operations
    elements = [key if type(key) is tuple else None for key in keys]
    counters = [0 if key is None else key[0] if type(key) is tuple else None for key in keys]
    encoded = [scalar(value) for value in scalars]
    flattened = [found for own in predecessors for found in own]
    yield OBJECT_ACTOR, runs([found and numbers[found[1]] for found in objects], number)
    yield OBJECT_COUNTER, runs([found and found[0] for found in objects], number)
    yield KEY_ACTOR, runs([found and numbers[found[1]] for found in elements], number)
    yield KEY_COUNTER, deltas(counters)
    yield KEY_STRING, runs([key if type(key) is str else None for key in keys], string)
    yield INSERT, booleans(inserts)
    yield ACTION, runs(actions, number)
    yield VALUE_META, runs([meta for meta, _ in encoded], number)
    yield VALUE, b"".join([data for _, data in encoded])
    yield PRED_COUNT, runs([len(own) for own in predecessors], number)
    yield PRED_ACTOR, runs([numbers[found[1]] for found in flattened], number)
    yield PRED_COUNTER, deltas([found[0] for found in flattened])
