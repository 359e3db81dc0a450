"""Conflict methods: what `Service` answers about conflicts and the rules that decide them.

JSON in, JSON out; seeing and deciding itself is in `inbox.py`.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ..storage.conflict_rows import ConflictState, Found
from ..sync.limits import COLLECTION_NAME_BYTES_MAX, DATABASE_NAME_BYTES_MAX
from ..sync.policy import RULE, is_rule
from ..sync.rules import DELETION_RULES, LAST_WRITER_WINS, RULE_NAMES
from ..sync.session_limits import SETTING_KEY_BYTES_MAX
from ..sync.values import from_json
from .inbox import PAGE_MAX, NotACandidateError, Take, Value, rule_key
from .parameters import Json, UsageError, text
from .projection import HLC_STORED_MAX
from .record_requests import check_name

if TYPE_CHECKING:
    from .engine import Engine

DELETED = "$deleted"
BULK_MAX = 100_000
STANDING = (ConflictState.OPEN, ConflictState.SETTLED)


class ConflictMethods:
    """The methods, by name, for one engine."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def table(self) -> dict[str, Callable[[Json], Awaitable[Any]]]:
        return {
            "conflicts": self._list,
            "conflict_show": self._show,
            "conflict_resolve": self._resolve,
            "conflict_resolve_all": self._resolve_all,
            "conflict_undo": self._undo,
            "rules": self._rules,
            "rule_set": self._rule_set,
        }

    async def _list(self, params: Json) -> Json:
        inbox, limit = self._engine.inbox, params.get("limit", 100)
        if type(limit) is not int or not 0 < limit <= PAGE_MAX:
            raise UsageError(f"limit: a number from 1 to {PAGE_MAX} was expected")
        states = tuple(ConflictState) if params.get("all") else STANDING
        database = None if params.get("database") is None else text(params, "database")
        found = await inbox.page(states, database, limit, _after(params), kept_only=True)
        more = _place(found[-1]) if len(found) == limit else None
        return {"conflicts": [inbox.row(one) for one in found], "more": more}

    async def _show(self, params: Json) -> Json:
        inbox = self._engine.inbox
        return inbox.row(await inbox.find(text(params, "conflict")))

    async def _resolve(self, params: Json) -> Json:
        inbox = self._engine.inbox
        found = await inbox.find(text(params, "conflict"))
        has_value, device = "value" in params, params.get("take")
        if has_value == (device is not None):
            raise UsageError("say either which device's value counts, or another value")
        if has_value:
            await inbox.resolve(found.conflict_id, Value(from_json(params["value"])))
        else:
            taken = self._engine.directory.find_device(text(params, "take"))
            await inbox.resolve(found.conflict_id, Take(taken.sig_pk))
        return await self._show(params)

    async def _resolve_all(self, params: Json) -> Json:
        """All open conflicts of a database, by taking the value of one device."""
        engine = self._engine
        database = text(params, "database")
        device = engine.directory.find_device(text(params, "take")).sig_pk
        done, left = 0, 0
        page = await engine.inbox.page((ConflictState.OPEN,), database, PAGE_MAX)
        while page and done + left < BULK_MAX:
            for found in page:
                try:
                    await engine.inbox.resolve(found.conflict_id, Take(device))
                    done += 1
                except NotACandidateError:
                    left += 1
            last = page[-1]
            after = (last.state, last.hlc, last.conflict_id)
            page = await engine.inbox.page((ConflictState.OPEN,), database, PAGE_MAX, after)
        return {"database": database, "resolved": done, "left": left}

    async def _undo(self, params: Json) -> Json:
        inbox = self._engine.inbox
        found = await inbox.find(text(params, "conflict"))
        await inbox.undo(found.conflict_id)
        return await self._show(params)

    async def _rules(self, params: Json) -> Json:
        rows = []
        for (device, database), said in sorted(self._engine.mesh.registry.settings.items()):
            for key, rule in sorted(said.items()):
                if not device and is_rule(key):
                    place = key.removeprefix(RULE).removeprefix(".")
                    known = str(rule) in self._known_rules(place.rpartition(".")[2])
                    row = {"database": database, "of": place, "rule": rule, "known": known}
                    rows.append(row)
        return {"rules": rows, "otherwise": LAST_WRITER_WINS}

    def _known_rules(self, field: str | None) -> tuple[str, ...]:
        return DELETION_RULES if field == DELETED else (*RULE_NAMES, *self._engine.own_rules)

    async def _rule_set(self, params: Json) -> Json:
        database, rule = params.get("database") or "", text(params, "rule")
        collection = params.get("collection")
        field = None if params.get("field") is None else text(params, "field")
        if database:
            check_name("database", database, DATABASE_NAME_BYTES_MAX)
        if collection is not None:
            check_name("collection", collection, COLLECTION_NAME_BYTES_MAX)
        if field is not None and collection is None:
            raise UsageError("a field is one of a collection: name the collection as well")
        key = rule_key(collection, field)
        if len(key.encode()) > SETTING_KEY_BYTES_MAX:
            raise UsageError("field: this name is too long to have a rule of its own")
        known = self._known_rules(field)
        if rule != "default" and rule not in known:
            raise UsageError(f"no rule {rule:.40}: there are {', '.join(known)}, and default")
        said = {key: None if rule == "default" else rule}
        await self._engine.trust.set_policy(b"", database, said)
        return {"database": database, "of": key.removeprefix(RULE).removeprefix("."), "rule": rule}


def _place(found: Found) -> list[Any]:
    return [found.state, found.hlc, found.conflict_id.hex()]


def _after(params: Json) -> tuple[int, int, bytes] | None:
    after = params.get("after")
    if after is None:
        return None
    match after:
        case [int(state), int(hlc), str(id)] if 0 <= state < 3 and 0 <= hlc <= HLC_STORED_MAX:
            try:
                return state, hlc, bytes.fromhex(id)
            except ValueError:
                pass
    raise UsageError("after: what `more` of the page before said was expected")
