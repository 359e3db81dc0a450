"""Versions: a record as it was, from the changes that it still has.

A record keeps all of its changes with the time (HLC) of the entry that each came in. A change
counts from its own time on, and not before all that it rests on. By a right clock that is its own
time; but a clock that is far ahead moves no other (hlc.py), so the time of a change can lie before
that of what its writer knew. So what counted at a time is always a whole record, resolved like any
other. What was written apart and arrived later is in it under the time at which it was written, not
at which it arrived.

A change without a time (an older store kept none) was there as soon as something that rests on it.
Where that does not tell, `state_until` says so and does not guess.

A record may have thousands of changes. So what reads all of them goes on by steps, one for each,
and its caller decides what else may happen between two (`at_once`, if nothing).

Pure: no clock, no store. Spec: docs/protocol.md, section 3.
"""

from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

from . import crdt
from .change import Change
from .record_state import RecordState

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]
"""What goes on when it is asked to, and ends with a result."""

LAST_COUNTER = 0xFFFF
UNKNOWN = 0
"""The time of a change of which none was kept."""


class UnknownPastError(Exception):
    """Whether a change counted at that time cannot be told."""


class Made(NamedTuple):
    """One change: from when on it counts (HLC), and by which instance it was made."""

    hlc: int
    """Not before what it rests on."""
    actor: bytes
    change: Change
    said: int
    """When it was made, as its writer's clock said; `UNKNOWN` if that is not known."""


def at_once(steps: Steps[T]) -> T:
    """The result of all steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def until(time_ms: int) -> int:
    """The greatest HLC of a millisecond since 1970."""
    return time_ms << 16 | LAST_COUNTER


def counted(times: Collection[int], hlc: int) -> bool | None:
    """Whether changes made at these times count at a time: all, none, or None if it depends."""
    if times and UNKNOWN not in times:
        if max(times) <= hlc:
            return True
        if min(times) > hlc:
            return False
    return None


def changes_made(state: RecordState) -> Steps[list[Made]]:
    """The changes of a record in the order in which they count, each after what it rests on.

    The same whatever the order of arrival. Raises: GateError(ENGINE) if its document cannot be
    opened.
    """
    found: dict[bytes, tuple[int, Made]] = {}  # By hash, with how many rest on one another.
    for change in crdt.changes_of(state):
        times = state.stamps.get(change.actor, ())
        said = times[change.seq - 1] if change.seq <= len(times) else UNKNOWN
        before = [found[dep] for dep in change.deps]
        depth = max((depth for depth, _ in before), default=0) + 1
        hlc = max((made.hlc for _, made in before), default=UNKNOWN)
        found[change.hash] = depth, Made(max(hlc, said), change.actor, change, said)
        yield
    order = sorted(found.values(), key=lambda one: (one[1].hlc, one[0], one[1].change.hash))
    return [made for _, made in order]


def states(made: Iterable[Made]) -> Iterator[tuple[Made, RecordState]]:
    """Each change, and the record after it and those before it. Raises: GateError as `apply`."""
    state: RecordState | None = None
    for one in made:
        if state is not None and state.live is not None and state.live.registers is None:
            # Kept up from the first change on. Whoever asks for them at the last one, since
            # something was written apart, would otherwise wait until all are read once more.
            crdt.registers_of(state)
        state = crdt.apply(state, one.actor, one.change, one.change.seq, one.said)
        yield one, state


def state_until(made: Sequence[Made], hlc: int) -> Steps[RecordState | None]:
    """The record after its changes up to a time, None if there was none yet.

    Raises: UnknownPastError, and as `states`.
    """
    by_hash = {one.change.hash: one for one in made}
    counted = {one.change.hash: None for one in made if one.said != UNKNOWN and one.hlc <= hlc}
    waiting = list(counted)
    while waiting:
        for dep in by_hash[waiting.pop()].change.deps:
            if dep not in counted:
                counted[dep] = None
                waiting.append(dep)
    if any(one.hlc <= hlc and one.change.hash not in counted for one in made):
        raise UnknownPastError
    last: RecordState | None = None
    for _, state in states(one for one in made if one.change.hash in counted):
        last = state
        yield
    return last
