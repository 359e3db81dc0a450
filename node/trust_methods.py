"""Trust methods: what `Service` answers about removing, limiting and adopting devices.

JSON in, JSON out, like every method of the service; the decisions themselves are in `trust.py`.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ..crypto.identity import shown_id
from ..sync.registry import Device
from .parameters import DAY_MS, Json, UsageError, days, text
from .rekeying import rekey

if TYPE_CHECKING:
    from .engine import Engine


class TrustMethods:
    """The methods, by name, for one engine."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def table(self) -> dict[str, Callable[[Json], Awaitable[Any]]]:
        return {
            "device_rename": self._rename,
            "device_level": self._level,
            "device_role": self._role,
            "device_describe": self._describe,
            "device_revoke": self._revoke,
            "device_objectors": self._objectors,
            "device_adopt": self._adopt,
            "shelf": self._shelf,
            "keys_rotate": self._rotate,
            "device_rekey": self._rekey,
            "requests": self._requests,
            "request_approve": self._approve,
        }

    async def show(self, device: bytes) -> Json:
        """A device as `covey devices show` prints it."""
        directory = self._engine.directory
        shown = shown_id(device)
        row = next(row for row in await directory.device_rows() if row["device_id"] == shown)
        return {**row, "addresses": await directory.addresses_of(device)}

    def _expires_ms(self, params: Json) -> int | None:
        given = days(params)
        return None if given is None else self._engine.clock.wall_ms() + given * DAY_MS

    def _named(self, params: Json) -> Device:
        return self._engine.directory.find_device(text(params, "device"))

    async def _rename(self, params: Json) -> Json:
        device = self._named(params).sig_pk
        await self._engine.trust.rename(device, text(params, "name"))
        return await self.show(device)

    async def _level(self, params: Json) -> Json:
        device = self._named(params).sig_pk
        level, expires_ms = text(params, "level"), self._expires_ms(params)
        await self._engine.trust.set_level(device, level, expires_ms)
        return await self.show(device)

    async def _role(self, params: Json) -> Json:
        device = self._named(params).sig_pk
        await self._engine.trust.set_role(device, text(params, "role"))
        return await self.show(device)

    async def _describe(self, params: Json) -> Json:
        device = self._named(params).sig_pk
        names = ("relationship", "use", "capabilities")
        what = {name: params[name] for name in names if params.get(name) is not None}
        await self._engine.trust.describe(device, **what)
        return await self.show(device)

    async def _objectors(self, params: Json) -> Json:
        """What a person should know before they remove this device."""
        device = self._named(params)
        found = self._engine.trust.objectors(device.sig_pk)
        return {
            "device": {"id": shown_id(device.sig_pk), "name": device.name},
            "self": device.sig_pk == self._engine.keys.sig_pk,
            "objectors": [{"id": shown_id(d.sig_pk), "name": d.name} for d in found],
            "paper_key": bool(self._engine.mesh.registry.recovery),
        }

    async def _revoke(self, params: Json) -> Json:
        device = self._named(params).sig_pk
        contested = bool(self._engine.trust.objectors(device))
        await self._engine.trust.revoke(device)
        return {**await self.show(device), "contested": contested}

    async def _adopt(self, params: Json) -> Json:
        device = self._named(params).sig_pk
        count = sum(row["entries"] for row in self._engine.directory.shelf_rows(device))
        await self._engine.trust.adopt(device)
        return {**await self.show(device), "adopted": count}

    async def _shelf(self, _: Json) -> Json:
        return {"shelf": self._engine.directory.shelf_rows()}

    async def _rotate(self, _: Json) -> Json:
        return {"scopes": await self._engine.trust.rotate()}

    async def _rekey(self, _: Json) -> Json:
        """Where we may, then make new keys for everything: the former key opens none of them."""
        await rekey(self._engine)
        us = self._engine.our_device()
        scopes = await self._engine.trust.rotate() if us.level == "full" else None
        return {**await self.show(us.sig_pk), "scopes": scopes}

    async def _requests(self, _: Json) -> Json:
        return {"requests": self._engine.requests.rows()}

    async def _approve(self, params: Json) -> Json:
        level = params.get("level")
        if level is not None and not isinstance(level, str):
            raise UsageError("level: a text was expected")
        expires_ms = self._expires_ms(params)
        admitted = await self._engine.requests.approve(text(params, "id"), level, expires_ms)
        return await self.show(admitted)
