"""Simulated discovery: multicast reaches who is at the same place, unless something forbids it."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from covey.node.ports import SERVICE_MEMBER, SERVICE_PAIRING, Address, Sighting
from covey.simulations.dice import Dice
from covey.simulations.sim_discovery import (
    ASKED_MS,
    MULTICAST_MS,
    MULTICAST_SPREAD_MS,
    REPEATED_MS,
    Air,
    SimDiscovery,
)
from covey.simulations.sim_network import Machine, SimNetwork

from .simulated import a_process, now_ms, virtually, wait_ms

T = TypeVar("T")
PORT = 7654
LATEST_MS = MULTICAST_MS + MULTICAST_SPREAD_MS


class Street:
    """Machines `a` and `b` at home, each with discovery; `b` writes down what it sees."""

    def __init__(self) -> None:
        self.network = SimNetwork(Dice(1))
        self.air = Air(self.network)
        self.a, self.b = self.network.add("a"), self.network.add("b")
        self.at_a, self.at_b = self.discovery(self.a), self.discovery(self.b)
        self.seen: list[tuple[int, Sighting]] = []

    def discovery(self, machine: Machine) -> SimDiscovery:
        machine.process = a_process(machine.name)
        return SimDiscovery(self.air, machine, machine.process)

    def see(self, sighting: Sighting) -> None:
        self.seen.append((now_ms(), sighting))

    async def announce(self, **properties: str) -> Any:
        return await self.at_a.announce(SERVICE_MEMBER, "aaaaaaaa", PORT, properties)

    async def browse(self) -> Any:
        return await self.at_b.browse(SERVICE_MEMBER, self.see)

    def sighting(self, **properties: str) -> Sighting:
        pairs = tuple(sorted(properties.items()))
        return Sighting("aaaaaaaa", (Address(self.a.host, PORT),), pairs)

    def sightings(self) -> list[Sighting]:
        return [sighting for _, sighting in self.seen]


def on(test: Callable[[Street], Coroutine[Any, Any, T]]) -> T:
    """Run a test on a street of its own."""

    async def run() -> T:
        return await test(Street())

    return virtually(run())


def test_who_announces_is_seen_by_who_browses_already() -> None:
    """A new device is found within a moment."""

    async def test(street: Street) -> None:
        await street.browse()
        await street.announce(k="tag")
        await wait_ms(1_000)

        ((moment, sighting),) = street.seen
        assert MULTICAST_MS <= moment <= LATEST_MS
        assert sighting == street.sighting(k="tag")

    on(test)


def test_who_announced_long_ago_is_seen_by_who_begins_to_browse() -> None:
    """Multicast DNS does not only shout, it also asks."""

    async def test(street: Street) -> None:
        await street.announce()
        await wait_ms(60_000)
        await street.browse()
        await wait_ms(1_000)

        assert street.sightings() == [street.sighting()]

    on(test)


def behind_a_tunnel(street: Street) -> None:
    street.network.move("b", "office")
    street.network.join("home", "office")


HINDRANCES: dict[str, Callable[[Street], object]] = {
    "at another place": lambda street: street.network.move("b", "office"),
    "out of reach": lambda street: street.network.move("b", None),
    "no multicast here": lambda street: setattr(street.a, "mdns", False),
    "no multicast there": lambda street: setattr(street.b, "mdns", False),
    "cut off": lambda street: street.network.cut("a", "b"),
    "behind a tunnel": behind_a_tunnel,
}


@pytest.mark.parametrize("hindrance", HINDRANCES)
def test_multicast_gets_no_further_than_it_does_in_life(hindrance: str) -> None:
    """A node that is not seen must be found by the addresses that are remembered."""

    async def test(street: Street) -> None:
        HINDRANCES[hindrance](street)
        await street.browse()
        await street.announce()
        await wait_ms(1_000)

        assert street.seen == []

    on(test)


def test_a_cut_of_the_other_direction_does_not_hinder_a_shout() -> None:
    """Multicast is not answered."""

    async def test(street: Street) -> None:
        street.network.cut("b", "a")
        await street.browse()
        await street.announce()
        await wait_ms(1_000)

        assert street.sightings() == [street.sighting()]

    on(test)


def test_nobody_sees_another_service_or_itself() -> None:
    """A browser for members is not told of pairing."""

    async def test(street: Street) -> None:
        await street.browse()
        await street.at_a.announce(SERVICE_PAIRING, "aaaaaaaa", PORT, {})
        await street.at_b.announce(SERVICE_MEMBER, "bbbbbbbb", PORT, {})
        await wait_ms(1_000)

        assert street.seen == []

    on(test)


def test_only_news_is_told() -> None:
    """A node acts on each sighting; the same one again is none."""

    async def test(street: Street) -> None:
        await street.browse()
        announcement = await street.announce(k="1")
        for tag in ("1", "2", "2", "1"):
            await wait_ms(1_000)
            await announcement.update({"k": tag})
        await wait_ms(1_000)

        assert street.sightings() == [street.sighting(k=tag) for tag in "121"]

    on(test)


def test_what_was_closed_is_not_seen_by_who_comes_later() -> None:
    """A node that was stopped in order said goodbye."""

    async def test(street: Street) -> None:
        announcement = await street.announce()
        await announcement.close()
        await street.browse()
        await wait_ms(1_000)

        assert street.seen == []

    on(test)


def test_who_has_closed_hears_not_even_what_was_on_its_way() -> None:
    """A callback into a node that was stopped finds nothing there."""

    async def test(street: Street) -> None:
        browsing = await street.browse()
        await street.announce()
        await browsing.close()
        await browsing.close()
        await wait_ms(1_000)

        assert street.seen == []

    on(test)


def test_a_machine_that_moved_is_seen_at_the_new_place_only_after_a_refresh() -> None:
    """The node has to notice by itself that its network is another one."""

    async def test(street: Street) -> None:
        street.network.move("a", "office")
        await street.browse()
        await street.announce()
        street.network.move("a", "home")
        await wait_ms(60_000)
        unnoticed = street.sightings()
        await street.at_a.refresh()
        await wait_ms(1_000)

        assert unnoticed == []
        assert street.sightings() == [street.sighting()]

    on(test)


def test_after_a_refresh_the_new_address_is_told() -> None:
    """A sighting with the old one leads nowhere."""

    async def test(street: Street) -> None:
        await street.browse()
        await street.announce()
        await wait_ms(1_000)
        old = street.sighting()
        street.network.move("a", "home")
        await street.at_a.refresh()
        await wait_ms(1_000)

        assert street.sightings() == [old, street.sighting()]
        assert old != street.sighting()

    on(test)


def test_a_refresh_asks_again_who_is_there() -> None:
    """What was known of the old network holds no longer, and the new one is full of others."""

    async def test(street: Street) -> None:
        await street.browse()
        await street.announce()
        await wait_ms(1_000)
        await street.at_b.refresh()
        await wait_ms(1_000)

        assert street.sightings() == [street.sighting()] * 2

    on(test)


def test_an_announcement_that_was_lost_is_repeated() -> None:
    """A cut of a tenth of a second must not hide a device for a quarter of an hour."""

    async def lost(street: Street) -> list[Sighting]:
        await street.browse()
        await wait_ms(ASKED_MS[-1])  # Nobody asks any more.
        street.network.cut("a", "b")
        await street.announce(v="1")
        street.network.mend()
        await wait_ms(REPEATED_MS[-1] + LATEST_MS)
        return street.sightings()

    assert len(on(lost)) == 1


@pytest.mark.parametrize(("cut_ms", "found"), [(4_900, True), (13_900, True), (14_100, False)])
def test_who_browses_asks_four_times_and_then_no_more(cut_ms: int, found: bool) -> None:
    """The library asks at once, and 1, 5 and 14 seconds later: what comes then is missed."""

    async def cut(street: Street) -> bool:
        street.network.cut("a", "b")
        await street.announce(v="1")
        await street.browse()
        await wait_ms(cut_ms)
        street.network.mend()
        await wait_ms(600_000)
        return bool(street.seen)

    assert on(cut) is found


def test_nobody_is_told_again_what_he_has_heard() -> None:
    """Who asks says what it knows; fifty devices would else shout all the time."""

    async def heard(street: Street) -> int:
        await street.announce(v="1")
        await street.browse()
        await wait_ms(20_000)
        return sum(street.air._told.values())

    assert on(heard) == 1


def test_what_was_closed_is_neither_repeated_nor_shown_anew_by_a_refresh() -> None:
    """A pairing window that has closed would be seen again when its device moves."""

    async def closed(street: Street) -> list[Sighting]:
        street.network.cut("a", "b")
        announced = await street.announce(v="1")
        await announced.close()
        street.network.mend()
        await street.browse()
        await wait_ms(REPEATED_MS[-1])
        await street.at_a.refresh()
        await wait_ms(20_000)
        return street.sightings()

    assert on(closed) == []


def test_a_process_that_ended_announces_nothing_and_hears_nothing() -> None:
    """What it announced times out; what comes for it comes to nobody."""

    async def test(street: Street) -> None:
        await street.browse()
        await street.announce()
        street.at_b.end()
        await wait_ms(1_000)
        street.at_a.end()
        await street.discovery(street.b).browse(SERVICE_MEMBER, street.see)
        await wait_ms(1_000)

        assert street.seen == []
        assert not street.air.announcements

    on(test)


def test_who_sleeps_hears_it_when_it_wakes() -> None:
    """And no callback runs under a closed lid."""

    async def test(street: Street) -> None:
        assert street.b.process is not None
        await street.browse()
        street.b.process.freeze()
        await street.announce()
        await wait_ms(60_000)
        asleep = street.sightings()
        street.b.process.thaw()

        assert asleep == []
        assert street.sightings() == [street.sighting()]

    on(test)


def test_a_machine_knows_its_address_unless_it_is_nowhere() -> None:
    """It is shown beside a pairing code."""

    async def test(street: Street) -> None:
        at_home = street.at_a.hosts()
        street.network.move("a", None)

        assert at_home == ("10.0.0.1",)
        assert street.at_a.hosts() == ()

    on(test)


def test_how_late_a_shout_is_hangs_on_nothing_that_others_do() -> None:
    """Else a plan could not be shrunk: taking a step away would change the luck of all others."""

    async def main(*, is_busy: bool) -> list[int]:
        street = Street()
        await street.browse()
        if is_busy:
            others = [street.discovery(street.network.add(name)) for name in "cd"]
            await others[0].browse(SERVICE_MEMBER, lambda sighting: None)
            await others[1].announce(SERVICE_MEMBER, "dddddddd", PORT, {})
        announcement = await street.announce()
        for n in range(20):
            await announcement.update({"n": str(n)})
        await wait_ms(1_000)
        return [moment for moment, sighting in street.seen if sighting.instance == "aaaaaaaa"]

    assert virtually(main(is_busy=True)) == virtually(main(is_busy=False))
