"""Comparing digests: membership first, then root, databases, scopes, down to the vectors.

Invariants:
1. While the control digests differ, nothing but the control scope is compared or asked for. A side
   that finds them equal says so (*root*) before anything about data.
2. Equal roots are a proof and end the comparison; only what differs is descended into.
3. A comparison (a *round*) is opened at most `ROUNDS_PER_CHANGE_MAX` times between two changes of
   our own holdings, or of theirs by entries of ours that they took, and only when nothing is in
   flight and no known difference explains that the roots differ. So a peer that lies can cost a
   few frames, never a loop.
4. In a round each side sends each digest list and each vector once.
5. Our digests are told once after each change, when `QUIET_MS` have passed without anything in
   flight; changes of the membership log are told at once. At rest nothing is sent.

A handler changes the `Turn` it is given. It never raises for what a peer sent.

Spec: docs/protocol.md, section 7, "Digests" and "Order", steps 1 to 3 and 7.
"""

from .messages import Digests, Greeting, Reason, Root, VectorMessage
from .session_events import DeclareGreeting, DeclareProof, Timer
from .session_holding import root_moved
from .session_limits import (
    CREDIT_BYTES_MAX,
    DIGEST_ROWS_MAX,
    QUIET_MS,
    VECTOR_ROWS_MAX,
)
from .session_phases import Cause, Phase
from .session_receiving import know, on_vector, want_all
from .session_sending import serve
from .session_state import Comparison, Proof, Turn
from .vectors import CONTROL_SCOPE, Vector, ahead, forks, missing


def on_greeting(turn: Turn, greeting: Greeting) -> None:
    """Learn who they are and what they hold, as digests."""
    if greeting.version != turn.version:
        turn.close(
            Reason.NO_SHARED_VERSION,
            f"version {turn.version} was agreed on, not {greeting.version}",
        )
        return
    turn.stop(Timer.GREETING)
    turn.effects.append(DeclareGreeting(greeting.features, greeting.device_state))
    turn.sending = turn.sending._replace(credit=min(greeting.credit, CREDIT_BYTES_MAX))
    turn.knowledge = turn.knowledge._replace(control=greeting.control, root=greeting.root)
    if greeting.floors:
        turn.floors = greeting.floors
        turn.sharing = turn.sharing.with_floors(turn.floors)
        # Our greeting had the root of what we would have shared with a device that takes all.
        turn.tell()
    settle_control(turn)


def on_root(turn: Turn, message: Root) -> None:
    """Learn their digests now; equal ones prove that we are in sync."""
    if message.root != turn.knowledge.root:
        root_moved(turn)
    turn.knowledge = turn.knowledge._replace(
        control=message.control, root=message.root, root_is_old=False
    )
    before = turn.phase
    settle_control(turn)
    if before is turn.phase and turn.phase in (Phase.COMPARING, Phase.STREAMING):
        if turn.ours.root(turn.sharing) == message.root:
            prove(turn)
        else:
            turn.unsettle()


def settle_control(turn: Turn) -> None:
    """Compare the control digests, and move into or out of MEMBERSHIP accordingly."""
    digest, theirs = turn.ours.control_digest(), turn.knowledge.control
    turn.meet(heard=theirs)
    if digest != theirs:
        if turn.phase is not Phase.MEMBERSHIP:
            turn.enter(Cause.CONTROL_DIFFERS)
        if not turn.knowledge.root_is_old and not _differs(turn, CONTROL_SCOPE):
            send_vector(turn, CONTROL_SCOPE)
        return
    assert turn.telling.told is not None, "compared before we greeted"
    if turn.telling.told[0] != digest:
        turn.tell()
    know(turn, CONTROL_SCOPE, turn.heads(CONTROL_SCOPE))
    if turn.phase in (Phase.GREETING, Phase.MEMBERSHIP):
        _leave_membership(turn)


def open_round(turn: Turn) -> None:
    """Compare from the root down, if that is still worth a round."""
    comparison = turn.comparison
    if not comparison.rounds_left:
        if turn.phase is not Phase.STREAMING:
            turn.enter(Cause.ROUNDS_SPENT)
        return
    if turn.phase is not Phase.COMPARING:
        turn.enter(Cause.ROOTS_DIFFER)
    scopes = frozenset(turn.ours.scopes(turn.sharing))
    turn.comparison = Comparison(comparison.rounds_left - 1, is_open=True, scopes=scopes)
    complete = turn.knowledge.complete & {CONTROL_SCOPE}
    turn.knowledge = turn.knowledge._replace(complete=complete)
    turn.say(Digests(0, b"", turn.ours.database_rows(turn.sharing)))


def on_digests(turn: Turn, message: Digests) -> None:
    """Descend where their digests differ from ours."""
    if turn.phase is Phase.MEMBERSHIP:
        turn.comparison = turn.comparison._replace(disturbed=True)
        return
    if message.level == 0:
        _compare_databases(turn, message)
    else:
        _compare_scopes(turn, message)
    finish_round(turn)


def on_their_vector(turn: Turn, message: VectorMessage) -> None:
    """Learn a vector, and answer with ours if it differs and they do not have it."""
    scope = message.scope
    if not turn.is_shared(scope):
        turn.ignore()
        # An operation that is just being applied may say that it is; they do not tell it again.
        turn.comparison = turn.comparison._replace(disturbed=True)
        return
    on_vector(turn, message)
    if not turn.may_send(scope):
        turn.comparison = turn.comparison._replace(disturbed=True)
        return
    if _differs(turn, scope):
        send_vector(turn, scope)
    finish_round(turn)


def send_vector(turn: Turn, scope: bytes) -> None:
    """Send our vector of a scope unless they have had exactly this one in this round."""
    digest = turn.scope_digest(scope)
    if turn.comparison.vectors.get(scope) == digest:
        return
    vectors = {**turn.comparison.vectors, scope: digest}
    turn.comparison = turn.comparison._replace(vectors=vectors)
    heads = sorted((instance, *head) for instance, head in turn.heads(scope).items())
    turn.say(VectorMessage(scope, tuple(heads[:VECTOR_ROWS_MAX])))


def prove(turn: Turn) -> None:
    """Both digests match: what they hold is what we hold, in every shared scope."""
    if turn.ours.control_digest() != turn.knowledge.control:
        # Our own has just moved on; the news of it comes to this session next, and settles it.
        turn.unsettle()
        return
    scopes = (CONTROL_SCOPE, *turn.ours.scopes(turn.sharing))
    digests = (turn.ours.control_digest(), turn.ours.root(turn.sharing))
    turn.knowledge = turn.knowledge._replace(
        root=digests[1],
        theirs={scope: turn.heads(scope) for scope in scopes},
        complete=frozenset(scopes),
        wanting=frozenset(),
        unfit=frozenset(),
        root_is_old=False,
        proofs={s: Proof(turn.scope_digest(s), turn.now_ms) for s in scopes},
        proved=digests,
    )
    if turn.comparison.is_open or turn.comparison.disturbed:
        turn.comparison = turn.comparison._replace(is_open=False, disturbed=False)
    if turn.phase is not Phase.STREAMING:
        turn.enter(Cause.ROOTS_EQUAL)
    turn.effects.append(DeclareProof(digests[1], digests[0]))


def finish_round(turn: Turn) -> None:
    """Stream once every vector is known."""
    left = turn.comparison.scopes - turn.knowledge.complete
    if turn.phase is Phase.COMPARING and not any(turn.is_shared(scope) for scope in left):
        turn.comparison = turn.comparison._replace(is_open=False)
        turn.enter(Cause.VECTORS_KNOWN)
        turn.unsettle()


def rest(turn: Turn) -> None:
    """At the end of every step: once nothing is in flight, let the quiet begin."""
    if Timer.STALL in turn.timers and not turn.plan.in_flight(turn.peer):
        turn.stop(Timer.STALL)
    if (
        turn.telling.unsettled
        and Timer.QUIET not in turn.timers
        and turn.phase not in (Phase.GREETING, Phase.CLOSED)
        and _is_quiet(turn)
    ):
        if turn.telling.moved:
            turn.telling = turn.telling._replace(moved=False)
        turn.start(Timer.QUIET, QUIET_MS)


def on_quiet_timer(turn: Turn) -> None:
    """Nothing has been in flight for a while: tell our digests and judge theirs."""
    if not _is_quiet(turn):
        return
    if turn.telling.moved and turn.plan.is_busy_besides(turn.peer):
        return  # Others are still bringing entries; `rest` starts the timer again.
    turn.telling = turn.telling._replace(unsettled=False)
    turn.tell()
    settle_control(turn)
    knowledge = turn.knowledge
    if turn.phase not in (Phase.COMPARING, Phase.STREAMING):
        return
    if turn.ours.root(turn.sharing) == knowledge.root:
        if not knowledge.wanting and knowledge.proved != turn.telling.told:
            prove(turn)
        return
    if knowledge.root_is_old:
        return
    if turn.phase is Phase.COMPARING:
        if turn.comparison.disturbed:
            open_round(turn)  # What was not heard in this one may be what it waits for.
        return
    scopes = turn.ours.scopes(turn.sharing)
    known = any(_differs(turn, scope) for scope in scopes if not turn.is_held(scope))
    # Roots that differ where every scope of ours is proved: they have one that we do not know.
    waits = any(turn.is_held(scope) and _differs(turn, scope) for scope in scopes)
    if not known and not (waits and all(_is_settled(turn, scope) for scope in scopes)):
        open_round(turn)


def _is_settled(turn: Turn, scope: bytes) -> bool:
    """Whether it is known how a scope stands: it is proved, or it is held and differs.

    If all are, roots that differ are explained, and comparing again would tell nothing new.
    """
    proof = turn.knowledge.proofs.get(scope)
    if proof is not None and proof.digest == turn.scope_digest(scope):
        return True
    return turn.is_held(scope) and _differs(turn, scope)


def _leave_membership(turn: Turn) -> None:
    """The control digests are equal: begin with data, or go on with it where it stood."""
    equal = turn.ours.root(turn.sharing) == turn.knowledge.root
    if equal and not turn.knowledge.wanting:
        prove(turn)
    elif turn.phase is Phase.GREETING or turn.comparison.disturbed or not _all_known(turn):
        open_round(turn)
    else:
        turn.enter(Cause.VECTORS_KNOWN)
        turn.unsettle()
    want_all(turn)
    serve(turn)


def _compare_databases(turn: Turn, message: Digests) -> None:
    if message.rows == turn.ours.database_rows(turn.sharing):
        prove(turn)
        return
    if not turn.comparison.is_open or turn.comparison.heard:
        if not turn.comparison.rounds_left:
            turn.ignore()
            return
        open_round(turn)
    turn.comparison = turn.comparison._replace(heard=True)
    rows = dict(message.rows)
    equal: list[bytes] = []
    absent: list[bytes] = []
    for database in turn.ours.databases(turn.sharing):
        mine = turn.ours.database_digest(database, turn.sharing)
        theirs = rows.pop(database, None)
        scopes = turn.ours.scopes_of(database, turn.sharing)
        if mine == theirs:
            equal += scopes
        elif theirs is None:
            absent += scopes
            if turn.ours.has_buckets(database):
                # They find out what a bucket is of by its database, which no vector names.
                _send_scope_digests(turn, database)
        else:
            _send_scope_digests(turn, database)
    turn.ignore(len(rows))
    _know_compared(turn, equal, absent)


def _compare_scopes(turn: Turn, message: Digests) -> None:
    rows = dict(message.rows)
    equal: list[bytes] = []
    absent: list[bytes] = []
    for scope in turn.ours.scopes_of(message.node, turn.sharing):
        theirs = rows.pop(scope, None)
        mine = turn.scope_digest(scope) if turn.heads(scope) else None
        if mine == theirs:
            equal.append(scope)
        elif theirs is None:
            absent.append(scope)
        else:
            send_vector(turn, scope)
    turn.ignore(len(rows))
    _know_compared(turn, equal, absent)


def _know_compared(turn: Turn, equal: list[bytes], absent: list[bytes]) -> None:
    """These scopes are the same there; of those they hold nothing, so they get our vectors."""
    knowledge = turn.knowledge
    held = {scope: turn.heads(scope) for scope in equal}
    proofs = {scope: Proof(turn.scope_digest(scope), turn.now_ms) for scope in equal}
    none: dict[bytes, Vector] = {scope: {} for scope in absent}
    turn.knowledge = knowledge._replace(
        theirs={**knowledge.theirs, **held, **none},
        complete=knowledge.complete | held.keys() | none.keys(),
        wanting=knowledge.wanting - held.keys() - none.keys(),
        proofs={**knowledge.proofs, **proofs},
    )
    for scope in absent:
        if turn.heads(scope):
            send_vector(turn, scope)


def _send_scope_digests(turn: Turn, database: bytes) -> None:
    if database in turn.comparison.nodes:
        return
    nodes = turn.comparison.nodes | {database}
    turn.comparison = turn.comparison._replace(nodes=nodes)
    rows = turn.ours.scope_rows(database, turn.sharing)
    # Of scopes that are not named they send their vectors, if they have them.
    turn.say(Digests(1, database, rows[:DIGEST_ROWS_MAX]))


def _all_known(turn: Turn) -> bool:
    return turn.knowledge.complete.issuperset(turn.ours.scopes(turn.sharing))


def _is_quiet(turn: Turn) -> bool:
    sending = turn.sending
    return not (
        turn.receiving.storing
        or sending.reading
        or sending.queue
        or (sending.sent and sending.unacked)
        or turn.telling.announce
        or turn.plan.in_flight(turn.peer)
    )


def _differs(turn: Turn, scope: bytes) -> bool:
    """Whether what we know of their vector differs from ours."""
    ours, theirs = turn.heads(scope), turn.knowledge.theirs.get(scope, {})
    if missing(ours, theirs) or forks(ours, theirs):
        return True
    return scope in turn.knowledge.complete and bool(ahead(ours, theirs))
