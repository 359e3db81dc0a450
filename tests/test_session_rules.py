"""One session alone: what it says and does, effect by effect, and what ends it with which reason.

What it is told is written out by hand; test_session_hostile.py draws it at random.
"""

from covey.sync.batch import encode_batch
from covey.sync.digests import LogHead
from covey.sync.messages import (
    Ack,
    Batch,
    Digests,
    Greeting,
    Have,
    Reason,
    Root,
    VectorMessage,
    Want,
    encode,
)
from covey.sync.session import Phase, diagram, transition_table
from covey.sync.session_events import (
    BatchStored,
    CloseRequested,
    DeclareProof,
    EntriesRead,
    HeadsAdvanced,
    ReadEntries,
    SendFrame,
    SharedScopesChanged,
    StopTimer,
    Timer,
    TimerFired,
    WakeSessions,
)
from covey.sync.session_limits import CREDIT_BYTES, ROUNDS_PER_CHANGE_MAX
from covey.sync.session_standing import Condition, scope_standing
from covey.sync.sharing import Sharing
from covey.sync.vectors import CONTROL_SCOPE, Holdings

from .session_machine import (
    ALL,
    AUTHOR,
    DATABASE,
    LOGS,
    PEER,
    PUBLIC_SCOPE,
    SCOPE,
    SECRET,
    Machine,
    end,
    id_of,
    run_of,
    said,
)


def test_greeting_comes_first_and_tells_of_no_device_scope() -> None:
    """The first frame is all a peer knows of us; what never leaves must not show in it."""
    machine = Machine(Sharing(frozenset({0, 1, 2, 3})))
    machine.hold(SECRET, LOGS[0], 1)
    greeting = machine.open()

    assert greeting.root == Holdings().root(ALL)
    assert (greeting.version, greeting.features, greeting.credit) == (1, ("topics",), CREDIT_BYTES)


def test_equal_digests_prove_sync_with_the_greeting() -> None:
    """On most days nothing has changed, and finding that out must cost next to nothing."""
    machine = Machine()
    machine.hold(SCOPE, LOGS[0], 3)
    effects = machine.meet()

    proof = DeclareProof(machine.ours.root(ALL), machine.ours.control_digest())
    assert effects[-1] == proof and said(effects) == []
    assert machine.state.phase is Phase.STREAMING and not machine.state.timers
    standing = scope_standing(machine.state, SCOPE, machine.ours)
    assert (standing.condition, standing.proved_at_ms) == (Condition.SYNCED, machine.now_ms)


def test_other_version_is_refused_with_the_reason() -> None:
    """A silent close would make a newer peer reconnect for ever."""
    machine = Machine()
    mine = machine.open()
    effects = machine.hear(Greeting(2, (), {}, 0, mine.control, mine.root))

    assert end(effects) is Reason.NO_SHARED_VERSION
    assert StopTimer(Timer.GREETING) in effects


def test_peer_that_does_not_greet_is_dropped() -> None:
    """A connection that says nothing holds memory that another could use."""
    machine = Machine()
    machine.open()

    assert end(machine.happen(TimerFired(Timer.GREETING))) is Reason.TOO_SLOW


def test_credit_comes_back_with_the_acknowledgement_of_what_is_durable() -> None:
    """Acknowledged too early, an entry is lost with the next power cut."""
    batch = Batch(SCOPE, (run_of(LOGS[0], 1, 2),))
    size = len(encode(batch))
    machine = Machine(credit=size)
    machine.meet()
    assert said(machine.hear(batch)) == []
    machine.hold(SCOPE, LOGS[0], 2)
    effects = machine.happen(BatchStored(SCOPE, ((LOGS[0], AUTHOR, 2, id_of(2)),), size))

    assert said(effects) == [Ack(SCOPE, ((LOGS[0], 2),), size)]
    assert machine.state.receiving.credit == size


def test_new_entry_is_pushed_to_who_holds_its_predecessor_within_the_credit() -> None:
    """At once if it can be used at once; else by name, so that it can be asked for."""
    frame = encode_batch(SCOPE, (run_of(LOGS[0], 1, 1),))
    machine = Machine()
    machine.meet(credit=2 * len(frame))

    assert machine.grow(SCOPE, LOGS[0], 1)[0] == SendFrame(frame)
    assert [type(m) for m in said(machine.grow(SCOPE, LOGS[0], 2))] == [Batch]
    assert said(machine.grow(SCOPE, LOGS[0], 3)) == [Have(SCOPE, LOGS[0], AUTHOR, 3, id_of(3))]
    machine.hear(Ack(SCOPE, ((LOGS[0], 2),), 2 * len(frame)))
    assert said(machine.grow(SCOPE, LOGS[0], 4)) == []  # Goes out with the timer, as 3 is missing.
    assert said(machine.happen(TimerFired(Timer.ANNOUNCE))) == [
        Have(SCOPE, LOGS[0], AUTHOR, 4, id_of(4))
    ]


def test_entries_of_others_are_announced_but_not_to_whom_they_came_from() -> None:
    """Gossip that returns to its source is noise on every link of a mesh."""
    machine = Machine()
    machine.meet()
    machine.hold(SCOPE, LOGS[0], 2)
    news = (SCOPE, LOGS[0], AUTHOR, 2, id_of(2), 0, None)

    assert said(machine.happen(HeadsAdvanced(*news, PEER))) == []
    assert said(machine.happen(HeadsAdvanced(*news, b"q" * 32))) == [
        Have(SCOPE, LOGS[0], AUTHOR, 2, id_of(2))
    ]


def test_commit_to_a_scope_that_is_not_shared_is_silence() -> None:
    """Even the moment of a write is the business of those who may read it."""
    machine = Machine(Sharing(frozenset({3})))
    machine.meet()

    assert machine.grow(SCOPE, LOGS[0], 1) == []
    assert machine.grow(SECRET, LOGS[0], 1) == []


def test_reader_that_gives_more_than_the_credit_is_asked_again_when_there_is_enough() -> None:
    """A run cannot be cut where no signature is held, so a read may give more than was asked."""
    machine = Machine()
    machine.hold(SCOPE, LOGS[0], 4)
    machine.meet(credit=3_000)
    (read,) = machine.hear(Want(SCOPE, ((LOGS[0], 1, 4),)))
    assert read == ReadEntries(SCOPE, ((LOGS[0], 1, 4),), 3_000)
    large = EntriesRead(SCOPE, (run_of(LOGS[0], 1, 4, 1_000),), True)
    assert machine.happen(large) == []
    assert machine.hear(Ack(SCOPE, (), 1_000)) == []
    (again,) = machine.hear(Ack(SCOPE, (), 1_000))

    assert again == ReadEntries(SCOPE, ((LOGS[0], 1, 4),), 5_000)
    assert [type(message) for message in said(machine.happen(large))] == [Batch]


def test_what_is_left_of_a_want_is_read_next_and_what_cannot_be_read_is_dropped() -> None:
    """A long range goes out in pieces; a piece that is not there must not block the rest."""
    machine = Machine()
    machine.hold(SCOPE, LOGS[0], 10)
    machine.hold(SCOPE, LOGS[1], 10)
    machine.meet()
    machine.hear(Want(SCOPE, ((LOGS[0], 1, 10), (LOGS[1], 4, 99))))
    effects = machine.happen(EntriesRead(SCOPE, (run_of(LOGS[0], 1, 6),), False))
    assert effects[-1] == ReadEntries(SCOPE, ((LOGS[0], 7, 10), (LOGS[1], 4, 10)), 262_144)

    (pushed,) = machine.happen(EntriesRead(SCOPE, (run_of(LOGS[1], 4, 12),), True))
    assert isinstance(pushed, SendFrame) and machine.state.sending.queue == ()


def test_comparison_that_met_a_change_of_membership_is_made_again_after_it() -> None:
    """Their question came while we could not answer; nobody would ask it a second time."""
    machine = Machine()
    machine.hold(SCOPE, LOGS[0], 3)
    machine.meet()
    machine.grow(CONTROL_SCOPE, LOGS[0], 1)
    assert said(machine.hear(Digests(0, b"", ((DATABASE, b"d" * 32),)))) == []
    effects = machine.hear(Root(machine.ours.control_digest(), b"r" * 32))

    assert Digests(0, b"", machine.ours.database_rows(ALL)) in said(effects)


def test_batch_that_was_answered_but_not_taken_is_no_longer_on_its_way() -> None:
    """Or the session would wait for ever for what the other side has dropped."""
    machine = Machine()
    machine.meet()
    (push, *_) = machine.grow(SCOPE, LOGS[0], 1)
    assert isinstance(push, SendFrame) and Timer.QUIET not in machine.state.timers
    machine.hear(Ack(SCOPE, (), len(push.frame)))

    assert Timer.QUIET in machine.state.timers
    assert [type(m) for m in said(machine.grow(SCOPE, LOGS[0], 2))] == [Have]


def test_digests_are_told_when_others_have_brought_what_they_bring() -> None:
    """Told after every batch of a long sync, they would be wrong by the time they arrive."""
    machine = Machine()
    machine.meet()
    machine.plan.request(b"q" * 32, SCOPE, {LOGS[0]: LogHead(AUTHOR, 9, b"")}, {})
    for seq in (1, 2):
        machine.hold(SCOPE, LOGS[0], seq)
        news = HeadsAdvanced(SCOPE, LOGS[0], AUTHOR, seq, id_of(seq), seq - 1, None, b"q" * 32)
        machine.happen(news)
    machine.happen(TimerFired(Timer.ANNOUNCE))
    machine.happen(TimerFired(Timer.ANNOUNCE))
    machine.hold(SCOPE, LOGS[0], 3)
    machine.happen(HeadsAdvanced(SCOPE, LOGS[0], AUTHOR, 3, id_of(3), 2, None, b"q" * 32))
    assert said(machine.happen(TimerFired(Timer.QUIET))) == []
    machine.happen(TimerFired(Timer.ANNOUNCE))

    now = Root(machine.ours.control_digest(), machine.ours.root(ALL))
    assert said(machine.happen(TimerFired(Timer.QUIET))) == [now]


def test_timer_that_was_stopped_does_nothing_when_it_fires_late() -> None:
    """Between a timer's end and its event anything may have happened."""
    machine = Machine()
    machine.meet()

    assert all(machine.happen(TimerFired(timer)) == [] for timer in Timer)


def test_states_of_a_scope() -> None:
    """Each word of `covey status` has one meaning, and *synced* is never the default."""
    machine = Machine(Sharing(frozenset({1})))
    machine.hold(SCOPE, LOGS[0], 3)
    machine.open()

    def now(scope: bytes = SCOPE) -> tuple[Condition, int, int]:
        standing = scope_standing(machine.state, scope, machine.ours)
        return standing.condition, standing.behind, standing.ahead

    assert now() == (Condition.UNKNOWN, 0, 0)
    assert now(PUBLIC_SCOPE) == (Condition.NOT_SHARED, 0, 0) == now(SECRET)
    control = machine.ours.control_digest()
    machine.hear(Greeting(1, (), {}, 0, control, b"r" * 32))
    machine.hear(
        VectorMessage(SCOPE, ((LOGS[0], AUTHOR, 1, id_of(1)), (LOGS[1], AUTHOR, 5, id_of(5))))
    )
    assert now() == (Condition.SYNCING, 5, 2)
    machine.happen(TimerFired(Timer.STALL))
    machine.happen(TimerFired(Timer.STALL))
    assert now() == (Condition.BEHIND, 5, 2)
    machine.hear(Root(control, machine.ours.root(Sharing(frozenset({1})))))
    assert now() == (Condition.SYNCED, 0, 0)
    machine.hold(SCOPE, LOGS[0], 4)
    assert now() == (Condition.SYNCING, 0, 1)
    machine.happen(CloseRequested(Reason.DONE))
    assert now() == (Condition.AHEAD, 0, 1)


def test_what_is_not_shared_any_more_is_not_waited_for() -> None:
    """The peer does not send it now, so digests would not be told until a stall is noticed."""
    machine = Machine()
    machine.meet()
    machine.hear(Have(SCOPE, LOGS[0], AUTHOR, 2, id_of(2)))
    assert machine.plan.in_flight(PEER) == 2
    effects = machine.happen(SharedScopesChanged(Sharing.of({3})))

    assert machine.plan.in_flight(PEER) == 0
    assert {WakeSessions(), StopTimer(Timer.STALL)} <= set(effects)
    assert Timer.QUIET in machine.state.timers


def test_table_of_phases_can_be_walked_and_ends_closed() -> None:
    """The drawing in the docs is made from this table, so it must be the machine."""
    reached = {Phase.GREETING}
    for _ in Phase:
        reached |= {after for before, _, after in transition_table() if before in reached}

    assert reached == set(Phase)
    assert {before for before, _, after in transition_table() if after is Phase.CLOSED} == (
        set(Phase) - {Phase.CLOSED}
    )
    assert all(before is not Phase.CLOSED for before, _, _ in transition_table())
    assert all(
        f"{a.name} --> {b.name}: {why.value}" in diagram() for a, why, b in transition_table()
    )


def test_nothing_is_proved_while_the_peer_lacks_the_operation_that_changed_the_sharing() -> None:
    """A new scope is learned before the peer has heard of it; "in sync" would be a lie."""
    machine = Machine()
    machine.meet()
    machine.hold(CONTROL_SCOPE, LOGS[0], 1)
    machine.ours.add_scope(b"n" * 16, DATABASE, 2)
    effects = machine.happen(SharedScopesChanged(ALL))

    assert not [effect for effect in effects if isinstance(effect, DeclareProof)]
    assert machine.state.phase is Phase.MEMBERSHIP


def test_a_vector_that_came_before_its_scope_was_known_is_asked_for_again() -> None:
    """The membership was the same, and what it says of scopes was not applied yet.

    Found by the simulator: the round waited for ever, and two linked devices stayed apart.
    """
    machine = Machine()
    fresh, root = b"n" * 16, b"another".ljust(32)
    machine.meet(root=root)
    machine.hear(Digests(0, b"", ((DATABASE, b"d" * 32),)))
    unheard = VectorMessage(fresh, ((LOGS[0], AUTHOR, 1, id_of(1)),))
    assert said(machine.hear(unheard)) == []
    machine.ours.add_scope(fresh, DATABASE, 2)
    machine.happen(SharedScopesChanged(ALL))
    assert machine.state.phase is Phase.COMPARING

    again = said(machine.happen(TimerFired(Timer.QUIET)))

    assert Digests(0, b"", ()) in again
    assert Want(fresh, ((LOGS[0], 1, 1),)) in said(machine.hear(unheard))
    # Once: what they tell of a scope that is not shared with us makes nobody ask for ever.
    machine.hear(VectorMessage(SECRET, ()))
    rounds = 0
    for _ in range(10):
        machine.hear(Root(machine.ours.control_digest(), root))
        machine.hear(VectorMessage(SECRET, ()))
        rounds += Digests(0, b"", ()) in said(machine.happen(TimerFired(Timer.QUIET)))
    assert rounds < ROUNDS_PER_CHANGE_MAX
