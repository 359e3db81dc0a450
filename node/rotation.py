"""Rotation: which scopes need a new key, and which control key the next one is written under.

A scope is written to under a key that only devices hold which belong and are entitled to it
(`Registry.writer_key`). When a device is removed or limited there is none left, and a new *epoch*
begins: another random key, sealed to everybody who is entitled now. Keys grow old as well: after
30 days the most senior full device makes the next epoch, and each junior one waits a day longer, so
that usually one of them does.

The control key is special: its next epoch is itself announced in the log that it encrypts. That one
grant goes under the old key, and everything after it under the new one.

Pure but for the keys that are passed in. Spec: docs/protocol.md, section 4, "Rotation". Ids and
keys are 32 bytes, times milliseconds.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from ..crypto.entry import CONTROL_SCOPE
from ..sync.registry import Device, Registry

EPOCH_AGE_MAX_MS = 30 * 86_400_000
EPOCH_AGE_STEP_MS = 86_400_000
"""How much longer each junior device waits for its seniors to rotate an old key."""
FULL = "full"


def stale_scopes(
    registry: Registry, keys: Collection[bytes], without: Collection[bytes] = ()
) -> list[bytes]:
    """The tags of scopes of which no key would do if `without` were gone, the control scope first.

    Only scopes of which we hold a key: others are not ours to rotate.
    """
    left = {
        id: replace(device, active=device.active and id not in without)
        for id, device in registry.devices.items()
    }
    after = replace(registry, devices=left)
    held = {grant.scope for grant in registry.grants if grant.key_id in keys}
    return [tag for tag in sorted(held) if after.writer_key(tag, keys) is None]


def aged_scopes(
    registry: Registry, keys: Collection[bytes], us: Device, now_ms: int
) -> list[bytes]:
    """The tags of scopes whose key has grown old, if it is this device's turn to replace it."""
    if us.level != FULL or not us.active:
        return []
    age_ms = EPOCH_AGE_MAX_MS + EPOCH_AGE_STEP_MS * seniority(registry, us)
    made: dict[bytes, int] = {}
    for grant in registry.grants:
        made.setdefault(grant.key_id, grant.made_ms)
    found = []
    for tag in sorted({grant.scope for grant in registry.grants}):
        current = registry.writer_key(tag, keys)
        if current is not None and now_ms - made[current[1]] >= age_ms:
            found.append(tag)
    return found


def seniority(registry: Registry, us: Device) -> int:
    """How many active full devices are senior to us."""
    return sum(device.level == FULL for device in registry.seniors(us))


def next_epoch(registry: Registry, scope: bytes) -> int:
    """One more than any epoch that was ever granted for a scope."""
    return 1 + max((grant.epoch for grant in registry.grants if grant.scope == scope), default=0)


def old_control_key(
    registry: Registry, keys: Mapping[bytes, bytes], readers: Iterable[bytes]
) -> tuple[int, bytes]:
    """(epoch, key id) under which the grant of the next control key is written.

    The newest one that all `readers` hold, so that each of them can open the grant; else the
    newest that we hold.
    """
    held_by: dict[tuple[int, bytes], set[bytes]] = {}
    for grant in registry.grants:
        if grant.scope == CONTROL_SCOPE and grant.key_id in keys:
            held_by.setdefault((grant.epoch, grant.key_id), set()).update(grant.sealed)
    wanted = set(readers)
    newest = sorted(held_by, key=lambda name: (-name[0], name[1]))
    return next((name for name in newest if wanted <= held_by[name]), newest[0])
