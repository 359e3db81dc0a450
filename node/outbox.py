"""Outbox: the frames of one link that wait to be sent, in lanes, under caps.

A frame about a capped database (a batch, a vector, an announcement) waits in a lane of that
database; all others are in the main lane. Within a lane order is kept, because later frames rest on
earlier ones; between lanes it is not needed, so what is not capped passes what is. Each frame at
the head of its lane pays all buckets it is under, and goes when the last of them lets it.

Spec: docs/protocol.md, section 7. Times are monotonic milliseconds.
"""

from collections import deque
from collections.abc import Callable, Sequence

from .bucket import Bucket

MAIN = b""
Caps = Callable[[bytes], Sequence[Bucket]]
"""The buckets that a frame of a lane has to pay: a database's tag, or MAIN."""


class Outbox:
    """Frames of one link."""

    def __init__(self, caps: Caps) -> None:
        self._caps = caps
        self._lanes: dict[bytes, deque[bytes]] = {}
        self._due: dict[bytes, int] = {}
        self.bytes_waiting = 0

    def put(self, lane: bytes, frame: bytes) -> None:
        """Add a frame at the end of its lane."""
        self._lanes.setdefault(lane, deque()).append(frame)
        self.bytes_waiting += len(frame)

    def waits(self, lane: bytes) -> bool:
        """Whether a lane has frames."""
        return lane in self._lanes

    def take(self, now_ms: int, *, in_haste: bool = False) -> bytes | None:
        """The next frame that may go now; None if none may. The main lane goes first.

        In haste: whatever is in the main lane, at once, because the link ends.
        """
        if in_haste:
            return self._pop(MAIN) if MAIN in self._lanes else None
        for lane in self._lanes:
            if lane not in self._due:
                self._due[lane] = self._pay(lane, now_ms)
        ready = [lane for lane, due_ms in self._due.items() if due_ms <= now_ms]
        if not ready:
            return None
        return self._pop(min(ready, key=lambda lane: (lane != MAIN, self._due[lane])))

    def next_due_ms(self) -> int | None:
        """When `take` has something that it has not now, if nothing is put in."""
        return min(self._due.values(), default=None)

    def clear(self) -> None:
        """Forget everything."""
        self._lanes.clear()
        self._due.clear()
        self.bytes_waiting = 0

    def _pay(self, lane: bytes, now_ms: int) -> int:
        size = len(self._lanes[lane][0])
        return max((b.reserve(size, now_ms) for b in self._caps(lane)), default=now_ms)

    def _pop(self, lane: bytes) -> bytes:
        frames = self._lanes[lane]
        frame = frames.popleft()
        self.bytes_waiting -= len(frame)
        self._due.pop(lane, None)
        if not frames:
            del self._lanes[lane]
        return frame
