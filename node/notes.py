"""Notes: small facts for people that nobody waits for, brought to the disk together.

Who was seen when, which address worked, when sync was proved, what happened: each is worth a row
and none is worth a flush of the disk. They wait for `NOTES_MS` at most and then share one commit; a
fact that was overtaken meanwhile is not written at all. A crash loses the last moment of them,
which costs comfort and no data. Whoever reads them from the store flushes first.
"""

from asyncio import Future
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..storage.errors import StorageError
from ..storage.store import Conn, Store
from .alarm import Alarm
from .ports import Clock

NOTES_MS = 1_000
NOTES_MAX = 256
"""As many are written at once, however soon they came."""

Note = Callable[[Conn], Any]


class Notes:
    """The notes of one node."""

    def __init__(self, database: Store, clock: Clock) -> None:
        self._database = database
        self._waiting: dict[object, Note] = {}
        self._alarm = Alarm(clock, self._write)

    def add(self, note: Note, fact: object = None) -> None:
        """Write this soon. A later note on the same `fact` takes its place."""
        self._waiting[object() if fact is None else fact] = note
        if len(self._waiting) >= NOTES_MAX:
            self._write()
        else:
            self._alarm.set(NOTES_MS)

    async def flush(self) -> None:
        """Return when what was noted is on the disk, or the disk has refused it."""
        if self._waiting:
            with suppress(StorageError):
                await self._database.write(self._take())

    def _write(self) -> None:
        if self._waiting:
            self._database.write(self._take()).add_done_callback(_ignore)

    def _take(self) -> Note:
        """Everything that waits, as one job."""
        notes = list(self._waiting.values())
        self._waiting.clear()
        self._alarm.stop()

        def write(conn: Conn) -> None:
            for note in notes:
                note(conn)

        return write


def _ignore(written: "Future[Any]") -> None:
    """Notes could not be written: the next commit that matters will say so to its caller."""
    if not written.cancelled():
        written.exception()
