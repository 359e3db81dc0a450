"""Rewriting: what a branch of our own log did to a record, as a change that knows what it knew.

Whoever takes a branch out (`forks.py`) has the record as it was shown, and its document. Of the
changes in that document those of the branch are gone; all others are here, or come again. The new
change makes of these what the record was, deleted if it was. Whatever else is here by now the
branch had not seen: it stands beside the new change, and rules decide what is shown, as for all
that was written apart (docs/protocol.md, section 13).

A deletion of the branch that stood beside an edit of somebody else, unknown to it, stands beside it
again: whatever was shown, the rules have the word.

Of a branch of somebody else's log (`rulings.py`) its author writes again what it said itself, and
does so later than whoever had built on it. What others did resting on the branch is written again
by everybody who had it: the fields that they changed, and no others.

Nothing is written twice: an instance that has changed the record leaves it as it is, and so does
everybody else if nothing is missing.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from ..sync import crdt
from ..sync.apart import Older, joined, known_part, with_past
from ..sync.record_state import NewChange, RecordState
from ..sync.resolution import Resolution
from ..sync.values import to_json
from .ledger import PRIVACY_NAMES
from .record_requests import Delete, Put, Was

Resolve = Callable[[RecordState], Resolution | None]
Past = tuple[tuple[bytes, int], ...]


class Rewritten(NamedTuple):
    """The changes that are to be written, in order, and the past that they have (`past_of`)."""

    changes: list[NewChange]
    past: Past


def written_again(
    state: RecordState | None,
    request: Put | Delete,
    was: Was,
    resolve: Resolve = lambda _: None,
    stamp: Callable[[], tuple[bytes, dict[str, int]]] | None = None,
) -> Rewritten | Put | Delete | None:
    """What of a branch is to be written again in a record, as it is now, if it is there.

    A request is to be carried out like anything that was carried over. None: nothing is.

    Raises: GateError, DecodeError, BadValueError, and what `stamp` raises.
    """
    if was.maker is not None:
        return None if state is not None and was.maker in state.actors else request
    theirs = None if was.spared is None else done_by_others(was, was.spared, state)
    if was.spared is not None and theirs is None:
        return None
    if state is not None and stamp is not None:
        actor, stamped = stamp()
        if theirs is None:
            done = rewritten(state, request, resolve, actor, **stamped)
        else:
            done = rewritten_of_others(state, theirs, actor, **stamped)
        if done is not None:
            return done
    if theirs is not None:
        return theirs.asked(request)
    return None if isinstance(request, Delete) else request


class Theirs(NamedTuple):
    """What others than its author did on a branch of a log, which went with it."""

    known: set[bytes]
    """The changes that they knew, and made."""
    value: dict[str, Any]
    """The fields that they put."""
    removed: frozenset[str]
    deletes: bool
    past: dict[bytes, int]
    place: tuple[int, int]
    """The privacy and the time bucket of its scope."""

    def asked(self, request: Put | Delete) -> Put | Delete:
        """What does it to a record of which nothing is left that they knew."""
        if self.deletes:
            return Delete(request.collection, request.id or "")
        if isinstance(request, Put):
            return replace(request, value=self.value, was=None)
        # It was shown as deleted, by others whose word is not ours to say again.
        privacy, bucket = PRIVACY_NAMES[self.place[0]], self.place[1]
        return Put(
            request.collection, request.id, self.value, privacy, False, is_late=True, bucket=bucket
        )

    def onto(self, value: Mapping[str, Any] | None) -> dict[str, Any]:
        """These fields with what they did."""
        kept = {name: told for name, told in (value or {}).items() if name not in self.removed}
        return {**kept, **self.value}


def done_by_others(was: Was, spared: Collection[bytes], state: RecordState | None) -> Theirs | None:
    """What is missing in a record, as it is now, of what others did on a branch; None if nothing.

    Raises: GateError, DecodeError.
    """
    older = Older(was.doc, was.meta)
    here = set() if state is None else {change.hash for change in crdt.changes_of(state)}
    missing = {
        change.hash
        for change in older.changes.values()
        if change.hash not in here and change.actor not in spared
    }
    if not missing:
        return None
    known = missing | older.below(missing)
    rests_on_it = set(missing)
    for change in older.changes.values():
        if not rests_on_it.isdisjoint(change.deps):
            rests_on_it.add(change.hash)
    before, after = known_part(older.state, known - rests_on_it), known_part(older.state, known)
    assert after is not None, "something is missing"
    held, told = (before and before.value) or {}, after.value or {}
    value = {name: told[name] for name in told if name not in held or held[name] != told[name]}
    removed = frozenset(held.keys() - told.keys())
    if not value and not removed and after.deleted == (before is not None and before.deleted):
        return None
    return Theirs(known, value, removed, after.deleted, older.state.past, (was.privacy, was.bucket))


def rewritten_of_others(
    state: RecordState, theirs: Theirs, actor: bytes, entry_seq: int, hlc: int
) -> Rewritten | None:
    """As `rewritten`, of what others did on a branch of somebody else's log."""
    if actor in state.actors:
        return None
    part = known_part(state, theirs.known)
    if part is None:
        return None
    if theirs.deletes:
        change = crdt.delete(part, actor, entry_seq=entry_seq, hlc=hlc)
    else:
        value = theirs.onto(part.value)
        change = crdt.edit(part, actor, value, entry_seq=entry_seq, replace=True, hlc=hlc)
    changes = [] if change is None else [change]
    return Rewritten(
        _into(state, part, changes, actor, entry_seq, hlc), with_past(part, theirs.past)
    )


def rewritten(
    state: RecordState,
    request: Put | Delete,
    resolve: Resolve,
    actor: bytes,
    entry_seq: int,
    hlc: int,
) -> Rewritten | None:
    """What a request that a branch stands behind makes of what is left of what the branch knew.

    None if nothing is left of it, or this instance has changed the record.

    Raises: GateError, DecodeError, BadValueError.
    """
    assert request.was is not None, "only what a branch said is written again"
    if actor in state.actors:
        return None
    older = Older(request.was.doc, request.was.meta)
    deletions = _beside_edits(state, older)
    known = older.below(deletions) if deletions else older.changes
    part = known_part(state, known)
    if part is None:
        return None
    past = with_past(part, older.state.past)
    value: Mapping[str, Any] | None = None
    if deletions:
        before = known_part(older.state, known)
        value = None if before is None else before.value
    elif isinstance(request, Put):
        value = _told(part, request.value, resolve)
    changes, base = [], part
    if value is not None:
        edit = crdt.edit(base, actor, dict(value), entry_seq=entry_seq, replace=True, hlc=hlc)
        if edit is not None:
            changes.append(edit)
            base = edit.state
    if deletions or isinstance(request, Delete):
        deletion = crdt.delete(base, actor, entry_seq=entry_seq, hlc=hlc)
        changes += [] if deletion is None else [deletion]
    return Rewritten(_into(state, part, changes, actor, entry_seq, hlc), past)


def _into(
    state: RecordState,
    part: RecordState,
    changes: list[NewChange],
    actor: bytes,
    entry_seq: int,
    hlc: int,
) -> list[NewChange]:
    """Changes that were made one after the other on a part of a record, as those of the whole."""
    if part is not state:
        for at, change in enumerate(changes):
            changes[at] = joined(state, change, actor, entry_seq, hlc)
            state = changes[at].state
    return changes


def _beside_edits(state: RecordState, older: Older) -> list[bytes]:
    """The deletions of the branch that are to stand beside edits again, which are still here."""
    heads = older.state.heads
    if all(head.deletes for head in heads) or not any(head.deletes for head in heads):
        return []
    here = {change.hash for change in crdt.changes_of(state)}
    gone = [head for head in heads if head.hash not in here]
    return [head.hash for head in gone] if all(head.deletes for head in gone) else []


def _told(part: RecordState, value: Mapping[str, Any], resolve: Resolve) -> dict[str, Any]:
    """`value`, but where it shows what is shown already: the document may have another there.

    To write that would settle what others wrote apart.
    """
    held = part.value
    if held is None:
        return dict(value)
    found = resolve(part)
    shown = held if found is None or found.value is None else found.value
    told = dict(value)
    for name in value:
        if name in held and name in shown and to_json(value[name]) == to_json(shown[name]):
            told[name] = held[name]
    return told
