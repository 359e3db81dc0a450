"""What the history of a record keeps of a change, read from a chunk of our own store.

Opening a record that was edited thousands of times would take seconds if every change were
decoded and judged again. They have all been through the gate; of each only its place in the
history, the objects that it made and the list elements that it inserted are needed, a quarter
of the columns.

Promises nothing about bytes that did not come from our store: those go to `decode_tail`.
Spec: docs/protocol.md, section 3, "Tail"; the Automerge binary format.
"""

from typing import NamedTuple

from .change import (
    ACTION,
    ACTOR_BYTES,
    COLUMNS,
    INSERT,
    OBJECT_ACTOR,
    OBJECT_COUNTER,
    OpId,
    chunk_hash,
)
from .column_reading import read_booleans, read_number, read_numbers
from .errors import GateError, GateRefusal
from .limits import OPS_PER_CHANGE_MAX

_MAKES = frozenset((0, 2, 4))


class Outline(NamedTuple):
    """A change, as far as later ones may refer to it."""

    hash: bytes
    actor: bytes
    deps: tuple[bytes, ...]
    seq: int
    start_op: int
    max_op: int
    made: list[tuple[OpId, int, OpId | None]]  # objects: id, kind, the object they are in
    inserted: list[tuple[OpId, int]]  # elements: list, counter


def outline_of(chunk: bytes) -> Outline:
    """The outline of a change chunk. Raises: GateError if it is not even well-formed."""
    try:
        return _read(chunk)
    except IndexError:
        raise GateError(GateRefusal.TRUNCATED) from None


def _read(chunk: bytes) -> Outline:
    count, at = read_number(chunk, read_number(chunk, 9)[1])
    end = at + 32 * count
    deps = tuple(chunk[start : start + 32] for start in range(at, end, 32))
    at = end + 1 + ACTOR_BYTES
    actor = chunk[end + 1 : at]
    seq, at = read_number(chunk, at)
    start_op, at = read_number(chunk, at)
    others, at = read_number(chunk, at + 2)
    actors = [actor]
    for _ in range(others):
        actors.append(chunk[at + 1 : at + 1 + ACTOR_BYTES])
        at += 1 + ACTOR_BYTES
    columns = _read_columns(chunk, at)
    actions = read_numbers(columns[ACTION], OPS_PER_CHANGE_MAX)
    rows = len(actions)
    inserts = read_booleans(columns[INSERT], rows)
    made: list[tuple[OpId, int, OpId | None]] = []
    inserted: list[tuple[OpId, int]] = []
    if True in inserts or not _MAKES.isdisjoint(actions):
        targets = _targets(columns, rows, actors)
        for row, target in enumerate(targets):
            if inserts[row] and target is not None:
                inserted.append((target, start_op + row))
            kind = actions[row]
            if kind in _MAKES and kind is not None:
                made.append(((start_op + row, actor), kind, target))
    return Outline(
        chunk_hash(chunk[8:]), actor, deps, seq, start_op, start_op + rows - 1, made, inserted
    )


def _read_columns(chunk: bytes, at: int) -> dict[int, bytes]:
    count, at = read_number(chunk, at)
    sizes = []
    for _ in range(min(count, len(COLUMNS))):
        spec, at = read_number(chunk, at)
        size, at = read_number(chunk, at)
        sizes.append((spec, size))
    columns = {OBJECT_ACTOR: b"", OBJECT_COUNTER: b"", INSERT: b"", ACTION: b""}
    for spec, size in sizes:
        if spec in columns:
            columns[spec] = chunk[at : at + size]
        at += size
    return columns


def _targets(columns: dict[int, bytes], rows: int, actors: list[bytes]) -> list[OpId | None]:
    counters = read_numbers(columns[OBJECT_COUNTER], rows) or [None] * rows
    numbers = read_numbers(columns[OBJECT_ACTOR], rows) or [None] * rows
    return [
        None if counter is None or number is None else (counter, actors[number])
        for counter, number in zip(counters, numbers, strict=True)
    ]
