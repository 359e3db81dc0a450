"""Rewriting: what a branch of our own log did to a record, as a change that knows what it knew.

Whoever takes a branch out (`forks.py`) has the record as it was shown, and its document. Of the
changes in that document those of the branch are gone; all others are here, or come again. The new
change makes of these what the record was, deleted if it was. Whatever else is here by now the
branch had not seen: it stands beside the new change, and rules decide what is shown, as for all
that was written apart (docs/protocol.md, section 13).

A deletion of the branch that stood beside an edit of somebody else, unknown to it, stands beside it
again: whatever was shown, the rules have the word.

Nothing is written twice: an instance that has changed the record leaves it as it is.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..sync import crdt
from ..sync.apart import Older, joined, known_part, with_past
from ..sync.record_state import NewChange, RecordState
from ..sync.resolution import Resolution
from ..sync.values import to_json
from .record_requests import Delete, Put

Resolve = Callable[[RecordState], Resolution | None]
Past = tuple[tuple[bytes, int], ...]


class Rewritten(NamedTuple):
    """The changes that are to be written, in order, and the past that they have (`past_of`)."""

    changes: list[NewChange]
    past: Past


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
    if part is not state:
        for at, change in enumerate(changes):
            changes[at] = joined(state, change, actor, entry_seq, hlc)
            state = changes[at].state
    return Rewritten(changes, past)


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
