"""Run: what the doings, the checkers and the runner of one plan share."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .data_log import DataLog
from .plan import Plan
from .sim_device import SimDevice
from .sim_disk import SimDisk
from .virtual_loop import Process
from .witness import Witness
from .world import World

if TYPE_CHECKING:
    from .pairings import Attempt

NO_SESSION = "NO SESSION"
COMMIT_MS_MAX = 3.0
READ_MS_MAX = 1.0


@dataclass(frozen=True, slots=True)
class Cut:
    """A removal or adoption that was told to be durable. Ids are public keys."""

    author: bytes
    about: bytes
    kind: str
    """Of the operation."""
    seen: Mapping[tuple[bytes, bytes], int]
    """What the author held of the other's logs when it was asked: (scope, instance) -> seq."""


@dataclass(frozen=True, slots=True, eq=False)
class Fetch:
    """A device takes a database on demand, for as long as this process of it waits."""

    device: str
    process: Process
    database: str


@dataclass(eq=False)
class Run:
    """One plan under way. Made by `runner.py`."""

    plan: Plan
    world: World
    witness: Witness = field(default_factory=Witness)
    spoiled: dict[str, str] = field(default_factory=dict)
    """Devices that can be expected to hold nothing right any more, and why."""
    hostile: list[str] = field(default_factory=list)
    """Names of misbehaviours that were committed."""
    leaves_waiting: bool = False
    """Entries of a hostile peer may rightly wait for ever."""
    images: dict[str, SimDisk] = field(default_factory=dict)
    """Copies of disks, by the name that the plan gave them."""
    newcomers: dict[str, SimDisk] = field(default_factory=dict)
    """Homes of devices that come while the plan runs, each in a mesh of its own, by name."""
    pairings: "list[Attempt]" = field(default_factory=list)
    retries: "list[Attempt]" = field(default_factory=list)
    """Those of the pairings that were begun after the world was mended."""
    coverage: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(kind of fault, phase of a session it met) -> how often."""
    done: Counter[str] = field(default_factory=Counter)
    """How often each doing was done."""
    high_water: dict[str, dict[str, int]] = field(default_factory=dict)
    """Device -> what -> the most that was seen of it."""
    ids: dict[str, bytes] = field(default_factory=dict)
    """The public keys by which devices are known, once each has been up."""
    contents: dict[bytes, str] = field(default_factory=dict)
    """Digest of each content that was put as a blob -> what it is, for people."""
    cuts: list[Cut] = field(default_factory=list)
    fetching: list[Fetch] = field(default_factory=list)
    """Those under way, and those whose process died meanwhile."""
    data: DataLog = field(default_factory=DataLog)
    over: bool = False
    """The world is being mended: nothing that fate planned happens any more."""

    @property
    def devices(self) -> dict[str, SimDevice]:
        return self.world.devices

    def prepared(self, disk: SimDisk) -> SimDisk:
        """A disk of a template, which was made in no time, as one of this world."""
        disk.dice = self.world.dice
        disk.commit_ms_max, disk.read_ms_max = COMMIT_MS_MAX, READ_MS_MAX
        return disk

    def device(self, name: str) -> SimDevice | None:
        """A device that runs now, by name."""
        device = self.world.devices.get(name)
        return device if device is not None and device.is_up else None

    def fetched_by(self, device: SimDevice) -> frozenset[str]:
        """The databases that a running device takes on demand now."""
        return frozenset(
            wish.database
            for wish in self.fetching
            if wish.device == device.name and wish.process is device.process
        )

    def phases(self, name: str) -> list[str]:
        """The phases of the sessions of a device, or that it has none."""
        device = self.device(name)
        if device is None:
            return [NO_SESSION]
        links = device.engine.switchboard.links.values()
        return [link.state.phase.name for link in links] or [NO_SESSION]
