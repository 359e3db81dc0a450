"""The session: two members bring each other up to date, and stay so, over one channel.

One `SessionState` describes one channel to one peer. Both sides run the same code. `step` takes
what has happened and returns the next state and what is to be done, in order. It does no I/O, reads
no clock and holds nothing: what the node has (`Holdings`) and what all its sessions have asked for
(`FetchPlan`) are arguments, owned by the engine; a step reads the one and claims in the other.

The machine's parts: session_phases.py (the table), session_events.py (the words, and what
the engine promises), session_state.py (what is remembered), session_comparing.py (who differs
where), session_receiving.py and session_sending.py (entries, each way), session_standing.py (what a
person is told), session_holding.py (what waits).

Promises: nothing a peer sends raises; it may end this session, with a reason the peer is told.
Nothing is sent at rest. *In sync* is declared only on equal digests.

Spec: docs/protocol.md, section 7. Times are monotonic milliseconds, sizes bytes.
"""

from typing import assert_never

from .errors import DecodeError
from .fetch import FetchPlan
from .messages import (
    Ack,
    Answer,
    Ask,
    Batch,
    Digests,
    Goodbye,
    Greeting,
    Have,
    Hold,
    Message,
    Question,
    Reason,
    Root,
    VectorMessage,
    Want,
    decode,
)
from .session_comparing import (
    finish_round,
    on_digests,
    on_greeting,
    on_quiet_timer,
    on_root,
    on_their_vector,
    open_round,
    prove,
    rest,
    settle_control,
)
from .session_events import (
    BatchRefused,
    BatchStored,
    CloseRequested,
    DeclareDemand,
    Demanded,
    Effect,
    EntriesRead,
    Event,
    FrameReceived,
    HeadsAdvanced,
    Opened,
    PlanReleased,
    ScheduleChanged,
    SharedScopesChanged,
    Timer,
    TimerFired,
)
from .session_holding import on_hold, on_schedule, tell_holds
from .session_limits import GREETING_MS, IGNORED_MAX
from .session_phases import Phase, diagram, transition_table
from .session_receiving import (
    give_up,
    log_moved,
    on_batch,
    on_batch_refused,
    on_batch_stored,
    on_have,
    on_stall_timer,
    want,
    want_all,
)
from .session_sending import (
    on_ack,
    on_announce_timer,
    on_entries_read,
    on_want,
    push_or_announce,
)
from .session_state import SessionState, Turn
from .sharing import Sharing
from .vectors import CONTROL_SCOPE, Holdings

__all__ = ["Phase", "SessionState", "diagram", "step", "transition_table"]


def step(
    state: SessionState, event: Event, ours: Holdings, plan: FetchPlan, now_ms: int
) -> tuple[SessionState, tuple[Effect, ...]]:
    """Advance the session by one event.

    Returns the next state and the effects, to be carried out in order. Reads `ours`; claims and
    frees ranges in `plan`. Never raises for anything a peer sends; an event that breaks the
    promises in session_events.py fails an assertion. A closed session ignores everything.
    """
    if state.phase is Phase.CLOSED:
        return state, ()
    turn = Turn(state, ours, plan, now_ms)
    _handle(turn, event)
    if turn.ignored > IGNORED_MAX:
        turn.close(Reason.TOO_MUCH, "too much about scopes that are not shared")
    rest(turn)
    return turn.freeze(), tuple(turn.effects)


def _handle(turn: Turn, event: Event) -> None:  # noqa: C901 - a flat branch for each event
    match event:
        case FrameReceived(frame):
            _on_frame(turn, frame)
        case EntriesRead():
            on_entries_read(turn, event)
        case BatchStored(scope):
            on_batch_stored(turn, event)
            if scope == CONTROL_SCOPE:
                _on_control_moved(turn)
        case HeadsAdvanced():
            _on_heads_advanced(turn, event)
        case TimerFired(timer):
            _on_timer(turn, timer)
        case BatchRefused():
            on_batch_refused(turn, event)
        case SharedScopesChanged(sharing):
            _on_scopes_changed(turn, sharing)
        case ScheduleChanged(schedule):
            on_schedule(turn, schedule)
        case PlanReleased():
            want_all(turn)
        case CloseRequested(reason, text):
            # A removed device is told nothing, not even that it was removed.
            silent = reason in (Reason.CONNECTION_LOST, Reason.REMOVED)
            turn.close(reason, text, farewell=not silent)
        case Demanded(message):
            turn.demand(message)
        case Opened():
            _on_opened(turn, event)
        case _:
            assert_never(event)


def _on_opened(turn: Turn, event: Opened) -> None:
    assert turn.telling.told is None, "opened twice"
    turn.peer = event.peer
    turn.sharing = event.sharing
    digests = (turn.ours.control_digest(), turn.ours.root(turn.sharing))
    turn.remember_told(digests)
    credit = turn.receiving.credit
    turn.version = event.version
    turn.say(Greeting(event.version, event.features, event.device_state, credit, *digests))
    turn.start(Timer.GREETING, GREETING_MS)
    turn.timing = turn.timing._replace(schedule=event.schedule)
    turn.sending = turn.sending._replace(target=event.batch_bytes)
    tell_holds(turn)


def _on_frame(turn: Turn, frame: bytes) -> None:
    """The one gate for what a peer sends: malformed, out of order and too early end here."""
    try:
        message = decode(frame)
    except DecodeError as error:
        turn.close(Reason.MALFORMED, str(error))
        return
    if isinstance(message, Goodbye):
        turn.close(message.reason, message.text, farewell=False)
    elif isinstance(message, Greeting) != (turn.phase is Phase.GREETING):
        turn.close(Reason.OUT_OF_ORDER, "a session begins with one greeting from each side")
    elif not turn.telling.met and _is_about_data(message):
        turn.close(Reason.MEMBERSHIP_FIRST, "the membership logs are not the same yet")
    elif not (turn.telling.echoes and _is_of_other_terms(turn, message)):
        _on_message(turn, message, len(frame))


def _is_of_other_terms(turn: Turn, message: Message) -> bool:
    """Of what comes before the echo of our *ask* only what is about membership counts."""
    match message:
        case Root(control):
            turn.knowledge = turn.knowledge._replace(control=control, root_is_old=False)
            settle_control(turn)
            return True
        case Digests():
            return True
        case VectorMessage(scope) | Have(scope):
            return scope != CONTROL_SCOPE
        case _:
            return False


def _on_ask(turn: Turn, ask: Ask) -> None:
    """They take something now that they hold on demand, or had heard that we do."""
    if not ask.is_echo:
        # Our digests under the new terms are told even if they are the same.
        assert turn.telling.told is not None, "data flows before we greeted"
        turn.telling = turn.telling._replace(told=(turn.telling.told[0], b""))
        turn.effects.append(DeclareDemand(ask))
    elif not turn.telling.echoes:
        turn.ignore()
    else:
        turn.telling = turn.telling._replace(echoes=turn.telling.echoes - 1)
        if not turn.telling.echoes:
            turn.unsettle(moved=True)
            if turn.phase in (Phase.COMPARING, Phase.STREAMING):
                _compare_anew(turn)


def _is_about_data(message: Message) -> bool:
    match message:
        case Batch(scope) | Want(scope) | VectorMessage(scope) | Ack(scope) | Have(scope):
            return scope != CONTROL_SCOPE
        case Digests() | Ask() | Question() | Answer():
            return True
        case Greeting() | Root() | Hold() | Goodbye():
            return False
        case _:
            assert_never(message)


def _on_message(  # noqa: C901 - a flat branch for each message
    turn: Turn, message: Message, frame_bytes: int
) -> None:
    match message:
        case Batch():
            on_batch(turn, message, frame_bytes)
        case Ack():
            on_ack(turn, message)
        case Have():
            on_have(turn, message)
        case Want():
            on_want(turn, message)
        case Root():
            on_root(turn, message)
        case Hold():
            on_hold(turn, message)
        case VectorMessage():
            on_their_vector(turn, message)
        case Digests():
            on_digests(turn, message)
        case Greeting():
            on_greeting(turn, message)
        case Ask():
            _on_ask(turn, message)
        case Question() | Answer():
            turn.effects.append(DeclareDemand(message))
        case Goodbye():
            pass  # `_on_frame` has closed already.
        case _:
            assert_never(message)


def _on_heads_advanced(turn: Turn, event: HeadsAdvanced) -> None:
    if not turn.shares(event.scope, event.author):
        return
    turn.unsettle(moved=True)
    log_moved(turn, event.scope, event.instance)
    if event.origin != turn.peer:
        push_or_announce(turn, event)
    if event.scope in turn.knowledge.wanting:
        want(turn, event.scope)
    if event.scope == CONTROL_SCOPE:
        _on_control_moved(turn)


def _on_control_moved(turn: Turn) -> None:
    """News of the membership log are told at once, because data waits for them."""
    if turn.phase not in (Phase.GREETING, Phase.CLOSED):
        turn.tell()
        settle_control(turn)


def _on_scopes_changed(turn: Turn, sharing: Sharing) -> None:
    """Forget what is not shared any more, and compare anew if there is something new."""
    sharing = sharing.with_floors(turn.floors)
    before, turn.sharing = turn.sharing, sharing
    tell_holds(turn)
    shared = (CONTROL_SCOPE, *turn.ours.scopes(sharing))
    # Under other terms a vector is another one, and so is its digest.
    kept = {scope for scope in shared if turn.ours.same_terms(scope, before, sharing)}
    knowledge = turn.knowledge
    give_up(turn, shared)
    turn.knowledge = knowledge._replace(
        theirs={scope: theirs for scope, theirs in knowledge.theirs.items() if scope in kept},
        complete=knowledge.complete & kept,
        wanting=knowledge.wanting & kept,
        unfit=frozenset(log for log in knowledge.unfit if log[0] in kept),
        proofs={scope: proof for scope, proof in knowledge.proofs.items() if scope in kept},
    )
    # What was sent of the others may have been passed over.
    sent = {log: seq for log, seq in turn.sending.sent.items() if log[0] in kept}
    turn.sending = turn.sending._replace(sent=sent)
    turn.unsettle(moved=True)
    if turn.phase is Phase.MEMBERSHIP:
        turn.comparison = turn.comparison._replace(disturbed=True)
    elif turn.phase in (Phase.COMPARING, Phase.STREAMING):
        turn.tell()
        if turn.knowledge.complete.issuperset(shared):
            return
        # What changed the sharing may be an operation that they do not have yet.
        settle_control(turn)
        if turn.phase is Phase.COMPARING and sharing == before:
            # To begin again in the middle of a round makes them begin again, and so on: the roots
            # are compared when this one is over.
            finish_round(turn)
        else:
            _compare_anew(turn)


def _compare_anew(turn: Turn) -> None:
    """There is something new to share: once membership is the same, compare."""
    if turn.phase is Phase.MEMBERSHIP:
        turn.comparison = turn.comparison._replace(disturbed=True)
    elif turn.phase is Phase.STREAMING and (turn.knowledge.root_is_old or turn.knowledge.wanting):
        pass  # Another root is to come, and is compared when nothing is in flight.
    elif turn.ours.root(turn.sharing) == turn.knowledge.root:
        prove(turn)
    else:
        open_round(turn)


def _on_timer(turn: Turn, timer: Timer) -> None:
    if timer not in turn.timers:
        return
    turn.timers -= {timer}
    match timer:
        case Timer.GREETING:
            turn.close(Reason.TOO_SLOW, f"no greeting within {GREETING_MS} ms")
        case Timer.QUIET:
            on_quiet_timer(turn)
        case Timer.ANNOUNCE:
            on_announce_timer(turn)
        case Timer.STALL:
            on_stall_timer(turn)
        case _:
            assert_never(timer)
