"""Held databases: what either side does not want now does not move, and is never called synced.

Invariants:
1. Of a database that either side holds nothing is wanted, served, pushed or announced. Digests
   and vectors of it go as ever, so both know that they differ.
2. Both sides forget what was wanted of it when it is held, and want anew when it is released;
   so nothing is served that was wanted before.
3. News of a held database are not announced, so a root that changed ends what was proved of it.

A handler changes the `Turn` it is given. It never raises for what a peer sent.

Spec: docs/protocol.md, section 7, "Held databases".
"""

from .messages import Hold
from .schedule import Schedule
from .session_events import Timer, WakeSessions
from .session_limits import ANNOUNCE_MS, HOLD_ROWS_MAX
from .session_phases import Phase
from .session_receiving import want_all
from .session_sending import serve, unannounced
from .session_state import Turn


def on_schedule(turn: Turn, schedule: Schedule) -> None:
    """Take another schedule: tell what we hold, stop what is held, go on with what is not."""
    before = turn.timing
    turn.timing = before._replace(schedule=schedule)
    tell_holds(turn)
    _settle(turn, before.schedule.held - schedule.held)


def on_hold(turn: Turn, hold: Hold) -> None:
    """The peer holds these databases now, and no others."""
    before, now = turn.timing.theirs, frozenset(hold.databases)
    if now != before:
        # Each change makes comparing worth its rounds again, so their number is bounded.
        turn.ignore()
        turn.timing = turn.timing._replace(theirs=now)
        _settle(turn, before - now)


def tell_holds(turn: Turn) -> None:
    """Say which databases we hold, of those that we share, if that is not what we said last."""
    held = turn.timing.schedule.held
    shared = turn.ours.databases(turn.sharing) if held else ()
    now = [database for database in shared if database in held][:HOLD_ROWS_MAX]
    if turn.timing.told != frozenset(now):
        turn.timing = turn.timing._replace(told=frozenset(now))
        turn.say(Hold(tuple(now)))


def root_moved(turn: Turn) -> None:
    """They hold something else than before: nothing is proved of what is not announced."""
    proofs = turn.knowledge.proofs
    kept = {scope: proof for scope, proof in proofs.items() if not turn.is_held(scope)}
    if len(kept) != len(proofs):
        turn.knowledge = turn.knowledge._replace(proofs=kept)


def _settle(turn: Turn, released: frozenset[bytes]) -> None:
    """Forget what was wanted of held databases; announce what is released, want and serve on."""
    given_up = False
    for scope, instance in turn.plan.claimed(turn.peer):
        if turn.is_held(scope):
            turn.plan.drop(turn.peer, scope, instance)
            given_up = True
    if given_up:
        turn.effects.append(WakeSessions())
    sending = turn.sending
    queue = tuple(item for item in sending.queue if not turn.is_held(item[0]))
    if len(queue) != len(sending.queue):
        turn.sending = sending._replace(queue=queue)
    if turn.phase in (Phase.GREETING, Phase.CLOSED):
        return
    news = {
        (scope, instance)
        for database in sorted(released)
        for scope in turn.ours.scopes_of(database, turn.sharing)
        for instance in unannounced(turn, scope)
    }
    if news:
        turn.telling = turn.telling._replace(announce=turn.telling.announce | news)
        turn.start(Timer.ANNOUNCE, ANNOUNCE_MS)
    turn.unsettle(moved=True)
    want_all(turn)
    serve(turn)
