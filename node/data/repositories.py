"""Repositories: an application's objects kept in Covey, without the application knowing Covey.

Four layers (docs/data/repositories.md): the *domain* is dataclasses and functions of the
application; it talks to a `Repository`, which is an interface; `RecordRepository` is the data
access, over a collection; the collection is the adapter to the store. In tests `MemoryRepository`
takes its place (`memory_repository.py`), and behaves the same: tests/contracts holds both to it.

    facts = covey.RecordRepository(node.database("memory"), "facts", covey.DataclassCodec(Fact))
    id = await facts.put(Fact("likes tea"))
    async with covey.UnitOfWork(facts, visits) as work:
        work.put(facts, Fact("likes kukicha", id=id))
        work.delete(visits, 7)

An id is a text, or a whole number, which is the text of its digits. Nothing is locked: a unit of
work is written whole or not at all, but what it has read may have changed meanwhile, here or on
another device, as everything in Covey. `patch` writes only what is new, so that it merges well.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from ...sync.errors import BadValueError
from ...sync.values import Counter, Increment, from_json
from ..api import Collection, Database, Watch
from .codecs import Codec, RecordShapeError, plain

T = TypeVar("T")

Id = str | int

FIND_LIMIT = 100


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


@dataclass(frozen=True, slots=True)
class Changed(Generic[T]):
    """A record of a repository has changed, here or on another device.

    `item` is None after a deletion, and where the record is no T: then `problem` says why. `origin`
    is the shown id of the device that wrote it.
    """

    id: str
    item: T | None
    origin: str
    problem: RecordShapeError | None = None


class Place(Protocol):
    """A database, as a unit of work sees it: what writes records as one. Equal if the same."""

    @property
    def database(self) -> str: ...

    def new_id(self) -> str:
        """An id that no record has."""
        ...

    async def commit(self, writes: Sequence[Write]) -> list[bool]:
        """Write all of them or none; whether each changed anything. Durable when it returns."""
        ...


class Changes(Protocol[T]):
    """Changes of one repository from the moment this was made on. Close it, or use `async with`."""

    def __aiter__(self) -> AsyncIterator[Changed[T]]: ...

    def close(self) -> None: ...

    async def __aenter__(self) -> "Changes[T]": ...

    async def __aexit__(self, *_: object) -> None: ...


class Repository(Protocol[T]):
    """What an application's domain needs to know of where its objects are kept.

    All raise RecordShapeError for what is no T, BadValueError for an id, field or value that no
    record may have, and StorageError.
    """

    codec: Codec[T]

    @property
    def name(self) -> str:
        """Of the collection."""
        ...

    @property
    def place(self) -> Place:
        """What a unit of work commits to."""
        ...

    @property
    def privacy(self) -> str | None:
        """The privacy level at which records are born."""
        ...

    async def get(self, id: Id) -> T | None:
        """The item, or None if there is none."""
        ...

    async def put(self, item: T) -> str:
        """Write all fields of an item; its id, which is a new one if it had none."""
        ...

    async def patch(self, id: Id, /, **fields: Any) -> bool:
        """Write some fields only; what another device did to others stays. False if there is no
        such record."""
        ...

    async def delete(self, id: Id) -> bool:
        """Delete on all devices; False if there was none."""
        ...

    async def find(
        self,
        where: Mapping[str, Any] | None = None,
        *,
        text: str | None = None,
        order: str | None = None,
        descending: bool = False,
        limit: int = FIND_LIMIT,
        broken: list[RecordShapeError] | None = None,
    ) -> list[T]:
        """Items whose fields equal `where` and whose text matches, as `Collection.find`.

        With a list for `broken`, records that are no T are left out and told there.
        """
        ...

    def changes(self) -> Changes[T]:
        """What changes from now on, local or synced."""
        ...


def id_text(id: Id) -> str:
    """The id as records have it: 7 and "7" are one. Raises RecordShapeError."""
    if isinstance(id, str):
        return id
    if type(id) is int:
        return str(id)
    raise RecordShapeError(f"an id is a text or a whole number, not {type(id).__name__}")


def with_fields(standing: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record after a write: an `Increment` adds to what stands there."""
    fields = {**standing, **written}
    for name, value in written.items():
        if isinstance(value, Increment):
            before = standing.get(name)
            total = before.total if isinstance(before, Counter) else 0
            fields[name] = Counter(total + value.by)
    return fields


def asked(where: Mapping[str, Any] | None, limit: int) -> dict[str, Any]:
    """A filter as a record holds its values. Raises BadValueError for a limit that is none."""
    if type(limit) is not int or limit < 0:
        raise BadValueError(f"limit: a number from 0 on is needed, not {limit!r:.40}")
    return {name: plain(value) for name, value in (where or {}).items()}


def new_save(repository: Repository[Any], item: Any) -> Save:
    """The write of a whole item, with an id in any case. Raises RecordShapeError."""
    id, fields = repository.codec.encode(item)
    id = id_text(id) or repository.place.new_id()
    return Save(repository.name, id, fields, repository.privacy)


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

    async def commit(self, writes: Sequence[Write]) -> list[bool]:
        async with self._database.transaction() as transaction:
            for write in writes:
                if isinstance(write, Save):
                    transaction.put(write.collection, write.fields, write.id, privacy=write.privacy)
                else:
                    transaction.delete(write.collection, write.id)
        return [written.changed for written in transaction.results]


class RecordRepository(Generic[T]):
    """A `Repository` over one collection of a node. Cheap to make; holds no state."""

    def __init__(
        self, database: Database, name: str, codec: Codec[T], *, privacy: str | None = None
    ) -> None:
        self.codec = codec
        self._place = RecordPlace(database)
        self._collection = database.collection(name)
        self._privacy = privacy

    @property
    def name(self) -> str:
        return self._collection.name

    @property
    def place(self) -> Place:
        return self._place

    @property
    def privacy(self) -> str | None:
        return self._privacy

    @property
    def collection(self) -> Collection:
        """For what a repository does not do, such as blobs."""
        return self._collection

    async def get(self, id: Id) -> T | None:
        found = await self._collection.get(id_text(id))
        return None if found is None else self.codec.decode(id_text(id), found)

    async def put(self, item: T) -> str:
        save = new_save(self, item)
        await self._place.commit([save])
        return save.id

    async def patch(self, id: Id, /, **fields: Any) -> bool:
        written = self.codec.encode_some(fields)
        if await self._collection.get(id_text(id)) is None:
            return False
        await self._place.commit([Save(self.name, id_text(id), written)])
        return True

    async def delete(self, id: Id) -> bool:
        return await self._collection.delete(id_text(id))

    async def find(
        self,
        where: Mapping[str, Any] | None = None,
        *,
        text: str | None = None,
        order: str | None = None,
        descending: bool = False,
        limit: int = FIND_LIMIT,
        broken: list[RecordShapeError] | None = None,
    ) -> list[T]:
        wanted = asked(where, limit)
        found = await self._collection.find(
            wanted, text=text, order=order, descending=descending, limit=limit
        )
        return decode_all(self.codec, ((one.id, from_json(one.value)) for one in found), broken)

    def changes(self) -> "RecordChanges[T]":
        return RecordChanges(self.codec, self._collection.watch())


def decode_all(
    codec: Codec[T], records: Any, broken: list[RecordShapeError] | None = None
) -> list[T]:
    """Items of pairs of id and fields. Raises RecordShapeError, or appends it to `broken`."""
    items = []
    for id, fields in records:
        try:
            items.append(codec.decode(id, fields))
        except RecordShapeError as error:
            if broken is None:
                raise
            broken.append(error)
    return items


def read_change(codec: Codec[T], id: str, fields: dict[str, Any] | None, origin: str) -> Changed[T]:
    """A change as a listener gets it; a record that is no T is told, and ends nothing."""
    if fields is None:
        return Changed(id, None, origin)
    try:
        return Changed(id, codec.decode(id, fields), origin)
    except RecordShapeError as error:
        return Changed(id, None, origin, error)


class RecordChanges(Generic[T]):
    """See `Changes`. Raises LaggingError as a `Watch` does."""

    def __init__(self, codec: Codec[T], watch: Watch) -> None:
        self._codec = codec
        self._watch = watch

    async def __aiter__(self) -> AsyncIterator[Changed[T]]:
        async for change in self._watch:
            yield read_change(self._codec, change.id, change.record, change.origin)

    def close(self) -> None:
        self._watch.close()

    async def __aenter__(self) -> "RecordChanges[T]":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
