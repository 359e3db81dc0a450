"""Bucket: at most so many bytes a second, as a token bucket that is paid before anything goes.

Tokens come at `rate` bytes a second, and those of half a second can be saved. So in any time of
`t` seconds at most `rate * (t + 0.5)` bytes go, and one frame if that alone is more. It holds no
timer: `reserve` names the moment at which the frame may go. Times are monotonic milliseconds.
"""

from math import ceil

SAVED_MS = 500
"""What an idle link saves up. Within the promise of a tenth over a minute, with room."""


class Bucket:
    """One cap, shared by whatever it caps."""

    def __init__(self, rate: int) -> None:
        """`rate`: bytes a second, at least 1. May be changed; what was reserved stays."""
        assert rate > 0
        self.rate = rate
        self._paid_until_ms: float | None = None

    def reserve(self, size: int, now_ms: int) -> int:
        """Take the tokens of a frame, and return when it may go: now, or later."""
        from_ms: float = now_ms - SAVED_MS
        if self._paid_until_ms is not None:
            from_ms = max(from_ms, self._paid_until_ms)
        self._paid_until_ms = from_ms + size * 1000 / self.rate
        return max(now_ms, ceil(self._paid_until_ms))


def batch_bytes(rate: int) -> int:
    """How large batches under a cap should be, so that none keeps others waiting for long."""
    return max(1, rate * SAVED_MS // 1000)
