"""Places: databases, as repositories and units of work see them.

A place reads, searches and watches records, and writes several as one. `RecordPlace` is a database
of a node; `MemoryDatabase` is one in memory. What is above them is the same for both.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...sync.values import Counter, Increment, from_json
from ..api import Change, Database
from .asking import root_field


@dataclass(frozen=True, slots=True)
class Save:
    """One write of a unit: `fields` replace those of the record; others stay."""

    collection: str
    id: str
    fields: Mapping[str, Any]
    privacy: str | None = None


@dataclass(frozen=True, slots=True)
class Remove:
    """One deletion of a unit."""

    collection: str
    id: str


Write = Save | Remove


class Watching(Protocol):
    """Changes of records as they happen, until it is closed."""

    def __aiter__(self) -> AsyncIterator[Change]: ...

    def close(self) -> None: ...


class Place(Protocol):
    """A database, as a unit of work sees it: what writes records as one. Equal if the same."""

    @property
    def database(self) -> str: ...

    def new_id(self) -> str:
        """An id that no record has."""
        ...

    async def read(self, collection: str, id: str) -> dict[str, Any] | None:
        """The fields of a record, or None if there is none."""
        ...

    async def search(
        self,
        collection: str,
        where: Mapping[str, Any],
        *,
        text: str | None,
        order: str | None,
        descending: bool,
        limit: int,
    ) -> list[tuple[str, dict[str, Any]]]:
        """Ids and fields of records, as `Collection.find` has them."""
        ...

    def watch(self, collection: str) -> Watching:
        """Every change of a collection from now on."""
        ...

    async def commit(self, writes: Sequence[Write]) -> list[bool]:
        """Write all of them or none; whether each changed anything. Durable when it returns."""
        ...


class RecordPlace:
    """A database of a node."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def database(self) -> str:
        return self._database.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecordPlace) and self._database == other._database

    def __hash__(self) -> int:
        return hash(self._database)

    def new_id(self) -> str:
        return self._database.new_id()

    async def read(self, collection: str, id: str) -> dict[str, Any] | None:
        return await self._database.collection(collection).get(id)

    async def search(
        self, collection: str, where: Mapping[str, Any], **query: Any
    ) -> list[tuple[str, dict[str, Any]]]:
        asked = {root_field(name): value for name, value in where.items()}
        if query.get("order") is not None:
            query["order"] = root_field(query["order"])
        found = await self._database.collection(collection).find(asked, **query)
        return [(one.id, from_json(one.value)) for one in found]

    def watch(self, collection: str) -> Watching:
        return self._database.collection(collection).watch()

    async def commit(self, writes: Sequence[Write]) -> list[bool]:
        async with self._database.transaction() as transaction:
            for write in writes:
                if isinstance(write, Save):
                    transaction.put(write.collection, write.fields, write.id, privacy=write.privacy)
                else:
                    transaction.delete(write.collection, write.id)
        return [written.changed for written in transaction.results]


def with_fields(standing: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record after a write: an `Increment` adds to what stands there."""
    fields = {**standing, **written}
    for name, value in written.items():
        if isinstance(value, Increment):
            before = standing.get(name)
            total = before.total if isinstance(before, Counter) else 0
            fields[name] = Counter(total + value.by)
    return fields
