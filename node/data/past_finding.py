"""Past finding: the records of a collection as they were at a time, by conditions and in an order.

A record whose changes are all older than that time is today what it was then, and one whose changes
are all younger was not there: both are told by the times that stand with the record, and nothing of
their history is read. Of the others the history is, record by record, and the loop has a turn after
each change. Conditions, order and limit are judged by the same SQL as those of a query of today.

The work is bounded: by how many records the collection has, how much history is to be read, and how
much there is of what passes. Beyond that a query is refused and nothing is told.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ... import CoveyError
from ...storage import record_rows
from ...storage.feed_rows import numbers_of
from ...storage.finding import Query as Prepared
from ...storage.past_rows import Standing, Was, find_among, standing
from ...sync.errors import BadValueError, DecodeError
from ...sync.record_state import RecordState, decode_meta
from ...sync.values import value_text
from ...sync.versions import counted
from ..projection import HLC_STORED_MAX, Key
from ..reader import Found, found_of
from ..record_requests import check_place
from .asking import Query, prepared
from .past import ErasedError, Past, moment

if TYPE_CHECKING:
    from ..engine import Engine

RECORDS_PER_READ = 200
RECORDS_MAX = 200_000
HISTORIES_MAX = 20_000
HISTORY_BYTES_MAX = 64 * 1024 * 1024
"""Of documents, as they are stored."""
HISTORY_BYTES_PER_READ = 4 * 1024 * 1024
PASSING_CHARACTERS_MAX = 64_000_000
"""Of records that pass the conditions, as JSON."""


class TooMuchPastError(CoveyError):
    """A query of what was would read, or hold, more than is allowed. Nothing was told."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class PastRecords:
    """Records as they were, and how many were left out as they have been erased since."""

    records: list[Found]
    erased: int


class PastFinding:
    """One query of what was."""

    def __init__(self, engine: "Engine", database: str, collection: str, time: datetime) -> None:
        """Raises BadValueError."""
        check_place(database, collection)
        self._engine = engine
        self._place = (database, collection)
        self._hlc = moment(time)
        self._past = Past(engine)
        self._histories = 0
        self._history_bytes = 0
        self._erased = 0

    async def find(self, query: Query) -> PastRecords:
        """Raises BadValueError, TooMuchPastError, UnknownMomentError, StorageError."""
        if query.text is not None:
            raise BadValueError(
                "text: words are looked for in what records are now; with `at`, ask for fields"
            )
        if query.after is not None:
            raise BadValueError("after: what was is not read by pages; with `at`, give an offset")
        made = prepared(query)
        every = made._replace(order=(), limit=RECORDS_PER_READ, offset=0)
        passing: list[Was] = []
        size, read = 0, 0
        async for scope, rows in self._standing():
            read += len(rows)
            if read > RECORDS_MAX:
                raise self._too_much(f"it has more than {RECORDS_MAX:,} records")
            kept = await self._passing(every, await self._as_they_were(scope, rows))
            size += sum(len(was.value) for was in kept)
            if size > PASSING_CHARACTERS_MAX:
                raise self._too_much(f"more than {PASSING_CHARACTERS_MAX:,} characters pass")
            passing += kept
        page = await self._engine.database.read(
            lambda conn: find_among(conn, self._place[0], made, passing)
        )
        return PastRecords([found_of(row) for row in page.records], self._erased)

    async def _standing(self) -> AsyncIterator[tuple[int, list[Standing]]]:
        """All records of the collection in parts, each of one scope."""
        read = self._engine.database.read
        numbers = await read(lambda conn: numbers_of(conn, *self._place))
        for coll in await read(record_rows.collections):
            after = ""
            while coll.coll_no in numbers:
                rows = await read(
                    lambda conn, n=coll.coll_no, a=after: standing(conn, n, a, RECORDS_PER_READ)  # type: ignore[misc]
                )
                yield coll.scope_no, rows
                if len(rows) < RECORDS_PER_READ:
                    break
                after = rows[-1].id

    async def _as_they_were(self, scope: int, rows: Sequence[Standing]) -> list[Was]:
        was: list[Was | None] = []
        waiting: list[Standing] = []
        for row in rows:
            match self._counted(row):
                case True:
                    was.append(row.as_it_is())
                case None:
                    waiting.append(row)
        while waiting:
            some = self._next_histories(waiting)
            states = await self._past.states(*self._place, [row.id for row in some])
            for row in some:
                was.append(await self._as_it_was(scope, row, states.get(row.id, [])))
            del waiting[: len(some)]
        return [one for one in was if one is not None]

    def _counted(self, row: Standing) -> bool | None:
        """Whether the record is what it was then (True), or was not there (False)."""
        if row.is_first:
            return counted([row.hlc], self._hlc)
        if row.meta is None:
            return None
        try:
            known = decode_meta(row.meta)
        except DecodeError:
            return None  # Whoever reads its history says what is wrong.
        stamps = [known.stamps.get(actor, ())[:count] for actor, count in known.actors.items()]
        times = [time for some in stamps for time in some]
        return counted(times, self._hlc) if len(times) == sum(known.actors.values()) else None

    def _next_histories(self, waiting: Sequence[Standing]) -> list[Standing]:
        """The first of them, as many as are read at a time. Raises TooMuchPastError."""
        some: list[Standing] = []
        size = 0
        for row in waiting:
            size += row.history_bytes
            if some and size > HISTORY_BYTES_PER_READ:
                break
            some.append(row)
            self._histories += 1
            self._history_bytes += row.history_bytes
        if self._histories > HISTORIES_MAX:
            raise self._too_much(f"more than {HISTORIES_MAX:,} of its records changed since")
        if self._history_bytes > HISTORY_BYTES_MAX:
            raise self._too_much(f"more than {HISTORY_BYTES_MAX:,} bytes are to be read")
        return some

    async def _as_it_was(
        self, scope: int, row: Standing, states: Sequence[tuple[Key, RecordState]]
    ) -> Was | None:
        pasts, erased = await self._past.opened(states)
        made = dict(pasts).get((scope, self._place[1], row.id))
        if made is None:
            return None  # It has left this device meanwhile.
        try:
            then = await self._past.then((scope, self._place[1], row.id), made, erased, self._hlc)
        except ErasedError:
            self._erased += 1
            return None
        if then.value is None:
            return None
        ledger, last = self._engine.ledger, then.last
        log = None if last is None else ledger.log(ledger.scope_numbered(scope).tag, last.actor)
        hlc = 0 if last is None else min(last.hlc, HLC_STORED_MAX)
        log_no = row.log_no if log is None else log.number
        return Was(row.record_no, row.coll_no, row.id, value_text(then.value), hlc, log_no, 0)

    async def _passing(self, query: Prepared, records: Sequence[Was]) -> list[Was]:
        if not records:
            return []
        page = await self._engine.database.read(
            lambda conn: find_among(conn, self._place[0], query, records)
        )
        numbers = {found.record_no for found in page.records}
        return [was for was in records if was.record_no in numbers]

    def _too_much(self, why: str) -> TooMuchPastError:
        return TooMuchPastError(
            f"{'/'.join(self._place)}: what it was then is read from its history, and {why}: narrow"
            " the query, by a later time or more conditions; `covey get --at` reads one record"
        )
