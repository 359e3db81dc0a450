"""World: devices, the network between them and virtual time, from one seed.

Everything that is not decided by the program comes from `dice` by name, so a world with one seed
and one list of doings is one world. It knows no plan and no claim: who does what when is
`runner.py`'s business, and what must hold that of `checkers/`. It watches two things itself: every
message that leaves a machine, and every exception that ends a task and that nobody may expect.

Use it as a context: at its end every device is stopped or dead, and no task is left.
"""

import asyncio
import gc
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from .dice import Dice
from .sim_device import SimDevice
from .sim_discovery import Air
from .sim_disk import ProcessDied, SimDisk
from .sim_network import SimNetwork
from .trace import Trace
from .virtual_loop import Process, VirtualLoop

T = TypeVar("T")

VIOLATIONS_MAX = 50
GARBAGE_YOUNG = 50_000
"""Objects made and not yet freed before the collector looks. A run makes fewer than that in most
cases and is collected at its end; looking every 700, as Python does, found nothing."""


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must never be so. `claim` is I1 to I33 of docs/simulation.md."""

    claim: str
    at_ms: int
    device: str
    message: str

    def __str__(self) -> str:
        return f"{self.claim} at {self.at_ms} ms, {self.device or 'world'}: {self.message}"


class World:
    """See the module."""

    def __init__(self, seed: int | str, law: str = "lan") -> None:
        self.seed = seed
        self.dice = Dice(seed)
        self.loop = VirtualLoop()
        self.loop.set_exception_handler(self._lost_exception)
        self.network = SimNetwork(self.dice, law)
        self.network.watch = self._watch
        self.air = Air(self.network)
        self.trace = Trace()
        self.devices: dict[str, SimDevice] = {}
        self.violations: list[Violation] = []
        self.outsiders: list[Process] = []
        """Processes that are no device's, such as that of a hostile peer."""
        self._identities = 0
        self.added: Callable[[SimDevice], None] = lambda _: None
        """Called for each device that comes to the world while it runs."""
        self.watchers: list[Any] = []
        """Called with (sender, receiver, bytes) for each message that leaves a machine."""

    @property
    def now_ms(self) -> int:
        return self.loop.now_ms

    def add(self, name: str, disk: SimDisk | None = None, place: str | None = "home") -> SimDevice:
        """A device that is switched off, with an empty disk or this one."""
        assert name not in self.devices, f"there is a device {name} already"
        machine = self.network.add(name, place)
        device = SimDevice(self, name, disk or SimDisk(name, self.dice), machine)
        self.devices[name] = device
        self.added(device)
        return device

    def fresh_identity(self) -> int:
        """What the file system tells of a file that was made anew."""
        self._identities += 1
        return 1_000 + self._identities

    def running(self) -> list[SimDevice]:
        return [device for device in self.devices.values() if device.is_up]

    # Time --------------------------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the world's loop to its end."""
        return self.loop.run_until_complete(work)

    async def wait_ms(self, duration_ms: float) -> None:
        """Let true time pass."""
        await asyncio.sleep(duration_ms / 1000)

    async def wait_until_ms(self, at_ms: float) -> None:
        await self.wait_ms(max(at_ms - self.loop.time() * 1000, 0))

    # What is noticed ---------------------------------------------------------------------------

    def note(self, device: str, kind: str, detail: str = "") -> None:
        self.trace.note(self.now_ms, device, kind, detail)

    def violate(self, claim: str, device: str, message: str) -> None:
        """Something must not be so. The run goes on: the first one is not always the clearest."""
        self.note(device, "violation", f"{claim} {message}")
        if len(self.violations) < VIOLATIONS_MAX:
            self.violations.append(Violation(claim, self.now_ms, device, message))

    def misfortune(self, device: str, task: str, error: BaseException) -> None:
        """A task ended with what nobody may expect."""
        where = traceback.extract_tb(error.__traceback__)
        place = f"{where[-1].name} line {where[-1].lineno}" if where else "nowhere"
        text = f"{type(error).__name__} in task {task} ({place}): {error}"
        self.violate("I14", device, text)

    def misfortune_of(self, name: str) -> Callable[[str, BaseException], None]:
        """`misfortune` for a process that is no device's."""
        return lambda task, error: self.misfortune(name, task, error)

    def end_outsiders(self) -> None:
        """Whoever is no device has had its time."""
        for process in self.outsiders:
            process.kill()
            self.network.drop_process(process.name, silently=False)
            self.network.machines[process.name].process = None
        self.outsiders.clear()

    def _lost_exception(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, ProcessDied):
            return
        self.violate("I14", "", f"{context.get('message')}: {error!r}")

    def _watch(self, source: str, target: str, message: bytes) -> None:
        self.trace.message(self.loop.time() * 1000, source, target, message)
        for watcher in self.watchers:
            watcher(source, target, message)

    # The end -----------------------------------------------------------------------------------

    def close(self) -> None:
        """End every process and the loop. What is left of tasks is told as a violation."""
        self.run(self._end_all())
        left = self.loop.tasks_left()
        if left:
            names = sorted(task.get_name() for task in left)
            self.violate("I14", "", f"tasks left at the end: {names}")
        for task in left:
            task.cancel()
        if left:
            self.run(_turns())
        self.loop.close()

    async def _end_all(self) -> None:
        self.end_outsiders()
        for device in self.devices.values():
            device.crash()
        await _turns()

    def __enter__(self) -> "World":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


async def _turns(count: int = 200) -> None:
    """Let what was cancelled end."""
    for _ in range(count):
        await asyncio.sleep(0)


@contextmanager
def garbage_apart() -> Iterator[None]:
    """At the end collect what was made within, and look at nothing that was there before.

    That is modules and templates, many times as much as a run leaves behind.
    """
    gc.freeze()
    try:
        yield
        gc.collect()
    finally:
        gc.unfreeze()


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Within, the collector looks when `GARBAGE_YOUNG` objects have come, and not all the time."""
    before = gc.get_threshold()
    gc.set_threshold(GARBAGE_YOUNG, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def collect_garbage() -> None:
    """Exceptions that nobody looked at are told when their tasks are collected."""
    gc.collect()
