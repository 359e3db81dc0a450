"""Blob looking: which of the blobs that are not here are to be fetched, and when it is their turn.

Looking reads from the store which blobs lack chunks and asks this device's policy for their
database which of them come by themselves; what a person asked for comes first, then the newest. A
blob that no linked peer offers is parked, and one that is not to come is declined, until something
changes. Nothing is looked at while nobody is linked.
"""

import asyncio
from typing import TYPE_CHECKING

from ..crypto.blob import CHUNK_BYTES
from ..storage import blob_rows
from ..storage.blob_rows import Blob, Place, Wanted
from ..storage.errors import StorageError
from ..sync.policy import blob_comes
from .alarm import Alarm

if TYPE_CHECKING:
    from .blob_fetching import BlobFetching
    from .blobs import Blobs
    from .engine import Engine

RETRY_MS = 60_000


class BlobLooking:
    """What one node is to fetch next."""

    def __init__(self, engine: "Engine", blobs: "Blobs", fetching: "BlobFetching") -> None:
        self._engine = engine
        self._blobs = blobs
        self._fetching = fetching
        self._parked: dict[int, None] = {}
        self._declined: dict[int, None] = {}
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._alarm = Alarm(engine.clock, self.retry)

    def look_soon(self) -> None:
        """Something changed: other blobs may be missing, wanted or on offer."""
        if not self._blobs.known or self._engine.closing:
            return
        self._again = True
        if self._task is None or self._task.done():
            self._task = self._engine.spawn(self._look(), "blob look")

    def membership_changed(self) -> None:
        """What is shared, and what this device wants, may be another."""
        self.forget()

    def forget(self) -> None:
        """Decide anew."""
        self._declined.clear()
        self.retry()

    def retry(self) -> None:
        """Somebody came, or time has passed: there may be room, or who has it."""
        self._parked.clear()
        self.look_soon()

    def retry_later(self) -> None:
        """A disk refused, here or there: it may work again in a while."""
        if not self._engine.closing:
            self._alarm.set(RETRY_MS)

    def close(self) -> None:
        """Keep no timer."""
        self._alarm.stop()

    def park(self, number: int) -> None:
        """Nobody offers this blob, or there is no room for it."""
        self._parked[number] = None

    def unpark(self, number: int) -> None:
        """Somebody offers it, or asks for it."""
        if number in self._parked:
            del self._parked[number]
            self.look_soon()

    async def _look(self) -> None:
        try:
            while self._again:
                self._again = False
                await self._look_once()
        except StorageError:
            self.retry_later()

    async def _look_once(self) -> None:
        rows = await self._engine.database.read(lambda c: blob_rows.incomplete(c, CHUNK_BYTES))
        for row in rows:
            if not self._fetching.has_room:
                return
            if self._fetching.active(row.id) or row.blob_no in self._parked:
                continue
            if row.wanted is not Wanted.ASKED and row.blob_no in self._declined:
                continue
            await self._consider(row)

    async def _consider(self, row: Blob) -> None:
        places = await self._engine.database.read(lambda c: blob_rows.places(c, row.blob_no))
        is_asked = row.wanted is Wanted.ASKED
        if not is_asked and not self._comes(row, places):
            self._declined[row.blob_no] = None
            return
        active = await self._fetching.activate(row.blob_no)
        if active is None:
            return
        if not await self._blobs.care.has_room(active.content):
            self._engine.counters.add("blob.no_room")
            self._fetching.drop(active, park=True)
            return
        self._fetching.seek(active, urgent=is_asked)

    def _comes(self, row: Blob, places: list[Place]) -> bool:
        """Whether a blob comes without being asked for, by the policy of any of its databases."""
        if row.wanted is Wanted.EVICTED:
            return False
        us, mesh = self._engine.keys.sig_pk, self._engine.mesh
        held = self._engine.scheduling.held
        return any(
            blob_comes(mesh.policy(us, place.database), row.size, bool(place.variant))
            for place in places
            if place.database not in held
        )
