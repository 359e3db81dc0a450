"""Granting: the details of grant operations, and which grants are missing.

Spec: docs/protocol.md, section 4 (`grant`). Who may be granted what is `Registry.entitled`.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

from ..crypto.entry import CONTROL_SCOPE, key_id
from ..crypto.errors import CryptoError
from ..crypto.grants import open_key, seal_key
from ..crypto.identity import DeviceKeys
from ..storage.membership_rows import ScopeKey
from ..sync.registry import Grant, Recipient, Registry, may_hold
from .pairing_frames import CONTROL_KEYS_MAX
from .ports import Entropy

GrantName = tuple[bytes, str, int, int]
"""Scope tag, database, privacy, epoch."""


def grant_details(
    mesh: bytes, name: GrantName, key: bytes, recipients: Iterable[Recipient], entropy: Entropy
) -> dict[str, Any]:
    """The details of one grant: the key sealed to each recipient, in order of their ids."""
    scope, database, privacy, epoch = name
    sealed = [
        [
            device.sig_pk,
            seal_key(key, mesh, scope, epoch, device.sig_pk, device.seal_pk, entropy.draw),
        ]
        for device in recipients
    ]
    return {
        "scope": scope,
        "database": database,
        "privacy": privacy,
        "epoch": epoch,
        "key_id": key_id(key),
        "sealed": sorted(sealed),
    }


def recipients_of(
    registry: Registry, scope: bytes, privacy: int, without: Container[bytes] = ()
) -> list[Recipient]:
    """Whoever is to hold the keys of a scope: entitled devices, and the paper key."""
    devices: list[Recipient] = [
        device
        for device in registry.active()
        if may_hold(device.level, scope, privacy) and device.sig_pk not in without
    ]
    return [*devices, *registry.recovery]


def missing_grants(
    registry: Registry,
    keys: Mapping[bytes, bytes],
    granter: bytes | None,
    entropy: Entropy,
) -> list[dict[str, Any]]:
    """Grants of keys we hold for whoever is entitled to them and has none.

    With `granter` only of keys which it is that device's turn to grant: those that it granted
    first, and those whose first granter does not belong now if it is the most senior full device
    that was granted them. (The most senior of all may be the one that lacks them.) A control key
    that no full device was granted is handed on by the most senior of those that were.
    """
    turn: dict[bytes, bytes | None] = {}
    if granter is not None:
        granters: dict[bytes, bytes] = {}
        holders: dict[bytes, set[bytes]] = {}
        for grant in registry.grants:
            granters.setdefault(grant.key_id, grant.author)
            holders.setdefault(grant.key_id, set()).update(grant.sealed)
        full = {device.sig_pk for device in registry.active() if device.level == "full"}
        control = {grant.key_id for grant in registry.grants if grant.scope == CONTROL_SCOPE}
        readers = {d.sig_pk for d in registry.active() if may_hold(d.level, CONTROL_SCOPE, 0)}
        for id, first in granters.items():
            may = full & holders[id] or (readers & holders[id] if id in control else set())
            turn[id] = first if first in full else _eldest(registry, may)
    return [
        grant_details(
            registry.mesh,
            (lack.scope, lack.database, lack.privacy, lack.epoch),
            keys[lack.key_id],
            lack.recipients,
            entropy,
        )
        for lack in registry.missing_grants(keys)
        if granter is None or granter == turn[lack.key_id]
    ]


def _eldest(registry: Registry, ids: set[bytes]) -> bytes | None:
    """The most senior of these devices."""
    return min(sorted(ids), key=lambda id: registry.ranks[id], default=None)


def control_keys(
    registry: Registry, keys: Mapping[bytes, bytes], device: Recipient, entropy: Entropy
) -> tuple[tuple[int, bytes, bytes], ...]:
    """Every control key we hold, sealed to one recipient, oldest first: epoch, key id, box."""
    names = {(g.epoch, g.key_id) for g in registry.grants if g.scope == CONTROL_SCOPE}
    held = sorted(name for name in names if name[1] in keys)
    sealed = []
    for epoch, id in held[:CONTROL_KEYS_MAX]:
        box = seal_key(
            keys[id],
            registry.mesh,
            CONTROL_SCOPE,
            epoch,
            device.sig_pk,
            device.seal_pk,
            entropy.draw,
        )
        sealed.append((epoch, id, box))
    return tuple(sealed)


def granted_keys(
    mesh: bytes,
    grants: Iterable[Grant],
    keys: DeviceKeys,
    held: Container[bytes],
    is_rightly_named: Callable[[Grant], bool],
) -> list[ScopeKey]:
    """Every key that is sealed to us, opens, and is not held yet."""
    fresh = []
    for grant in grants:
        box = grant.sealed.get(keys.sig_pk)
        if box is None or grant.key_id in held or not is_rightly_named(grant):
            continue
        try:
            key = open_key(box, keys, mesh, grant.scope, grant.epoch, grant.key_id)
        except CryptoError:
            continue
        fresh.append(ScopeKey(grant.scope, grant.epoch, grant.key_id, key))
    return fresh
