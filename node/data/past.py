"""Past: a record as it was at a time, and every version that it had.

The state at a time is that of the changes written until then, by the clocks of their writers, and
resolved by the rules of today: what somebody wrote apart is in it although it came here later.
What is not on the disk yet has not been: its commit may fail.
What a device never got, or removed with its copy of a database, it cannot tell. A change whose time
was not kept is not guessed at. Blobs are given as references: the content may be gone.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from ... import CoveyError
from ...sync.errors import BadValueError, GateError
from ...sync.record_state import RecordState
from ...sync.values import milliseconds_of, timestamp_of
from ...sync.versions import (
    UNKNOWN,
    Steps,
    UnknownPastError,
    changes_made,
    state_until,
    states,
    until,
)
from ..projection import Key
from ..record_requests import check_place
from .asking import LIMIT_MAX

if TYPE_CHECKING:
    from ..engine import Engine

T = TypeVar("T")

_LAST_MS = 253_402_300_799_999
"""The end of the year 9999, beyond which no time is shown. A peer may stamp what it likes."""


class UnknownMomentError(CoveyError):
    """What the record was at that time cannot be told: the time of a change was not kept."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Version:
    """A record after one of its changes: when, by the device of which shown id, and the fields.

    `record` is None where it was deleted. Changes that were made apart are versions one after
    the other in order of their times, each with what was written until then. `time` is not before
    that of what a change rests on, also where the clock of its device was late; None if it was not
    kept.
    """

    time: datetime | None
    device: str
    record: dict[str, Any] | None


class Past:
    """Reads the past of the records of one engine."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def at(
        self, database: str, collection: str, id: str, time: datetime
    ) -> dict[str, Any] | None:
        """The fields of a record at a time, encrypted ones as they are; None if it was not there.

        Raises BadValueError for a time without a zone, UnknownMomentError, StorageError.
        """
        if time.utcoffset() is None:
            raise BadValueError("at: a time needs a time zone")
        hlc = until(milliseconds_of(time))
        async for key, state in self._states(database, collection, id):
            try:
                made = await in_pieces(changes_made(state))
                then = await in_pieces(state_until(made, hlc))
                value = None if then is None else self._shown(key, then)
            except UnknownPastError:
                raise UnknownMomentError(
                    f"{collection}/{id}: what it was then cannot be told, as the time of a change"
                    " was not kept; `covey history` shows its versions"
                ) from None
            except GateError as error:
                raise _unreadable(key, error) from None
            if value is not None:
                return value
        return None

    async def history(self, database: str, collection: str, id: str, limit: int) -> list[Version]:
        """The newest versions of a record, the newest first.

        Of a record that was moved these are the versions at each of its privacy levels. Only what
        is told is held: each version may be as large as the record. Raises BadValueError,
        StorageError.
        """
        if type(limit) is not int or not 0 <= limit <= LIMIT_MAX:
            raise BadValueError(f"limit: a number from 0 to {LIMIT_MAX} was expected")
        found: list[tuple[int, Version]] = []
        async for key, state in self._states(database, collection, id):
            try:
                made = await in_pieces(changes_made(state))
                for number, (one, then) in enumerate(states(made)):
                    await asyncio.sleep(0)
                    if number < len(made) - limit:
                        continue
                    author = self._engine.ledger.author_of(one.actor)
                    device = "" if author is None else self._engine.shown_id(author)
                    known = one.said != UNKNOWN
                    when = timestamp_of(min(one.hlc >> 16, _LAST_MS)) if known else None
                    found.append((one.hlc, Version(when, device, self._shown(key, then))))
            except GateError as error:
                raise _unreadable(key, error) from None
        found.sort(key=lambda version: version[0])
        # Turned round afterwards: of equal times the one that rests on the other is the newer.
        return [version for _, version in found[: -limit - 1 : -1]]

    def _shown(self, key: Key, state: RecordState) -> dict[str, Any] | None:
        resolution = self._engine.shelf.judge.resolution(key, state)
        return state.value if resolution is None else resolution.value

    async def _states(
        self, database: str, collection: str, id: str
    ) -> AsyncIterator[tuple[Key, RecordState]]:
        """Where the record is or was, in the order in which it is seen."""
        check_place(database, collection, id)
        engine = self._engine
        scopes = [scope.number for scope in engine.ledger.scopes_of(database)]
        # Not from the shelf: that has changes whose commit may still fail.
        states = dict(await engine.shelf.durable(scopes, [(collection, id)]))
        for key in sorted(states, key=lambda key: scopes.index(key[0])):
            yield key, states[key]


async def in_pieces(steps: Steps[T]) -> T:
    """The result of all steps; the loop has a turn after each. Thousands take half a second."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        await asyncio.sleep(0)


def _unreadable(key: Key, error: GateError) -> BadValueError:
    return BadValueError(f"{key[1]}/{key[2]}: its past cannot be read: {error}")
