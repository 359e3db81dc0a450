"""Queries: what an application asks of a collection, and the indexes that make it fast.

An index is declared for a collection on this device. It is filled and kept up in the background, in
slices, when somebody asks; a query never waits for it, and never sees less for it
(`storage/finding.py`). Which queries were asked is counted by their fields, without values, so that
`advice` can say which index is missing.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...storage import finding, index_rows, shape_rows
from ...storage.conditions import Test
from ...storage.errors import StorageError
from ...storage.feed_rows import changed_since, last_change, numbers_of
from ...storage.fields import BadFieldError
from ...storage.finding import Answer, Page, Way
from ...storage.index_rows import FIELDS_MAX, INDEXES_MAX, Index
from ...storage.shape_rows import Shape
from ...storage.store import Conn
from ...sync.errors import BadValueError
from ...sync.limits import NAME_BYTES_MAX
from ..reader import Found, found_of
from ..record_requests import check_name, check_place
from .asking import Query, cursor_of, prepared, shape_of
from .result_cache import Kept, ResultCache

if TYPE_CHECKING:
    from ..engine import Engine

SLICE_CHANGES = 2_000
"""Taken by an index in one transaction: some 20 ms, in which no record can be written."""

ADVISED_WALKS_MIN = 3
"""An index is proposed for a query that walked its collection so often."""


@dataclass(frozen=True, slots=True)
class Records:
    """A page of records, and the cursor after which the next begins, None if there is none."""

    records: list[Found]
    next: str | None


@dataclass(frozen=True, slots=True)
class Advice:
    """An index that would have served queries, and how often their collection was walked."""

    database: str
    collection: str
    fields: tuple[str, ...]
    walked: int
    shape: str


class Queries:
    """The queries and indexes of one node."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self.cache = ResultCache()
        self._catching_up: dict[int, None] = {}
        self._counted: dict[tuple[str, str, str], list[int]] = {}

    # Asking ------------------------------------------------------------------------------------

    async def page(self, database: str, collection: str, query: Query) -> Records:
        """Raises BadValueError, StorageError."""
        check_place(database, collection)
        made = prepared(query)
        page, way, late = await self._read(database, collection, made)
        self._count(database, collection, made, way)
        for index in late:
            self._catch_up(index)
        return Records([found_of(row) for row in page.records], cursor_of(made, page.last))

    async def find(self, database: str, collection: str, query: Query) -> list[Found]:
        """The records of one page. Raises BadValueError, StorageError."""
        return (await self.page(database, collection, query)).records

    async def explain(self, database: str, collection: str, query: Query) -> Way:
        """How a query would go to its records. Raises BadValueError, StorageError."""
        check_place(database, collection)
        made = prepared(query)
        return await self._engine.database.read(
            lambda conn: finding.explain(conn, database, collection, made)
        )

    async def _read(
        self, database: str, collection: str, made: finding.Query
    ) -> tuple[Page, Way | None, list[Index]]:
        """A page, how it was reached (None if it was known), and the indexes that are behind."""
        key = (database, collection, made)
        kept = self.cache.look(key)

        def job(conn: Conn) -> tuple[Answer | None, int]:
            seen = last_change(conn)
            if kept is not None and _is_true(conn, database, collection, kept):
                return None, seen
            return finding.answer(conn, database, collection, made), seen

        answer, seen = await self._engine.database.read(job)
        if answer is None:
            assert kept is not None
            self.cache.hit(key, kept, seen)
            return kept.page, None, []
        self.cache.keep(key, answer.page, seen)
        late = [index for index in answer.indexes if index.reached < seen]
        return answer.page, answer.way, late

    # Indexes -----------------------------------------------------------------------------------

    async def declare(
        self, database: str, collection: str, fields: Sequence[str], *, filled: bool = True
    ) -> Index:
        """An index over these fields of a collection; the one there is if there is one.

        It is filled before this returns, in slices, or else in the background. Raises
        BadValueError, StorageError.
        """
        names = _checked(database, collection, fields)

        def job(conn: Conn) -> Index:
            existing = index_rows.indexes(conn)
            if len(existing) >= INDEXES_MAX and not any(
                (index.database, index.collection, index.fields) == (database, collection, names)
                for index in existing
            ):
                raise BadValueError(f"{len(existing)} indexes on this device: drop one first")
            return index_rows.declare(conn, database, collection, names)

        try:
            index = await self._engine.database.write(job)
        except BadFieldError as error:
            raise BadValueError(f"{', '.join(names):.80}: {error}") from None
        if filled:
            await self._fill(index)
        else:
            self._catch_up(index)
        return index

    async def drop(self, database: str, collection: str, fields: Sequence[str]) -> bool:
        """Forget an index; False if there was none. Raises StorageError."""

        def job(conn: Conn) -> bool:
            for index in index_rows.indexes_of(conn, database, collection):
                if index.fields == tuple(fields):
                    index_rows.drop(conn, index)
                    return True
            return False

        return await self._engine.database.write(job)

    async def indexes(self) -> list[tuple[Index, int]]:
        """All indexes of this device, and how many changes each has still to take."""

        def job(conn: Conn) -> list[tuple[Index, int]]:
            last = last_change(conn)
            return [(index, last - index.reached) for index in index_rows.indexes(conn)]

        return await self._engine.database.read(job)

    async def advice(self) -> list[Advice]:
        """Indexes that queries have missed, the most needed first. Raises StorageError."""
        await self._engine.notes.flush()

        def job(conn: Conn) -> tuple[list[Shape], list[Index]]:
            return shape_rows.shapes(conn), index_rows.indexes(conn)

        shapes, indexes = await self._engine.database.read(job)
        there = {(index.database, index.collection, index.fields) for index in indexes}
        found = []
        for shape in shapes:
            said = json.loads(shape.shape)
            fields = tuple(said["index"])
            place = (shape.database, shape.collection, fields)
            if shape.walked >= ADVISED_WALKS_MIN and fields and place not in there:
                there.add(place)
                found.append(Advice(*place, shape.walked, said["asked"]))
        return found

    def _catch_up(self, index: Index) -> None:
        """Let an index take what it has not, in the background, once at a time."""
        if index.index_no in self._catching_up or self._engine.closing:
            return
        self._catching_up[index.index_no] = None
        self._engine.spawn(self._fill_quietly(index), "index")

    async def _fill_quietly(self, index: Index) -> None:
        try:
            # What cannot be written now is taken after a later query.
            with suppress(StorageError):
                await self._fill(index)
        finally:
            self._catching_up.pop(index.index_no, None)

    async def _fill(self, index: Index) -> None:
        number = index.index_no
        while await self._engine.database.write(
            lambda conn: index_rows.catch_up(conn, number, SLICE_CHANGES)
        ):
            pass

    def _count(self, database: str, collection: str, made: finding.Query, way: Way | None) -> None:
        """Note that a query was asked. A walk is one that an index could have spared."""
        walked = way is not None and not way.fields and not way.text and not way.late
        asked = {"asked": shape_of(made), "index": _wanted(made)}
        shape = json.dumps(asked, ensure_ascii=True, sort_keys=True)
        place = (database, collection, shape)
        counts = self._counted.setdefault(place, [0, 0])
        counts[0] += 1
        counts[1] += walked
        now_ms = self._engine.clock.wall_ms()

        def write(conn: Conn) -> None:
            asked_times, walked_times = self._counted.pop(place, (0, 0))
            if asked_times:
                shape_rows.count(conn, Shape(*place, asked_times, walked_times), now_ms)

        self._engine.note(write, ("query", *place))


def _wanted(made: finding.Query) -> list[str]:
    """The fields of the index that would serve a query best: equal ones, one range, the order."""
    equal = [c.field for c in made.where if c.test in (Test.EQUAL, Test.ONE_OF)]
    ranges = [
        c.field
        for c in made.where
        if c.test not in (Test.EQUAL, Test.ONE_OF, Test.UNEQUAL, Test.EXISTS, Test.HAS)
    ]
    order = [field for field, _ in made.order]
    wanted = [*sorted(dict.fromkeys(equal)), *(order[:1] or ranges[:1])]
    return list(dict.fromkeys(wanted))[:FIELDS_MAX]


def _checked(database: str, collection: str, fields: Sequence[str]) -> tuple[str, ...]:
    check_place(database, collection)
    names = tuple(fields)
    if not 1 <= len(names) <= FIELDS_MAX or len(set(names)) < len(names):
        raise BadValueError(f"an index has 1 to {FIELDS_MAX} different fields")
    for name in names:
        check_name("a field", name, NAME_BYTES_MAX)
    return names


def _is_true(conn: Conn, database: str, collection: str, kept: Kept) -> bool:
    return not changed_since(conn, kept.seen, numbers_of(conn, database, collection))
