"""Versions: a record as it was, from the changes that it still has.

A record keeps all of its changes with the time (HLC) of the entry that each came in. A time is
later than that of everything its writer knew, so the changes up to a time rest on nothing after it:
they are a whole record, resolved like any other. What was written apart and arrived later is in it
under the time at which it was written, not at which it arrived.

Pure: no clock, no store. Spec: docs/protocol.md, section 3.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from . import crdt
from .change import Change
from .record_state import RecordState

LAST_COUNTER = 0xFFFF


class Made(NamedTuple):
    """One change: when (HLC) and by which instance it was made."""

    hlc: int
    actor: bytes
    change: Change


def until(time_ms: int) -> int:
    """The greatest HLC of a millisecond since 1970."""
    return time_ms << 16 | LAST_COUNTER


def changes_made(state: RecordState) -> list[Made]:
    """The changes of a record in order of their times; one without a known time has 0.

    Raises: GateError(ENGINE) if its document cannot be opened.
    """
    made = []
    for change in crdt.changes_of(state):
        times = state.stamps.get(change.actor, ())
        hlc = times[change.seq - 1] if change.seq <= len(times) else 0
        made.append(Made(hlc, change.actor, change))
    return sorted(made, key=lambda one: (one.hlc, one.actor, one.change.seq))


def states(made: Sequence[Made]) -> Iterator[tuple[Made, RecordState]]:
    """Each change, and the record after it and those before it.

    Raises: GateError if the times contradict what the changes rest on.
    """
    state: RecordState | None = None
    for one in made:
        state = crdt.apply(state, one.actor, one.change, one.change.seq, one.hlc)
        yield one, state


def state_until(made: Sequence[Made], hlc: int) -> RecordState | None:
    """The record after its changes up to a time, None if there was none yet. Raises as `states`."""
    last: RecordState | None = None
    for _, state in states([one for one in made if one.hlc <= hlc]):
        last = state
    return last
