"""Templates: what the devices of a ready-made mesh know when a run begins."""

from covey.node.ports import Address
from covey.simulations.sim_disk import SimDisk
from covey.simulations.templates import CROWD, Part, mesh_disks
from covey.simulations.world import World
from covey.storage import peer_rows

CAST = tuple(Part(f"device-{number}") for number in range(CROWD))


def copies(disks: dict[str, SimDisk], world: World) -> None:
    """The devices of a mesh, switched off, in a world of their own."""
    for part in CAST:
        world.add(part.name, disks[part.name].copy(part.name, 1))


async def known_addresses(world: World) -> dict[tuple[str, str], list[Address]]:
    """Where each device remembers each other one to be."""
    for device in world.devices.values():
        await device.start()
    known = {}
    for device in world.running():
        for other in world.running():
            key = other.engine.keys.sig_pk
            rows = await device.engine.database.read(
                lambda conn, key=key: peer_rows.addresses(conn, key)  # type: ignore[misc]
            )
            known[device.name, other.name] = [Address(row.host, row.port) for row in rows]
    return known


def test_in_a_crowd_everybody_remembers_where_the_others_are() -> None:
    """To find out by trying which of fifty addresses is whose takes minutes and most of a run."""
    with World("known", law="instant") as world:
        copies(mesh_disks(CAST, 0), world)
        known = world.run(known_addresses(world))
        hosts = {name: device.machine.host for name, device in world.devices.items()}

    assert {pair: [each.host for each in found] for pair, found in known.items()} == {
        (one, other): [] if one == other else [hosts[other]] for one in hosts for other in hosts
    }


def test_a_crowd_that_comes_home_is_linked_without_trying_strangers() -> None:
    """Every dial reaches whom it is meant for, and all pairs are linked within a second."""
    with World("home", law="instant") as world:
        copies(mesh_disks(CAST, 0), world)

        async def come_home() -> None:
            for device in world.devices.values():
                await device.start()
            await world.wait_ms(1_000)

        world.run(come_home())
        links = [len(device.engine.switchboard.links) for device in world.running()]
        strangers = [d.engine.counters["dial.other_device"] for d in world.running()]

    assert links == [CROWD - 1] * CROWD
    assert strangers == [0] * CROWD
