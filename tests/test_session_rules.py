"""One session alone, against peers that keep no rule: it ends with a reason, or goes on unharmed.

A `Machine` is a single session with its holdings. What it is told is written out by hand or drawn
at random from everything that can be said; what it does is compared with the list of effects.
"""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.sync.batch import Run, Segment, encode_batch
from covey.sync.digests import LogHead
from covey.sync.fetch import FetchPlan
from covey.sync.messages import (
    Ack,
    Batch,
    Digests,
    Goodbye,
    Greeting,
    Have,
    Message,
    Reason,
    Root,
    VectorMessage,
    Want,
    decode,
    encode,
)
from covey.sync.session import Phase, SessionState, diagram, step, transition_table
from covey.sync.session_events import (
    BatchRefused,
    BatchStored,
    Close,
    CloseRequested,
    DeclareProof,
    Effect,
    EntriesRead,
    Event,
    FrameReceived,
    HeadsAdvanced,
    Opened,
    PlanReleased,
    ReadEntries,
    SendFrame,
    SharedScopesChanged,
    StartTimer,
    StopTimer,
    StoreBatch,
    Timer,
    TimerFired,
    WakeSessions,
)
from covey.sync.session_limits import CREDIT_BYTES, IGNORED_MAX, WANTS_QUEUED_MAX
from covey.sync.session_standing import Condition, scope_standing
from covey.sync.session_state import Receiving
from covey.sync.vectors import CONTROL_SCOPE, Holdings

PEER, AUTHOR = b"p" * 32, b"a" * 32
DATABASE, SCOPE, PUBLIC_SCOPE, SECRET = b"D" * 16, b"s" * 16, b"u" * 16, b"x" * 16
LOGS = (b"i" * 16, b"j" * 16)
ALL = frozenset({1, 2, 3})


def id_of(seq: int) -> bytes:
    return seq.to_bytes(32, "big")


def run_of(log: bytes, first: int, last: int, size: int = 300) -> Run:
    prev_id = id_of(first - 1) if first > 1 else bytes(32)
    entries = [(b"saltsalt", bytes(size))] * (last - first + 1)
    return Run(AUTHOR, log, first, prev_id, (Segment(1, b"k" * 32, (), entries),), b"s" * 64)


class Machine:
    """One session, and what it did last."""

    def __init__(self, privacies: frozenset[int] = ALL, credit: int = CREDIT_BYTES) -> None:
        self.ours = Holdings()
        self.ours.add_scope(SCOPE, DATABASE, 1)
        self.ours.add_scope(PUBLIC_SCOPE, DATABASE, 3)
        self.ours.add_scope(SECRET, DATABASE, 0)
        self.plan = FetchPlan()
        self.state = SessionState(receiving=Receiving(credit=credit))
        self.privacies = privacies
        self.now_ms = 0

    def hold(self, scope: bytes, log: bytes, seq: int) -> None:
        self.ours.set_head(scope, log, AUTHOR, seq, id_of(seq))

    def happen(self, event: Event) -> list[Effect]:
        self.now_ms += 1
        self.state, effects = step(self.state, event, self.ours, self.plan, self.now_ms)
        return list(effects)

    def hear(self, message: Message) -> list[Effect]:
        return self.happen(FrameReceived(encode(message)))

    def open(self) -> Greeting:
        effects = self.happen(Opened(PEER, self.privacies, {}, ("topics",)))
        assert isinstance(effects[0], SendFrame)
        greeting = decode(effects[0].frame)
        assert isinstance(greeting, Greeting)
        return greeting

    def meet(self, credit: int = CREDIT_BYTES, root: bytes | None = None) -> list[Effect]:
        """Open, and hear a greeting from a peer that is in sync but, if told, for the root."""
        mine = self.open()
        return self.hear(Greeting(1, (), {}, credit, mine.control, root or mine.root))

    def grow(self, scope: bytes, log: bytes, seq: int, size: int = 300) -> list[Effect]:
        """Commit one entry."""
        self.hold(scope, log, seq)
        frame = encode_batch(scope, (run_of(log, seq, seq, size),))
        return self.happen(HeadsAdvanced(scope, log, AUTHOR, seq, id_of(seq), seq - 1, frame))


def said(effects: list[Effect]) -> list[Message]:
    return [decode(effect.frame) for effect in effects if isinstance(effect, SendFrame)]


def end(effects: list[Effect]) -> Reason | None:
    """Why the session ended; a farewell says the same, and nothing follows."""
    closes = [effect for effect in effects if isinstance(effect, Close)]
    if not closes:
        return None
    assert effects[-1] is closes[0] and len(closes) == 1
    for message in said(effects):
        if isinstance(message, Goodbye):
            assert message.reason is closes[0].reason
    return closes[0].reason


def test_greeting_comes_first_and_tells_of_no_device_scope() -> None:
    """The first frame is all a peer knows of us; what never leaves must not show in it."""
    machine = Machine(frozenset({0, 1, 2, 3}))
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


DATA: list[Message] = [
    Batch(SCOPE, (run_of(LOGS[0], 1, 1),)),
    Want(SCOPE, ((LOGS[0], 1, 1),)),
    VectorMessage(SCOPE, ()),
    Have(SCOPE, LOGS[0], AUTHOR, 1, id_of(1)),
    Ack(SCOPE, (), 1),
    Digests(0, b"", ()),
    Digests(1, DATABASE, ()),
]


@pytest.mark.parametrize("message", DATA, ids=lambda m: type(m).__name__)
def test_data_before_membership_matched_is_a_violation(message: Message) -> None:
    """Whoever sends data first would have it judged without the operations that judge it."""
    machine = Machine()
    mine = machine.open()
    machine.hear(Greeting(1, (), {}, 0, b"c" * 32, mine.root))
    assert machine.state.phase is Phase.MEMBERSHIP

    assert end(machine.hear(message)) is Reason.MEMBERSHIP_FIRST


@pytest.mark.parametrize(
    "message", [*DATA, Root(b"c" * 32, b"r" * 32)], ids=lambda m: type(m).__name__
)
def test_anything_before_the_greeting_is_a_violation(message: Message) -> None:
    """Without a greeting there is no credit and no digest to judge it by."""
    machine = Machine()
    machine.open()

    assert end(machine.hear(message)) is Reason.OUT_OF_ORDER


def test_news_of_membership_that_cross_on_the_way_are_no_violation() -> None:
    """They saw us equal to what they had told before; since then both have moved on."""
    machine = Machine()
    later = Machine()
    later.hold(CONTROL_SCOPE, LOGS[0], 1)
    mine = machine.open()
    machine.hear(Greeting(1, (), {}, CREDIT_BYTES, later.ours.control_digest(), mine.root))
    machine.hear(Root(b"c" * 32, mine.root))
    machine.grow(CONTROL_SCOPE, LOGS[0], 1)

    assert end(machine.hear(Have(SCOPE, LOGS[0], AUTHOR, 1, id_of(1)))) is None
    assert machine.state.phase is Phase.MEMBERSHIP


def test_second_greeting_is_a_violation() -> None:
    """It would hand out the credit twice."""
    machine = Machine()
    machine.meet()

    greeting = Greeting(1, (), {}, CREDIT_BYTES, b"c" * 32, b"r" * 32)
    assert end(machine.hear(greeting)) is Reason.OUT_OF_ORDER


@given(st.sampled_from(DATA), st.data())
@settings(max_examples=150)
def test_garbled_frame_ends_the_session_with_a_reason_or_is_another_frame(
    message: Message, data: st.DataObject
) -> None:
    """A bug in somebody's encoder must show as a sentence and not as a crash of ours."""
    machine = Machine()
    machine.hold(SCOPE, LOGS[0], 3)
    machine.meet()
    frame = bytearray(encode(message))
    frame[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
    reason = end(machine.happen(FrameReceived(bytes(frame))))

    assert reason in (None, Reason.MALFORMED, Reason.OUT_OF_ORDER)


@pytest.mark.parametrize("frame", [b"", b"\x00", b"\x05", b"\xff" * 50, b"\x08\xc0"])
def test_malformed_frame_ends_the_session(frame: bytes) -> None:
    """After one frame that cannot be read nothing that follows can be trusted."""
    machine = Machine()
    machine.meet()

    assert end(machine.happen(FrameReceived(frame))) is Reason.MALFORMED


def test_batch_beyond_the_credit_is_a_violation() -> None:
    """Credit is what keeps a fast sender from filling the memory of a slow disk."""
    batch = Batch(SCOPE, (run_of(LOGS[0], 1, 1),))
    size = len(encode(batch))
    machine = Machine(credit=2 * size - 1)
    machine.meet()

    assert machine.hear(batch)[0] == StoreBatch(batch, size)
    assert end(machine.hear(Batch(SCOPE, (run_of(LOGS[0], 2, 2),)))) is Reason.CREDIT_EXCEEDED


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


def test_more_wants_than_the_queue_holds_end_the_session() -> None:
    """Wants are cheap to send and would be dear to keep."""
    machine = Machine()
    for scope in (SCOPE, PUBLIC_SCOPE):
        machine.hold(scope, LOGS[0], 1_000)
    machine.meet()
    reasons: list[Reason | None] = []
    ranges = tuple((LOGS[0], 1 + i, 1 + i) for i in range(500))
    while Reason.TOO_MUCH not in reasons:
        reasons.append(end(machine.hear(Want(SCOPE, ranges))))

    assert reasons.index(Reason.TOO_MUCH) * 500 >= WANTS_QUEUED_MAX - 500


def test_endless_talk_of_unknown_scopes_ends_the_session() -> None:
    """Honest peers may know a scope that we do not; they do not speak of it ten thousand times."""
    machine = Machine()
    machine.meet()
    unknown = Have(b"?" * 16, LOGS[0], AUTHOR, 1, id_of(1))
    assert all(machine.hear(unknown) == [] for _ in range(IGNORED_MAX))

    assert end(machine.hear(unknown)) is Reason.TOO_MUCH


@pytest.mark.parametrize("scope", [SCOPE, SECRET, b"?" * 16])
def test_wants_of_what_is_not_shared_are_not_served(scope: bytes) -> None:
    """Keys keep content from a guest; not serving it keeps even its size and rhythm."""
    machine = Machine(frozenset({0, 3}))
    machine.hold(SCOPE, LOGS[0], 5)
    machine.hold(SECRET, LOGS[0], 5)
    machine.meet()

    assert machine.hear(Want(scope, ((LOGS[0], 1, 5),))) == []
    assert machine.state.ignored == 1


@pytest.mark.parametrize("scope", [SCOPE, SECRET])
def test_batch_of_what_is_not_shared_is_not_stored_but_its_credit_comes_back(scope: bytes) -> None:
    """A peer that has not heard of its new level yet must not run dry because of it."""
    machine = Machine(frozenset({3}))
    machine.meet()
    batch = Batch(scope, (run_of(LOGS[0], 1, 1),))
    effects = machine.hear(batch)

    assert said(effects) == [Ack(scope, (), len(encode(batch)))] and len(effects) == 1


def test_refused_batch_ends_the_session_with_the_reason_of_the_store() -> None:
    """A bad signature, or a full disk: the peer is told which."""
    machine = Machine()
    machine.meet()
    machine.hear(Batch(SCOPE, (run_of(LOGS[0], 1, 1),)))
    effects = machine.happen(BatchRefused(Reason.STORE_FULL, "x" * 300 + "é" * 200))

    assert end(effects) is Reason.STORE_FULL
    assert WakeSessions() in effects


def test_farewells() -> None:
    """A goodbye is not answered, a broken channel is not spoken into, and closed is closed."""
    for event, frames in (
        (FrameReceived(encode(Goodbye(Reason.DONE, "bye"))), 0),
        (CloseRequested(Reason.CONNECTION_LOST), 0),
        (CloseRequested(Reason.REMOVED), 1),
    ):
        machine = Machine()
        machine.meet()
        effects = machine.happen(event)
        assert len(said(effects)) == frames and end(effects) is not None
        assert machine.grow(SCOPE, LOGS[0], 1) == []
        assert machine.happen(FrameReceived(b"")) == [] == machine.happen(PlanReleased())


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
    machine = Machine(frozenset({3}))
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


def test_liar_whose_root_never_matches_costs_a_few_frames_and_then_silence() -> None:
    """A peer must not be able to keep two devices comparing digests for ever."""
    machine = Machine()
    machine.hold(SCOPE, LOGS[0], 3)
    machine.meet()
    frames = 0
    for count in range(200):
        effects = machine.hear(Root(machine.ours.control_digest(), id_of(count)))
        if Timer.QUIET in machine.state.timers:
            effects += machine.happen(TimerFired(Timer.QUIET))
        effects += machine.hear(Digests(0, b"", ((DATABASE, id_of(count)),)))
        effects += machine.hear(Digests(1, DATABASE, ((SCOPE, id_of(count)),)))
        heads = tuple((log, AUTHOR, 3, id_of(3)) for log in LOGS[:1])
        effects += machine.hear(VectorMessage(SCOPE, heads))
        frames += len(said(effects))

    assert frames <= 20
    assert machine.state.phase is not Phase.CLOSED


def test_timer_that_was_stopped_does_nothing_when_it_fires_late() -> None:
    """Between a timer's end and its event anything may have happened."""
    machine = Machine()
    machine.meet()

    assert all(machine.happen(TimerFired(timer)) == [] for timer in Timer)


def test_states_of_a_scope() -> None:
    """Each word of `covey status` has one meaning, and *synced* is never the default."""
    machine = Machine(frozenset({1}))
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
    machine.hear(Root(control, machine.ours.root(frozenset({1}))))
    assert now() == (Condition.SYNCED, 0, 0)
    machine.hold(SCOPE, LOGS[0], 4)
    assert now() == (Condition.SYNCING, 0, 1)
    machine.happen(CloseRequested(Reason.DONE))
    assert now() == (Condition.AHEAD, 0, 1)


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


# Everything that can be said, in any order ------------------------------------------------------

scopes = st.sampled_from((SCOPE, PUBLIC_SCOPE, SECRET, CONTROL_SCOPE, b"?" * 16))
logs = st.sampled_from(LOGS)
seqs = st.integers(1, 6)
digests = st.sampled_from((b"c" * 32, b"r" * 32))
rows = st.lists(st.tuples(logs, st.just(AUTHOR), seqs, seqs.map(id_of)), unique_by=lambda r: r[0])


@st.composite
def spans(draw: st.DrawFn) -> tuple[bytes, int, int]:
    first = draw(seqs)
    return draw(logs), first, draw(st.integers(first, 8))


runs = spans().map(lambda span: run_of(*span))
remarks = st.one_of(
    st.builds(Root, digests, digests),
    st.builds(Digests, st.just(0), st.just(b""), st.just(())),
    st.builds(lambda d: Digests(0, b"", ((DATABASE, d),)), digests),
    st.builds(lambda s, d: Digests(1, DATABASE, ((s, d),)), scopes, digests),
    st.builds(VectorMessage, scopes, rows.map(lambda found: tuple(sorted(found)))),
    st.builds(lambda s, span: Want(s, (span,)), scopes, spans()),
    st.builds(lambda s, run: Batch(s, (run,)), scopes, runs),
    st.builds(
        lambda s, log, n, c: Ack(s, ((log, n),), c), scopes, logs, seqs, st.integers(0, 9_999)
    ),
    st.builds(lambda s, log, n, i: Have(s, log, AUTHOR, n, id_of(i)), scopes, logs, seqs, seqs),
)
turns = st.one_of(
    remarks,
    remarks,
    st.sampled_from(("work", "timer", "commit", "match", "wake", "scopes")),
)


def carry_on(machine: Machine, todo: list[Effect], data: st.DataObject) -> list[Effect]:
    """Answer the oldest read or store as an honest engine may."""
    asked = todo.pop(0)
    if isinstance(asked, ReadEntries):
        log, first, last = asked.ranges[0]
        return machine.happen(
            EntriesRead(asked.scope, (run_of(log, first, last),), data.draw(st.booleans()))
        )
    assert isinstance(asked, StoreBatch)
    heads = []
    for run in asked.batch.runs:
        head = machine.ours.head(asked.batch.scope, run.instance) or LogHead(AUTHOR, 0, b"")
        if run.first_seq <= head.seq + 1 and head.seq < run.last_seq and data.draw(st.booleans()):
            machine.hold(asked.batch.scope, run.instance, run.last_seq)
        now = machine.ours.head(asked.batch.scope, run.instance)
        heads += [(run.instance, *now)] if now else []
    return machine.happen(BatchStored(asked.batch.scope, tuple(heads), asked.frame_bytes))


@given(st.data(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_nothing_a_peer_can_say_breaks_the_session(data: st.DataObject, in_sync: bool) -> None:
    """Every message is well formed, none has to be true; the node goes on or says why not."""
    machine = Machine(credit=20_000)
    machine.hold(SCOPE, LOGS[0], 3)
    mine = machine.open()
    control = mine.control if in_sync else b"c" * 32
    machine.hear(Greeting(1, (), {}, 50_000, control, b"r" * 32))
    todo: list[Effect] = []
    ended = False
    for turn in data.draw(st.lists(turns, max_size=25)):
        before = machine.state
        effects = take(machine, turn, todo, data)
        reason = end(effects)
        assert not (ended and effects), "a closed session said something"
        assert reason in (None, Reason.MEMBERSHIP_FIRST, Reason.CREDIT_EXCEEDED)
        assert reason is not Reason.MEMBERSHIP_FIRST or not before.telling.met
        ended = ended or reason is not None
        assert len(effects) <= 12
        todo = [] if ended else todo
        todo += [e for e in effects if isinstance(e, ReadEntries | StoreBatch)]
        assert sum(isinstance(e, ReadEntries) for e in todo) <= 1
        check(machine, effects)


def take(machine: Machine, turn: Any, todo: list[Effect], data: st.DataObject) -> list[Effect]:
    control, root = machine.ours.control_digest(), machine.ours.root(ALL)
    match turn:
        case "work":
            return carry_on(machine, todo, data) if todo else []
        case "timer":
            armed = sorted(machine.state.timers, key=lambda timer: timer.value)
            return machine.happen(TimerFired(data.draw(st.sampled_from(armed)))) if armed else []
        case "commit":
            scope, log = data.draw(scopes), data.draw(logs)
            if not machine.ours.knows(scope):
                return []
            head = machine.ours.head(scope, log)
            return machine.grow(scope, log, head.seq + 1 if head else 1)
        case "match":
            return machine.hear(Root(control, data.draw(st.sampled_from((root, b"r" * 32)))))
        case "wake":
            return machine.happen(PlanReleased())
        case "scopes":
            privacies = data.draw(st.frozensets(st.sampled_from((0, 1, 2, 3))))
            return machine.happen(SharedScopesChanged(privacies))
    return machine.hear(turn)


def check(machine: Machine, effects: list[Effect]) -> None:
    """What holds after every step, whoever is at the other end."""
    state = machine.state
    assert state.sending.credit >= 0 and state.receiving.credit >= 0
    for message in said(effects):
        if isinstance(message, Batch | Want | VectorMessage | Have):
            assert message.scope == CONTROL_SCOPE or state.telling.met
            assert message.scope != SECRET
        assert not isinstance(message, Digests) or state.telling.met
    starts = [effect.timer for effect in effects if isinstance(effect, StartTimer)]
    assert len(starts) == len(set(starts))
    if state.phase is Phase.CLOSED:
        assert not state.timers and machine.plan.in_flight(PEER) == 0
    for effect in effects:
        if isinstance(effect, DeclareProof):
            assert (effect.control, effect.root) == (state.knowledge.control, state.knowledge.root)
