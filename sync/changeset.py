"""Change sets: what one transaction did to one scope, as the body of an entry.

`[hlc, [[collection, id, past, tail, fields?], …]]` in canonical msgpack. The reader is written
for this one form instead of going through msgpack: it refuses every second spelling as it
reads, allocates nothing that it does not keep, and takes 3 µs for a change. Promises:
`encode_change_set(*decode_change_set(b)) == b`; no input raises anything but DecodeError.

Does not look into a tail: chunk.py does. `fields` are in ascending order, none twice.

Spec: docs/protocol.md, sections 3 and 9. Sizes are in bytes of UTF-8.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgpack  # type: ignore[import-untyped]  # it ships no types

from .errors import BadValueError, DecodeError
from .limits import (
    CHANGE_SET_BYTES_MAX,
    CHANGES_PER_SET_MAX,
    COLLECTION_NAME_BYTES_MAX,
    FIELDS_PER_CHANGE_MAX,
    NAME_BYTES_MAX,
    OWN_CHANGE_SET_BYTES_MAX,
    PAST_INSTANCES_MAX,
    RECORD_ID_BYTES_MAX,
    TAIL_BYTES_MAX,
)


class RecordChange(NamedTuple):
    """What a transaction did to one record."""

    collection: str
    id: str
    past: tuple[tuple[bytes, int], ...]  # instance (16 bytes) and seq, sorted: what was known
    tail: bytes
    fields: tuple[str, ...] | None  # root fields touched; None: the root keys that the tail names


class ChangeSet(NamedTuple):
    """What a transaction did, and when."""

    hlc: int
    changes: tuple[RecordChange, ...]


def encode_change_set(hlc: int, changes: Sequence[RecordChange]) -> bytes:
    """The body of the entry.

    Raises: BadValueError if it does not fit an entry, or a collection or id has a wrong length.
    """
    rows = []
    for collection, record_id, past, tail, fields in changes:
        _check_name(collection, COLLECTION_NAME_BYTES_MAX, "a collection's name")
        _check_name(record_id, RECORD_ID_BYTES_MAX, "a record's id")
        row = [collection, record_id, [part for pair in past for part in pair], tail]
        if fields is not None:
            row.append(fields)
        rows.append(row)
    body: bytes = msgpack.packb([hlc, rows])
    if len(body) > OWN_CHANGE_SET_BYTES_MAX or not 0 < len(rows) <= CHANGES_PER_SET_MAX:
        raise BadValueError(
            f"a transaction of {len(rows)} changes and {len(body)} bytes does not fit an entry"
            f" (1 to {CHANGES_PER_SET_MAX} changes, {OWN_CHANGE_SET_BYTES_MAX} bytes); split it"
        )
    return body


def decode_change_set(body: bytes) -> ChangeSet:
    """The change set of a body. Raises: DecodeError."""
    if len(body) > CHANGE_SET_BYTES_MAX:
        raise DecodeError(f"change set: {len(body)} bytes, {CHANGE_SET_BYTES_MAX} allowed")
    try:
        return _decode(body)
    except IndexError:
        raise DecodeError("change set: truncated") from None
    except UnicodeDecodeError:
        raise DecodeError("change set: a string is not UTF-8") from None


def _check_name(name: str, bytes_max: int, what: str) -> None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= bytes_max:
        raise BadValueError(f"{what} has 1 to {bytes_max} bytes of UTF-8: {name[:40]!a}")


def _decode(body: bytes) -> ChangeSet:
    if body[0] != 0x92:
        raise DecodeError("change set: not [hlc, changes]")
    hlc, at = _read_uint(body, 1)
    count, at = _read_count(body, at, CHANGES_PER_SET_MAX)
    if not count:
        raise DecodeError("change set: without a change")
    changes = []
    for _ in range(count):
        parts = body[at]
        if parts != 0x94 and parts != 0x95:
            raise DecodeError("change set: a change is not an array of 4 or 5")
        collection, at = _read_name(body, at + 1, COLLECTION_NAME_BYTES_MAX)
        record_id, at = _read_name(body, at, RECORD_ID_BYTES_MAX)
        past: tuple[tuple[bytes, int], ...] = ()
        if body[at] == 0x90:
            at += 1
        else:
            past, at = _read_past(body, at)
        tail, at = _read_tail(body, at)
        fields = None
        if parts == 0x95:
            fields, at = _read_fields(body, at)
        changes.append(RecordChange(collection, record_id, past, tail, fields))
    if at != len(body):
        raise DecodeError("change set: bytes are missing or left over")
    return ChangeSet(hlc, tuple(changes))


def _read_name(body: bytes, at: int, bytes_max: int) -> tuple[str, int]:
    first = body[at]
    if 0xA0 < first < 0xC0:
        start = at + 1
        end = start + first - 0xA0
    elif first == 0xD9 and body[at + 1] >= 32:
        start = at + 2
        end = start + body[at + 1]
    elif first == 0xDA and body[at + 1]:
        start = at + 3
        end = start + (body[at + 1] << 8) + body[at + 2]
    else:
        raise DecodeError("change set: a name is not a string in its shortest form, or empty")
    if end - start > bytes_max:
        raise DecodeError(f"change set: a name of {end - start} bytes, {bytes_max} allowed")
    # A slice beyond the end comes out short; the check at the end of _decode finds it.
    return body[start:end].decode(), end


def _read_past(body: bytes, at: int) -> tuple[tuple[tuple[bytes, int], ...], int]:
    count, at = _read_count(body, at, 2 * PAST_INSTANCES_MAX)
    if count % 2:
        raise DecodeError("change set: the past is not in pairs")
    pairs = []
    previous = b""
    for _ in range(count // 2):
        instance = body[at + 2 : at + 18]
        if body[at : at + 2] != b"\xc4\x10" or instance <= previous:
            raise DecodeError("change set: the past is not sorted instances of 16 bytes")
        previous = instance
        seq, at = _read_uint(body, at + 18)
        if not seq:
            raise DecodeError("change set: the past holds a seq 0")
        pairs.append((instance, seq))
    return tuple(pairs), at


def _read_tail(body: bytes, at: int) -> tuple[bytes, int]:
    first = body[at]
    if first == 0xC5 and body[at + 1]:
        start = at + 3
        end = start + (body[at + 1] << 8) + body[at + 2]
    elif first == 0xC4:
        start = at + 2
        end = start + body[at + 1]
    elif first == 0xC6 and (body[at + 1] or body[at + 2]):
        start = at + 5
        end = start + int.from_bytes(body[at + 1 : start], "big")
    else:
        raise DecodeError("change set: a tail is not bytes in their shortest form")
    if end > len(body) or end - start > TAIL_BYTES_MAX:
        raise DecodeError("change set: a tail beyond the end, or too large")
    return body[start:end], end


def _read_fields(body: bytes, at: int) -> tuple[tuple[str, ...], int]:
    count, at = _read_count(body, at, FIELDS_PER_CHANGE_MAX)
    names: list[str] = []
    previous = ""
    for _ in range(count):
        name, at = _read_name(body, at, NAME_BYTES_MAX)
        if name <= previous:
            raise DecodeError("change set: the fields are not in ascending order")
        names.append(name)
        previous = name
    return tuple(names), at


def _read_count(body: bytes, at: int, count_max: int) -> tuple[int, int]:
    first = body[at]
    if 0x90 <= first < 0xA0:
        return first - 0x90, at + 1
    count = (body[at + 1] << 8) + body[at + 2]
    if first != 0xDC or not 16 <= count <= count_max:
        raise DecodeError("change set: a list is too long, or not in its shortest form")
    return count, at + 3


def _read_uint(body: bytes, at: int) -> tuple[int, int]:
    first = body[at]
    if first < 0x80:
        return first, at + 1
    size = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}.get(first, 0)
    end = at + 1 + size
    number = int.from_bytes(body[at + 1 : end], "big")
    # The shortest form: half the bytes, or the byte itself, would not do.
    if not size or number < (0x80 if size == 1 else 1 << 4 * size) or end > len(body):
        raise DecodeError("change set: a number is not an integer in its shortest form")
    return number, end
