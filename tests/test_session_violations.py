"""One session and a peer that breaks one rule: it is told which, and nothing of ours is harmed.

Also what an honest peer may do that looks like a violation and is none.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    encode,
)
from covey.sync.session import Phase
from covey.sync.session_events import (
    BatchRefused,
    CloseRequested,
    FrameReceived,
    PlanReleased,
    StoreBatch,
    Timer,
    TimerFired,
    WakeSessions,
)
from covey.sync.session_limits import CREDIT_BYTES, IGNORED_MAX, WANTS_QUEUED_MAX
from covey.sync.sharing import Sharing
from covey.sync.vectors import CONTROL_SCOPE

from .session_machine import (
    AUTHOR,
    DATABASE,
    LOGS,
    PUBLIC_SCOPE,
    SCOPE,
    SECRET,
    Machine,
    end,
    id_of,
    run_of,
    said,
)

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
    machine = Machine(Sharing(frozenset({0, 3})))
    machine.hold(SCOPE, LOGS[0], 5)
    machine.hold(SECRET, LOGS[0], 5)
    machine.meet()

    assert machine.hear(Want(scope, ((LOGS[0], 1, 5),))) == []
    assert machine.state.ignored == 1


@pytest.mark.parametrize("scope", [SCOPE, SECRET])
def test_batch_of_what_is_not_shared_is_not_stored_but_its_credit_comes_back(scope: bytes) -> None:
    """A peer that has not heard of its new level yet must not run dry because of it."""
    machine = Machine(Sharing(frozenset({3})))
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
    """A goodbye is not answered, a broken channel and a removed device are not spoken to."""
    for event, frames in (
        (FrameReceived(encode(Goodbye(Reason.DONE, "bye"))), 0),
        (CloseRequested(Reason.CONNECTION_LOST), 0),
        (CloseRequested(Reason.REMOVED), 0),
        (CloseRequested(Reason.REPLACED), 1),
    ):
        machine = Machine()
        machine.meet()
        effects = machine.happen(event)
        assert len(said(effects)) == frames and end(effects) is not None
        assert machine.grow(SCOPE, LOGS[0], 1) == []
        assert machine.happen(FrameReceived(b"")) == [] == machine.happen(PlanReleased())


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
