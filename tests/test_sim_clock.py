"""The simulated clock: it drifts, jumps and stands still, and only the wall clock ever jumps."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.node.network_watch import Change, NetworkWatch
from covey.simulations.sim_clock import MONOTONIC_START_MS, WALL_START_MS, ProcessClock, SimClock
from covey.simulations.virtual_loop import VirtualLoop

from .simulated import a_process, now_ms, virtually, wait_ms

HOUR_MS = 3_600_000
YEAR_MS = 365 * 24 * HOUR_MS


def read(clock: SimClock) -> tuple[int, int]:
    """What the clock shows, since the start: monotonic and wall milliseconds."""
    return clock.monotonic_ms() - MONOTONIC_START_MS, clock.wall_ms() - WALL_START_MS


# The two clocks --------------------------------------------------------------------------------


def test_both_clocks_go_with_true_time() -> None:
    """Without faults everybody's clock is right."""

    async def main() -> list[tuple[int, int]]:
        clock = SimClock()
        seen = [read(clock)]
        await wait_ms(HOUR_MS)
        return [*seen, read(clock)]

    assert virtually(main()) == [(0, 0), (HOUR_MS, HOUR_MS)]


@pytest.mark.parametrize("ppm", [-50_000, -200, 200, 50_000])
def test_a_clock_that_drifts_gains_so_many_millionths(ppm: int) -> None:
    """Two devices that wait for an hour do not wait equally long."""

    async def main() -> tuple[int, int]:
        clock = SimClock(drift_ppm=ppm)
        await wait_ms(HOUR_MS)
        return read(clock)

    gained = HOUR_MS + HOUR_MS * ppm // 1_000_000
    assert virtually(main()) == (gained, gained)


def test_a_wall_clock_that_is_off_leaves_monotonic_time_alone() -> None:
    """A person sets the clock; timeouts must not notice."""

    async def main() -> tuple[int, int]:
        clock = SimClock(wall_error_ms=-10 * YEAR_MS)
        await wait_ms(5)
        clock.wall_error_ms = 3 * YEAR_MS
        return read(clock)

    assert virtually(main()) == (5, 5 + 3 * YEAR_MS)


def test_drift_that_sets_in_makes_no_clock_jump() -> None:
    """A clock that runs faster from now on shows the same now."""

    async def main() -> list[tuple[int, int]]:
        clock = SimClock(wall_error_ms=77)
        await wait_ms(1_000_000)
        seen = [read(clock)]
        clock.set_drift(50_000)
        seen.append(read(clock))
        await wait_ms(1_000)
        return [*seen, read(clock)]

    before, after, later = virtually(main())

    assert before == after == (1_000_000, 1_000_077)
    assert later == (1_001_050, 1_001_127)


def test_monotonic_time_stands_still_in_sleep_and_wall_time_does_not() -> None:
    """So it is on Linux, and this is how a node notices that it slept."""

    async def main() -> list[tuple[int, int]]:
        clock = SimClock()
        await wait_ms(10)
        clock.sleep()
        await wait_ms(HOUR_MS)
        asleep = read(clock)
        clock.wake()
        await wait_ms(10)
        return [asleep, read(clock)]

    assert virtually(main()) == [(10, HOUR_MS + 10), (20, HOUR_MS + 20)]


def test_closing_a_closed_lid_and_opening_an_open_one_change_nothing() -> None:
    """A plan may say either twice."""

    async def main() -> tuple[int, int]:
        clock = SimClock()
        clock.wake()
        await wait_ms(10)
        clock.sleep()
        await wait_ms(10)
        clock.sleep()
        await wait_ms(10)
        clock.wake()
        clock.wake()
        return read(clock)

    assert virtually(main()) == (10, 30)


EVENTS = st.one_of(
    st.tuples(st.just("wait"), st.integers(0, 10**7)),
    st.tuples(st.just("drift"), st.integers(-50_000, 50_000)),
    st.tuples(st.just("wall"), st.integers(-10 * YEAR_MS, 10 * YEAR_MS)),
    st.tuples(st.sampled_from(["sleep", "wake"]), st.just(0)),
)


@given(st.lists(EVENTS, max_size=30))
def test_whatever_clocks_suffer_monotonic_time_never_goes_back(
    events: list[tuple[str, int]],
) -> None:
    """Every deadline of the node rests on this."""

    async def main() -> list[int]:
        clock, seen = SimClock(), [MONOTONIC_START_MS]
        for kind, number in events:
            match kind:
                case "wait":
                    await wait_ms(number)
                case "drift":
                    clock.set_drift(number)
                case "wall":
                    clock.wall_error_ms = number
                case "sleep":
                    clock.sleep()
                case "wake":
                    clock.wake()
            seen.append(clock.monotonic_ms())
        return seen

    seen = virtually(main())

    assert seen == sorted(seen)


# Sleepers --------------------------------------------------------------------------------------


def test_a_sleeper_sleeps_as_long_as_it_asked() -> None:
    """On a clock that is right its time is true time."""

    async def main() -> int:
        await ProcessClock(SimClock(), a_process()).sleep_ms(250)
        return now_ms()

    assert virtually(main()) == 250


@pytest.mark.parametrize("duration_ms", [0, -5])
def test_a_sleep_of_nothing_ends_at_once(duration_ms: int) -> None:
    """A deadline that has passed already is no reason to wait."""

    async def main() -> int:
        await ProcessClock(SimClock(), a_process()).sleep_ms(duration_ms)
        return now_ms()

    assert virtually(main()) == 0


def test_on_a_fast_clock_a_sleep_is_shorter_in_truth() -> None:
    """Timeouts of two devices run out at different moments though they are the same number."""

    async def main() -> tuple[int, int]:
        clock = SimClock(drift_ppm=250_000)
        await ProcessClock(clock, a_process()).sleep_ms(1_000)
        return now_ms(), read(clock)[0]

    assert virtually(main()) == (800, 1_000)


def test_a_sleeper_sleeps_on_when_the_lid_is_opened() -> None:
    """Its timer stood still with the machine, and did not run out in the bag."""

    async def main() -> tuple[int, int]:
        process, clock = a_process(), SimClock()
        sleeping = process.spawn(ProcessClock(clock, process).sleep_ms(1_000), "sleeping")
        await wait_ms(400)
        process.freeze()
        clock.sleep()
        await wait_ms(10_000)
        clock.wake()
        process.thaw()
        await sleeping
        return now_ms(), read(clock)[0]

    assert virtually(main()) == (11_000, 1_000)


def test_a_sleeper_whose_lid_is_opened_in_time_wakes_when_it_would_have_and_a_nap_later() -> None:
    """Also a nap that ends before the timer would have fired makes it fire later."""

    async def main() -> int:
        process, clock = a_process(), SimClock()
        sleeping = process.spawn(ProcessClock(clock, process).sleep_ms(1_000), "sleeping")
        await wait_ms(100)
        process.freeze()
        clock.sleep()
        await wait_ms(300)
        clock.wake()
        process.thaw()
        await sleeping
        return now_ms()

    assert virtually(main()) == 1_300


def test_nothing_wakes_while_the_lid_is_closed() -> None:
    """A timer that fired in the bag would send messages from a machine that is off."""

    async def main() -> bool:
        process, clock = a_process(), SimClock()
        sleeping = process.spawn(ProcessClock(clock, process).sleep_ms(1_000), "sleeping")
        process.freeze()
        await wait_ms(HOUR_MS)
        return sleeping.done()

    assert not virtually(main())


def test_a_sleeper_dies_with_its_process() -> None:
    """No code of a dead process may run when its timer would have fired."""

    async def main() -> tuple[bool, list[str]]:
        process, woke = a_process(), list[str]()

        async def work() -> None:
            await ProcessClock(SimClock(), process).sleep_ms(10)
            woke.append("alive")

        task = process.spawn(work(), "work")
        await wait_ms(1)
        process.kill()
        await wait_ms(HOUR_MS)
        return task.cancelled(), woke

    assert virtually(main()) == (True, [])


def test_whoever_goes_to_sleep_in_a_dead_process_is_ended() -> None:
    """A task that ignores its cancellation gets no further than its next sleep."""

    async def main() -> list[str]:
        process, went_on = a_process(), list[str]()

        async def stubborn() -> None:
            clock = ProcessClock(SimClock(), process)
            try:
                await clock.sleep_ms(10)
            except asyncio.CancelledError:
                await clock.sleep_ms(10)
                went_on.append("still here")

        process.spawn(stubborn(), "stubborn")
        await wait_ms(1)
        process.kill()
        await wait_ms(HOUR_MS)
        return went_on

    assert virtually(main()) == []


@pytest.mark.parametrize("nap_ms", [0, 50])
def test_a_sleeper_that_is_cancelled_leaves_no_timer(nap_ms: int) -> None:
    """A timer that outlives its sleeper keeps a dead world from being seen as dead."""
    loop = VirtualLoop()

    async def main() -> list[float]:
        process, clock = a_process(), SimClock()
        sleeping = process.spawn(ProcessClock(clock, process).sleep_ms(100), "sleeping")
        await wait_ms(10)
        clock.sleep()
        await wait_ms(nap_ms)
        clock.wake()
        await wait_ms(95)
        sleeping.cancel()
        await asyncio.wait([sleeping])
        return [when for when, _, timer in loop._timers if not timer.cancelled()]

    assert virtually(main(), loop) == []


def test_a_node_notices_from_these_clocks_that_it_slept() -> None:
    """Whether discovery and dials begin anew after a sleep hangs on it."""

    async def main() -> list[Change]:
        process, clock = a_process(), SimClock()
        noticed: list[Change] = []
        watch = NetworkWatch(ProcessClock(clock, process), lambda: "home", noticed.append)
        watching: Coroutine[Any, Any, None] = watch.run()
        process.spawn(watching, "watch")
        await wait_ms(60_000)
        quiet = list(noticed)
        process.freeze()
        clock.sleep()
        await wait_ms(HOUR_MS)
        clock.wake()
        process.thaw()
        await wait_ms(60_000)
        process.kill()
        return quiet + noticed

    assert virtually(main()) == [Change.WOKE]


def test_a_clock_that_is_asked_twice_at_one_moment_has_not_forgotten_a_sleep_between() -> None:
    """What was told at a moment is told again, but for what happened to the clock meanwhile."""

    async def main() -> list[int]:
        clock = SimClock()
        await wait_ms(1_000)
        seen = [read(clock)[0]]
        clock.sleep()
        await wait_ms(500)
        seen.append(read(clock)[0])
        clock.wake()
        seen.append(read(clock)[0])
        clock.set_drift(1_000_000)
        seen.append(read(clock)[0])
        await wait_ms(100)
        return [*seen, read(clock)[0]]

    assert virtually(main()) == [1_000, 1_000, 1_000, 1_000, 1_200]
