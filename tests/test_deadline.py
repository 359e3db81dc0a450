"""Deadlines by the Clock port: they must fire in simulated time and leave nothing behind."""

import asyncio

import pytest

from covey.node.deadline import DeadlinePassed, set_or_passed, within

from .fake_clock import FakeClock, settle


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def test_work_that_is_done_in_time_gives_its_result() -> None:
    """And the timer goes with it, or it would fire into the next handshake."""
    clock = FakeClock()

    async def work() -> int:
        await clock.sleep_ms(10)
        return 7

    doing = asyncio.ensure_future(within(clock, 11, work()))
    await clock.advance(10)

    assert await doing == 7
    assert clock.sleeping == 0


async def test_work_that_takes_longer_is_cancelled() -> None:
    """Whoever waits must not wait for ever."""
    clock = FakeClock()
    doing = asyncio.ensure_future(within(clock, 10, forever()))
    await clock.advance(9)
    in_time = doing.done()
    await clock.advance(1)

    assert not in_time
    with pytest.raises(DeadlinePassed):
        await doing


async def test_an_error_of_the_work_comes_through() -> None:
    """The deadline must not hide why something failed."""

    async def fail() -> None:
        raise LookupError("why")

    with pytest.raises(LookupError, match="why"):
        await within(FakeClock(), 10, fail())


async def test_being_cancelled_cancels_the_work_and_the_timer() -> None:
    """A node that stops takes its handshakes with it."""
    clock = FakeClock()
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await forever()
        finally:
            ended.set()

    doing = asyncio.ensure_future(within(clock, 10, work()))
    await settle()
    doing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await doing
    assert ended.is_set()
    assert (clock.sleeping, len(asyncio.all_tasks())) == (0, 1)


async def test_an_event_that_is_not_set_in_time_is_set_by_the_deadline() -> None:
    """A loop that waits for news looks again now and then without any."""
    clock, event = FakeClock(), asyncio.Event()
    waiting = asyncio.ensure_future(set_or_passed(clock, 10, event))
    await clock.advance(9)
    in_time = waiting.done()
    await clock.advance(1)

    assert not in_time and waiting.done()
    assert event.is_set()


async def test_an_event_that_is_set_in_time_takes_the_timer_with_it() -> None:
    """It would wake the loop at its next wait, for nothing."""
    clock, event = FakeClock(), asyncio.Event()
    waiting = asyncio.ensure_future(set_or_passed(clock, 10, event))
    await settle()
    event.set()
    await waiting

    assert clock.sleeping == 0
