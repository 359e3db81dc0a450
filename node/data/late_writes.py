"""Late writes: what devices on an older version of a schema write is brought up soon after it came.

A `Follower` looks when records have changed, after the entries are durable, and goes through the
feed of changes from where it was, page by page. What it does to a record is what a migration
does (`Put.remake`): a function of the record alone that leaves alone what is new already, so two
devices that both do it come to the same. The first of those that can waits least, so mostly there
is one write and not one for each device.

Nothing is brought up where that is not ours to do:

- the functions of a step are not here, or a step is under way;
- a device keeps the records at a higher version: it brings them up further, and what we would do to
  records that it has brought up already it would undo;
- a device has taken the records down since, or applied another step under a number of ours;
- of its own accord, where this device does not read and write the news (`schema_news.py`), because
  it would not hear of any of these.

Still two devices may not agree, as long as the news is on its way. So what was brought up
`TIMES_MAX` times and came back the same each time stays as it is until the next start.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ... import CoveyError
from ...storage import feed_rows
from ...storage.errors import StorageError
from ...storage.schema_rows import Installed
from ...storage.store import Conn
from ..record_requests import Put
from .following import Follower
from .reading import SchemaError
from .remaking import Functions, Made, functions_of, made_of, require_storable, slices
from .schema import Schema
from .schema_news import Said, other_step, taken_down
from .steps import MigrationError, digest

if TYPE_CHECKING:
    from ..engine import Engine
    from .schemas import Schemas

FEED_PAGE = 100
"""Changes that are looked at without a pause: a few thousandths of a second."""
SAVED_EVERY = 500
"""Changes after which a look that found nothing to do is remembered over a restart."""
LOOK_MS = 2_000
"""After a change, and up to as long again. Those who are not the first wait as long for each who is
before them."""
CHANCE_BYTES = 4
TIMES_MAX = 3
REMEMBERED_MAX = 50_000
"""Records of which it is known how often they were brought up; the oldest are forgotten."""

Change = tuple[str, str, str]
"""Collection, id and JSON of a record."""


class _Work(NamedTuple):
    """What there is to do for one schema: the functions of each collection."""

    schema: Schema
    row: Installed
    functions: Functions
    is_unasked: bool


class LateWrites:
    """Brings up what came late, for the schemas of one engine."""

    def __init__(self, engine: "Engine", schemas: "Schemas") -> None:
        self._engine = engine
        self._schemas = schemas
        self._looked: dict[str, int] = {}
        self._times: dict[str, int] = {}
        self.follower = Follower(engine, "late writes", self.look, LOOK_MS)

    async def look(self) -> None:
        """Bring up what came since the last look, of all schemas. Raises StorageError."""
        before_us = 0
        for name in sorted(self._schemas.installed):
            async with self._schemas.lock:
                if name in self._schemas.installed:
                    await self.catch_up(name, is_unasked=True)
                    before_us = max(before_us, await self._before_us(name))
        # By chance as well: of two copies of one machine, which are first alike, one has to be
        # first, or both go on in one log and its entries are two.
        chance = int.from_bytes(self._engine.entropy.draw(CHANCE_BYTES)) % LOOK_MS
        self.follower.wait_ms = LOOK_MS * (1 + before_us) + chance

    async def _before_us(self, name: str) -> int:
        """How many devices that can do the same come before this one."""
        schema, row = self._schemas.named(name), await self._schemas.stored(name)
        said, us = await self._said(schema), self._schemas.news.us
        return sum(device < us and one.at == row.at_version for device, one in said.items())

    def forget(self, name: str) -> None:
        """A schema was removed: if it comes again, all is looked at again."""
        self._looked.pop(name, None)

    async def catch_up(self, name: str, *, is_unasked: bool = False) -> int:
        """Bring up what older devices wrote since; how many records that were.

        What cannot be brought up is left as it is, and counted in the history. Raises StorageError.
        """
        end = await self._engine.database.read(feed_rows.last_change)
        changed = left = 0
        # Judged anew for each page: a person may decide otherwise while there is much to do.
        while (work := await self._work(name, is_unasked)) is not None:
            after = max(work.row.change_no, self._looked.get(name, 0))
            if after >= end or not work.functions:
                # That nothing was to do is written now and then, or each look would be a write.
                self._looked[name] = after = max(after, end)
                if after - work.row.change_no >= (SAVED_EVERY if is_unasked else 1):
                    await self._schemas.save(work.row._replace(change_no=after), "", {})
                break
            after, found = await self._engine.database.read(
                partial(_feed, work.schema, sorted(work.functions), after)
            )
            done, refused = await self._bring_up(work, found)
            changed, left = changed + done, left + refused
            self._looked[name] = after
            if done or refused:
                await self._schemas.save(work.row._replace(change_no=after), "", {})
        if changed or left:
            said = {"changed": changed} | ({"left": left} if left else {})
            await self._schemas.save(await self._schemas.stored(name), "caught up", said)
        return changed

    async def _work(self, name: str, is_unasked: bool) -> _Work | None:
        """What is to be done, None if nothing is ours to do."""
        schema, row = self._schemas.named(name), await self._schemas.stored(name)
        said = await self._said(schema)
        ours = said.get(self._schemas.news.us)
        if row.running is not None or (is_unasked and ours is None):
            return None
        since = "" if ours is None else ours.time
        is_ours = (
            all(one.at <= row.at_version for one in said.values())
            and taken_down(said, row.at_version, since) is None
            and other_step(schema, said) is None
        )
        if not is_ours:
            return None
        try:
            functions = functions_of(schema, schema.between(1, row.at_version), True)
        except SchemaError:
            return None  # The application has them; it catches up when it starts.
        return _Work(schema, row, functions, is_unasked)

    async def _said(self, schema: Schema) -> dict[str, Said]:
        """What the devices say that belong to the mesh now: others will do nothing any more."""
        devices = self._engine.mesh.registry.devices.values()
        active = {self._engine.shown_id(one.sig_pk) for one in devices if one.active}
        said = await self._schemas.news.said(schema)
        return {device: one for device, one in said.items() if device in active}

    # Records -----------------------------------------------------------------------------------

    async def _bring_up(self, work: _Work, found: Iterable[Change]) -> tuple[int, int]:
        """How many records were changed, and how many cannot be."""
        wanted, left = list[Made](), 0
        for collection, id, text in found:
            try:
                made = made_of(work.functions[collection], collection, id, text)
                if made is not None:
                    require_storable(made)
            except MigrationError:
                left += 1
                continue
            if made is not None and not (work.is_unasked and self._is_worn(collection, id, text)):
                wanted.append(made)
        changed = 0
        for puts in slices(wanted):
            done, refused = await self._write(work.schema, puts)
            changed, left = changed + done, left + refused
        return changed, left

    async def _write(self, schema: Schema, puts: Sequence[Put]) -> tuple[int, int]:
        try:
            results = await self._engine.writer.write(schema.database, puts)
        except StorageError:
            raise
        except CoveyError:
            if len(puts) == 1:
                return 0, 1
            # One that this device may not write must not keep the others from being written.
            done = [await self._write(schema, [put]) for put in puts]
            return sum(one[0] for one in done), sum(one[1] for one in done)
        return sum(one.changed for one in results), 0

    def _is_worn(self, collection: str, id: str, text: str) -> bool:
        """Whether a record came back as it was too often. Counts this time."""
        key = digest([collection, id, text])
        times = self._times.pop(key, 0) + 1
        self._times[key] = times
        while len(self._times) > REMEMBERED_MAX:
            del self._times[next(iter(self._times))]
        return times > TIMES_MAX


def _feed(
    schema: Schema, collections: list[str], after: int, conn: Conn
) -> tuple[int, list[Change]]:
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
