"""mDNS: the Discovery port on zeroconf, for every usable interface of this machine.

Announces under a random label with addresses instead of host names, and reports what others
announce, ours left out. Works on a machine that has nothing but loopback. Labels are random enough
to need no probing, so an announcement is out in milliseconds. On `close` everything announced says
goodbye, which takes a quarter of a second.

What fails here is the world's doing and never the end of the node: `announce` and `browse` raise
`DiscoveryUnavailable` with a cause and a cure, and whoever called goes on without and
tries again when the network changes. `refresh` follows such a change.

zeroconf is imported and its sockets are opened by the first call that needs them. At most 64
sightings are held and 64 looked up at a time; the checks are those of `sightings.py`.

Spec: docs/protocol.md, section 10; RFC 6762, RFC 6763.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .. import CoveyError
from .counters import Counters
from .interfaces import (
    Interface,
    announced_addresses,
    multicast_sources,
    nearest_first,
    read_interfaces,
)
from .ports import Sighting
from .sightings import INSTANCE, SIGHTINGS_MAX, SightingBook, read_sighting

if TYPE_CHECKING:
    from zeroconf import ServiceStateChange, Zeroconf
    from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

LOOKUP_MS = 3_000


class DiscoveryUnavailable(CoveyError):  # noqa: N818 - a state of the network, and a normal one
    """Devices on this network can neither be found nor find us. Everything else works.

    Nothing was announced. Trying again helps once the network has changed; until then an address
    that is typed or remembered does.
    """

    exit_code = 4

    def __init__(self, cause: str) -> None:
        super().__init__(
            f"local discovery does not work ({cause}): give the other device's HOST:PORT"
            " with --address, or start with --no-mdns"
        )


@dataclass(eq=False, slots=True)
class _Announcement:
    """Implements `covey.node.ports.Announcement`."""

    discovery: "MulticastDiscovery"
    service: str
    instance: str
    port: int
    properties: dict[str, str]

    async def update(self, properties: dict[str, str]) -> None:
        """Show other properties from now on."""
        self.properties = dict(properties)
        await self.discovery.show(self, first=False)

    async def close(self) -> None:
        await self.discovery.withdraw(self)


@dataclass(eq=False, slots=True)
class _Browsing:
    """Implements `covey.node.ports.Browsing`: looks up what zeroconf's browser notices."""

    discovery: "MulticastDiscovery"
    service: str
    seen: Callable[[Sighting], None]
    browser: "AsyncServiceBrowser | None" = None
    book: SightingBook = field(default_factory=SightingBook)
    lookups: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def notice(
        self,
        zeroconf: "Zeroconf",
        service_type: str,
        name: str,
        state_change: "ServiceStateChange",
    ) -> None:
        """Called by zeroconf on the event loop, by these argument names."""
        instance = name.removesuffix("." + self.service)
        if state_change.name == "Removed":
            self.book.forget(instance)
            return
        if not INSTANCE.fullmatch(instance) or self.discovery.is_ours(instance):
            return
        if instance in self.lookups:
            return
        if len(self.lookups) >= SIGHTINGS_MAX:
            self.discovery.counters.add("discovery.crowded")
            return
        task = asyncio.ensure_future(self._look_up(zeroconf, instance))
        self.lookups[instance] = task
        task.add_done_callback(lambda _: self.lookups.pop(instance, None))

    async def _look_up(self, zeroconf: "Zeroconf", instance: str) -> None:
        from zeroconf.asyncio import AsyncServiceInfo

        info = AsyncServiceInfo(self.service, f"{instance}.{self.service}")
        if not await info.async_request(zeroconf, LOOKUP_MS):
            self.discovery.counters.add("discovery.lookup_failed")
            return
        hosts = nearest_first(info.parsed_scoped_addresses(), self.discovery.interfaces)
        sighting = read_sighting(instance, hosts, info.port, info.properties)
        if sighting is None:
            self.discovery.counters.add("discovery.malformed")
        elif self.book.is_news(sighting):
            self.discovery.counters.add("discovery.sightings")
            self.seen(sighting)

    async def start(self, zeroconf: "Zeroconf") -> None:
        from zeroconf.asyncio import AsyncServiceBrowser

        await self.stop()
        self.book = SightingBook()
        self.browser = AsyncServiceBrowser(zeroconf, self.service, handlers=[self.notice])

    async def stop(self) -> None:
        if self.browser is not None:
            browser, self.browser = self.browser, None
            await browser.async_cancel()
        tasks = list(self.lookups.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        self.discovery.browsings.discard(self)
        await self.stop()


class MulticastDiscovery:
    """Implements `covey.node.ports.Discovery`. `host` is what the node listens on."""

    def __init__(self, counters: Counters | None = None, host: str = "::") -> None:
        self.counters = counters or Counters()
        self.interfaces: tuple[Interface, ...] = ()
        self.browsings: set[_Browsing] = set()
        self._host = host
        self._own_labels: set[str] = set()
        self._announcements: dict[_Announcement, AsyncServiceInfo] = {}
        self._zeroconf: AsyncZeroconf | None = None
        self._opening = asyncio.Lock()
        self._broadcasts: set[asyncio.Future[object]] = set()

    def is_ours(self, instance: str) -> bool:
        """Whether we announced it at any time: our own goodbye comes back to us as well."""
        return instance in self._own_labels

    def hosts(self) -> tuple[str, ...]:
        """Our addresses on the interfaces in use, loopback apart."""
        found = announced_addresses(self.interfaces or read_interfaces(), self._host)
        return tuple(host for host in found if not host.startswith("127.") and host != "::1")

    async def announce(
        self, service: str, instance: str, port: int, properties: dict[str, str]
    ) -> _Announcement:
        """Be visible until closed. `instance` is 8 random hex digits.

        Raises: DiscoveryUnavailable.
        """
        assert INSTANCE.fullmatch(instance), "an instance label is 8 hex digits"
        self._own_labels.add(instance)
        announcement = _Announcement(self, service, instance, port, dict(properties))
        await self.show(announcement, first=True)
        return announcement

    async def browse(self, service: str, seen: Callable[[Sighting], None]) -> _Browsing:
        """Call `seen` for each new or changed sighting. Raises: DiscoveryUnavailable."""
        zeroconf = await self._open()
        browsing = _Browsing(self, service, seen)
        await browsing.start(zeroconf.zeroconf)
        self.browsings.add(browsing)
        return browsing

    async def refresh(self) -> None:
        """The network has changed: use the interfaces there are now, and ask again who is there.

        Raises: DiscoveryUnavailable, and then tries to recover at the next call.
        """
        zeroconf = await self._open()
        try:
            self.interfaces = read_interfaces()
            await zeroconf.async_update_interfaces(multicast_sources(self.interfaces, self._host))
            for announcement in list(self._announcements):
                await self.show(announcement, first=False)
            for browsing in list(self.browsings):
                await browsing.start(zeroconf.zeroconf)
        except (OSError, RuntimeError) as error:
            raise DiscoveryUnavailable(_cause(error)) from None

    async def close(self) -> None:
        """Say goodbye for everything announced, and stop. Never raises for the network."""
        for browsing in list(self.browsings):
            await browsing.close()
        zeroconf, self._zeroconf = self._zeroconf, None
        self._announcements.clear()
        if zeroconf is not None:
            await zeroconf.async_close()
        await self._drop_broadcasts()

    async def show(self, announcement: _Announcement, *, first: bool) -> None:
        from zeroconf.asyncio import AsyncServiceInfo

        zeroconf = await self._open()
        info = AsyncServiceInfo(
            announcement.service,
            f"{announcement.instance}.{announcement.service}",
            port=announcement.port,
            properties=announcement.properties,
            server=f"{announcement.instance}.local.",
            parsed_addresses=announced_addresses(self.interfaces, self._host),
        )
        self._announcements[announcement] = info
        if first:
            # Probing for a namesake takes 0.7 s, and 32 random bits do not need it.
            sending = await zeroconf.async_register_service(info, cooperating_responders=True)
        else:
            sending = await zeroconf.async_update_service(info)
        self._keep(sending)

    async def withdraw(self, announcement: _Announcement) -> None:
        info = self._announcements.pop(announcement, None)
        if info is not None and self._zeroconf is not None:
            await (await self._zeroconf.async_unregister_service(info))

    def _keep(self, sending: object) -> None:
        """zeroconf repeats an announcement three times from a task that nobody else holds."""
        assert isinstance(sending, asyncio.Future)
        self._broadcasts.add(sending)
        sending.add_done_callback(self._broadcasts.discard)

    async def _drop_broadcasts(self) -> None:
        broadcasts = list(self._broadcasts)
        for each in broadcasts:
            each.cancel()
        await asyncio.gather(*broadcasts, return_exceptions=True)

    async def _open(self) -> "AsyncZeroconf":
        async with self._opening:
            if self._zeroconf is None:
                self._zeroconf = await self._start()
            return self._zeroconf

    async def _start(self) -> "AsyncZeroconf":
        import zeroconf
        from zeroconf.asyncio import AsyncZeroconf

        # It reports every interface that cannot do multicast, with a trace; we count instead.
        logging.getLogger("zeroconf").setLevel(logging.CRITICAL)
        try:
            self.interfaces = read_interfaces()
            sources = multicast_sources(self.interfaces, self._host)
            if not sources:
                raise DiscoveryUnavailable("no network interface has an address")
            try:
                opened = AsyncZeroconf(sources)
            except OSError:
                # A kernel without IPv6 cannot make the socket that serves both families.
                opened = AsyncZeroconf([source for source in sources if ":" not in source])
            await opened.zeroconf.async_wait_for_start()
        except (OSError, RuntimeError, zeroconf.Error) as error:
            raise DiscoveryUnavailable(_cause(error)) from None
        if not opened.zeroconf.engine.senders:
            await opened.async_close()
            raise DiscoveryUnavailable("no network interface takes part in multicast")
        return opened


def _cause(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
