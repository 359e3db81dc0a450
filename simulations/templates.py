"""Templates: the disks of a mesh whose devices know one another, ready to be copied.

To found a mesh and admit its members takes longer than many a whole run, and is the same each time.
So it is done once for each cast of devices, in a world without faults, and every run starts from
copies of the disks. `VARIANTS` sets of keys are in use, because the order of ids breaks ties.
"""

from dataclasses import dataclass
from functools import lru_cache

from ..crypto.identity import DeviceKeys, make_certificate
from ..node.engine import Engine
from .admitting import admit
from .dice import Dice
from .sim_disk import SimDisk
from .sim_entropy import SimEntropy
from .world import World

VARIANTS = 8
PATIENCE_MS = 120_000
HOSTILE_LEVELS = ("full", "limited", "guest")


@dataclass(frozen=True, slots=True)
class Part:
    """One device of a cast. The first of a cast founds the mesh and is its admin."""

    name: str
    kind: str = "laptop"
    level: str = "full"


@lru_cache(maxsize=256)
def mesh_disks(
    cast: tuple[Part, ...], variant: int, *, hostile: bool = False
) -> dict[str, SimDisk]:
    """The disks of a mesh of these devices, by name; copy them (`SimDisk.copy`) before use.

    `hostile`: members without a device are enrolled too, one of each level (`mallory_keys`).
    """
    with World(f"template/{variant}", law="instant") as world:
        world.run(_make(world, cast, variant, hostile))
        assert not world.violations, world.violations
        return {name: device.disk for name, device in world.devices.items()}


def mallory_keys(variant: int, stands_as: str) -> DeviceKeys:
    """The keys of a hostile member of this level, or of a stranger."""
    entropy = SimEntropy(Dice(f"mallory/{variant}"), stands_as, 0)
    return DeviceKeys.generate(entropy.draw)


async def _enroll_hostile(admin: Engine, variant: int) -> None:
    for level in HOSTILE_LEVELS:
        keys = mallory_keys(variant, level)
        certificate = make_certificate(keys, admin.mesh.id, admin.clock.wall_ms())
        await admin.mesh.enroll(certificate, f"mallory {level}", "phone", level)


async def _make(world: World, cast: tuple[Part, ...], variant: int, hostile: bool) -> None:
    for part in cast:
        disk = SimDisk(part.name, world.dice, commit_ms_max=0, read_ms_max=0)
        device = world.add(part.name, disk)
        await device.found(part.kind)
        await device.start()
    first, *others = world.devices.values()
    for device, part in zip(others, cast[1:], strict=True):
        await admit(first.engine, device.engine, part.level, part.kind)
    if hostile:
        await _enroll_hostile(first.engine, variant)
    until_ms = world.now_ms + PATIENCE_MS
    members = len(cast) + (len(HOSTILE_LEVELS) if hostile else 0)
    while not _agree(world, members):
        assert world.now_ms < until_ms, "a mesh without faults does not come together"
        await world.wait_ms(100)
    for device in world.running():
        await device.stop()


def _agree(world: World, count: int) -> bool:
    """Everybody knows everybody, and holds the same membership log."""
    engines = [device.engine for device in world.devices.values()]
    digests = {engine.ledger.holdings.control_digest() for engine in engines}
    return len(digests) == 1 and all(len(e.mesh.registry.active()) == count for e in engines)
