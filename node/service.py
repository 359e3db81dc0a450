"""Service: the node as methods that take and return JSON. One table; two callers.

The command line calls it in its own process when no node runs for the home; the local API calls
it when one does. So both answer alike. Unary methods return one JSON value, streams yield JSON
objects until they end or the listener goes away. Parameters are checked here, because the
local API passes on what it was sent.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from ..storage.event_rows import EVENTS_KEPT_MIN, Retention
from ..storage.stores import StoreKind
from ..sync.values import from_json, to_json
from .blob_methods import BlobMethods
from .conflict_methods import ConflictMethods
from .data.late_methods import late_methods
from .data.schema_methods import SchemaMethods
from .demand_methods import DemandMethods, NotFoundError
from .directory import shown_device
from .engine import Engine
from .happenings import EventsLost, NodeEvent, RecordChanged
from .joining import Joiner
from .moving import REMAINS, move
from .pairing import PairingWindow
from .parameters import Json, UsageError, days, limit, text
from .policy_methods import PolicyMethods
from .record_requests import Delete, Put, Written
from .trust_methods import TrustMethods
from .verdict import EarlierHead, verdict

HUMAN_STEP_MS = 60_000
DAYS_KEPT_MAX = 36_500
EVENTS_KEPT_MAX = 10_000_000
EVENT_NUMBER_MAX = 2**53


class Service:
    """All methods of one open node."""

    def __init__(self, engine: Engine, stop: Callable[[], None]) -> None:
        self._engine = engine
        self._stop = stop
        self._trust = TrustMethods(engine)
        self._demand = DemandMethods(engine)
        self._conflicts = ConflictMethods(engine)
        self._blobs = BlobMethods(engine)
        self._answers: dict[str, asyncio.Future[bool]] = {}
        self._unary: dict[str, Callable[[Json], Awaitable[Any]]] = {
            "device": self._device,
            "devices": self._devices,
            "device_show": self._device_show,
            "databases": self._databases,
            "database_create": self._database_create,
            "database_show": self._database_show,
            "put": self._put,
            "put_many": self._put_many,
            "get": self._get,
            "delete": self._delete,
            "move": self._move,
            "list": self._list,
            "sync": self._sync,
            "status": self._status,
            "backup": self._backup,
            "log_verify": self._log_verify,
            "log_keep": self._log_keep,
            "settings": self._settings,
            "settings_set": self._settings_set,
            "down": self._down,
            "pair_answer": self._answer("pair"),
            "join_answer": self._answer("join"),
            **self._trust.table(),
            **self._blobs.table(),
            **self._demand.table(),
            **self._conflicts.table(),
            **PolicyMethods(engine).table(),
            **SchemaMethods(engine).table(),
            **late_methods(engine),
        }
        self._streams: dict[str, Callable[[Json], AsyncIterator[Json]]] = {
            "watch": self._watch,
            "export": self._export,
            "log": self._log,
            "events": self._events,
            "pair": self._pair,
            "join": self._join,
            "blob_read": self._blobs.read,
            "live": self._live,
            "import_chat": self._import_chat,
        }

    async def call(self, method: str, params: Json) -> Any:
        """Run a unary method. Raises CoveyError; UsageError for an unknown method."""
        if method not in self._unary:
            raise UsageError(f"no method {method!r}: see docs/cli.md for what there is")
        return await self._unary[method](params)

    def stream(self, method: str, params: Json) -> AsyncIterator[Json]:
        """Start a stream. Closing the iterator ends it."""
        if method not in self._streams:
            raise UsageError(f"no stream {method!r}: see docs/cli.md for what there is")
        return self._streams[method](params)

    async def _device(self, _: Json) -> Json:
        device = self._engine.our_device()
        return {
            "device": shown_device(device.sig_pk, device.name, device.type),
            "mesh": self._engine.mesh.id.hex(),
        }

    async def _devices(self, _: Json) -> Json:
        return {"devices": await self._engine.directory.device_rows()}

    async def _device_show(self, params: Json) -> Json:
        device = self._engine.directory.find_device(text(params, "device"))
        return await self._trust.show(device.sig_pk)

    async def _databases(self, _: Json) -> Json:
        return {"databases": await self._engine.directory.database_rows()}

    async def _database_create(self, params: Json) -> Json:
        name = text(params, "name")
        policy = None if params.get("policy") is None else text(params, "policy")
        await self._engine.policies.create_database(name, policy)
        return await self._database_show({"name": name})

    async def _database_show(self, params: Json) -> Json:
        name = text(params, "name")
        for row in await self._engine.directory.database_rows():
            if row["name"] == name:
                return row
        raise NotFoundError(f"no database {name!r} here: `covey db list` shows those there are")

    async def _put(self, params: Json) -> Json:
        put = Put(
            text(params, "collection"),
            params.get("id"),
            _record(params.get("value")),
            params.get("privacy"),
            bool(params.get("replace")),
            tags=_tags(params.get("tags")),
        )
        results = await self._engine.writer.write(text(params, "database"), [put])
        return _written(results[0])

    async def _put_many(self, params: Json) -> Json:
        collection, field = text(params, "collection"), params.get("id_field")
        puts = []
        for item in params.get("items") or ():
            value = _record(item.get("value"))
            id = item.get("id")
            if field is not None:
                if field not in value:
                    raise UsageError(f"a record has no field {field!r} to take its id from")
                id = str(value[field])
                if field == "id":
                    # Every answer shows the id beside the fields; it is not stored twice.
                    del value["id"]
            puts.append(Put(collection, id, value, None, False))
        results = await self._engine.writer.write(text(params, "database"), puts)
        written = sum(result.changed for result in results)
        done = {"written": written, "unchanged": len(results) - written}
        self._engine.audit.tally("imported", {"database": text(params, "database"), **done})
        return done

    async def _get(self, params: Json) -> Json:
        collection, id = text(params, "collection"), text(params, "id")
        found = await self._engine.reader.get(text(params, "database"), collection, id)
        if found is None:
            return await self._demand.elsewhere(params)
        names = text(params, "database"), collection, id
        wait_ms = 30_000 if params.get("whole") else 0
        value, behind = await self._engine.summaries.whole(names, found.value, wait_ms)
        if params.get("unseal"):
            value = to_json(self._engine.schemas.opened(*names[:2], from_json(value)))
        if not params.get("meta") and not behind:
            return value
        disputed = await self._engine.inbox.open_fields(*names)
        meta = self._engine.directory.describe(found, disputed)
        return {**value, "_meta": {**meta, "behind": behind} if behind else meta}

    async def _delete(self, params: Json) -> Json:
        request = Delete(text(params, "collection"), text(params, "id"))
        database = text(params, "database")
        results = await self._engine.writer.write(database, [request])
        if not results[0].changed:
            raise NotFoundError(f"no record {request.collection}/{request.id} in {database}")
        return {"id": request.id, "deleted": True}

    async def _move(self, params: Json) -> Json:
        collection, id = text(params, "collection"), text(params, "id")
        database, privacy = text(params, "database"), text(params, "privacy")
        result = await move(self._engine, database, collection, id, privacy)
        if result.was is None:
            raise NotFoundError(f"no record {collection}/{id} in {database}")
        told = {"id": id, "moved": result.changed, "from": result.was, "to": privacy}
        return {**told, "remains": REMAINS} if result.changed else told

    async def _list(self, params: Json) -> Json:
        found = await self._engine.reader.page(
            text(params, "database"), params.get("collection"), limit(params)
        )
        return {"records": [{"collection": f.collection, "id": f.id, **f.value} for f in found]}

    async def _sync(self, params: Json) -> Json:
        timeout_ms = int(float(params.get("timeout_s") or 30) * 1000)
        device = params.get("with")
        peer = None if device is None else self._engine.directory.find_device(device).sig_pk
        await self._engine.patience.sync(peer, timeout_ms)
        return await self._engine.status()

    async def _status(self, _: Json) -> Json:
        return await self._engine.status()

    async def _settings(self, _: Json) -> Json:
        return await self._engine.scheduling.describe()

    async def _settings_set(self, params: Json) -> Json:
        await self._engine.scheduling.change_settings(params.get("set"))
        return await self._engine.scheduling.describe()

    async def _backup(self, params: Json) -> Json:
        path = Path(text(params, "file"))
        if self._engine.back_up is None or not path.is_absolute():
            raise UsageError("file: the absolute path of a new file was expected")
        self._engine.stores.register(f"backup {path}", StoreKind.CIPHERTEXT_FILE, path)
        # The log until now, and where others were last reached, are worth having in it.
        await self._engine.audit.flush()
        made = await self._engine.back_up(path, bool(params.get("force")))
        self._engine.tell("backed_up", {"bytes": made["bytes"]})
        return {**made, "blobs_only_here": await self._engine.blobs.only_here()}

    async def _log_verify(self, params: Json) -> Json:
        head, at = params.get("head"), params.get("at")
        if head is None and at is None:
            return verdict(await self._engine.audit.check(None), None)
        at = _number(params, "at", 0, EVENT_NUMBER_MAX)
        try:
            earlier = EarlierHead(at, bytes.fromhex(text(params, "head")))
        except ValueError:
            raise UsageError("head: the digits that `log verify` shows were expected") from None
        return verdict(await self._engine.audit.check(at), earlier)

    async def _log_keep(self, params: Json) -> Json:
        """Keep as many days and events as are named; of what is not named, as many as before."""
        before = await self._engine.audit.retention()
        days, count = params.get("days"), params.get("events")
        kept = Retention(
            before.days if days is None else _number(params, "days", 0, DAYS_KEPT_MAX),
            before.events
            if count is None
            else _number(params, "events", EVENTS_KEPT_MIN, EVENTS_KEPT_MAX),
        )
        if kept != before:
            await self._engine.audit.keep(kept)
        return {"days": kept.days, "events": kept.events}

    async def _down(self, _: Json) -> Json:
        self._stop()
        return {"stopping": True}

    def _answer(self, what: str) -> Callable[[Json], Awaitable[Any]]:
        async def answer(params: Json) -> Json:
            waiting = self._answers.pop(what, None)
            if waiting is None or waiting.done():
                raise UsageError("nobody is waiting for an answer")
            waiting.set_result(bool(params.get("accept")))
            return {"accepted": bool(params.get("accept"))}

        return answer

    async def _watch(self, params: Json) -> AsyncIterator[Json]:
        database, collection = text(params, "database"), params.get("collection")
        subscription = self._engine.board.subscribe(RecordChanged)
        try:
            async for event in subscription:
                if isinstance(event, EventsLost):
                    yield {"op": "lost", "count": event.count}
                elif (
                    isinstance(event, RecordChanged)
                    and event.database == database
                    and collection in (None, event.collection)
                ):
                    yield {
                        "op": "delete" if event.value is None else "put",
                        "collection": event.collection,
                        "id": event.id,
                        "origin": self._engine.shown_id(event.origin),
                        "record": None if event.value is None else to_json(event.value),
                    }
        finally:
            subscription.close()

    async def _export(self, params: Json) -> AsyncIterator[Json]:
        counts: dict[str, int] = {}
        source = self._engine.reader.export(params.get("database"))
        if params.get("about") is not None:
            # Imported late, as the methods of `late_methods`.
            from .data.personal import Personal, about_of

            source = Personal(self._engine).export(params.get("database"), about_of(params))
        try:
            async for database, found in source:
                counts[database] = counts.get(database, 0) + 1
                yield {
                    "database": database,
                    "collection": found.collection,
                    "id": found.id,
                    "record": found.value,
                }
        finally:
            for database, count in counts.items():
                self._engine.audit.tally("exported", {"database": database, "records": count})

    def _live(self, params: Json) -> AsyncIterator[Json]:
        # Imported late, as the methods of `late_methods`.
        from .data.query_methods import QueryMethods

        return QueryMethods(self._engine).live(params)

    def _import_chat(self, params: Json) -> AsyncIterator[Json]:
        # Imported late: each command that opens a home by itself would pay for the formats.
        from .data.importing import ChatImport

        return ChatImport(self._engine).run(params)

    async def _log(self, params: Json) -> AsyncIterator[Json]:
        subscription = self._engine.board.subscribe(NodeEvent)
        try:
            async for row in self._engine.directory.journal_rows():
                yield row
            if params.get("follow"):
                async for event in subscription:
                    if isinstance(event, NodeEvent):
                        yield {"event": event.kind, **event.detail}
        finally:
            subscription.close()

    async def _events(self, _: Json) -> AsyncIterator[Json]:
        subscription = self._engine.board.subscribe(NodeEvent)
        try:
            device = (await self._device({}))["device"]
            yield {"event": "ready", "port": self._engine.port, "device": device}
            async for event in subscription:
                if isinstance(event, NodeEvent):
                    yield {"event": event.kind, **event.detail}
        finally:
            subscription.close()

    async def _pair(self, params: Json) -> AsyncIterator[Json]:
        timeout_ms = int(float(params.get("timeout_s") or 300) * 1000)
        ask = self._asker("pair") if params.get("ask", True) else None
        level = params.get("level") or "full"
        window = PairingWindow(self._engine, level, timeout_ms, ask, days(params))
        async for event in window.run():
            yield event

    async def _join(self, params: Json) -> AsyncIterator[Json]:
        timeout_ms = int(float(params.get("timeout_s") or 60) * 1000)
        ask = self._asker("join") if params.get("ask", True) else None
        joiner = Joiner(
            self._engine,
            text(params, "code"),
            params.get("address"),
            params.get("tag"),
            timeout_ms,
            ask,
        )
        async for event in joiner.run():
            yield event

    def _asker(self, what: str) -> Callable[[], Awaitable[bool]]:
        """A person's yes or no, given through `pair_answer` or `join_answer`; silence is no."""

        async def ask() -> bool:
            answer = self._answers[what] = asyncio.get_running_loop().create_future()
            try:
                return await self._engine.patience.at_most(answer, HUMAN_STEP_MS, otherwise=False)
            finally:
                self._answers.pop(what, None)

        return ask


def _number(params: Json, name: str, least: int, most: int) -> int:
    value = params.get(name)
    if type(value) is not int or not least <= value <= most:
        raise UsageError(f"{name}: a number from {least} to {most} was expected")
    return value


def _record(value: Any) -> dict[str, Any]:
    """A record as JSON, turned into values. Raises UsageError or BadValueError."""
    if not isinstance(value, dict):
        raise UsageError('a record is a JSON object, such as \'{"text": "hello"}\'')
    record = from_json(value)
    assert isinstance(record, dict)
    return record


def _tags(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise UsageError("tags: an array of texts was expected")
    return tuple(value)


def _written(result: Written) -> Json:
    return {"id": result.id, "version": result.version}
