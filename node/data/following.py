"""Following: whoever is made from the records looks when they have changed, and not by the clock.

A `Followed` store tells its listeners of each job that was written. A `Follower` then waits a
little, so that many changes are one look, asks the feed how far it reaches, and acts if that is
further than it was. So nothing that changes a record can be missed, whatever wrote it, and a node
that nobody writes to reads nothing and wakes nobody.
"""

from asyncio import Future
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ... import CoveyError
from ...storage import feed_rows
from ...storage.errors import StorageError
from ...storage.store import Conn, Store
from ..alarm import Alarm

if TYPE_CHECKING:
    from ..engine import Engine

T = TypeVar("T")

AGAIN_MS = 10_000
"""After a disk has refused what a follower wrote."""


class Followed:
    """A store that tells when something was written. Implements `Store`."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Call this after each job that may have changed something, from now on."""
        self._listeners.append(listener)

    def write(self, job: Callable[[Conn], T]) -> "Future[T]":
        """As `Store.write`."""
        written = self._inner.write(job)
        if self._listeners:
            written.add_done_callback(self._tell)
        return written

    def read(self, job: Callable[[Conn], T]) -> "Future[T]":
        """As `Store.read`."""
        return self._inner.read(job)

    async def close(self) -> None:
        """As `Store.close`."""
        await self._inner.close()

    def _tell(self, written: "Future[Any]") -> None:
        # A job runs even if its caller stopped waiting.
        if written.cancelled() or written.exception() is None:
            for listener in self._listeners:
                listener()


class Follower:
    """Does one thing, `wait_ms` after records have changed; never twice at a time.

    What it does may change records itself: then it looks once more. If the disk refuses, it tries
    again later; if something else does, when records change again.
    """

    def __init__(
        self, engine: "Engine", name: str, act: Callable[[], Awaitable[Any]], wait_ms: int
    ) -> None:
        self._engine = engine
        self._name = name
        self._act = act
        self.wait_ms = wait_ms
        self._alarm = Alarm(engine.clock, self._look)
        self._seen = -1
        self._owes = False
        self._is_on = False
        self._is_looking = False

    def start(self) -> None:
        """Begin to follow, and look soon. Harmless if it does already."""
        if not self._is_on:
            self._is_on = True
            self._engine.database.listen(self._written)
            self._written()

    def owe(self) -> None:
        """Act soon, whether records change or not. Begins to follow."""
        self._owes = True
        self.start()
        self._written()

    def stop(self) -> None:
        """Look no more, for good."""
        self._is_on = False
        self._alarm.stop()

    def _written(self) -> None:
        if self._is_on and not self._engine.closing:
            self._alarm.set(self.wait_ms)

    def _look(self) -> None:
        if self._is_looking:
            self._written()
        elif self._is_on and not self._engine.closing:
            self._is_looking = True
            self._engine.spawn(self._act_if_changed(), self._name)

    async def _act_if_changed(self) -> None:
        try:
            reached = await self._engine.database.read(feed_rows.last_change)
            if reached == self._seen and not self._owes:
                return
            self._seen, self._owes = reached, False
            await self._act()
        except StorageError:
            self._owes = True
            if self._is_on and not self._engine.closing:
                self._alarm.stop()
                self._alarm.set(AGAIN_MS)
        except CoveyError:
            pass  # As the records are it cannot be done; whoever acts has told so.
        finally:
            self._is_looking = False
