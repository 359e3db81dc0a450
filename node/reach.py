"""Reach: being found, finding others, and having a link to everyone who can be reached.

Listens on one port for members and, while a code is shown, for a new device. Announces a rotating
tag over mDNS that only members recognise, and browses for theirs. Which address of whom is tried
when is decided by `dialing` (pure); this module carries it out, and every attempt, however it ends,
goes back into the book. Addresses that worked are remembered in the store.

Where the network has no multicast the node goes on with the addresses it knows, and says so once.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from .. import CoveyError
from ..crypto.pairing import qr_psk
from ..crypto.secret import Secret
from ..storage import peer_rows
from ..storage.peer_rows import AddressSource
from ..storage.store import Conn
from ..sync.session_events import Opened
from ..sync.session_limits import BATCH_BYTES_TARGET
from ..sync.sharing import Sharing
from .addresses import is_unspecified
from .channel import (
    ChannelKeys,
    ChannelRefused,
    Purpose,
    Refusal,
    SecureChannel,
    accept_channel,
    open_channel,
)
from .deadline import set_or_passed
from .dialing import CANDIDATES_PER_DEVICE_MAX, Attempt, DialBook, Failure, Source
from .introducing import Introducing, forget_former, former_keys
from .links import Link
from .network_watch import Change, NetworkWatch
from .ports import (
    SERVICE_MEMBER,
    Address,
    Announcement,
    Browsing,
    Connection,
    ConnectionLostError,
    Listener,
    PortInUseError,
    Sighting,
    UnreachableError,
)
from .presence import Presence
from .ticket import Ticket

if TYPE_CHECKING:
    from .engine import Engine

DEFAULT_PORT = 7654
LABEL_BYTES = 4
RUN_BYTES = 16
IDLE_LOOK_MS = 60_000
"""How long the dialer sleeps when nothing is due and nothing wakes it."""


_FAILURES = {
    Refusal.NO_SHARED_VERSION: Failure.REFUSED,
    Refusal.UNKNOWN_DEVICE: Failure.REFUSED,
    Refusal.TIMEOUT: Failure.UNREACHABLE,
}


class Reach:
    """The network side of one engine. Off until `start`."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self.listen_on: Address | None = None
        self._book = DialBook(engine.entropy.uniform)
        self._listener: Listener | None = None
        self._starting = asyncio.Lock()
        self._wake = asyncio.Event()
        self._key_changed = asyncio.Event()
        self._attempts: dict[int, tuple[Attempt, asyncio.Task[None]]] = {}
        self._introducing = Introducing(None)
        self._presence: Presence | None = None
        self._announcement: Announcement | None = None
        self._browsing: Browsing | None = None
        self._label = engine.entropy.draw(LABEL_BYTES).hex()
        self._run = engine.entropy.draw(RUN_BYTES)
        """Tells this process from another one that runs on a copy of our store."""
        self._mdns_told = False

    # Being found -------------------------------------------------------------------------------

    @property
    def port(self) -> int | None:
        return None if self._listener is None else self._listener.port

    async def start(self) -> None:
        """Listen, announce, browse and dial. Harmless if it was done. Raises PortInUseError."""
        async with self._starting:
            if self._listener is not None:
                return
            engine = self._engine
            await engine.scheduling.start()
            self._listener = await self._listen()
            await self._load_addresses()
            self._introducing = Introducing(await engine.database.read(former_keys))
            self.membership_changed()
            engine.spawn(self._dial_loop(), "dial")
            engine.spawn(engine.phone.run(), "phone")
            engine.spawn(NetworkWatch(engine.clock, engine.look, self._moved).run(), "watch")
            if engine.discovery is not None:
                engine.spawn(self._appear(), "appear")

    async def close(self) -> None:
        """Stop being found and stop dialling. Links are not touched."""
        for attempt, task in list(self._attempts.values()):
            task.cancel()
            self._attempts.pop(attempt.number, None)
        for thing in (self._browsing, self._announcement):
            if thing is not None:
                with suppress(CoveyError):
                    await thing.close()
        self._browsing = self._announcement = None

    async def close_listener(self) -> None:
        """The last thing: also ends connections that were accepted."""
        if self._listener is not None:
            await self._listener.close()
            self._listener = None

    async def _listen(self) -> Listener:
        """The address that was asked for, or the usual port, or any free one."""
        transport = self._engine.transport
        if self.listen_on is not None:
            return await transport.listen(self.listen_on.host, self.listen_on.port, self._accept)
        try:
            return await transport.listen("::", DEFAULT_PORT, self._accept)
        except PortInUseError:
            return await transport.listen("::", 0, self._accept)

    async def _accept(self, connection: Connection) -> None:
        """Whoever knocks: a member, a new device while a code is shown, or nobody."""
        engine = self._engine
        offers = {Purpose.MEMBER: ChannelKeys(engine.keys.dh_secret())}
        window = engine.window
        if window is not None:
            offers |= window.offers()
        with suppress(ChannelRefused):
            channel = await accept_channel(
                connection,
                offers,
                engine.knows,
                clock=engine.clock,
                entropy=engine.entropy,
                counters=engine.counters,
                versions=engine.versions,
                features=engine.features,
            )
            if channel.purpose is Purpose.MEMBER:
                await engine.spawn(engine.switchboard.run_link(channel), "link accepted")
            elif window is not None:
                await window.handle(channel)

    async def _appear(self) -> None:
        """Announce ourselves under a tag that rotates, and listen for other members."""
        engine = self._engine
        self._presence = Presence(engine.mesh.discovery_keys())
        self._browsing = await self._try_browse()
        while True:
            properties = self._presence.properties(engine.clock.monotonic_ms(), engine.entropy.draw)
            if self._announcement is None:
                self._announcement = await self.announce(SERVICE_MEMBER, properties)
            else:
                with suppress(CoveyError):
                    await self._announcement.update(properties)
            left_ms = self._presence.changes_at_ms() - engine.clock.monotonic_ms()
            await set_or_passed(engine.clock, max(left_ms, 1_000), self._key_changed)
            self._key_changed.clear()
            self._presence.use_keys(engine.mesh.discovery_keys())

    async def _try_browse(self) -> Browsing | None:
        try:
            return await self.browse(SERVICE_MEMBER, self._seen)
        except CoveyError as error:
            self._tell_no_mdns(error)
            return None

    async def announce(self, service: str, properties: dict[str, str]) -> Announcement | None:
        """Be visible by mDNS; None where that cannot be had."""
        discovery, port = self._engine.discovery, self.port
        if discovery is None or port is None:
            return None
        try:
            return await discovery.announce(service, self._label, port, properties)
        except CoveyError as error:
            self._tell_no_mdns(error)
            return None

    async def browse(self, service: str, seen: Callable[[Sighting], None]) -> Browsing:
        """Raises DiscoveryUnavailable, UnreachableError without discovery."""
        if self._engine.discovery is None:
            raise UnreachableError("mDNS is switched off: give an address with --address HOST:PORT")
        return await self._engine.discovery.browse(service, seen)

    def _tell_no_mdns(self, error: CoveyError) -> None:
        if not self._mdns_told:
            self._mdns_told = True
            self._engine.tell("mdns_unavailable", {"message": str(error)})

    def _seen(self, sighting: Sighting) -> None:
        if sighting.instance == self._label or self._presence is None:
            return
        if self._presence.recognise(sighting):
            now_ms = self._engine.clock.monotonic_ms()
            self._book.sighted(sighting.instance, sighting.addresses, now_ms)
            self._wake.set()

    # Dialling ----------------------------------------------------------------------------------

    def membership_changed(self) -> None:
        """Other devices may belong now, and another key may be the newest."""
        if self._listener is None:
            return
        self._key_changed.set()
        self.links_changed()

    def links_changed(self) -> None:
        """Want whoever belongs and is not linked; leave in peace whoever is."""
        engine, now_ms = self._engine, self._engine.clock.monotonic_ms()
        members = set(self.candidates())
        for device in engine.mesh.registry.devices:
            is_wanted = device in members and engine.phone.wants(device)
            if is_wanted and not engine.switchboard.links_to(device):
                self._book.want(device, now_ms)
            else:
                self._cancel(self._book.unwant(device))
        self._wake.set()

    def candidates(self) -> list[bytes]:
        """The other active devices of the mesh."""
        registry, us = self._engine.mesh.registry, self._engine.keys.sig_pk
        return [device.sig_pk for device in registry.active() if device.sig_pk != us]

    def hurry(self) -> None:
        """A person waits: try everything now."""
        self._engine.phone.stir()
        self._book.hurry(self._engine.clock.monotonic_ms())
        self._wake.set()

    def _moved(self, change: Change) -> None:
        """Woken from sleep, or on another network: nothing that was discovered still holds."""
        engine = self._engine
        engine.counters.add(f"network.{change.value}")
        engine.phone.stir()
        self._book.network_changed(engine.clock.monotonic_ms())
        self._wake.set()
        if engine.discovery is not None:
            engine.spawn(self._refresh(), "refresh")

    async def _refresh(self) -> None:
        assert self._engine.discovery is not None
        try:
            await self._engine.discovery.refresh()
        except CoveyError as error:
            self._tell_no_mdns(error)
            return
        # What could not be had on the network before may be possible on this one.
        if self._browsing is None:
            self._browsing = await self._try_browse()
        self._key_changed.set()

    def is_trying(self, device: bytes) -> bool:
        return any(attempt.device == device for attempt, _ in self._attempts.values())

    def typed(self, address: Address, device: bytes | None) -> None:
        """An address from a person, of one device or of any."""
        now_ms = self._engine.clock.monotonic_ms()
        self._book.learned(Source.TYPED, device, address, now_ms)
        self._wake.set()

    def learned(self, device: bytes, address: Address, source: AddressSource) -> None:
        """An address of a device, worth keeping."""
        now_ms = self._engine.clock.monotonic_ms()
        kinds = {AddressSource.ACCEPTED: Source.ACCEPTED, AddressSource.TYPED: Source.TYPED}
        self._book.learned(kinds.get(source, Source.REMEMBERED), device, address, now_ms)
        self._engine.note(
            lambda conn: peer_rows.note_address(conn, device, address.host, address.port, source)
        )
        self._wake.set()

    async def _load_addresses(self) -> None:
        now_ms = self._engine.clock.monotonic_ms()
        for device in self.candidates():
            rows = await self._engine.database.read(
                lambda conn, d=device: peer_rows.addresses(conn, d)  # type: ignore[misc]
            )
            typed = [row for row in rows if row.source == "typed"]
            worked = [row for row in rows if row.source != "typed"]
            room = max(CANDIDATES_PER_DEVICE_MAX - len(typed), 0)
            # The best come first: the book would drop the ones before for the ones after.
            for row in typed + worked[:room]:
                source = Source.TYPED if row.source == "typed" else Source.REMEMBERED
                self._book.learned(source, device, Address(row.host, row.port), now_ms)

    async def _dial_loop(self) -> None:
        clock = self._engine.clock
        while not self._engine.closing:
            self._wake.clear()
            now_ms = clock.monotonic_ms()
            for attempt in self._book.due(now_ms):
                task = self._engine.spawn(self._try(attempt), "dial attempt")
                self._attempts[attempt.number] = (attempt, task)
            due_ms = self._book.next_due_ms(now_ms)
            wait_ms = IDLE_LOOK_MS if due_ms is None else max(due_ms - now_ms, 1)
            await set_or_passed(clock, wait_ms, self._wake)

    async def _try(self, attempt: Attempt) -> None:
        """Dial one address and expect one device there."""
        engine = self._engine
        try:
            channel = await self._open(attempt)
        except (UnreachableError, ConnectionLostError):
            self._failed(attempt, Failure.UNREACHABLE)
            return
        except ChannelRefused as error:
            self._failed(attempt, _FAILURES.get(error.reason, Failure.OTHER_DEVICE))
            return
        finally:
            self._attempts.pop(attempt.number, None)
            engine.attempts_changed()
        now_ms = engine.clock.monotonic_ms()
        self._cancel(self._book.succeeded(attempt, now_ms))
        device, address, wall_ms = attempt.device, attempt.address, engine.clock.wall_ms()

        def note(conn: Conn) -> None:
            peer_rows.note_address(
                conn, device, address.host, address.port, AddressSource.DISCOVERED
            )
            peer_rows.address_worked(conn, device, address.host, address.port, wall_ms)

        engine.note(note)
        engine.spawn(engine.switchboard.run_link(channel), "link dialled")

    async def _open(self, attempt: Attempt) -> SecureChannel:
        engine = self._engine
        device = engine.mesh.registry.devices[attempt.device]
        connection = await engine.transport.dial(attempt.address, attempt.timeout_ms)
        keys = self._introducing.keys(attempt.device, engine.keys)
        channel = await open_channel(
            connection,
            Purpose.MEMBER,
            ChannelKeys(keys.dh_secret()),
            device.dh_pk,
            clock=engine.clock,
            entropy=engine.entropy,
            counters=engine.counters,
            versions=engine.versions,
            features=engine.features,
        )
        channel.is_introduction = keys.sig_pk != engine.keys.sig_pk
        return channel

    def greeted(self, link: Link) -> None:
        """Whoever greets us by our own name knows us: no introduction is needed any more."""
        if not link.channel.is_introduction and self._introducing.greeted(
            link.device, self.candidates()
        ):
            self._engine.note(forget_former)

    def _failed(self, attempt: Attempt, failure: Failure) -> None:
        self._book.failed(attempt, self._engine.clock.monotonic_ms(), failure)
        self._engine.counters.add(f"dial.{failure.value}")
        self._wake.set()

    def _cancel(self, attempts: list[Attempt]) -> None:
        for attempt in attempts:
            _, task = self._attempts.pop(attempt.number, (attempt, None))
            if task is not None:
                task.cancel()

    # Sessions ----------------------------------------------------------------------------------

    def opening(self, link: Link, sharing: Sharing) -> Opened:
        """How a session begins: what we tell of ourselves to a member."""
        state = {"instance": self._engine.instance, "port": self.port or 0, "run": self._run}
        link.floors = self._engine.mesh.buckets.floors()
        if link.floors:
            state["floors"] = link.floors
        sharing = sharing.with_floors(link.floors)
        state |= self._engine.phone.told()
        return Opened(
            link.key,
            sharing,
            state,
            link.channel.features,
            link.channel.version,
            self._engine.scheduling.schedule_with(link.device),
            self._engine.switchboard.paces.get(link.device, BATCH_BYTES_TARGET),
        )

    def path_of(self, address: Address) -> str:
        """`lan` for an address of a local network, else `direct`."""
        from ipaddress import ip_address

        try:
            parsed = ip_address(address.host.partition("%")[0])
        except ValueError:
            return "direct"
        return "lan" if parsed.is_private or parsed.is_link_local else "direct"

    def own_addresses(self) -> list[Address]:
        """Where others on this network may find us, for showing beside a code."""
        discovery, port = self._engine.discovery, self.port
        hosts = discovery.hosts() if discovery is not None else ()
        if not hosts and self.listen_on is not None and not is_unspecified(self.listen_on):
            hosts = (self.listen_on.host,)
        return [Address(host, port) for host in hosts if port]

    async def open_pairing_channel(
        self, address: Address, static: Secret, ticket: Ticket | None, timeout_ms: int
    ) -> SecureChannel:
        """As the new device: go where a code is shown, or the picture of which `ticket` is read.

        Raises UnreachableError, ChannelRefused.
        """
        engine = self._engine
        connection = await engine.transport.dial(address, timeout_ms)
        return await open_channel(
            connection,
            Purpose.PAIRING if ticket is None else Purpose.QR,
            ChannelKeys(static, None if ticket is None else qr_psk(ticket.token)),
            None if ticket is None else ticket.static,
            clock=engine.clock,
            entropy=engine.entropy,
            counters=engine.counters,
            versions=engine.versions,
            features=engine.features,
        )
