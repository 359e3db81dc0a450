"""Unit of work: writes to several repositories that are one change set, or none.

    async with covey.UnitOfWork(facts, visits) as work:
        id = work.put(facts, Fact("likes tea"))
        work.put(visits, Visit(fact=id))
        work.delete(visits, 7)

It is for repositories of one database of one node, because a change set is. Nothing is locked: what
was read may change before the block ends, as everything in Covey may.
"""

from types import TracebackType
from typing import Any, TypeVar

from ... import CoveyError
from .places import Remove, Save, Write, with_fields
from .repositories import Id, Repository, id_text, new_save

T = TypeVar("T")


class AcrossDatabasesError(CoveyError):
    """A unit of work is one change set, and that is of one database. Nothing was written."""

    exit_code = 3


class UnitClosedError(CoveyError):
    """A unit of work is used outside of its `async with` block, or entered within it. Nothing was
    written.
    """

    exit_code = 3


class UnitOfWork:
    """Writes to several repositories of one database that become one change set, or none.

    They are collected, and written when the `async with` block ends well; if it raises, nothing is
    written. Other devices apply the change set whole as well. A unit within the block of another
    one is by itself: what it wrote stays, whatever becomes of the outer. Raises
    AcrossDatabasesError.
    """

    def __init__(self, *repositories: Repository[Any]) -> None:
        if not repositories:
            raise AcrossDatabasesError("a unit of work needs a repository to write to")
        self._place = repositories[0].place
        for repository in repositories:
            if repository.place != self._place:
                raise AcrossDatabasesError(
                    f"{repositories[0].name} is in database {self._place.database!r} and"
                    f" {repository.name} in {repository.place.database!r} of this or another node:"
                    " one unit of work is one change set of one database. Keep them in one"
                    " database, or use a unit for each"
                )
        self._names = {repository.name for repository in repositories}
        self._writes: list[Write] = []
        self._is_open = False
        self.changed: list[bool] = []
        """After the block: whether each write, in order, changed anything."""

    def put(self, repository: Repository[T], item: T) -> str:
        """Write all fields of an item when the block ends; its id."""
        self._require(repository)
        save = new_save(repository, item)
        self._writes.append(save)
        return save.id

    async def patch(self, repository: Repository[T], id: Id, /, **fields: Any) -> bool:
        """Write some fields when the block ends. False if there is no such record now."""
        self._require(repository)
        written = repository.codec.encode_some(fields)
        if await self.get(repository, id) is None:
            return False
        self._writes.append(Save(repository.name, id_text(id), written))
        return True

    def delete(self, repository: Repository[Any], id: Id) -> None:
        """Delete when the block ends, if it is there then."""
        self._require(repository)
        self._writes.append(Remove(repository.name, id_text(id)))

    async def get(self, repository: Repository[T], id: Id) -> T | None:
        """The item as it will be after this unit: what is collected here counts already."""
        self._require(repository)
        item = await repository.get(id)
        fields = None if item is None else repository.codec.encode(item)[1]
        for write in self._writes:
            if (write.collection, write.id) == (repository.name, id_text(id)):
                if isinstance(write, Save):
                    fields = with_fields(fields or {}, write.fields)
                else:
                    fields = None
        return None if fields is None else repository.codec.decode(id_text(id), fields)

    def _require(self, repository: Repository[Any]) -> None:
        if not self._is_open:
            raise UnitClosedError("this unit of work is not open: use it within `async with`")
        if repository.place != self._place or repository.name not in self._names:
            raise AcrossDatabasesError(
                f"{repository.name} is none of this unit's: UnitOfWork({repository.name}, ...)"
            )

    async def __aenter__(self) -> "UnitOfWork":
        if self._is_open:  # Its writes would be written by the inner block, and once more here.
            raise UnitClosedError("this unit of work is open already: make one for each block")
        self._is_open, self._writes = True, []
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._is_open = False
        if error is None and self._writes:
            self.changed = await self._place.commit(self._writes)
