"""The state of one session with one peer, and the working copy that one step changes.

`SessionState` is a value: a tuple of five groups by subject, safe to keep and to compare. `Turn` is
what the handlers of a single `step` work on: the groups, the effects so far and what the step was
given. It is made at the start of a step and frozen into the next state at its end; nothing outlives
it. Vectors in a state are never changed in place. The groups are named tuples, because a step makes
several of them, and a frozen dataclass takes several times as long to make.

Here stand only the acts that every handler needs: say something, arm a timer, move to a phase,
close. What to do when stands in session.py and its parts.

Spec: docs/protocol.md, section 7. Sizes are bytes, times monotonic milliseconds.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from .demand import Ask, Demand
from .fetch import FetchPlan
from .messages import Goodbye, Message, Reason, Root, encode
from .schedule import OPEN, RANK_CONTROL, RANK_DEFAULT, Schedule
from .session_events import (
    Close,
    Effect,
    ReadEntries,
    SendFrame,
    StartTimer,
    StopTimer,
    Timer,
    WakeSessions,
)
from .session_limits import (
    BATCH_BYTES_TARGET,
    CONTROLS_TOLD_MAX,
    CREDIT_BYTES,
    PROTOCOL_VERSION,
    ROUNDS_PER_CHANGE_MAX,
    TEXT_BYTES_MAX,
)
from .session_phases import TRANSITIONS, Cause, Phase
from .sharing import NOTHING, Sharing
from .vectors import CONTROL_SCOPE, Holdings, LogHead, Range, Vector

_NONE: Mapping[Any, Any] = MappingProxyType({})

Log = tuple[bytes, bytes]
"""Scope and instance."""


class Proof(NamedTuple):
    """A scope's digest was the same on both sides at a moment."""

    digest: bytes
    at_ms: int


class Knowledge(NamedTuple):
    """What we know of the peer's holdings."""

    control: bytes = b""
    """The control digest they told last."""
    root: bytes = b""
    """The root digest they told last."""
    root_is_old: bool = False
    """They have gained entries since, so another root is to come."""
    theirs: Mapping[bytes, Vector] = _NONE
    """By scope. Complete only for the scopes in `complete`; ids may be empty (LogHead)."""
    complete: frozenset[bytes] = frozenset()
    wanting: frozenset[bytes] = frozenset()
    """Scopes of which they hold entries that we do not."""
    unfit: frozenset[Log] = frozenset()
    """Logs whose next entries from this peer did not continue ours."""
    forks: frozenset[tuple[bytes, bytes, int]] = frozenset()
    """(scope, instance, seq) that were declared."""
    proofs: Mapping[bytes, Proof] = _NONE
    proved: tuple[bytes, bytes] | None = None
    """The (control, root) that was declared last."""


class Telling(NamedTuple):
    """What the peer knows of us."""

    told: tuple[bytes, bytes] | None = None
    """(control, root) as last sent."""
    controls_told: frozenset[bytes] = frozenset()
    controls_heard: frozenset[bytes] = frozenset()
    """All that either side told, kept until `met`: news may have crossed on the way."""
    met: bool = False
    """A control digest that they told is one that we told: both know that data may flow."""
    unsettled: bool = False
    """Something changed since digests were last compared in quiet."""
    moved: bool = False
    """Our holdings changed since the QUIET timer was started."""
    announce: frozenset[Log] = frozenset()
    ask: Ask | None = None
    """What we take on demand, to be told as soon as data may flow."""
    echoes: int = 0
    """How often we told it, and have not had it back. Until then they compare under other terms."""


class Comparison(NamedTuple):
    """The descent from root to vectors. One side opens a round, the other joins it."""

    rounds_left: int = ROUNDS_PER_CHANGE_MAX
    is_open: bool = False
    scopes: frozenset[bytes] = frozenset()
    """What was shared when it began. A scope that becomes known later is for the next round."""
    heard: bool = False
    """Their level-0 digests of this round have come."""
    nodes: frozenset[bytes] = frozenset()
    """Databases whose level-1 digests were sent in this round."""
    vectors: Mapping[bytes, bytes] = _NONE
    """Scope to its digest when our vector was last sent."""
    disturbed: bool = False
    """Digests or vectors came while only membership was spoken of."""


class Sending(NamedTuple):
    """Batches from us to them."""

    credit: int = 0
    unacked: int = 0
    queue: tuple[tuple[bytes, Range], ...] = ()
    """What they want, oldest first: scope and range."""
    reading: ReadEntries | None = None
    credit_floor: int = 0
    """Credit that the next read needs, because the last one gave more than was left."""
    sent: Mapping[Log, int] = _NONE
    """The last seq sent of each log, where it is beyond what they acknowledged."""
    target: int = BATCH_BYTES_TARGET
    """How large a batch may be on this link, as far as we found out."""
    probe: tuple[int, int] | None = None
    """The batch whose acknowledgement is timed: bytes until then, and when it was sent."""


class Receiving(NamedTuple):
    """Batches from them to us."""

    credit: int = CREDIT_BYTES
    storing: tuple[tuple[bytes, tuple[Range, ...], Vector], ...] = ()
    """Batches given to the store and not answered, oldest first: scope, runs, our heads then."""
    stalled: bool = False
    """They did not send what we wanted; nothing is wanted from them until they stir."""
    progress: bool = False
    """A batch came since the STALL timer was started."""


class Timing(NamedTuple):
    """What waits, here and there, and what goes first."""

    schedule: Schedule = OPEN
    told: frozenset[bytes] = frozenset()
    """The databases that we last said we hold."""
    theirs: frozenset[bytes] = frozenset()
    """The databases that they last said they hold."""


class SessionState(NamedTuple):
    """Everything one session remembers. A new one is a session before `Opened`."""

    phase: Phase = Phase.GREETING
    peer: bytes = b""
    sharing: Sharing = NOTHING
    knowledge: Knowledge = Knowledge()
    telling: Telling = Telling()
    comparison: Comparison = Comparison()
    sending: Sending = Sending()
    receiving: Receiving = Receiving()
    timers: frozenset[Timer] = frozenset()
    ignored: int = 0
    """Rows and frames about scopes and logs that we do not share or know."""
    version: int = PROTOCOL_VERSION
    """The protocol version that the hellos agreed on, which both greetings repeat."""
    floors: tuple[tuple[bytes, int], ...] = ()
    """(database tag, oldest time bucket that the peer takes), as its greeting said."""
    timing: Timing = Timing()


class Turn:
    """One step in the making."""

    __slots__ = (
        "comparison",
        "effects",
        "floors",
        "ignored",
        "knowledge",
        "now_ms",
        "ours",
        "peer",
        "phase",
        "plan",
        "receiving",
        "sending",
        "sharing",
        "telling",
        "timers",
        "timing",
        "version",
    )

    def __init__(self, state: SessionState, ours: Holdings, plan: FetchPlan, now_ms: int) -> None:
        self.phase = state.phase
        self.peer = state.peer
        self.sharing = state.sharing
        self.knowledge = state.knowledge
        self.telling = state.telling
        self.comparison = state.comparison
        self.sending = state.sending
        self.receiving = state.receiving
        self.timers = state.timers
        self.ignored = state.ignored
        self.version = state.version
        self.floors = state.floors
        self.timing = state.timing
        self.effects: list[Effect] = []
        self.ours = ours
        self.plan = plan
        self.now_ms = now_ms

    def freeze(self) -> SessionState:
        """The state after the step."""
        return SessionState(
            self.phase,
            self.peer,
            self.sharing,
            self.knowledge,
            self.telling,
            self.comparison,
            self.sending,
            self.receiving,
            self.timers,
            self.ignored,
            self.version,
            self.floors,
            self.timing,
        )

    def say(self, message: Message) -> None:
        """Send a message."""
        self.effects.append(SendFrame(encode(message)))

    def start(self, timer: Timer, duration_ms: int) -> None:
        """Start a timer unless it runs."""
        if timer not in self.timers:
            self.timers |= {timer}
            self.effects.append(StartTimer(timer, duration_ms))

    def stop(self, timer: Timer) -> None:
        """Stop a timer if it runs."""
        if timer in self.timers:
            self.timers -= {timer}
            self.effects.append(StopTimer(timer))

    def enter(self, cause: Cause) -> None:
        """Move to the phase that the table names."""
        causes = TRANSITIONS[self.phase]
        assert cause in causes, f"{self.phase.name} knows no {cause.name}"
        self.phase = causes[cause]

    def close(self, reason: Reason, text: str, *, farewell: bool = True) -> None:
        """End the session: say why unless told not to, free what was claimed, stop all timers."""
        if self.phase is Phase.CLOSED:
            return
        text = text.encode()[:TEXT_BYTES_MAX].decode(errors="ignore")
        if farewell:
            self.say(Goodbye(reason, text))
        for timer in sorted(self.timers, key=lambda timer: timer.value):
            self.stop(timer)
        if self.plan.release(self.peer):
            self.effects.append(WakeSessions())
        self.enter(Cause.ENDED)
        self.effects.append(Close(reason, text))

    def ignore(self, count: int = 1) -> None:
        """Count what an honest peer might send and we cannot use; `step` bounds the count."""
        self.ignored += count

    def is_shared(self, scope: bytes) -> bool:
        """Whether the peer may hear of this scope; the control scope always."""
        return self.ours.is_shared(scope, self.sharing)

    def shares(self, scope: bytes, author: bytes) -> bool:
        """Whether the peer may hear of this author's logs of this scope."""
        return self.ours.shares(scope, author, self.sharing)

    def heads(self, scope: bytes) -> Vector:
        """Our vector of a scope, as far as it is shared."""
        return self.ours.heads(scope, self.sharing)

    def head(self, scope: bytes, instance: bytes) -> LogHead | None:
        """Our head of a log, if it is shared."""
        head = self.ours.head(scope, instance)
        return head if head is not None and self.shares(scope, head.author) else None

    def scope_digest(self, scope: bytes) -> bytes:
        """The digest of `heads`."""
        return self.ours.scope_digest(scope, self.sharing)

    def may_send(self, scope: bytes) -> bool:
        """Whether vectors, wants and batches of this scope may go out in this phase."""
        if scope == CONTROL_SCOPE:
            return self.phase not in (Phase.GREETING, Phase.CLOSED)
        return self.phase in (Phase.COMPARING, Phase.STREAMING)

    def is_held(self, scope: bytes) -> bool:
        """Whether a known scope's database waits, here or there. The control scope never does."""
        timing = self.timing
        if not (timing.schedule.held or timing.theirs):
            return False
        database = self.ours.database(scope)
        return database in timing.schedule.held or database in timing.theirs

    def may_move(self, scope: bytes) -> bool:
        """Whether wants and batches of this scope may go out now."""
        return self.may_send(scope) and not self.is_held(scope)

    def rank(self, scope: bytes) -> int:
        """How urgently we want a known scope; less is more urgent."""
        return self._rank(scope, self.timing.schedule.ranks)

    def their_rank(self, scope: bytes) -> int:
        """How urgently they want it."""
        return self._rank(scope, self.timing.schedule.their_ranks)

    def _rank(self, scope: bytes, ranks: Mapping[bytes, int]) -> int:
        if scope == CONTROL_SCOPE:
            return RANK_CONTROL
        return ranks.get(self.ours.database(scope), RANK_DEFAULT) if ranks else RANK_DEFAULT

    def tell(self) -> None:
        """Send our digests if they are not what was last told."""
        now = (self.ours.control_digest(), self.ours.root(self.sharing))
        if now == self.telling.told:
            return
        self.remember_told(now)
        self.say(Root(*now))

    def remember_told(self, now: tuple[bytes, bytes]) -> None:
        """Note that these digests were sent."""
        self.telling = self.telling._replace(told=now)
        self.meet(told=now[0])

    def meet(self, *, told: bytes | None = None, heard: bytes | None = None) -> None:
        """Note a control digest that was told or heard, until one is both."""
        telling = self.telling
        if telling.met:
            return
        our_controls = telling.controls_told | ({told} if told else set())
        their_controls = telling.controls_heard | ({heard} if heard else set())
        if our_controls & their_controls:
            self.telling = telling._replace(
                met=True, controls_told=frozenset(), controls_heard=frozenset(), ask=None
            )
            if telling.ask is not None:
                self._say_ask(telling.ask)
        elif max(len(our_controls), len(their_controls)) <= CONTROLS_TOLD_MAX:
            self.telling = telling._replace(
                controls_told=our_controls, controls_heard=their_controls
            )

    def demand(self, message: Demand) -> None:
        """Ask or answer. Before data may flow only the last *ask* is kept, and told then."""
        if not isinstance(message, Ask):
            if self.telling.met:
                self.say(message)
        elif self.telling.met:
            self._say_ask(message)
        else:
            self.telling = self.telling._replace(ask=message)

    def _say_ask(self, ask: Ask) -> None:
        self.say(ask)
        if not ask.is_echo:
            self.telling = self.telling._replace(echoes=self.telling.echoes + 1)
            self.knowledge = self.knowledge._replace(root=b"")

    def unsettle(self, *, moved: bool = False) -> None:
        """Digests are to be compared once nothing is in flight.

        `moved`: our own holdings changed, so comparing anew is worth its rounds again.
        """
        telling = self.telling
        if moved:
            if not (telling.unsettled and telling.moved):
                self.telling = telling._replace(unsettled=True, moved=True)
            if self.comparison.rounds_left != ROUNDS_PER_CHANGE_MAX:
                self.comparison = self.comparison._replace(rounds_left=ROUNDS_PER_CHANGE_MAX)
        elif not telling.unsettled:
            self.telling = telling._replace(unsettled=True)
