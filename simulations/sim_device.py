"""Simulated device: the production engine on simulated ports, and its life as a process.

A device has a disk, clocks and a network card, which outlast its processes. `start` opens the
store as `covey up` does and goes online; `stop` closes it in order; `crash` ends it as the kernel
would, with or without the power. Between the two ends there is a real `Engine`, and the API that
applications use.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import CoveyError
from ..crypto.identity import DeviceKeys
from ..node.api import Node
from ..node.counters import Counters
from ..node.engine import Engine
from ..node.founding import DEVICE_KEYS, found_mesh
from ..node.links import FEATURES
from ..node.ports import Address
from ..node.surroundings import Surroundings
from ..storage import meta_rows
from ..storage.errors import NotInitialisedError
from ..storage.instance_rule import Claim
from ..storage.store_file import claim
from .sim_clock import ProcessClock, SimClock
from .sim_connection import SimTransport
from .sim_discovery import SimDiscovery
from .sim_disk import HOME, STORE_PATH, TOKEN_PATH, SimDisk, SimFiles
from .sim_entropy import SimEntropy
from .sim_network import DEAD_MS, Machine
from .sim_store import SimStore
from .virtual_loop import Process

if TYPE_CHECKING:
    from .world import World

PORT = 7654
USER_TASK = "user"
"""The name of a task that calls the node, as an application does."""
TURNS_TO_TELL = 20
"""Turns of the loop in which a call that was under way ends after the node was closed."""


class DeviceDownError(CoveyError):
    """The device is switched off, has crashed or has not started yet."""

    exit_code = 4

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} does not run: start it first")


class SimSurroundings:
    """The Source port: what the device's surroundings are said to be, at this moment."""

    varies = False

    def __init__(self, device: "SimDevice") -> None:
        self._device = device

    async def read(self) -> Surroundings:
        return self._device.around


class SimDevice:
    """One device of a world. Made by `World.add`."""

    def __init__(self, world: "World", name: str, disk: SimDisk, machine: Machine) -> None:
        self.world = world
        self.name = name
        self.disk = disk
        self.machine = machine
        self.clock = SimClock()
        self.starts = 0
        self.process: Process | None = None
        self.versions: tuple[int, ...] | None = None
        """Protocol versions that it speaks, if not those of this program."""
        self.features: tuple[str, ...] = FEATURES
        self.around = Surroundings()
        """What the system there says of its network and power."""
        self.kept_instance = True
        self.failure: CoveyError | None = None
        """Why the last start failed."""
        self.started: list[Callable[[SimDevice], None]] = []
        """Called after each start."""
        self.wired: list[Callable[[SimDevice, Engine], None]] = []
        """Called with each engine before it does anything."""
        self._engine: Engine | None = None
        self._store: SimStore | None = None
        self._discovery: SimDiscovery | None = None
        self._sleeps = 0

    # What applications see ---------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        return self.process is not None and self.process.alive and self._engine is not None

    @property
    def engine(self) -> Engine:
        """The running engine. Raises DeviceDownError."""
        if self._engine is None or not self.is_up:
            raise DeviceDownError(self.name)
        return self._engine

    @property
    def store(self) -> SimStore:
        """The open store. Raises DeviceDownError."""
        if self._store is None or not self.is_up:
            raise DeviceDownError(self.name)
        return self._store

    @property
    def node(self) -> Node:
        """The API on the running engine."""
        return Node(self.engine, self.stop)

    @property
    def port(self) -> int:
        return PORT

    # Starting ----------------------------------------------------------------------------------

    def begin(self) -> "asyncio.Task[None]":
        """Start in the background; await the task to know that it is up, or see `failure`."""
        assert self.process is None or not self.process.alive, f"{self.name} runs already"
        self.starts += 1
        self.failure = None
        process = Process(self.name, self._misfortune)
        self.process = self.machine.process = process
        return process.spawn(self._boot(process), "boot")

    async def start(self) -> None:
        """Start, and wait until it is online. Raises what a person would be told."""
        await self.begin()
        if self.failure is not None:
            raise self.failure

    async def _boot(self, process: Process) -> None:
        world = self.world
        world.note(self.name, "start")
        try:
            engine, claimed = await self._open(process)
            self.kept_instance = claimed.kept
            if not claimed.kept and self.starts > 1:
                engine.tell("new_instance", {"reason": "this home was copied or put back"})
            await engine.go_online()
        except CoveyError as error:
            self.failure = error
            world.note(self.name, "start failed", type(error).__name__)
            self.crash()
            return
        self._engine = engine
        world.note(self.name, "up")
        for told in list(self.started):
            told(self)

    async def _open(self, process: Process) -> tuple[Engine, Claim]:
        clock = ProcessClock(self.clock, process)
        entropy = SimEntropy(self.world.dice, self.name, self.starts)
        store = SimStore(self.disk, process, self.crash, clock.wall_ms())
        self._store = store
        files = SimFiles(self.disk, self.crash)
        claimed = await claim(store, files, STORE_PATH, TOKEN_PATH, entropy.draw)
        stored = await store.read(lambda conn: meta_rows.get_meta(conn, DEVICE_KEYS))
        if stored is None:
            raise NotInitialisedError(HOME)
        return await self._wire(process, store, DeviceKeys.decode(stored), claimed), claimed

    async def _wire(
        self, process: Process, store: SimStore, keys: DeviceKeys, claimed: Claim
    ) -> Engine:
        world = self.world
        self._discovery = SimDiscovery(world.air, self.machine, process)
        engine = Engine(
            HOME,
            store,
            keys,
            claimed.instance,
            ProcessClock(self.clock, process),
            SimEntropy(world.dice, f"{self.name}/engine", self.starts),
            SimTransport(world.network, self.machine, process),
            self._discovery,
            Counters(),
            lambda: (self.machine.place, self.machine.host),
            files=SimFiles(self.disk, self.crash),
        )
        engine.blobs.has_moved = not claimed.kept
        if self.versions is not None:
            engine.versions = self.versions
        engine.features = self.features
        engine.scheduling.source = SimSurroundings(self)
        engine.reach.listen_on = Address("::", PORT)
        for told in self.wired:
            told(self, engine)
        await engine.start()
        return engine

    async def found(self, kind: str) -> None:
        """Make a new store with a mesh of its own, as `covey init` does. The device is down."""
        process = Process(self.name, self._misfortune)
        clock = ProcessClock(self.clock, process)
        entropy = SimEntropy(self.world.dice, f"{self.name}/founding", 0)
        store = SimStore(self.disk, process, self.crash, clock.wall_ms())
        files = SimFiles(self.disk, self.crash)
        claimed = await claim(store, files, STORE_PATH, TOKEN_PATH, entropy.draw)
        await found_mesh(store, claimed.instance, self.name, kind, clock, entropy)
        await store.close()

    def _misfortune(self, task: str, error: BaseException) -> None:
        self.world.misfortune(self.name, task, error)

    # Ending ------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Close in order, and see that nothing is left."""
        engine, process = self.engine, self.process
        assert process is not None
        await process.spawn(engine.close(), "stop")
        if self.process is not process:
            return  # It crashed meanwhile.
        self.world.note(self.name, "stop")
        left = await self._left_after_closing(process)
        if self.process is not process:
            return
        if left:
            self.world.violate("I14", self.name, f"tasks left after closing: {sorted(left)}")
        self._end()

    @staticmethod
    async def _left_after_closing(process: Process) -> list[str]:
        """The tasks that closing has left.

        Applications are told of it in the next turns; a write that comes as late as that is refused
        by a committer of its own.
        """
        for _ in range(TURNS_TO_TELL):
            left = [name for name in process.left() if name != "stop"]
            if USER_TASK not in left or not {USER_TASK, "committer"}.issuperset(left):
                break
            await asyncio.sleep(0)
        return left

    def crash(self, *, power: bool = False) -> None:
        """End the process without a word; with `power`, the machine too. Harmless if it is down."""
        process = self.process
        if process is None or not process.alive:
            return
        self.world.note(self.name, "power cut" if power else "crash")
        if self._store is not None:
            self._store.save()
        process.kill()
        self.clock.wake()
        if power:
            self.disk.lose_power()
        self.world.network.drop_process(self.name, silently=power)
        self._end()

    def _end(self) -> None:
        if self._discovery is not None:
            self._discovery.end()
        self.machine.listeners.clear()
        self.machine.process = None
        self.process = self._engine = self._store = self._discovery = None

    # Around it ---------------------------------------------------------------------------------

    def surround(self, around: Surroundings) -> None:
        """Another network, another socket: the system there says so at once."""
        self.around = around
        self.world.note(self.name, "surroundings", _told(around))
        if self.is_up:
            self.engine.scheduling.look_again()

    # The lid -----------------------------------------------------------------------------------

    def sleep(self) -> None:
        """The lid is closed: nothing happens here until it wakes."""
        process = self.process
        if process is None or process.frozen:
            return
        self.world.note(self.name, "sleep")
        process.freeze()
        self.clock.sleep()
        self._sleeps += 1
        loop = asyncio.get_running_loop()
        loop.call_later(DEAD_MS / 1000, self._missed, process, self._sleeps)

    def _missed(self, process: Process, sleeps: int) -> None:
        """The keep-alives of those at the other ends have run out."""
        if process is self.process and process.frozen and sleeps == self._sleeps:
            self.world.network.drop_process(self.name, silently=False)

    def wake(self) -> None:
        process = self.process
        if process is None or not process.frozen:
            return
        self.world.note(self.name, "wake")
        self.clock.wake()
        process.thaw()


def _told(around: Surroundings) -> str:
    """In a word each."""
    words = {True: "yes", False: "no", None: "unknown"}
    return f"metered {words[around.metered]}, mains {words[around.mains]}"
