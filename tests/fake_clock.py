"""A Clock and an Entropy for tests: time moves when the test says so, chance comes from a seed."""

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable


class FakeClock:
    """Implements `covey.node.ports.Clock` without waiting."""

    def __init__(self, now_ms: int = 1_000_000) -> None:
        self.now_ms = now_ms
        self.wall_ahead_ms = 1_700_000_000_000
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def monotonic_ms(self) -> int:
        return self.now_ms

    def wall_ms(self) -> int:
        return self.now_ms + self.wall_ahead_ms

    async def sleep_ms(self, duration_ms: int) -> None:
        await self._after(duration_ms)

    def call_after_ms(self, duration_ms: int, act: Callable[[], None]) -> Callable[[], None]:
        future = self._after(duration_ms)
        future.add_done_callback(lambda done: None if done.cancelled() else act())

        def cancel() -> None:
            future.cancel()

        return cancel

    def _after(self, duration_ms: int) -> "asyncio.Future[None]":
        """What `advance` sets when that much time has passed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (self.now_ms + max(duration_ms, 0), next(self._order), future)
        heapq.heappush(self._sleepers, entry)
        return future

    @property
    def sleeping(self) -> int:
        """How many tasks wait for this clock."""
        return sum(not future.done() for _, _, future in self._sleepers)

    async def advance(self, duration_ms: int) -> None:
        """Let time pass: wake each sleeper at its moment, and let what it wakes run."""
        until = self.now_ms + duration_ms
        await settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            self.now_ms, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
                await settle()
        self.now_ms = until
        await settle()


async def settle(turns: int = 50) -> None:
    """Give every task that is ready its turns. Nothing that needs a real socket is waited for."""
    for _ in range(turns):
        await asyncio.sleep(0)


class SeededEntropy:
    """Implements `covey.node.ports.Entropy`, the same for the same seed."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def draw(self, size: int) -> bytes:
        return self._random.randbytes(size)

    def uniform(self) -> float:
        return self._random.random()
