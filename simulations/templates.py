"""Templates: the disks of a mesh whose devices know one another, ready to be copied.

To found a mesh and admit its members takes longer than many a whole run, and is the same each time.
So it is done once for each cast of devices, in a world without faults, and every run starts from
copies of the disks. `VARIANTS` sets of keys are in use, because the order of ids breaks ties.
"""

from dataclasses import dataclass
from functools import lru_cache

from ..crypto.identity import DeviceKeys, make_certificate
from ..node.engine import Engine
from ..node.ports import Address
from ..storage import peer_rows
from ..storage.peer_rows import AddressSource
from ..storage.store import Conn
from .admitting import admit
from .dice import Dice
from .sim_device import SimDevice
from .sim_disk import SimDisk
from .sim_entropy import SimEntropy
from .world import World

CROWD = 16
"""So many devices have met one another long ago: they find nobody by trying, see `_introduce`."""
VARIANTS = 8
PATIENCE_MS = 120_000
HOSTILE_LEVELS = ("full", "limited", "guest")
REMOVED = "removed"
"""Stands for the hostile member that was an admin, and that the first device has removed."""


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

    `hostile`: members without a device are enrolled too, one of each level (`mallory_keys`), and an
    admin that is removed again.
    """
    with World(f"template/{variant}", law="instant") as world:
        world.run(_make(world, cast, variant, hostile))
        assert not world.violations, world.violations
        return {name: device.disk for name, device in world.devices.items()}


def mallory_keys(variant: int, stands_as: str) -> DeviceKeys:
    """The keys of a hostile member of this level, of a removed one, or of a stranger."""
    entropy = SimEntropy(Dice(f"mallory/{variant}"), stands_as, 0)
    return DeviceKeys.generate(entropy.draw)


async def _enroll_hostile(admin: Engine, variant: int) -> None:
    for level in HOSTILE_LEVELS:
        keys = mallory_keys(variant, level)
        certificate = make_certificate(keys, admin.mesh.id, admin.clock.wall_ms())
        await admin.mesh.enroll(certificate, f"mallory {level}", "phone", level)
    keys = mallory_keys(variant, REMOVED)
    certificate = make_certificate(keys, admin.mesh.id, admin.clock.wall_ms())
    await admin.mesh.enroll(certificate, "mallory removed", "phone", "full")
    await admin.trust.set_role(keys.sig_pk, "admin")
    await admin.trust.revoke(keys.sig_pk)


async def _make(world: World, cast: tuple[Part, ...], variant: int, hostile: bool) -> None:
    for part in cast:
        disk = SimDisk(part.name, world.dice, commit_ms_max=0, read_ms_max=0)
        device = world.add(part.name, disk)
        device.machine.mdns = len(cast) < CROWD
        await device.found(part.kind)
        await device.start()
    first, *others = world.devices.values()
    for device, part in zip(others, cast[1:], strict=True):
        await admit(first.engine, device.engine, part.level, part.kind)
        if len(cast) >= CROWD:
            device.engine.reach.typed(_address(first), first.engine.keys.sig_pk)
    if hostile:
        await _enroll_hostile(first.engine, variant)
    until_ms = world.now_ms + PATIENCE_MS
    members = len(cast) + (len(HOSTILE_LEVELS) if hostile else 0)
    while not _agree(world, members):
        assert world.now_ms < until_ms, "a mesh without faults does not come together"
        await world.wait_ms(100)
    if len(cast) >= CROWD:
        await _introduce(world)
    for device in world.running():
        await device.stop()


def _address(device: SimDevice) -> Address:
    return Address(device.machine.host, device.engine.port or 0)


async def _introduce(world: World) -> None:
    """Everybody remembers where everybody was, as members that were linked before do.

    A sighting does not say whose it is, and which of fifty addresses is whose takes minutes and
    thousands of handshakes to find out by trying. So in a crowd only the first device is known to
    the others until they agree, and the addresses of all are written down without a call.
    """
    devices = world.running()
    for device in devices:
        others = [
            (other.engine.keys.sig_pk, _address(other)) for other in devices if other is not device
        ]

        def remember(conn: Conn, known: list[tuple[bytes, Address]] = others) -> None:
            for name, address in known:
                peer_rows.note_address(
                    conn, name, address.host, address.port, AddressSource.ACCEPTED
                )

        await device.engine.database.write(remember)


def _agree(world: World, count: int) -> bool:
    """Everybody knows everybody, and holds the same membership log."""
    engines = [device.engine for device in world.devices.values()]
    digests = {engine.ledger.holdings.control_digest() for engine in engines}
    return len(digests) == 1 and all(len(e.mesh.registry.active()) == count for e in engines)
