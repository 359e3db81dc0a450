"""Memories: what is remembered, found by meaning, strengthened by use, and let go in time."""

from dataclasses import dataclass, replace
from typing import Any

import covey

from .cascade import WRITES_MAX
from .domains import Memory, Skill
from .embedding import Embedding
from .forgetting import DAY_MS, WORKING_DAYS, consolidate, is_expired, memory_id, strength
from .nearest import nearest
from .records import Records, place_of

KINDS = ("semantic", "episodic", "procedural", "working")
MEMORIES_MAX = 100_000
WEIGHT_OF_STRENGTH = 0.2


@dataclass(frozen=True)
class Recalled:
    """A memory that was found: where it is, and how much alike it is to what was asked."""

    place: str
    memory: Memory
    likeness: float


class Memories:
    """The memories of one person, on one device."""

    def __init__(self, records: Records, embedding: Embedding) -> None:
        self._records = records
        self._embedding = embedding

    def of(self, kind: str) -> "covey.Repository[Any]":
        return self._records.of("memory", kind)

    async def keep(self, text: str, now_ms: int, importance: float = 0.9) -> str:
        """Remember for good, as something that is so. Said twice it is one. Its place."""
        memory = Memory(text, now_ms, importance, id=memory_id(text))
        if await self.of("semantic").get(memory.id) is not None:
            await self.use(place_of("memory", "semantic", memory.id), now_ms)
        else:
            await self.of("semantic").put(self._embedded(memory))
        return place_of("memory", "semantic", memory.id)

    async def note(self, text: str, now_ms: int, importance: float = 0.4) -> str:
        """Remember for some days, and longer if it turns out to be of use. Its place."""
        memory = Memory(text, now_ms, importance, expires_ms=now_ms + WORKING_DAYS * DAY_MS)
        return place_of("memory", "working", await self.of("working").put(self._embedded(memory)))

    async def learn(self, text: str, steps: tuple[str, ...], now_ms: int) -> str:
        """Remember how something is done. Its place."""
        skill = Skill(text, now_ms, 0.9, id=memory_id(text), steps=steps)
        return place_of(
            "memory", "procedural", await self.of("procedural").put(self._embedded(skill))
        )

    async def recall(self, question: str, now_ms: int, k: int = 3, **where: Any) -> list[Recalled]:
        """What is near in meaning, the best first. Nothing is changed: `use` says it was of use."""
        (asked,) = self._embedding.embed([question])
        found = []
        for kind in KINDS:
            nearby = await nearest(self.of(kind), asked, self._embedding, k=k, where=where or None)
            for near in nearby.found:
                if near.likeness >= self._embedding.near and not is_expired(near.item, now_ms):
                    place = place_of("memory", kind, near.item.id)
                    found.append(Recalled(place, near.item, near.likeness))

        def worth(one: Recalled) -> float:
            return one.likeness * (1 + WEIGHT_OF_STRENGTH * strength(one.memory, now_ms))

        found.sort(key=lambda one: (-worth(one), one.place))
        return found[:k]

    async def use(self, place: str, now_ms: int) -> None:
        """It was of use. Devices that are apart add up: the count is a counter."""
        _, kind, id = place.split("/", 2)
        await self.of(kind).patch(id, uses=covey.Increment(1), used_ms=now_ms)

    async def forget(self, place: str) -> bool:
        """Delete a memory on all devices."""
        _, kind, id = place.split("/", 2)
        return await self.of(kind).delete(id)

    async def tidy(self, now_ms: int) -> tuple[int, int]:
        """Consolidate working memory and let go what expired: how many were kept, how many went.

        What is kept and what it is made of are one change set, so no crash loses or doubles it.
        """
        working = self.of("working")
        done = consolidate(await working.find(limit=MEMORIES_MAX, broken=[]), now_ms)
        for kept in done.kept:
            target, uses = self.of(kept.kind), covey.Increment(kept.memory.uses.total)
            async with covey.UnitOfWork(target, working) as work:
                # It may be there already, and have been of use: that adds up.
                if not await work.patch(target, kept.memory.id, uses=uses):
                    work.put(target, kept.memory)
                for id in kept.made_of:
                    work.delete(working, id)
        for start in range(0, len(done.gone), WRITES_MAX):
            async with covey.UnitOfWork(working) as work:
                for id in done.gone[start : start + WRITES_MAX]:
                    work.delete(working, id)
        return len(done.kept), sum(len(kept.made_of) for kept in done.kept) + len(done.gone)

    async def count(self) -> dict[str, int]:
        """How many there are of each kind."""
        return {
            kind: len(await self.of(kind).find(limit=MEMORIES_MAX, broken=[])) for kind in KINDS
        }

    def _embedded(self, memory: Memory) -> Memory:
        (vector,) = self._embedding.embed([memory.text])
        return replace(memory, embedding={self._embedding.model: covey.Vector(vector)})
