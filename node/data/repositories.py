"""Repositories: an application's objects kept in Covey, without the application knowing Covey.

Four layers (docs/data/repositories.md): the *domain* is dataclasses and functions of the
application; it talks to a `Repository`, which is an interface; `RecordRepository` is the data
access, over a place (`places.py`), which is the adapter to the store. In tests `MemoryRepository`
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

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from ...sync.errors import BadValueError
from ..api import Database
from .codecs import Codec, RecordShapeError, plain
from .places import Place, RecordPlace, Remove, Save, Watching

T = TypeVar("T")

Id = str | int

FIND_LIMIT = 100


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


def new_save(repository: Repository[Any], item: Any) -> Save:
    """The write of a whole item, with an id in any case. Raises RecordShapeError."""
    id, fields = repository.codec.encode(item)
    id = id_text(id) or repository.place.new_id()
    return Save(repository.name, id, fields, repository.privacy)


class PlacedRepository(Generic[T]):
    """A `Repository` over a collection of any place. Cheap to make; holds no state."""

    def __init__(self, place: Place, name: str, codec: Codec[T], privacy: str | None) -> None:
        self.codec = codec
        self._place = place
        self._name = name
        self._privacy = privacy

    @property
    def name(self) -> str:
        return self._name

    @property
    def place(self) -> Place:
        return self._place

    @property
    def privacy(self) -> str | None:
        return self._privacy

    async def get(self, id: Id) -> T | None:
        found = await self._place.read(self._name, id_text(id))
        return None if found is None else self.codec.decode(id_text(id), found)

    async def put(self, item: T) -> str:
        save = new_save(self, item)
        await self._place.commit([save])
        return save.id

    async def patch(self, id: Id, /, **fields: Any) -> bool:
        written = self.codec.encode_some(fields)
        if await self._place.read(self._name, id_text(id)) is None:
            return False
        await self._place.commit([Save(self._name, id_text(id), written)])
        return True

    async def delete(self, id: Id) -> bool:
        return (await self._place.commit([Remove(self._name, id_text(id))]))[0]

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
        if type(limit) is not int or limit < 0:
            raise BadValueError(f"limit: a number from 0 on is needed, not {limit!r:.40}")
        wanted = _wanted({} if where is None else where)
        if not isinstance(order, str | None):
            raise BadValueError("order: the name of a field was expected")
        found = await self._place.search(
            self._name, wanted, text=text, order=order, descending=descending, limit=limit
        )
        items = []
        for id, fields in found:
            try:
                items.append(self.codec.decode(id, fields))
            except RecordShapeError as error:
                if broken is None:
                    raise
                broken.append(error)
        return items

    def changes(self) -> "ItemChanges[T]":
        return ItemChanges(self.codec, self._place.watch(self._name))


def _wanted(where: Mapping[str, Any]) -> dict[str, Any]:
    """What each field is asked to equal. Raises BadValueError."""
    if not isinstance(where, Mapping) or not all(isinstance(name, str) for name in where):
        raise BadValueError("where: an object of fields and what they must equal was expected")
    wanted = {name: plain(value) for name, value in where.items()}
    for name, value in wanted.items():
        if value is not None and not isinstance(value, bool | int | float | str):
            raise BadValueError(f"{name:.80}: only texts, numbers, true, false and null compare")
    return wanted


class RecordRepository(PlacedRepository[T]):
    """A `Repository` over one collection of a node."""

    def __init__(
        self, database: Database, name: str, codec: Codec[T], *, privacy: str | None = None
    ) -> None:
        super().__init__(RecordPlace(database), name, codec, privacy)
        self.collection = database.collection(name)
        """For what a repository does not do, such as blobs."""


class ItemChanges(Generic[T]):
    """See `Changes`. Raises LaggingError as a `Watch` does."""

    def __init__(self, codec: Codec[T], watching: Watching) -> None:
        self._codec = codec
        self._watching = watching

    async def __aiter__(self) -> AsyncIterator[Changed[T]]:
        async for change in self._watching:
            yield self._read(change.id, change.record, change.origin)

    def _read(self, id: str, fields: Mapping[str, Any] | None, origin: str) -> Changed[T]:
        """A record that is no T is told, and ends nothing."""
        if fields is None:
            return Changed(id, None, origin)
        try:
            return Changed(id, self._codec.decode(id, fields), origin)
        except RecordShapeError as error:
            return Changed(id, None, origin, error)

    def close(self) -> None:
        self._watching.close()

    async def __aenter__(self) -> "ItemChanges[T]":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
