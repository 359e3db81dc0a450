"""Simulated devices and their world: they start, stop, crash, sleep and wake, and leave nothing."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from covey import CoveyError
from covey.node.api import Node
from covey.simulations.sim_device import PORT, USER_TASK, DeviceDownError, SimDevice
from covey.simulations.sim_disk import Fate
from covey.simulations.sim_network import DEAD_MS
from covey.simulations.world import World
from covey.storage.errors import (
    DiskFailedError,
    NotInitialisedError,
    StoreClosedError,
    StoreFullError,
)

from .simulated import GUEST, LAPTOP, PHONE, a_world, facts, meet, start_all

T = TypeVar("T")
HOUR_MS = 3_600_000


def in_world(test: Callable[[World, SimDevice, SimDevice], Coroutine[Any, Any, T]]) -> T:
    """Run a test with a laptop and a phone that are switched off; nothing may go wrong below."""
    with a_world(LAPTOP, PHONE) as world:
        result = world.run(test(world, world.devices["laptop"], world.devices["phone"]))
    assert [str(violation) for violation in world.violations] == []
    return result


async def try_to_start(device: SimDevice) -> CoveyError | None:
    """Start, whatever comes of it; why it failed."""
    await asyncio.wait([device.begin()])
    return device.failure


# Starting and stopping -------------------------------------------------------------------------


def test_a_device_that_was_founded_starts_as_what_it_was_founded_as() -> None:
    """`covey init`, then `covey up`."""
    with World(1) as world:

        async def main() -> tuple[str, str, bool]:
            device = world.add("laptop")
            await device.found("server")
            was_up = device.is_up
            await device.start()
            ours = device.engine.our_device()
            return ours.name, ours.type, was_up

        assert world.run(main()) == ("laptop", "server", False)
    assert world.violations == []


def test_a_device_that_was_never_founded_does_not_start_and_says_why() -> None:
    """A person is told to run `covey init`."""
    with World(1) as world:
        device = world.add("laptop")
        world.run(try_to_start(device))

        assert not device.is_up
        assert isinstance(device.failure, NotInitialisedError)
    assert world.violations == []


def test_a_device_that_is_down_says_so_to_whoever_asks() -> None:
    """An application holds on to a node whose process has died."""

    async def test(world: World, laptop: SimDevice, phone: SimDevice) -> None:
        for ask in ("engine", "store", "node"):
            with pytest.raises(DeviceDownError, match="laptop does not run"):
                getattr(laptop, ask)

    in_world(test)
    assert issubclass(DeviceDownError, CoveyError)


def test_two_devices_of_one_mesh_find_each_other_and_share_what_they_write() -> None:
    """The whole of it: discovery, handshake, session, store."""

    async def test(world: World, laptop: SimDevice, phone: SimDevice) -> Any:
        await start_all(world)
        await facts(laptop).put({"text": "tea"}, "one")
        await meet(world)
        return await facts(phone).get("one")

    assert in_world(test) == {"text": "tea"}


def test_a_device_that_stops_in_order_leaves_no_task_no_port_and_no_announcement() -> None:
    """A node that is closed must be gone."""

    async def test(world: World, laptop: SimDevice, phone: SimDevice) -> list[object]:
        await start_all(world)
        await meet(world)
        process = laptop.process
        assert process is not None
        await laptop.stop()
        left: list[object] = [*process.left(), *laptop.machine.listeners]
        left += [each for each in world.air.announcements.values() if each.machine.name == "laptop"]
        left += [each for each in world.air.browsings.values() if each.machine.name == "laptop"]
        await phone.stop()
        return [*left, *world.network.pipes, *world.air.announcements, *world.loop.tasks_left()[1:]]

    assert in_world(test) == []


def test_a_task_that_outlives_its_node_is_a_violation() -> None:
    """Closing is over when nothing runs any more."""
    with a_world(LAPTOP) as world:
        (laptop,) = world.devices.values()

        async def main() -> None:
            await laptop.start()
            assert laptop.process is not None
            laptop.process.spawn(asyncio.sleep(HOUR_MS), "stray")
            await laptop.stop()

        world.run(main())

    assert [(each.claim, each.device) for each in world.violations] == [
        ("I14", "laptop"),
        ("I14", ""),
    ]
    assert "stray" in world.violations[0].message


def test_a_call_that_is_under_way_when_its_node_closes_is_told_and_no_violation() -> None:
    """An application learns of it when it is over, and is no task of the node."""

    async def test(world: World, laptop: SimDevice, phone: SimDevice) -> list[type[CoveyError]]:
        await laptop.start()
        told: list[type[CoveyError]] = []

        async def call(node: Node) -> None:
            try:
                await node.database("memory").collection("facts").get("one")
            except CoveyError as error:
                for _ in range(3):
                    await asyncio.sleep(0)
                told.append(type(error))

        process, node, store = laptop.process, laptop.node, laptop.store
        assert process is not None
        close = store.close

        async def call_and_close() -> None:
            process.spawn(call(node), USER_TASK)
            await close()

        store.close = call_and_close  # type: ignore[method-assign]
        await laptop.stop()
        return told

    assert in_world(test) == [StoreClosedError]


def test_a_device_that_starts_again_has_what_it_had() -> None:
    """Also what nobody else ever saw."""

    async def test(world: World, laptop: SimDevice, phone: SimDevice) -> tuple[Any, bool, int]:
        await laptop.start()
        await facts(laptop).put({"text": "tea"}, "one")
        instance = laptop.engine.instance
        await laptop.stop()
        await laptop.start()
        same = laptop.engine.instance == instance
        return await facts(laptop).get("one"), same and laptop.kept_instance, laptop.starts

    assert in_world(test) == ({"text": "tea"}, True, 2)


def test_whoever_waits_for_starts_is_told_of_each() -> None:
    """Checkers look at what a crash has left before anything is added to it."""

    async def test(world: World, laptop: SimDevice, phone: SimDevice) -> list[int]:
        seen: list[int] = []
        laptop.started.append(lambda device: seen.append(device.starts))
        await laptop.start()
        laptop.crash()
        await laptop.start()
        return seen

    assert in_world(test) == [1, 2]


# Crashing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [False, True])
def test_what_was_acknowledged_is_there_after_a_crash(power: bool) -> None:
    """Whoever was told "saved" finds it."""

    async def test(world: World, laptop: SimDevice, phone: SimDevice) -> Any:
        await laptop.start()
        await facts(laptop).put({"text": "tea"}, "one")
        laptop.crash(power=power)
        await laptop.start()
        return await facts(laptop).get("one")

    assert in_world(test) == {"text": "tea"}


@pytest.mark.parametrize("power", [False, True])
def test_a_device_that_crashes_leaves_no_task_and_is_missed(power: bool) -> None:
    """The kernel says goodbye for a process; nobody does for a machine without power."""

    async def test(world: World, laptop: SimDevice, phone: SimDevice) -> tuple[list[str], int]:
        await start_all(world)
        await meet(world)
        process, began_ms = laptop.process, world.now_ms
        assert process is not None
        laptop.crash(power=power)
        while phone.engine.switchboard.links:
            await world.wait_ms(1)
        return process.left(), world.now_ms - began_ms

    left, missed_ms = in_world(test)

    assert left == []
    assert missed_ms >= DEAD_MS if power else missed_ms < 10


def test_crashing_a_device_that_is_down_is_harmless() -> None:
    """A plan may say it twice."""

    async def test(world: World, laptop: SimDevice, phone: SimDevice) -> None:
        laptop.crash()
        await laptop.start()
        laptop.crash(power=True)
        laptop.crash()

    in_world(test)


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21, 34])
def test_a_device_may_crash_at_any_moment_of_its_start(turns: int) -> None:
    """Whoever dies again and again as it starts must get up in the end."""

    async def test(world: World, laptop: SimDevice, phone: SimDevice) -> Any:
        await laptop.start()
        await facts(laptop).put({"text": "tea"}, "one")
        laptop.crash()
        for _ in range(3):
            laptop.begin()
            for _ in range(turns):
                await world.wait_ms(0.2)
            laptop.crash(power=True)
        await laptop.start()
        return await facts(laptop).get("one"), laptop.kept_instance

    assert in_world(test) == ({"text": "tea"}, True)


@pytest.mark.parametrize("fate", [Fate.DIES_BEFORE, Fate.DIES_AFTER])
def test_a_process_that_dies_at_a_commit_is_gone_and_its_caller_hears_nothing(fate: Fate) -> None:
    """The write is there afterwards, or it is not; both are right."""

    async def test(world: World, laptop: SimDevice, phone: SimDevice) -> tuple[bool, bool, bool]:
        await laptop.start()
        await facts(laptop).put({"text": "water"}, "other")
        process = laptop.process
        assert process is not None
        laptop.disk.doom_commit(1, fate)
        writing = process.spawn(facts(laptop).put({"text": "tea"}, "one"), "writing")
        await asyncio.wait([writing])
        is_up = laptop.is_up
        await laptop.start()
        return is_up, writing.cancelled(), await facts(laptop).get("one") is not None

    assert in_world(test) == (False, True, fate is Fate.DIES_AFTER)


@pytest.mark.parametrize("ahead", [1, 2, 3, 4])
@pytest.mark.parametrize("fate", [Fate.DIES_BEFORE, Fate.DIES_AFTER])
def test_a_process_that_dies_at_a_small_file_gets_up_under_its_instance(
    ahead: int, fate: Fate
) -> None:
    """The token is renewed at each start: every call of that is a place to die at."""

    async def test(world: World, laptop: SimDevice, phone: SimDevice) -> tuple[bool, bool]:
        laptop.disk.doom_call(ahead, fate)
        await try_to_start(laptop)
        is_up = laptop.is_up
        await laptop.start()
        return is_up, laptop.kept_instance

    assert in_world(test) == (False, True)


def test_a_start_that_the_disk_refuses_is_told_and_the_next_one_works() -> None:
    """A disk that is full today has room tomorrow."""

    async def test(world: World, laptop: SimDevice, phone: SimDevice) -> tuple[list[Any], bool]:
        laptop.disk.is_full = True
        failures = [await try_to_start(laptop)]
        laptop.disk.is_full = False
        laptop.disk.doom_call(1, Fate.FAILS)
        failures += [await try_to_start(laptop), await try_to_start(laptop)]
        return [type(failure) for failure in failures], laptop.kept_instance

    assert in_world(test) == ([StoreFullError, DiskFailedError, type(None)], True)


# The lid ---------------------------------------------------------------------------------------


def test_nothing_happens_on_a_device_that_sleeps() -> None:
    """No message, no commit, no dial."""

    async def test(world: World, laptop: SimDevice, phone: SimDevice) -> int:
        await start_all(world)
        await meet(world)
        laptop.sleep()
        await world.wait_ms(100)
        spoke: list[str] = []
        world.watchers.append(lambda source, target, message: spoke.append(source))
        commits = laptop.disk.commits
        await facts(phone).put({"text": "tea"}, "one")
        await world.wait_ms(HOUR_MS)
        return spoke.count("laptop") + laptop.disk.commits - commits

    assert in_world(test) == 0


def test_a_device_that_wakes_comes_together_with_the_others_again() -> None:
    """Whoever opens the lid wants to see what the others wrote."""

    async def test(world: World, laptop: SimDevice, phone: SimDevice) -> tuple[Any, int]:
        await start_all(world)
        await meet(world)
        laptop.sleep()
        await facts(phone).put({"text": "tea"}, "one")
        await world.wait_ms(HOUR_MS)
        laptop.wake()
        woke_ms = world.now_ms
        while await facts(laptop).get("one") is None:
            await world.wait_ms(10)
        return await facts(laptop).get("one"), world.now_ms - woke_ms

    seen, took_ms = in_world(test)

    assert seen == {"text": "tea"}
    assert took_ms < 15_000


def test_after_a_long_sleep_neither_side_holds_on_to_the_old_link() -> None:
    """The sleeper would else listen to nobody until it has something to say."""

    async def test(world: World, laptop: SimDevice, phone: SimDevice) -> tuple[int, int]:
        await start_all(world)
        await meet(world)
        (old,) = laptop.engine.switchboard.links
        laptop.sleep()
        await world.wait_ms(DEAD_MS + 1_000)
        held_by_phone = len(phone.engine.switchboard.links)
        world.network.cut("phone", "laptop")
        laptop.wake()
        await world.wait_ms(10)
        return held_by_phone, sum(link == old for link in laptop.engine.switchboard.links)

    assert in_world(test) == (0, 0)


def test_a_nap_shorter_than_the_keep_alive_costs_no_link() -> None:
    """Closing the lid for a moment is nothing."""

    async def test(world: World, laptop: SimDevice, phone: SimDevice) -> bool:
        await start_all(world)
        await meet(world)
        links = [*laptop.engine.switchboard.links, *phone.engine.switchboard.links]
        laptop.sleep()
        await world.wait_ms(DEAD_MS - 1_000)
        laptop.wake()
        laptop.sleep()
        await world.wait_ms(DEAD_MS - 1_000)
        laptop.wake()
        await world.wait_ms(5_000)
        return links == [*laptop.engine.switchboard.links, *phone.engine.switchboard.links]

    assert in_world(test)


@pytest.mark.parametrize("power", [False, True])
def test_a_device_may_die_asleep_and_its_clock_goes_on(power: bool) -> None:
    """The battery ran out in the bag."""

    async def test(world: World, laptop: SimDevice, phone: SimDevice) -> int:
        await laptop.start()
        laptop.sleep()
        laptop.sleep()
        await world.wait_ms(1_000)
        laptop.crash(power=power)
        laptop.wake()
        await laptop.start()
        began_ms = laptop.engine.clock.monotonic_ms()
        await world.wait_ms(1_000)
        return laptop.engine.clock.monotonic_ms() - began_ms

    assert in_world(test) == 1_000


def test_a_lid_that_is_closed_on_a_device_that_is_down_changes_nothing() -> None:
    """A plan may meet any state."""

    async def test(world: World, laptop: SimDevice, phone: SimDevice) -> None:
        laptop.sleep()
        laptop.wake()
        await laptop.start()
        laptop.wake()

    in_world(test)


# Homes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole_machine", [False, True])
def test_a_copied_home_gets_an_instance_of_its_own_unless_the_whole_machine_was_copied(
    whole_machine: bool,
) -> None:
    """Files that were copied have another identity; a machine that was set back has the same."""

    async def test(world: World, laptop: SimDevice, phone: SimDevice) -> tuple[bool, bool]:
        await laptop.start()
        instance = laptop.engine.instance
        laptop.store.save()
        identity = laptop.disk.identity if whole_machine else world.fresh_identity()
        copy = world.add("copy", laptop.disk.copy("copy", identity))
        await copy.start()
        return copy.kept_instance, copy.engine.instance == instance

    assert in_world(test) == (whole_machine, whole_machine)


def test_the_port_is_the_one_that_others_remember() -> None:
    """A device that starts again is dialled where it was."""

    async def test(world: World, laptop: SimDevice, phone: SimDevice) -> tuple[int, list[int]]:
        await laptop.start()
        return laptop.port, list(laptop.machine.listeners)

    assert in_world(test) == (PORT, [PORT])


# The world -------------------------------------------------------------------------------------


def test_an_exception_that_ends_a_task_of_a_device_is_told_with_its_place() -> None:
    """A node that loses a task and goes on is the worst kind of defect."""
    with a_world(LAPTOP) as world:
        (laptop,) = world.devices.values()

        async def stumble() -> None:
            raise KeyError("x")

        async def main() -> None:
            await laptop.start()
            assert laptop.process is not None
            await asyncio.wait([laptop.process.spawn(stumble(), "stumbling")])

        world.run(main())

    (violation,) = world.violations
    assert (violation.claim, violation.device) == ("I14", "laptop")
    assert "KeyError in task stumbling (stumble line" in violation.message


def test_an_exception_that_nobody_looked_at_is_told() -> None:
    """A future that failed unseen is a promise that was broken unseen."""
    with a_world() as world:

        async def main() -> None:
            asyncio.get_running_loop().create_future().set_exception(KeyError("x"))

        world.run(main())

    assert ["KeyError('x')" in str(violation) for violation in world.violations] == [True]


def test_the_number_of_violations_that_are_kept_is_bounded() -> None:
    """A claim that is broken at each message would fill the memory."""
    with a_world() as world:
        for n in range(1_000):
            world.violate("I1", "laptop", str(n))

    assert [violation.message for violation in world.violations[:2]] == ["0", "1"]
    assert len(world.violations) == 50


def test_a_world_that_is_left_ends_every_device_and_every_task() -> None:
    """The next run must not meet anybody of this one."""
    with a_world(LAPTOP, PHONE, GUEST) as world:
        world.run(start_all(world))

    assert world.running() == []
    assert world.loop.tasks_left() == []
    assert world.loop.is_closed()
    assert world.violations == []


def test_a_world_is_its_seed() -> None:
    """The same doings under one seed are one history, under another one another."""

    def run(seed: int) -> str:
        with a_world(LAPTOP, PHONE, seed=seed, law="flaky-wifi") as world:

            async def main() -> None:
                await start_all(world)
                for n in range(5):
                    await facts(world.devices["laptop"]).put({"n": n}, "one")
                await meet(world)

            world.run(main())
        return world.trace.digest

    assert run(1) == run(1)
    assert run(1) != run(2)
