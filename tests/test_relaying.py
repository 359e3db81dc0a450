"""Relaying: what one peer brought is passed on to the others, whatever the disk does meanwhile."""

import pytest

from covey.simulations.sim_device import SimDevice
from covey.simulations.sim_disk import Fate
from covey.simulations.templates import Part
from covey.simulations.world import World

from .simulated import LAPTOP, PHONE, a_world, facts, meet, start_all

TABLET = Part("tablet", "tablet")
QUIET_MS = 5_000
STORED_THEN_APPLIED = 2
"""The commits of a batch that goes on with a record: it is stored first and applied then."""


async def only_by_way_of_the_phone(world: World) -> tuple[SimDevice, SimDevice, SimDevice]:
    """Laptop and tablet do not reach each other; both reach the phone, and all hold a record."""
    laptop, phone, tablet = (world.devices[name] for name in ("laptop", "phone", "tablet"))
    for source, target in (("laptop", "tablet"), ("tablet", "laptop")):
        world.network.cut(source, target)
    await start_all(world)
    await facts(laptop).put({"n": 1}, id="r")
    await until_it_has(tablet, {"n": 1})
    await world.wait_ms(QUIET_MS)
    return laptop, phone, tablet


async def until_it_has(device: SimDevice, fields: dict[str, int]) -> None:
    until_ms = device.world.now_ms + 60_000
    while await facts(device).get("r") != fields:
        assert device.world.now_ms < until_ms, f"{device.name} never heard of it"
        await device.world.wait_ms(50)


@pytest.mark.parametrize("fate", [Fate.FAILS, Fate.FULL])
def test_what_is_stored_is_passed_on_though_the_disk_fails_at_applying_it(fate: Fate) -> None:
    """The others may know nobody else who holds it, and would wait until the next change."""
    with a_world(LAPTOP, PHONE, TABLET) as world:

        async def test() -> None:
            laptop, phone, tablet = await only_by_way_of_the_phone(world)
            phone.disk.doom_commit(STORED_THEN_APPLIED, fate)
            await facts(laptop).put({"n": 2}, id="r")
            await until_it_has(tablet, {"n": 2})
            await until_it_has(phone, {"n": 2})
            world.network.mend()
            await meet(world)

        world.run(test())
    assert world.violations == []
