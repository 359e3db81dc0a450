"""Directory: what a person may ask about devices, databases and what happened. Reads only.

Every answer is JSON-able and holds no content of records. Devices are found by their full id or by
an unambiguous name; the short id is a label and finds nothing (docs/protocol.md, section 1).
"""

import json
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from .. import CoveyError
from ..crypto.identity import short_id, shown_id
from ..storage import event_rows, peer_rows
from ..sync.hlc import wall_ms_of
from ..sync.policy import bucket_start_ms
from ..sync.registry import Device, Registry
from .ledger import PRIVACY_NAMES
from .ports import Address
from .reader import Found
from .times import iso_time

if TYPE_CHECKING:
    from .engine import Engine

EVENTS_PER_PAGE = 500


def shown_device(sig_pk: bytes, name: str, kind: str) -> dict[str, Any]:
    """A device as the node's answers show their own one."""
    return {"id": shown_id(sig_pk), "short_id": short_id(sig_pk), "name": name, "type": kind}


class UnknownDeviceError(CoveyError):
    """No device of this mesh has that id, or name, or more than one has that name."""

    exit_code = 1


def find_device(registry: Registry, text: str) -> Device:
    """By full id, or by a name that one active device alone has. Raises UnknownDeviceError."""
    devices = list(registry.devices.values())
    wanted = text.replace("-", "").upper()
    for device in devices:
        if shown_id(device.sig_pk).replace("-", "") == wanted:
            return device
    named = [d for d in devices if d.name == text]
    active = [d for d in named if d.active] or named
    if len(active) == 1:
        return active[0]
    if active:
        raise UnknownDeviceError(f"{len(active)} devices are called {text!r}: give the full id")
    raise UnknownDeviceError(f"no device {text!r} in this mesh: `covey devices` lists them")


class Directory:
    """Questions to one engine."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def journal_rows(self) -> AsyncIterator[dict[str, Any]]:
        """The log, oldest event first."""
        await self._engine.audit.flush()
        after = -1
        while rows := await self._engine.database.read(
            lambda conn, a=after: event_rows.events(conn, a, EVENTS_PER_PAGE)  # type: ignore[misc]
        ):
            for row in rows:
                after = row.event_no
                yield _line(row)

    def find_device(self, text: str) -> Device:
        """As `find_device`, in the mesh of this engine."""
        return find_device(self._engine.mesh.registry, text)

    async def device_rows(self) -> list[dict[str, Any]]:
        await self._engine.notes.flush()
        peers = {
            peer.device: peer
            for peer in await self._engine.database.read(lambda c: peer_rows.peers(c))
        }
        rows = []
        registry = self._engine.mesh.registry
        for device in sorted(registry.devices.values(), key=lambda d: d.name):
            seen = peers.get(device.sig_pk)
            rows.append(
                {
                    "device_id": shown_id(device.sig_pk),
                    "short_id": short_id(device.sig_pk),
                    "device_name": device.name,
                    "device_type": device.type,
                    "public_key": device.sig_pk.hex(),
                    "trust_level": device.level,
                    "role": device.role,
                    "last_seen": None if seen is None else _time(seen.last_seen_ms),
                    "status": "active" if device.active else "revoked",
                    "sync_policy": self._engine.policies.summary(device.sig_pk),
                    "use": device.use,
                    "relationship": device.relationship,
                    "capabilities": list(device.capabilities),
                    "enrolled_at": iso_time(device.enrolled_ms),
                    "enrolled_by": self._name(device.enrolled_by),
                    "expires_at": _time(device.expires_ms),
                    "epoch": max(
                        (g.epoch for g in registry.grants if device.sig_pk in g.sealed), default=0
                    ),
                    "revoked_at": _time(device.revoked_ms),
                    "revoked_by": self._name(device.revoked_by),
                    "self": device.sig_pk == self._engine.keys.sig_pk,
                }
            )
        return rows

    def shelf_rows(self, device: bytes | None = None) -> list[dict[str, Any]]:
        """What removed devices wrote that nobody had seen before their removal."""
        counts: dict[tuple[bytes, str], int] = {}
        for log in self._engine.ledger.logs():
            if log.shelved and device in (None, log.author):
                name = (log.author, log.scope.database)
                counts[name] = counts.get(name, 0) + len(log.shelved)
        return [
            {
                "device_id": shown_id(author),
                "device_name": self._name(author) or "",
                "database": database,
                "entries": count,
            }
            for (author, database), count in sorted(counts.items())
        ]

    def _name(self, device: bytes | None) -> str | None:
        """The name of a device, or what else that is."""
        if device is None:
            return None
        known = self._engine.mesh.registry.devices.get(device)
        return "the paper key" if known is None else known.name

    async def database_rows(self) -> list[dict[str, Any]]:
        counts = await self._engine.reader.count()
        names = sorted({scope.database for scope in self._engine.ledger.scopes()})
        return [
            {
                "name": name,
                "policy": self._engine.policies.in_short(name),
                "records": counts.get(name, 0),
            }
            for name in names
        ]

    async def addresses_of(self, device: bytes) -> list[str]:
        await self._engine.notes.flush()
        rows = await self._engine.database.read(lambda conn: peer_rows.addresses(conn, device))
        return [str(Address(row.host, row.port)) for row in rows]

    def describe(self, found: Found, disputed: Sequence[str]) -> dict[str, Any]:
        """Who wrote a record last, when, for whom it is, and which fields wait for a person."""
        log = self._engine.ledger.log_numbered(found.log)
        return {
            "device": shown_id(log.author),
            "time": iso_time(wall_ms_of(found.hlc)),
            "privacy": PRIVACY_NAMES[found.privacy],
            "born": iso_time(bucket_start_ms(found.bucket))[:10] if found.bucket else None,
            "conflicts": list(disputed),
        }


def _time(wall_ms: int | None) -> str | None:
    return None if wall_ms is None else iso_time(wall_ms)


def _line(row: event_rows.Event) -> dict[str, Any]:
    """An event for people, also if somebody tampered with it: `covey log verify` tells that."""
    try:
        told = {"time": iso_time(row.time_ms), "event": str(row.kind), **json.loads(row.detail)}
    except (TypeError, ValueError):
        return {"time": iso_time(0), "event": "unreadable", "number": row.event_no}
    return told
