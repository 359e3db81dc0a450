"""Inbox: the conflicts that people see, decide and take back.

A conflict is shown from its row in the store, decided from the changes of its record, and resolved
by a write like any other: it works without a peer, and clears the conflict on every device that it
reaches. What was decided stays in the history, with all candidates, and can be decided otherwise.

Spec: docs/protocol.md, section 13; docs/cli.md, `conflicts`.
"""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .. import CoveyError
from ..crypto.identity import shown_id
from ..storage import conflict_rows, event_rows
from ..storage.conflict_rows import ConflictState, Found
from ..storage.store import Conn
from ..sync.change import DELETED_KEY
from ..sync.editing import Rewrite
from ..sync.hlc import tick, wall_ms_of
from ..sync.policy import RULE
from ..sync.record_state import RecordState
from ..sync.resolution import CONFLICT_ID_BYTES, Conflict, Index, chosen, restored
from ..sync.rules import MANUAL, RULES
from ..sync.values import from_json
from .projection import Key
from .record_requests import Delete, Put
from .times import iso_time

if TYPE_CHECKING:
    from .engine import Engine

PAGE_MAX = 1_000
DAY_MS = 86_400_000
STATE_NAMES = {state: state.name.lower() for state in ConflictState}


class UnknownConflictError(CoveyError):
    """There is no such conflict here, or it does not stand any more. Nothing was changed."""

    exit_code = 1


class NotACandidateError(CoveyError):
    """That device wrote none of the candidates, or wrote several. Nothing was changed."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Take:
    """The value that one device wrote, by its id; None: the other one of two."""

    device: bytes | None


@dataclass(frozen=True, slots=True)
class Value:
    """A value of one's own, in the application's form."""

    value: Any


class Inbox:
    """The conflicts of one engine's store."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    # Seeing ------------------------------------------------------------------------------------

    async def page(
        self,
        states: Collection[ConflictState],
        database: str | None = None,
        limit: int = 100,
        after: tuple[int, int, bytes] | None = None,
        *,
        kept_only: bool = False,
    ) -> list[Found]:
        """Conflicts, open ones first, then settled, then resolved; of each the newest first.

        With `kept_only`, what was resolved before the oldest day of the log is left out. A conflict
        itself is as old as its record, of which it is a part.
        """
        wanted, now_ms = sorted(states), self._engine.clock.wall_ms()

        def job(conn: Conn) -> list[Found]:
            days = event_rows.retention(conn).days if kept_only else 0
            since = tick(0, max(now_ms - days * DAY_MS, 0)) if days else 0
            rows = conflict_rows.page(conn, wanted, database, after, min(limit, PAGE_MAX), since)
            return rows

        return await self._engine.database.read(job)

    async def find(self, text: str) -> Found:
        """By its id, as `list` shows it. Raises UnknownConflictError."""
        try:
            wanted = bytes.fromhex(text)
        except ValueError:
            wanted = b""
        found: list[Found] = []
        if len(wanted) == CONFLICT_ID_BYTES:
            found = await self._engine.database.read(lambda c: conflict_rows.by_id(c, wanted))
        if not found:
            raise UnknownConflictError(f"no conflict {text:.40}: `covey conflicts` lists them")
        return found[0]

    async def open_fields(self, database: str, collection: str, id: str) -> list[str]:
        """The fields of a record that wait for a person; "" for the record as a whole."""
        found = await self._engine.database.read(
            lambda conn: conflict_rows.of_record(conn, database, collection, id)
        )
        return sorted({row.field for row in found if row.state == ConflictState.OPEN})

    def row(self, found: Found) -> dict[str, Any]:
        """A conflict as commands show it. Contents are in it."""
        body = json.loads(found.body)
        row: dict[str, Any] = {
            "id": found.conflict_id.hex(),
            "database": found.database,
            "collection": found.collection,
            "record": found.id,
            "field": found.field,
            "rule": found.rule,
            "state": STATE_NAMES[ConflictState(found.state)],
            "because": self._because(found),
            "value": body["value"],
            "candidates": [self._candidate(known) for known in body["candidates"]],
            "reembed": bool(body.get("reembed")),
        }
        if "by" in body:
            row["resolved_by"] = self._name(bytes.fromhex(body["by"]))
            row["resolved_at"] = iso_time(wall_ms_of(found.hlc))
        return row

    def _because(self, found: Found) -> str:
        """Why it is as it is, in a sentence."""
        if found.state == ConflictState.RESOLVED:
            return "somebody who saw all candidates wrote there"
        if found.state == ConflictState.SETTLED:
            return f"rule {found.rule} decided"
        known = (*RULES, *self._engine.own_rules) if found.field else ()
        if found.rule == MANUAL:
            why = "a person decides"
        elif found.rule in known:
            why = "it does not fit what was written, so a person decides"
        else:
            why = "this device does not know it, so a person decides here"
        return f"rule {found.rule}: {why}; the last write is shown until then"

    def _candidate(self, known: dict[str, Any]) -> dict[str, Any]:
        device = bytes.fromhex(known["device"])
        told = {
            "value": known["value"],
            "device": shown_id(device),
            "device_name": self._name(device),
            "time": iso_time(wall_ms_of(known["hlc"])),
        }
        return {**told, "deletes": True} if known.get("deletes") else told

    def _name(self, device: bytes) -> str:
        known = self._engine.mesh.registry.devices.get(device)
        return "an unknown device" if known is None else known.name

    # Deciding ----------------------------------------------------------------------------------

    async def resolve(self, conflict_id: bytes, choice: Take | Value) -> None:
        """Let one candidate, or another value, count from now on, on every device.

        Raises UnknownConflictError if it does not stand any more, NotACandidateError,
        BadValueError, NotEntitledError.
        """
        for found in await self._engine.database.read(
            lambda conn: conflict_rows.by_id(conn, conflict_id)
        ):
            if found.state != ConflictState.RESOLVED:
                await self._decide(found, choice)
                return
        raise UnknownConflictError(
            "this conflict does not stand any more: `covey conflicts show` tells who resolved it"
        )

    async def undo(self, conflict_id: bytes) -> None:
        """Take a decision back: that of a rule for the other candidate, that of a person for what
        counted before.

        Raises as `resolve`, and NotACandidateError where there are several others.
        """
        for found in await self._engine.database.read(
            lambda conn: conflict_rows.by_id(conn, conflict_id)
        ):
            if found.state == ConflictState.RESOLVED:
                await self._write_back(found)
            else:
                await self._decide(found, Take(None))
            return
        raise UnknownConflictError("no such conflict: `covey conflicts` lists them")

    async def _decide(self, found: Found, choice: Take | Value) -> None:
        if not found.field:
            await self._decide_deletion(found, choice)
            return
        if isinstance(choice, Value):
            place = found.database, found.collection
            sealing = self._engine.schemas.sealing
            choice = Value(await sealing.chosen(place, found.field, choice.value))
        judge, pick = self._engine.shelf.judge, _choice_of(choice)

        def settle(key: Key, state: RecordState) -> Rewrite:
            written = None
            if not state.deleted:
                written = chosen(state, judge.resolver(key, state), found.conflict_id, pick)
            if written is None:
                raise UnknownConflictError("this conflict does not stand any more")
            return written

        await self._put(found, settle=settle)

    async def _put(self, found: Found, **how: Any) -> None:
        put = Put(found.collection, found.id, {}, None, False)
        await self._engine.writer.write(found.database, [replace(put, **how)])

    async def _decide_deletion(self, found: Found, choice: Take | Value) -> None:
        known = json.loads(found.body)["candidates"]
        if isinstance(choice, Value):
            raise NotACandidateError(
                "the record as a whole is in dispute: take the device that deleted or that edited"
            )
        deletes = not json.loads(found.body)["value"]
        wanted = [bool(k.get("deletes")) for k in known if _is_by(choice, k)]
        if choice.device is None:
            wanted = [not deletes]
        if len(set(wanted)) != 1:
            raise NotACandidateError("that device did neither delete nor edit it, or both")
        if wanted[0]:
            await self._engine.writer.write(found.database, [Delete(found.collection, found.id)])
            return
        await self._put(found, rewrite=(DELETED_KEY,))

    async def _write_back(self, found: Found) -> None:
        """What counted before somebody resolved it, written anew."""
        if not found.field:
            value = json.loads(found.body)["value"]
            if value is None:
                delete = Delete(found.collection, found.id)
                await self._engine.writer.write(found.database, [delete])
            else:
                await self._put(found, value=from_json(value))
            return
        judge = self._engine.shelf.judge

        def settle(key: Key, state: RecordState) -> Rewrite:
            written = None
            if not state.deleted:
                written = restored(state, judge.resolver(key, state), found.conflict_id)
            if written is None:
                raise NotACandidateError(
                    "what this was in has been deleted or written anew since: put it (`covey put`)"
                )
            return written

        await self._put(found, settle=settle)


def _is_by(choice: Take, known: dict[str, Any]) -> bool:
    return choice.device is not None and known["device"] == choice.device.hex()


def _choice_of(choice: Take | Value) -> Callable[[Conflict], Any]:
    """What `chosen` asks for."""

    def choose(conflict: Conflict) -> Any:
        if isinstance(choice, Value):
            return choice.value
        if choice.device is None:
            others = [
                at for at, known in enumerate(conflict.candidates) if known.value != conflict.value
            ]
        else:
            others = [
                at for at, known in enumerate(conflict.candidates) if known.device == choice.device
            ]
        if len(others) != 1:
            raise NotACandidateError(
                f"{len(others)} candidates fit: say which device's value counts, or give the value"
            )
        return Index(others[0])

    return choose


def rule_key(collection: str | None, field: str | None) -> str:
    """The setting that holds the rule of a field, of a collection, or of everything."""
    parts = [RULE, *(part for part in (collection, field) if part)]
    return ".".join(parts)
