"""What happens to a session, and what it asks to be done: the words between machine and engine.

Events are in the past tense and go into `session.step`; effects are imperative and come out of it,
to be carried out in order. `Holdings` and `FetchPlan` are not in here: the engine owns them.

What the engine promises:
- `Holdings` already has the new heads when `BatchStored` or `HeadsAdvanced` is delivered, and the
  scopes of new grants when `SharedScopesChanged` is.
- A scope that a frame names is known before `FrameReceived` is delivered, if we can tell what it is
  (time buckets of scopes that we have); then `SharedScopesChanged` comes first, to every session.
- Every `StoreBatch` is answered by one `BatchStored` or `BatchRefused`, in order; every
  `ReadEntries` by one `EntriesRead`. After `Close` nothing needs an answer.
- Every head that advances reaches every session but the one whose `BatchStored` says it.
- `WakeSessions` becomes `PlanReleased` for every other session of the node.

Spec: docs/protocol.md, sections 7 and 8. Times are monotonic milliseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .demand import Demand
from .messages import Batch, Reason, Run
from .schedule import OPEN, Schedule
from .session_limits import BATCH_BYTES_TARGET, PROTOCOL_VERSION
from .sharing import Sharing
from .vectors import Range


class Timer(StrEnum):
    """The timers of a session. None is armed while nothing happens.

    Texts, because every step looks for some of them in a set, and an `Enum` hashes in Python.
    """

    GREETING = "greeting"
    """The peer has not greeted yet."""
    QUIET = "quiet"
    """Nothing is in flight; digests are compared when it ends."""
    ANNOUNCE = "announce"
    """Announcements made meanwhile go out together when it ends."""
    STALL = "stall"
    """Something is wanted; if nothing has come when it ends, others are asked."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The channel to a member stands. Delivered once, before everything else."""

    peer: bytes
    """Names this session among those of the node, to the plan and as `HeadsAdvanced.origin`."""
    sharing: Sharing
    """What both devices have in common, our floors included; the peer's come in its greeting."""
    device_state: Mapping[str, Any] = field(default_factory=dict)
    """What we tell of ourselves (battery, network, …): canonical msgpack, at most 4 KiB. Under
    `floors` the floors in `sharing` that are ours: [database tag, bucket], ascending."""
    features: tuple[str, ...] = ()
    """Ascending ASCII names: those that the hellos of both name."""
    version: int = PROTOCOL_VERSION
    """The one that the hellos agreed on."""
    schedule: Schedule = OPEN
    """What waits, and what goes first."""
    batch_bytes: int = BATCH_BYTES_TARGET
    """How large batches to this device were in the end on its last link."""


@dataclass(frozen=True, slots=True)
class FrameReceived:
    """One whole frame came from the peer."""

    frame: bytes


@dataclass(frozen=True, slots=True)
class EntriesRead:
    """The answer to `ReadEntries`."""

    scope: bytes
    runs: tuple[Run, ...]
    """In order of arrival here, each ending at an entry whose signature we hold."""
    done: bool
    """Nothing of what was asked for is left; what is not in `runs` we cannot give."""


@dataclass(frozen=True, slots=True)
class BatchStored:
    """The oldest unanswered `StoreBatch` is durable."""

    scope: bytes
    heads: tuple[tuple[bytes, bytes, int, bytes], ...]
    """(instance, author, seq, entry id): our heads now, of the logs in the batch that we hold."""
    frame_bytes: int
    """As `StoreBatch` gave it."""


@dataclass(frozen=True, slots=True)
class BatchRefused:
    """The oldest unanswered `StoreBatch` cannot be stored; the session ends for this reason."""

    reason: Reason
    text: str = ""


@dataclass(frozen=True, slots=True)
class HeadsAdvanced:
    """One of our logs grew, by a local commit or through another session."""

    scope: bytes
    instance: bytes
    author: bytes
    seq: int
    entry_id: bytes
    prev_seq: int
    """What the head was before; 0 if there was none."""
    frame: bytes | None = None
    """A batch frame with exactly the entries `prev_seq + 1` to `seq`, if it is to be pushed."""
    origin: bytes | None = None
    """`Opened.peer` of the session it came through; None for a local commit."""


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer that `StartTimer` started has ended."""

    timer: Timer


@dataclass(frozen=True, slots=True)
class SharedScopesChanged:
    """By the membership log something else is shared now, or there are new scopes."""

    sharing: Sharing


@dataclass(frozen=True, slots=True)
class Demanded:
    """We ask for something, or answer. What is said before data may flow is not sent."""

    message: Demand


@dataclass(frozen=True, slots=True)
class ScheduleChanged:
    """Something else waits now, or goes first."""

    schedule: Schedule


@dataclass(frozen=True, slots=True)
class PlanReleased:
    """Another session gave up ranges that this peer may have."""


@dataclass(frozen=True, slots=True)
class CloseRequested:
    """The engine ends the session; with `CONNECTION_LOST` nothing more is sent."""

    reason: Reason
    text: str = ""


Event = (
    Opened
    | FrameReceived
    | EntriesRead
    | BatchStored
    | BatchRefused
    | HeadsAdvanced
    | TimerFired
    | SharedScopesChanged
    | ScheduleChanged
    | PlanReleased
    | Demanded
    | CloseRequested
)


@dataclass(frozen=True, slots=True)
class SendFrame:
    """Send one frame to the peer."""

    frame: bytes


@dataclass(frozen=True, slots=True)
class ReadEntries:
    """Read entries of one scope for the peer, in the order in which they arrived here.

    At most `bytes_max` bytes of frame, but never less than one run if there is one; at most 256
    runs and 4,096 entries. Cut only where a signature is held: where none is held at the end of
    a range, on to the next one beyond it. Answer: `EntriesRead`.
    """

    scope: bytes
    ranges: tuple[Range, ...]
    bytes_max: int


@dataclass(frozen=True, slots=True)
class StoreBatch:
    """Verify a batch and make it durable. Answer: `BatchStored` or `BatchRefused`, in order."""

    batch: Batch
    frame_bytes: int


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Start a timer that is not running; it comes back as `TimerFired`."""

    timer: Timer
    duration_ms: int


@dataclass(frozen=True, slots=True)
class StopTimer:
    """Stop a running timer. Its late end is ignored."""

    timer: Timer


@dataclass(frozen=True, slots=True)
class Close:
    """Close the channel once what was sent is out. The last effect of a session."""

    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class WakeSessions:
    """Deliver `PlanReleased` to every other session of this node."""


@dataclass(frozen=True, slots=True)
class DeclareGreeting:
    """The peer told these of itself. Unverified and for display or policy only."""

    features: tuple[str, ...]
    device_state: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeclareProof:
    """Both digests matched the peer's at this moment: everything shared is in sync."""

    root: bytes
    control: bytes


@dataclass(frozen=True, slots=True)
class DeclareFork:
    """The peer holds another entry at a place where we hold one. Said once a place."""

    scope: bytes
    instance: bytes
    seq: int
    ours: bytes
    theirs: bytes


@dataclass(frozen=True, slots=True)
class DeclareDemand:
    """The peer asks for something, or answers; both know that they share a membership log."""

    message: Demand


Effect = (
    SendFrame
    | ReadEntries
    | StoreBatch
    | StartTimer
    | StopTimer
    | Close
    | WakeSessions
    | DeclareGreeting
    | DeclareProof
    | DeclareFork
    | DeclareDemand
)
