"""Held databases and priorities: what waits does not move, and what is urgent does not wait."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.sync.messages import Ack, Batch, Have, Hold, Want
from covey.sync.schedule import Schedule
from covey.sync.session_events import EntriesRead, ReadEntries, ScheduleChanged
from covey.sync.session_limits import (
    BATCH_BYTES_SLOW_MIN,
    BATCH_BYTES_TARGET,
    BATCH_FAST_MS,
    BATCH_SLOW_MS,
    FRAME_BYTES_MAX,
    ROUNDS_PER_CHANGE_MAX,
    URGENT_CREDIT_BYTES,
)
from covey.sync.session_sending import next_batch_bytes
from covey.sync.session_standing import Condition, scope_standing

from .session_machine import LOGS, SCOPE, Machine, run_of
from .session_world import DATABASES, PRIVATE, SCOPES, World

MEDIA, CHAT = DATABASES
IN_MEDIA = bytes((MEDIA[0], PRIVATE)) * 8
IN_CHAT = bytes((CHAT[0], PRIVATE)) * 8
WAITS = Schedule(held=frozenset({MEDIA}))
URGENT_CHAT = {CHAT: 0, MEDIA: 2}


def counts(world: World, name: str, peer: str, scope: bytes) -> tuple[Condition, int, int]:
    node = world.nodes[name]
    state = node.sessions[world.nodes[peer].id]
    found = scope_standing(state, scope, node.holdings)
    return found.condition, found.behind, found.ahead


def moved(world: World, scope: bytes) -> int:
    """How many frames carried, wanted or announced entries of a scope, both ways."""
    ways = (world.said("a", "b"), world.said("b", "a"))
    return sum(
        isinstance(said, Batch | Want | Have) and said.scope == scope
        for way in ways
        for said in way
    )


@pytest.mark.parametrize("holder", ["a", "b"])
@pytest.mark.parametrize("seed", range(5))
def test_a_held_database_stays_where_it_is_and_everything_else_is_proved(
    holder: str, seed: int
) -> None:
    """Whoever of the two pays for it: nothing of it goes, and nobody calls it synced."""
    world = World("ab", seed)
    world.commit("a", IN_MEDIA, 3)
    world.commit("a", IN_CHAT, 3)
    world.schedule(holder, WAITS)
    world.connect("a", "b")
    world.run()
    world.commit("a", IN_CHAT)
    world.commit("a", IN_MEDIA, 2)
    world.run()

    assert moved(world, IN_MEDIA) == 0
    assert counts(world, "a", "b", IN_CHAT)[0] is Condition.SYNCED
    assert counts(world, "b", "a", IN_CHAT)[0] is Condition.SYNCED
    assert counts(world, "a", "b", IN_MEDIA) == (Condition.AHEAD, 0, 5)
    assert counts(world, "b", "a", IN_MEDIA) == (Condition.BEHIND, 5, 0)


@pytest.mark.parametrize("holder", ["a", "b"])
@pytest.mark.parametrize("seed", range(5))
def test_what_was_synced_is_not_called_so_when_the_other_side_wrote_while_it_was_held(
    holder: str, seed: int
) -> None:
    """Nothing is announced of a held database, so an old proof must not be believed."""
    world = World("ab", seed)
    world.commit("a", IN_MEDIA, 3)
    world.connect("a", "b")
    world.run()
    world.schedule(holder, WAITS)
    world.run()
    assert counts(world, "b", "a", IN_MEDIA)[0] is Condition.SYNCED

    world.commit("a", IN_MEDIA, 2)
    world.run()

    assert counts(world, "b", "a", IN_MEDIA) == (Condition.BEHIND, 2, 0)


@pytest.mark.parametrize("holder", ["a", "b"])
@pytest.mark.parametrize("seed", range(5))
def test_a_released_database_catches_up_at_once(holder: str, seed: int) -> None:
    """What both wrote meanwhile goes in one burst, with what was never compared."""
    world = World("ab", seed)
    world.schedule(holder, WAITS)
    world.connect("a", "b")
    world.run()
    for name in "ab":
        world.commit(name, IN_MEDIA, 40)
        world.run()

    world.schedule(holder, Schedule())
    world.run()

    assert world.ranges("a", IN_MEDIA) == world.ranges("b", IN_MEDIA)
    assert counts(world, "a", "b", IN_MEDIA)[0] is Condition.SYNCED
    assert counts(world, "b", "a", IN_MEDIA)[0] is Condition.SYNCED


def test_an_exchange_that_is_under_way_stops_at_the_next_batch() -> None:
    """The network became metered in the middle of a thousand photos."""
    world = World("ab")
    world.commit("a", IN_MEDIA, 1_000, size=20_000)
    world.connect("a", "b")
    while not world.nodes["b"].holdings.head(IN_MEDIA, world.nodes["a"].instance):
        assert world.advance()

    world.schedule("b", WAITS)
    world.run()

    held = world.nodes["b"].holdings.head(IN_MEDIA, world.nodes["a"].instance)
    assert held is not None and held.seq * 20_000 < 4 * BATCH_BYTES_TARGET
    assert counts(world, "b", "a", IN_MEDIA)[0] is Condition.BEHIND
    assert not world.nodes["b"].plan.in_flight(world.nodes["a"].id)
    world.schedule("b", Schedule())
    world.run()
    assert world.ranges("a", IN_MEDIA) == world.ranges("b", IN_MEDIA)


def test_what_one_peer_cannot_give_now_is_fetched_from_another() -> None:
    """A phone on its hotspot has the photos, and so has the desktop."""
    world = World("abc")
    world.commit("a", IN_MEDIA, 50)
    world.connect("a", "c")
    world.run()
    world.schedule("a", WAITS)
    world.connect("a", "b")
    world.run()
    world.connect("c", "b")
    world.run()

    assert world.ranges("b", IN_MEDIA) == world.ranges("a", IN_MEDIA)


def test_a_hold_names_only_what_is_shared_and_is_said_once() -> None:
    """A guest does not learn from it which databases there are; at rest nothing is said."""
    world = World("ab")
    world.nodes["a"].schedule = Schedule(held=frozenset({MEDIA, b"Z" * 16}))
    world.connect("a", "b")
    world.run()
    world.schedule("a", Schedule(held=frozenset({MEDIA}), ranks={MEDIA: 3}))
    world.run()

    assert [m for m in world.said("a", "b") if isinstance(m, Hold)] == [Hold((MEDIA,))]
    assert world.fire_next_timer() is False


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5)), max_size=12), st.integers())
def test_whatever_is_held_and_released_in_the_end_both_hold_the_same(
    doings: list[tuple[str, int]], seed: int
) -> None:
    """Holds, releases, writes and broken links in any order, with frames on their way."""
    world = World("ab", seed)
    world.connect("a", "b")
    for name, doing in doings:
        for _ in range(world.rng.randrange(12)):
            world.advance()
        match doing:
            case 0 | 1:
                world.schedule(name, (WAITS, Schedule())[doing])
            case 2:
                world.schedule(name, Schedule(held=frozenset(DATABASES)))
            case 3:
                world.disconnect("a", "b")
                world.connect("a", "b")
            case _:
                world.commit(name, world.rng.choice(sorted(s for s in SCOPES if SCOPES[s][1])), 3)
    for name in "ab":
        world.schedule(name, Schedule())
    world.run()

    for scope in SCOPES:
        if SCOPES[scope][1]:
            assert world.ranges("a", scope) == world.ranges("b", scope)
            assert counts(world, "a", "b", scope) == (Condition.SYNCED, 0, 0)
            assert counts(world, "b", "a", scope) == (Condition.SYNCED, 0, 0)


# Priorities.


@pytest.mark.parametrize("seed", range(5))
def test_a_chat_message_overtakes_a_media_backlog_within_one_batch(seed: int) -> None:
    """Somebody writes while a thousand photos are on their way: it is the next thing to go."""
    world = World("ab", seed)
    for name in "ab":
        world.schedule(name, Schedule(ranks=URGENT_CHAT, their_ranks=URGENT_CHAT))
    world.commit("a", IN_MEDIA, 1_000, size=20_000)
    world.connect("a", "b")
    while not world.nodes["b"].holdings.head(IN_MEDIA, world.nodes["a"].instance):
        assert world.advance()
    before = len(world.said("a", "b"))

    world.commit("a", IN_CHAT)
    while not world.nodes["b"].holdings.head(IN_CHAT, world.nodes["a"].instance):
        assert world.advance()

    batches = [m for m in world.said("a", "b")[before:] if isinstance(m, Batch)]
    place = [m.scope for m in batches].index(IN_CHAT)
    assert place <= 1
    assert len([m for m in world.said("a", "b") if isinstance(m, Batch)]) < 60  # Much is left.


def test_wants_of_an_urgent_scope_are_answered_first() -> None:
    """The backlog was asked for before; by the receiver's priorities it goes after."""
    world = World("ab")
    world.schedule("a", Schedule(their_ranks=URGENT_CHAT))
    world.commit("a", IN_MEDIA, 30, size=20_000)
    world.commit("a", IN_CHAT, 30, size=20_000)
    world.connect("a", "b")
    world.run()

    scopes = [m.scope for m in world.said("a", "b") if isinstance(m, Batch)]
    last_chat = len(scopes) - 1 - scopes[::-1].index(IN_CHAT)
    assert scopes[:last_chat].count(IN_MEDIA) <= 1


def test_what_is_not_urgent_leaves_credit_for_a_push() -> None:
    """A new message does not wait until the disk over there has taken some photos."""
    machine = Machine()
    machine.hold(SCOPE, LOGS[0], 1_000)
    machine.meet(credit=1_048_576)
    database = machine.ours.database(SCOPE)
    machine.happen(ScheduleChanged(Schedule(their_ranks={database: 2})))
    effects = machine.hear(Want(SCOPE, ((LOGS[0], 1, 1_000),)))
    first = 1
    while reads := [e for e in effects if isinstance(e, ReadEntries)]:
        count = max(1, reads[0].bytes_max // 60_300)
        run = run_of(LOGS[0], first, first + count - 1, 60_000)
        first += count
        effects = machine.happen(EntriesRead(SCOPE, (run,), False))

    assert machine.state.sending.unacked
    assert machine.state.sending.credit >= URGENT_CREDIT_BYTES


# Adaptive batches.


def batch_after(machine: Machine, took_ms: int) -> int:
    """One batch goes and is acknowledged after a while; how large the next one may be."""
    sending = machine.state.sending
    assert sending.reading is not None
    run = run_of(LOGS[0], 1, 1, sending.reading.bytes_max - 500)
    machine.happen(EntriesRead(SCOPE, (run,), False))
    machine.now_ms += took_ms - 1  # Each step is another millisecond.
    machine.hear(Ack(SCOPE, (), machine.state.sending.unacked))
    return machine.state.sending.target


def wanted_machine() -> Machine:
    machine = Machine()
    machine.hold(SCOPE, LOGS[0], 1_000_000)
    machine.meet(credit=64 * 1_048_576)
    machine.hear(Want(SCOPE, ((LOGS[0], 1, 1_000_000),)))
    return machine


def test_batches_grow_while_the_other_side_keeps_up() -> None:
    """A good link carries a megabyte as easily as a quarter, with a fourth of the waiting."""
    machine = wanted_machine()

    sizes = [batch_after(machine, BATCH_FAST_MS) for _ in range(4)]

    assert sizes == [2 * BATCH_BYTES_TARGET, FRAME_BYTES_MAX, FRAME_BYTES_MAX, FRAME_BYTES_MAX]


def test_batches_shrink_on_a_slow_link_and_stay_as_they_are_in_between() -> None:
    """Two seconds for a batch are two seconds that whatever is urgent waits."""
    machine = wanted_machine()

    assert batch_after(machine, BATCH_FAST_MS + 1) == BATCH_BYTES_TARGET
    sizes = [batch_after(machine, BATCH_SLOW_MS) for _ in range(8)]

    assert sizes[:2] == [BATCH_BYTES_TARGET // 2, BATCH_BYTES_TARGET // 4]
    assert sizes[-1] == BATCH_BYTES_SLOW_MIN


def test_a_link_that_breaks_with_a_batch_on_its_way_halves_it_down_to_one_entry() -> None:
    """A link that never lives long enough for a large batch still brings entry after entry."""
    machine = wanted_machine()
    machine.happen(EntriesRead(SCOPE, (run_of(LOGS[0], 1, 1, 1_000),), False))
    state = machine.state

    assert next_batch_bytes(state, is_broken=True) == BATCH_BYTES_TARGET // 2
    assert next_batch_bytes(state, is_broken=False) == BATCH_BYTES_TARGET
    sizes = [BATCH_BYTES_TARGET]
    for _ in range(20):
        sending = state.sending._replace(target=sizes[-1])
        sizes.append(next_batch_bytes(state._replace(sending=sending), is_broken=True))
    assert sizes[-1] == 1
    idle = state._replace(sending=state.sending._replace(unacked=0))
    assert next_batch_bytes(idle, is_broken=True) == BATCH_BYTES_TARGET


@pytest.mark.parametrize("seed", range(5))
def test_what_only_one_side_writes_is_proved_time_after_time_beside_what_is_held(
    seed: int,
) -> None:
    """Roots differ all the while, so each proof costs a comparison, and both have to join it."""
    world = World("ab", seed)
    world.commit("a", IN_MEDIA, 3)
    world.schedule("a", WAITS)
    world.connect("a", "b")
    world.run()
    for _ in range(20):
        world.commit("a", IN_CHAT)
        world.run()

        assert counts(world, "a", "b", IN_CHAT)[0] is Condition.SYNCED
        assert counts(world, "b", "a", IN_CHAT)[0] is Condition.SYNCED


def test_entries_that_they_took_are_worth_comparing_anew_and_claims_are_not() -> None:
    """Beside what is held only a comparison proves them; a peer that lies gets none for it."""
    machine = wanted_machine()
    spent = machine.state.comparison._replace(rounds_left=0)
    machine.state = machine.state._replace(comparison=spent)
    machine.hear(Ack(SCOPE, ((LOGS[0], 900),), 0))
    assert machine.state.comparison.rounds_left == 0

    machine.happen(EntriesRead(SCOPE, (run_of(LOGS[0], 1, 1, 1_000),), False))
    machine.hear(Ack(SCOPE, ((LOGS[0], 1),), 1_000))

    assert machine.state.comparison.rounds_left == ROUNDS_PER_CHANGE_MAX
