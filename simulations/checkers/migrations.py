"""I31: a migration is done or it is not, and costs nobody a word.

When a process died in a migration, the records that it wrote last and those that it left alone have
to be at one version of the schema: each step is one transaction. At rest every page still says
what the only device that writes to it said last, under the one name or the other; also where
another device, of another version, changed it meanwhile.
"""

import json
from typing import ClassVar

from ...node.inbox import PAGE_MAX
from ...storage.conflict_rows import ConflictState
from ...sync.values import from_json
from ..data_log import Entry, Held, Migrating, held
from ..data_shapes import NAME, PAGES, TITLE, VERSIONS, migrated
from ..sim_device import SimDevice
from .checker import Checker

EXCUSED = ("policy", "window", "put-back")
"""Doings after which a device may not have what it wrote: a whole machine that was set back has no
other instance, and what nobody had heard of is gone."""
_FORMS = range(VERSIONS)


class MigrationChecker(Checker):
    """Looks at what a crash left of a migration, and for every title at the end."""

    claims: ClassVar[dict[str, str]] = {
        "I31": "a migration is whole or not at all, and no version loses what another wrote",
    }

    def at_start(self, device: SimDevice) -> None:
        begun = self.run.data.migrating.pop(device.name, None)
        if begun is None or begun.process is device.process:
            return
        if device.name in self.run.spoiled or self.run.done["put-back"]:
            return
        self._judge(device, begun)

    def _judge(self, device: SimDevice, begun: Migrating) -> None:
        """What our log wrote since and what nobody touched have one version in common."""
        now = {row.record_no: row for row in held(device, begun.database, PAGES)}
        logs = {log.number for log in device.engine.ledger.logs() if self._is_ours(device, log)}
        possible, touched = set(_FORMS), False
        for row in begun.before:
            after = now.get(row.record_no)
            if after is None:
                continue
            untouched = (after.log_no, after.seq) == (row.log_no, row.seq)
            if untouched or after.log_no in logs:
                forms = _forms(row, after)
                if not forms and not untouched:
                    continue  # Something else was written to it as well.
                possible &= forms
                touched = touched or not untouched
        if touched and not possible:
            told = f"a migration of {begun.database} to version {begun.version} is done in part"
            self.violate("I31", device.name, told)

    @staticmethod
    def _is_ours(device: SimDevice, log: object) -> bool:
        return getattr(log, "instance", None) == device.engine.instance

    async def at_rest(self) -> None:
        if any(self.run.done[do] for do in EXCUSED):
            return
        last: dict[tuple[str, str, str], list[Entry]] = {}
        for entry in self.run.data.entries:
            if entry.collection == PAGES:
                last.setdefault((entry.device, entry.database, entry.id), []).append(entry)
        for device in self.sound():
            told = [entries for (name, *_), entries in sorted(last.items()) if name == device.name]
            if told:
                await self._look(device, told)

    async def _look(self, device: SimDevice, told: list[list[Entry]]) -> None:
        there = {
            (database, row.id): json.loads(row.value)
            for database in sorted({entries[0].database for entries in told})
            for row in held(device, database, PAGES)
        }
        bodies = [
            (found.database, found.id, found.body)
            for found in await device.engine.inbox.page(tuple(ConflictState), limit=PAGE_MAX)
            if found.collection == PAGES
        ]
        for entries in told:
            first, possible = entries[0], _possible(entries, device.engine.instance)
            # Where records are taken down while the new name is written, or what was renamed apart
            # is decided by a clock that is years ahead, nobody can say which of the two is newer.
            is_unclear = self.run.done["migrate-schema"] and (
                self.run.done["set-wall"] > 0 or any(e.field == NAME for e in entries)
            )
            if not possible or is_unclear:
                continue
            value = there.get((first.database, first.id), {})
            shown = {value.get(TITLE), value.get(NAME)}
            disputed = [
                b for database, id, b in bodies if (database, id) == (first.database, first.id)
            ]
            if not any(
                text in shown or any(text in body for body in disputed) for text in possible
            ):
                self.violate("I31", device.name, f"{first.id} lost what was written to it last")


def _possible(entries: list[Entry], instance: bytes) -> list[str]:
    """The last text that was acknowledged, and those after it that may have been written."""
    done = [at for at, entry in enumerate(entries) if entry.done_ms is not None]
    if not done or any(entry.instance != instance for entry in entries):
        return []
    return [entry.text for entry in entries[done[-1] :]]


def _forms(before: Held, after: Held) -> set[int]:
    """How many steps up may have made of a record what it is now."""
    was, now = from_json(json.loads(before.value)), from_json(json.loads(after.value))
    return {steps for steps in _FORMS if migrated(was, steps) == now}
