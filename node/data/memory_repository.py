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
from typing import Any, Generic, TypeVar

from ...sync.errors import BadValueError
from ...sync.limits import COLLECTION_NAME_BYTES_MAX, RECORD_ID_BYTES_MAX
from ...sync.values import from_json, to_json, to_plain
from ..happenings import Board, EventsLost, LaggingError, RecordChanged
from ..record_requests import DATABASE_NAME_BYTES_MAX, check_name
from ..writer import CHANGES_PER_TRANSACTION_MAX
from .codecs import Codec, RecordShapeError
from .repositories import (
    FIND_LIMIT,
    Changed,
    Id,
    Place,
    Remove,
    Save,
    Write,
    asked,
    decode_all,
    id_text,
    new_save,
    read_change,
    with_fields,
)

T = TypeVar("T")

Fields = dict[str, Any]


class MemoryDatabase:
    """Collections in memory, which one unit of work may change together."""

    def __init__(self, database: str = "memory") -> None:
        check_name("database", database, DATABASE_NAME_BYTES_MAX)
        self._database = database
        self._collections: dict[str, dict[str, Fields]] = {}
        self._last_id = 0
        self._arrived: dict[tuple[str, str], int] = {}
        """The number of the latest change of each record: a text finds the newest first."""
        self._changes = 0
        self.board = Board()

    @property
    def database(self) -> str:
        return self._database

    def new_id(self) -> str:
        self._last_id += 1
        return f"{self._last_id:020d}"

    def records(self, collection: str) -> Mapping[str, Fields]:
        """The records that exist, by id, in the JSON form of `covey.sync.values`."""
        return self._collections.get(collection, {})

    def arrived(self, collection: str, id: str) -> int:
        return self._arrived[collection, id]

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
            check_name("collection", write.collection, COLLECTION_NAME_BYTES_MAX)
            check_name("id", write.id, RECORD_ID_BYTES_MAX)
            key = (write.collection, write.id)
            before = after[key] if key in after else self.records(key[0]).get(key[1])
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
        self.board.post(RecordChanged(self._database, collection, id, b"", value))


class MemoryRepository(Generic[T]):
    """A `Repository` in memory. Two of one place and name have the same items."""

    def __init__(
        self, place: MemoryDatabase, name: str, codec: Codec[T], *, privacy: str | None = None
    ) -> None:
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
        found = self._place.records(self._name).get(id_text(id))
        return None if found is None else self.codec.decode(id_text(id), from_json(found))

    async def put(self, item: T) -> str:
        save = new_save(self, item)
        await self._place.commit([save])
        return save.id

    async def patch(self, id: Id, /, **fields: Any) -> bool:
        written = self.codec.encode_some(fields)
        if id_text(id) not in self._place.records(self._name):
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
        wanted = _wanted(asked(where, limit))
        records = self._place.records(self._name)
        ids = sorted(
            id
            for id, fields in records.items()
            if _equals(fields, wanted) and (text is None or _has_words(fields, text))
        )
        if order is not None:
            # The sort is stable, also in reverse: equal ones stay in order of their ids.
            ids.sort(key=lambda id: _rank(records[id].get(order)), reverse=descending)
        elif text is not None:
            ids.sort(key=lambda id: -self._place.arrived(self._name, id))
        elif descending:
            ids.reverse()
        return decode_all(self.codec, ((id, from_json(records[id])) for id in ids[:limit]), broken)

    def changes(self) -> "MemoryChanges[T]":
        return MemoryChanges(self.codec, self._place, self._name)


class MemoryChanges(Generic[T]):
    """See `Changes`. Raises LaggingError as a `Watch` does."""

    def __init__(self, codec: Codec[T], place: MemoryDatabase, name: str) -> None:
        self._codec = codec
        self._name = name
        self._subscription = place.board.subscribe(RecordChanged)

    async def __aiter__(self) -> AsyncIterator[Changed[T]]:
        async for event in self._subscription:
            if isinstance(event, EventsLost):
                raise LaggingError(event.count)
            assert isinstance(event, RecordChanged)
            if event.collection == self._name:
                yield read_change(self._codec, event.id, event.value, "")

    def close(self) -> None:
        self._subscription.close()

    async def __aenter__(self) -> "MemoryChanges[T]":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


def _merged(before: Fields | None, save: Save) -> Fields:
    """The record after a write, in JSON form. Raises BadValueError."""
    to_plain(dict(save.fields))  # Checks every limit.
    merged: Fields = to_json(with_fields(from_json(before or {}), save.fields))
    return merged


def _wanted(where: Mapping[str, Any]) -> Fields:
    wanted = {}
    for field, value in where.items():
        plain = to_json(value)
        if isinstance(plain, dict | list):
            raise BadValueError(f"{field}: only texts, numbers, true, false and null compare")
        wanted[field] = plain
    return wanted


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
