"""Demand methods: what `Service` answers about records and databases that are elsewhere.

JSON in, JSON out; the asking itself is in `demands.py`.
"""

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from .. import CoveyError
from ..sync.errors import BadValueError
from ..sync.hlc import wall_ms_of
from .demands import NobodyNearError, Reply, newest
from .ledger import PRIVACY_NAMES
from .parameters import Json, UsageError, text
from .record_requests import check_place
from .times import iso_time

if TYPE_CHECKING:
    from .engine import Engine

WAIT_S_MAX = 86_400


class NotFoundError(CoveyError):
    """The record, device or database asked for does not exist here."""

    exit_code = 1


class DemandMethods:
    """The methods, by name, for one engine."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def table(self) -> dict[str, Callable[[Json], Awaitable[Any]]]:
        return {"fetch": self._fetch}

    async def _fetch(self, params: Json) -> Json:
        database = text(params, "database")
        check_place(database)
        return await self._engine.demands.fetch(database, _wait_ms(params, 30))

    async def elsewhere(self, params: Json) -> Json:
        """A record that is not here, as another device has it. Raises NotFoundError."""
        database, collection, id = (text(params, n) for n in ("database", "collection", "id"))
        wait_ms = _wait_ms(params, 0)
        missing = f"no record {collection}/{id} in {database}"
        if not wait_ms or not self._engine.demands.may_be_elsewhere(database):
            raise NotFoundError(missing)
        try:
            replies, silent = await self._engine.demands.ask(database, collection, id, wait_ms)
        except NobodyNearError as error:
            raise NotFoundError(str(error)) from None
        found = newest(replies)
        value = None if found is None else _record(found.value)
        if found is None or value is None:
            raise NotFoundError(f"{missing} here{self._who_was_asked(replies, silent)}")
        return {**value, "_meta": self._meta(found, replies, silent)}

    def _meta(self, found: Reply, replies: list[Reply], silent: list[bytes]) -> Json:
        return {
            "device": self._engine.shown_id(found.author),
            "time": iso_time(wall_ms_of(found.hlc)),
            "privacy": PRIVACY_NAMES[found.privacy],
            "conflicts": [],
            "here": False,
            "answered_by": self._name(found.device),
            "asked": sorted(self._name(reply.device) for reply in replies),
            "silent": sorted(self._name(device) for device in silent),
        }

    def _who_was_asked(self, replies: list[Reply], silent: list[bytes]) -> str:
        answered = ", ".join(sorted(self._name(reply.device) for reply in replies))
        quiet = ", ".join(sorted(self._name(device) for device in silent))
        told = f", nor to be had from {answered}" if answered else ""
        return f"{told}{f'; no answer in time from {quiet}' if quiet else ''}"

    def _name(self, device: bytes) -> str:
        known = self._engine.mesh.registry.devices.get(device)
        return self._engine.short_id(device) if known is None else known.name


def _record(value: bytes) -> Json | None:
    """The record in an answer; None if a peer sent what is no record."""
    try:
        record = json.loads(value)
    except (ValueError, RecursionError, BadValueError):
        return None
    return record if isinstance(record, dict) and "_meta" not in record else None


def _wait_ms(params: Json, default_s: float) -> int:
    wait_s = params.get("timeout_s")
    wait_s = default_s if wait_s is None else wait_s
    if isinstance(wait_s, bool) or not isinstance(wait_s, int | float):
        raise UsageError("timeout: a number of seconds was expected")
    if not 0 <= wait_s <= WAIT_S_MAX:
        raise UsageError(f"timeout: at most {WAIT_S_MAX} seconds")
    return int(wait_s * 1000)
