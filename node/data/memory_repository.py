"""Memory repository: a `Repository` without a node, for the tests of an application's domain.

    place = covey.MemoryDatabase("memory")
    facts = covey.MemoryRepository(place, "facts", covey.DataclassCodec(Fact))

It refuses what a node refuses (but for a unit of work of more than about a megabyte), finds what a
node finds, and gives back copies in the form that a node gives. It has no other devices, no privacy
levels and no disk. A test of two devices takes the fixture `mesh` (docs/simulation.md).
"""

import json
import unicodedata
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, TypeVar

from ...sync.errors import BadValueError
from ...sync.values import from_json, to_json, to_plain
from ..api import Change
from ..happenings import Board, EventsLost, LaggingError, RecordChanged
from ..record_requests import check_place
from ..writer import CHANGES_PER_TRANSACTION_MAX
from .codecs import Codec
from .places import Remove, Save, Write, with_fields
from .repositories import PlacedRepository

T = TypeVar("T")

Fields = dict[str, Any]


class MemoryDatabase:
    """Collections in memory, which one unit of work may change together."""

    def __init__(self, database: str = "memory") -> None:
        check_place(database)
        self._database = database
        self._collections: dict[str, dict[str, Fields]] = {}
        self._last_id = 0
        self._arrived: dict[tuple[str, str], int] = {}
        """The number of the latest change of each record: a text finds the newest first."""
        self._changes = 0
        self._board = Board()

    @property
    def database(self) -> str:
        return self._database

    def new_id(self) -> str:
        self._last_id += 1
        return f"{self._last_id:020d}"

    async def read(self, collection: str, id: str) -> Fields | None:
        found = self._collections.get(collection, {}).get(id)
        return None if found is None else from_json(found)

    async def search(
        self,
        collection: str,
        where: Mapping[str, Any],
        *,
        text: str | None,
        order: str | None,
        descending: bool,
        limit: int,
    ) -> list[tuple[str, Fields]]:
        check_place(self._database, collection)
        wanted = dict(where)
        records = self._collections.get(collection, {})
        ids = sorted(
            id
            for id, fields in records.items()
            if _equals(fields, wanted) and (text is None or _has_words(fields, text))
        )
        if order is not None:
            # The sort is stable, also in reverse: equal ones stay in order of their ids.
            ids.sort(key=lambda id: _rank(records[id].get(order)), reverse=descending)
        elif text is not None:
            ids.sort(key=lambda id: -self._arrived[collection, id])
        elif descending:
            ids.reverse()
        return [(id, from_json(records[id])) for id in ids[:limit]]

    def watch(self, collection: str) -> "MemoryWatch":
        return MemoryWatch(self._board, collection)

    async def commit(self, writes: Sequence[Write]) -> list[bool]:
        """All is checked before anything is changed, so that an error leaves nothing behind."""
        if len(writes) > CHANGES_PER_TRANSACTION_MAX:
            raise BadValueError(
                f"{len(writes)} writes in one transaction, {CHANGES_PER_TRANSACTION_MAX} allowed:"
                " split it"
            )
        after: dict[tuple[str, str], Fields | None] = {}
        changed = []
        for write in writes:
            check_place(self._database, write.collection, write.id)
            key = (write.collection, write.id)
            before = after.get(key, self._collections.get(key[0], {}).get(key[1]))
            after[key] = None if isinstance(write, Remove) else _merged(before, write)
            changed.append(after[key] != before)
        for (collection, id), fields in after.items():
            self._set(collection, id, fields)
        return changed

    def _set(self, collection: str, id: str, fields: Fields | None) -> None:
        records = self._collections.setdefault(collection, {})
        if records.get(id) == fields:
            return
        self._changes += 1
        self._arrived[collection, id] = self._changes
        if fields is None:
            del records[id]
        else:
            records[id] = fields
        value = None if fields is None else from_json(fields)
        self._board.post(RecordChanged(self._database, collection, id, b"", value))


class MemoryRepository(PlacedRepository[T]):
    """A `Repository` in memory. Two of one place and name have the same items."""

    def __init__(
        self, place: MemoryDatabase, name: str, codec: Codec[T], *, privacy: str | None = None
    ) -> None:
        super().__init__(place, name, codec, privacy)


class MemoryWatch:
    """The changes of one collection. Raises LaggingError as a `Watch` does."""

    def __init__(self, board: Board, collection: str) -> None:
        self._collection = collection
        self._subscription = board.subscribe(RecordChanged)

    async def __aiter__(self) -> AsyncIterator[Change]:
        async for event in self._subscription:
            if isinstance(event, EventsLost):
                raise LaggingError(event.count)
            assert isinstance(event, RecordChanged)
            if event.collection == self._collection:
                op = "delete" if event.value is None else "put"
                yield Change(op, event.database, event.collection, event.id, "", event.value)

    def close(self) -> None:
        self._subscription.close()


def _merged(before: Fields | None, save: Save) -> Fields:
    """The record after a write, in JSON form. Raises BadValueError."""
    to_plain(dict(save.fields))  # Checks every limit.
    merged: Fields = to_json(with_fields(from_json(before or {}), save.fields))
    return merged


def _equals(fields: Fields, wanted: Fields) -> bool:
    """1 and 1.0 are equal, 1 and True are not, and None is only a null that is there."""
    return all(
        name in fields
        and isinstance(fields[name], bool) == isinstance(value, bool)
        and fields[name] == value
        for name, value in wanted.items()
    )


def _rank(value: Any) -> tuple[int, float, bytes]:
    """Nulls and missing first, then numbers, then texts and whatever else, as its JSON."""
    if value is None:
        return 0, 0, b""
    if isinstance(value, int | float):
        return 1, value, b""
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return 2, 0, value.encode("utf-8", "surrogatepass")


def _words(text: str) -> list[str]:
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(c if c.isalnum() else " " for c in plain.casefold()).split()


def _has_words(fields: Fields, text: str) -> bool:
    """Every word occurs somewhere in the record; the last may be a beginning."""
    *before, last = _words(text) or [""]
    held = {word for value in _texts(fields) for word in _words(value)}
    return bool(last) and held.issuperset(before) and any(word.startswith(last) for word in held)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        # Of what JSON cannot say, only a `Text` has words.
        said = [item for key, item in value.items() if key == "$text" or not key.startswith("$")]
        return [text for item in said for text in _texts(item)]
    return [text for item in value for text in _texts(item)] if isinstance(value, list) else []
