"""Links: one authenticated connection each, driven by the session machine.

A `Link` feeds events into `covey.sync.session.step` and carries out the effects, in order. All that
decides is in the machine; this file sends, reads, stores and keeps timers. Every task a link
starts ends with it.

Spec: docs/protocol.md, section 7.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, assert_never

from ..crypto.errors import CryptoError
from ..storage.errors import StorageError, StoreFullError
from ..sync.blob_messages import BLOB_TYPES, decode_blob_message
from ..sync.blob_messages import FEATURE as BLOBS
from ..sync.errors import DecodeError
from ..sync.messages import Reason, Want, encode
from ..sync.rulings import FEATURE as RULINGS
from ..sync.session import step
from ..sync.session_events import (
    BatchRefused,
    BatchStored,
    Close,
    CloseRequested,
    DeclareDemand,
    DeclareFork,
    DeclareGreeting,
    DeclareProof,
    Effect,
    Event,
    FrameReceived,
    HeadsAdvanced,
    ReadEntries,
    SendFrame,
    StartTimer,
    StopTimer,
    StoreBatch,
    Timer,
    TimerFired,
    WakeSessions,
)
from ..sync.session_state import SessionState
from ..sync.vectors import CONTROL_SCOPE
from .branches import Span
from .buckets import Floors, unknown_scopes
from .channel import SecureChannel
from .deadline import set_or_passed
from .ingest import BatchRefusedError
from .office import BatchHeads, Office
from .outbox import MAIN, Outbox
from .ports import Cancel, ConnectionLostError
from .ruling_exchange import RulingExchange
from .traffic import LinkTraffic, Round

FEATURES = (BLOBS, RULINGS)
"""What the hellos of a node name beside the version, ascending."""
VECTOR_TYPE = b"\x03"
VECTOR_SCOPE = slice(4, 20)
"""Where a vector names its scope: after the type, an array of two and 16 bytes."""
SCOPE_AT = {b"\x05": slice(1, 17), VECTOR_TYPE: VECTOR_SCOPE, b"\x07": slice(4, 20)}
"""Where the scope stands in a batch, a vector and an announcement: what has to stay in order."""
OUTGOING_BYTES_MAX = 8 * 1024 * 1024
"""A peer that reads so slowly that this much waits for it is cut off."""


@dataclass(slots=True, eq=False)
class Link:
    """One session with one store of one device."""

    key: bytes
    """Names this session; two stores of one device have two."""
    device: bytes
    channel: SecureChannel
    office: Office
    short_id: str = ""
    """Of the device, for people."""
    state: SessionState = field(default_factory=SessionState)
    floors: Floors = ()
    """The oldest time buckets that we take, as we told the peer."""
    remote_state: dict[str, Any] = field(default_factory=dict)
    traffic: LinkTraffic = field(default_factory=LinkTraffic)
    round: Round = field(default_factory=Round)
    closed_for: Reason | None = None
    opened_ms: int = 0
    proved_ms: int | None = None
    """Wall time of the last proof of sync on this link."""
    proof_told: bool = False
    asks: tuple[bytes, ...] = ()
    """Tags of the databases that the peer takes now on demand."""
    is_open_for_blobs: bool = False
    """Both sides know of blobs, and data may flow."""
    branches: dict[tuple[bytes, bytes], Span] = field(default_factory=dict)
    """By scope and instance, branches that the peer holds of logs of ours (`forks.py`)."""
    rulings: RulingExchange = field(init=False)
    _proofs_wanted: set[tuple[bytes, bytes]] = field(default_factory=set)
    _outbox: Outbox = field(init=False)
    _sendable: asyncio.Event = field(default_factory=asyncio.Event)
    _batches: asyncio.Queue[StoreBatch] = field(default_factory=asyncio.Queue)
    _timers: dict[Timer, Cancel] = field(default_factory=dict)
    _tasks: dict[asyncio.Task[None], None] = field(default_factory=dict)
    """In the order of their start, so that they end in an order that can be repeated."""
    _ending: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._outbox = Outbox(lambda lane: self.office.caps(self, lane))
        self.rulings = RulingExchange(self)

    @property
    def outgoing_bytes(self) -> int:
        """How much waits to be sent."""
        return self._outbox.bytes_waiting

    async def run(self, opening: Event) -> None:
        """Drive the session until it ends. Never raises for what the peer or the link does."""
        self.opened_ms = self.office.clock.monotonic_ms()
        self._spawn(self._send_loop())
        self._spawn(self._store_loop())
        try:
            self.deliver(opening)
            self._spawn(self._receive_loop())
            await self._ending.wait()
        finally:
            self.deliver(CloseRequested(Reason.CONNECTION_LOST))
            await self._clean_up()

    def deliver(self, event: Event) -> None:
        """One event into the machine; its effects carried out."""
        office = self.office
        self.state, effects = step(
            self.state, event, office.holdings, office.plan, office.clock.monotonic_ms()
        )
        match event:
            case HeadsAdvanced(frame=bytes() as pushed) if SendFrame(pushed) in effects:
                self._moved_out(event.scope, event.seq - event.prev_seq)
        for effect in effects:
            self._carry_out(effect)
        self.rulings.look(event)
        if self.is_open_for_blobs:
            self.look_for_chunks()
        elif self.state.telling.met and self.knows_blobs and self.closed_for is None:
            self.is_open_for_blobs = True
            office.blobs.fetching.met(self)

    def _carry_out(self, effect: Effect) -> None:  # noqa: C901 - one case for each effect
        match effect:
            case SendFrame(frame):
                self.send(frame)
            case ReadEntries():
                self._spawn(self._read(effect))
            case StoreBatch():
                self._batches.put_nowait(effect)
            case StartTimer(timer, duration_ms):
                self._start(timer, duration_ms)
            case StopTimer(timer):
                self._timers.pop(timer, _nothing)()
            case Close(reason, _):
                self.closed_for = self.closed_for or reason
                if reason is Reason.REMOVED:
                    self._outbox.clear()  # At once: the next frame may leave in this very turn.
                self._ending.set()
            case WakeSessions():
                self.office.wake_others(self)
            case DeclareGreeting():
                self.remote_state = dict(effect.device_state)
                self.office.greeted(self, effect)
            case DeclareProof():
                self.office.proved(self, effect)
            case DeclareFork():
                self.office.fork_seen(self, effect)
            case DeclareDemand(message):
                self.office.demanded(self, message)
            case _:
                assert_never(effect)

    def want_proof(self, scope: bytes, instance: bytes, seq: int) -> None:
        """The peer claims another entry at a place where we hold one: let it show it, signed.

        Once a log and link. What comes is judged like any batch.
        """
        log = scope, instance
        if log in self.branches:  # It has shown one; what we asked then may have been lost.
            self.want_entry(*log, self.branches[log].next_seq)
        elif log not in self._proofs_wanted and self.want_entry(scope, instance, seq):
            self._proofs_wanted.add(log)

    def want_entry(self, scope: bytes, instance: bytes, seq: int) -> bool:
        """Ask for an entry that we hold, to see which they hold. False if that cannot be now."""
        if self.closed_for is not None or not (scope == CONTROL_SCOPE or self.state.telling.met):
            return False
        self.send(encode(Want(scope, ((instance, seq, seq),))))
        return True

    def tell_ruling(self, scope: bytes, instance: bytes) -> None:
        """Tell once more what is known of a log: the peer shows another branch."""
        self.office.rulings.tell_again(self, scope, instance)

    @property
    def knows_blobs(self) -> bool:
        """Whether both sides speak of blobs."""
        return BLOBS in self.channel.features

    def say(self, frame: bytes) -> None:
        """Send a frame about blobs; nothing after the end."""
        if self.closed_for is None and self.is_open_for_blobs:
            self.send(frame)

    def look_for_chunks(self) -> None:
        """Chunks may wait, and there may be nothing more urgent to send."""
        if self._chunk_is_due():
            self._sendable.set()

    def _chunk_is_due(self) -> bool:
        """Entries go first: those that wait to be sent, and those being read to be sent next."""
        return (
            not self._outbox.bytes_waiting
            and self.state.sending.reading is None
            and self.closed_for is None
            and self.office.blobs.serving.has_chunks(self)
        )

    def _blob_frame(self, frame: bytes) -> None:
        """The gate for what a peer says of blobs."""
        if not self.is_open_for_blobs:
            self.deliver(CloseRequested(Reason.MEMBERSHIP_FIRST, "blobs come after membership"))
            return
        try:
            self.office.blobs.heard(self, decode_blob_message(frame))
        except DecodeError as error:
            self.deliver(CloseRequested(Reason.MALFORMED, str(error)))

    def send(self, frame: bytes) -> None:
        """Line a frame up; who lets too much of it wait is cut off."""
        self._outbox.put(self._lane(frame), frame)
        self._sendable.set()
        if self._outbox.bytes_waiting > OUTGOING_BYTES_MAX:
            self.closed_for = Reason.TOO_SLOW
            self._ending.set()

    def _lane(self, frame: bytes) -> bytes:
        """The lane of a frame: its database's, if that is capped or was a moment ago."""
        place = SCOPE_AT.get(frame[:1])
        scope = CONTROL_SCOPE if place is None else frame[place]
        if scope == CONTROL_SCOPE or not self.office.holdings.knows(scope):
            return MAIN
        lane = self.office.holdings.database(scope)
        is_capped = lane in self.state.timing.schedule.batch_bytes
        return lane if is_capped or self._outbox.waits(lane) else MAIN

    async def _send_loop(self) -> None:
        clock = self.office.clock
        while True:
            self._sendable.clear()
            now_ms = clock.monotonic_ms()
            frame = self._outbox.take(now_ms, in_haste=self._ending.is_set())
            if frame is not None:
                await self.channel.send(frame)
                self.traffic.sent(frame)
                continue
            if self._ending.is_set():
                return
            if self._chunk_is_due():
                # One at a time: whatever is queued meanwhile goes before the next.
                serving = self.office.blobs.serving
                lane = serving.next_database(self)
                is_capped = lane in self.state.timing.schedule.batch_bytes
                chunk = await serving.next_chunk(self)
                self._outbox.put(lane if is_capped else MAIN, chunk)
                continue
            due_ms = self._outbox.next_due_ms()
            if due_ms is None:
                await self._sendable.wait()
            else:
                await set_or_passed(clock, due_ms - now_ms, self._sendable)

    async def _receive_loop(self) -> None:
        while not self._ending.is_set():
            frame = await self.channel.receive()
            self.traffic.received(frame)
            if self.knows_blobs and frame[0:1] and frame[0] in BLOB_TYPES:
                self._blob_frame(frame)
                continue
            if self.rulings.takes(frame):
                continue
            named = unknown_scopes(frame, self.office.holdings)
            if named is not None and not await self._know(*named):
                return
            self.deliver(FrameReceived(frame))
            if frame[:1] == VECTOR_TYPE:
                self.office.vectors_told(self, frame[VECTOR_SCOPE])

    async def _know(self, database: bytes | None, tags: Sequence[bytes]) -> bool:
        """Find out what the peer names; False if the disk refuses it, and so the link ends."""
        try:
            await self.office.know_scopes(self, database, tags)
        except StorageError:
            self.deliver(CloseRequested(Reason.DONE, "the other device cannot write"))
            return False
        return True

    async def _store_loop(self) -> None:
        """Store batches in order; the next is verified while the disk has the one before."""
        storing: asyncio.Future[BatchHeads] | None = None
        while True:
            request = await self._batches.get()
            try:
                prepared = await self.office.prepare_batch(self, request.batch)
            except BatchRefusedError as error:
                prepared = None
                self.office.refused(self, error.reason)
                refusal = BatchRefused(Reason.BATCH_REFUSED, error.reason)
            try:
                if storing is not None and not storing.done():
                    await asyncio.wait((storing,))
            except BaseException:
                if prepared is not None:
                    self.office.discard_batch(prepared)
                raise
            if prepared is None:
                self.deliver(refusal)
                continue
            # Begun here, so that it is done whatever becomes of this link meanwhile.
            storing = self.office.store_batch(self, prepared)
            storing.add_done_callback(partial(self._stored, request, len(prepared.entries)))

    def _stored(
        self, request: StoreBatch, entries: int, stored: "asyncio.Future[BatchHeads]"
    ) -> None:
        """A batch is durable, or never will be. A link that has ended meanwhile ignores it."""
        try:
            heads = stored.result()
        except asyncio.CancelledError:
            pass  # The node closes, and with it this link.
        except StoreFullError:
            self._deliver_late(BatchRefused(Reason.STORE_FULL, "the other device is full"))
        except StorageError:
            self._deliver_late(BatchRefused(Reason.DONE, "the other device cannot write"))
        except BaseException:
            self._ending.set()
            raise
        else:
            if entries:
                self.traffic.received_entries += entries
                self.traffic.moved(request.batch.scope, entries)
                self.round.moved(request.batch.scope)
            self._deliver_late(BatchStored(request.batch.scope, heads, request.frame_bytes))

    async def _read(self, request: ReadEntries) -> None:
        answer = await self.office.read_entries(request)
        if answer.runs:
            entries = sum(run.last_seq - run.first_seq + 1 for run in answer.runs)
            self._moved_out(answer.scope, entries)
        self.deliver(answer)

    def _moved_out(self, scope: bytes, entries: int) -> None:
        self.traffic.sent_entries += entries
        self.traffic.moved(scope, entries)
        self.round.moved(scope)

    def _start(self, timer: Timer, duration_ms: int) -> None:
        def fire() -> None:
            del self._timers[timer]
            self._deliver_late(TimerFired(timer))

        self._timers[timer] = self.office.clock.call_after_ms(duration_ms, fire)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self._guard(work))
        self._tasks[task] = None

        def ended(_: asyncio.Task[None]) -> None:
            del self._tasks[task]
            # A task that is cancelled before its first step never awaits what it was to do.
            work.close()

        task.add_done_callback(ended)
        return task

    def _deliver_late(self, event: Event) -> None:
        """As `deliver`, outside of the tasks of this link: a defect of ours ends it as well."""
        try:
            self.deliver(event)
        except BaseException:
            self._ending.set()
            raise

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        """The link ends with whichever of its tasks fails; a defect of ours is not swallowed."""
        try:
            await work
        except (ConnectionLostError, CryptoError):
            self.closed_for = self.closed_for or Reason.CONNECTION_LOST
            self._ending.set()
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._ending.set()
            raise

    async def _clean_up(self) -> None:
        """Give what was said last a moment to leave, then end every task and the channel."""
        self._ending.set()
        self._sendable.set()
        sending = [t for t in self._tasks if not t.done()]
        if self._outbox.waits(MAIN) and sending:
            farewell = asyncio.ensure_future(self.office.clock.sleep_ms(FAREWELL_MS))
            while self._outbox.waits(MAIN) and not farewell.done():
                await asyncio.sleep(0)
                if all(task.done() for task in self._tasks):
                    break
                await asyncio.wait([farewell, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
            farewell.cancel()
        for cancel in self._timers.values():
            cancel()
        self._timers.clear()
        current = asyncio.current_task()
        for task in list(self._tasks):
            if task is not current:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.channel.close(close_code(self.closed_for))


FAREWELL_MS = 200
"""How long a goodbye may take to leave before the connection is dropped."""


def close_code(reason: Reason | None) -> int:
    """The WebSocket close code for a reason (docs/protocol.md, section 5)."""
    return 4001 if reason is Reason.REMOVED else 1000


def _nothing() -> None:
    """What stopping a timer does that does not run."""
