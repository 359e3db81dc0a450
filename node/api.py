"""The Python API: what an application imports.

    async with covey.open(home, unlock=covey.KeyFile("covey.key")) as node:
        memory = node.database("memory").collection("facts")
        await memory.put({"text": "likes tea"}, id="tea")

A `Node` is one open home. It owns the home until it is closed: a second process is told that it
is busy. With `online=True` it finds its peers and syncs in the background. Values are
JSON types, bytes, timezone-aware datetimes and the types of `covey.sync.values`. Every `put` and
`delete` is durable when it returns; a transaction is one change set and is applied whole, here
and on every other device.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..storage.link_text import Target
from ..sync.rules import Rule
from ..sync.values import BlobRef, from_json
from .conflict_methods import STANDING
from .data.querying import Querying
from .data.schema_methods import SchemaCalls
from .data.vector_api import CollectionVectors
from .engine import Engine
from .happenings import EventsLost, LaggingError, RecordChanged
from .inbox import Value as Settled
from .moving import move
from .own_rules import register
from .parameters import ROWS_DEFAULT
from .record_requests import Delete, Put, Written
from .variants import MakeVariant

if TYPE_CHECKING:
    from .data.analytics import Answer
    from .data.cache_api import Cache
    from .data.embedders import Embed
    from .data.linking import Walk
    from .data.views import Map, View

Value = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One change seen by `watch`: `op` is put or delete, `origin` the shown id of the writer."""

    op: str
    database: str
    collection: str
    id: str
    origin: str
    record: dict[str, Any] | None


class Collection(Querying, CollectionVectors):
    """The records of one collection of one database. Cheap to make; holds no state."""

    def __init__(self, engine: Engine, database: str, name: str) -> None:
        self._engine = engine
        self.database = database
        self.name = name

    async def put(
        self,
        value: Value,
        id: str | None = None,
        *,
        privacy: str | None = None,
        replace: bool = False,
    ) -> Written:
        """Write one record: the fields given replace those of the record; others stay.

        `replace` drops the others. Without `id` a new time-ordered one is made. `privacy` (device,
        private, family, public; private if not said) is decided at birth; `move` changes it. A put
        that changes nothing writes nothing. Durable when it returns.

        Raises BadValueError, PrivacyFixedError, StorageError.
        """
        results = await self._engine.writer.write(
            self.database, [Put(self.name, id, value, privacy, replace)]
        )
        return results[0]

    async def put_many(self, values: Sequence[tuple[str | None, Value]]) -> list[Written]:
        """Write many records as one change set: all of them or none. Results in order."""
        puts = [Put(self.name, id, value, None, False) for id, value in values]
        return await self._engine.writer.write(self.database, puts)

    async def get(self, id: str, *, timeout: float = 0.0) -> dict[str, Any] | None:
        """The record's fields, or None if there is no such record here (`Node.fetch`).

        Where this device has a summary only, what stayed behind is a `BlobRef`; with a `timeout`,
        in seconds, it is fetched. Encrypted fields are opened, as far as this device can.
        """
        found = await self._engine.reader.get(self.database, self.name, id)
        if found is None:
            return None
        place = (self.database, self.name, id)
        value, _ = await self._engine.summaries.whole(place, found.value, int(timeout * 1000))
        read: dict[str, Any] = from_json(value)
        return self._engine.schemas.opened(self.database, self.name, read)

    async def delete(self, id: str) -> bool:
        """Delete the record on all devices; False if there was none. Durable when it returns."""
        results = await self._engine.writer.write(self.database, [Delete(self.name, id)])
        return results[0].changed

    async def move(self, id: str, *, privacy: str) -> bool:
        """Delete the record at its privacy level and write it anew at another, in one transaction.

        False if there was none, or it has that level already. Devices that held it at its old level
        may keep copies of what it was. Durable when it returns.

        Raises BadValueError, MoveRefusedError, NotEntitledError, StorageError.
        """
        return (await move(self._engine, self.database, self.name, id, privacy)).changed

    async def put_blob(
        self,
        id: str,
        field: str,
        content: str | Path | AsyncIterator[bytes],
        *,
        media_type: str = "",
        name: str = "",
        privacy: str | None = None,
    ) -> BlobRef:
        """Keep a large content outside of the record, which gets a reference to it in `field`.

        `content` is the path of a file, or an iterator over its bytes; neither is ever in memory as
        a whole. The record is made if there is none. Durable when it returns.

        Raises BadValueError, BlobTooLargeError, BlobQuotaError, PrivacyFixedError, StorageError.
        """
        blobs = self._engine.blobs
        if isinstance(content, str | Path):
            path = Path(content).absolute()
            name, content = name or path.name, blobs.outside.read(path)
        place = (self.database, self.name, id, field)
        done = await blobs.put(place, content, media_type=media_type, name=name, privacy=privacy)
        return done.ref

    async def read_blob(
        self, id: str, field: str, *, variant: str = "", timeout: float = 30.0
    ) -> AsyncIterator[bytes]:
        """The content of the blob in `field`, a piece at a time; fetched now if it is not here.

        Raises NoBlobError, BlobUnreachableError, StorageError.
        """
        blobs = self._engine.blobs
        found, _ = await blobs.find(self.database, self.name, id, field, variant)
        async for piece in blobs.read(found.blob_no, int(timeout * 1000)):
            yield piece

    def watch(self) -> "Watch":
        """Every change of this collection from now on, local or synced."""
        return Watch(self._engine, self.database, self.name)


class Watch:
    """An async iterator of `Change`. Use it with `async with`, or close it.

    Listening starts when it is made. Raises LaggingError if the reader fell so far behind that
    changes were dropped.
    """

    def __init__(self, engine: Engine, database: str, collection: str | None) -> None:
        self._engine = engine
        self._database = database
        self._collection = collection
        self._subscription = engine.board.subscribe(RecordChanged)

    async def __aiter__(self) -> AsyncIterator[Change]:
        async for event in self._subscription:
            if isinstance(event, EventsLost):
                raise LaggingError(event.count)
            assert isinstance(event, RecordChanged)
            if event.database != self._database:
                continue
            if self._collection is not None and event.collection != self._collection:
                continue
            yield Change(
                "delete" if event.value is None else "put",
                event.database,
                event.collection,
                event.id,
                self._engine.shown_id(event.origin),
                event.value,
            )

    def close(self) -> None:
        self._subscription.close()

    async def __aenter__(self) -> "Watch":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class Transaction:
    """Collects writes to one database; they become one change set when the block ends well."""

    def __init__(self, database: str) -> None:
        self.database = database
        self.requests: list[Put | Delete] = []
        self.results: list[Written] = []

    def put(
        self,
        collection: str,
        value: Value,
        id: str | None = None,
        *,
        privacy: str | None = None,
        replace: bool = False,
    ) -> None:
        self.requests.append(Put(collection, id, value, privacy, replace))

    def delete(self, collection: str, id: str) -> None:
        self.requests.append(Delete(collection, id))


class Database:
    """One database of the mesh."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self.name = name

    def __eq__(self, other: object) -> bool:
        """Two are equal if they are one database of one open node."""
        if not isinstance(other, Database):
            return NotImplemented
        return self._engine is other._engine and self.name == other.name

    def __hash__(self) -> int:
        return hash((id(self._engine), self.name))

    def collection(self, name: str) -> Collection:
        return Collection(self._engine, self.name, name)

    def new_id(self) -> str:
        """An id for a new record, as `put` makes them: 20 characters that sort by time."""
        return self._engine.writer.new_id()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """`async with db.transaction() as tx:` nothing is written if the block raises."""
        transaction = Transaction(self.name)
        yield transaction
        transaction.results = await self._engine.writer.write(self.name, transaction.requests)

    def watch(self) -> Watch:
        """Every change of this database from now on, local or synced."""
        return Watch(self._engine, self.name, None)


class Node(SchemaCalls):
    """An open home. Made by `covey.open`."""

    def __init__(self, engine: Engine, close: Callable[[], Awaitable[None]]) -> None:
        self.engine = engine
        self._close = close

    @property
    def device_id(self) -> str:
        return self.engine.shown_id(self.engine.keys.sig_pk)

    @property
    def device_name(self) -> str:
        return self.engine.our_device().name

    @property
    def port(self) -> int | None:
        """The port peers reach us at, or None while offline."""
        return self.engine.port

    def database(self, name: str) -> Database:
        return Database(self.engine, name)

    def register_rule(self, name: str, rule: Rule) -> None:
        """Decide conflicts by a function of your own; every device needs the same under this name.

        `rule` gets the candidates in order of time and the device on which the record was born,
        and returns the value that counts, in plain form, or raises `DoesNotFitError`. It is tried
        on samples first: it must give the same each time and whatever the order. A device that
        lacks the rule leaves such conflicts open. What waited for the rule here is judged anew.
        Raises RuleRefusedError.
        """
        register(self.engine.own_rules, name, rule)
        self.engine.rejudging.rule_registered(name)

    async def conflicts(
        self, database: str | None = None, limit: int = 100
    ) -> list[dict[str, Any]]:
        """What was written apart and still stands, open conflicts first, as the command line shows
        it. `inbox` of the engine pages and decides; events of the kind `conflict` tell of new ones.
        """
        found = await self.engine.inbox.page(STANDING, database, limit)
        return [self.engine.inbox.row(one) for one in found]

    async def resolve(self, conflict: str, value: Any) -> None:
        """Let a value count in a conflict, on every device. Raises UnknownConflictError."""
        found = await self.engine.inbox.find(conflict)
        await self.engine.inbox.resolve(found.conflict_id, Settled(value))

    def register_variant(self, name: str, callback: MakeVariant) -> None:
        """Make a small stand-in, such as a `thumbnail`, of every blob that is put.

        `callback(content, media_type)` gets the content as a file object and returns a `Variant`,
        or None for what it does not know. It runs in another thread.
        """
        self.engine.blobs.variants.register(name, callback)

    async def import_chat(
        self, path: str | Path, database: str, *, format: str, collection: str = "messages"
    ) -> dict[str, Any]:
        """Import the export of a chat service (chatgpt, claude); what became of it, in numbers."""
        # Imported late: whoever opens a node to read or write need not pay for the formats.
        from .data.importing import import_chat

        return await import_chat(self.engine, path, database, format, collection)

    def register_embedder(self, model: str, version: str, callback: "Embed") -> None:
        """Embed records whose embedding is of another model, for this device's searches alone.

        `callback(record, field)` gives the vector, or None; it runs in another thread.
        """
        self.engine.vectors.register(model, version, callback)

    async def traverse(
        self,
        start: tuple[str, str, str],
        *,
        links: Sequence[str] | None = None,
        depth: int = 3,
        limit: int = 1_000,
        back: bool = False,
    ) -> "Walk":
        """What the links of a record (database, collection, id) lead to: `Linking.walk`.

        `engine.linking` declares fields that hold ids. Raises BadValueError, StorageError.
        """
        return await self.engine.linking.walk(
            Target(*start), links=links, depth=depth, limit=limit, back=back
        )

    def register_view(
        self, name: str, version: int, database: str, collection: str, map: "Map"
    ) -> "View":
        """Keep (key, value) rows that `map(id, fields)` makes of the records of a collection.

        It depends on nothing but its arguments. Another `version` makes all rows anew, when the
        view is read next. Raises BadValueError.
        """
        return self.engine.views.register(name, version, database, collection, map)

    async def sql(
        self,
        query: str,
        parameters: Sequence[Any] | Mapping[str, Any] = (),
        *,
        limit: int = ROWS_DEFAULT,
    ) -> "Answer":
        """The rows of one SELECT over collections, named `database.collection`, as tables in
        memory. SQL changes no record. `parameters` are the values of `?`, or of `$name`.

        Raises AnalyticsMissingError, SqlError, SqlFailedError, StorageError.
        """
        return await self.engine.analytics.ask(query, parameters, limit=limit)

    def cache(self, name: str) -> "Cache":
        """What is kept for a while on this device alone, under a name. Raises BadValueError."""
        from .data.cache_api import Cache  # Few programs have one.

        return Cache(self.engine, name)

    async def status(self) -> dict[str, Any]:
        """Proof of sync for each peer and database, as `covey status --json` prints it."""
        return await self.engine.status()

    async def fetch(self, database: str, *, timeout: float = 60.0) -> bool:
        """Bring all of a database here that is held on demand or in a window; it stays here.

        True once everybody near that shares it is proved to have no more. Raises NotToBeHadError
        if a policy is against it, NobodyNearError.
        """
        done = await self.engine.demands.fetch(database, int(timeout * 1000))
        return bool(done["complete"])

    async def sync(self, *, timeout: float = 30.0) -> bool:
        """Sync with whoever is reachable; True only if every one of them is proved in sync.

        Databases that wait now by their policy, here or there, are left out: see `held` and
        `waiting_for` of `status`.
        """
        return await self.engine.patience.sync(None, int(timeout * 1000))

    async def close(self) -> None:
        """Say goodbye to peers, finish what is being written, and let go of the home."""
        await self._close()

    async def __aenter__(self) -> "Node":
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.close()
