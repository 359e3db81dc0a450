"""Engine: one running node on ports. It holds the parts, and tells them of one another.

`start` loads what the store holds; `go_online` listens, announces and dials; `close` ends every
task and socket. What decides is elsewhere: writing in `writer`, receiving in `ingest`, membership
in `mesh`, who is dialled in `reach`, one session a peer in `links`, what people are told in
`directory` and `status`. The engine carries news between them: entries that became durable go to
every link, keys that arrived wake waiting entries, a changed membership closes or widens links.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from .. import CoveyError
from ..crypto.grants import mesh_id
from ..crypto.identity import DeviceKeys, read_certificate, short_id, shown_id
from ..storage import event_rows
from ..storage.errors import StorageError
from ..storage.files import Files
from ..storage.peer_rows import AddressSource
from ..storage.store import Conn, Store
from ..storage.stores import Stores
from ..sync.fetch import FetchPlan
from ..sync.membership import Membership
from ..sync.registry import Device
from ..sync.rules import Rule
from .adopting import Adoption, adopt_mesh, take_carried
from .audit import Audit
from .background import AGAIN_MS, finish, retry_when_due
from .blobs import Beside, Blobs, here
from .channel import VERSIONS
from .committer import Committer, Staged
from .counters import Counters
from .data.following import Followed
from .data.late_parts import LateParts
from .data.schemas import Schemas
from .demands import Demands
from .directory import Directory
from .forks import ForkKeeper
from .happenings import Board, NodeEvent
from .headings import HeadingNumbers
from .inbox import Inbox
from .ingest import Ingest
from .ledger import Ledger
from .links import FEATURES
from .loading import fill, read_stored
from .mesh import Mesh
from .narrowing import Narrowing
from .notes import Notes
from .pairing import PairingWindow
from .patience import Patience
from .phone import PhoneMode
from .policies import Policies
from .ports import Address, Clock, Discovery, Entropy, Transport
from .reach import Reach
from .reader import Reader
from .rejudging import Rejudging
from .requests import Requests
from .rulings import Rulings
from .scheduling import Scheduling
from .shelf import Shelf
from .status import Standing, node_status, peer_standing
from .summaries import Summaries
from .switchboard import Switchboard
from .trust import Trust
from .turns import Turns
from .writer import Writer

T = TypeVar("T")


class WindowOpenError(CoveyError):
    """A code is being shown already; there is one pairing window at a time."""

    exit_code = 7


class Engine(LateParts):
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
        look: Callable[[], Hashable] = tuple,
        *,
        files: Files,
        beside: Beside = here,
    ) -> None:
        """`look` names the network we are on, to be compared with itself later; `beside` runs calls
        on `files` without stopping the loop.
        """
        self.place = place
        self.database = Followed(database)
        self.keys = keys
        self.instance = instance
        self.clock = clock
        self.entropy = entropy
        self.transport = transport
        self.discovery = discovery
        self.counters = counters
        self.look = look
        self.versions: tuple[int, ...] = VERSIONS
        """Protocol versions to offer, ascending; others only where old and new nodes are mixed."""
        self.features: tuple[str, ...] = FEATURES
        """What else to offer, ascending."""
        self.back_up: Callable[[Path, bool], Awaitable[dict[str, Any]]] | None = None  # backup.py
        self._window: PairingWindow | None = None
        self._tasks: dict[asyncio.Task[Any], None] = {}
        """In the order of their start: a set would end them in the order of their addresses."""
        self.closing = False
        self.own_rules: dict[str, Rule] = {}
        self._make_parts(files, beside)

    def _make_parts(self, files: Files, beside: Beside) -> None:
        """Make what lives as long as the engine; `_wire` makes what holds the store's content."""
        self.beside = beside
        self.stores = Stores(self.place)
        self.board = Board()
        self.notes = Notes(self.database, self.clock)
        self.audit = Audit(self.database, self.notes, self.board, self.clock)
        self.blobs = Blobs(self, files, beside)
        self.board.blobs_noticed = self.blobs.noticed
        self.summaries = Summaries(self)
        self.rulings = Rulings(self)
        self.switchboard = Switchboard(self)
        self.turns = Turns()
        self.patience = Patience(self)
        self.scheduling = Scheduling(self)
        self.phone = PhoneMode(self)
        self.reach = Reach(self)
        self.directory = Directory(self)
        self.demands = Demands(self)
        self.narrowing = Narrowing(self)
        self.inbox = Inbox(self)
        self.rejudging = Rejudging(self)
        self.schemas = Schemas(self)
        self.schemas.on_install.append(self.schema_installed)
        self.schemas.on_remove.append(self.schema_removed)
        self.trust = Trust(self)
        self.policies = Policies(self)
        self.requests = Requests(self)
        self._wire(0, None)  # A store that cannot be read must be closed as well.

    # Starting and stopping ---------------------------------------------------------------------

    async def start(self) -> None:
        """Load what the store holds and take up what was left undone."""
        await self._load()
        await self.blobs.start()
        # Drawn again at each start: a crash may have come between an operation and what follows.
        await self.mesh.learned(())
        await self.ingest.resume()
        await self.schemas.start()
        await take_carried(self)
        await self.narrowing.start()
        await self.rejudging.start()

    def _put_off(self) -> None:
        """Entries that we crashed at, or that the disk refused to apply, are tried again later."""
        if self.closing or any(t.get_name() == "put off" and not t.done() for t in self._tasks):
            return
        # By lambda: a store that was rebuilt has another ingest.
        due, retry = lambda: self.ingest.next_due_ms(), lambda: self.ingest.retry_waiting()
        self.spawn(retry_when_due(self.clock, due, retry), "put off")

    async def _load(self) -> None:
        stored = await self.database.read(read_stored)
        self._wire(stored.hlc, stored.mesh)
        fill(self.ledger, self.mesh, stored)
        self.blobs.known = stored.knows_blobs
        self.rulings.load(stored.rulings)

    def _wire(self, hlc: int, mesh: bytes | None) -> None:
        """Make the parts anew, empty, and tell each which others it works with."""
        self.ledger = Ledger({self.instance: self.keys.sig_pk})
        self.switchboard.plan = FetchPlan()
        headings = HeadingNumbers()
        self.mesh = Mesh(
            self.database,
            self.ledger,
            self.keys,
            self.instance,
            self.clock,
            self.entropy,
            Membership(read_certificate, mesh_id, mesh),
            self._membership_changed,
            self.switchboard.scopes_known,
        )
        self.shelf = Shelf(self.database, self.ledger, self.mesh, self.place, self.own_rules)
        self.committer = Committer(
            self.database,
            self.ledger,
            self.keys,
            self.clock,
            self.entropy,
            headings,
            self._committed,
            self._failed,
            hlc,
            hlc,
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
            self.audit,
            self.clock,
            self.counters,
            headings,
            self.forks.compare,
            self.rulings,
            self._put_off,
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
        self.writer.resolve = self.blobs.resolve
        self.writer.aside = self.summaries.aside
        self.writer.fitting = self.schemas.fitting
        self.reader = Reader(self.database, self.ledger)

    async def rebuild(self, change: Callable[[], Awaitable[None]]) -> None:
        """Change what the store holds while nobody reads or writes, then load it anew.

        Links end first. Local writers that wait meanwhile go on with what is loaded.
        """
        self.switchboard.is_off = True
        try:
            self.switchboard.hang_up()
            await self.patience.until(lambda: not self.switchboard.links)
            async with self.turns.alone():
                await self.committer.settle()
                await self.notes.flush()
                await change()
                before = self.writer
                await self._load_again()
                self.blobs.fetching.start_over()
                before.successor = self.writer
            await self.ingest.resume()
        finally:
            self.switchboard.is_off = False
            self.links_changed()

    async def _load_again(self) -> None:
        """Load what was just changed. Until it can be read nobody may write: memory is older."""
        while True:
            try:
                return await self._load()
            except StorageError as error:
                self.board.post(NodeEvent("disk_trouble", {"message": str(error)}))
                await self.clock.sleep_ms(AGAIN_MS)

    async def go_online(self) -> None:
        """Listen, announce and dial, if we do not yet. Raises PortInUseError."""
        await self.reach.start()
        self.trust.start()

    async def close(self) -> None:
        """Say goodbye to every peer, finish what is being written, end every task."""
        if self.closing:
            return
        self.closing = True
        self.patience.look_again()
        self.switchboard.is_off = True
        await self.reach.close()
        self.switchboard.hang_up()
        await finish(self._tasks, self.clock)
        await self.reach.close_listener()
        await self.blobs.close()
        await self.close_late_parts()
        await self.audit.close()
        await self.committer.settle()
        self.board.close()
        if self.discovery is not None:
            await self.discovery.close()
        await self.database.close()
        # Whoever wrote while the store was closing is told that it is closed.
        await self.committer.settle()

    def spawn(self, work: Awaitable[Any], name: str) -> asyncio.Task[Any]:
        """Run in the background until it ends or the node closes."""
        task = asyncio.ensure_future(work)
        if isinstance(task, asyncio.Task):
            task.set_name(name)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))
        return task

    # News between the parts --------------------------------------------------------------------

    def _committed(self, group: list[Staged]) -> None:
        """Our own entries are durable."""
        self.switchboard.committed(group)
        if any(row.blobs for staged in group for row in staged.rows):
            self.blobs.noticed()

    def _failed(self, group: list[Staged]) -> None:
        """These entries will not be: forget the states that were computed from them."""
        for staged in group:
            self.shelf.drop((row.scope, row.collection, row.id) for row in staged.rows)
        operations = [staged.entry_id for staged in group if staged.operation is not None]
        if operations:
            self.mesh.take_back(operations)

    def _membership_changed(self) -> None:
        """The registry is another one: links, dialling and waiting entries depend on it."""
        self.narrowing.membership_changed()
        self.rejudging.membership_changed()
        self.switchboard.membership_changed()
        self.reach.membership_changed()
        self.trust.membership_changed()
        self.blobs.fetching.looking.membership_changed()
        self.patience.look_again()
        if not self.closing and hasattr(self, "ingest"):
            self.spawn(self._retry_waiting(), "retry")

    async def _retry_waiting(self) -> None:
        """What waited may be readable now; what the disk refused is tried again, later."""
        with suppress(StorageError):
            await self.ingest.retry_waiting()
            await self.mesh.grant_owed()
        if not (self.mesh.is_behind or self.ingest.is_behind):
            return
        await self.clock.sleep_ms(AGAIN_MS)
        if self.ingest.is_behind:
            self.spawn(self._retry_waiting(), "retry")
        if self.mesh.is_behind:  # Others wait as we do; one of them may have done it.
            with suppress(StorageError):
                await self.mesh.catch_up()
                self.switchboard.hang_up()  # Peers have given up comparing with who knew nothing.

    def links_changed(self) -> None:
        """Somebody came or went: look whom to dial, and wake who waits."""
        self.patience.look_again()
        if not self.closing:
            self.reach.links_changed()

    def knows(self, static: bytes) -> bool:
        """Whether this Noise key is an active member's."""
        device = self.mesh.registry.by_dh(static)
        return device is not None and device.active

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

    async def adopt(self, adoption: Adoption) -> None:
        """Leave our mesh of one for the one that admitted us; what we wrote comes along."""
        await self.rebuild(lambda: adopt_mesh(self, adoption))
        await self.mesh.learned(())
        await take_carried(self)
        self.tell("joined", {"mesh": self.mesh.id.hex()})

    # Telling -----------------------------------------------------------------------------------

    def tell(self, kind: str, detail: dict[str, Any]) -> None:
        """An event for people: on the board now, and in the log of the store."""
        self.audit.tell(kind, detail)

    async def alarm(self, kind: str, detail: dict[str, Any]) -> None:
        """Something a person must know: kept until they do, and shown by `status`."""
        now_ms = self.clock.wall_ms()
        text = json.dumps(detail, sort_keys=True)
        fresh = await self.database.write(
            lambda conn: event_rows.raise_alarm(conn, now_ms, kind, text)
        )
        if fresh:
            self.tell("alarm", {"kind": kind, **detail})

    def shown_id(self, device: bytes) -> str:
        return shown_id(device)

    def short_id(self, device: bytes) -> str:
        return short_id(device)

    def our_device(self) -> Device:
        return self.mesh.us()

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

    def add_address(self, host: str, port: int, device: bytes | None = None) -> None:
        """Try this address for one device, or for every device we know."""
        self.reach.typed(Address(host, port), device)

    def remember_address(self, device: bytes, address: Address, source: AddressSource) -> None:
        self.reach.learned(device, address, source)

    def note(self, job: Callable[[Conn], Any], fact: object = None) -> None:
        """Write something that nobody waits for (`Notes.add`)."""
        if not self.closing:
            self.notes.add(job, fact)

    def attempts_changed(self) -> None:
        """An attempt to reach somebody ended: whoever waits for links looks again."""
        self.patience.look_again()
