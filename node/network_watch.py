"""Network watch: notices that the machine slept or that its network is another one.

Both make every waiting time and every discovered address obsolete, and neither is announced in a
way that is the same everywhere, so this looks every few seconds: at the two clocks, which part
while a machine sleeps, and at the addresses of the interfaces, which takes a third of a
millisecond. Whoever is told dials again and refreshes discovery.

A wall clock that was set by hand looks like a sleep; dialling once too often is harmless. Time and
interfaces are handed in.
"""

from collections.abc import Callable, Hashable
from enum import Enum

from .ports import Clock

POLL_MS = 5_000
SLEPT_MS_MIN = 10_000
"""Unaccounted time from which we say that the machine slept, not that it was busy."""


class Change(Enum):
    WOKE = "woke"
    ADDRESSES = "addresses"


class NetworkWatch:
    """Calls `changed` for each change while `run` runs. `look` names the network of the moment."""

    def __init__(
        self, clock: Clock, look: Callable[[], Hashable], changed: Callable[[Change], None]
    ) -> None:
        self._clock = clock
        self._look = look
        self._changed = changed

    async def run(self) -> None:
        """Watch until cancelled. An interface list that cannot be read counts as unchanged."""
        network = self._network(None)
        monotonic_ms, wall_ms = self._clock.monotonic_ms(), self._clock.wall_ms()
        while True:
            await self._clock.sleep_ms(POLL_MS)
            now_ms, now_wall_ms = self._clock.monotonic_ms(), self._clock.wall_ms()
            # Monotonic time stands still in sleep on Linux and runs on elsewhere.
            slept_ms = max(now_wall_ms - wall_ms, now_ms - monotonic_ms) - POLL_MS
            monotonic_ms, wall_ms = now_ms, now_wall_ms
            before, network = network, self._network(network)
            if slept_ms >= SLEPT_MS_MIN:
                self._changed(Change.WOKE)
            elif network != before:
                self._changed(Change.ADDRESSES)

    def _network(self, unknown: Hashable) -> Hashable:
        try:
            return self._look()
        except OSError:
            return unknown
