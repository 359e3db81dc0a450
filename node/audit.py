"""Audit: what happened, told to whoever listens and kept in the log of this device.

Every sync and trust operation is an event: a kind, and a detail of numbers, ids and names of
devices and databases; never content of a record (`wording.py` turns both into words). The log is
chained and bounded (`storage/event_rows.py`); it is written with the notes, so that events
cost no commit of their own.

Some things happen as often as another device likes. Of these (`FREQUENT`, and whatever is given to
`tally`) the log gets at most one event a minute for each kind and device: what came sooner
is put together into one, with `times`, `first` and `last`. Whoever reads the log gets what is still
being put together written first. A crash loses what was not written yet.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..storage import event_rows
from ..storage.event_rows import ChainCheck, Retention
from ..storage.store import Store
from .alarm import Alarm
from .happenings import Board, NodeEvent
from .notes import Note, Notes
from .ports import Clock
from .times import iso_time

Detail = dict[str, Any]
Key = tuple[str, str]

GATHER_MS = 60_000
TOGETHER_MS = 20_000
"""How long what is due waits for others that soon will be, to be written in one commit."""
NAMES_MAX = 32
"""A list in a detail that was put together holds no more; `more` says that there were others."""
SUBJECTS_MAX = 4_096
"""Kinds and devices of which it is remembered when the log last heard of them."""
FREQUENT = frozenset({"connected", "disconnected"})
BOARD_ONLY = frozenset({"in_sync", "conflict"})
"""Told to listeners at once; the log has them summed up (`traffic.py`, `outcomes.py`)."""


@dataclass(slots=True)
class _Gathered:
    """What came of one kind and device since the log last heard of it."""

    due_ms: int
    detail: Detail
    times: int
    first_ms: int
    last_ms: int
    is_told: bool
    """Whether listeners have been told each already."""


class Audit:
    """The events of one node. Owned by the engine."""

    def __init__(self, database: Store, notes: Notes, board: Board, clock: Clock) -> None:
        self.board = board
        self._database = database
        self._notes = notes
        self._clock = clock
        self._written_ms: dict[Key, int] = {}
        self._gathered: dict[Key, _Gathered] = {}
        self._alarm = Alarm(clock, self._due)
        self._closed = False

    def tell(self, kind: str, detail: Detail) -> None:
        """Something happened: listeners hear of it now, and the log with the next notes."""
        self.board.post(NodeEvent(kind, detail))
        if kind in FREQUENT:
            self._gather(kind, detail, is_told=True)
        elif kind not in BOARD_ONLY:
            self._write(kind, detail)

    def tally(self, kind: str, detail: Detail) -> None:
        """Something happened that may happen often: told and logged once a minute at most.

        Numbers in the detail are counts and are added up, lists are united, of others the last
        counts. It is counted by kind and `device`, or `database` if there is no device.
        """
        self._gather(kind, detail, is_told=False)

    def note_of(self, kind: str, detail: Detail) -> Note:
        """What logs an event of this moment, for a job that finds out whether there is one."""
        now_ms, text = self._clock.wall_ms(), json.dumps(detail, sort_keys=True)
        return lambda conn: event_rows.add_event(conn, now_ms, kind, text)

    async def flush(self) -> None:
        """Return when everything that happened until now is in the log."""
        self._write_gathered(lambda _: True)
        await self._notes.flush()

    async def close(self) -> None:
        """As `flush`; nothing is logged after it."""
        self._write_gathered(lambda _: True)
        self._closed = True
        await self._notes.flush()

    async def check(self, asked_no: int | None) -> ChainCheck:
        """Follow the chain of the log."""
        await self.flush()
        return await self._database.read(lambda conn: event_rows.check_chain(conn, asked_no))

    async def retention(self) -> Retention:
        """How much of the log is kept."""
        return await self._database.read(event_rows.retention)

    async def keep(self, kept: Retention) -> None:
        """Keep so much from now on, and forget the rest."""
        now_ms = self._clock.wall_ms()
        await self._database.write(lambda conn: event_rows.set_retention(conn, kept, now_ms))
        self.tell("log_kept", {"days": kept.days, "events": kept.events})

    # Gathering ---------------------------------------------------------------------------------

    def _gather(self, kind: str, detail: Detail, is_told: bool) -> None:
        key = (kind, str(detail.get("device", detail.get("database", ""))))
        wall_ms = self._clock.wall_ms()
        if (gathered := self._gathered.get(key)) is not None:
            gathered.detail = _together(gathered.detail, detail)
            gathered.times += 1
            gathered.last_ms = wall_ms
            return
        now_ms = self._clock.monotonic_ms()
        due_ms = self._written_ms.get(key, now_ms - GATHER_MS) + GATHER_MS
        gathered = _Gathered(due_ms, detail, 1, wall_ms, wall_ms, is_told)
        if due_ms > now_ms and not self._closed:
            self._gathered[key] = gathered
            self._wait()
        else:
            self._publish(key, gathered)

    def _wait(self) -> None:
        if self._gathered:
            due_ms = min(gathered.due_ms for gathered in self._gathered.values())
            wait_ms = max(due_ms - self._clock.monotonic_ms(), 0) + TOGETHER_MS
            self._alarm.set(wait_ms)

    def _due(self) -> None:
        now_ms = self._clock.monotonic_ms()
        self._write_gathered(lambda gathered: gathered.due_ms <= now_ms)

    def _write_gathered(self, is_due: Callable[[_Gathered], bool]) -> None:
        self._alarm.stop()
        for key, gathered in list(self._gathered.items()):
            if is_due(gathered):
                del self._gathered[key]
                self._publish(key, gathered)
        self._wait()

    def _publish(self, key: Key, gathered: _Gathered) -> None:
        """Write one event for all that was gathered."""
        detail, last_ms = gathered.detail, gathered.last_ms
        if gathered.times > 1:
            detail = {**detail, "times": gathered.times, "first": iso_time(gathered.first_ms)}
        if gathered.times > 1 or last_ms != self._clock.wall_ms():
            detail = {**detail, "last": iso_time(last_ms)}
        if not gathered.is_told:
            self.board.post(NodeEvent(key[0], detail))
        # Taken out and put back in, so that the first is the one that was written longest ago.
        self._written_ms.pop(key, None)
        self._written_ms[key] = self._clock.monotonic_ms()
        if len(self._written_ms) > SUBJECTS_MAX:
            del self._written_ms[next(iter(self._written_ms))]
        self._write(key[0], detail)

    def _write(self, kind: str, detail: Detail) -> None:
        if not self._closed:
            self._notes.add(self.note_of(kind, detail))


def _together(before: Detail, after: Detail) -> Detail:
    """One detail for both: numbers added up, lists united, of others the later."""
    joined = {**before, **after}
    for name, ours in before.items():
        theirs = after.get(name)
        if isinstance(ours, list) and isinstance(theirs, list):
            united = sorted({*ours, *theirs})
            joined[name] = united[:NAMES_MAX]
            if len(united) > NAMES_MAX:
                joined["more"] = True
        elif type(ours) is int and type(theirs) is int:
            joined[name] = ours + theirs
    return joined
