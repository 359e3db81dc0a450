"""Migrating: the records of a schema brought from one version to another, step by step.

Before a step writes anything it is tried on every record, so a function that fails on the last one
changes none. What fits one transaction is one change set, together with the news of it for other
devices (`schema_news.py`): a crash leaves the old version or the new one. A larger step goes in
slices, remembers how far it came, and goes on there; since a step leaves alone what is new already,
doing some of it twice does no harm. A backup is made before, where this home can make one.

Records that an older device writes later are found by the feed of changes, and brought up when the
schema is installed again (at each start of the application) or a person migrates.

Only what a function changes is written, as the change of a field (`Put.remake`), so edits of other
fields made at the same time merge, and no conflict is decided by it.
"""

import json
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...storage import feed_rows
from ...storage.backup_file import BackupExistsError
from ...storage.schema_rows import Installed
from ...storage.store import Conn
from ...sync.errors import BadValueError
from ...sync.values import BlobRef, from_json, to_plain
from ..mesh_view import NotEntitledError
from ..parameters import Json
from ..record_requests import Put
from .reading import SchemaError
from .schema import Schema
from .schema_news import COLLECTION, taken_down
from .steps import MigrationError, Remake, advance, composed

if TYPE_CHECKING:
    from ..engine import Engine
    from .schemas import Schemas

SLICE_RECORDS = 2_000
SLICE_BYTES = 400_000
"""Of the JSON of the records changed; an entry holds more than twice as much."""
FEED_PAGE = 500
BACKUPS_MAX = 100

Functions = Mapping[str, Remake]
"""What is done to the records of each collection."""


class _Running(NamedTuple):
    """A step that is under way: everything up to (collection, id) is done."""

    step: int
    is_up: bool
    collection: str
    id: str


class Migrating:
    """Carries out the steps of schemas on one engine."""

    def __init__(self, engine: "Engine", schemas: "Schemas") -> None:
        self._engine = engine
        self._schemas = schemas

    async def migrate(
        self, name: str, to: int | None = None, *, backup: Path | bool | None = None
    ) -> Json:
        """Bring the records of a schema to a version, up or down; to its own if none is named.

        `backup` is where to make the backup before: beside the home if it is not said, none if it
        is False. Records that are at that version already are looked at once more: an older device
        may have written since. `{"from", "to", "steps": [{"step", "changed"}], "caught_up",
        "backup"}`.

        Raises NoSchemaError, SchemaError where a step has no function for this way, MigrationError,
        StorageError. A step that fails before it wrote anything has changed nothing; one that was
        cut off is gone on with by the next `migrate`.
        """
        schema, row = self._schemas.named(name), await self._schemas.stored(name)
        target = schema.version if to is None else to
        if not 1 <= target <= schema.version:
            raise SchemaError(f"{name}: no version {target}; there are 1 to {schema.version}")
        plan = _plan(schema, row, target)
        work = [(number, is_up, _functions(schema, [number], is_up)) for number, is_up in plan]
        file = await self._back_up(row, target, backup) if work else None
        done = [
            {"step": number, "changed": await self._step(schema, number, is_up, functions, file)}
            for number, is_up, functions in work
        ]
        caught_up = 0 if work else await self._sweep(schema, target)
        if row.at_version != target:
            await self._arrive(schema, target, row.at_version)
            changed = sum(one["changed"] for one in done)
            told = {"schema": name, "from": row.at_version, "to": target, "changed": changed}
            self._engine.tell("schema_migrated", told)
        return {
            "from": row.at_version,
            "to": target,
            "steps": done,
            "caught_up": caught_up,
            "backup": file,
        }

    async def catch_up(self, name: str) -> int:
        """Bring up what older devices wrote since; how many records that were.

        Nothing is done where the functions are not here, a step is under way, or another device has
        taken the records down since: to bring them up again is for a person to decide.
        """
        schema, row = self._schemas.named(name), await self._schemas.stored(name)
        said = await self._schemas.news.said(schema)
        ours = said.get(self._schemas.news.us)
        since = "" if ours is None else ours.time
        if row.running is not None or taken_down(said, row.at_version, since) is not None:
            return 0
        try:
            functions = _functions(schema, schema.between(1, row.at_version), True)
        except SchemaError:
            return 0  # The application has them; it catches up when it starts.
        changed, after = 0, row.change_no
        end = await self._engine.database.read(feed_rows.last_change)
        while functions and after < end:
            after, found = await self._engine.database.read(
                partial(_feed, schema, sorted(functions), after)
            )
            puts = self._puts(functions, found)
            changed += await self._write(schema, [put for put, _ in puts])
        if max(after, end) != row.change_no:
            action = "caught up" if changed else ""
            row = row._replace(change_no=max(after, end))
            await self._schemas.save(row, action, {"changed": changed})
        return changed

    # Steps -------------------------------------------------------------------------------------

    async def _step(
        self, schema: Schema, number: int, is_up: bool, functions: Functions, backup: str | None
    ) -> int:
        """Carry out one step; how many records it changed. It is tried on all of them first."""
        row = await self._schemas.stored(schema.name)
        end = await self._engine.database.read(feed_rows.last_change)
        running = _running(row)
        after = running if running and running[:2] == (number, is_up) else None
        async for each in self._changing(schema, functions, after):
            _require_storable(*each)
        changed, puts, size = 0, list[Put](), 0
        async for put, value in self._changing(schema, functions, after):
            length = len(json.dumps(value, ensure_ascii=False, default=str).encode())
            if puts and (len(puts) >= SLICE_RECORDS or size + length > SLICE_BYTES):
                if row.running is None:
                    row = await self._reached(row, _Running(number, is_up, "", ""))
                changed += await self._write(schema, puts)
                last = puts[-1]
                mark = _Running(number, is_up, last.collection, str(last.id))
                row, puts, size = await self._reached(row, mark), [], 0
            puts.append(put)
            size += length
        at = number if is_up else number - 1
        down = 0 if is_up else number
        changed += await self._write_with_news(schema, puts, at, down)
        way = "up" if is_up else "down"
        detail = {"step": number, "changed": changed, "checksum": schema.steps[number]}
        row = row._replace(at_version=at, running=None, change_no=end)
        await self._schemas.save(row, way, detail | ({"backup": backup} if backup else {}))
        return changed

    async def _reached(self, row: Installed, mark: _Running) -> Installed:
        """Remember how far a step came."""
        row = row._replace(running=json.dumps(mark._asdict()))
        await self._schemas.save(row, "", {})
        return row

    async def _sweep(self, schema: Schema, at: int) -> int:
        """Bring up whatever is not at a version, all records looked at. Down is never swept."""
        functions = _functions(schema, schema.between(1, at), True)
        row = await self._schemas.stored(schema.name)
        changed, puts = 0, list[Put]()
        async for put, _ in self._changing(schema, functions, None):
            puts.append(put)
            if len(puts) >= FEED_PAGE:
                changed += await self._write(schema, puts)
                puts = []
        changed += await self._write_with_news(schema, puts, at, 0)
        if changed:
            await self._schemas.save(row, "caught up", {"changed": changed})
        return changed

    async def _arrive(self, schema: Schema, target: int, was: int) -> None:
        """Versions between which there is no step are passed by saying so."""
        row = await self._schemas.stored(schema.name)
        if row.at_version != target:
            detail = {"from": row.at_version, "to": target, "changed": 0}
            way = "up" if target > was else "down"
            await self._schemas.save(row._replace(at_version=target), way, detail)
            await self._schemas.news.announce(schema, target, was if target < was else 0)

    # Parts of these ----------------------------------------------------------------------------

    async def _changing(
        self, schema: Schema, functions: Functions, after: _Running | None
    ) -> AsyncIterator[tuple[Put, dict[str, Any]]]:
        """The records that would be changed, with what they would be, in order."""
        for collection in sorted(functions):
            if after is not None and collection < after.collection:
                continue
            start = after.id if after is not None and collection == after.collection else None
            async for row in self._schemas.pages(schema.database, collection, start):
                for found in self._puts(functions, [(collection, row.id, row.value)]):
                    yield found

    def _puts(
        self, functions: Functions, rows: list[tuple[str, str, str]]
    ) -> list[tuple[Put, dict[str, Any]]]:
        found = []
        for collection, id, text in rows:
            try:
                value = from_json(json.loads(text))
            except BadValueError:
                continue  # Another program wrote it; it stays as it is, and `check` lists it.
            remake = partial(advance, functions[collection], place=f"{collection}/{id}")
            made = remake(value)
            if made is not None:
                found.append((Put(collection, id, {}, None, False, remake=remake), made))
        return found

    async def _write(self, schema: Schema, puts: list[Put]) -> int:
        if not puts:
            return 0
        try:
            results = await self._engine.writer.write(schema.database, puts)
        except BadValueError as error:
            raise MigrationError(f"{schema.name}: {error}") from None
        written = zip(puts, results, strict=True)
        return sum(done.changed for put, done in written if put.collection != COLLECTION)

    async def _write_with_news(self, schema: Schema, puts: list[Put], at: int, down: int) -> int:
        """The last slice of a step, in one transaction with what other devices are told."""
        try:
            return await self._write(
                schema, [*puts, self._schemas.news.announcement(schema, at, down)]
            )
        except NotEntitledError:
            # This device may not write at the level of the news; the records may be at another.
            return await self._write(schema, puts)

    async def _back_up(self, row: Installed, target: int, backup: Path | bool | None) -> str | None:
        """Make the backup before a migration; where it is. One that was cut off has its own."""
        if backup is False or self._engine.back_up is None or row.running is not None:
            return None
        home = self._engine.place
        stem = f"{home.name}.before-{row.name}-{row.at_version}-to-{target}"
        places = [backup] if isinstance(backup, Path) else [home.with_name(f"{stem}.backup")]
        if not isinstance(backup, Path):
            places += [home.with_name(f"{stem}-{n}.backup") for n in range(2, BACKUPS_MAX)]
        for place in places:
            try:
                made = await self._engine.back_up(place, False)
            except BackupExistsError:
                if place is places[-1]:
                    raise
                continue
            return str(made["file"])
        raise AssertionError("there is at least one place")


def _plan(schema: Schema, row: Installed, target: int) -> list[tuple[int, bool]]:
    """The steps to a version, in order, each with whether it goes up.

    While a step is under way some records are on either side of it, so it counts for both ways.
    """
    running = _running(row)
    low = row.at_version if running is None else min(row.at_version, running.step - 1)
    high = row.at_version if running is None else max(row.at_version, running.step)
    if target >= high:
        return [(number, True) for number in schema.between(low, target)]
    return [(number, False) for number in reversed(schema.between(target, high))]


def _running(row: Installed) -> _Running | None:
    return None if row.running is None else _Running(**json.loads(row.running))


def _functions(schema: Schema, numbers: list[int], is_up: bool) -> Functions:
    """What these steps do to each collection. Raises SchemaError where that is not known here."""
    found: dict[str, list[Remake]] = {}
    for number in numbers:
        parts = schema.parts(number)
        for part in parts if is_up else reversed(parts):
            function = part.up if is_up else part.down
            if function is None and part.up is None:
                raise SchemaError(
                    f"{schema.name}: the functions of step {number} are not here: the application"
                    " has them, and migrates when it installs the schema"
                )
            if function is None:
                raise SchemaError(f"{schema.name}: step {number} has no way back")
            found.setdefault(part.collection, []).append(function)
    return {collection: composed(functions) for collection, functions in found.items()}


def _feed(
    schema: Schema, collections: list[str], after: int, conn: Conn
) -> tuple[int, list[tuple[str, str, str]]]:
    """The next changes of these collections, and how far they reach."""
    names = {
        number: collection
        for collection in collections
        for number in feed_rows.numbers_of(conn, schema.database, collection)
    }
    page = feed_rows.changes(conn, after, list(names), FEED_PAGE)
    found: dict[tuple[str, str], str] = {}
    for mark in page.marks:
        if mark.coll_no is not None and mark.id is not None and mark.value is not None:
            found[names[mark.coll_no], mark.id] = mark.value
    return page.reached, [(*key, value) for key, value in found.items()]


def _require_storable(put: Put, made: dict[str, Any]) -> None:
    try:
        to_plain(_without_blobs(made))
    except (BadValueError, RecursionError) as error:
        raise MigrationError(f"{put.collection}/{put.id}: {error}") from None


def _without_blobs(value: Any) -> Any:
    """Blobs get their manifests only when they are written."""
    if type(value) is dict:
        return {name: _without_blobs(item) for name, item in value.items()}
    if type(value) is list:
        return [_without_blobs(item) for item in value]
    return None if isinstance(value, BlobRef) else value
