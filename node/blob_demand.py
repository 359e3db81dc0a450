"""Blob demand: a blob that a person asks for, now, and who gave it or why nobody could.

Spec: docs/protocol.md, section 14. Times are milliseconds.
"""

from typing import TYPE_CHECKING

from .. import CoveyError
from ..storage import blob_rows
from ..storage.blob_rows import Wanted
from ..sync.manifest import chunk_count
from .blob_care import BlobQuotaError
from .blob_fetching import Active
from .deadline import DeadlinePassed, within

if TYPE_CHECKING:
    from .blobs import Blobs
    from .engine import Engine


class BlobUnreachableError(CoveyError):
    """A blob is not here as a whole, and nobody gave what is missing. What came is kept."""

    exit_code = 4


class BlobDemand:
    """What people wait for."""

    def __init__(self, engine: "Engine", blobs: "Blobs") -> None:
        self._engine = engine
        self._blobs = blobs

    async def bring(self, number: int, timeout_ms: int) -> None:
        """Return when a blob is whole here; fetch now what is missing.

        Raises BlobUnreachableError, BlobQuotaError, StorageError.
        """
        if await self._is_whole(number):
            return
        fetching = self._blobs.fetching
        waiters = fetching.waiters
        waiters[number] = waiters.get(number, 0) + 1
        try:
            active = await self._demand(number)
            await self._engine.go_online()
            self._engine.reach.hurry()
            await within(
                self._engine.clock,
                timeout_ms,
                self._engine.patience.until(lambda: self._is_settled(active)),
            )
        except DeadlinePassed:
            pass
        finally:
            waiters[number] -= 1
            if not waiters[number]:
                del waiters[number]
        if active.trouble is not None:
            raise active.trouble
        if await self._is_whole(number):
            return
        why = self._why_not(active)
        fetching.park_if_hopeless(active)
        raise BlobUnreachableError(why)

    async def _is_whole(self, number: int) -> bool:
        row = await self._engine.database.read(lambda conn: blob_rows.get(conn, number))
        return row is not None and row.held == chunk_count(row.size)

    async def _demand(self, number: int) -> Active:
        fetching, care = self._blobs.fetching, self._blobs.care
        fetching.looking.unpark(number)
        active = await fetching.activate(number)
        if active is None:
            raise BlobUnreachableError("the record with this blob was changed meanwhile")
        quota = await care.quota()
        if quota and not await care.has_room(active.content):
            fetching.drop(active, park=True)
            raise BlobQuotaError(quota)
        await self._engine.database.write(
            lambda conn: blob_rows.set_wanted(conn, number, Wanted.ASKED)
        )
        fetching.seek(active, urgent=True)
        return active

    def _is_settled(self, active: Active) -> bool:
        """Whether it is here, or whoever can be reached has said that they do not have it."""
        id, fetching = active.content.id, self._blobs.fetching
        if fetching.active(id) is not active:
            return True
        if fetching.is_moving(id):
            return False
        reach, links_to = self._engine.reach, self._engine.switchboard.links_to
        others = reach.candidates()
        if any(reach.is_trying(device) for device in others if not links_to(device)):
            return False
        met = [link for device in others for link in links_to(device)]
        return bool(met or not others) and all(
            link.key in active.answered or link.closed_for is not None or not link.knows_blobs
            for link in met
        )

    def _why_not(self, active: Active) -> str:
        """Who is there and what they said, for a person."""
        registry = self._engine.mesh.registry
        missing = active.content.all & ~active.held
        of = f"{missing.bit_count()} of {active.content.count} chunks of this blob are not here"
        linked = {
            link.device: active.answered.get(key)
            for key, link in self._engine.switchboard.links.items()
        }
        if not linked:
            return f"{of}, and no other device can be reached: bring one near that has it"
        words = []
        for device, chunks in linked.items():
            name = registry.devices[device].name
            if chunks is None:
                words.append(f"{name} did not answer")
            elif chunks & missing:
                words.append(f"{name} did not send them in time")
            else:
                words.append(f"{name} does not have them, or may not give them")
        return f"{of}: {', '.join(words)}"
