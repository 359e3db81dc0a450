"""The virtual loop: time passes only when nothing is left to do, and processes freeze and die."""

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from covey.node.ports import UnreachableError
from covey.simulations import virtual_loop
from covey.simulations.virtual_loop import (
    CANCELLED_TIMERS_MAX,
    DeadlockError,
    LivelockError,
    Process,
    VirtualLoop,
)

from .simulated import a_process, now_ms, virtually, wait_ms

YEAR_MS = 365 * 86_400_000


# Time ------------------------------------------------------------------------------------------


def test_time_starts_at_zero_and_jumps_to_the_next_timer() -> None:
    """A year of quiet must cost nothing."""

    async def main() -> list[int]:
        moments = [now_ms()]
        await wait_ms(YEAR_MS)
        return [*moments, now_ms()]

    assert virtually(main()) == [0, YEAR_MS]


def test_no_time_passes_while_anything_is_ready() -> None:
    """Computing takes no time, so the order of things follows from the program alone."""

    async def main() -> int:
        asyncio.get_running_loop().call_later(0.001, lambda: None)
        for _ in range(1_000):
            await asyncio.sleep(0)
        return now_ms()

    assert virtually(main()) == 0


def test_timers_fire_in_the_order_of_their_moments_each_at_its_own() -> None:
    """A timeout that fires late or early would hide what it guards."""

    async def main() -> list[tuple[int, int]]:
        loop, fired = asyncio.get_running_loop(), []

        def fire(due_ms: int) -> None:
            fired.append((due_ms, now_ms()))

        for due_ms in (30, 10, 50, 20, 40):
            loop.call_later(due_ms / 1000, fire, due_ms)
        await wait_ms(60)
        return fired

    assert virtually(main()) == [(ms, ms) for ms in (10, 20, 30, 40, 50)]


def test_all_timers_of_one_moment_fire_before_time_goes_on() -> None:
    """Time must not run backwards for any of them."""

    async def main() -> list[int]:
        loop, fired = asyncio.get_running_loop(), []
        for _ in range(20):
            loop.call_later(0.010, lambda: fired.append(now_ms()))
        loop.call_later(0.010001, lambda: fired.append(-1))
        await wait_ms(11)
        return fired

    assert virtually(main()) == [10] * 20 + [-1]


def test_a_timer_in_the_past_fires_now_and_time_stays() -> None:
    """Time that ran back would break every deadline."""

    async def main() -> tuple[int, list[int]]:
        loop, fired = asyncio.get_running_loop(), []
        await wait_ms(100)
        loop.call_at(0.001, lambda: fired.append(now_ms()))
        await wait_ms(0.001)
        return now_ms(), fired

    assert virtually(main()) == (100, [100])


def test_a_cancelled_timer_does_not_move_time() -> None:
    """A timeout that was not needed must not lengthen a run."""

    async def main() -> int:
        async with asyncio.timeout(3_600):
            await wait_ms(5)
        await asyncio.wait_for(asyncio.sleep(0.005), 7_200)
        return now_ms()

    assert virtually(main()) == 10


def test_cancelled_timers_are_cleared_away() -> None:
    """A long run makes millions of timeouts that are never needed."""
    loop = VirtualLoop()

    async def main() -> int:
        for _ in range(20 * CANCELLED_TIMERS_MAX):
            loop.call_later(3_600, lambda: None).cancel()
            await wait_ms(1)
        return len(loop._timers)

    assert virtually(main(), loop) <= CANCELLED_TIMERS_MAX + 2


def test_clearing_cancelled_timers_away_keeps_the_order_of_the_others() -> None:
    """The queue is a heap, and what is taken out of its middle must leave one."""

    async def main() -> list[int]:
        loop, fired = asyncio.get_running_loop(), []

        def fire() -> None:
            fired.append(now_ms())

        timers = [loop.call_later((n * 7_919 % 2_000 + 1) / 1000, fire) for n in range(2_000)]
        for n, timer in enumerate(timers):
            if n % 3:
                timer.cancel()
        await wait_ms(2_001)
        return fired

    fired = virtually(main())

    assert len(fired) == 667
    assert fired == sorted(fired)


# What cannot go on -----------------------------------------------------------------------------


def test_a_deadlock_is_told() -> None:
    """A real node would wait for ever; a test must not."""

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlockError):
        virtually(main())


def test_a_deadlock_is_told_though_cancelled_timers_are_left() -> None:
    """Nobody is woken by a timeout that was called off."""

    async def main() -> None:
        asyncio.get_running_loop().call_later(1, lambda: None).cancel()
        await asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlockError):
        virtually(main())


def test_a_livelock_is_told_with_its_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tasks that wake one another for ever let no time pass."""
    monkeypatch.setattr(virtual_loop, "TURNS_WITHOUT_TIME_MAX", 1_000)

    async def main() -> None:
        await wait_ms(70)
        while True:
            await asyncio.sleep(0)

    with pytest.raises(LivelockError, match="70 ms"):
        virtually(main())


def test_turns_between_which_time_passes_are_no_livelock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long run has many turns; only those of one moment count."""
    monkeypatch.setattr(virtual_loop, "TURNS_WITHOUT_TIME_MAX", 1_000)

    async def main() -> int:
        for _ in range(20):
            for _ in range(300):
                await asyncio.sleep(0)
            await wait_ms(1)
        return now_ms()

    assert virtually(main()) == 20


def test_a_loop_goes_on_after_a_deadlock() -> None:
    """The world is closed in order whatever became of the run."""
    loop = VirtualLoop()

    async def stuck() -> None:
        await loop.create_future()

    with pytest.raises(DeadlockError):
        loop.run_until_complete(stuck())

    assert virtually(asyncio.sleep(1, "awake"), loop) == "awake"


# What a simulation does not have ---------------------------------------------------------------


@pytest.mark.parametrize(
    "leave",
    [
        lambda: asyncio.to_thread(len, ""),
        lambda: asyncio.get_running_loop().getaddrinfo("localhost", 1),
        lambda: asyncio.open_connection("127.0.0.1", 1),
        lambda: asyncio.create_subprocess_exec("true"),
    ],
    ids=["a thread", "a name", "a socket", "a subprocess"],
)
def test_whoever_leaves_the_simulation_is_told(leave: Callable[[], Any]) -> None:
    """What the seed does not decide cannot be replayed."""

    async def main() -> None:
        await leave()

    with pytest.raises((AssertionError, NotImplementedError)):
        virtually(main())


# Processes -------------------------------------------------------------------------------------


def test_what_a_task_of_a_process_starts_belongs_to_it() -> None:
    """A kill that missed a grandchild would let a dead process speak."""

    async def main() -> tuple[list[str], int]:
        process = a_process()

        async def child() -> None:
            asyncio.get_running_loop().create_task(asyncio.sleep(1), name="grandchild")
            await asyncio.sleep(1)

        process.spawn(child(), "child")
        asyncio.get_running_loop().create_task(asyncio.sleep(1), name="stranger")
        await asyncio.sleep(0)
        return process.left(), len(process)

    assert virtually(main()) == (["child", "grandchild"], 2)


def test_a_task_that_a_timer_of_a_process_starts_belongs_to_it() -> None:
    """Callbacks run in the context of whoever asked for them."""

    async def main() -> list[str]:
        process, loop = a_process(), asyncio.get_running_loop()

        def later() -> None:
            loop.create_task(asyncio.sleep(1), name="later")

        async def child() -> None:
            loop.call_later(0.01, later)

        process.spawn(child(), "child")
        await wait_ms(20)
        return process.left()

    assert virtually(main()) == ["later"]


def test_a_kill_ends_every_task_of_the_process_and_no_other() -> None:
    """`kill -9` is not a matter of consent, and knows only its victim."""

    async def main() -> tuple[int, int, list[str]]:
        ended: list[str] = []

        async def live(name: str) -> None:
            try:
                await asyncio.sleep(1)
            finally:
                ended.append(name)

        victim, other = a_process("victim"), a_process("other")
        victim.spawn(live("one"), "one")
        victim.spawn(live("two"), "two")
        other.spawn(live("three"), "three")
        await asyncio.sleep(0)
        victim.kill()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return len(victim), len(other), list(ended)

    assert virtually(main()) == (0, 1, ["one", "two"])


def test_a_task_that_was_killed_before_its_first_step_never_runs() -> None:
    """A process that dies as it starts has done nothing."""

    async def main() -> list[str]:
        done: list[str] = []

        async def live() -> None:
            done.append("lived")

        process = a_process()
        process.spawn(live(), "live")
        process.kill()
        await wait_ms(1)
        return done

    assert virtually(main()) == []


def test_nothing_happens_to_a_dead_process() -> None:
    """What was on its way to it is lost."""

    async def main() -> list[str]:
        happened: list[str] = []
        process = a_process()
        process.happen(lambda: happened.append("alive"))
        process.kill()
        process.happen(lambda: happened.append("dead"))
        return happened

    assert virtually(main()) == ["alive"]


def test_what_comes_to_a_frozen_process_waits_in_its_order() -> None:
    """A lid that is closed loses nothing and swaps nothing."""

    async def main() -> tuple[list[int], list[int]]:
        happened: list[int] = []
        process = a_process()
        process.freeze()
        for n in range(5):
            process.happen(lambda n=n: happened.append(n))  # type: ignore[misc]
        asleep = list(happened)
        process.thaw()
        process.happen(lambda: happened.append(5))
        return asleep, happened

    assert virtually(main()) == ([], [0, 1, 2, 3, 4, 5])


def test_a_process_that_freezes_again_as_it_thaws_keeps_the_rest() -> None:
    """The lid may be closed again by the first thing that happens."""

    async def main() -> tuple[list[int], list[int]]:
        happened: list[int] = []
        process = a_process()
        process.freeze()
        process.happen(process.freeze)
        process.happen(lambda: happened.append(1))
        process.thaw()
        asleep = list(happened)
        process.thaw()
        return asleep, happened

    assert virtually(main()) == ([], [1])


def test_a_process_that_dies_frozen_forgets_what_waited() -> None:
    """A battery that runs out under a closed lid."""

    async def main() -> list[str]:
        happened: list[str] = []
        process = a_process()
        process.freeze()
        process.happen(lambda: happened.append("too late"))
        process.kill()
        process.thaw()
        return happened

    assert virtually(main()) == []


def test_a_process_that_dies_as_it_thaws_sees_no_more_of_what_waited() -> None:
    """The first message after a sleep may be the one that kills."""

    async def main() -> list[str]:
        happened: list[str] = []
        process = a_process()
        process.freeze()
        process.happen(process.kill)
        process.happen(lambda: happened.append("too late"))
        process.thaw()
        return happened

    assert virtually(main()) == []


def reports_of(error: BaseException) -> list[tuple[str, str]]:
    """What is reported of a process in which a task ends with an error."""
    reported: list[tuple[str, str]] = []

    async def main() -> None:
        process = Process("a", lambda task, error: reported.append((task, repr(error))))

        async def fail() -> None:
            raise error

        task = process.spawn(fail(), "failing")
        await asyncio.wait([task])

    virtually(main())
    return reported


def test_an_error_that_nobody_may_expect_is_reported_with_its_task() -> None:
    """A node that loses a task silently is the worst kind of defect."""
    assert reports_of(KeyError("x")) == [("failing", "KeyError('x')")]


def test_errors_that_callers_are_told_of_are_not_reported() -> None:
    """A peer that is not there is normal life."""
    assert reports_of(UnreachableError("nobody")) == []


def test_an_error_in_a_dying_process_is_not_reported() -> None:
    """Whoever is killed may stumble over its ports, which are dead."""
    reported: list[str] = []

    async def main() -> None:
        process = Process("a", lambda task, error: reported.append(task))

        async def stumble() -> None:
            try:
                await asyncio.sleep(1)
            finally:
                raise KeyError("x")

        task = process.spawn(stumble(), "stumbling")
        await asyncio.sleep(0)
        process.kill()
        await asyncio.wait([task])
        task.exception()

    virtually(main())

    assert reported == []


def test_a_closed_loop_leaves_no_task_to_the_garbage_collector() -> None:
    """What the collector finds is told in some later run, or in none."""
    told: list[Any] = []
    loop = VirtualLoop()
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))

    async def main() -> None:
        process = a_process()
        process.spawn(asyncio.sleep(3_600), "sleeping")
        asyncio.get_running_loop().create_task(asyncio.sleep(3_600))
        await wait_ms(1)

    virtually(main(), loop)
    gc.collect()

    assert told == []
