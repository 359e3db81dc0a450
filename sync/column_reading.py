"""Reads the columns of an Automerge change chunk, and refuses every second spelling of one.

A column is a run-length encoding: `n > 0` and a value (the value n times), `-n` and n values
(each once), `0` and n (null n times). Counts are signed LEB128. A delta column holds the
differences of its values; a boolean column the lengths of alternating runs, false first.

Promises: a column is accepted only in the one form that the library itself would write for the
same rows. The library rebuilds every change from its own tables when it saves and loads, so a
change spelled differently would come back with another hash, and the record would be lost. No
allocation exceeds `rows`, which the caller bounds. Knows nothing of what the columns mean.

Spec: docs/protocol.md, section 3 ("The gate"); the Automerge binary format, "Column encodings".
Truncated data shows as IndexError, which `decode_tail` in chunk.py turns into a refusal.
"""

from struct import Struct
from typing import Any

from .errors import GateError, GateRefusal
from .limits import TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN
from .values import timestamp_of

_FLOAT = Struct("<d").unpack_from
_NUMBER = GateRefusal.NUMBER


def read_number(data: bytes, at: int) -> tuple[int, int]:
    """The unsigned LEB128 number at `at`, below 2^64, and where it ends."""
    number = data[at]
    if number < 0x80:
        return number, at + 1
    number &= 0x7F
    shift = 7
    while True:
        at += 1
        byte = data[at]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if not byte or number >> 64:
                raise GateError(_NUMBER)
            return number, at + 1
        shift += 7
        if shift > 63:
            raise GateError(_NUMBER)


def read_signed(data: bytes, at: int) -> tuple[int, int]:
    """The signed LEB128 number at `at`, of 64 bits at most, and where it ends."""
    byte = data[at]
    if byte < 0x80:
        return (byte - 0x80 if byte & 0x40 else byte), at + 1
    number = byte & 0x7F
    shift = 7
    while True:
        previous = byte
        at += 1
        byte = data[at]
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
        if shift > 63:
            raise GateError(_NUMBER)
    # The last byte must add more than a copy of the sign.
    if byte == (0x7F if previous & 0x40 else 0x00):
        raise GateError(_NUMBER)
    if byte & 0x40:
        number -= 1 << shift
    if not -(2**63) <= number < 2**63:
        raise GateError(_NUMBER)
    return number, at + 1


def read_numbers(data: bytes, rows_max: int) -> list[int | None]:
    """The rows of a column of unsigned numbers."""
    return _read_runs(data, rows_max, read_number)


def read_strings(data: bytes, rows_max: int) -> list[str | None]:
    """The rows of a column of strings."""
    return _read_runs(data, rows_max, _read_string)


def read_deltas(data: bytes, rows_max: int) -> list[int | None]:
    """The rows of a delta column: the running sums, not the differences."""
    rows: list[int | None] = _read_runs(data, rows_max, read_signed)
    total = 0
    for row, delta in enumerate(rows):
        if delta is not None:
            total += delta
            rows[row] = total
    return rows


def read_booleans(data: bytes, rows_max: int) -> list[bool]:
    """The rows of a boolean column."""
    rows: list[bool] = []
    at = 0
    value = False
    while at < len(data):
        start = at
        count, at = read_number(data, at)
        # Only the first run, of false, may be empty, and never alone.
        if not count and (start or len(data) == at):
            raise GateError(GateRefusal.RUNS)
        if count > rows_max - len(rows):
            raise GateError(GateRefusal.ROWS)
        rows += [value] * count
        value = not value
    return rows


def read_scalars(metas: list[int | None], data: bytes) -> list[Any]:
    """The values of the rows, as Python objects, from their metadata and the raw column.

    Metadata is `length << 4 | type`. Raises GateError(VALUE) for types that records do not have.
    """
    scalars: list[Any] = []
    at = 0
    for meta in metas:
        if meta is None:
            raise GateError(GateRefusal.ROWS)
        end = at + (meta >> 4)
        if end > len(data):
            raise GateError(GateRefusal.TRUNCATED)
        scalars.append(_read_scalar(meta & 15, data, at, end))
        at = end
    if at != len(data):
        raise GateError(GateRefusal.TRAILING)
    return scalars


def _read_scalar(kind: int, data: bytes, at: int, end: int) -> Any:
    if kind == 6:
        return _text(data[at:end])
    if kind == 4 or kind == 9:
        number, after = read_signed(data, at)
        if after != end or number == -(2**63):
            raise GateError(GateRefusal.VALUE)
        if kind == 4:
            return number
        if not TIMESTAMP_MS_MIN <= number <= TIMESTAMP_MS_MAX:
            raise GateError(GateRefusal.VALUE)
        return timestamp_of(number)
    if kind == 5 and end - at == 8:
        (double,) = _FLOAT(data, at)
        if double - double != 0.0:  # NaN and the infinities
            raise GateError(GateRefusal.VALUE)
        return double
    if kind < 3 and at == end:
        return (None, False, True)[kind]
    if kind == 7:
        return data[at:end]
    raise GateError(GateRefusal.VALUE)


def _read_string(data: bytes, at: int) -> tuple[str, int]:
    size, at = read_number(data, at)
    end = at + size
    if end > len(data):
        raise GateError(GateRefusal.TRUNCATED)
    return _text(data[at:end]), end


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise GateError(GateRefusal.VALUE) from None


def _read_runs(data: bytes, rows_max: int, read: Any) -> list[Any]:  # noqa: C901 - one rule each
    """The rows of a run-length encoded column, in the form in which the library writes it.

    Neighbouring runs never hold the same value, two literal runs never meet, a run repeats its
    value at least twice, and a column of nulls alone is left out.
    """
    rows: list[Any] = []
    at = 0
    end = len(data)
    last: Any = None  # the last value; None after nulls and at the start
    after_literal = after_nulls = False
    while at < end:
        count, at = read_signed(data, at)
        if abs(count) > rows_max - len(rows):
            raise GateError(GateRefusal.ROWS)
        if count > 0:
            value, at = read(data, at)
            if count == 1 or value == last:
                raise GateError(GateRefusal.RUNS)
            rows += [value] * count
            last = value
            after_literal = after_nulls = False
        elif count < 0:
            if after_literal:
                raise GateError(GateRefusal.RUNS)
            for _ in range(-count):
                value, at = read(data, at)
                if value == last:
                    raise GateError(GateRefusal.RUNS)
                rows.append(value)
                last = value
            after_literal, after_nulls = True, False
        else:
            nulls, at = read_number(data, at)
            if nulls > rows_max - len(rows):
                raise GateError(GateRefusal.ROWS)
            if after_nulls or not nulls:
                raise GateError(GateRefusal.RUNS)
            rows += [None] * nulls
            last = None
            after_literal, after_nulls = False, True
    if after_nulls and len(rows) == nulls:
        raise GateError(GateRefusal.RUNS)
    return rows
