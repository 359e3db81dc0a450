"""Simulated clock: the Clock port of one device on virtual time, with everything clocks do wrong.

The wall clock may be years off and may jump. Monotonic time never jumps; it may run a little fast
or slow, and it stands still while the device sleeps, as that of Linux does. Then sleepers sleep on,
and the wall clock is ahead when the device wakes.
"""

import asyncio
from collections.abc import Callable

from ..node.ports import Cancel
from .virtual_loop import Process

WALL_START_MS = 1_780_000_000_000
"""The true wall time at the start of every run, since 1970."""
MONOTONIC_START_MS = 1_000_000


class SimClock:
    """Implements `covey.node.ports.Clock`. The wall clock outlives processes; sleepers do not."""

    def __init__(self, drift_ppm: int = 0, wall_error_ms: int = 0) -> None:
        """`drift_ppm`: millionths that this clock gains; `wall_error_ms`: how far it is ahead."""
        self._rate = 1 + drift_ppm / 1e6
        self.wall_error_ms = wall_error_ms
        self._stood_still_ms = 0.0
        self._ahead_ms = 0
        self._asleep_since_ms: float | None = None
        self._asked_s = -1.0
        self._told_ms = 0
        """What was told last, and at which time of the loop: most ask several times at once."""

    def set_drift(self, ppm: int) -> None:
        """Gain so many millionths from now on; no clock jumps for it."""
        monotonic_ms, wall_ms = self.monotonic_ms(), self.wall_ms()
        self._rate = 1 + ppm / 1e6
        self._asked_s = -1.0
        self._ahead_ms += monotonic_ms - self.monotonic_ms()
        self._asked_s = -1.0
        self.wall_error_ms += wall_ms - self.wall_ms()

    def true_ms(self) -> float:
        return asyncio.get_running_loop().time() * 1000

    def monotonic_ms(self) -> int:
        now_s = asyncio.get_running_loop().time()
        if now_s == self._asked_s:
            return self._told_ms
        now_ms = self._asleep_since_ms
        if now_ms is None:
            now_ms = now_s * 1000
        self._asked_s = now_s
        self._told_ms = (
            MONOTONIC_START_MS
            + self._ahead_ms
            + int((now_ms - self._stood_still_ms) * self._rate + 1e-6)
        )
        return self._told_ms

    def wall_ms(self) -> int:
        return WALL_START_MS + int(self.true_ms() * self._rate + 1e-6) + self.wall_error_ms

    def sleep(self) -> None:
        """The device goes to sleep: monotonic time stands still."""
        if self._asleep_since_ms is None:
            self._asleep_since_ms = self.true_ms()
            self._asked_s = -1.0

    def wake(self) -> None:
        """Monotonic time goes on."""
        if self._asleep_since_ms is not None:
            self._stood_still_ms += self.true_ms() - self._asleep_since_ms
            self._asleep_since_ms = None
            self._asked_s = -1.0

    def true_duration_s(self, duration_ms: int) -> float:
        """How long that takes in true time, if the device stays awake."""
        return max(duration_ms, 0) / self._rate / 1000


class ProcessClock:
    """The clock as one process sees it: its sleepers freeze and die with it."""

    def __init__(self, clock: SimClock, process: Process) -> None:
        self._clock = clock
        self._process = process
        self.monotonic_ms = clock.monotonic_ms

    def wall_ms(self) -> int:
        return self._clock.wall_ms()

    async def sleep_ms(self, duration_ms: int) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        cancel = self.call_after_ms(duration_ms, wake)
        if not self._process.alive:
            future.cancel()
        try:
            await future
        finally:
            cancel()

    def call_after_ms(self, duration_ms: int, act: Callable[[], None]) -> Cancel:
        return _Timer(self._clock, self._process, max(duration_ms, 0), act).cancel


class _Timer:
    """Something that a process wants to happen after a time by its own clock."""

    __slots__ = ("_act", "_clock", "_handle", "_process", "_until_ms")

    def __init__(
        self, clock: SimClock, process: Process, duration_ms: int, act: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._process = process
        self._act = act
        self._until_ms = clock.monotonic_ms() + duration_ms
        self._handle: asyncio.TimerHandle | None = None
        self._wait(duration_ms)

    def _wait(self, duration_ms: int) -> None:
        duration_s = self._clock.true_duration_s(duration_ms)
        self._handle = asyncio.get_running_loop().call_later(duration_s, self._come)

    def _come(self) -> None:
        self._process.happen(self._run_out)

    def _run_out(self) -> None:
        if self._handle is None:
            return  # It was cancelled while the process was frozen, or by what thawed before.
        left_ms = self._until_ms - self._clock.monotonic_ms()
        if left_ms > 1:
            # Time stood still meanwhile; a timer of the system would not have run out either.
            self._wait(left_ms)
            return
        self._handle = None
        self._act()

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
