"""Announcing: what people are told when the membership of the mesh has changed.

Compares two registries and says in what they differ, one fact each, ready for the audit log and for
whoever listens. Every device does so for itself, so a change of trust shows everywhere. Pure.
"""

from typing import Any

from ..crypto.identity import short_id
from ..sync.policy import KEYS
from ..sync.policy_text import shown_key, shown_value
from ..sync.registry import Device, Registry
from .times import iso_time

Told = tuple[str, dict[str, Any]]
"""The kind of an event and its fields; never content of a record."""


def told_of(before: Registry, after: Registry, us: bytes) -> list[Told]:
    """In what two registries of one mesh differ, in order of the devices' ids."""
    told: list[Told] = []
    for id, device in sorted(after.devices.items()):
        known = before.devices.get(id)
        if known is None:
            if device.enrolled_by != us:  # The pairing window has told of ours.
                by = _name(after, device.enrolled_by)
                told.append(("enrolled", {**_named(device), "by": by, **_until(device)}))
        else:
            told += _of_device(known, device, after)
    for id, device in sorted(before.devices.items()):
        if id not in after.devices and device.active:
            told.append(("revoked", {**_named(device), "by": "", "void": True}))
    told += _of_keys(before, after)
    told += _of_policies(before, after)
    for request in after.requests:
        if all(known.id != request.id for known in before.requests):
            by = _name(after, request.by)
            told.append(
                ("request", {"name": request.name, "id": short_id(request.sig_pk), "by": by})
            )
    return told


def _of_device(known: Device, device: Device, registry: Registry) -> list[Told]:
    named, told = _named(device), list[Told]()
    if known.active and not device.active:
        by = _name(registry, device.revoked_by or b"")
        return [("revoked", {**named, "by": by, "void": False})]
    if device.active and not known.active:
        by = _name(registry, device.enrolled_by)
        told.append(("enrolled", {**named, "by": by, **_until(device)}))
    elif (device.level, device.expires_ms) != (known.level, known.expires_ms):
        levels = {"before": known.level, "level": device.level}
        told.append(("level", {**named, **levels, **_until(device)}))
    if device.active and known.active and device.role != known.role:
        told.append(("role", {**named, "before": known.role, "role": device.role}))
    if device.active and known.active and device.seal_pk != known.seal_pk:
        told.append(("rekeyed", named))
    if device.name != known.name:
        told.append(("renamed", {**named, "before": known.name}))
    return told


def _of_keys(before: Registry, after: Registry) -> list[Told]:
    told: list[Told] = []
    if {r.sig_pk for r in before.recovery} != {r.sig_pk for r in after.recovery}:
        told.append(("recovery_set", {"paper_keys": len(after.recovery)}))
    known = {grant.key_id for grant in before.grants}
    fresh = {(g.scope, g.key_id, g.author) for g in after.grants if g.key_id not in known}
    renewed = {name[0] for name in fresh if any(g.scope == name[0] for g in before.grants)}
    if renewed:
        by = sorted({_name(after, author) for scope, _, author in fresh if scope in renewed})
        told.append(("rotated", {"scopes": len(renewed), "by": ", ".join(by)}))
    for id, cut in sorted(after.cuts.items()):
        device, old = after.devices.get(id), before.cuts.get(id)
        was_out = id in before.devices and not before.devices[id].active
        if device is not None and was_out and old is not None and cut != old:
            told.append(("adopted", _named(device)))
    return told


def _of_policies(before: Registry, after: Registry) -> list[Told]:
    """What is said of databases and devices now: one event for each place and author."""
    told: list[Told] = []
    for place in sorted({*before.settings, *after.settings}):
        known, said = before.settings.get(place, {}), after.settings.get(place, {})
        by: dict[bytes, dict[str, str]] = {}
        for key in sorted(dict.fromkeys((*known, *said)), key=_in_order):
            if known.get(key) != said.get(key):
                author = after.said_by.get(place, {}).get(key, b"")
                by.setdefault(author, {})[shown_key(key)] = shown_value(key, said.get(key))
        device, database = place
        for author, settings in sorted(by.items()):
            detail = {"by": _name(after, author), "database": database, "set": settings}
            if device:
                detail["device"] = _name(after, device)
            told.append(("policy", {**detail}))
    return told


def _in_order(key: str) -> tuple[int, str]:
    """As `covey policy` shows them, then tags."""
    return (KEYS.index(key) if key in KEYS else len(KEYS), key)


def _named(device: Device) -> dict[str, Any]:
    return {"device": device.name, "short_id": short_id(device.sig_pk)}


def _until(device: Device) -> dict[str, Any]:
    """When it is removed, if it was not admitted for good."""
    return {} if device.expires_ms is None else {"expires": iso_time(device.expires_ms)}


def _name(registry: Registry, id: bytes) -> str:
    """Who that is: a name, or the paper key."""
    device: Device | None = registry.devices.get(id)
    if device is not None:
        return device.name
    return "the paper key" if id else ""
