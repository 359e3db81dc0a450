"""Querying: what a `covey.Collection` can be asked, as the half of it that reads by conditions."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..reader import Found

if TYPE_CHECKING:
    from ...storage.finding import Way
    from ..engine import Engine
    from .asking import Query
    from .live import Live
    from .past import Past, Version
    from .queries import Records
    from .searching import Hit

Where = Mapping[str, Any]


class Querying:
    """Queries of one collection. What `where` and `order` may be: docs/data/queries.md.

    What answers them is imported by whoever asks: it is a tenth of what a command loads that gets
    one record.
    """

    _engine: "Engine"
    database: str
    name: str

    async def find(
        self,
        where: Where | None = None,
        *,
        text: str | None = None,
        order: str | Sequence[str] | None = None,
        descending: bool = False,
        limit: int = 100,
        offset: int = 0,
        at: datetime | None = None,
    ) -> list[Found]:
        """Records whose fields are as `where` asks and whose text matches the words of `text`.

        Ordered by fields, else by how new they are for a text, else by id. A field with `-` before
        it descends; `descending` turns the order round. With `at`, of the records as they were at
        that time, without a `text` (docs/data/history.md). Raises BadValueError, StorageError; with
        `at` TooMuchPastError, UnknownMomentError.
        """
        query = _query(where or {}, text, order, descending, limit, offset)
        if at is not None:
            from .past_finding import PastFinding  # Late, as the class says.

            past = PastFinding(self._engine, self.database, self.name, at)
            return (await past.find(query)).records
        return await self._engine.queries.find(self.database, self.name, query)

    async def page(
        self,
        where: Where | None = None,
        *,
        text: str | None = None,
        order: str | Sequence[str] | None = None,
        descending: bool = False,
        limit: int = 100,
        after: str | None = None,
    ) -> "Records":
        """As `find`, a page at a time: give the page's `next` as `after` of the next call.

        Records that come or go meanwhile move no others to another page. Raises BadValueError,
        StorageError.
        """
        query = _query(where or {}, text, order, descending, limit, 0, after)
        return await self._engine.queries.page(self.database, self.name, query)

    async def search(self, text: str, *, limit: int = 20) -> "list[Hit]":
        """Records with the words of `text`, the best first, each with the piece that shows why.

        Raises BadValueError, StorageError.
        """
        from .searching import search  # Late, as the class says.

        return await search(self._engine, self.database, text, collection=self.name, limit=limit)

    async def as_of(self, id: str, time: datetime) -> dict[str, Any] | None:
        """The record's fields at a time, by what was written until then; None if it was not there.

        Encrypted fields are opened as by `get`. Raises BadValueError for a time without a zone,
        UnknownMomentError, ErasedError for what was erased here, StorageError.
        """
        found = await self._past().at(self.database, self.name, id, time)
        return found and self._engine.schemas.opened(self.database, self.name, found)

    async def history(self, id: str, *, limit: int = 100) -> "list[Version]":
        """The newest versions of the record: when, by which device, and the fields.

        Encrypted fields stay closed: `as_of` opens them. What was before an erasure is not among
        them. Raises BadValueError, ErasedError if nothing else is, StorageError.
        """
        told = await self._past().history(self.database, self.name, id, limit)
        return told.versions

    def live(
        self,
        where: Where | None = None,
        *,
        text: str | None = None,
        order: str | Sequence[str] | None = None,
        descending: bool = False,
        limit: int = 100,
    ) -> "Live":
        """The result of a query now, and each time it changes here or by sync.

        `async with facts.live({"kind": "tea"}) as live: async for moment in live: …`
        """
        from .live import Live  # Late, as the class says.

        query = _query(where or {}, text, order, descending, limit)
        return Live(self._engine, self.database, self.name, query)

    async def explain(
        self,
        where: Where | None = None,
        *,
        text: str | None = None,
        order: str | Sequence[str] | None = None,
    ) -> "Way":
        """Whether a query goes by an index, and by which. Raises BadValueError, StorageError."""
        query = _query(where or {}, text, order)
        return await self._engine.queries.explain(self.database, self.name, query)

    def _past(self) -> "Past":
        from .past import Past  # Late, as the class says.

        return Past(self._engine)

    async def index(self, *fields: str) -> None:
        """Make queries by these fields fast on this device. Harmless if there is such an index.

        Raises BadValueError, StorageError.
        """
        await self._engine.queries.declare(self.database, self.name, fields)

    async def drop_index(self, *fields: str) -> bool:
        """Forget an index; False if there was none. Raises StorageError."""
        return await self._engine.queries.drop(self.database, self.name, fields)


def _query(*said: Any) -> "Query":
    from .asking import Query  # Late, as the class says.

    return Query(*said)
