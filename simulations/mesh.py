"""Mesh: several devices, their network and their time, for the tests of an application.

    async def test_notes_meet(mesh):
        laptop, phone = mesh.devices("laptop", "phone")
        await laptop.database("memory").collection("notes").put({"text": "buy tea"}, id="tea")
        await mesh.settle()
        found = await phone.database("memory").collection("notes").get("tea")
        assert found == {"text": "buy tea"}

The pytest plugin (`pytest_plugin.py`) makes one for each test that asks for `mesh`. The devices run
the production engine; time, network, disks and randomness are simulated, and follow from the seed.
What a plain method does has happened when it returns, time that passes included, inside of a
coroutine as well as outside. The guide is docs/simulation.md.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from . import mesh_members, mesh_secrets, mesh_settling
from .checkers.convergence import SETTLE_MS_MAX
from .mesh_device import OTHER_LOOP, DeviceDownError, MeshDevice
from .mesh_members import MeshUseError
from .mesh_stage import MeshStage
from .sim_clock import WALL_START_MS
from .sim_network import LAWS
from .trace import Event

__all__ = ["DeviceDownError", "Mesh", "MeshDevice", "MeshUseError"]

T = TypeVar("T")

Group = MeshDevice | Iterable[MeshDevice]

HOME = "home"
SETTLE_S_MAX = SETTLE_MS_MAX / 1000
REST_S = 5.0
"""For what has arrived within the time, to be applied."""
LOOK_S = 0.05
LOOK_RARELY_S = 1.0
LOOKS_OFTEN = 100


class Passed:
    """What has happened already. It may be awaited, for the eye."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


class Mesh:
    """See the module. Made by the fixture, which closes it."""

    def __init__(self, seed: int = 1) -> None:
        self.seed = seed
        self.stage = MeshStage(seed)
        """What lies below; it is not part of the public face."""
        self.random = self.stage.world.dice.stream("test")
        """A `random.Random` for choices of the test itself; the same for the same seed."""

    # Devices -----------------------------------------------------------------------------------

    def devices(
        self, *names: str, levels: Mapping[str, str] | None = None
    ) -> tuple[MeshDevice, ...]:
        """New devices, members of one mesh, up and at one place; they connect as time passes.

        The first is the admin, of level full. `levels`: name -> full (if not said), limited or
        guest. Call it once; `join` admits more. Raises MeshUseError.
        """
        if self.stage.devices:
            raise MeshUseError("the mesh has its devices: `await mesh.join(name)` admits another")
        cast = mesh_members.cast_of(names, levels or {})
        disks = mesh_members.disks_of(cast, self.seed)

        def act() -> None:
            for part in cast:
                self.stage.add(part.name, disks[part.name], HOME)
            self.stage.start(*self.stage.devices.values())

        self.stage.do(act)
        return tuple(self.stage.devices.values())

    def device(self, name: str) -> MeshDevice:
        """A device by its name. Raises MeshUseError."""
        if name not in self.stage.devices:
            known = ", ".join(self.stage.devices) or "none"
            raise MeshUseError(f"no device {name}: there are {known}")
        return self.stage.devices[name]

    async def join(self, name: str, *, level: str = "full") -> MeshDevice:
        """A new device with an empty store is admitted by the first one, which must be up."""
        if not self.stage.devices:
            raise MeshUseError("there is no mesh to join yet: mesh.devices(...) makes one")
        part = mesh_members.newcomer(name, level, tuple(self.stage.devices))
        admin = next(iter(self.stage.devices.values()))
        admin.require()
        device = self.stage.add(name, None, HOME)
        await device.sim.found(part.kind)
        self.stage.start(device)
        await mesh_members.admit(admin, device, part)
        return device

    # Their life --------------------------------------------------------------------------------

    def crash(self, device: MeshDevice, *, power: bool = False) -> None:
        """End the device's process as `kill -9` does; with `power`, as a power cut does."""
        self.stage.do(lambda: device.crash(power=power))

    def stop(self, device: MeshDevice) -> None:
        """Switch the device off in order. Raises DeviceDownError."""
        self.stage.do(lambda: self.stage.finish(device.stop()))

    def restart(self, device: MeshDevice) -> None:
        """Start the device again; if it is up, it is stopped in order before.

        Raises what a person would be told if it cannot start, such as StoreFullError.
        """

        def act() -> None:
            if device.is_asleep:
                device.sim.wake()
            if device.is_up:
                self.stage.finish(device.stop())
            self.stage.start(device)

        self.stage.do(act)

    def sleep(self, device: MeshDevice) -> None:
        """The lid is closed: nothing happens there until `wake`, and its clocks stand still.

        Raises DeviceDownError.
        """
        if not device.is_asleep:
            device.require()
        self.stage.do(device.sim.sleep)

    def wake(self, device: MeshDevice) -> None:
        """The lid is opened."""
        self.stage.do(device.sim.wake)

    def fill_disk(self, device: MeshDevice, *, on: bool = True) -> None:
        """There is no room on the device's disk, or there is again."""
        self._note(device, *(("fault", "disk full") if on else ("disk", "has room")))
        device.sim.disk.is_full = on

    def set_clock(self, device: MeshDevice, **off: float) -> None:
        """The device's wall clock is off by `days=`, `hours=`, ... ; right again without any."""
        error = timedelta(**off)
        self._note(device, "clock", f"off by {error}")
        device.sim.clock.wall_error_ms = round(error / timedelta(milliseconds=1))

    def surround(self, device: MeshDevice, **around: bool | int | None) -> None:
        """What its system says: `metered=`, `mains=`, `battery=` (percent), `utc_offset_s=`.

        What is not named stays; None is unknown, as everything is at first.
        """
        try:
            found = replace(device.sim.around, **around)  # type: ignore[arg-type]
        except TypeError as error:
            raise MeshUseError(f"surroundings: {error}") from None
        self.stage.do(lambda: device.sim.surround(found))

    # The network -------------------------------------------------------------------------------

    def partition(self, *groups: Group) -> None:
        """Cut devices, or groups of devices, off from each other, in both directions.

        A single group is cut off from everybody else. Who is in no group still reaches all of
        them, and carries data from one to the other. Partitions add up until `heal`.
        """
        sides = self._sides(groups)
        self._note(None, "partition", " | ".join(", ".join(side) for side in sides))
        self.stage.do(lambda: self._each_pair(sides, self.stage.world.network.cut))

    def heal(self, *groups: Group) -> None:
        """Undo every partition, or only that between these groups, which are as `partition` has."""
        sides = self._sides(groups)
        self._note(None, "heal", " | ".join(", ".join(side) for side in sides))
        network, air = self.stage.world.network, self.stage.world.air

        def act() -> None:
            if sides:
                self._each_pair(sides, network.mend)
            else:
                network.mend()
            # Multicast asks again and again; who was cut off from the start is found now.
            for browsing in list(air.browsings.values()):
                browsing.ask()

        self.stage.do(act)

    def _sides(self, groups: tuple[Group, ...]) -> list[list[str]]:
        sides = [_names(group) for group in groups]
        if len(sides) == 1:
            sides.append([name for name in self.stage.devices if name not in sides[0]])
        return sides

    @staticmethod
    def _each_pair(sides: list[list[str]], act: Callable[[str, str], None]) -> None:
        for at, side in enumerate(sides):
            for others in (*sides[:at], *sides[at + 1 :]):
                for one in side:
                    for other in others:
                        if one != other:
                            act(one, other)

    def move(self, device: MeshDevice, place: str) -> None:
        """To another place, such as "office": only devices at one place reach each other."""
        self._note(device, "moves", place)
        device.home_place = place
        self.stage.do(lambda: self.stage.world.network.move(device.name, place))

    def offline(self, device: MeshDevice) -> None:
        """Out of reach of everybody, until `online` or `move`."""
        self._note(device, "moves", str(None))
        self.stage.do(lambda: self.stage.world.network.move(device.name, None))

    def online(self, device: MeshDevice) -> None:
        """Back at the place where it was."""
        self._note(device, "moves", str(device.home_place))
        self.stage.do(lambda: self.stage.world.network.move(device.name, device.home_place))

    def law(self, name: str, *, place: str | None = None) -> None:
        """From now on the network (of one place) is instant, lan, wifi, flaky-wifi, mobile, ..."""
        if name not in LAWS:
            raise MeshUseError(f"no network called {name}: there are {', '.join(LAWS)}")
        self._note(None, "law", name if place is None else f"{name} at {place}")
        self.stage.world.network.set_law(place, name)

    # Time --------------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """The true time of the virtual world, in UTC. Clocks of devices may be off."""
        ms = WALL_START_MS + self.stage.loop.time() * 1000
        return datetime.fromtimestamp(ms / 1000, UTC)

    @property
    def elapsed_s(self) -> float:
        """Virtual seconds since the start."""
        return self.stage.loop.time()

    @property
    def patience_days(self) -> float:
        """Virtual days for which the test may wait and do nothing, before it is given up."""
        return self.stage.loop.patience_days

    @patience_days.setter
    def patience_days(self, days: float) -> None:
        self.stage.loop.patience_days = days

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the mesh's event loop to its end; for tests that are plain functions.

        If it waits for something that never comes, it fails with AssertionError where it waits.
        """
        return self.stage.run(work)

    def advance(self, **duration: float) -> Passed:
        """Let time pass: `hours=3`, `days=`, `minutes=`, `seconds=`, `milliseconds=`.

        It has passed when the call returns. `await mesh.advance(...)` says the same.
        """
        seconds = timedelta(**duration).total_seconds()
        if seconds < 0:
            raise MeshUseError(f"time does not run backwards: {seconds} s")
        self._note(None, "advance", str(timedelta(seconds=seconds)))
        self.stage.do(lambda: self.stage.loop.pass_time(seconds))
        return Passed()

    async def settle(self, timeout_s: float = SETTLE_S_MAX, *, everyone: bool = False) -> float:
        """Wait until all devices that are up and reach each other hold the same.

        What a device may not read by its level is not asked of it. Devices that are down, asleep
        or cut off are left out, unless `everyone`. Returns the virtual seconds it took. Raises
        AssertionError with who differs, in what and why, if it takes longer than `timeout_s`.
        """
        __tracebackhide__ = True
        loop = self.stage.loop
        if asyncio.get_running_loop() is not loop:
            raise RuntimeError(OTHER_LOOP)
        loop.touch()
        began, looks = loop.time(), 0
        while why := await self._unsettled(began + timeout_s + REST_S, everyone=everyone):
            if loop.time() - began >= timeout_s:
                self._note(None, "settle", f"not in {timeout_s:g} s")
                head = f"the mesh has not settled in {timeout_s:g} s of virtual time:"
                raise AssertionError("\n".join((head, *_indented(why))))
            await asyncio.sleep(LOOK_S if looks < LOOKS_OFTEN else LOOK_RARELY_S)
            looks += 1
        took_s = loop.time() - began
        self._note(None, "settle", f"in {took_s:.2f} s")
        return took_s

    async def _unsettled(self, until_s: float, *, everyone: bool) -> list[str]:
        """Why the mesh has not settled, a line each; empty if it has."""
        look = self._look(self.stage.devices.values(), everyone=everyone)
        # Equal entries may still be under way from the log to the records, or to who watches.
        return mesh_settling.differences(look) or await mesh_settling.not_at_rest(look, until_s)

    def _look(self, devices: Iterable[MeshDevice], *, everyone: bool) -> mesh_settling.Look:
        return mesh_settling.Look(list(devices), self.stage.world.network, everyone)

    # Assertions --------------------------------------------------------------------------------

    def assert_converged(self, *devices: MeshDevice) -> None:
        """These devices (all, if none is named) are up and hold and show the same, by level.

        Looks at this moment and waits for nothing: `settle` before. Raises AssertionError.
        """
        __tracebackhide__ = True
        look = self._look(devices or self.stage.devices.values(), everyone=True)
        why = mesh_settling.differences(look) or mesh_settling.unequal_records(look)
        if why:
            raise AssertionError("\n".join(("the devices have not converged:", *_indented(why))))

    def assert_never_left(
        self, device: MeshDevice, text: str, *, shared_with: Iterable[MeshDevice] = ()
    ) -> None:
        """No other device ever held `text` in readable form, and no wire carried it.

        `shared_with`: devices that may hold it. The text has at least 8 bytes. Raises
        AssertionError, which names devices and does not repeat the text.
        """
        __tracebackhide__ = True
        spelled = mesh_secrets.needles(text)
        allowed = {device.name, *_names(shared_with)}
        told = [f"it went from {one} to {other}" for one, other in self.stage.tape.find(spelled)]
        for other in self.stage.devices.values():
            where = "" if other.name in allowed else mesh_secrets.where_held(other, spelled)
            if where:
                told.append(f"{other.name} has it {where}")
        if told:
            raise AssertionError("\n".join(("the text has left:", *_indented(told))))
        if self.stage.tape.dropped:
            raise AssertionError(f"cannot tell: {self.stage.tape.dropped} bytes were not kept")

    # What happened -----------------------------------------------------------------------------

    @property
    def events(self) -> tuple[Event, ...]:
        """Everything that happened so far, in order: at_ms, device, kind, detail."""
        return tuple(self.stage.world.trace.events)

    def save_timeline(self, path: str | Path) -> None:
        """Write what happened so far as a page of HTML that stands alone, for a browser."""
        from .mesh_timeline import page

        Path(path).write_text(page(self.stage, self.seed), encoding="utf-8")

    def _note(self, device: MeshDevice | None, kind: str, detail: str = "") -> None:
        self.stage.world.note("" if device is None else device.name, kind, detail)

    # The end -----------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """Promises that Covey broke, and tasks of the test that failed unseen, a line each."""
        return self.stage.problems()

    def close(self) -> None:
        """End the test's tasks and stop every device in order. Harmless the second time."""
        self.stage.close()


def _names(group: Group) -> list[str]:
    """The names of a device, or of those of a group."""
    devices = [group] if isinstance(group, MeshDevice) else list(group)
    return [device.name for device in devices]


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]
