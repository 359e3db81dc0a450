"""Mesh device: one device of a test's mesh, with the API of a real node.

A `MeshDevice` is a `covey.Node`, and its databases, collections, transactions and watches are those
of `covey.node.api`, so an application cannot tell it from an open home. It outlives crashes and
restarts: what is asked of it is asked of the engine that runs at that moment, in a task of the
device's process, which dies and freezes with it.

A watch ends, as on a real node, when its device stops or crashes; a new one can be made after a
restart.
"""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar, cast

from ..node.api import Node
from ..node.engine import Engine
from . import sim_device
from .mesh_loop import MeshWorld
from .sim_device import SimDevice
from .virtual_loop import Process

T = TypeVar("T")

PARTS = ("caches", "patience", "reader", "writer")
"""Parts of an engine that applications reach through the API."""

PURE = ("shown_id", "short_id")
"""Methods that need no running engine: a watch that drains its last changes calls them."""

STOP_S_MAX = 60.0
"""How long calls that are under way may take before a stop ends them."""


class DeviceDownError(sim_device.DeviceDownError):
    """The device is down or asleep, or went down while the call was under way.

    The message says which, and what brings it back. Nothing was written unless a call was under
    way; then what the device holds after its restart tells whether it took effect.
    """

    def __init__(self, name: str, what: str) -> None:
        super().__init__(name)
        self.args = (f"{name} {what}",)


class MeshDevice(Node):
    """See the module. Made by `Mesh.devices` and `Mesh.join`."""

    def __init__(self, world: MeshWorld, sim: SimDevice) -> None:
        super().__init__(cast(Engine, _Door(self)), self.stop)
        self._loop = world.loop
        self.sim = sim
        """The simulated machine below; its methods are not part of the public face."""
        self.home_place = sim.machine.place
        """Where `Mesh.online` brings it back to."""
        self.why_down = "has not started yet"
        self.last_engine: Engine | None = None
        self._under_way: dict[asyncio.Future[Any], asyncio.Task[None]] = {}
        sim.started.append(self._has_started)

    @property
    def name(self) -> str:
        """The name that it has in the test."""
        return self.sim.name

    @property
    def is_up(self) -> bool:
        return self.sim.is_up

    @property
    def is_asleep(self) -> bool:
        return self.sim.process is not None and self.sim.process.frozen

    @property
    def place(self) -> str | None:
        """Where it is; None while it is offline."""
        return self.sim.machine.place

    def __repr__(self) -> str:
        state = self.why_down if not self.is_up else "is asleep" if self.is_asleep else "is up"
        return f"<MeshDevice {self.name} {state}, at {self.place or 'no network'}>"

    # What an application calls -----------------------------------------------------------------

    async def call(self, part: str | None, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the engine, or of one of its parts, inside of the device's process."""

        async def act(engine: Engine) -> Any:
            target = engine if part is None else getattr(engine, part)
            return await getattr(target, method)(*args, **kwargs)

        return await self.inside(act, f"call {method}")

    async def at_rest(self) -> None:
        """Return when everything that has arrived or was written so far is applied and durable."""

        async def act(engine: Engine) -> None:
            async with engine.turns.shared():
                await engine.committer.settle()

        await self.inside(act, "at rest")

    async def inside(self, act: Callable[[Engine], Coroutine[Any, Any, T]], name: str) -> T:
        """Do something in a task of the device's process, which dies and freezes with it."""
        process = self.require()
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(OTHER_LOOP)
        self._loop.touch()
        answer: asyncio.Future[T] = self._loop.create_future()

        async def work() -> None:
            try:
                result = await act(self.sim.engine)
            except Exception as error:
                if not answer.done():
                    answer.set_exception(error)
            else:
                if not answer.done():
                    answer.set_result(result)

        task = process.spawn(work(), name)
        self._under_way[answer] = task
        try:
            return await answer
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            self._under_way.pop(answer, None)

    def require(self) -> Process:
        """The process that runs. Raises DeviceDownError."""
        process = self.sim.process
        if process is None or not self.sim.is_up:
            raise DeviceDownError(
                self.name, f"{self.why_down}: mesh.restart({self.name}) starts it"
            )
        if process.frozen:
            raise DeviceDownError(self.name, f"is asleep: mesh.wake({self.name}) wakes it")
        return process

    # Its life ----------------------------------------------------------------------------------

    def crash(self, *, power: bool = False) -> None:
        """As `Mesh.crash`."""
        if self.sim.process is None:
            return
        board = self.sim.engine.board if self.sim.is_up else None
        self.sim.crash(power=power)
        self._has_ended("lost its power" if power else "has crashed")
        if board is not None:
            board.close()

    async def stop(self) -> None:
        """Close in order, as `node.close()` does. What is under way is finished before."""
        self.require()
        if self._under_way:
            await asyncio.wait(list(self._under_way), timeout=STOP_S_MAX)
        for task in list(self._under_way.values()):
            task.cancel()
        await self.sim.stop()
        self._has_ended("was stopped")

    def _has_started(self, sim: SimDevice) -> None:
        self.last_engine = sim.engine

    def _has_ended(self, why: str) -> None:
        self.why_down = why
        for answer in list(self._under_way):
            if not answer.done():
                answer.set_exception(
                    DeviceDownError(self.name, f"{why} while a call was under way")
                )


class _Door:
    """Stands where the API expects an engine, or a part of one, and passes everything on."""

    def __init__(self, device: MeshDevice, part: str | None = None) -> None:
        self._device = device
        self._part = part

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self._part is None and name in PARTS:
            return _Door(self._device, name)
        device = self._device
        if name in PURE and device.last_engine is not None:
            return getattr(device.last_engine, name)
        device.require()
        engine = device.sim.engine
        value = getattr(engine if self._part is None else getattr(engine, self._part), name)
        if inspect.iscoroutinefunction(value):
            return partial(device.call, self._part, name)
        return value


OTHER_LOOP = (
    "a mesh lives on an event loop of its own, and this code runs on another one:"
    " see docs/simulation.md, 'Fixtures of your own'"
)
