"""The Clock port on the system: real time, real sleeping.

Milliseconds throughout. Monotonic time counts from an arbitrary moment and on Linux stands still
while the machine sleeps, which is how `network_watch` notices that it slept. Wall time counts
from 1970 and jumps whenever someone sets it; only what a person reads or signs uses it.
"""

import asyncio
import time
from collections.abc import Callable

from .ports import Cancel

_NS_PER_MS = 1_000_000


class SystemClock:
    """Implements `covey.node.ports.Clock`."""

    __slots__ = ()

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // _NS_PER_MS

    def wall_ms(self) -> int:
        return time.time_ns() // _NS_PER_MS

    async def sleep_ms(self, duration_ms: int) -> None:
        """Return after at least that long. 0 or less lets other tasks run once."""
        await asyncio.sleep(max(duration_ms, 0) / 1000)

    def call_after_ms(self, duration_ms: int, act: Callable[[], None]) -> Cancel:
        """Call `act` from the running loop after at least that long, unless cancelled before."""
        return asyncio.get_running_loop().call_later(max(duration_ms, 0) / 1000, act).cancel
