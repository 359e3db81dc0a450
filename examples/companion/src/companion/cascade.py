"""Cascade: a record is deleted with all that belongs to it, on every device.

Deleting the parts that are known here is not enough: a device that is away may write another
one, without knowing. So the deletion leaves a grave, which holds an id and no content; whatever
says that it belongs to a grave goes as soon as both have met. That something is merely absent
deletes nothing: it may be still under way.
"""

from dataclasses import dataclass
from typing import Any

import covey

from .domains import Grave

WRITES_MAX = 4_000
"""In one change set, which Covey limits to 5,000."""
PARTS_MAX = 1_000_000


@dataclass(frozen=True)
class Cascade:
    """`field` of a part names its whole. All three repositories are of one database."""

    wholes: "covey.Repository[Any]"
    parts: "covey.Repository[Any]"
    graves: "covey.Repository[Any]"
    field: str

    async def delete(self, id: str | int, now_ms: int) -> int:
        """Delete it and its parts; how many parts there were. One change set, if they are few.

        If there are more than fit, the grave is in the first; what a power cut leaves is
        swept by `sweep`.
        """
        parts = await self._parts(str(id))
        first, rest = parts[:WRITES_MAX], parts[WRITES_MAX:]
        async with covey.UnitOfWork(self.wholes, self.parts, self.graves) as work:
            work.put(self.graves, Grave(now_ms, str(id)))
            work.delete(self.wholes, id)
            for part in first:
                work.delete(self.parts, part)
        await self._delete(rest)
        return len(parts)

    async def sweep(self, *graves: str) -> int:
        """Delete what belongs to these graves, or to any; how much that was."""
        swept = 0
        for grave in graves or [grave.id for grave in await self.graves.find(limit=PARTS_MAX)]:
            parts = await self._parts(grave)
            await self._delete(parts)
            swept += len(parts) + await self.wholes.delete(grave)
        return swept

    async def is_buried(self, id: str | int) -> bool:
        return await self.graves.get(id) is not None

    async def _parts(self, id: str) -> list[str]:
        return [part.id for part in await self.parts.find({self.field: id}, limit=PARTS_MAX)]

    async def _delete(self, ids: list[str]) -> None:
        for start in range(0, len(ids), WRITES_MAX):
            async with covey.UnitOfWork(self.parts) as work:
                for id in ids[start : start + WRITES_MAX]:
                    work.delete(self.parts, id)
