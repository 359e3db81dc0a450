"""Mesh stage: the world that a test's devices live in, and everything that runs there.

The test's coroutine runs here to its end (`run`), plain methods act here and let time pass (`do`,
`finish`, `start`), and at the end everything is closed in order (`close`). What Covey did that it
must never do, and what tasks of the test left behind, is told by `problems`.
"""

import asyncio
import contextvars
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from .. import CoveyError
from ..node.happenings import NodeEvent, RecordChanged, Subscription
from .mesh_device import OTHER_LOOP, MeshDevice
from .mesh_loop import MeshLoop, MeshWorld, StuckError
from .mesh_secrets import Tape
from .sim_disk import SimDisk
from .virtual_loop import DeadlockError
from .world import collect_garbage

T = TypeVar("T")

CLOSED = "the mesh of this test is closed"


class MeshStage:
    """See the module. Owned by one `Mesh`."""

    def __init__(self, seed: int) -> None:
        self.world = MeshWorld(seed)
        self.tape = Tape()
        self.world.watchers.append(self.tape.hear)
        self.devices: dict[str, MeshDevice] = {}
        self.closed = False
        self.began_s = time.process_time()
        self._listening: list[asyncio.Task[None]] = []

    @property
    def loop(self) -> MeshLoop:
        return self.world.loop

    # Running -----------------------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, from outside of the loop."""
        try:
            self._look_where()
            if _running_loop() is not None:
                raise RuntimeError("mesh.run is for plain functions: await the coroutine instead")
        except RuntimeError:
            work.close()
            raise
        task: asyncio.Task[T] = self.loop.create_task(work, name="the test")
        try:
            return self.loop.run_until_complete(task)
        except (DeadlockError, StuckError) as stuck:
            if task.done():
                raise
            return self._give_up(task, stuck)

    def _give_up(self, task: "asyncio.Task[T]", stuck: Exception) -> T:
        """End a test that will never end, with a trace that shows where it waits."""
        task.cancel()
        try:
            return self.loop.run_until_complete(task)
        except asyncio.CancelledError as cancelled:
            text = f"this waits for something that never comes: {stuck}"
            raise AssertionError(text).with_traceback(cancelled.__traceback__) from None

    def do(self, act: Callable[[], T]) -> T:
        """Act on the loop now, whether it runs or not."""
        self._look_where()
        if _running_loop() is self.loop:
            return act()

        async def once() -> T:
            return act()

        return self.loop.run_until_complete(once())

    def _look_where(self) -> None:
        """Raises RuntimeError unless the caller may use the mesh at this place."""
        if self.closed:
            raise RuntimeError(CLOSED)
        if _running_loop() not in (None, self.loop):
            raise RuntimeError(OTHER_LOOP)
        self.loop.touch()

    def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Let time pass until this is done. For `do`."""
        task: asyncio.Task[T] = self.loop.create_task(work, name="mesh")
        self.loop.drive(task.done)
        return task.result()

    # Devices -----------------------------------------------------------------------------------

    def add(self, name: str, disk: SimDisk | None, place: str) -> MeshDevice:
        """A device that is down."""
        if disk is not None:
            disk.dice = self.world.dice
        device = MeshDevice(self.world, self.world.add(name, disk, place))
        self.devices[name] = device
        device.sim.started.append(lambda _: self._listen(device))
        return device

    def start(self, *devices: MeshDevice) -> None:
        """Start devices and let time pass until they are up. For `do`. Raises what kept one."""
        booting = [device.sim.begin() for device in devices]
        self.loop.drive(lambda: all(task.done() for task in booting))
        for device in devices:
            if device.sim.failure is not None:
                device.why_down = "could not start"
                raise device.sim.failure
            device.require()

    def _listen(self, device: MeshDevice) -> None:
        """Note what a device that has come up applies and tells, until it ends."""
        subscription = device.sim.engine.board.subscribe(RecordChanged, NodeEvent)
        # In a context of its own: it is no task of the device's process.
        task = self.loop.create_task(
            self._hear(device.name, subscription),
            name=f"timeline of {device.name}",
            context=contextvars.Context(),
        )
        self._listening.append(task)

    async def _hear(self, name: str, subscription: Subscription) -> None:
        async for happening in subscription:
            match happening:
                case RecordChanged(database, collection, id, origin, value):
                    writer = self._name_of(origin)
                    act = f"{database}/{collection}/{id}"
                    kind = "delete" if value is None else "put"
                    if writer == name:
                        self.world.note(name, kind, act)
                    else:
                        self.world.note(name, "received", f"{kind} {act} of {writer}")
                case NodeEvent(kind, detail):
                    self.world.note(name, kind.replace("_", " "), str(detail.get("name", "")))

    def _name_of(self, origin: bytes) -> str:
        for name, device in self.devices.items():
            if device.last_engine is not None and device.last_engine.keys.sig_pk == origin:
                return name
        return "somebody else"

    # The end -----------------------------------------------------------------------------------

    def close(self) -> None:
        """End the test's tasks, stop every device in order, and end the world."""
        if self.closed:
            return
        self.loop.run_until_complete(self._end_tasks())
        self.loop.run_until_complete(self._stop_devices())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.closed = True
        self.world.close()
        collect_garbage()

    async def _end_tasks(self) -> None:
        """As `asyncio.run` does with what a program leaves behind."""
        current = asyncio.current_task()
        ours = (current, *self._listening)
        tasks = [task for task in self.loop.own_tasks() if task not in ours]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _stop_devices(self) -> None:
        for device in self.devices.values():
            device.sim.disk.heal()
            device.sim.wake()
            if device.is_up:
                with suppress(CoveyError):
                    await device.stop()
            device.crash()
        await asyncio.gather(*self._listening)

    def problems(self) -> list[str]:
        """What must not be, a line each."""
        # A task tells that nobody awaited it when it is freed; from 3.12 on it can be in a cycle.
        collect_garbage()
        told = [f"Covey broke a promise: {violation}" for violation in self.world.violations]
        return told + self.world.mistakes


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
