"""Requests: devices that a member lets ask for admission, and the admin who answers.

A member that is no admin admits nobody. The device that pairs with it is written into the
membership log as a `request`, with its certificate, and so reaches every admin, whoever carries it
and however late. An admin compares the id of 32 characters that the new device shows: what the
carrier says of name and type is only its word. The enrolment is that of any admission. It needs
neither the carrier nor the new device to be there; that one joins again anywhere and is recognised.

Spec: docs/protocol.md, section 6, "Approval by an admin elsewhere".
"""

from typing import TYPE_CHECKING, Any

from .. import CoveyError
from ..crypto.errors import FormatError
from ..crypto.identity import parse_shown_id, short_id, shown_id
from ..sync.registry import LEVEL_ORDER, LEVELS, Request
from .pairing_frames import Newcomer
from .times import iso_time

if TYPE_CHECKING:
    from .engine import Engine


class NoSuchRequestError(CoveyError):
    """No device of this id waits for an admin, or that level is none. Nothing was changed."""

    exit_code = 1


class Requests:
    """The pending requests of one engine's mesh."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def carry(
        self, certificate: bytes, newcomer: Newcomer, level: str, expires_ms: int | None
    ) -> None:
        """Write the request of a device; once is enough. Durable when it returns."""
        for request in self._engine.mesh.registry.requests:
            asked = (request.cert, request.level, request.expires_ms)
            if asked == (certificate, level, expires_ms):
                return
        details: dict[str, Any] = {
            "cert": certificate,
            "name": newcomer.name,
            "type": newcomer.type,
            "level": level,
        }
        if expires_ms is not None:
            details["expires"] = expires_ms
        await self._engine.mesh.write([("request", details)])

    def rows(self) -> list[dict[str, Any]]:
        """Who waits, and who says so, in the order of the log."""
        registry = self._engine.mesh.registry
        rows = []
        for request in registry.requests:
            carrier = registry.devices.get(request.by)
            rows.append(
                {
                    "device_id": shown_id(request.sig_pk),
                    "short_id": short_id(request.sig_pk),
                    "device_name": request.name,
                    "device_type": request.type,
                    "trust_level": request.level,
                    "expires_at": None
                    if request.expires_ms is None
                    else iso_time(request.expires_ms),
                    "carried_by": "" if carrier is None else carrier.name,
                }
            )
        return rows

    async def approve(
        self, id: str, level: str | None = None, expires_ms: int | None = None
    ) -> bytes:
        """Admit a device that asked, named by its whole id; its `sig` key. Of several requests of
        one device the newest counts. Level and expiry are those asked for, of several the least,
        if the admin gives none: a member may carry another one, with more in it, while they think.

        Raises FormatError for anything but an id, NoSuchRequestError, NotAdminError, StorageError.
        """
        self._engine.mesh.require_admin()
        request = self._named(id)
        asked = [r for r in self._engine.mesh.registry.requests if r.sig_pk == request.sig_pk]
        level = level or min((r.level for r in asked), key=LEVEL_ORDER.index)
        if level not in LEVELS:
            raise NoSuchRequestError(f"no level {level!r}: it is one of {', '.join(LEVELS)}")
        if expires_ms is None:
            asked_ms = (r.expires_ms for r in asked if r.expires_ms is not None)
            expires_ms = min(asked_ms, default=None)
        await self._engine.mesh.enroll(request.cert, request.name, request.type, level, expires_ms)
        return request.sig_pk

    def _named(self, id: str) -> Request:
        try:
            wanted = parse_shown_id(id)
        except FormatError as error:
            raise FormatError(f"{error}; give the whole id that the new device shows") from None
        for request in reversed(self._engine.mesh.registry.requests):
            if shown_id(request.sig_pk) == wanted:
                return request
        raise NoSuchRequestError(
            f"no device {wanted} asks to be admitted: `covey devices requests` lists those that do"
        )
