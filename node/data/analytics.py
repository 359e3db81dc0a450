"""Analytics: SQL over collections, answered from copies in memory that follow the records.

A collection becomes a table when a query first names it, filled from the encrypted records; later
queries take in what changed until they began (`storage/feed_rows.py`). Tables are in the memory
of this process alone and gone with it. Each is as it was at a moment since the query began; two
tables of one query may be moments apart. SQL cannot change a record.

One query runs at a time, beside the event loop; the next ones wait. A query that takes too long, or
whose caller has gone, is stopped, and has ended before anything else is asked.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ... import CoveyError
from ...storage.analytics_database import (
    AnalyticsDatabase,
    AnalyticsMissingError,
    AnalyticsTable,
    Answer,
    Row,
    SqlFailedError,
)
from ...storage.analytics_rows import Batch, is_there, read_batch
from ...storage.analytics_sql import SqlError
from ...storage.stores import StoreKind
from ...sync.hlc import wall_ms_of
from ..background import to_its_end
from ..blobs import Beside
from ..ledger import PRIVACY_NAMES
from ..parameters import ROWS_DEFAULT
from ..ports import Cancel

if TYPE_CHECKING:
    from ..engine import Engine

T = TypeVar("T")

__all__ = ["Analytics", "AnalyticsMissingError", "Answer", "SqlError", "SqlFailedError"]

ROWS_MAX = 100_000
TIME_MS_MAX = 30_000
"""For one query, beside what filling its tables takes."""
AGAIN_MS = 100
"""A query that had not begun when it was stopped is stopped again."""
CHANGES_PER_STEP = 2_000


@dataclass(slots=True)
class _Followed:
    """A table, and how far in the feed of changes it is."""

    table: AnalyticsTable
    reached: int = 0


class Analytics:
    """The tables of one node. Made by the engine; empty, and without DuckDB, until it is asked."""

    def __init__(self, engine: "Engine", beside: Beside) -> None:
        self._engine = engine
        self.beside = beside
        self._lock = asyncio.Lock()
        self._database: AnalyticsDatabase | None = None
        self._followed: dict[tuple[str, str], _Followed] = {}
        self._running: _Stopping | None = None
        self._closed = False
        self.open_database: Callable[[], AnalyticsDatabase] = AnalyticsDatabase

    async def ask(
        self,
        sql: str,
        parameters: Sequence[Any] | Mapping[str, Any] = (),
        *,
        limit: int = ROWS_DEFAULT,
    ) -> Answer:
        """The rows of one SELECT, at most `limit`, over what the records are now.

        Raises: AnalyticsMissingError; SqlError for what is not run; SqlFailedError; StorageError.
        """
        if type(limit) is not int or not 0 < limit <= ROWS_MAX:
            raise SqlError(f"limit: a number from 1 to {ROWS_MAX} was expected")
        async with self._lock:
            database = await self._opened()
            question = await self._beside(lambda: database.read(sql))
            await self._check(question.tables)
            try:
                tables = {place: await self._table(database, place) for place in question.tables}
                await self._beside(lambda: database.show(tables))
            except SqlError:
                raise
            except Exception:
                await self._forget()  # A table that is half filled would be wrong for ever.
                raise
            return await self._beside(lambda: database.ask(question, parameters, limit), True)

    async def close(self) -> None:
        """Stop what runs and give the memory back. Whoever waits for an answer gets an error."""
        self._closed = True
        if self._running is not None:
            self._running.stop()
        async with self._lock:
            await self._forget()

    async def _opened(self) -> AnalyticsDatabase:
        if self._closed or self._engine.closing:
            raise SqlFailedError("the node is closed")
        if self._database is None:
            self._engine.stores.register("analytics", StoreKind.MEMORY)
            self._database = await self._beside(self.open_database)
        return self._database

    async def _forget(self) -> None:
        database, self._database, self._followed = self._database, None, {}
        if database is not None:
            await self._beside(database.close)

    async def _check(self, places: Sequence[tuple[str, str]]) -> None:
        for place in places:
            if not await self._engine.database.read(partial(is_there, names=place)):
                raise SqlError(f"no collection {place[0]}.{place[1]} here: see `covey db list`")

    async def _table(self, database: AnalyticsDatabase, place: tuple[str, str]) -> AnalyticsTable:
        """The table of a collection, with everything in it that was written until now."""
        followed = self._followed.get(place)
        if followed is not None and followed.table.is_worn:
            await self._beside(lambda: database.show({}))
            await self._beside(followed.table.drop)
            followed = None
        if followed is None:
            followed = _Followed(await self._beside(database.new_table))
            self._followed[place] = followed
        table, target = followed.table, None
        while target is None or followed.reached < target:
            batch = await self._batch(place, followed.reached)
            rows = _rows(batch, self._engine.shown_id)
            await self._beside(partial(database.fill, table, rows))
            followed.reached = batch.page.reached
            # What is written from now on is for the next query, or this one might never begin.
            target = batch.latest if target is None else target
            if not batch.page.marks:
                break
        return table

    async def _batch(self, place: tuple[str, str], after: int) -> Batch:
        return await self._engine.database.read(
            lambda conn: read_batch(conn, *place, after, CHANGES_PER_STEP)
        )

    async def _beside(self, call: Callable[[], T], is_query: bool = False) -> T:
        """What a call gives. It has ended when this ends, also if its caller has gone."""
        self._running = stopping = _Stopping(self._engine, self._database)
        if is_query:
            stopping.after(TIME_MS_MAX)
        try:
            return await to_its_end(self.beside(call), stopping.stop)
        except CoveyError:
            if stopping.is_late:
                raise SqlFailedError(
                    f"the query took more than {TIME_MS_MAX // 1000} seconds and was stopped:"
                    " ask for less"
                ) from None
            raise
        finally:
            stopping.over()
            self._running = None


class _Stopping:
    """Stops what runs in a database, once it is late or nobody waits for it, until it has ended."""

    def __init__(self, engine: "Engine", database: AnalyticsDatabase | None) -> None:
        self._clock = engine.clock
        self._database = database
        self._cancel: Cancel | None = None
        self.is_late = False

    def after(self, duration_ms: int) -> None:
        self._cancel = self._clock.call_after_ms(duration_ms, self._late)

    def stop(self) -> None:
        self.over()
        if self._database is not None:
            self._database.interrupt()
        self._cancel = self._clock.call_after_ms(AGAIN_MS, self.stop)

    def over(self) -> None:
        if self._cancel is not None:
            self._cancel()
            self._cancel = None

    def _late(self) -> None:
        self.is_late = True
        self.stop()


def _rows(batch: Batch, shown: Callable[[bytes], str]) -> list[Row]:
    rows = []
    for mark in batch.page.marks:
        if mark.value is None or mark.coll_no is None or mark.id is None:
            rows.append(Row(mark.record_no))
            continue
        origin = batch.origins[mark.record_no]
        privacy = PRIVACY_NAMES[batch.privacy[mark.coll_no]]
        time_ms = wall_ms_of(origin.hlc)
        rows.append(
            Row(mark.record_no, mark.id, mark.value, privacy, shown(origin.author), time_ms)
        )
    return rows
