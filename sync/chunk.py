"""One Automerge change: from the tail that travels to a decoded, checked `Change`.

A *chunk* is the library's own form: `85 6f 4a 83 ‖ checksum (4) ‖ 01 ‖ uleb length ‖ payload`,
with the SHA-256 of everything after the checksum as its hash. A *tail* is the payload less the
actor id, which is the instance id of the log and known from the entry's header.

Promises of `decode_tail`: every byte was understood; there is no second spelling of the same
change; each operation is well formed in itself. What depends on the record's past (dependencies,
sequence, the objects and elements referred to) is judged by history.py. A change that both let
in is one that the library would have written itself.

The first change of most records only puts scalars at the root: `flat.py` decodes that shape, and
its values are then at hand without the library. This module is the reference for it.

Spec: docs/protocol.md, section 3; the Automerge binary format, "Change chunks".
"""

from itertools import pairwise
from typing import Any

from .change import (
    ACTION,
    ACTOR_BYTES,
    CHANGE_CHUNK,
    CHUNK_MAGIC,
    COLUMNS,
    DELETE,
    DELETED_KEY,
    INSERT,
    KEY_ACTOR,
    KEY_COUNTER,
    KEY_STRING,
    MAKE_TEXT,
    OBJECT_ACTOR,
    OBJECT_COUNTER,
    PRED_ACTOR,
    PRED_COUNT,
    PRED_COUNTER,
    PUT,
    VALUE,
    VALUE_META,
    Change,
    Operations,
    OpId,
    change_body,
    chunk_hash,
)
from .column_reading import (
    read_booleans,
    read_deltas,
    read_number,
    read_numbers,
    read_scalars,
    read_strings,
)
from .errors import GateError, GateRefusal
from .flat import decode_flat
from .limits import (
    ACTORS_PER_CHANGE_MAX,
    DEPS_PER_CHANGE_MAX,
    NAME_BYTES_MAX,
    OP_COUNTER_MAX,
    OPS_PER_CHANGE_MAX,
    PREDECESSORS_PER_CHANGE_MAX,
    TAIL_BYTES_MAX,
)


def decode_tail(tail: bytes, actor: bytes) -> Change:
    """The change that `tail` and the instance id of its log (16 bytes) stand for.

    Raises: GateError, and nothing else, for bytes that are not a canonical change.
    """
    assert len(actor) == ACTOR_BYTES
    if len(tail) > TAIL_BYTES_MAX:
        raise GateError(GateRefusal.TOO_LARGE)
    return decode_flat(tail, actor) or decode_general(tail, actor)


def decode_general(tail: bytes, actor: bytes) -> Change:
    """`decode_tail` for changes of every shape, without the shortcut."""
    try:
        return _decode(tail, actor)
    except IndexError:
        raise GateError(GateRefusal.TRUNCATED) from None


def assemble(tail: bytes, actor: bytes) -> bytes:
    """The chunk of a tail. Checks no more than that the dependencies are there."""
    try:
        body = change_body(tail, deps_end(tail), actor)
    except IndexError:
        raise GateError(GateRefusal.TRUNCATED) from None
    return CHUNK_MAGIC + chunk_hash(body)[:4] + body


def shorten(chunk: bytes, actor: bytes) -> bytes:
    """The tail of a chunk: the inverse of `assemble`.

    Raises: GateError(CHUNK) if it is not exactly one uncompressed change chunk of `actor` with
    the right checksum; a document (type 0) and a compressed change (type 2) end here.
    """
    try:
        length, at = read_number(chunk, 9)
        end = deps_end(chunk, at)
        after = end + 1 + ACTOR_BYTES
    except IndexError:
        raise GateError(GateRefusal.CHUNK) from None
    if (
        chunk[:4] != CHUNK_MAGIC
        or chunk[8] != CHANGE_CHUNK
        or length != len(chunk) - at
        or chunk[4:8] != chunk_hash(chunk[8:])[:4]
        or chunk[end:after] != bytes((ACTOR_BYTES,)) + actor
    ):
        raise GateError(GateRefusal.CHUNK)
    return chunk[at:end] + chunk[after:]


def deps_end(tail: bytes, at: int = 0) -> int:
    """Where the dependencies, which begin at `at`, end."""
    count, at = read_number(tail, at)
    if count > DEPS_PER_CHANGE_MAX:
        raise GateError(GateRefusal.DEPENDENCIES)
    end = at + 32 * count
    if end > len(tail):
        raise GateError(GateRefusal.TRUNCATED)
    return end


def decode_chunk(chunk: bytes) -> Change:
    """The change of a chunk of our own store, whoever its author. Raises: GateError."""
    try:
        end = deps_end(chunk, read_number(chunk, 9)[1])
    except IndexError:
        raise GateError(GateRefusal.CHUNK) from None
    actor = chunk[end + 1 : end + 1 + ACTOR_BYTES]
    return decode_tail(shorten(chunk, actor), actor)


def _decode(tail: bytes, actor: bytes) -> Change:
    end = deps_end(tail)
    deps = tuple(tail[at : at + 32] for at in range(end - end // 32 * 32, end, 32))
    if any(a >= b for a, b in pairwise(deps)):
        raise GateError(GateRefusal.DEPENDENCIES)
    seq, at = read_number(tail, end)
    start_op, at = read_number(tail, at)
    if not seq or seq > OP_COUNTER_MAX or not start_op:
        raise GateError(GateRefusal.NUMBER)
    if tail[at] or tail[at + 1]:
        raise GateError(GateRefusal.TIME_OR_MESSAGE)
    actors, at = _read_actors(tail, at + 2, actor)
    columns = _read_columns(tail, at)
    operations = _read_operations(columns, actors)
    rows = len(operations.actions)
    max_op = start_op + rows - 1
    if max_op > OP_COUNTER_MAX:
        raise GateError(GateRefusal.NUMBER)
    root_keys, deletes, flat = _check_operations(operations, start_op)
    body = change_body(tail, end, actor)
    return Change(
        chunk_hash(body), actor, deps, seq, start_op, max_op, root_keys, deletes, flat,
        None if flat is not None else operations, body,
    )  # fmt: skip


def _read_actors(tail: bytes, at: int, actor: bytes) -> tuple[list[bytes], int]:
    """The author and the other actors, in the order in which columns number them."""
    count, at = read_number(tail, at)
    if count > ACTORS_PER_CHANGE_MAX:
        raise GateError(GateRefusal.ACTORS)
    actors = [actor]
    for _ in range(count):
        other = tail[at + 1 : at + 1 + ACTOR_BYTES]
        previous = actors[-1] if len(actors) > 1 else b""
        if tail[at] != ACTOR_BYTES or not previous < other or other == actor:
            raise GateError(GateRefusal.ACTORS)
        actors.append(other)
        at += 1 + ACTOR_BYTES
    if at > len(tail):
        raise GateError(GateRefusal.TRUNCATED)
    return actors, at


def _read_columns(tail: bytes, at: int) -> dict[int, bytes]:
    """The columns by specification, which must cover the rest of the tail exactly."""
    count, at = read_number(tail, at)
    sizes: dict[int, int] = {}
    previous = 0
    for _ in range(min(count, len(COLUMNS) + 1)):
        spec, at = read_number(tail, at)
        size, at = read_number(tail, at)
        if spec <= previous or spec not in COLUMNS or not size:
            raise GateError(GateRefusal.COLUMN)
        sizes[spec] = size
        previous = spec
    if at + sum(sizes.values()) != len(tail):
        raise GateError(
            GateRefusal.TRAILING if at + sum(sizes.values()) < len(tail) else GateRefusal.TRUNCATED
        )
    columns: dict[int, bytes] = {}
    for spec, size in sizes.items():
        columns[spec] = tail[at : at + size]
        at += size
    return columns


def _read_operations(columns: dict[int, bytes], actors: list[bytes]) -> Operations:
    column = columns.get
    actions = read_numbers(column(ACTION, b""), OPS_PER_CHANGE_MAX)
    rows = len(actions)
    if not rows:
        raise GateError(GateRefusal.OPERATION_COUNT)
    used = {0}
    objects = _read_ids(
        _padded(read_numbers(column(OBJECT_ACTOR, b""), rows), rows),
        _padded(read_numbers(column(OBJECT_COUNTER, b""), rows), rows),
        actors,
        used,
    )
    keys = _read_keys(columns, rows, actors, used)
    inserts = read_booleans(column(INSERT, b""), rows)
    metas = read_numbers(column(VALUE_META, b""), rows)
    if len(inserts) != rows or len(metas) != rows:
        raise GateError(GateRefusal.ROWS)
    scalars = read_scalars(metas, column(VALUE, b""))
    predecessors = _read_predecessors(columns, rows, actors, used)
    if len(used) != len(actors):
        raise GateError(GateRefusal.ACTORS)
    if not all(action is not None and action <= MAKE_TEXT for action in actions):
        raise GateError(GateRefusal.ACTION)
    return Operations(objects, keys, inserts, actions, scalars, predecessors)  # type: ignore[arg-type]  # no None is left in actions


def _padded(rows: list[Any], count: int) -> list[Any]:
    """A column that is left out is all null; any other has a row for each operation."""
    if not rows:
        return [None] * count
    if len(rows) != count:
        raise GateError(GateRefusal.ROWS)
    return rows


def _read_ids(
    numbers: list[int | None], counters: list[int | None], actors: list[bytes], used: set[int]
) -> list[OpId | None]:
    ids: list[OpId | None] = []
    for number, counter in zip(numbers, counters, strict=True):
        if number is None and counter is None:
            ids.append(None)
            continue
        if number is None or not counter or counter < 0 or number >= len(actors):
            raise GateError(GateRefusal.REFERENCE)
        used.add(number)
        ids.append((counter, actors[number]))
    return ids


def _read_keys(
    columns: dict[int, bytes], rows: int, actors: list[bytes], used: set[int]
) -> list[str | OpId | None]:
    names = _padded(read_strings(columns.get(KEY_STRING, b""), rows), rows)
    if KEY_COUNTER not in columns:
        if KEY_ACTOR in columns or None in names:
            raise GateError(GateRefusal.KEY)
        return names
    numbers = _padded(read_numbers(columns.get(KEY_ACTOR, b""), rows), rows)
    counters = _padded(read_deltas(columns[KEY_COUNTER], rows), rows)
    # Counter 0 without an actor is the head of a list; to _read_ids it must look like no id.
    heads = [number is None and counter == 0 for number, counter in zip(numbers, counters)]  # noqa: B905 - of equal length by now
    if True in heads:
        counters = [None if head else counter for head, counter in zip(heads, counters)]  # noqa: B905 - of equal length by now
    keys: list[str | OpId | None] = []
    for name, element, head in zip(
        names, _read_ids(numbers, counters, actors, used), heads, strict=True
    ):
        if (name is not None) + (element is not None) + head != 1:
            raise GateError(GateRefusal.KEY)
        keys.append(element if name is None else name)
    return keys


def _read_predecessors(
    columns: dict[int, bytes], rows: int, actors: list[bytes], used: set[int]
) -> list[tuple[OpId, ...]]:
    counts = read_numbers(columns.get(PRED_COUNT, b""), rows)
    if len(counts) != rows or None in counts:
        raise GateError(GateRefusal.ROWS)
    total = sum(counts)  # type: ignore[arg-type]  # no None is left in it
    if total > PREDECESSORS_PER_CHANGE_MAX:
        raise GateError(GateRefusal.OPERATION_COUNT)
    numbers = read_numbers(columns.get(PRED_ACTOR, b""), total)
    counters = read_deltas(columns.get(PRED_COUNTER, b""), total)
    if len(numbers) != total or len(counters) != total:
        raise GateError(GateRefusal.ROWS)
    if not total:
        return [()] * rows
    ids = _read_ids(numbers, counters, actors, used)
    predecessors: list[Any] = []
    at = 0
    for count in counts:
        own = tuple(ids[at : at + count])  # type: ignore[operator]  # no None is left in it
        if None in own or any(a >= b for a, b in pairwise(own)):  # type: ignore[operator]  # by then
            raise GateError(GateRefusal.REFERENCE)
        predecessors.append(own)
        at += count  # type: ignore[operator]  # no None is left in it
    return predecessors


def _check_operations(  # noqa: C901 - the rules of an operation, one after the other
    operations: Operations, start_op: int
) -> tuple[tuple[str, ...], bool, dict[str, Any] | None]:
    """Each operation in itself; then the root keys, whether it deletes, and the flat fields."""
    flat: dict[str, Any] = {}
    root_keys: dict[str, None] = {}
    deletes = False
    for row, (target, key, insert, action, scalar, predecessors) in enumerate(
        zip(*operations, strict=True)
    ):
        if type(key) is str:
            if insert or not 0 < len(key.encode()) <= NAME_BYTES_MAX:
                raise GateError(GateRefusal.KEY)
            if target is None:
                root_keys[key] = None
                if action == PUT:
                    deletes |= scalar is True and key == DELETED_KEY
                    if not predecessors:
                        flat[key] = scalar
        elif target is None or (key is None and not insert):
            raise GateError(GateRefusal.KEY)
        if action != PUT:
            if scalar is not None:
                raise GateError(GateRefusal.VALUE)
            if action == DELETE and (insert or not predecessors):
                raise GateError(GateRefusal.ACTION)
        if insert and predecessors:
            raise GateError(GateRefusal.ACTION)
        _check_order(start_op + row, target, key, predecessors)
    return tuple(root_keys), deletes, flat if len(flat) == len(operations.keys) else None


def _check_order(
    counter: int, target: OpId | None, key: str | OpId | None, predecessors: tuple[OpId, ...]
) -> None:
    """An operation refers to earlier ones only; `counter` is its own."""
    if (
        (target is not None and target[0] >= counter)
        or (isinstance(key, tuple) and key[0] >= counter)
        or (predecessors and predecessors[-1][0] >= counter)
    ):
        raise GateError(GateRefusal.REFERENCE)
