"""Cascade: a record is deleted with all that belongs to it, on every device.

Deleting the parts that are known here is not enough: a device that is away may write another
one, without knowing. So the deletion leaves a grave, which holds an id and no content; whatever
says that it belongs to a grave goes as soon as both have met. That something is merely absent
deletes nothing: it may be still under way.

Parts and graves are read by their ids alone. What another version of this program wrote may be none
of ours, and is deleted all the same.
"""

from dataclasses import dataclass
from typing import Any

import covey

from .domains import Grave
from .records import Bare, Records

GRAVES = "graves"
"""The collection of a domain in which its deletions are."""
WRITES_MAX = 4_000
"""In one change set, which Covey limits to 5,000."""
PARTS_MAX = 1_000_000


@dataclass(frozen=True)
class Cascade:
    """`field` of a part names its whole. All are collections of one domain, by their names."""

    records: Records
    domain: str
    whole: str
    part: str
    field: str

    @property
    def wholes(self) -> "covey.Repository[Any]":
        return self.records.of(self.domain, self.whole)

    @property
    def parts(self) -> "covey.Repository[Bare]":
        return self.records.bare(self.domain, self.part)

    @property
    def graves(self) -> "covey.Repository[Any]":
        return self.records.of(self.domain, GRAVES)

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
        for grave in graves or await self._all_graves():
            parts = await self._parts(grave)
            await self._delete(parts)
            swept += len(parts) + await self.wholes.delete(grave)
        return swept

    async def is_buried(self, id: str | int) -> bool:
        return await self.records.bare(self.domain, GRAVES).get(id) is not None

    async def _all_graves(self) -> list[str]:
        found = await self.records.bare(self.domain, GRAVES).find(limit=PARTS_MAX)
        return [grave.id for grave in found]

    async def _parts(self, id: str) -> list[str]:
        return [part.id for part in await self.parts.find({self.field: id}, limit=PARTS_MAX)]

    async def _delete(self, ids: list[str]) -> None:
        for start in range(0, len(ids), WRITES_MAX):
            async with covey.UnitOfWork(self.parts) as work:
                for id in ids[start : start + WRITES_MAX]:
                    work.delete(self.parts, id)
