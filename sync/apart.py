"""Apart: changes that rest on a part of what is here, as if they had been made without the rest.

A device that writes again what a branch of a log did (docs/protocol.md, section 7, "Forks") does so
with the knowledge that the branch had. What has come since was unknown to it, so that what is in
dispute then is decided by the rules and not by who fetched what first.

`Older` is a record as the store had it; `known_part` is the record as it would be with some of its
changes alone; `joined` brings a change that was made on that part into the whole. No I/O, no clock;
spec: docs/protocol.md, section 3.
"""

from collections.abc import Collection, Iterable

from .change import Change
from .chunk import decode_tail
from .crdt import apply, changes_of, decode_state, state_of_first
from .record_state import Head, NewChange, RecordState, encode_meta


class Older:
    """The changes of a record as it was."""

    def __init__(self, doc: bytes, meta: bytes) -> None:
        """Raises: DecodeError if the bytes are damaged; GateError(ENGINE) if they do not open."""
        self.state = decode_state(doc, meta, _no_entry)
        self.changes = {change.hash: change for change in changes_of(self.state)}

    def below(self, heads: Iterable[bytes]) -> set[bytes]:
        """All that these changes rest on, without themselves if none of them rests on another."""
        found: set[bytes] = set()
        line = list(heads)
        while line:
            deps = self.changes[line.pop()].deps
            line += [dep for dep in deps if dep not in found]
            found.update(deps)
        return found


def known_part(state: RecordState, known: Collection[bytes]) -> RecordState | None:
    """`state` with those of its changes alone that are known, which is all that those rest on too.

    None if there are none. `state` itself if it has no others.

    Raises: GateError(ENGINE) if the document cannot be opened.
    """
    everything = list(changes_of(state))
    kept = [change for change in everything if change.hash in known]
    if not kept:
        return None
    return state if len(kept) == len(everything) else _state_of(kept, state)


def with_past(part: RecordState, past: dict[bytes, int]) -> tuple[tuple[bytes, int], ...]:
    """The version vector that a change made on a part has: of no entry later than `past` says.

    Of an entry that changed the whole later nothing is known; of one that only the older state had,
    nothing is here that others could wait for.
    """
    least = {actor: min(seq, past.get(actor, seq)) for actor, seq in part.past.items()}
    return tuple(sorted(least.items()))


def joined(
    state: RecordState, change: NewChange, actor: bytes, entry_seq: int, hlc: int
) -> NewChange:
    """A change that `actor` made on a part of `state`, as one of the whole."""
    after = apply(state, actor, decode_tail(change.tail, actor), entry_seq, hlc)
    return change._replace(state=after)


def _state_of(changes: list[Change], whole: RecordState) -> RecordState:
    """The record that these changes of a record make, each of them after what it rests on."""
    rested_on = {dep for change in changes for dep in change.deps}
    heads = sorted(
        Head(change.hash, change.max_op, change.deletes_record)
        for change in changes
        if change.hash not in rested_on
    )
    actors: dict[bytes, int] = {}
    for change in changes:
        actors[change.actor] = max(change.seq, actors.get(change.actor, 0))
    past = {actor: whole.past.get(actor, 0) for actor in actors}
    stamps = {actor: whole.stamps.get(actor, ())[:seq] for actor, seq in actors.items()}
    if len(changes) == 1:
        (change,) = changes
        hlc = (*stamps[change.actor], 0)[0]
        return state_of_first(change, change.actor, past[change.actor], hlc)
    chunks = tuple(change.chunk for change in changes)
    part = RecordState(tuple(heads), actors, past, chunks, None, None, stamps, whole.contested)
    return decode_state(b"".join(chunks), encode_meta(part), _no_entry)


def _no_entry() -> Change:
    raise AssertionError("a record with a document needs no entry")
