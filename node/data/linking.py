"""Linking: walks from record to record by their links, there and back, breadth first.

A walk visits each record once, however many ways lead to it, so circles end. It is bounded by a
depth and a number of records, and says if it stopped for that. A link whose record is not here is
reported too: it may be deleted, not yet synced, or never have been.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ...storage import link_rows
from ...storage.link_rows import Back, LinkField
from ...storage.link_text import Declared, Link, Target
from ...sync.errors import BadValueError
from ...sync.limits import NAME_BYTES_MAX
from ...sync.values import from_json
from ..record_requests import check_name, check_place

if TYPE_CHECKING:
    from ..engine import Engine

DEPTH_MAX = 64
RECORDS_MAX = 100_000
CHANGES_PER_JOB = 500
TARGETS_PER_JOB = 500


class Reached(NamedTuple):
    """A record on a walk: how it was first reached, and its fields; None if it is not here.

    `depth` 0 is the start, which has neither `source` nor `type`.
    """

    target: Target
    depth: int
    source: Target | None
    type: str | None
    value: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Walk:
    """All that was reached, the nearest first; `complete` is False if `limit` cut it off.

    What lies deeper than was asked for does not make it incomplete.
    """

    reached: list[Reached]
    complete: bool

    @property
    def found(self) -> list[Reached]:
        """Those that are here."""
        return [one for one in self.reached if one.value is not None]

    @property
    def dangling(self) -> list[Reached]:
        """Links to records that are not here."""
        return [one for one in self.reached if one.value is None]


class Linking:
    """The links of one engine."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def declare(
        self, database: str, collection: str, field: str, to: str, to_database: str | None = None
    ) -> bool:
        """Let the ids in a root field count as links to a collection; False if they do already.

        Of this device alone: it changes no record. Raises BadValueError, StorageError.
        """
        check_place(database, collection)
        check_name("field", field, NAME_BYTES_MAX)
        check_place(to_database or database, to)
        one = LinkField(database, collection, field, Declared(to_database or database, to))
        return await self._engine.database.write(lambda conn: link_rows.declare(conn, one))

    async def undeclare(self, database: str, collection: str, field: str) -> bool:
        """Take a declaration back; False if there is none."""
        return await self._engine.database.write(
            lambda conn: link_rows.undeclare(conn, database, collection, field)
        )

    async def declared(self) -> list[LinkField]:
        """All declared fields."""
        return await self._engine.database.read(link_rows.declared)

    async def walk(
        self,
        start: Target,
        *,
        links: Collection[str] | None = None,
        depth: int = 3,
        limit: int = 1_000,
        back: bool = False,
    ) -> Walk:
        """The records within `depth` links of `start`, and those links that lead to none.

        `links` names the types to follow, or all. `back` walks to those that link to a record;
        the first such walk reads all records once. Raises BadValueError, StorageError.
        """
        _check(start, links, depth, limit)
        if back:
            await self.caught_up()
        (first,) = await self._look([start])
        walk = [Reached(start, 0, None, None, first.value)]
        seen = {start}
        level, at = [(start, first.links)], 0
        while level and at < depth:
            at += 1
            steps: dict[Target, tuple[Target, str]] = {}
            for source, there in level:
                ways = await self._back(source, limit) if back else there
                for type_, target in ways:
                    if target not in seen and (links is None or type_ in links):
                        steps.setdefault(target, (source, type_))
            room = limit - (len(walk) - 1)
            targets = list(steps)[:room]
            seen.update(targets)
            looked = await self._look(targets)
            walk += [
                Reached(target, at, *steps[target], one.value)
                for target, one in zip(targets, looked, strict=True)
            ]
            if len(steps) > room:
                return Walk(walk, complete=False)
            level = [(t, one.links) for t, one in zip(targets, looked, strict=True)]
        return Walk(walk, complete=True)

    async def caught_up(self) -> None:
        """Take into the rows of the way back whatever changed until now."""
        database = self._engine.database
        while await database.write(lambda conn: link_rows.catch_up(conn, CHANGES_PER_JOB)):
            pass

    async def _look(self, targets: Sequence[Target]) -> list["_Seen"]:
        found = []
        for start in range(0, len(targets), TARGETS_PER_JOB):
            some = targets[start : start + TARGETS_PER_JOB]
            rows = await self._engine.database.read(lambda conn, t=some: link_rows.look(conn, t))  # type: ignore[misc]
            found += [
                _Seen(None if row.value is None else from_json(json.loads(row.value)), row.links)
                for row in rows
            ]
        return found

    async def _back(self, target: Target, limit: int) -> list[Link]:
        # One more than may be followed, so that a walk that is cut off knows it.
        rows: list[Back] = await self._engine.database.read(
            lambda conn: link_rows.back(conn, target, limit + 1)
        )
        return [Link(row.type, row.source) for row in rows]


class _Seen(NamedTuple):
    value: dict[str, Any] | None
    links: list[Link]


def _check(start: Target, links: Collection[str] | None, depth: int, limit: int) -> None:
    check_place(*start)
    if isinstance(links, str):
        raise BadValueError("links: a list of types was expected, not one text")
    if type(depth) is not int or not 0 <= depth <= DEPTH_MAX:
        raise BadValueError(f"depth: a number from 0 to {DEPTH_MAX} was expected")
    if type(limit) is not int or not 0 < limit <= RECORDS_MAX:
        raise BadValueError(f"limit: a number from 1 to {RECORDS_MAX:,} was expected")
