"""Switchboard: every link of this node, and what they ask of it.

Runs a session for each channel, keeps one link to each store of each device, answers what
sessions ask for (entries to send, batches to store), and tells all of them when this node's heads
advance: a local commit is pushed with its entries, what came from one peer is announced to the
others. Spec: docs/protocol.md, section 7.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..crypto.identity import short_id
from ..storage import peer_rows
from ..storage.peer_rows import AddressSource
from ..storage.store import Conn
from ..sync.demand import Demand
from ..sync.fetch import FetchPlan
from ..sync.messages import Batch, Reason
from ..sync.session_events import (
    CloseRequested,
    DeclareFork,
    DeclareGreeting,
    DeclareProof,
    EntriesRead,
    HeadsAdvanced,
    PlanReleased,
    ReadEntries,
    SharedScopesChanged,
)
from ..sync.session_sending import next_batch_bytes
from ..sync.sharing import Sharing
from ..sync.vectors import Holdings
from .bucket import Bucket
from .channel import SecureChannel
from .committer import Staged
from .ingest_rows import Prepared
from .ledger import Log
from .links import Link
from .office import BatchHeads, Office
from .outgoing import read_entries, staged_frame
from .ports import Address
from .ties import newcomer_stays, store_key
from .traffic import REFUSALS, LinkTraffic

if TYPE_CHECKING:
    from .engine import Engine


LINKS_PER_DEVICE_MAX = 8
"""One for each store of a device. Each may hold megabytes, and leaves less room for others."""


class Switchboard(Office):
    """The links of one engine."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self.clock = engine.clock
        self.blobs = engine.blobs
        self.rulings = engine.rulings
        self.plan = FetchPlan()
        self.links: dict[bytes, Link] = {}
        self._comparing: set[tuple[bytes, bytes]] = set()
        self.latest: dict[bytes, Link] = {}
        """The last link to each device of this run; after its end it tells how things stood."""
        self.paces: dict[bytes, int] = {}
        """How large batches to a device were in the end on its last link of this run."""
        self._met: set[bytes] = set()
        """Devices that were linked in this run."""
        self.traffic_ended = LinkTraffic()
        """What went over all links of this run that have ended."""
        self.is_off = False
        """Set while the store changes under us: a session begun now would tell what is no more."""

    @property
    def holdings(self) -> Holdings:
        return self._engine.ledger.holdings

    def links_to(self, device: bytes) -> list[Link]:
        """The open links to a device, oldest first; two stores of one device have two."""
        return [link for link in self.links.values() if link.device == device]

    async def run_link(self, channel: SecureChannel) -> None:
        """A channel to a member stands: drive its session until it ends."""
        if self.is_off:
            await channel.close()
            return
        device = self._engine.mesh.registry.by_dh(channel.remote_static)
        assert device is not None
        crowd = [each for each in self.links_to(device.sig_pk) if each.closed_for is None]
        if len(crowd) >= LINKS_PER_DEVICE_MAX:
            crowd[0].deliver(CloseRequested(Reason.REPLACED))
        key = device.sig_pk[:16] + self._engine.entropy.draw(16)
        link = Link(key, device.sig_pk, channel, self, short_id(device.sig_pk))
        self.links[key] = link
        self.latest[device.sig_pk] = link
        self._engine.links_changed()
        self._engine.phone.look_again()
        self._note_met(link)
        self._note_seen(device.sig_pk)
        self._engine.tell("connected", self._named(link))
        try:
            await link.run(self._engine.reach.opening(link, self.sharing_on(link)))
        finally:
            self.links.pop(key, None)
            self.blobs.left(link)
            is_broken = link.closed_for is Reason.CONNECTION_LOST
            self.paces[link.device] = next_batch_bytes(link.state, is_broken)
            self._engine.phone.link_ended(link)
            self.traffic_ended.add(link.traffic)
            self._engine.links_changed()
            reason = link.closed_for.name.lower() if link.closed_for else "closed"
            self._engine.counters.add(f"link.ended.{reason}")
            self._end_round(link, reason)
            if not self._engine.closing:
                self._engine.tell("disconnected", {**self._named(link), "reason": reason})
                self._note_seen(device.sig_pk)

    def _named(self, link: Link) -> dict[str, Any]:
        """The device at the other end, as events name it."""
        device = self._engine.mesh.registry.devices.get(link.device)
        return {"device": link.short_id, "name": None if device is None else device.name}

    def _note_met(self, link: Link) -> None:
        """The first time that this store sees a device is an event."""
        if link.device in self._met:
            return
        self._met.add(link.device)
        device, met = link.device, self._engine.audit.note_of("met", self._named(link))

        def note(conn: Conn) -> None:
            if peer_rows.peer(conn, device) is None:
                met(conn)

        self._engine.note(note)

    def _note_seen(self, device: bytes) -> None:
        now_ms = self.clock.wall_ms()
        self._engine.note(
            lambda conn: peer_rows.saw_peer(conn, device, now_ms), fact=("seen", device)
        )

    def _end_round(self, link: Link, reason: str) -> None:
        """The link has ended: was anything under way, or did one side not want the other?"""
        is_refused = link.closed_for in REFUSALS
        # Of two links to one store one ends before it was used.
        is_surplus = link.closed_for is Reason.REPLACED and not link.round.scopes
        # A phone that hangs up has what may move now; what is held leaves the round open.
        is_done = is_surplus or link.closed_for is Reason.RESTING
        if is_refused or (link.round.is_open and not is_done):
            told = {**self._round_of(link), "why": [reason]}
            if is_refused:
                self._engine.audit.tally("sync_refused", told)
            else:
                self._engine.audit.tally("sync_cut", told)

    def _round_of(self, link: Link) -> dict[str, Any]:
        scopes = [self._engine.ledger.scope(tag) for tag in sorted(link.round.scopes)]
        databases = [scope.database for scope in scopes if scope is not None and scope.database]
        return {**self._named(link), **link.round.end(link.traffic, databases)}

    def refused(self, link: Link, why: str) -> None:
        """A batch broke the protocol; nothing of it was stored."""
        self._engine.audit.tally("batch_refused", {**self._named(link), "why": [why]})

    def membership_changed(self) -> None:
        """Links of those who may not be here any more end; the others may share other scopes."""
        mesh, floors = self._engine.mesh, None
        for link in list(self.links.values()):
            device = mesh.registry.devices.get(link.device)
            floors = mesh.buckets.floors() if floors is None else floors
            if device is None or not device.active:
                link.deliver(CloseRequested(Reason.REMOVED))
            elif floors != link.floors:
                # What we take is told in the greeting; the next one tells it anew.
                link.deliver(CloseRequested(Reason.DONE))
            else:
                link.deliver(SharedScopesChanged(self.sharing_on(link)))
        self._engine.scheduling.judge_again()

    def sharing_on(self, link: Link) -> Sharing:
        """What is shared on a link, with what either side takes on demand now."""
        asked = self._engine.demands.asked
        return self._engine.mesh.sharing_with(link.device, asked, link.asks).with_floors(
            link.floors
        )

    def scopes_known(self) -> None:
        """There are new scopes that follow from no operation: time buckets."""
        for link in list(self.links.values()):
            device = self._engine.mesh.registry.devices.get(link.device)
            if device is not None and device.active:
                link.deliver(SharedScopesChanged(link.state.sharing))

    async def know_scopes(self, link: Link, database: bytes | None, tags: Sequence[bytes]) -> None:
        """A peer names scopes that we do not know. Raises StorageError."""
        await self._engine.mesh.buckets.know_named(database, tags, link.state.sharing)

    def hang_up(self) -> None:
        """Say goodbye on every link."""
        for link in list(self.links.values()):
            link.deliver(CloseRequested(Reason.DONE))

    # News for links ----------------------------------------------------------------------------

    def committed(self, group: list[Staged]) -> None:
        """Our own entries are durable: push them to every peer, one frame a log."""
        held = self._engine.scheduling.held
        if any(one.log.scope.privacy and one.log.scope.database not in held for one in group):
            self._engine.phone.wrote()
        if not self.links:
            return
        runs: dict[Log, list[Staged]] = {}
        for staged in group:
            runs.setdefault(staged.log, []).append(staged)
        for log, entries in runs.items():
            for frame, part in staged_frame(log, entries):
                last = part[-1]
                self._tell(
                    HeadsAdvanced(
                        log.scope.tag,
                        log.instance,
                        log.author,
                        last.seq,
                        last.entry_id,
                        part[0].seq - 1,
                        frame,
                        None,
                    ),
                    None,
                )

    def _tell(self, event: HeadsAdvanced, origin: Link | None) -> None:
        for link in list(self.links.values()):
            if link is not origin:
                link.deliver(event)

    # What links ask for (Office) ---------------------------------------------------------------

    def caps(self, link: Link, lane: bytes) -> Sequence[Bucket]:
        """What limits the frames of a lane."""
        return self._engine.scheduling.caps(link.device, lane)

    async def read_entries(self, request: ReadEntries) -> EntriesRead:
        return await read_entries(self._engine.database, self._engine.ledger, request)

    async def prepare_batch(self, link: Link, batch: Batch) -> Prepared:
        """Verify and decode. Raises BatchRefusedError."""
        return await self._engine.ingest.prepare(batch, link)

    def store_batch(self, link: Link, prepared: Prepared) -> asyncio.Future[BatchHeads]:
        """Make it durable and apply it; then the heads we hold of the batch's logs.

        Goes on if the link ends meanwhile: half of it would be on the disk and not in memory.
        """
        return self._engine.spawn(self._store(link, prepared), "link store")

    def discard_batch(self, prepared: Prepared) -> None:
        """A batch that was prepared will not be stored."""
        self._engine.ingest.discard(prepared)

    async def store_unlinked(self, prepared: Prepared) -> None:
        """As `store_batch`, for entries that came while pairing and not over a link."""
        await self._engine.spawn(self._store(None, prepared), "store")

    async def _store(self, link: Link | None, prepared: Prepared) -> BatchHeads:
        before = {log: log.head_seq for log in prepared.touched}
        try:
            await self._engine.ingest.store(prepared)
        finally:
            # A disk that fails while the entries are applied has stored them: others hear of them.
            for log, before_seq in before.items():
                if log.head_seq > before_seq:
                    self._announce(log, before_seq, link)
        heads = [(log.instance, log.author, log.head_seq, log.head_id) for log in before]
        return tuple(sorted(head for head in heads if head[2]))

    def _announce(self, log: Log, before_seq: int, origin: Link | None) -> None:
        self._tell(
            HeadsAdvanced(
                log.scope.tag,
                log.instance,
                log.author,
                log.head_seq,
                log.head_id,
                before_seq,
                None,
                None if origin is None else origin.key,
            ),
            origin,
        )

    def wake_others(self, link: Link) -> None:
        for other in list(self.links.values()):
            if other is not link:
                asyncio.get_running_loop().call_soon(other.deliver, PlanReleased())

    def proved(self, link: Link, proof: DeclareProof) -> None:
        now_ms = self.clock.wall_ms()
        link.proved_ms = now_ms
        self._engine.attempts_changed()
        self._engine.note(
            lambda conn: peer_rows.proved_peer(conn, link.device, now_ms, proof.root),
            fact=("proved", link.device),
        )
        if not link.proof_told:
            link.proof_told = True
            self._engine.tell("in_sync", self._named(link))
        if link.round.is_open:
            self._engine.audit.tally("synced", self._round_of(link))

    def greeted(self, link: Link, greeting: DeclareGreeting) -> None:
        """The peer told which store it is and where it listens: drop a second link to it."""
        link.remote_state = state = dict(greeting.device_state)
        self._engine.reach.greeted(link)
        self._engine.demands.ask_on(link)
        port = state.get("port")
        if not link.channel.initiator and isinstance(port, int) and 0 < port < 65536:
            address = Address(link.channel.remote.host, port)
            self._engine.reach.learned(link.device, address, AddressSource.ACCEPTED)
        self._keep_one(link, state.get("instance"))

    def _keep_one(self, link: Link, instance: Any) -> None:
        """Two links to one process of one device are one too many.

        Two processes with one instance are two machines that run copies of one store. They would
        push each other out for ever, as long as neither writes and so shows that there are two.
        """
        if not isinstance(instance, bytes) or len(instance) != 16:
            return
        run = link.remote_state.get("run")
        ours = store_key(self._engine.keys.sig_pk, self._engine.instance)
        for other in self.links_to(link.device):
            if other is link or other.remote_state.get("instance") != instance:
                continue
            if other.remote_state.get("run") != run:
                continue
            stays = newcomer_stays(
                ours,
                store_key(link.device, instance),
                old_dialled_by_us=other.channel.initiator,
                new_dialled_by_us=link.channel.initiator,
            )
            surplus = other if stays else link
            loop = asyncio.get_running_loop()
            loop.call_soon(surplus.deliver, CloseRequested(Reason.REPLACED))

    def vectors_told(self, link: Link, scope: bytes) -> None:
        """The peer told the heads of a scope: compare those it has that are behind ours."""
        heads = link.state.knowledge.theirs.get(scope, {})
        if self._engine.forks.behind(scope, heads) and (link.key, scope) not in self._comparing:
            self._comparing.add((link.key, scope))
            self._engine.spawn(self._compare(link, scope), "compare")

    async def _compare(self, link: Link, scope: bytes) -> None:
        try:
            heads = link.state.knowledge.theirs.get(scope, {})
            for instance, seq in await self._engine.forks.claims(scope, heads):
                link.want_proof(scope, instance, seq)
        finally:
            self._comparing.discard((link.key, scope))

    def demanded(self, link: Link, message: Demand) -> None:
        self._engine.demands.heard(link, message)

    def fork_seen(self, link: Link, fork: DeclareFork) -> None:
        """Only a claim so far: anybody can tell a made-up id."""
        link.want_proof(fork.scope, fork.instance, fork.seq)
