"""The Clock port: what every clock promises about a callback, real and simulated."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from covey.node.ports import Clock
from covey.node.system_clock import SystemClock
from covey.simulations.sim_clock import ProcessClock, SimClock
from covey.simulations.virtual_loop import Process

from ..fake_clock import FakeClock


@dataclass
class Timed:
    """A clock, and how a test lets time pass on it."""

    clock: Clock
    pass_ms: Callable[[int], "asyncio.Future[None]"]


@pytest.fixture(params=["system", "simulated", "fake"])
async def timed(request: pytest.FixtureRequest) -> AsyncIterator[Timed]:
    clock: Clock
    match request.param:
        case "system":
            clock = SystemClock()
        case "simulated":
            clock = ProcessClock(SimClock(), Process("a", lambda *_: None))
        case _:
            fake = FakeClock()
            yield Timed(fake, lambda ms: asyncio.ensure_future(fake.advance(ms)))
            return
    yield Timed(clock, lambda ms: asyncio.ensure_future(clock.sleep_ms(ms)))


@pytest.mark.parametrize("duration_ms", [-5, 0, 20])
async def test_a_callback_is_called_once_and_not_before_its_time(
    timed: Timed, duration_ms: int
) -> None:
    """Timers of a session must fire, and not early by the clock that the session reads."""
    began_ms, called = timed.clock.monotonic_ms(), asyncio.Event()
    calls: list[int] = []

    def act() -> None:
        calls.append(timed.clock.monotonic_ms())
        called.set()

    timed.clock.call_after_ms(duration_ms, act)
    assert not calls
    while not called.is_set():
        await timed.pass_ms(20)
    await timed.pass_ms(20)

    assert len(calls) == 1
    assert calls[0] - began_ms >= max(duration_ms - 1, 0)


async def test_what_was_taken_back_is_not_called(timed: Timed) -> None:
    """A timer of a link that has ended would speak for it; taking it back twice is harmless."""
    calls: list[str] = []
    cancel = timed.clock.call_after_ms(1, lambda: calls.append("taken back"))
    cancel()
    cancel()
    kept = timed.clock.call_after_ms(1, lambda: calls.append("kept"))
    while not calls:
        await timed.pass_ms(20)
    kept()

    assert calls == ["kept"]
