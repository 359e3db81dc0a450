"""Records: the database service. It holds the repositories of all domains, and no state.

Over a node in use, over memory in tests of the domains: nothing above this module can tell.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import covey

from .domains import Message
from .embedding import DIMENSION, Embedding
from .links import Link, Step, link, walk
from .nearest import FIELD
from .packs import LINKS, PACKS, collections_of, schema_of

T = TypeVar("T")

LINKS_MAX = 100_000
ASKED_SINGLY_MAX = 8
"""More places than these at once: reading all links is cheaper than asking for those of each."""

Open = Callable[[str, str, type], "covey.Repository[Any]"]


@dataclasses.dataclass(frozen=True)
class Bare:
    """A record of which nothing is known but its id: whatever stands in it, it is one."""

    id: str = ""


class Records:
    """See the module."""

    def __init__(self, open: Open) -> None:
        self._repositories: dict[tuple[str, str], covey.Repository[Any]] = {}
        self._bare: dict[tuple[str, str], covey.Repository[Bare]] = {}
        for pack in PACKS:
            for name, kind in collections_of(pack).items():
                self._repositories[pack.domain, name] = open(pack.database, name, kind)
                self._bare[pack.domain, name] = open(pack.database, name, Bare)

    @classmethod
    def of_node(cls, node: covey.Node) -> "Records":
        return cls(
            lambda database, name, kind: covey.RecordRepository(
                node.database(database), name, covey.DataclassCodec(kind)
            )
        )

    @staticmethod
    async def install(node: covey.Node) -> None:
        """Let the schemas of all domains hold on this device: at each start."""
        for pack in PACKS:
            await node.install(schema_of(pack))

    async def declare(self, node: covey.Node, embedding: Embedding) -> None:
        """Let Covey index what has an embedding, and embed here what another model has embedded."""
        name, _, version = embedding.model.partition("@")

        def embed(record: Mapping[str, Any], _field: str) -> Any:
            return embedding.embed([str(record.get("text", ""))])[0]

        node.register_embedder(name, version, embed)
        for pack in PACKS:
            for collection, kind in pack.collections.items():
                # Messages are asked for by conversation. An index of all is large, and warms long.
                if kind is not Message and FIELD in {
                    each.name for each in dataclasses.fields(kind)
                }:
                    await (
                        node.database(pack.database)
                        .collection(collection)
                        .vectors(FIELD, model=name, version=version, dimension=DIMENSION)
                    )

    @classmethod
    def in_memory(cls) -> "Records":
        databases = {pack.database: covey.MemoryDatabase(pack.database) for pack in PACKS}
        return cls(
            lambda database, name, kind: covey.MemoryRepository(
                databases[database], name, covey.DataclassCodec(kind)
            )
        )

    def of(self, domain: str, collection: str) -> "covey.Repository[Any]":
        """Raises KeyError."""
        return self._repositories[domain, collection]

    def bare(self, domain: str, collection: str) -> "covey.Repository[Bare]":
        """The same records as `of` gives, those too that are no item of it. Raises KeyError."""
        return self._bare[domain, collection]

    async def at(self, place: str) -> Any:
        """The item at a place; None if there is none here. Raises ValueError for what is none."""
        domain, collection, id = split(place)
        if (domain, collection) not in self._repositories:
            raise ValueError(f"{place}: no such collection")
        return await self.of(domain, collection).get(id)

    # Links -------------------------------------------------------------------------------------

    async def link(self, source: str, kind: str, target: str) -> None:
        """Twice is once. Raises ValueError."""
        split(target)
        await self.of(split(source)[0], LINKS).put(link(source, kind, target))

    async def unlink(self, source: str, kind: str, target: str) -> bool:
        return await self.of(split(source)[0], LINKS).delete(link(source, kind, target).id)

    async def traverse(self, start: str, depth: int, *kinds: str) -> list[Step]:
        """What is reached from a place by links (of these kinds), nearest first.

        Raises ValueError.
        """
        split(start)
        all_of: dict[str, list[Link]] = {}

        async def outgoing(places: list[str]) -> Iterable[Link]:
            found: list[Link] = []
            domains = sorted({split(place)[0] for place in places})
            for domain in domains:
                mine = [place for place in places if split(place)[0] == domain]
                if len(mine) <= ASKED_SINGLY_MAX and domain not in all_of:
                    for place in mine:
                        found += await self.of(domain, LINKS).find(
                            {"source": place}, limit=LINKS_MAX
                        )
                    continue
                if domain not in all_of:
                    all_of[domain] = await self.of(domain, LINKS).find(limit=LINKS_MAX)
                wanted = set(mine)
                found += [one for one in all_of[domain] if one.source in wanted]
            return found

        reached = await walk(start, depth, outgoing, frozenset(kinds) or None)
        items = await asyncio.gather(*(self.at(place) for place, _, _ in reached))
        return [
            Step(place, far, one.kind, one.source, item)
            for (place, far, one), item in zip(reached, items, strict=True)
        ]


def place_of(domain: str, collection: str, id: str | int) -> str:
    return f"{domain}/{collection}/{id}"


def split(place: str) -> tuple[str, str, str]:
    """Domain, collection and id. Raises ValueError."""
    parts = place.split("/", 2)
    if len(parts) != 3 or not all(parts):
        raise ValueError(f"{place!r:.60}: a place is domain/collection/id")
    return parts[0], parts[1], parts[2]
