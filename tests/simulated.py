"""Small worlds for tests of the simulator: virtual time, two machines and a connection, disks."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from covey.node.api import Collection
from covey.node.ports import Address, Connection, ConnectionLostError
from covey.simulations.dice import Dice
from covey.simulations.sim_connection import SimTransport
from covey.simulations.sim_device import SimDevice
from covey.simulations.sim_disk import SimDisk
from covey.simulations.sim_network import Machine, SimNetwork
from covey.simulations.templates import Part, mesh_disks
from covey.simulations.virtual_loop import Process, VirtualLoop
from covey.simulations.world import World

T = TypeVar("T")

PORT = 7654


def virtually(work: Coroutine[Any, Any, T], loop: VirtualLoop | None = None) -> T:
    """Run a coroutine on virtual time, and end what it leaves behind."""
    loop = loop or VirtualLoop()
    try:
        return loop.run_until_complete(work)
    finally:
        left = loop.tasks_left()
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        loop.close()


def now_ms() -> int:
    """Virtual milliseconds."""
    return round(asyncio.get_running_loop().time() * 1000)


async def wait_until_ms(at_ms: int) -> None:
    """Let virtual time pass up to exactly this moment."""
    loop = asyncio.get_running_loop()
    come = loop.create_future()
    loop.call_at(at_ms / 1000, come.set_result, None)
    await come


async def wait_ms(duration_ms: float) -> None:
    """Let virtual time pass."""
    await asyncio.sleep(duration_ms / 1000)


def a_process(name: str = "a") -> Process:
    """A process whose misfortunes fail the test."""

    def report(task: str, error: BaseException) -> None:
        raise AssertionError(f"{task} ended with {error!r}")

    return Process(name, report)


def a_disk(name: str = "a", seed: int = 1) -> SimDisk:
    """A disk that takes no time."""
    return SimDisk(name, Dice(seed), commit_ms_max=0, read_ms_max=0)


@dataclass
class Pair:
    """Two machines, `a` and `b`, with a process each; `b` listens. The law is `instant`."""

    seed: int = 1
    law: str = "instant"
    accepted: list[Connection] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.network = SimNetwork(Dice(self.seed), self.law)
        self.a, self.b = self.network.add("a"), self.network.add("b")
        for machine in (self.a, self.b):
            self.start(machine)
        self.over = asyncio.Event()

    def start(self, machine: Machine) -> None:
        """A process runs there from now on."""
        machine.process = a_process(machine.name)

    def transport(self, machine: Machine) -> SimTransport:
        return SimTransport(self.network, machine, machine.process)

    @property
    def address(self) -> Address:
        return Address(self.b.host, PORT)

    async def listen(self) -> None:
        async def accept(connection: Connection) -> None:
            self.accepted.append(connection)
            await self.over.wait()

        await self.transport(self.b).listen("::", PORT, accept)

    async def connect(self, timeout_ms: int = 5_000) -> tuple[Connection, Connection]:
        """A connection that `a` made to `b`: both its ends."""
        if not self.b.listeners:
            await self.listen()
        ours = await self.transport(self.a).dial(self.address, timeout_ms)
        await asyncio.sleep(0)
        return ours, self.accepted[-1]

    def crash(self, machine: Machine, *, power: bool = False) -> None:
        """The process that runs there is gone, or the machine with it."""
        assert machine.process is not None
        machine.process.kill()
        self.network.drop_process(machine.name, silently=power)
        machine.listeners.clear()
        machine.process = None


async def hear_all(connection: Connection) -> list[bytes]:
    """What still comes, up to the end of the connection."""
    heard = []
    try:
        while True:
            heard.append(await connection.receive())
    except ConnectionLostError:
        return heard


async def end_of(waiting: Awaitable[object]) -> tuple[int, ConnectionLostError]:
    """When and how something ends that waits for a connection."""
    try:
        await waiting
    except ConnectionLostError as lost:
        return now_ms(), lost
    raise AssertionError("it did not end")


def with_pair(
    test: Callable[[Pair], Coroutine[Any, Any, T]], seed: int = 1, law: str = "instant"
) -> T:
    """Run a test with two machines on virtual time."""

    async def run() -> T:
        return await test(Pair(seed, law))

    return virtually(run())


# Devices ---------------------------------------------------------------------------------------

LAPTOP, PHONE = Part("laptop"), Part("phone", "phone")
GUEST = Part("guest", "tablet", "guest")


def a_world(*cast: Part, seed: int | str = 1, law: str = "lan") -> World:
    """A world with the devices of a mesh, switched off. Close it: use it as a context."""
    disks = mesh_disks(cast, 0) if cast else {}
    world = World(seed, law)
    for part in cast:
        disk = disks[part.name].copy(part.name, 1)
        disk.dice = world.dice
        disk.commit_ms_max, disk.read_ms_max = 3.0, 1.0
        world.add(part.name, disk)
    return world


def run_in_a_world(test: Callable[[World], Coroutine[Any, Any, None]], *cast: Part) -> None:
    """Run what a test does by hand in a world of its own, in which nothing may be violated."""
    with a_world(*cast) as world:
        world.run(test(world))
    assert world.violations == []


def facts(device: SimDevice) -> Collection:
    """What the tests write to."""
    return device.node.database("memory").collection("facts")


async def start_all(world: World) -> None:
    for device in world.devices.values():
        await device.start()


async def meet(world: World, patience_ms: int = 120_000) -> None:
    """Wait until everybody who runs holds the same and says so."""
    until_ms = world.now_ms + patience_ms
    while not all(_in_sync(one, other) for one in world.running() for other in world.running()):
        assert world.now_ms < until_ms, "they do not come together"
        await world.wait_ms(50)


def _in_sync(one: SimDevice, other: SimDevice) -> bool:
    return one is other or one.engine.standing_with(other.engine.keys.sig_pk).proved
