"""Views: projections of the records of a collection that an application makes by a function.

A view's function gets the id and the fields of a record and gives rows: a key, which is a tuple of
values, and a value. It must depend on nothing else, so that the rows of a view are the same on
every device that has the same records, in whatever order they came, and however often it is
rebuilt. Rows are kept in the encrypted store and follow the feed of changes: before a view
answers, it takes whatever changed until it was asked.

The function runs beside the event loop and outside of any transaction, so a slow one delays its own
view and neither writers nor sync, and one that hangs only who reads that view. A record that it
raises at is skipped; `skipped` lists those.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from ... import CoveyError
from ...storage import view_rows
from ...storage.store import Conn
from ...storage.value_order import END, key_of, row_of
from ...storage.view_rows import Item, Made, Stored
from ...sync.errors import BadValueError
from ...sync.limits import NAME_BYTES_MAX
from ...sync.values import from_json, to_plain, value_text
from ..blobs import Beside
from ..record_requests import check_name, check_place

if TYPE_CHECKING:
    from ..engine import Engine

T = TypeVar("T")

Map = Callable[[str, dict[str, Any]], Iterable[tuple[Sequence[Any], Any]]]
"""(id, fields) -> rows of (key, value)."""

Reduction = Literal["count", "sum", "latest"]

CHANGES_PER_STEP = 500
ROWS_PER_RECORD_MAX = 1_000
KEY_BYTES_MAX = 1_024
VALUE_BYTES_MAX = 16_384
LIMIT_MAX = 100_000


class ViewReplacedError(CoveyError):
    """The view was registered anew or dropped: use what `register_view` gave last."""


class ViewRow(NamedTuple):
    """One row. Numbers in `key` read back in one form: 3.0 as 3."""

    key: tuple[Any, ...]
    value: Any
    id: str
    """The record that it was made of."""
    place: view_rows.Row
    """Where to go on after it."""


class Skipped(NamedTuple):
    """A record that the function raised at, or gave bad rows for; `error` is the kind of error."""

    id: str
    error: str


class Rebuilt(NamedTuple):
    """The digests of a view before and after it was made anew from the records."""

    before: str
    after: str


class View:
    """One view. Made by `Node.register_view`; every method takes in what changed first.

    A `prefix` narrows to the rows whose keys begin with these values.
    """

    def __init__(
        self, engine: "Engine", name: str, version: int, place: tuple[str, str], map: Map
    ) -> None:
        self._engine = engine
        self.name = name
        self.version = version
        self.database, self.collection = place
        self._map = map
        self._lock = asyncio.Lock()
        self.is_replaced = False

    async def rows(
        self,
        prefix: Sequence[Any] = (),
        *,
        since: Sequence[Any] = (),
        until: Sequence[Any] | None = None,
        descending: bool = False,
        limit: int = 100,
        after: ViewRow | None = None,
    ) -> list[ViewRow]:
        """Rows in order of key and id, or turned round.

        `since` (inclusive) and `until` (exclusive) are what follows the prefix in the keys. `after`
        goes on after a row of an earlier page. Raises BadValueError, StorageError.
        """
        _check_limit(limit)
        low, high = _range(prefix)
        low, high = (
            low + _key("since", since),
            high if until is None else low + _key("until", until),
        )
        if not isinstance(after, ViewRow | None):
            raise BadValueError("after: a row of an earlier page was expected")
        start = None if after is None else after.place
        found = await self._read(
            lambda conn, view: view_rows.rows(
                conn, view.view_no, low, high, start, descending, limit
            )
        )
        return [_shown(row) for row in found]

    async def count(self, prefix: Sequence[Any] = ()) -> int:
        """How many rows."""
        bounds = _range(prefix)
        return await self._read(lambda conn, view: view_rows.count(conn, view.view_no, *bounds))

    async def sum(self, prefix: Sequence[Any] = ()) -> int | float:
        """The sum of the values that are numbers; the same on every device, also of fractions."""
        bounds = _range(prefix)
        return await self._read(lambda conn, view: view_rows.total(conn, view.view_no, *bounds))

    async def latest(self, prefix: Sequence[Any] = ()) -> ViewRow | None:
        """The row with the greatest key, None if there is none."""
        bounds = _range(prefix)
        row = await self._read(lambda conn, view: view_rows.latest(conn, view.view_no, *bounds))
        return None if row is None else _shown(row)

    async def groups(
        self,
        values: int,
        reduce: Reduction = "count",
        prefix: Sequence[Any] = (),
        *,
        after: Sequence[Any] | None = None,
        limit: int = 1_000,
    ) -> list[tuple[tuple[Any, ...], Any]]:
        """For the first `values` values of the keys, each once and in order: how many rows, the sum
        of their values, or the value of the latest. `after` is the last key of an earlier page.

        Raises BadValueError, StorageError.
        """
        _check_limit(limit)
        if reduce not in _REDUCTIONS:
            raise BadValueError(f"{reduce!r:.40}: a group has its {', '.join(_REDUCTIONS)}")
        if type(values) is not int or values < 1:
            raise BadValueError("values: a number from 1 was expected")
        low, high = _range(prefix)
        if after is not None:
            last = _key("after", after)
            low = max(low, last + (END if len(after) >= values else b"\0"))
        reduction = _REDUCTIONS[reduce]

        def job(conn: Conn, view: Stored) -> list[tuple[tuple[Any, ...], Any]]:
            found = view_rows.groups(conn, view.view_no, low, high, values, limit)
            return [
                (row_of(begin), reduction(conn, view.view_no, begin, end)) for begin, end in found
            ]

        return await self._read(job)

    async def skipped(self, limit: int = 100) -> list[Skipped]:
        """Records of which nothing could be made, by id."""
        _check_limit(limit)
        found = await self._read(lambda conn, view: view_rows.skipped(conn, view.view_no, limit))
        return [Skipped(place.id, reason) for place, reason in found]

    async def digest(self) -> str:
        """64 hexadecimal digits of all rows: equal on all devices that hold the same records."""
        found = await self._read(lambda conn, view: view_rows.digest(conn, view.view_no))
        return found.hex()

    async def rebuild(self) -> Rebuilt:
        """Forget all rows and make them anew from the records.

        The digests differ if the function gives other rows than it did.
        """
        before = await self.digest()
        async with self._lock:
            view = await self._open()
            await self._engine.database.write(lambda conn: view_rows.start_over(conn, view.view_no))
        return Rebuilt(before, await self.digest())

    async def _read(self, job: Callable[[Conn, Stored], T]) -> T:
        """What a job reads of the rows, after everything until now was taken in."""

        def answer(conn: Conn, view: Stored) -> tuple[T] | None:
            return (job(conn, view),) if view_rows.is_there(conn, view) else None

        found: tuple[T] | None = None
        async with self._lock:
            while found is None:  # Somebody may have opened another version; `_open` tells whose.
                view = await self._open()
                while await self._step(view):
                    pass
                # Under the lock, or a rebuild might begin before the rows are read.
                found = await self._engine.database.read(partial(answer, view=view))
        return found[0]

    async def _open(self) -> Stored:
        self._require_current()
        open_view = view_rows.open_view
        args = (self.name, self.version, self.database, self.collection)
        found = await self._engine.database.read(lambda conn: view_rows.find_view(conn, self.name))
        self._require_current()
        if found is not None and found[1:5] == args:
            return found
        return await self._engine.database.write(lambda conn: open_view(conn, *args))

    def _require_current(self) -> None:
        if self.is_replaced:
            raise ViewReplacedError(f"{self.name}: the view was registered anew, or dropped")

    async def _step(self, view: Stored) -> bool:
        """Take in the next changes; True if there may be more."""
        database = self._engine.database
        taken = await database.read(lambda conn: view_rows.pending(conn, view, CHANGES_PER_STEP))
        if taken is None:
            return False
        beside = self._engine.views.beside
        made = await beside(lambda: [self._made(item) for item in taken.items])
        for changes, rows in view_rows.in_parts(taken, made):
            await database.write(partial(view_rows.apply, view=view, taken=changes, made=rows))
        return taken.more

    def _made(self, item: Item) -> Made:
        """The rows of a record. Whatever the function raises is an error of this record alone."""
        rows: list[tuple[bytes, str]] = []
        try:
            for key, value in self._map(item.place.id, from_json(json.loads(item.value))):
                rows.append(_row(key, value))
                if len(rows) > ROWS_PER_RECORD_MAX:
                    raise BadValueError("too many rows")
        except BaseException as error:
            # SystemExit too, which would end the node. The kind alone: a text may quote the record.
            return Made(item, [], type(error).__name__)
        return Made(item, rows, None)


class Views:
    """The views of one engine, by name."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._views: dict[str, View] = {}
        self.beside: Beside = engine.blobs.beside
        """Runs functions of applications; the end of the process should not wait for it."""

    def register(self, name: str, version: int, database: str, collection: str, map: Map) -> View:
        """See `Node.register_view`."""
        check_name("view", name, NAME_BYTES_MAX)
        check_place(database, collection)
        if type(version) is not int or not 0 <= version < 2**31:
            raise BadValueError(f"{name}: a version is a number from 0 to {2**31 - 1:,}")
        if not callable(map):
            raise BadValueError(f"{name}: a function of a record's id and fields was expected")
        self._replace(name)
        view = View(self._engine, name, version, (database, collection), map)
        self._views[name] = view
        return view

    async def stored(self) -> list[tuple[Stored, int, int, int]]:
        """All views that the store has, registered now or not: with the number of their rows, of
        skipped records, and of changes that they have not taken.
        """
        return await self._engine.database.read(view_rows.stored_views)

    async def drop(self, name: str) -> bool:
        """Remove a view and its rows; False if there is none."""
        self._replace(name)
        return await self._engine.database.write(lambda conn: view_rows.drop(conn, name))

    def _replace(self, name: str) -> None:
        before = self._views.pop(name, None)
        if before is not None:
            before.is_replaced = True


def _row(key: Any, value: Any) -> tuple[bytes, str]:
    if not isinstance(key, tuple | list):
        raise BadValueError("a key is a tuple of values")
    to_plain({"value": value})  # What no record may hold, no view may.
    found, text = key_of(key), value_text(value)
    if not found or len(found) > KEY_BYTES_MAX or len(text.encode()) > VALUE_BYTES_MAX:
        raise BadValueError(
            f"a key has up to {KEY_BYTES_MAX} bytes and a value up to {VALUE_BYTES_MAX:,}"
        )
    return found, text


def _latest(conn: Conn, view_no: int, low: bytes, high: bytes) -> Any:
    row = view_rows.latest(conn, view_no, low, high)
    return None if row is None else from_json(json.loads(row.value))


_REDUCTIONS: dict[str, Callable[[Conn, int, bytes, bytes], Any]] = {
    "count": view_rows.count,
    "sum": view_rows.total,
    "latest": _latest,
}


def _range(prefix: Sequence[Any]) -> tuple[bytes, bytes]:
    low = _key("prefix", prefix)
    return low, low + END


def _key(name: str, values: Sequence[Any]) -> bytes:
    """A part of a key. Raises BadValueError, also for one text, which is a sequence of letters."""
    if not isinstance(values, tuple | list):
        raise BadValueError(f"{name}: a tuple of values was expected")
    return key_of(values)


def _shown(row: view_rows.Row) -> ViewRow:
    return ViewRow(row_of(row.key), from_json(json.loads(row.value)), row.id, row)


def _check_limit(limit: int) -> None:
    if type(limit) is not int or not 0 < limit <= LIMIT_MAX:
        raise BadValueError(f"limit: a number from 1 to {LIMIT_MAX:,} was expected")
