"""From the peer to us: what they announce is wanted, what they send is stored and acknowledged.

Invariants:
1. A range is wanted only under a claim of the `FetchPlan`, so from one peer at a time.
2. Acknowledged is only what the store has called durable; then, and only then, the credit it
   took is given back.
3. A log whose next entries did not continue ours is not wanted from this peer again until our
   own head of it has moved: two stores that disagree must not send each other in circles.
4. A peer that sends nothing of what was wanted loses its claims after `STALL_MS`.
5. No data is wanted while the control digests differ, and nothing of a held database.

A handler changes the `Turn` it is given. It never raises for what a peer sent.

Spec: docs/protocol.md, section 7, "Order", steps 4, 5 and 7, and "Forks".
"""

from collections.abc import Collection

from .messages import Ack, Batch, Have, Reason, Run, VectorMessage, Want
from .session_events import (
    BatchRefused,
    BatchStored,
    DeclareFork,
    StoreBatch,
    Timer,
    WakeSessions,
)
from .session_limits import ACK_ROWS_MAX, STALL_MS, VECTOR_ROWS_MAX
from .session_state import Turn
from .vectors import LogHead, Vector, forks, missing


def on_batch(turn: Turn, batch: Batch, frame_bytes: int) -> None:
    """Pass a batch to the store, if it is within the credit we gave."""
    scope, receiving = batch.scope, turn.receiving
    if frame_bytes > receiving.credit:
        turn.close(
            Reason.CREDIT_EXCEEDED,
            f"a batch of {frame_bytes} bytes, {receiving.credit} were allowed",
        )
        return
    if not all(turn.shares(scope, run.author) for run in batch.runs):
        _pass_over(turn, batch, frame_bytes)
        return
    for run in batch.runs:
        turn.plan.receiving(turn.peer, scope, run.instance, run.first_seq, run.last_seq)
    _learn_runs(turn, scope, batch.runs)
    pieces = tuple((run.instance, run.first_seq, run.last_seq) for run in batch.runs)
    turn.receiving = receiving._replace(
        credit=receiving.credit - frame_bytes,
        storing=(*receiving.storing, (scope, pieces, turn.heads(scope))),
        stalled=False,
        progress=True,
    )
    turn.effects.append(StoreBatch(batch, frame_bytes))


def on_batch_stored(turn: Turn, event: BatchStored) -> None:
    """Acknowledge what is durable, give the credit back, and want on."""
    receiving = turn.receiving
    assert receiving.storing and receiving.storing[0][0] == event.scope, "stored out of order"
    scope, pieces, before = receiving.storing[0]
    turn.receiving = receiving._replace(
        credit=receiving.credit + event.frame_bytes,
        storing=receiving.storing[1:],
    )
    acked = sorted((instance, seq) for instance, _, seq, _ in event.heads)
    turn.say(Ack(scope, tuple(acked[:ACK_ROWS_MAX]), event.frame_bytes))
    for instance, seq in acked:
        turn.plan.arrived(scope, instance, seq)
        log_moved(turn, scope, instance)
    for instance, first, last in pieces:
        turn.plan.settled(turn.peer, scope, instance, first, last)
        _judge_piece(turn, scope, instance, first, last)
    turn.unsettle(moved=turn.heads(scope) != before)
    want_all(turn)


def on_batch_refused(turn: Turn, event: BatchRefused) -> None:
    """What they sent cannot be stored: there is nothing to go on with."""
    turn.close(event.reason, event.text)


def on_vector(turn: Turn, message: VectorMessage) -> None:
    """Learn the whole vector of a scope. The caller has checked that it is shared."""
    theirs = {}
    for instance, author, seq, id in message.heads:
        if turn.shares(message.scope, author):
            theirs[instance] = LogHead(author, seq, id)
        else:
            turn.ignore()
    know(turn, message.scope, theirs)
    _declare_forks(turn, message.scope, theirs)
    _stir(turn)
    want(turn, message.scope)


def on_have(turn: Turn, have: Have) -> None:
    """Learn one head, and want what is new."""
    if not turn.shares(have.scope, have.author):
        turn.ignore()
        return
    knowledge = turn.knowledge
    known = knowledge.theirs.get(have.scope, {})
    before = known.get(have.instance)
    if before is None and len(known) >= VECTOR_ROWS_MAX:
        turn.ignore()
        return
    head = LogHead(have.author, have.seq, have.entry_id)
    if head != before:
        theirs = {**knowledge.theirs, have.scope: {**known, have.instance: head}}
        turn.knowledge = knowledge._replace(theirs=theirs, root_is_old=True)
        _declare_forks(turn, have.scope, {have.instance: head})
    _stir(turn)
    want(turn, have.scope)


def know(turn: Turn, scope: bytes, theirs: Vector) -> None:
    """This is what they hold of a scope, all of it."""
    knowledge = turn.knowledge
    if knowledge.theirs.get(scope) is theirs and scope in knowledge.complete:
        return
    turn.knowledge = knowledge._replace(
        theirs={**knowledge.theirs, scope: theirs},
        complete=knowledge.complete | {scope},
    )


def want(turn: Turn, scope: bytes) -> None:
    """Want what they hold of a scope, we lack, and nobody else brings."""
    knowledge = turn.knowledge
    theirs = _wantable(turn, scope)
    ours = turn.heads(scope)
    if not missing(ours, theirs):
        if scope in knowledge.wanting:
            turn.knowledge = knowledge._replace(wanting=knowledge.wanting - {scope})
        return
    if scope not in knowledge.wanting:
        turn.knowledge = knowledge._replace(wanting=knowledge.wanting | {scope})
    if not turn.may_move(scope) or turn.receiving.stalled:
        return
    ranges = turn.plan.request(turn.peer, scope, theirs, ours, turn.rank(scope))
    if ranges:
        turn.say(Want(scope, ranges))
        if Timer.STALL not in turn.timers:
            turn.receiving = turn.receiving._replace(progress=False)
            turn.start(Timer.STALL, STALL_MS)


def want_all(turn: Turn) -> None:
    """Want on in every scope in which they hold more than we do, the most urgent first."""
    scopes = sorted(turn.knowledge.wanting)
    for scope in sorted(filter(turn.is_shared, scopes), key=turn.rank):
        want(turn, scope)


def give_up(turn: Turn, shared: Collection[bytes]) -> None:
    """Free what was wanted and is not shared any more; it will not come."""
    given_up = False
    for scope, instance in turn.plan.claimed(turn.peer):
        head = turn.knowledge.theirs.get(scope, {}).get(instance)
        if scope not in shared or head is None or not turn.shares(scope, head.author):
            turn.plan.drop(turn.peer, scope, instance)
            given_up = True
    if given_up:
        turn.effects.append(WakeSessions())


def on_stall_timer(turn: Turn) -> None:
    """Leave what was wanted to others if nothing has come since the timer was started."""
    if not turn.plan.in_flight(turn.peer):
        return
    if turn.receiving.progress or turn.receiving.storing:
        turn.receiving = turn.receiving._replace(progress=False)
        turn.start(Timer.STALL, STALL_MS)
        return
    turn.receiving = turn.receiving._replace(stalled=True)
    turn.plan.release(turn.peer)
    turn.effects.append(WakeSessions())
    turn.unsettle()


def log_moved(turn: Turn, scope: bytes, instance: bytes) -> None:
    """Our head of a log moved: what did not fit may fit now, and a fork may show."""
    _set_fit(turn, scope, instance, True)
    head = turn.knowledge.theirs.get(scope, {}).get(instance)
    if head is not None:
        _declare_forks(turn, scope, {instance: head})


def _pass_over(turn: Turn, batch: Batch, frame_bytes: int) -> None:
    """A batch with something that is not shared, or not any more: nothing of it is stored."""
    turn.ignore()
    turn.say(Ack(batch.scope, (), frame_bytes))
    for run in batch.runs:
        turn.plan.drop(turn.peer, batch.scope, run.instance)
    if turn.is_shared(batch.scope):
        want(turn, batch.scope)


def _stir(turn: Turn) -> None:
    if turn.receiving.stalled:
        turn.receiving = turn.receiving._replace(stalled=False)


def _wantable(turn: Turn, scope: bytes) -> Vector:
    """Their vector of a scope without the logs that do not fit ours."""
    theirs = turn.knowledge.theirs.get(scope, {})
    unfit = turn.knowledge.unfit
    if not unfit:
        return theirs
    return {i: head for i, head in theirs.items() if (scope, i) not in unfit}


def _learn_runs(turn: Turn, scope: bytes, runs: tuple[Run, ...]) -> None:
    """Who sends entries holds them."""
    knowledge = turn.knowledge
    known = dict(knowledge.theirs.get(scope, {}))
    advanced = False
    for run in runs:
        before, last = known.get(run.instance), run.last_seq
        if before is None and len(known) >= VECTOR_ROWS_MAX:
            turn.ignore()
        elif before is None or before.seq < last:
            known[run.instance] = LogHead(run.author, last, b"")
            advanced = True
    if advanced:
        theirs = {**knowledge.theirs, scope: known}
        turn.knowledge = knowledge._replace(theirs=theirs, root_is_old=True)


def _judge_piece(turn: Turn, scope: bytes, instance: bytes, first: int, last: int) -> None:
    """Note whether entries that should have continued our log did."""
    head = turn.ours.head(scope, instance)
    held = head.seq if head else 0
    if held < last and first <= held + 1:
        turn.plan.drop(turn.peer, scope, instance)
        _set_fit(turn, scope, instance, False)
        turn.effects.append(WakeSessions())  # Another peer may have what fits.


def _set_fit(turn: Turn, scope: bytes, instance: bytes, fits: bool) -> None:
    unfit = turn.knowledge.unfit
    if fits == ((scope, instance) in unfit):
        turn.knowledge = turn.knowledge._replace(unfit=unfit ^ {(scope, instance)})


def _declare_forks(turn: Turn, scope: bytes, theirs: Vector) -> None:
    for fork in forks(turn.heads(scope), theirs):
        place = (scope, fork.instance, fork.seq)
        if place not in turn.knowledge.forks:
            turn.knowledge = turn.knowledge._replace(forks=turn.knowledge.forks | {place})
            turn.effects.append(DeclareFork(scope, *fork))
            if turn.may_move(scope):
                # They may not have heard of ours, and be the ones to do something about it.
                author = turn.heads(scope)[fork.instance].author
                turn.say(Have(scope, fork.instance, author, fork.seq, fork.ours))
