"""From us to the peer: wants answered in batches, new entries pushed, others announced.

Invariants:
1. Bytes of batches that were sent and not acknowledged never exceed the credit the peer gave.
2. At most one `ReadEntries` is unanswered. The most urgent want is answered first, of several
   the one that came first; what is not urgent leaves some credit to what is.
3. Nothing of a scope that is not shared, or held, is read or sent, even if it was when it was
   wanted.
4. While the control digests differ only the control scope is served; the other wants stay queued.
5. A pushed entry follows directly on what the peer holds or was sent before on this channel.
6. Two batches are on the way at most, each as large as the link has shown to carry in good time:
   twice as large after a quick acknowledgement, half as large after a slow one or a broken link.

A handler changes the `Turn` it is given and returns nothing. It never raises for what a peer
sent. Bounds: session_limits.py.

Spec: docs/protocol.md, section 7, "Order", steps 5 and 6. Credit counts bytes of whole frames.
"""

from .messages import Ack, Have, Reason, Run, Want, encode_batch
from .schedule import RANK_DEFAULT
from .session_events import EntriesRead, HeadsAdvanced, ReadEntries, SendFrame, Timer
from .session_limits import (
    ANNOUNCE_MS,
    BATCH_BYTES_SLOW_MIN,
    BATCH_FAST_MS,
    BATCH_SLOW_MS,
    CREDIT_BYTES_MAX,
    FRAME_BYTES_MAX,
    READ_CREDIT_BYTES_MIN,
    ROUNDS_PER_CHANGE_MAX,
    RUNS_PER_BATCH_MAX,
    URGENT_CREDIT_BYTES,
    WANTS_QUEUED_MAX,
)
from .session_phases import Phase
from .session_state import Log, SessionState, Turn
from .vectors import CONTROL_SCOPE, LogHead, Range


def on_want(turn: Turn, want: Want) -> None:
    """Queue what they want and we hold, and serve."""
    if not turn.is_shared(want.scope):
        turn.ignore()
        return
    if turn.is_held(want.scope):
        return  # It crossed with a hold, and they will want it again.
    found = []
    for instance, first, last in want.ranges:
        head = turn.head(want.scope, instance)
        if head is None or head.seq < first:
            turn.ignore()
        else:
            found.append((want.scope, (instance, first, min(last, head.seq))))
    queue = turn.sending.queue + tuple(found)
    if len(queue) > WANTS_QUEUED_MAX:
        turn.close(Reason.TOO_MUCH, f"more than {WANTS_QUEUED_MAX} ranges are wanted")
        return
    turn.sending = turn.sending._replace(queue=queue)
    serve(turn)


def serve(turn: Turn) -> None:
    """Read the next entries for the peer, if something is wanted and the credit is worth it."""
    sending = turn.sending
    if sending.reading is not None or not sending.queue or turn.phase is Phase.CLOSED:
        return
    queue = tuple(item for item in sending.queue if turn.head(item[0], item[1][0]) is not None)
    ready = dict.fromkeys(scope for scope, _ in queue if turn.may_move(scope))
    scope = min(ready, key=turn.their_rank, default=None)
    room = 0 if scope is None else _room(turn, scope)
    if scope is None or not room or sending.credit < sending.credit_floor:
        turn.sending = sending._replace(queue=queue)
        return
    picked = [item for item in queue if item[0] == scope][:RUNS_PER_BATCH_MAX]
    taken = set(picked)
    reading = ReadEntries(
        scope,
        tuple(wanted for _, wanted in picked),
        room,
    )
    left = tuple(item for item in queue if item not in taken)
    turn.sending = sending._replace(queue=left, reading=reading)
    turn.effects.append(reading)


def _room(turn: Turn, scope: bytes) -> int:
    """How many bytes the next batch of a scope may have; 0 if it has to wait."""
    sending = turn.sending
    window = sending.credit + sending.unacked
    target = min(sending.target, max(READ_CREDIT_BYTES_MIN, window // 2))
    slow = turn.timing.schedule.batch_bytes
    if slow:
        target = min(target, slow.get(turn.ours.database(scope), target))
    # With nothing unacknowledged no more credit will come, so whatever there is must do.
    if not (sending.sent and sending.unacked):
        return min(target, sending.credit)
    is_urgent = turn.their_rank(scope) <= RANK_DEFAULT
    spare = sending.credit - (0 if is_urgent else URGENT_CREDIT_BYTES)
    room = min(target, spare, 2 * target - sending.unacked)
    return room if room >= min(READ_CREDIT_BYTES_MIN, target) else 0


def on_entries_read(turn: Turn, event: EntriesRead) -> None:
    """Send what was read, if it may still go; put back what is left to read."""
    reading = turn.sending.reading
    assert reading is not None and reading.scope == event.scope, "nobody asked for these entries"
    turn.sending = turn.sending._replace(reading=None)
    # While they were read somebody may have decided otherwise.
    if event.runs and all(turn.shares(event.scope, run.author) for run in event.runs):
        frame = encode_batch(event.scope, event.runs)
        if turn.is_held(event.scope):
            pass  # They will want it again when it is released.
        elif not turn.may_send(event.scope):
            _put_back(turn, event.scope, reading.ranges)
        elif len(frame) > turn.sending.credit:
            turn.sending = turn.sending._replace(credit_floor=len(frame))
            _put_back(turn, event.scope, reading.ranges)
        else:
            _send_batch(turn, frame, event.scope, event.runs)
            if not event.done:
                _put_back(turn, event.scope, _rest(reading.ranges, event.runs))
    serve(turn)


def on_ack(turn: Turn, ack: Ack) -> None:
    """Take the credit, learn what is durable there, and serve on."""
    sending = turn.sending
    turn.sending = sending._replace(
        credit=min(sending.credit + ack.credit, CREDIT_BYTES_MAX),
        unacked=max(0, sending.unacked - ack.credit),
    )
    _time_batch(turn, ack.credit)
    if turn.is_shared(ack.scope):
        _learn_acked(turn, ack)
    elif ack.heads:
        turn.ignore()
    if not turn.sending.unacked:
        # All was answered; what they did not take they may want, and will say so.
        turn.sending = turn.sending._replace(sent={})
    serve(turn)


def push_or_announce(turn: Turn, event: HeadsAdvanced) -> None:
    """Bring a new entry to the peer: at once if it continues what they hold, else by name."""
    scope, instance = event.scope, event.instance
    if turn.phase is Phase.GREETING or (scope != CONTROL_SCOPE and not turn.telling.met):
        return  # They will find it when vectors are compared.
    if turn.is_held(scope):
        return  # It is announced when it is released.
    held = _their_seq(turn, scope, instance)
    if held >= event.seq:
        return
    frame, sending = event.frame, turn.sending
    if (
        frame is not None
        and event.prev_seq == held
        and scope in turn.knowledge.complete
        and turn.may_send(scope)
        and len(frame) <= _credit_for(turn, scope)
        and not sending.credit_floor
    ):
        turn.effects.append(SendFrame(frame))
        _count_sent(turn, len(frame), {(scope, instance): event.seq})
    elif Timer.ANNOUNCE in turn.timers:
        announce = turn.telling.announce | {(scope, instance)}
        turn.telling = turn.telling._replace(announce=announce)
    else:
        turn.say(Have(scope, instance, event.author, event.seq, event.entry_id))
        turn.start(Timer.ANNOUNCE, ANNOUNCE_MS)


def on_announce_timer(turn: Turn) -> None:
    """Announce the heads that moved while the timer ran."""
    logs = sorted(turn.telling.announce)
    turn.telling = turn.telling._replace(announce=frozenset())
    for scope, instance in logs:
        head = turn.head(scope, instance)
        if turn.is_held(scope):
            continue
        if head is not None and _their_seq(turn, scope, instance) < head.seq:
            turn.say(Have(scope, instance, *head))
            turn.start(Timer.ANNOUNCE, ANNOUNCE_MS)


def unannounced(turn: Turn, scope: bytes) -> list[bytes]:
    """The logs of a scope, by instance, of which we hold more than they have heard of."""
    heads = turn.heads(scope)
    return [i for i, head in heads.items() if _their_seq(turn, scope, i) < head.seq]


def next_batch_bytes(state: SessionState, is_broken: bool) -> int:
    """How large batches on the next link to this device should be.

    Half as large, down to one entry, if the link broke while some were on their way.
    """
    target = state.sending.target
    return max(1, target // 2) if is_broken and state.sending.unacked else target


def _credit_for(turn: Turn, scope: bytes) -> int:
    """The credit that a push may take: what is not urgent leaves some, and waits its turn."""
    sending, rank = turn.sending, turn.their_rank(scope)
    if any(turn.their_rank(wanted) < rank for wanted, _ in sending.queue):
        return 0
    return sending.credit - (0 if rank <= RANK_DEFAULT else URGENT_CREDIT_BYTES)


def _time_batch(turn: Turn, credit: int) -> None:
    """Acknowledged bytes: if they end the batch that is timed, learn how large one may be."""
    sending = turn.sending
    if sending.probe is None:
        return
    left, sent_ms = sending.probe[0] - credit, sending.probe[1]
    if left > 0:
        turn.sending = sending._replace(probe=(left, sent_ms))
        return
    target, took_ms = sending.target, turn.now_ms - sent_ms
    if took_ms <= BATCH_FAST_MS:
        target = min(2 * target, FRAME_BYTES_MAX)
    elif took_ms >= BATCH_SLOW_MS:
        target = max(target // 2, min(target, BATCH_BYTES_SLOW_MIN))
    turn.sending = sending._replace(target=target, probe=None)


def _their_seq(turn: Turn, scope: bytes, instance: bytes) -> int:
    """How far they hold a log, or will once what we sent has arrived."""
    known = turn.knowledge.theirs.get(scope, {}).get(instance)
    return max(turn.sending.sent.get((scope, instance), 0), known.seq if known else 0)


def _send_batch(turn: Turn, frame: bytes, scope: bytes, runs: tuple[Run, ...]) -> None:
    turn.effects.append(SendFrame(frame))
    _count_sent(turn, len(frame), {(scope, run.instance): run.last_seq for run in runs})
    sending = turn.sending
    # A batch of little tells nothing of how a large one would do.
    if sending.probe is None and 4 * len(frame) >= sending.target:
        turn.sending = sending._replace(probe=(sending.unacked, turn.now_ms))


def _count_sent(turn: Turn, frame_bytes: int, logs: dict[Log, int]) -> None:
    sending = turn.sending
    sent = dict(sending.sent)
    for log, seq in logs.items():
        sent[log] = max(seq, sent.get(log, 0))
    turn.sending = sending._replace(
        credit=sending.credit - frame_bytes,
        unacked=sending.unacked + frame_bytes,
        credit_floor=0,
        sent=sent,
    )


def _put_back(turn: Turn, scope: bytes, ranges: tuple[Range, ...]) -> None:
    back = tuple((scope, wanted) for wanted in ranges)
    turn.sending = turn.sending._replace(queue=back + turn.sending.queue)


def _rest(ranges: tuple[Range, ...], runs: tuple[Run, ...]) -> tuple[Range, ...]:
    """What of `ranges` the runs do not reach."""
    reached: dict[bytes, int] = {}
    for run in runs:
        reached[run.instance] = max(run.last_seq, reached.get(run.instance, 0))
    rest = []
    for instance, first, last in ranges:
        start = max(first, reached.get(instance, 0) + 1)
        if start <= last:
            rest.append((instance, start, last))
    return tuple(rest)


def _learn_acked(turn: Turn, ack: Ack) -> None:
    knowledge = turn.knowledge
    known = dict(knowledge.theirs.get(ack.scope, {}))
    sent = dict(turn.sending.sent)
    advanced = taken = False
    for instance, seq in ack.heads:
        head = turn.head(ack.scope, instance)
        if head is None:
            turn.ignore()
            continue
        if sent.get((ack.scope, instance), seq + 1) <= seq:
            del sent[(ack.scope, instance)]
            taken = True
        before = known.get(instance)
        if before is None or before.seq < seq:
            known[instance] = LogHead(head.author, seq, b"")
            advanced = True
    turn.sending = turn.sending._replace(sent=sent)
    if advanced:
        theirs = {**knowledge.theirs, ack.scope: known}
        turn.knowledge = knowledge._replace(theirs=theirs, root_is_old=True)
    if taken:
        # While something is held roots differ, and only comparing proves what they took.
        turn.comparison = turn.comparison._replace(rounds_left=ROUNDS_PER_CHANGE_MAX)
