"""Past: a record as it was at a time, and every version that it had.

The state at a time is that of the changes written until then, by the clocks of their writers, and
resolved by the rules of today: what somebody wrote apart is in it although it came here later.
What is not on the disk yet has not been: its commit may fail.
What a device never got, or removed with its copy of a database, it cannot tell. A change whose time
was not kept is not guessed at. Blobs are given as references: the content may be gone.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ... import CoveyError
from ...storage import erasure_rows
from ...storage.erasure_rows import Erased, Left
from ...sync.errors import BadValueError, GateError
from ...sync.record_state import RecordState
from ...sync.values import milliseconds_of, timestamp_of
from ...sync.versions import (
    UNKNOWN,
    Made,
    Steps,
    UnknownPastError,
    changes_made,
    state_until,
    states,
    until,
)
from ..projection import Key
from ..record_requests import check_place, version_of
from ..times import iso_time
from .asking import LIMIT_MAX

if TYPE_CHECKING:
    from ..engine import Engine

T = TypeVar("T")

_LAST_MS = 253_402_300_799_999
"""The end of the year 9999, beyond which no time is shown. A peer may stamp what it likes."""


class UnknownMomentError(CoveyError):
    """What the record was at that time cannot be told: the time of a change was not kept."""

    exit_code = 1


class ErasedError(CoveyError):
    """What the record was before it was erased is not shown. It is sealed in the history."""

    exit_code = 3

    def __init__(self, key: Key, erased: Erased) -> None:
        super().__init__(
            f"{key[1]}/{key[2]} was erased on {iso_time(erased.erased_ms)[:10]} (receipt"
            f" {erased.erasure_no}): what it was before is not shown"
        )


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


class Then(NamedTuple):
    """The fields of a record at a time, None if it was not there, and its last change by then."""

    value: dict[str, Any] | None
    last: Made | None


class Told(NamedTuple):
    """Versions, and the erasure before which there were more that are not shown."""

    versions: list[Version]
    erased: Erased | None


class Past:
    """Reads the past of the records of one engine."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def at(
        self, database: str, collection: str, id: str, time: datetime
    ) -> dict[str, Any] | None:
        """The fields of a record at a time, encrypted ones as they are; None if it was not there.

        Raises BadValueError for a time without a zone, UnknownMomentError, ErasedError,
        StorageError.
        """
        hlc = moment(time)
        check_place(database, collection, id)
        states = await self.states(database, collection, [id])
        pasts, erased = await self.opened(states.get(id, []))
        for key, made in pasts:
            value = (await self.then(key, made, erased, hlc)).value
            if value is not None:
                return value
        return None

    async def then(
        self, key: Key, made: Sequence[Made], erased: Sequence[Erased], hlc: int
    ) -> "Then":
        """What the changes up to a time come to. Raises UnknownMomentError, ErasedError,
        BadValueError.
        """
        hidden = hidden_of(made, erased)
        if hidden and made[0].hlc <= hlc < made[hidden - 1].hlc:
            raise ErasedError(key, erased[-1])
        try:
            state = await in_pieces(state_until(made, hlc))
            value = None if state is None else self._shown(key, state)
        except UnknownPastError:
            raise UnknownMomentError(
                f"{key[1]}/{key[2]}: what it was then cannot be told, as the time of a change"
                " was not kept; `covey history` shows its versions"
            ) from None
        except GateError as error:
            raise _unreadable(key, error) from None
        by_then = [one for one in made if one.hlc <= hlc]
        return Then(value, by_then[-1] if by_then else None)

    async def history(self, database: str, collection: str, id: str, limit: int) -> Told:
        """The newest versions of a record, the newest first.

        Of a record that was moved these are the versions at each of its privacy levels. Only what
        is told is held: each version may be as large as the record. Raises BadValueError,
        ErasedError if none is left to be shown, StorageError.
        """
        if type(limit) is not int or not 0 <= limit <= LIMIT_MAX:
            raise BadValueError(f"limit: a number from 0 to {LIMIT_MAX} was expected")
        found: list[tuple[int, Version]] = []
        check_place(database, collection, id)
        states_of = await self.states(database, collection, [id])
        pasts, erased = await self.opened(states_of.get(id, []))
        hidden = {key: hidden_of(made, erased) for key, made in pasts}
        if erased and all(hidden[key] == len(made) for key, made in pasts):
            raise ErasedError(pasts[0][0], erased[-1])
        for key, made in pasts:
            try:
                for number, (one, then) in enumerate(states(made)):
                    await asyncio.sleep(0)
                    if number < max(len(made) - limit, hidden[key]):
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
        newest = [version for _, version in found[: -limit - 1 : -1]]
        return Told(newest, erased[-1] if erased else None)

    def _shown(self, key: Key, state: RecordState) -> dict[str, Any] | None:
        resolution = self._engine.shelf.judge.resolution(key, state)
        return state.value if resolution is None else resolution.value

    async def states(
        self, database: str, collection: str, ids: Sequence[str]
    ) -> dict[str, list[tuple[Key, RecordState]]]:
        """Where records are or were, in the order in which they are seen, by id."""
        engine = self._engine
        scopes = [scope.number for scope in engine.ledger.scopes_of(database)]
        # Not from the shelf: that has changes whose commit may still fail.
        read = await engine.shelf.durable(scopes, [(collection, id) for id in ids])
        found: dict[str, list[tuple[Key, RecordState]]] = {}
        for key, state in sorted(read, key=lambda one: scopes.index(one[0][0])):
            found.setdefault(key[2], []).append((key, state))
        return found

    async def opened(
        self, states: Sequence[tuple[Key, RecordState]]
    ) -> tuple[list[tuple[Key, list[Made]]], list[Erased]]:
        """The changes of one record, wherever it is or was, and how it was erased."""
        pasts = []
        for key, state in states:
            try:
                pasts.append((key, await in_pieces(changes_made(state))))
            except GateError as error:
                raise _unreadable(key, error) from None
        gone = [
            Left(self._engine.ledger.scope_numbered(key[0]).database, key[1], key[2], _left_by(one))
            for key, made in pasts
            for one in made
            if one.change.deletes_record
        ]
        if not gone:
            return pasts, []
        read = self._engine.database.read
        return pasts, await read(lambda conn: erasure_rows.erased_by(conn, gone))


def moment(time: datetime) -> int:
    """The last HLC that counts at a time. Raises BadValueError for a time without a zone."""
    if time.utcoffset() is None:
        raise BadValueError("at: a time needs a time zone")
    return until(milliseconds_of(time))


def hidden_of(made: Sequence[Made], erased: Sequence[Erased]) -> int:
    """How many of the first changes are not to be shown, as the record was erased after them.

    Where it was deleted by the erasure, all up to that; at a level at which it once lived, all
    until then.
    """
    if not erased:
        return 0
    left = {one.version for one in erased}
    places = [number for number, one in enumerate(made, 1) if _left_by(one) in left]
    if places:
        return places[-1]
    last = until(erased[-1].erased_ms)
    return sum(one.hlc <= last for one in made)


def _left_by(one: Made) -> str:
    """The version that a change leaves which knew of all others, as a deletion here does."""
    return version_of([one.change.hash])


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
