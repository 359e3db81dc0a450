"""Simulated discovery: multicast within one place, as mDNS gives it to a node.

Who announces is seen by who browses at the same place, a moment later, unless either of them is on
a network without multicast (`Machine.mdns`). A machine that moves leaves its announcements behind
and is seen at the new place only after `refresh`, which the node calls when it notices the move.

What is lost on the way is told again as zeroconf does it: an announcement is repeated twice, and
who browses asks four times within a quarter of a minute, for all but what it has heard. After that
it does not ask before the next refresh; a node shows its announcement anew every 15 minutes.
"""

import asyncio
from collections.abc import Callable

from ..node.ports import Address, Sighting
from ..node.sightings import ADDRESSES_MAX, SightingBook
from .sim_network import Machine, SimNetwork
from .virtual_loop import Process

MULTICAST_MS = 20
MULTICAST_SPREAD_MS = 80
REPEATED_MS = (225, 450)
"""When an announcement is repeated, after it was shown."""
ASKED_MS = (1_000, 5_000, 14_000)
"""When who browses asks again, after the first time."""


class Air:
    """What is announced at each place, and who listens. One for a world."""

    def __init__(self, network: SimNetwork) -> None:
        self.network = network
        self.announcements: dict[int, SimAnnouncement] = {}
        self.browsings: dict[int, SimBrowsing] = {}
        self._count = 0
        self._told: dict[tuple[str, str], int] = {}

    def number(self) -> int:
        self._count += 1
        return self._count

    def tell(self, announcement: "SimAnnouncement", browsing: "SimBrowsing") -> None:
        """One announcement reaches one listener, if multicast goes between them."""
        ours, theirs = announcement.machine, browsing.machine
        if announcement.service != browsing.service or ours is theirs:
            return
        if announcement.place != theirs.place or not (ours.mdns and theirs.mdns):
            return
        if not self.network.goes(ours, theirs):
            return
        sighting = announcement.sighting()
        if browsing.heard.get(announcement.number) == sighting:
            return
        browsing.heard[announcement.number] = sighting
        pair = ours.name, theirs.name
        told = self._told[pair] = self._told.get(pair, 0) + 1
        late_ms = MULTICAST_MS + self.network.dice.below(MULTICAST_SPREAD_MS, "mdns", *pair, told)
        asyncio.get_running_loop().call_later(late_ms / 1000, browsing.hear, sighting)


class _Again:
    """Something that a process does now and, as long as it is not ended, a few times more."""

    def __init__(self, process: Process, times_ms: tuple[int, ...]) -> None:
        self._process = process
        self._times_ms = times_ms
        self._timers: list[asyncio.TimerHandle] = []

    def do(self, act: Callable[[], None]) -> None:
        self.end()
        act()
        loop = asyncio.get_running_loop()
        for late_ms in self._times_ms:
            self._timers.append(loop.call_later(late_ms / 1000, self._process.happen, act))

    def end(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


class SimAnnouncement:
    """Implements `covey.node.ports.Announcement`."""

    def __init__(
        self,
        air: Air,
        machine: Machine,
        process: Process,
        service: str,
        instance: str,
        port: int,
        properties: dict[str, str],
    ) -> None:
        self.machine = machine
        self.service = service
        self.place = machine.place
        self._air = air
        self.number = air.number()
        self._instance = instance
        self._address = Address(machine.host, port)
        self._properties = properties
        self._again = _Again(process, REPEATED_MS)
        air.announcements[self.number] = self
        self.show()

    def sighting(self) -> Sighting:
        pairs = tuple(sorted(self._properties.items()))
        return Sighting(self._instance, (self._address,)[:ADDRESSES_MAX], pairs)

    def show(self) -> None:
        self._again.do(self.shout)

    def shout(self) -> None:
        for browsing in list(self._air.browsings.values()):
            self._air.tell(self, browsing)

    def follow(self) -> None:
        """The machine is at another place, under another address."""
        self.place = self.machine.place
        self._address = Address(self.machine.host, self._address.port)
        self.show()

    async def update(self, properties: dict[str, str]) -> None:
        self._properties = properties
        self.show()

    async def close(self) -> None:
        self.end()

    def end(self) -> None:
        """Nobody hears of it any more who has not heard of it."""
        self._again.end()
        self._air.announcements.pop(self.number, None)


class SimBrowsing:
    """Implements `covey.node.ports.Browsing`."""

    def __init__(
        self, air: Air, machine: Machine, process: Process, service: str,
        seen: Callable[[Sighting], None],
    ) -> None:  # fmt: skip
        self.machine = machine
        self.service = service
        self._air = air
        self._process = process
        self._seen = seen
        self._book = SightingBook()
        self.heard: dict[int, Sighting] = {}
        """What reached us of each announcement, or is on its way."""
        self._again = _Again(process, ASKED_MS)
        self.number = air.number()
        air.browsings[self.number] = self
        self._again.do(self.ask)

    def ask(self) -> None:
        for announcement in list(self._air.announcements.values()):
            self._air.tell(announcement, self)

    def begin_again(self) -> None:
        self._book = SightingBook()
        self.heard.clear()
        self._again.do(self.ask)

    def hear(self, sighting: Sighting) -> None:
        if self.number not in self._air.browsings:
            return

        def hear() -> None:
            if self._book.is_news(sighting):
                self._seen(sighting)

        self._process.happen(hear)

    async def close(self) -> None:
        self.end()

    def end(self) -> None:
        self._again.end()
        self._air.browsings.pop(self.number, None)


class SimDiscovery:
    """Implements `covey.node.ports.Discovery` for one process."""

    def __init__(self, air: Air, machine: Machine, process: Process) -> None:
        self._air = air
        self._machine = machine
        self._process = process
        self._announcements: list[SimAnnouncement] = []
        self._browsings: list[SimBrowsing] = []

    def hosts(self) -> tuple[str, ...]:
        return (self._machine.host,) if self._machine.place is not None else ()

    async def refresh(self) -> None:
        for announcement in self._announcements:
            if announcement.number in self._air.announcements:
                announcement.follow()
        for browsing in self._browsings:
            if browsing.number in self._air.browsings:
                browsing.begin_again()

    async def announce(
        self, service: str, instance: str, port: int, properties: dict[str, str]
    ) -> SimAnnouncement:
        made = SimAnnouncement(
            self._air, self._machine, self._process, service, instance, port, properties
        )
        self._announcements.append(made)
        return made

    async def browse(self, service: str, seen: Callable[[Sighting], None]) -> SimBrowsing:
        made = SimBrowsing(self._air, self._machine, self._process, service, seen)
        self._browsings.append(made)
        return made

    async def close(self) -> None:
        self.end()

    def end(self) -> None:
        """The process has ended: its announcements time out, and it hears nothing."""
        for announcement in self._announcements:
            announcement.end()
        for browsing in self._browsings:
            browsing.end()
        self._announcements, self._browsings = [], []
