"""Migrating: the records of a schema brought from one version to another, step by step.

Before a step writes anything it is tried on every record, so a function that fails on the last one
changes none. What fits one transaction is one change set, together with the news of it for other
devices (`schema_news.py`): a crash leaves the old version or the new one. A larger step goes in
slices, remembers how far it came, and goes on there; since a step leaves alone what is new already,
doing some of it twice does no harm. A backup is made before, where this home can make one.

A step up does to each record what all steps up to it do, since an older device may have written
it meanwhile: what is new already they leave alone. What such a device writes later is for
`late_writes.py`, or for a person who migrates.
"""

import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...storage import feed_rows
from ...storage.backup_file import BackupExistsError
from ...storage.schema_rows import Installed
from ...sync.errors import BadValueError
from ..mesh_view import NotEntitledError
from ..parameters import Json
from ..record_requests import Put
from .reading import SchemaError
from .remaking import Functions, Made, Slice, functions_of, made_of, require_storable, slices
from .schema import Schema
from .schema_news import COLLECTION
from .steps import MigrationError

if TYPE_CHECKING:
    from ..engine import Engine
    from .schemas import Schemas

SWEPT_AT_ONCE = 500
BACKUPS_MAX = 100


class _Running(NamedTuple):
    """A step that is under way: everything up to (collection, id) is done."""

    step: int
    is_up: bool
    collection: str
    id: str
    looked: int = 0
    """The last change when it began: what came later is looked at again (`late_writes.py`)."""


class _Work(NamedTuple):
    """A step that is to be done. `is_whole`: with all that late writes need before it."""

    number: int
    is_up: bool
    functions: Functions
    is_whole: bool


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
        is False. What an older device wrote since is brought up where the records are at that
        version already, and also before they go down: on that way the newer of two names counts.
        `{"from", "to", "steps": [{"step", "changed"}], "caught_up", "backup"}`.

        Raises NoSchemaError, SchemaError where a step has no function for this way, MigrationError,
        StorageError. A step that fails before it wrote anything has changed nothing; one that was
        cut off is gone on with by the next `migrate`.
        """
        schema, row = self._schemas.named(name), await self._schemas.stored(name)
        target = schema.version if to is None else to
        if not 1 <= target <= schema.version:
            raise SchemaError(f"{name}: no version {target}; there are 1 to {schema.version}")
        plan = _plan(schema, row, target)
        work = [_work(schema, number, is_up) for number, is_up in plan]
        file = await self._back_up(row, target, backup) if work else None
        looked = await self._engine.database.read(feed_rows.last_change)
        caught_up = 0
        if not work or (target < row.at_version and row.running is None):
            caught_up = await self._sweep(schema, target if work else 1, row.at_version)
        done = [
            {"step": step.number, "changed": await self._step(schema, step, looked, file)}
            for step in work
        ]
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

    # Steps -------------------------------------------------------------------------------------

    async def _step(self, schema: Schema, step: _Work, looked: int, backup: str | None) -> int:
        """Carry out one step; how many records it changed. It is tried on all of them first."""
        number, is_up, functions, is_whole = step
        row = await self._schemas.stored(schema.name)
        running = _running(row)
        after = running if running and running[:2] == (number, is_up) else None
        looked = looked if after is None else after.looked
        async for each in self._changing(schema, functions, after):
            require_storable(each)
        at = number if is_up else number - 1
        # Of several steps down the first counts: from there others would bring the records up.
        down = 0 if is_up else max(number, await self._schemas.news.taken_down_from(schema))
        changed, piece = 0, Slice()
        async for made in self._changing(schema, functions, after):
            if piece.takes(made):
                continue
            if row.running is None:
                row = await self._reached(row, _Running(number, is_up, "", "", looked))
            # The way down is told before it is over, or another device would undo it meanwhile.
            write = self._write if is_up else partial(self._write_with_news, at=at, down=down)
            changed += await write(schema, piece.puts)
            last = piece.puts[-1]
            mark = _Running(number, is_up, last.collection, str(last.id), looked)
            row, piece = await self._reached(row, mark), Slice(made)
        changed += await self._write_with_news(schema, piece.puts, at=at, down=down)
        way = "up" if is_up else "down"
        detail = {"step": number, "changed": changed, "checksum": schema.steps[number]}
        detail["database"] = schema.database
        row = row._replace(at_version=at, running=None)
        if is_whole:
            row = row._replace(change_no=max(looked, row.change_no))
        await self._schemas.save(row, way, detail | ({"backup": backup} if backup else {}))
        return changed

    async def _reached(self, row: Installed, mark: _Running) -> Installed:
        """Remember how far a step came."""
        row = row._replace(running=json.dumps(mark._asdict()))
        await self._schemas.save(row, "", {})
        return row

    async def _sweep(self, schema: Schema, low: int, at: int) -> int:
        """Bring up what is at a version from `low` on and not at `at`, all records looked at."""
        functions, _ = _all_up(schema, low, at)
        row = await self._schemas.stored(schema.name)
        changed, held = 0, list[Made]()
        async for made in self._changing(schema, functions, None):
            held.append(made)
            if len(held) >= SWEPT_AT_ONCE:
                for puts in slices(held):
                    changed += await self._write(schema, puts)
                held = []
        for puts in slices(held):
            changed += await self._write(schema, puts)
        changed += await self._write_with_news(schema, [], at=at, down=0)
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
            from_ = max(was, await self._schemas.news.taken_down_from(schema))
            await self._schemas.news.announce(schema, target, from_ if target < was else 0)

    # Parts of these ----------------------------------------------------------------------------

    async def _changing(
        self, schema: Schema, functions: Functions, after: _Running | None
    ) -> AsyncIterator[Made]:
        """The records that would be changed, with what they would be, in order."""
        for collection in sorted(functions):
            if after is not None and collection < after.collection:
                continue
            start = after.id if after is not None and collection == after.collection else None
            async for row in self._schemas.pages(schema.database, collection, start):
                made = made_of(functions[collection], collection, row.id, row.value)
                if made is not None:
                    yield made

    async def _write(self, schema: Schema, puts: list[Put]) -> int:
        if not puts:
            return 0
        try:
            results = await self._engine.writer.write(schema.database, puts)
        except BadValueError as error:
            raise MigrationError(f"{schema.name}: {error}") from None
        written = zip(puts, results, strict=True)
        return sum(done.changed for put, done in written if put.collection != COLLECTION)

    async def _write_with_news(self, schema: Schema, puts: list[Put], *, at: int, down: int) -> int:
        """A slice of a step, in one transaction with what other devices are told."""
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


def _work(schema: Schema, number: int, is_up: bool) -> _Work:
    """A step with its functions. Raises SchemaError where it has none for this way."""
    up, is_whole = _all_up(schema, number - 1, number)
    down = None if is_up else functions_of(schema, [number], False)
    return _Work(number, is_up, up if down is None else down, is_whole)


def _all_up(schema: Schema, low: int, at: int) -> tuple[Functions, bool]:
    """What brings a record of any version to `at`, and that it does.

    Where functions of steps up to `low` are not here, what brings one up from `low`, and False.
    Raises SchemaError if not even those are.
    """
    try:
        return functions_of(schema, schema.between(1, at), True), True
    except SchemaError:
        return functions_of(schema, schema.between(low, at), True), False


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
