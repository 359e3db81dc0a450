"""Standing: what may be said to a person about one peer and one scope.

A pure function of what a session knows. It says *synced* only if both digests of the scope were
compared and equal, and neither side is known to have moved since; everything else is a count, or
*unknown*. It works on the state of a closed session too, which tells how things stood at the end.

Spec: docs/protocol.md, section 7; docs/cli.md, `status`. Counts are entries.
"""

from dataclasses import dataclass
from enum import Enum

from .session_phases import Phase
from .session_state import SessionState
from .vectors import Holdings, ahead, entry_count, forks, missing


class Condition(Enum):
    """How a scope stands with a peer, in one word."""

    SYNCED = "synced"
    SYNCING = "syncing"
    BEHIND = "behind"
    AHEAD = "ahead"
    DIVERGED = "diverged"
    NOT_SHARED = "not-shared"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a scope stands with a peer. Counts are what is known, and a lower bound if UNKNOWN."""

    condition: Condition
    behind: int
    """Entries they hold and we do not."""
    ahead: int
    """Entries we hold and they do not, as far as they have acknowledged."""
    proved_at_ms: int | None
    """When digests matched last, monotonic; only SYNCED says that they still do."""


def scope_standing(state: SessionState, scope: bytes, ours: Holdings) -> Standing:
    """What the session knows about a scope that we know."""
    if not ours.is_shared(scope, state.sharing):
        return Standing(Condition.NOT_SHARED, 0, 0, None)
    mine = ours.heads(scope, state.sharing)
    knowledge = state.knowledge
    database, timing = ours.database(scope), state.timing
    is_held = database in timing.schedule.held or database in timing.theirs
    theirs = knowledge.theirs.get(scope, {})
    behind = entry_count(missing(mine, theirs))
    known = scope in knowledge.complete
    beyond = entry_count(ahead(mine, theirs)) if known else 0
    proof = knowledge.proofs.get(scope)
    proved_at_ms = proof.at_ms if proof else None
    unfit = any(log[0] == scope for log in knowledge.unfit)
    if unfit or forks(mine, theirs):
        condition = Condition.DIVERGED
    elif not known:
        condition = Condition.UNKNOWN
    elif (
        proof
        and not behind
        and not beyond
        and proof.digest == ours.scope_digest(scope, state.sharing)
    ):
        condition = Condition.SYNCED
    else:
        condition = _unproved(state, behind, beyond, is_held)
    return Standing(condition, behind, beyond, proved_at_ms)


def is_proved_whole(state: SessionState, scope: bytes, ours: Holdings) -> bool:
    """Whether the other side is proved to hold all that we hold of a scope, of every author.

    `SYNCED` is said of what both share, and that may be the logs of one author alone.
    """
    if ours.heads(scope, state.sharing) != ours.heads(scope):
        return False
    return scope_standing(state, scope, ours).condition is Condition.SYNCED


def _unproved(state: SessionState, behind: int, beyond: int, is_held: bool) -> Condition:
    """The word for a scope whose vectors are known and whose digests were not found equal."""
    idle = is_held or state.phase in (Phase.CLOSED, Phase.MEMBERSHIP)
    if not idle and not (behind and state.receiving.stalled):
        return Condition.SYNCING
    if behind:
        return Condition.BEHIND
    return Condition.AHEAD if beyond else Condition.UNKNOWN
