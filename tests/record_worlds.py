"""Values, changes and small meshes of replicas, for the tests of records."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from covey.sync import crdt
from covey.sync.change import Change
from covey.sync.chunk import decode_tail
from covey.sync.column_writing import number
from covey.sync.errors import GateError, GateRefusal
from covey.sync.manifest import Manifest
from covey.sync.record_state import NewChange, RecordState
from covey.sync.values import Counter, Text, Vector, blob_ref

ACTORS = tuple(bytes([index]) * 16 for index in (7, 3, 200, 90))
ACTOR = ACTORS[0]

MESSAGE: dict[str, Any] = {
    "author": "alice",
    "thread": "t-0003",
    "text": "The quick brown fox jumps over the lazy dog and remembers what was said. " * 2,
    "time": 1_700_000_000_003,
    "topic": "garden",
    "importance": 0.53,
}
"""The commonest record: six scalars at the root."""

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(
    lambda name: name[0] != "$"
)
times = st.datetimes(
    datetime(2, 1, 2), datetime(9998, 12, 30), timezones=st.just(UTC), allow_imaginary=False
).map(lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.binary(max_size=6)
    | times
)
specials = (
    st.text(max_size=8).map(Text)
    | st.integers(-1000, 1000).map(Counter)
    | st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=3).map(Vector)
    | st.builds(
        Manifest,
        st.binary(min_size=32, max_size=32),
        st.integers(0, 9),
        st.binary(min_size=32, max_size=32),
        st.sampled_from(("", "image/png")),
        st.sampled_from(("", "a cat.png")),
    ).map(blob_ref)
)
values = st.recursive(
    scalars | specials,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
flat_records = st.dictionaries(names, scalars, max_size=8)
# Few names, so that edits of several replicas meet.
records = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)


def craft(
    columns: dict[int, bytes],
    *,
    deps: tuple[bytes, ...] = (),
    numbers: bytes = b"\x01\x01",
    time_and_message: bytes = b"\0\0",
    actors: tuple[bytes, ...] = (),
) -> bytes:
    """A tail of these columns, however wrong they are; `numbers` is seq and start_op."""
    head = number(len(deps)) + b"".join(deps) + numbers + time_and_message
    others = number(len(actors)) + b"".join(number(len(actor)) + actor for actor in actors)
    table = b"".join(number(spec) + number(len(column)) for spec, column in columns.items())
    return b"".join((head, others, number(len(columns)), table, *columns.values()))


def refusal_of(tail: bytes, actor: bytes = ACTOR) -> GateRefusal | None:
    """Why `decode_tail` refuses a tail; None if it does not."""
    try:
        decode_tail(tail, actor)
    except GateError as error:
        return error.refusal
    return None


@dataclass
class Replica:
    """One device that writes to one record, and applies what others wrote when it can."""

    actor: bytes
    state: RecordState | None = None
    own: list[Change] = field(default_factory=list)
    have: set[bytes] = field(default_factory=set)

    def write(self, value: dict[str, Any], *, replace: bool) -> None:
        """Put `value`, as a new record or an edit."""
        seq = len(self.own) + 1
        if self.state is None:
            self._wrote(crdt.create(self.actor, value, entry_seq=seq))
        else:
            self._wrote(crdt.edit(self.state, self.actor, value, entry_seq=seq, replace=replace))

    def delete(self) -> None:
        """Delete the record, if there is one."""
        if self.state is not None:
            self._wrote(crdt.delete(self.state, self.actor, entry_seq=len(self.own) + 1))

    def take(self, change: Change, entry_seq: int) -> bool:
        """Apply a change if all that it rests on is here; whether it was."""
        if not self.have.issuperset(change.deps):
            return False
        self.state = crdt.apply(self.state, change.actor, change, entry_seq)
        self.have.add(change.hash)
        return True

    def _wrote(self, made: NewChange | None) -> None:
        if made is not None:
            change = decode_tail(made.tail, self.actor)
            self.own.append(change)
            self.have.add(change.hash)
            self.state = made.state


def deliver(source: Replica, target: Replica, upto: int) -> bool:
    """Hand over the first changes of one replica's own, in order; whether that was all of them."""
    for index, change in enumerate(source.own[:upto]):
        if change.hash not in target.have and not target.take(change, index + 1):
            return False
    return True


def settle(replicas: list[Replica]) -> None:
    """Deliver until everybody has everything."""
    while not all(
        [
            deliver(source, target, len(source.own))
            for source in replicas
            for target in replicas
            if source is not target
        ]
    ):
        pass
