"""Records on Automerge: create, edit, delete, and apply the changes of others.

The one module that imports the CRDT library. It checks at import that this is the one Covey was
built on and not its namesake, and then uses it through the boundary of engine.py alone.

Each function gives the next `RecordState`; the old one stays good. A state by itself is the
chunks that its document is made of; the document and the index of its history are opened when
they are first needed and handed on from state to state.

Promises: nothing reaches the CRDT library that did not pass both halves of the gate (chunk.py,
history.py), our own changes included; after a change is applied, its hash is a head of the
document; if the library fails, the document is dropped and the state is as it was. A first
change that only puts scalars at the root gives its values without the library. Values and
changes depend on the arguments alone.

Deletion: a record is deleted if and only if every head of its history is one; its value is None
then, and the next write removes the old fields. Fields that start with `$` are not shown.

Spec: docs/protocol.md, section 3. Not thread-safe: one state at a time, from one thread.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .change import CHANGE_CHUNK, DELETED_KEY, Change
from .chunk import decode_chunk, decode_tail, shorten
from .editing import Rewrite, counted, write_fields
from .engine import Engine, EngineError, Transaction
from .errors import BadValueError, GateError, GateRefusal, WrongAutomergeError
from .first_change import first_tail
from .history import History
from .limits import OWN_TAIL_BYTES_MAX
from .outline import outline_of
from .record_state import (
    Head,
    Live,
    NewChange,
    RecordState,
    Unread,
    decode_meta,
    encode_meta,
    split_chunks,
)
from .registers import Registers, by_id
from .values import from_plain, to_plain

AUTOMERGE_VERSION = "1.0.0rc1"

try:
    _found = version("automerge")
    from automerge import core
except (PackageNotFoundError, ImportError):
    raise WrongAutomergeError("of another kind, or none,") from None
if _found != AUTOMERGE_VERSION or not hasattr(core, "Document"):
    raise WrongAutomergeError(_found)

_ENGINE = Engine(core)
_COMPACT_CHUNKS_MIN = 32

# Given the plain value and the transaction: what was touched.
_Work = Callable[[dict[str, Any], Transaction], tuple[str, ...]]


def create(actor: bytes, value: dict[str, Any], *, entry_seq: int, hlc: int = 0) -> NewChange:
    """The first change of a record that nobody here has heard of, in entry `entry_seq` of `actor`.

    `hlc` is the time of that entry, here and in the next functions.

    Raises: BadValueError if `value` is not what a record may hold, or too large.
    """
    tail = _own_tail(first_tail(to_plain(value), actor))
    return NewChange(tail, state_of_first(decode_tail(tail, actor), actor, entry_seq, hlc), None)


def edit(
    state: RecordState,
    actor: bytes,
    value: dict[str, Any],
    *,
    entry_seq: int,
    replace: bool,
    rewrite: Collection[str | Rewrite] = (),
    hlc: int = 0,
) -> NewChange | None:
    """The change that gives the fields of `value` to the record; None if they are so already.

    Fields that `value` does not name are removed if `replace`, and stay if not. The fields named
    in `rewrite` are written even if equal, which settles a conflict; `$deleted` among them, one
    with a deletion that did not know of an edit. On a deleted record all old
    fields are removed and the record lives again.

    Raises: BadValueError as `create`; the state stays good.
    """
    plain = to_plain(value)
    if state.contested and not state.deleted:
        # The library shows one of several counters that were begun apart.
        plain = counted(plain, registers_of(state).read(by_id)[0], rewrite)

    def work(old: dict[str, Any], writer: Transaction) -> tuple[str, ...]:
        removed = sorted(old) if state.deleted else []
        settled = [DELETED_KEY] if DELETED_KEY in rewrite and DELETED_KEY in old else []
        for name in removed or settled:
            writer.delete(_ENGINE.root, name)
        written = write_fields(
            writer, _ENGINE.root, {} if removed else old, plain, actor,
            replace=replace, rewrite=rewrite,
        )  # fmt: skip
        return (*(removed or settled), *written)

    return _write(state, actor, (entry_seq, hlc), work)


def delete(state: RecordState, actor: bytes, *, entry_seq: int, hlc: int = 0) -> NewChange | None:
    """The change that deletes the record; None if it is deleted."""

    def work(old: dict[str, Any], writer: Transaction) -> tuple[str, ...]:
        if DELETED_KEY in old:  # of a deletion that a concurrent write has outlived
            writer.delete(_ENGINE.root, DELETED_KEY)
        writer.put(_ENGINE.root, DELETED_KEY, True, False)
        return (DELETED_KEY,)

    return None if state.deleted else _write(state, actor, (entry_seq, hlc), work)


def apply(
    state: RecordState | None, actor: bytes, change: bytes | Change, entry_seq: int, hlc: int = 0
) -> RecordState:
    """The record after a change of `actor`, a tail or already decoded, from its entry `entry_seq`.

    A change that the record already has changes nothing but perhaps `past`.

    Raises: GateError if the change must not be let in. `state` stays good.
    """
    if isinstance(change, bytes):
        change = decode_tail(change, actor)
    assert change.actor == actor
    if state is None:
        return state_of_first(change, actor, entry_seq, hlc)
    live = _open(state)
    state.live = live
    if change.seq <= state.actors.get(actor, 0):
        if change.hash not in live.history:
            raise GateError(GateRefusal.SEQUENCE)
        return with_entry(state, actor, entry_seq)
    verdict = live.history.judge(change)
    heads = _next_heads(state, change)
    # From here on the state owns no document: the library may leave a half-changed one.
    state.live = Live(live.history, None, None, live.registers)
    try:
        document, plain = _applied(state, live.document, change.chunk, _hashes(heads))
    except EngineError:
        raise GateError(GateRefusal.ENGINE) from None
    live.history.add(change, verdict)
    state.live = None
    after = Live(live.history, document, plain, _with(live.registers, change), change)
    return _next(state, change, heads, (entry_seq, hlc), after)


def state_of_first(change: Change, actor: bytes, entry_seq: int, hlc: int = 0) -> RecordState:
    """The record that a first change makes. Does not touch the library if the change is flat.

    Raises: GateError if it is no first change, or not to be let in.
    """
    live = None
    heads = (Head(change.hash, change.max_op, change.deletes_record),)
    chunk = change.chunk
    plain = change.flat
    if plain is None or change.deps or change.seq != 1 or change.start_op != 1:
        history = History()
        history.add(change, history.judge(change))
        try:
            document = _ENGINE.open_document((chunk,))
            plain = _ENGINE.read_document(document, {change.hash})
        except EngineError:
            raise GateError(GateRefusal.ENGINE) from None
        live = Live(history, document, plain)
    value = None if change.deletes_record else shown(plain, change.root_keys)
    stamps = {actor: (hlc,)}
    return RecordState(heads, {actor: 1}, {actor: entry_seq}, (chunk,), value, live, stamps)


def with_entry(state: RecordState, actor: bytes, entry_seq: int) -> RecordState:
    """`state`, with `entry_seq` as the last entry of `actor` that changed it, if it is later."""
    if state.past.get(actor, 0) >= entry_seq:
        return state
    return _like(state, past={**state.past, actor: entry_seq})


def encode_state(state: RecordState) -> tuple[bytes | None, bytes]:
    """What the store keeps of `state`: (doc, meta). `doc` is None if there is a single change.

    Chunks are appended until it pays to compact: when their number is a power of two, 32 or
    more, and together they exceed the saved document. So the cost of saving is spread over the
    changes, also for a record that can never be compacted.
    """
    chunks = state.chunks
    count = len(chunks)
    if count >= _COMPACT_CHUNKS_MIN and not count & (count - 1):
        saved = len(chunks[0]) if chunks[0][8] != CHANGE_CHUNK else 0
        if sum(map(len, chunks)) > 2 * saved:
            state = compacted(state)
            chunks = state.chunks
    single = len(chunks) == 1 and chunks[0][8] == CHANGE_CHUNK
    return None if single else b"".join(chunks), encode_meta(state)


def decode_state(
    doc: bytes | None, meta: bytes, first_change: Callable[[], Change], hlc: int = 0
) -> RecordState:
    """The state that `encode_state` gave. `first_change`, of time `hlc`, is asked for if `doc` is
    None.

    Nothing is opened: `value` is read from the document when it is asked for.

    Raises: DecodeError if the bytes are damaged, and what `first_change` raises.
    """
    known = decode_meta(meta)
    if doc is None:
        change = first_change()
        return state_of_first(change, change.actor, known.past.get(change.actor, 0), hlc)
    return RecordState(
        known.heads,
        known.actors,
        known.past,
        split_chunks(doc),
        Unread(_value_of),
        None,
        known.stamps,
        known.contested,
    )


def changes_of(state: RecordState) -> Iterator[Change]:
    """Every change of a record, each after what it rests on. Raises as `registers_of`, at once."""
    # Each is decoded when it is asked for. The index of its history, as long a work, is not needed.
    live = state.live or Live(History(), None, None)
    return map(decode_chunk, _change_chunks(state, live))


def registers_of(state: RecordState) -> Registers:
    """What the changes of a record say, place by place. Not to be changed.

    Raises: GateError(ENGINE) if the document has to be opened for it, and cannot be.
    """
    state.live = live = _open(state)
    if live.registers is None:
        last = live.last
        known = None if last is None else last.chunk
        live.registers = Registers(
            last if last is not None and chunk == known else decode_chunk(chunk)
            for chunk in _change_chunks(state, live)
        )
        live.last = None
    return live.registers


def _change_chunks(state: RecordState, live: Live) -> Sequence[bytes]:
    if state.chunks[0][8] == CHANGE_CHUNK:
        return state.chunks
    try:
        if live.document is None:
            live.document = _ENGINE.open_document(state.chunks)
        return _ENGINE.change_chunks(live.document)
    except EngineError:
        live.document = None
        raise GateError(GateRefusal.ENGINE) from None


def _with(registers: Registers | None, change: Change) -> Registers | None:
    if registers is not None:
        registers.add(change)
    return registers


def compacted(state: RecordState) -> RecordState:
    """`state` with one saved document for its chunks; `state` itself if that cannot be had."""
    try:
        document = None if state.live is None else state.live.document
        saved = _ENGINE.save_document(document or _ENGINE.open_document(state.chunks))
    except EngineError:
        if state.live is not None:
            state.live = Live(state.live.history, None, None, state.live.registers)
        return state
    return _like(state, chunks=(saved,))


def _write(
    state: RecordState, actor: bytes, entry: tuple[int, int], work: _Work
) -> NewChange | None:
    live = _open(state)
    # Until the new change is in order, the state owns no document: a failed one is dropped.
    state.live = Live(live.history, None, None, live.registers)
    live, touched, chunk = _transacted(state, live, actor, work)
    if chunk is None:
        state.live = live
        return None
    tail = _own_tail(shorten(chunk, actor))
    change = decode_tail(tail, actor)
    verdict = live.history.judge(change)
    heads = _next_heads(state, change)
    try:
        plain = _ENGINE.read_document(live.document, _hashes(heads))
    except EngineError:
        raise GateError(GateRefusal.ENGINE) from None
    live.history.add(change, verdict)
    state.live = None
    opened = Live(live.history, live.document, plain, _with(live.registers, change), change)
    after = _next(state, change, heads, entry, opened)
    fields = tuple(sorted(set(touched)))
    return NewChange(tail, after, None if set(fields) == set(change.root_keys) else fields)


def _transacted(
    state: RecordState, live: Live, actor: bytes, work: _Work
) -> tuple[Live, tuple[str, ...], bytes | None]:
    """Transact on the open document, or if there is none, or it fails, on a new one."""
    for document in (live.document, None):
        try:
            if document is None:
                document = _ENGINE.open_document(state.chunks)
            plain = live.plain
            if plain is None:
                plain = _ENGINE.read_document(document, _hashes(state.heads))
            opened = Live(live.history, document, plain, live.registers)
            return opened, *_ENGINE.transact(document, actor, partial(work, plain))
        except EngineError:
            continue
    raise GateError(GateRefusal.ENGINE)


def _applied(
    state: RecordState, document: Any, chunk: bytes, heads: set[bytes]
) -> tuple[Any, dict[str, Any]]:
    """Apply one chunk to the open document, or if there is none, or it fails, to a new one."""
    if document is not None:
        try:
            _ENGINE.receive(document, chunk)
            return document, _ENGINE.read_document(document, heads)
        except EngineError:
            pass  # Of the document or of the change? A new document tells.
    document = _ENGINE.open_document((*state.chunks, chunk))
    return document, _ENGINE.read_document(document, heads)


def _open(state: RecordState) -> Live:
    """The history of a state, and its document if it is open. The caller says who owns it next."""
    if state.live is not None:
        return state.live
    document = None
    chunks: Sequence[bytes] = state.chunks
    if chunks[0][8] != CHANGE_CHUNK:
        try:
            document = _ENGINE.open_document(chunks)
            chunks = _ENGINE.change_chunks(document)
        except EngineError:
            raise GateError(GateRefusal.ENGINE) from None
    history = History()
    for chunk in chunks:
        history.restore(outline_of(chunk))
    return Live(history, document, None)


def _value_of(state: RecordState) -> dict[str, Any] | None:
    if state.deleted:
        return None
    live = _open(state)
    state.live = live
    try:
        if live.document is None:
            live.document = _ENGINE.open_document(state.chunks)
        if live.plain is None:
            live.plain = _ENGINE.read_document(live.document, _hashes(state.heads))
    except EngineError:
        live.document = None
        raise GateError(GateRefusal.ENGINE) from None
    return shown(live.plain, live.plain)


def shown(plain: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The fields for the application: without those that start with `$`."""
    if "$" in "".join(names):
        plain = {name: item for name, item in plain.items() if name[:1] != "$"}
    if any(type(item) is dict or type(item) is list for item in plain.values()):
        return {name: from_plain(item) for name, item in plain.items()}
    return plain


def _own_tail(tail: bytes) -> bytes:
    if len(tail) > OWN_TAIL_BYTES_MAX:
        raise BadValueError(
            f"the write takes {len(tail)} bytes, {OWN_TAIL_BYTES_MAX} allowed; write in parts"
        )
    return tail


def _hashes(heads: Collection[Head]) -> set[bytes]:
    return {head.hash for head in heads}


def _next_heads(state: RecordState, change: Change) -> tuple[Head, ...]:
    kept = [head for head in state.heads if head.hash not in change.deps]
    kept.append(Head(change.hash, change.max_op, change.deletes_record))
    return tuple(sorted(kept))


def _next(
    state: RecordState,
    change: Change,
    heads: tuple[Head, ...],
    entry: tuple[int, int],
    live: Live,
) -> RecordState:
    actor, plain = change.actor, live.plain
    assert plain is not None
    entry_seq, hlc = entry
    times = state.stamps.get(actor, (0,) * (change.seq - 1))
    return RecordState(
        heads,
        {**state.actors, actor: change.seq},
        {**state.past, actor: max(entry_seq, state.past.get(actor, 0))},
        (*state.chunks, change.chunk),
        None if all(head.deletes for head in heads) else shown(plain, plain),
        live,
        {**state.stamps, actor: (*times, hlc)},
        state.contested or not _hashes(state.heads).issubset(change.deps),
    )


def _like(
    state: RecordState,
    *,
    past: dict[bytes, int] | None = None,
    chunks: tuple[bytes, ...] | None = None,
) -> RecordState:
    """The same record, and the owner of what `state` has open."""
    live, state.live = state.live, None
    return RecordState(
        state.heads,
        state.actors,
        past or state.past,
        chunks or state.chunks,
        state.held,
        live,
        state.stamps,
        state.contested,
    )
