"""Mesh members: which devices a test asks for, their disks, and how another one is admitted."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from .. import CoveyError
from ..crypto.identity import check_name, make_certificate
from ..node.adopting import check_adoption
from ..node.pairing_frames import Welcome
from ..sync.registry import LEVELS
from .mesh_device import MeshDevice
from .sim_disk import SimDisk
from .templates import VARIANTS, Part, mesh_disks

DEVICES_MAX = 50
KINDS = ("laptop", "phone", "tablet", "desktop", "server")
COMMIT_MS_MAX = 3.0
READ_MS_MAX = 1.0
OFFERED_LEVELS = tuple(level for level in LEVELS if level != "mailbox")
ORIGINAL = 1
"""What the file system tells of the home of a device that was never copied."""


class MeshUseError(CoveyError):
    """The test asked its mesh for something that means nothing. Nothing has happened."""

    exit_code = 2


def cast_of(names: tuple[str, ...], levels: Mapping[str, str]) -> tuple[Part, ...]:
    """What a mesh of these devices is made of. Raises MeshUseError."""
    if not 1 <= len(names) <= DEVICES_MAX:
        raise MeshUseError(f"{len(names)} devices: 1 to {DEVICES_MAX} can be simulated")
    strangers = [name for name in levels if name not in names]
    if strangers:
        raise MeshUseError(f"a level for {', '.join(strangers)}, which is none of the devices")
    if levels.get(names[0], "full") != "full":
        raise MeshUseError(f"{names[0]} is the first device and admits the others: it is full")
    cast: list[Part] = []
    for name in names:
        others = tuple(part.name for part in cast)
        cast.append(newcomer(name, levels.get(name, "full"), others))
    return tuple(cast)


def newcomer(name: str, level: str, others: tuple[str, ...]) -> Part:
    """One more device beside others. Its kind follows from its name. Raises MeshUseError."""
    if name in others:
        raise MeshUseError(f"there is a device {name} already")
    if level not in OFFERED_LEVELS:
        raise MeshUseError(f"{name}: no level {level}: there are {', '.join(OFFERED_LEVELS)}")
    kind = next((kind for kind in KINDS if kind in name), KINDS[0])
    return Part(check_name(name), kind, level)


def disks_of(cast: tuple[Part, ...], seed: int) -> dict[str, SimDisk]:
    """Disks of devices that know one another, by name."""
    # A template is made on an event loop of its own, and here one may be running already.
    with ThreadPoolExecutor(1) as aside:
        templates = aside.submit(mesh_disks, cast, seed % VARIANTS).result()
    return {name: _with_delays(disk.copy(name, ORIGINAL)) for name, disk in templates.items()}


def _with_delays(disk: SimDisk) -> SimDisk:
    disk.commit_ms_max, disk.read_ms_max = COMMIT_MS_MAX, READ_MS_MAX
    return disk


async def admit(admin: MeshDevice, device: MeshDevice, part: Part) -> None:
    """Make a device that runs a member, as after a finished pairing; each does its own part."""
    keys, inviting = device.sim.engine.keys, admin.sim.engine
    mesh = inviting.mesh
    certificate = make_certificate(keys, mesh.id, inviting.clock.wall_ms())
    await admin.call("mesh", "enroll", certificate, part.name, part.kind, part.level)
    genesis, scope_keys, frames = await admin.call("mesh", "welcome", keys.sig_pk)
    welcome = Welcome(genesis, scope_keys, len(frames))
    adoption = check_adoption(keys, mesh.id, inviting.keys.sig_pk, welcome, frames)
    await device.call(None, "adopt", adoption)
