"""The network watch: sleep and other networks are noticed, and nothing else is."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from covey.node.network_watch import POLL_MS, Change, NetworkWatch

from .fake_clock import FakeClock


class Machine:
    """What the watch looks at, and what it has reported."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.network: Hashable = "home"
        self.broken = False
        self.changes: list[Change] = []

    def look(self) -> Hashable:
        if self.broken:
            raise OSError("cannot list interfaces")
        return self.network

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        watching = asyncio.ensure_future(
            NetworkWatch(self.clock, self.look, self.changes.append).run()
        )
        await self.clock.advance(0)
        yield
        await self.clock.advance(POLL_MS)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_nothing_is_reported_while_nothing_happens() -> None:
    """Each report makes the node dial everybody."""
    machine = Machine()
    async with machine.watched():
        await machine.clock.advance(3_600_000)

    assert machine.changes == []


async def test_another_network_is_reported_once() -> None:
    """Addresses of the last network lead nowhere; those of this one are not known yet."""
    machine = Machine()
    async with machine.watched():
        machine.network = "train"
        await machine.clock.advance(10 * POLL_MS)

    assert machine.changes == [Change.ADDRESSES]


async def test_a_sleep_is_reported_once() -> None:
    """Every connection is dead by then, and nobody has noticed."""
    machine = Machine()
    async with machine.watched():
        machine.clock.wall_ahead_ms += 600_000
        await machine.clock.advance(10 * POLL_MS)

    assert machine.changes == [Change.WOKE]


async def test_waking_up_in_another_network_is_one_change() -> None:
    """One report is enough to begin again."""
    machine = Machine()
    async with machine.watched():
        machine.clock.wall_ahead_ms += 600_000
        machine.network = "work"
        await machine.clock.advance(10 * POLL_MS)

    assert machine.changes == [Change.WOKE]


async def test_a_clock_that_is_set_back_is_no_sleep() -> None:
    """Time servers correct clocks all day."""
    machine = Machine()
    async with machine.watched():
        machine.clock.wall_ahead_ms -= 600_000
        await machine.clock.advance(10 * POLL_MS)

    assert machine.changes == []


async def test_interfaces_that_cannot_be_read_are_no_change() -> None:
    """The watch must survive it, and notice what comes after."""
    machine = Machine()
    async with machine.watched():
        machine.broken = True
        await machine.clock.advance(10 * POLL_MS)
        machine.broken = False
        await machine.clock.advance(10 * POLL_MS)
        machine.network = "train"
        await machine.clock.advance(POLL_MS)

    assert machine.changes == [Change.ADDRESSES]
