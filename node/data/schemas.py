"""Schemas of one node: installed and removed, checked against what is here, and told of.

A schema that is installed stays so over restarts: what it says of writes (`fitting.py`) holds for
every process that opens the home, also for those without the application. Functions of migrations
belong to the application; what stands as data is kept with the definition.

`on_install` and `on_remove` are called with database, collection and definition, so that whatever
is made from records (indexes, vectors, expiry) follows the schemas: one line each.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import CoveyError
from ...crypto.field import field_key_id
from ...storage import record_queries, schema_rows
from ...storage.record_queries import Position
from ...storage.schema_rows import HISTORY_MAX, Done, Installed
from ...sync.errors import BadValueError
from ...sync.values import from_json
from ..parameters import Json
from ..record_requests import Delete
from ..times import iso_time
from .conflict_rules import RulesOfSchema
from .definition import CollectionSchema
from .drift import applied_steps, refuse_drift, refuse_other_steps, schema_of
from .fitting import Fitting, misfits, missing
from .late_writes import LateWrites
from .migrating import Migrating
from .reading import SchemaError
from .schema import Schema, find_schema
from .schema_news import News, Said, kept_at
from .sealing import Sealing

if TYPE_CHECKING:
    from ..engine import Engine

Declare = Callable[[str, str, CollectionSchema], Awaitable[None]]
PAGE_RECORDS = 500
FAULTS_MAX = 10_000


class NoSchemaError(SchemaError):
    """No schema of this name is installed here. Nothing was changed."""

    exit_code = 1


class Schemas:
    """The schemas of one engine."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self.on_install: list[Declare] = []
        self.on_remove: list[Declare] = []
        self.sealing = Sealing(engine)
        self.fitting = Fitting(self.sealing)
        self.installed: dict[str, Schema] = {}
        """By name; with the functions of its steps once the application has installed it."""
        self.rules = RulesOfSchema(engine)
        self.migrating = Migrating(engine, self)
        self.news = News(engine)
        self.late = LateWrites(engine, self)
        self.lock = asyncio.Lock()

    async def start(self) -> None:
        """Take up what is installed in this store."""
        await self.sealing.start()
        for row in await self._engine.database.read(schema_rows.installed):
            try:
                schema = schema_of(row)
            except (SchemaError, BadValueError):
                # A newer program made it: what it says of writes cannot be kept to.
                self._engine.tell("schema_unreadable", {"schema": row.name})
                continue
            known = find_schema(row.name)
            # The application has it with its functions: the same, or it has to install it anew.
            is_same = known is not None and known.data == schema.data
            self._take(known if known is not None and is_same else schema)
        for name in self.installed:
            await self.look(name)

    # Installing --------------------------------------------------------------------------------

    async def install(
        self, schema: Schema, *, migrate: bool = True, backup: Path | bool | None = None
    ) -> Json:
        """Let a schema hold for its collections, and bring their records to its version.

        Installing it again does nothing but bring up what older devices wrote since. `backup` is
        that of `Migrating.migrate`. Raises SchemaError, SchemaDriftError, and what a migration
        raises: then the schema is installed, and its records are as they were.
        """
        async with self.lock:
            return await self._install(schema, migrate, backup)

    async def _install(self, schema: Schema, migrate: bool, backup: Path | bool | None) -> Json:
        before = await self._row(schema.name)
        said = await self.news.said(schema)
        self._refuse_overlap(schema)
        refuse_drift(schema, before, said)
        self.rules.require_known(schema)
        at = await self._at(schema, said) if before is None else before.at_version
        was = None if before is None else schema_of(before)
        row = Installed(
            schema.name,
            json.dumps(schema.data, sort_keys=True),
            at,
            0 if before is None else before.change_no,
            None if before is None else before.running,
            self._engine.clock.wall_ms() if before is None else before.installed_ms,
        )
        is_new = before is None or json.loads(before.definition) != schema.data
        await self._declare(schema, was if is_new else schema)
        rules: Json = {"said": [], "left": [], "for_an_admin": []}
        if is_new:  # Once: what a person changes of them later stays so.
            rules = await self.rules.say(schema, was)
            await self.save(row, "installed", {"version": schema.version, "at": at})
        self._take(schema)
        if is_new:
            self._engine.tell("schema_installed", _told(schema))
        done = None
        if migrate and (at < schema.version or row.running):
            done = await self.migrating.migrate(schema.name, backup=backup)
        else:
            await self.news.announce(schema, at)
            await self.late.catch_up(schema.name)
        shown = await self.row(schema.name)
        return {**shown, "rules": rules, "migrated": done}

    async def uninstall(self, name: str, *, records: bool = False) -> Json:
        """Let a schema hold no more: declarations and rules go, records stay unless `records`.

        Raises NoSchemaError, StorageError.
        """
        async with self.lock:
            return await self._uninstall(self.named(name), records)

    async def _uninstall(self, schema: Schema, records: bool) -> Json:
        name = schema.name
        deleted = await self._delete_records(schema) if records else 0
        await self._undeclare(schema, schema.collections)
        rules = await self.rules.take_back(schema)
        await self.news.withdraw(schema)
        done = self._done(name, "removed", {"version": schema.version, "deleted": deleted})

        def job(conn: Any) -> None:
            schema_rows.remove(conn, name)
            schema_rows.add_history(conn, done)

        await self._engine.database.write(job)
        del self.installed[name]
        self.late.forget(name)
        self._engine.tell("schema_removed", _told(schema))
        return {"name": name, "deleted": deleted, "rules": rules}

    async def migrate(
        self, name: str, to: int | None = None, *, backup: Path | bool | None = None
    ) -> Json:
        """`Migrating.migrate`, one at a time."""
        async with self.lock:
            return await self.migrating.migrate(name, to, backup=backup)

    # Looking -----------------------------------------------------------------------------------

    def named(self, name: str) -> Schema:
        """An installed schema. Raises NoSchemaError."""
        if name not in self.installed:
            raise NoSchemaError(f"no schema {name!a:.66} here: `covey schema list` shows them")
        return self.installed[name]

    def encrypted(self, database: str, collection: str) -> tuple[str, ...]:
        """The fields of a collection that are encrypted."""
        schema = self.fitting.schemas.get((database, collection))
        return () if schema is None else schema.encrypted

    def opened(self, database: str, collection: str, value: Json) -> Json:
        """The fields of a record with those opened that are encrypted, if this device can."""
        place, schema = (database, collection), self.fitting.schemas.get((database, collection))
        return value if schema is None else self.sealing.opened(schema, place, value)

    async def rows(self) -> list[Json]:
        """What is installed, by priority and name."""
        order = sorted(self.installed.values(), key=lambda one: (one.priority, one.name))
        return [await self.row(schema.name) for schema in order]

    async def row(self, name: str) -> Json:
        """A schema as `covey schema list` shows it."""
        schema, row = self.named(name), await self.stored(name)
        devices = await self.look(name)
        return {
            **{key: schema.data[key] for key in ("name", "kind", "priority", "version")},
            "database": schema.database,
            "collections": sorted(schema.collections),
            "at": row.at_version,
            "running": None if row.running is None else json.loads(row.running)["step"],
            "devices": devices,
        }

    async def look(self, name: str) -> list[Json]:
        """What other devices have of a schema; a newer version is told in the log, once."""
        return await self.news.look(self.named(name))

    async def newer(self) -> list[Json]:
        """The schemas of which another device has a newer version, for `status`."""
        found = []
        for name, schema in sorted(self.installed.items()):
            newer = [one for one in await self.look(name) if one["version"] > schema.version]
            if newer:
                version = max(one["version"] for one in newer)
                ours = {"schema": name, "database": schema.database, "ours": schema.version}
                found.append({**ours, "newest": version, "devices": [n["name"] for n in newer]})
        return found

    async def check(self, database: str, limit: int) -> Json:
        """The records of a database that do not fit: where and why, without their content."""
        faults: list[Json] = []
        looked = 0
        for name, schema in sorted(self.fitting.schemas.items()):
            if name[0] != database:
                continue
            async for found in self.pages(database, name[1]):
                looked += 1
                for field, why in self._faults(name, schema, found.value):
                    row = {"collection": name[1], "id": found.id, "field": field, "why": why}
                    faults.append(row)
                if len(faults) >= limit:
                    return {"records": looked, "faults": faults[:limit], "more": True}
        return {"records": looked, "faults": faults, "more": False}

    async def history(self, name: str | None, limit: int) -> list[Json]:
        """What was done with schemas on this device, the newest first."""
        rows = await self._engine.database.read(lambda conn: schema_rows.history(conn, name, limit))
        return [
            {
                "time": iso_time(row.time_ms),
                "schema": row.name,
                "action": row.action,
                **json.loads(row.detail),
            }
            for row in rows
        ]

    # For `Migrating` ---------------------------------------------------------------------------

    async def pages(self, database: str, collection: str, after: str | None = None) -> Any:
        """The records of a collection in order of id; of twins the one that is shown."""
        position = None if after is None else Position(collection, after, 255, -1)
        last = after
        while True:
            rows = await self._engine.database.read(
                lambda conn, p=position: record_queries.list_records(  # type: ignore[misc]
                    conn, database, collection, p, PAGE_RECORDS
                )
            )
            for row in rows:
                if row.id != last:
                    yield row
                last = row.id
            if len(rows) < PAGE_RECORDS:
                return
            end = rows[-1]
            position = Position(end.collection, end.id, end.privacy, end.bucket)

    async def save(self, row: Installed, action: str, detail: Mapping[str, Any]) -> None:
        """Keep what is known of a schema, with a line of history if an action is named."""
        done = self._done(row.name, action, detail)

        def job(conn: Any) -> None:
            schema_rows.put(conn, row)
            if action:
                schema_rows.add_history(conn, done)

        await self._engine.database.write(job)

    async def stored(self, name: str) -> Installed:
        """The row of an installed schema. Raises NoSchemaError."""
        self.named(name)
        row = await self._row(name)
        assert row is not None, "what is installed has a row"
        return row

    # Parts of these ----------------------------------------------------------------------------

    async def _row(self, name: str) -> Installed | None:
        return await self._engine.database.read(lambda conn: schema_rows.get(conn, name))

    def _done(self, name: str, action: str, detail: Mapping[str, Any]) -> Done:
        text = json.dumps(detail, sort_keys=True)
        return Done(self._engine.clock.wall_ms(), name, action, text)

    def _take(self, schema: Schema) -> None:
        self.installed[schema.name] = schema
        self.late.follower.start()
        for name, collection in schema.collections.items():
            self.fitting.schemas[schema.database, name] = collection

    async def _declare(self, schema: Schema, was: Schema | None) -> None:
        """Declare what a schema says. What cannot be declared leaves all as it was before."""
        done: list[str] = []
        try:
            if was is not None and was is not schema:
                await self._undeclare(was, was.collections, keep=schema)
            for name, collection in schema.collections.items():
                for declare in self.on_install:
                    await declare(schema.database, name, collection)
                done.append(name)
        except CoveyError:
            if was is not schema:
                await self._undeclare(schema, done, keep=was)
                if was is not None:
                    self._take(self.installed.get(was.name, was))
                    await self._declare(was, was)
            raise

    async def _undeclare(
        self, schema: Schema, names: Iterable[str], keep: Schema | None = None
    ) -> None:
        """Take back what a schema declared, but for what another version of it will again."""
        for name in names:
            collection = schema.collections[name]
            kept = keep is not None and keep.database == schema.database
            if kept and keep is not None and keep.collections.get(name) == collection:
                continue
            self.fitting.schemas.pop((schema.database, name), None)
            for declare in self.on_remove:
                await declare(schema.database, name, collection)

    async def _delete_records(self, schema: Schema) -> int:
        count = 0
        for name in schema.collections:
            ids = [row.id async for row in self.pages(schema.database, name)]
            for start in range(0, len(ids), PAGE_RECORDS):
                part = ids[start : start + PAGE_RECORDS]
                done = [Delete(name, id) for id in part]
                results = await self._engine.writer.write(schema.database, done)
                count += sum(result.changed for result in results)
        return count

    async def _at(self, schema: Schema, said: Mapping[str, Said]) -> int:
        """The version that the records are at, of a schema that is not installed.

        Raises SchemaDriftError where it was, and its records went through other steps.
        """
        known = kept_at(said)
        has_records = await self._has_records(schema)
        history = await self._engine.database.read(
            lambda conn: schema_rows.history(conn, schema.name, HISTORY_MAX)
        )
        applied = applied_steps(history, schema.database) if has_records else {}
        refuse_other_steps(schema, applied)
        if known is not None:
            return min(known, schema.version)
        return max(applied, default=1) if has_records else schema.version

    async def _has_records(self, schema: Schema) -> bool:
        for name in schema.collections:
            async for _ in self.pages(schema.database, name):
                return True
        return False

    def _faults(
        self, place: tuple[str, str], schema: CollectionSchema, text: str
    ) -> list[tuple[str, str]]:
        """The fields of a record that do not fit, with the reasons."""
        try:
            held = from_json(json.loads(text))
        except BadValueError:
            return [("", "holds what this version cannot read")]
        value = self.sealing.opened(schema, place, held)
        shut = [name for name in schema.encrypted if field_key_id(value.get(name))]
        found = [
            (name, why.removeprefix(": ").strip())
            for name, why in misfits(schema, value).items()
            if name not in shut
        ]
        bare = [name for name in schema.encrypted if held.get(name) is not None]
        found += [(name, "is not encrypted") for name in bare if not field_key_id(held[name])]
        return found + [(name, "is required") for name in missing(schema.fields, value)]

    def _refuse_overlap(self, schema: Schema) -> None:
        for other in self.installed.values():
            if other.name == schema.name or other.database != schema.database:
                continue
            if both := sorted(schema.collections.keys() & other.collections.keys()):
                raise SchemaError(
                    f"{schema.name}: the collection {both[0]} of {schema.database} belongs to the"
                    f" schema {other.name} already"
                )


def _told(schema: Schema) -> Json:
    return {"schema": schema.name, "version": schema.version, "database": schema.database}
