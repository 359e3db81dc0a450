"""Nodes that run the real session machine over channels, stores and a clock held in memory.

A `World` owns everything a test may want to break: it delivers frames in order or drops the
channel, answers store and read effects now or later, fires timers, all in an order drawn from a
seed. While it runs it watches what no honest run may show, and fails at the first such effect:

- more bytes of batches on the way than the receiver allowed;
- an entry wanted twice by one node while the first want stands;
- a frame about a scope that the two do not share, or about data before membership matched;
- entries, a want or an announcement of a database that the sender knows to be held;
- a session that ends because the other side broke a rule.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise
from random import Random
from types import MappingProxyType
from typing import assert_never

from covey.sync.batch import Run, Segment, encode_batch
from covey.sync.demand import Ask, Demand
from covey.sync.fetch import FetchPlan
from covey.sync.messages import (
    Ack,
    Batch,
    Digests,
    Goodbye,
    Greeting,
    Have,
    Hold,
    Message,
    Reason,
    Root,
    VectorMessage,
    Want,
    decode,
)
from covey.sync.schedule import OPEN, Schedule
from covey.sync.session import Phase, SessionState, step
from covey.sync.session_events import (
    BatchStored,
    Close,
    CloseRequested,
    DeclareDemand,
    DeclareFork,
    DeclareGreeting,
    DeclareProof,
    Demanded,
    Effect,
    EntriesRead,
    Event,
    FrameReceived,
    HeadsAdvanced,
    Opened,
    PlanReleased,
    ReadEntries,
    ScheduleChanged,
    SendFrame,
    SharedScopesChanged,
    StartTimer,
    StopTimer,
    StoreBatch,
    Timer,
    TimerFired,
    WakeSessions,
)
from covey.sync.session_limits import CREDIT_BYTES
from covey.sync.session_standing import Condition, scope_standing
from covey.sync.session_state import Receiving
from covey.sync.sharing import Sharing
from covey.sync.vectors import CONTROL_SCOPE, Holdings, Range

PRIVATE, FAMILY, PUBLIC = 1, 2, 3
ALL = Sharing(frozenset({PRIVATE, FAMILY, PUBLIC}))
DATABASES = (b"D" * 16, b"E" * 16)
SCOPES = {
    bytes((database[0], privacy)) * 8: (database, privacy)
    for database in DATABASES
    for privacy in range(4)
}
ENTRY_BYTES = 300
HONEST_ENDS = frozenset({Reason.DONE, Reason.CONNECTION_LOST})


@dataclass
class Entry:
    """One entry of a fake log. The signature is held only where somebody needed it."""

    author: bytes
    salt: bytes
    ct: bytes
    entry_id: bytes
    is_signed: bool


def chain(previous: bytes, author: bytes, salt: bytes, ct: bytes) -> bytes:
    return blake2b(previous + author + salt + ct, digest_size=32).digest()


def run_bytes(entries: list[Entry]) -> int:
    """What a run of these entries takes in a batch, at most."""
    return 260 + sum(12 + len(entry.ct) for entry in entries)


def signature(entry_id: bytes) -> bytes:
    return b"sign" * 8 + entry_id


class Node:
    """A store, its holdings, and the sessions of one device."""

    def __init__(self, name: str, instance: bytes | None = None) -> None:
        self.id = name.encode().ljust(32, b".")
        self.instance = instance or name.encode().ljust(16, b".")
        self.holdings = Holdings()
        self.plan = FetchPlan()
        self.logs: dict[tuple[bytes, bytes], list[Entry]] = {}
        self.sessions: dict[bytes, SessionState] = {}
        self.to_do: dict[bytes, deque[ReadEntries | StoreBatch]] = {}
        self.timers: dict[tuple[bytes, Timer], int] = {}
        self.wanted: dict[tuple[bytes, bytes, int], bytes] = {}
        self.proofs: list[tuple[bytes, DeclareProof]] = []
        self.forks: list[DeclareFork] = []
        self.demands: list[tuple[bytes, Demand]] = []
        self.ends: dict[bytes, Reason] = {}
        self.schedule = OPEN
        for scope, (database, privacy) in SCOPES.items():
            self.holdings.add_scope(scope, database, privacy)

    def append(self, scope: bytes, instance: bytes, author: bytes, entries: list[Entry]) -> None:
        log = self.logs.setdefault((scope, instance), [])
        log += entries
        self.holdings.set_head(scope, instance, author, len(log), log[-1].entry_id)

    def write(self, scope: bytes, count: int, rng: Random, size: int = ENTRY_BYTES) -> Run:
        """Commit entries of our own; the run that carries them."""
        log = self.logs.get((scope, self.instance), [])
        previous, first = (log[-1].entry_id if log else bytes(32)), len(log) + 1
        prev, entries = previous, []
        for _ in range(count):
            salt, ct = rng.randbytes(8), rng.randbytes(size)
            prev = chain(prev, self.id, salt, ct)
            entries.append(Entry(self.id, salt, ct, prev, True))
        self.append(scope, self.instance, self.id, entries)
        return self.run(scope, self.instance, first, first + count - 1)

    def run(self, scope: bytes, instance: bytes, first: int, last: int) -> Run:
        log = self.logs[(scope, instance)]
        pieces = log[first - 1 : last]
        kind = 2 if scope == CONTROL_SCOPE else 1
        segment = Segment(kind, b"k" * 32, (), [(entry.salt, entry.ct) for entry in pieces])
        previous = log[first - 2].entry_id if first > 1 else bytes(32)
        assert pieces[-1].is_signed, "cut where no signature is held"
        end = signature(pieces[-1].entry_id)
        return Run(pieces[0].author, instance, first, previous, (segment,), end)

    def read(self, asked: ReadEntries) -> EntriesRead:
        runs: list[Run] = []
        room, done = asked.bytes_max - 17, True
        for instance, first, last in asked.ranges:
            log = self.logs.get((asked.scope, instance), [])
            cuts = [seq for seq in range(first, len(log) + 1) if log[seq - 1].is_signed]
            # Past the end of what is wanted to the first signature, if there is none at the end.
            cuts = [cut for before, cut in pairwise([0, *cuts]) if before < last]
            sizes = {cut: run_bytes(log[first - 1 : cut]) for cut in cuts}
            fitting = [cut for cut in cuts if sizes[cut] <= room]
            if not fitting and not runs:
                fitting = cuts[:1]
            if not fitting:
                done = done and not cuts
                continue
            runs.append(self.run(asked.scope, instance, first, fitting[-1]))
            room -= sizes[fitting[-1]]
            done = done and fitting[-1] == cuts[-1]
        return EntriesRead(asked.scope, tuple(runs), done)

    def store(self, batch: Batch) -> tuple[BatchStored, list[HeadsAdvanced]]:
        heads, advanced = {}, []
        for run in batch.runs:
            before = self.holdings.head(batch.scope, run.instance)
            self._store_run(batch.scope, run)
            head = self.holdings.head(batch.scope, run.instance)
            if head is None:
                continue
            heads[run.instance] = (run.instance, *head)
            prev_seq = before.seq if before else 0
            if head.seq > prev_seq:
                advanced.append(HeadsAdvanced(batch.scope, run.instance, *head, prev_seq))
        return BatchStored(batch.scope, tuple(heads.values()), 0), advanced

    def _store_run(self, scope: bytes, run: Run) -> None:
        log = self.logs.get((scope, run.instance), [])
        previous = run.prev_id
        new: list[Entry] = []
        entries = [entry for segment in run.segments for entry in segment.entries]
        for seq, (salt, ct) in enumerate(entries, run.first_seq):
            entry_id = chain(previous, run.author, salt, ct)
            if seq <= len(log):
                if log[seq - 1].entry_id != entry_id:
                    return
            elif seq == len(log) + len(new) + 1:
                expected = new[-1].entry_id if new else (log[-1].entry_id if log else bytes(32))
                if previous != expected:
                    return
                new.append(Entry(run.author, salt, ct, entry_id, False))
            else:
                return
            previous = entry_id
        assert run.signature == signature(previous)
        if new:
            new[-1].is_signed = True
            self.append(scope, run.instance, run.author, new)


@dataclass
class Channel:
    """Frames on their way from one node to another, and the credit that is left to send them."""

    frames: deque[bytes] = field(default_factory=deque)
    credit: int = 0
    bytes_sent: int = 0
    said: list[Message] = field(default_factory=list)


class World:
    """Some nodes, the channels between them, and one order of events."""

    def __init__(
        self, names: str, seed: int = 0, *, credit: int = CREDIT_BYTES, window: int = 16_384
    ) -> None:
        self.nodes = {name: Node(name) for name in names}
        for node in self.nodes.values():
            node.plan = FetchPlan(window)
        self.credit = credit
        self.by_id = {node.id: node for node in self.nodes.values()}
        self.rng = Random(seed)
        self.now_ms = 0
        self.channels: dict[tuple[bytes, bytes], Channel] = {}
        self.shared: dict[tuple[bytes, bytes], Sharing] = {}
        self.by_ask: dict[frozenset[bytes], Sharing] = {}
        """Who asks for everything to what is shared then."""
        self.decided: dict[tuple[bytes, int], Sharing] = {}
        """(instance, seq) of an operation to what is shared by it."""

    def connect(
        self,
        one: str,
        other: str,
        sharing: Sharing = ALL,
        floors: Mapping[str, tuple[tuple[bytes, int], ...]] = MappingProxyType({}),
    ) -> None:
        """`floors`: of a node, the oldest time bucket that it takes of a database."""
        a, b = self.nodes[one], self.nodes[other]
        if (a.id, b.id) in self.channels:
            return
        for node, peer in ((a, b), (b, a)):
            self.channels[(node.id, peer.id)] = Channel()
            node.sessions[peer.id] = SessionState(receiving=Receiving(credit=self.credit))
            node.to_do[peer.id] = deque()
            node.ends.pop(peer.id, None)
        for name, node, peer in ((one, a, b), (other, b, a)):
            told = {"battery": 50, "floors": floors[name]} if floors.get(name) else {"battery": 50}
            known = sharing.with_floors(floors.get(name, ()))
            self.happen(node, peer.id, Opened(peer.id, known, told, schedule=node.schedule))

    def disconnect(self, one: str, other: str) -> None:
        """The channel breaks: what is on the way is lost, and so is work that was not done."""
        a, b = self.nodes[one], self.nodes[other]
        for node, peer in ((a, b), (b, a)):
            if self.channels.pop((node.id, peer.id), None) is not None:
                self.happen(node, peer.id, CloseRequested(Reason.CONNECTION_LOST))

    def commit(self, name: str, scope: bytes, count: int = 1, size: int = ENTRY_BYTES) -> None:
        node = self.nodes[name]
        run = node.write(scope, count, self.rng, size)
        head = node.holdings.head(scope, node.instance)
        assert head is not None
        frame = encode_batch(scope, (run,)) if count * size < 60_000 else None
        for peer in list(node.sessions):
            advanced = HeadsAdvanced(scope, node.instance, *head, run.first_seq - 1, frame)
            self.happen(node, peer, advanced)

    def decide(self, name: str, sharing: Sharing) -> None:
        """By a new operation of this node something else is shared on all links."""
        node = self.nodes[name]
        seq = len(node.logs.get((CONTROL_SCOPE, node.instance), ())) + 1
        self.decided[(node.instance, seq)] = sharing
        run = node.write(CONTROL_SCOPE, 1, self.rng)
        self._learn(node)
        head = node.holdings.head(CONTROL_SCOPE, node.instance)
        assert head is not None
        frame = encode_batch(CONTROL_SCOPE, (run,))
        for peer in list(node.sessions):
            self.happen(
                node, peer, HeadsAdvanced(CONTROL_SCOPE, node.instance, *head, seq - 1, frame)
            )

    def ask(self, name: str, databases: tuple[bytes, ...]) -> None:
        """This node takes everything now, or not any more."""
        node = self.nodes[name]
        asker = frozenset((node.id,)) if databases else frozenset[bytes]()
        for peer in list(node.sessions):
            self.happen(node, peer, Demanded(Ask(databases)))
            self.happen(node, peer, SharedScopesChanged(self.by_ask[asker]))

    def _learn(self, node: Node) -> None:
        """What the newest decision that a node holds says counts there, before its peers know."""
        for (instance, seq), sharing in reversed(self.decided.items()):
            head = node.holdings.head(CONTROL_SCOPE, instance)
            if head is not None and head.seq >= seq:
                for peer in list(node.sessions):
                    if self.shared[(node.id, peer)] != sharing:
                        self.happen(node, peer, SharedScopesChanged(sharing))
                return

    def schedule(self, name: str, schedule: Schedule) -> None:
        """Something else waits on a node from now on, or goes first; on all its links."""
        node = self.nodes[name]
        node.schedule = schedule
        for peer in list(node.sessions):
            self.happen(node, peer, ScheduleChanged(schedule))

    def happen(self, node: Node, peer: bytes, event: Event) -> None:
        if isinstance(event, Opened | SharedScopesChanged):
            self.shared[(node.id, peer)] = event.sharing
        state = node.sessions[peer]
        state, effects = step(state, event, node.holdings, node.plan, self.now_ms)
        node.sessions[peer] = state
        for effect in effects:
            self._carry_out(node, peer, effect)

    def _carry_out(  # noqa: C901 - a flat branch for each effect
        self, node: Node, peer: bytes, effect: Effect
    ) -> None:
        match effect:
            case SendFrame(frame):
                channel = self.channels.get((node.id, peer))
                if channel is not None:
                    self._watch_frame(node, peer, channel, frame)
                    channel.frames.append(frame)
            case ReadEntries() | StoreBatch():
                node.to_do[peer].append(effect)
            case StartTimer(timer, duration_ms):
                assert (peer, timer) not in node.timers
                node.timers[(peer, timer)] = self.now_ms + duration_ms
            case StopTimer(timer):
                del node.timers[(peer, timer)]
            case Close(reason):
                node.ends[peer] = reason
                self._forget_wants(node, peer)
                node.to_do[peer].clear()
            case WakeSessions():
                self._forget_wants(node, peer)
                for other in list(node.sessions):
                    if other != peer:
                        self.happen(node, other, PlanReleased())
            case DeclareProof():
                node.proofs.append((peer, effect))
            case DeclareFork():
                node.forks.append(effect)
            case DeclareDemand(message):
                node.demands.append((peer, message))
                if isinstance(message, Ask):
                    asker = frozenset((peer,)) if message.databases else frozenset[bytes]()
                    self.happen(node, peer, Demanded(Ask(message.databases, is_echo=True)))
                    self.happen(node, peer, SharedScopesChanged(self.by_ask[asker]))
            case DeclareGreeting():
                pass
            case _:
                assert_never(effect)

    def _watch_frame(  # noqa: C901 - what no honest run may show, one after the other
        self, node: Node, peer: bytes, channel: Channel, frame: bytes
    ) -> None:
        message = decode(frame)
        channel.said.append(message)
        channel.bytes_sent += len(frame)
        shared = self.shared[(node.id, peer)]
        if isinstance(message, Batch):
            for run in message.runs:
                told = (message.scope, run.author, shared)
                assert node.holdings.shares(*told), "these logs are not shared"
        match message:
            case Batch(scope) | Want(scope) | Have(scope):
                heard = node.sessions[peer].timing.theirs
                held = node.schedule.held | heard
                assert node.holdings.database(scope) not in held, "it is held"
        match message:
            case Batch(scope) | Want(scope) | VectorMessage(scope) | Have(scope):
                assert node.holdings.is_shared(scope, shared), "not shared"
            case Goodbye(reason):
                assert reason in HONEST_ENDS, message.text
            case Greeting() | Digests() | Root() | Ack() | Hold():
                pass
        if isinstance(message, Batch):
            channel.credit -= len(frame)
            assert channel.credit >= 0, "sent beyond the credit"
        elif isinstance(message, Want):
            for instance, first, last in message.ranges:
                for seq in range(first, last + 1):
                    place = (message.scope, instance, seq)
                    assert place not in node.wanted, "wanted twice"
                    node.wanted[place] = peer

    def _forget_wants(self, node: Node, peer: bytes) -> None:
        node.wanted = {place: by for place, by in node.wanted.items() if by != peer}

    def deliver(self, sender: Node, receiver: Node) -> None:
        frame = self.channels[(sender.id, receiver.id)].frames.popleft()
        message = decode(frame)
        if isinstance(message, Greeting | Ack):
            self.channels[(receiver.id, sender.id)].credit += message.credit
        self.happen(receiver, sender.id, FrameReceived(frame))

    def work(self, node: Node, peer: bytes) -> None:
        """Answer the oldest read or store of one session."""
        asked = node.to_do[peer].popleft()
        if isinstance(asked, ReadEntries):
            self.happen(node, peer, node.read(asked))
            return
        stored, advanced = node.store(asked.batch)
        for scope, instance, seq in list(node.wanted):
            head = node.holdings.head(scope, instance)
            if head is not None and seq <= head.seq:
                del node.wanted[(scope, instance, seq)]
        if stored.scope == CONTROL_SCOPE:
            self._learn(node)
        answer = BatchStored(stored.scope, stored.heads, asked.frame_bytes)
        self.happen(node, peer, answer)
        for event in advanced:
            for other in list(node.sessions):
                if other != peer:
                    news = HeadsAdvanced(
                        event.scope,
                        event.instance,
                        event.author,
                        event.seq,
                        event.entry_id,
                        event.prev_seq,
                        origin=peer,
                    )
                    self.happen(node, other, news)

    def advance(self) -> bool:
        """Let one thing happen, chosen by the seed; whether there was any."""
        choices: list[tuple[str, Node, bytes]] = []
        for (sender, receiver), channel in self.channels.items():
            if channel.frames:
                choices.append(("frame", self.by_id[sender], receiver))
        for node in self.nodes.values():
            choices += [("work", node, peer) for peer, todo in node.to_do.items() if todo]
        self.now_ms += 1
        if choices:
            what, node, peer = self.rng.choice(choices)
            if what == "frame":
                self.deliver(node, self.by_id[peer])
            else:
                self.work(node, peer)
            return True
        return self.fire_next_timer()

    def fire_next_timer(self) -> bool:
        due = [(at, n.id, key) for n in self.nodes.values() for key, at in n.timers.items()]
        if not due:
            return False
        at, node_id, (peer, timer) = min(due, key=lambda row: (row[0], row[1], row[2][0]))
        node = self.by_id[node_id]
        del node.timers[(peer, timer)]
        self.now_ms = max(self.now_ms, at)
        self.happen(node, peer, TimerFired(timer))
        return True

    def run(self, steps_max: int = 200_000) -> int:
        """Run until nothing is left to happen; how many things did."""
        for count in range(steps_max):
            if not self.advance():
                return count
        raise AssertionError("it never comes to rest")

    def standing(self, name: str, peer: str, scope: bytes) -> Condition:
        node = self.nodes[name]
        state = node.sessions[self.nodes[peer].id]
        return scope_standing(state, scope, node.holdings).condition

    def phase(self, name: str, peer: str) -> Phase:
        return self.nodes[name].sessions[self.nodes[peer].id].phase

    def said(self, name: str, peer: str) -> list[Message]:
        return self.channels[(self.nodes[name].id, self.nodes[peer].id)].said

    def ranges(self, name: str, scope: bytes) -> tuple[Range, ...]:
        heads = self.nodes[name].holdings.heads(scope)
        return tuple(sorted((instance, 1, head.seq) for instance, head in heads.items()))
