"""Floors: each side tells the oldest time bucket that it takes; older ones are left out."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.sync.errors import DecodeError
from covey.sync.messages import (
    Batch,
    Digests,
    Greeting,
    Have,
    Root,
    VectorMessage,
    Want,
    decode,
    encode,
)
from covey.sync.packing import pack, unpack
from covey.sync.policy import BUCKET_MAX
from covey.sync.session import Phase
from covey.sync.session_events import DeclareProof, SharedScopesChanged
from covey.sync.session_limits import FLOORS_MAX
from covey.sync.vectors import LogHead

from .session_machine import DATABASE, LOGS, SCOPE, Machine, said
from .session_world import ALL, DATABASES, PRIVATE, World

BUCKETS = {b"bucket%010d" % bucket: bucket for bucket in range(1, 7)}
FLOORS = st.integers(0, 8)


def world_of_months(seed: int) -> World:
    """Two nodes that know six time buckets of a database."""
    world = World("ab", seed)
    for node in world.nodes.values():
        for scope, bucket in BUCKETS.items():
            node.holdings.add_scope(scope, DATABASES[0], PRIVATE, bucket)
    return world


def floors_of(one: int, other: int) -> dict[str, tuple[tuple[bytes, int], ...]]:
    return {name: ((DATABASES[0], floor),) for name, floor in (("a", one), ("b", other)) if floor}


def told_of(world: World) -> Iterator[int]:
    """The time buckets of which anybody said anything."""
    for message in chain.from_iterable(channel.said for channel in world.channels.values()):
        match message:
            case Batch(scope) | Want(scope) | VectorMessage(scope) | Have(scope):
                yield BUCKETS.get(scope, BUCKET_MAX)
            case Digests(1, _, rows):
                yield from (BUCKETS[tag] for tag, _ in rows)
            case _:
                pass


@settings(max_examples=60, deadline=None)
@given(FLOORS, FLOORS, st.integers(0, 2**16), st.data())
def test_what_is_older_than_either_takes_is_spoken_of_by_nobody(
    one: int, other: int, seed: int, data: st.DataObject
) -> None:
    """Neither knows the other's floor before its greeting; digests are compared all the same."""
    world = world_of_months(seed)
    written = data.draw(
        st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(sorted(BUCKETS))))
    )
    half = len(written) // 2
    for name, scope in written[:half]:
        world.commit(name, scope)
    world.connect("a", "b", floors=floors_of(one, other))
    for name, scope in written[half:]:
        for _ in range(seed % 5):
            world.advance()
        world.commit(name, scope)
    world.run()

    floor = max(one, other)
    a, b = world.nodes["a"].holdings, world.nodes["b"].holdings
    for scope, bucket in BUCKETS.items():
        if bucket >= floor:
            assert a.heads(scope) == b.heads(scope)
        else:
            for holdings, name in ((a, "a"), (b, "b")):
                assert set(holdings.heads(scope)) <= {world.nodes[name].instance}
    for name, peer in ("ab", "ba"):
        assert world.nodes[name].proofs, "in sync with what both take"
        state = world.nodes[name].sessions[world.nodes[peer].id]
        assert state.phase is Phase.STREAMING
        told = (a if name == "a" else b).root(ALL.with_floors([(DATABASES[0], floor)]))
        assert world.nodes[name].proofs[-1][1].root == told
    assert all(bucket >= floor for bucket in told_of(world))


def test_whoever_reads_floors_tells_its_root_again_only_if_it_is_another_one() -> None:
    """At rest nothing is sent; and a root of what is not shared is none to compare with."""
    for held in (False, True):
        world = world_of_months(0)
        if held:
            world.commit("a", b"bucket%010d" % 1)
        world.connect("a", "b", floors=floors_of(0, 3))
        world.run()

        told = world.channels[world.nodes["a"].id, world.nodes["b"].id].said
        assert [type(message) for message in told[:2]] == [Greeting, Root][: 1 + held]
        assert world.nodes["a"].proofs and world.nodes["b"].proofs


@pytest.mark.parametrize(
    "floors",
    [
        7,
        [[b"d" * 16]],
        [[b"d" * 15, 1]],
        [[b"d" * 16, 0]],
        [[b"d" * 16, BUCKET_MAX + 1]],
        [[b"d" * 16, True]],
        [[b"d" * 16, 1], [b"d" * 16, 2]],
        [[b"e" * 16, 1], [b"d" * 16, 2]],
        [[number.to_bytes(16, "big"), 1] for number in range(FLOORS_MAX + 1)],
    ],
)
def test_floors_of_another_form_are_no_greeting(floors: Any) -> None:
    """Both sides must compute the same from them, so there is one way to read them."""
    frame = encode(Greeting(1, (), {"floors": [[b"d" * 16, 5]]}, 1, b"c" * 32, b"r" * 32))
    assert decode(frame).floors == ((b"d" * 16, 5),)  # type: ignore[union-attr]
    content = unpack(frame[1:], bytes_max=10_000, tokens_max=100)
    content["state"]["floors"] = floors

    with pytest.raises(DecodeError):
        decode(frame[:1] + pack(content))


def test_a_database_that_they_lack_is_named_before_the_vectors_of_its_months() -> None:
    """A vector names a scope by its tag alone, and they look for that in months around theirs only.

    Found by the simulator: clocks were months apart, and the first entry of a database never came.
    """
    machine = Machine()
    month = b"old month......."
    machine.ours.add_scope(month, DATABASE, 1, 9)
    machine.hold(month, LOGS[0], 1)
    machine.meet(root=b"another".ljust(32))
    heard = said(machine.hear(Digests(0, b"", ())))

    assert [type(message) for message in heard] == [Digests, VectorMessage]
    assert heard[0] == Digests(1, DATABASE, machine.ours.scope_rows(DATABASE, ALL))


def test_a_scope_that_becomes_known_in_a_round_does_not_begin_it_again() -> None:
    """Each side would begin again because the other did, until neither has a round left."""
    machine = Machine()
    machine.meet(root=b"another".ljust(32))
    assert machine.state.comparison.is_open
    machine.ours.add_scope(b"new bucket......", DATABASE, 1, 9)
    effects = machine.happen(SharedScopesChanged(machine.state.sharing))

    assert said(effects) == []
    assert machine.state.comparison.is_open
    machine.hear(Digests(0, b"", ()))
    # Nor is it waited for: who compares does not know of it. The roots will tell.
    assert machine.state.phase is Phase.STREAMING
    assert machine.state.telling.unsettled


def test_a_scope_that_becomes_known_while_entries_are_to_come_proves_nothing() -> None:
    """What they told last is older than what they have announced since."""
    machine = Machine()
    machine.meet()
    proofs_before = machine.state.knowledge.proved
    assert machine.state.phase is Phase.STREAMING and proofs_before is not None
    machine.hear(Have(SCOPE, LOGS[0], b"a" * 32, 5, b"e" * 32))
    assert machine.state.knowledge.wanting == {SCOPE}
    machine.ours.add_scope(b"new bucket......", DATABASE, 1, 9)
    effects = machine.happen(SharedScopesChanged(machine.state.sharing))

    assert not [effect for effect in effects if isinstance(effect, DeclareProof)]
    assert machine.state.knowledge.wanting == {SCOPE}
    assert machine.state.knowledge.theirs[SCOPE][LOGS[0]] == LogHead(b"a" * 32, 5, b"e" * 32)


def test_a_scope_that_becomes_known_at_rest_is_compared_without_a_word() -> None:
    """A month begins in every database at once; it costs no frame; its first entry is pushed."""
    machine = Machine()
    machine.meet()
    machine.ours.add_scope(b"new bucket......", DATABASE, 1, 9)
    effects = machine.happen(SharedScopesChanged(machine.state.sharing))

    assert said(effects) == []
    assert machine.state.phase is Phase.STREAMING
    (pushed,) = said(machine.grow(b"new bucket......", LOGS[1], 1))
    assert isinstance(pushed, Batch)
