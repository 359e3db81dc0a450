"""An alarm: does one thing once, after a while, on the Clock port.

Most who wait want one timer at a time: whoever asks while it is set is served by the one that is.
"""

from collections.abc import Callable

from .ports import Cancel, Clock


class Alarm:
    """Set or not. When it goes off it is no longer set, so that `act` may set it again."""

    __slots__ = ("_act", "_cancel", "_clock")

    def __init__(self, clock: Clock, act: Callable[[], None]) -> None:
        self._clock = clock
        self._act = act
        self._cancel: Cancel | None = None

    def set(self, duration_ms: int) -> None:
        """Go off after at least that long. If it is set already, that one stands."""
        if self._cancel is None:
            self._cancel = self._clock.call_after_ms(duration_ms, self._go_off)

    def stop(self) -> None:
        """Do not go off; harmless if it is not set."""
        if self._cancel is not None:
            self._cancel()
            self._cancel = None

    def _go_off(self) -> None:
        self._cancel = None
        self._act()
