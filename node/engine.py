"""Engine: one running node on ports. It holds the parts, and tells them of one another.

`start` loads what the store holds; `go_online` listens, announces and dials; `close` ends every task and
socket. What decides is elsewhere: writing in `writer`, receiving in `ingest`, membership in
`mesh`, who is dialled in `reach`, one session a peer in `links`. The engine carries news between them:
entries that became durable go to every link, keys that arrived wake waiting entries, a changed
membership closes or widens links.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from .. import CoveyError
from ..crypto.entry import CONTROL_SCOPE
from ..crypto.grants import mesh_id
from ..crypto.identity import DeviceKeys, check_name, read_certificate, shown_id, short_id
from ..crypto.secret import Secret
from ..storage import event_rows, log_rows, membership_rows, meta_rows, peer_rows
from ..storage.peer_rows import AddressSource
from ..storage.store import Conn, Store
from ..sync.fetch import FetchPlan
from ..sync.hlc import wall_ms_of
from ..sync.membership import Membership
from ..sync.messages import Batch, Reason
from ..sync.registry import Device
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
from .addresses import parse_address
from .adopting import Adoption, adopt_mesh, take_carried
from .channel import SecureChannel
from .committer import Committer, Staged
from .counters import Counters
from .deadline import DeadlinePassed, within
from .forks import ForkKeeper
from .happenings import Board, NodeEvent
from .headings import HeadingNumbers
from .ingest import Ingest
from .ledger import PRIVACY_NAMES, Ledger, Log, Scope
from .links import BatchHeads, Link, Office
from .mesh import Mesh
from .outgoing import read_entries, staged_frame
from .pairing import PairingWindow
from .ports import (
    Address,
    Announcement,
    Browsing,
    Clock,
    Discovery,
    Entropy,
    Sighting,
    Transport,
)
from .reach import Reach
from .reader import Found, Reader
from .shelf import Shelf
from .status import Standing, node_status, peer_standing
from .ties import newcomer_stays, store_key
from .times import iso_time
from .turns import Turns
from .writer import Writer

T = TypeVar("T")


class UnknownDeviceError(CoveyError):
    """No device of this mesh has that id, or name, or more than one has that name."""

    exit_code = 1


class WindowOpenError(CoveyError):
    """A code is being shown already; there is one pairing window at a time."""

    exit_code = 7


class Engine(Office):
    """An open node. `start` before anything else; `close` at the end."""

    def __init__(
        self,
        place: Path,
        database: Store,
        keys: DeviceKeys,
        instance: bytes,
        clock: Clock,
        entropy: Entropy,
        transport: Transport,
        discovery: Discovery | None,
        counters: Counters,
    ) -> None:
        self.place = place
        self.database = database
        self.keys = keys
        self.instance = instance
        self.clock = clock
        self.entropy = entropy
        self.transport = transport
        self.discovery = discovery
        self.counters = counters
        self.board = Board()
        self.links: dict[bytes, Link] = {}
        self.last_links: dict[bytes, Link] = {}
        self.plan = FetchPlan()
        self._window: PairingWindow | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._link_changed = asyncio.Event()
        self._closing = False
        self.reach = Reach(self)

    # Starting and stopping ---------------------------------------------------------------------

    async def start(self) -> None:
        """Load what the store holds and take up what was left undone."""
        await self._load()
        await self.ingest.resume()
        await take_carried(self)

    async def _load(self) -> None:
        rows = await self.database.read(
            lambda conn: (
                log_rows.scopes(conn),
                log_rows.logs(conn),
                membership_rows.operations(conn),
                membership_rows.scope_keys(conn),
                meta_rows.get_meta(conn, "hlc"),
            )
        )
        scopes, logs, operations, keys, hlc = rows
        self.ledger = Ledger()
        self.holdings = self.ledger.holdings
        self.plan = FetchPlan()
        self.turns = Turns()
        headings = HeadingNumbers()
        self.mesh = Mesh(
            self.database,
            self.ledger,
            self.keys,
            self.instance,
            self.clock,
            self.entropy,
            Membership(read_certificate, mesh_id),
            self._membership_changed,
        )
        self.shelf = Shelf(self.database, self.ledger, self.mesh, self.place)
        self.committer = Committer(
            self.database,
            self.ledger,
            self.keys,
            self.entropy,
            headings,
            self._advanced,
            self._failed,
            int.from_bytes(hlc or b"", "big"),
        )
        self.mesh.committer = self.committer
        self.forks = ForkKeeper(self)
        self.ingest = Ingest(
            self.database,
            self.ledger,
            self.mesh,
            self.shelf,
            self.committer,
            self.turns,
            self.board,
            self.clock,
            self.counters,
            headings,
            self.forks.found,
        )
        self.writer = Writer(
            self.ledger,
            self.mesh,
            self.shelf,
            self.committer,
            self.turns,
            self.board,
            self.clock,
            self.entropy,
        )
        self.reader = Reader(self.database, self.ledger)
        for row in scopes:
            if row.tag == CONTROL_SCOPE:
                self.ledger.add_scope(Scope(row.scope_no, row.tag, "", row.privacy), b"")
        self.mesh.load([(o.op_id, o.author, o.body) for o in operations], keys)
        for row in scopes:
            if row.tag != CONTROL_SCOPE:
                self.mesh.add_scope(Scope(row.scope_no, row.tag, row.database, row.privacy))
        self.mesh.load((), keys)
        for head in logs:
            log = Log(
                head.log_no,
                self.ledger.scope_numbered(head.scope_no),
                head.instance,
                head.author,
            )
            if head.head_seq:
                log.head_seq = log.tail_seq = head.head_seq
                log.head_id = log.tail_id = head.head_id
            self.ledger.add_log(log)

    async def go_online(self) -> None:
        """Listen, announce and dial, if we do not yet. Raises PortInUseError."""
        await self.reach.start()

    async def close(self) -> None:
        """Say goodbye to every peer, finish what is being written, end every task."""
        if self._closing:
            return
        self._closing = True
        await self.reach.close()
        for link in list(self.links.values()):
            link.deliver(CloseRequested(Reason.DONE))
        await self._finish_tasks()
        await self.reach.close_listener()
        await self.committer.settle()
        self.board.close()
        if self.discovery is not None:
            await self.discovery.close()
        await self.database.close()

    def spawn(self, work: Awaitable[Any], name: str) -> asyncio.Task[Any]:
        """Run in the background until it ends or the node closes."""
        task = asyncio.ensure_future(work)
        if isinstance(task, asyncio.Task):
            task.set_name(name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _finish_tasks(self) -> None:
        """Links end by themselves after their goodbye; everything else is cancelled."""
        linking = [t for t in self._tasks if t.get_name().startswith("link")]
        if linking:
            timer = asyncio.ensure_future(self.clock.sleep_ms(500))
            while any(not t.done() for t in linking) and not timer.done():
                await asyncio.wait([timer, *linking], return_when=asyncio.FIRST_COMPLETED)
                linking = [t for t in linking if not t.done()]
            timer.cancel()
        current = asyncio.current_task()
        rest = [t for t in self._tasks if t is not current]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    # News between the parts --------------------------------------------------------------------

    def _advanced(self, group: list[Staged]) -> None:
        """Our own entries are durable: push them to every peer, one frame a log."""
        if not self.links:
            return
        runs: dict[Log, list[Staged]] = {}
        for staged in group:
            runs.setdefault(staged.log, []).append(staged)
        for log, entries in runs.items():
            for frame, part in staged_frame(log, entries):
                last = part[-1]
                self._tell_links(
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

    def _failed(self, group: list[Staged]) -> None:
        """These entries will not be: forget the states that were computed from them."""
        for staged in group:
            self.shelf.drop((row.scope, row.collection, row.id) for row in staged.rows)

    def _tell_links(self, event: HeadsAdvanced, origin: Link | None) -> None:
        for link in list(self.links.values()):
            if link is not origin:
                link.deliver(event)

    def _membership_changed(self) -> None:
        """The registry is another one: links of those who may not be here any more end."""
        devices = self.mesh.registry.devices
        for link in list(self.links.values()):
            device = devices.get(link.device)
            if device is None or not device.active:
                link.deliver(CloseRequested(Reason.REMOVED))
            else:
                link.deliver(SharedScopesChanged(self.mesh.shared_privacies(link.device)))
        self.reach.membership_changed()
        if not self._closing and hasattr(self, "ingest"):
            self.spawn(self._retry_waiting(), "retry")

    async def _retry_waiting(self) -> None:
        await self.ingest.retry_waiting()

    # What links ask for (Office) ---------------------------------------------------------------

    async def read_entries(self, request: ReadEntries) -> EntriesRead:
        return await read_entries(self.database, self.ledger, request)

    async def store_batch(self, link: Link, batch: Batch) -> BatchHeads:
        """Verify, store and apply; then the heads we hold of the batch's logs."""
        before = {
            run.instance: log.head_seq if (log := self.ledger.log(batch.scope, run.instance)) else 0
            for run in batch.runs
        }
        prepared = await self.ingest.prepare(batch)
        await self.ingest.store(prepared)
        heads = []
        for run in batch.runs:
            log = self.ledger.log(batch.scope, run.instance)
            if log is None or not log.head_seq:
                continue
            heads.append((log.instance, log.author, log.head_seq, log.head_id))
            if log.head_seq > before[run.instance]:
                self._tell_links(
                    HeadsAdvanced(
                        batch.scope,
                        log.instance,
                        log.author,
                        log.head_seq,
                        log.head_id,
                        before[run.instance],
                        None,
                        link.key,
                    ),
                    link,
                )
        return tuple(sorted(set(heads)))

    def wake_others(self, link: Link) -> None:
        for other in list(self.links.values()):
            if other is not link:
                asyncio.get_running_loop().call_soon(other.deliver, PlanReleased())

    def proved(self, link: Link, proof: DeclareProof) -> None:
        now_ms = self.clock.wall_ms()
        link.proved_ms = now_ms
        self._link_changed.set()
        self.note(lambda conn: peer_rows.proved_peer(conn, link.device, now_ms, proof.root))
        if not link.proof_told:
            link.proof_told = True
            self.tell("in_sync", {"device": self.short_id(link.device)})

    def greeted(self, link: Link, greeting: DeclareGreeting) -> None:
        """The peer told which store it is and where it listens: drop a second link to it."""
        link.remote_state = state = dict(greeting.device_state)
        port = state.get("port")
        if not link.channel.initiator and isinstance(port, int) and 0 < port < 65536:
            address = Address(link.channel.remote.host, port)
            self.reach.learned(link.device, address, AddressSource.ACCEPTED)
        self._keep_one(link, state.get("instance"))

    def _keep_one(self, link: Link, instance: Any) -> None:
        """Two links to one store of one device are one too many."""
        if not isinstance(instance, bytes) or len(instance) != 16:
            return
        ours = store_key(self.keys.sig_pk, self.instance)
        for other in self.links_to(link.device):
            if other is link or other.remote_state.get("instance") != instance:
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

    def fork_seen(self, link: Link, fork: DeclareFork) -> None:
        self.spawn(self.forks.declared(fork), "fork")

    # Links -------------------------------------------------------------------------------------

    def knows(self, static: bytes) -> bool:
        """Whether this Noise key is an active member's."""
        device = self.mesh.registry.by_dh(static)
        return device is not None and device.active

    async def run_link(self, channel: SecureChannel) -> None:
        """A channel to a member stands: drive its session until it ends."""
        device = self.mesh.registry.by_dh(channel.remote_static)
        assert device is not None
        key = device.sig_pk[:16] + self.entropy.draw(16)
        link = Link(key, device.sig_pk, channel, self)
        self.links[key] = link
        self.last_links[device.sig_pk] = link
        self.links_changed()
        self._note_seen(device.sig_pk)
        self.tell("connected", {"device": self.short_id(device.sig_pk), "name": device.name})
        try:
            await link.run(self.reach.opening(link, self.mesh.shared_privacies(device.sig_pk)))
        finally:
            self.links.pop(key, None)
            self.links_changed()
            reason = link.closed_for.name.lower() if link.closed_for else "closed"
            self.counters.add(f"link.ended.{reason}")
            if not self._closing:
                self.tell(
                    "disconnected", {"device": self.short_id(device.sig_pk), "reason": reason}
                )
                self._note_seen(device.sig_pk)

    def _note_seen(self, device: bytes) -> None:
        now_ms = self.clock.wall_ms()
        self.note(lambda conn: peer_rows.saw_peer(conn, device, now_ms))

    def links_changed(self) -> None:
        self._link_changed.set()
        if not self._closing:
            self.reach.links_changed()

    def links_to(self, device: bytes) -> list[Link]:
        return [link for link in self.links.values() if link.device == device]

    # Pairing -----------------------------------------------------------------------------------

    def open_window(self, window: PairingWindow) -> None:
        if self._window is not None:
            raise WindowOpenError("a code is being shown already: use it, or end that command")
        self._window = window

    def close_window(self, window: PairingWindow) -> None:
        if self._window is window:
            self._window = None

    @property
    def window(self) -> PairingWindow | None:
        return self._window

    async def after_admission(self, device: bytes, connect_ms: int, sync_ms: int) -> None:
        """Stay until the new device has what we have: connected within one, proved in the other."""
        try:
            await within(self.clock, connect_ms, self._until(lambda: bool(self.links_to(device))))
            await within(
                self.clock,
                sync_ms,
                self._until(
                    lambda: not self.links_to(device)
                    or any(link.proved_ms for link in self.links_to(device))
                ),
            )
        except DeadlinePassed:
            pass

    async def adopt(self, adoption: Adoption) -> None:
        """Leave our mesh of one for the one that admitted us; what we wrote comes along."""
        await self.committer.settle()
        await adopt_mesh(self, adoption)
        await self._load()
        await self.ingest.resume()
        await self.mesh.learned(())
        await take_carried(self)
        self.tell("joined", {"mesh": self.mesh.id.hex()})

    # Doing what a person asks ------------------------------------------------------------------

    async def sync_now(self, device: bytes | None, timeout_ms: int) -> bool:
        """One round with whoever is reachable. True only if all of them are proved in sync.

        With `device`, only that one counts, and it must be reached.
        """
        await self.go_online()
        self.reach.hurry()

        def settled() -> bool:
            wanted = [device] if device else [d for d in self.reach.candidates()]
            linked = [d for d in wanted if self.links_to(d)]
            pending = [d for d in wanted if not self.links_to(d) and self.reach.is_trying(d)]
            return (
                not pending
                and bool(linked)
                and all(peer_standing(self, d).proved for d in linked)
            )

        try:
            await within(self.clock, timeout_ms, self._until(settled))
        except DeadlinePassed:
            return False
        return True

    async def _until(self, condition: Any) -> None:
        """Wait until the condition holds; looked at whenever a link changes, and now and then."""
        while not condition():
            self._link_changed.clear()
            try:
                await within(self.clock, 50, self._link_changed.wait())
            except DeadlinePassed:
                continue

    async def within(self, work: Awaitable[T], timeout_ms: int, *, otherwise: T) -> T:
        """What `work` gives within the time, else `otherwise`."""

        async def wait() -> T:
            return await work

        try:
            return await within(self.clock, timeout_ms, wait())
        except DeadlinePassed:
            return otherwise

    async def rename(self, device: bytes, name: str) -> None:
        await self.mesh.rename(device, check_name(name))

    async def create_database(self, name: str, policy: str | None) -> None:
        """Make a database before its first record; harmless if it is there."""
        from .writer import DATABASE_NAME_BYTES_MAX, check_name as check_text, privacy_level

        if policy not in (None, "full"):
            raise PolicyError(f"policy {policy!r}: this version syncs every database in full")
        check_text("database", name, DATABASE_NAME_BYTES_MAX)
        if self.ledger.scope_named(name, privacy_level(None)) is None:
            await self.mesh.open_scope(name, privacy_level(None))

    # Telling -----------------------------------------------------------------------------------

    def tell(self, kind: str, detail: dict[str, Any]) -> None:
        """An event for people: on the board now, and in the log of the store."""
        self.board.post(NodeEvent(kind, detail))
        now_ms = self.clock.wall_ms()
        text = json.dumps(detail, sort_keys=True)
        self.note(lambda conn: event_rows.add_event(conn, now_ms, kind, text))

    async def alarm(self, kind: str, detail: dict[str, Any]) -> None:
        """Something a person must know: kept until they do, and shown by `status`."""
        now_ms = self.clock.wall_ms()
        text = json.dumps(detail, sort_keys=True)
        fresh = await self.database.write(
            lambda conn: event_rows.raise_alarm(conn, now_ms, kind, text)
        )
        if fresh:
            self.tell("alarm", {"kind": kind, **detail})

    async def journal_rows(self) -> AsyncIterator[dict[str, Any]]:
        after = -1
        while rows := await self.database.read(
            lambda conn, a=after: event_rows.events(conn, a, 500)  # type: ignore[misc]
        ):
            for row in rows:
                after = row.event_no
                yield {
                    "time": iso_time(row.time_ms),
                    "event": row.kind,
                    **json.loads(row.detail),
                }

    def shown_id(self, device: bytes) -> str:
        return shown_id(device)

    def short_id(self, device: bytes) -> str:
        return short_id(device)

    def our_device(self) -> Device:
        return self.mesh.us()

    def find_device(self, text: str) -> Device:
        """By full shown id, or by a name that only one active device has. Raises UnknownDeviceError."""
        devices = list(self.mesh.registry.devices.values())
        wanted = text.replace("-", "").upper()
        for device in devices:
            if shown_id(device.sig_pk).replace("-", "") == wanted:
                return device
        named = [d for d in devices if d.name == text]
        active = [d for d in named if d.active] or named
        if len(active) == 1:
            return active[0]
        if active:
            raise UnknownDeviceError(f"{len(active)} devices are called {text!r}: give the full id")
        raise UnknownDeviceError(f"no device {text!r} in this mesh: `covey devices` lists them")

    async def device_rows(self) -> list[dict[str, Any]]:
        peers = {
            peer.device: peer for peer in await self.database.read(lambda c: peer_rows.peers(c))
        }
        rows = []
        for device in sorted(self.mesh.registry.devices.values(), key=lambda d: d.name):
            seen = peers.get(device.sig_pk)
            rows.append(
                {
                    "device_id": shown_id(device.sig_pk),
                    "short_id": short_id(device.sig_pk),
                    "device_name": device.name,
                    "device_type": device.type,
                    "public_key": device.sig_pk.hex(),
                    "trust_level": device.level,
                    "role": device.role,
                    "last_seen": None
                    if seen is None or seen.last_seen_ms is None
                    else iso_time(seen.last_seen_ms),
                    "status": "active" if device.active else "revoked",
                    "sync_policy": "full",
                    "self": device.sig_pk == self.keys.sig_pk,
                }
            )
        return rows

    async def database_rows(self) -> list[dict[str, Any]]:
        counts = await self.reader.count()
        names = sorted({scope.database for scope in self.ledger.scopes()})
        return [
            {"name": name, "policy": "full", "records": counts.get(name, 0)} for name in names
        ]

    async def addresses_of(self, device: bytes) -> list[str]:
        rows = await self.database.read(lambda conn: peer_rows.addresses(conn, device))
        return [str(Address(row.host, row.port)) for row in rows]

    def describe(self, found: Found) -> dict[str, Any]:
        """Who wrote a record last, when, and for whom it is."""
        log = self.ledger.log_numbered(found.log)
        return {
            "device": shown_id(log.author),
            "time": iso_time(wall_ms_of(found.hlc)),
            "privacy": PRIVACY_NAMES[found.privacy],
            "conflicts": [],
        }

    async def status(self) -> dict[str, Any]:
        return await node_status(self)

    def standing_with(self, device: bytes) -> Standing:
        return peer_standing(self, device)

    # Addresses ---------------------------------------------------------------------------------

    @property
    def port(self) -> int | None:
        return self.reach.port

    def own_addresses(self) -> list[Address]:
        return self.reach.own_addresses()

    def parse_address(self, text: str) -> Address:
        return parse_address(text)

    def add_address(self, host: str, port: int, device: bytes | None = None) -> None:
        """Try this address for one device, or for every device we know."""
        self.reach.typed(Address(host, port), device)

    def remember_address(self, device: bytes, address: Address, source: AddressSource) -> None:
        self.reach.learned(device, address, source)

    def note(self, job: Callable[[Conn], Any]) -> None:
        """Write something that nobody waits for; losing it costs comfort, not data."""
        if not self._closing:
            self.database.write(job).add_done_callback(_ignore)

    def attempts_changed(self) -> None:
        """An attempt to reach somebody ended: whoever waits for links looks again."""
        self._link_changed.set()

    async def announce(self, service: str, properties: dict[str, str]) -> Announcement | None:
        return await self.reach.announce(service, properties)

    async def browse(self, service: str, seen: Callable[[Sighting], None]) -> Browsing:
        return await self.reach.browse(service, seen)

    async def open_pairing_channel(
        self, address: Address, static: Secret, timeout_ms: int
    ) -> SecureChannel:
        return await self.reach.open_pairing_channel(address, static, timeout_ms)


class PolicyError(CoveyError):
    """A sync policy that this version does not have. Nothing was changed."""

    exit_code = 2


def _ignore(future: "asyncio.Future[Any]") -> None:
    """A note in the store failed: the next commit that matters will say so to its caller."""
    if not future.cancelled():
        future.exception()
