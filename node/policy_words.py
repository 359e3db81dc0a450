"""Policy words: where a setting comes from, and what a policy is, as people and scripts read it."""

from collections.abc import Iterable
from typing import Any

from ..sync.policy import Policy
from ..sync.policy_change import Amount, Change, Difference, Origin
from ..sync.policy_text import shown_key, shown_settings, shown_value
from ..sync.registry import Registry

EVERY_DATABASE = "*"


def origin_words(registry: Registry, origin: Origin) -> str:
    """`phone and media`, `media`, `phone`, `everything`, `the profile` or `the default`."""
    if origin.source != "mesh":
        return f"the {origin.source}"
    return place_words(registry, origin.device, origin.database)


def place_words(registry: Registry, device: bytes, database: str) -> str:
    """What something was said of."""
    known = registry.devices.get(device)
    names = [*([known.name] if known else []), *([database] if database else [])]
    return " and ".join(names) or "everything"


def policy_row(
    registry: Registry, policy: Policy, origins: dict[str, Origin]
) -> dict[str, dict[str, str]]:
    """Every key of a policy with its value and where that comes from, as people call them."""
    return {
        shown_key(key): {
            "value": shown_value(key, getattr(policy, key)),
            "from": origin_words(registry, origins[key]),
        }
        for key in Policy._fields
    }


def change_row(registry: Registry, change: Change) -> dict[str, Any]:
    """One change, as `covey policy set` would be told of it."""
    device = registry.devices.get(change.device)
    return {
        "database": change.database or EVERY_DATABASE,
        "device": None if device is None else device.name,
        "set": {shown_key(key): shown_value(key, value) for key, value in change.settings.items()},
        "text": shown_settings(change.settings),
    }


def amount_row(amount: Amount) -> dict[str, int]:
    """What starts or stops to travel."""
    return {"records": amount.records, "entries": amount.entries, "bytes": amount.size}


def difference_row(registry: Registry, found: Difference) -> dict[str, Any]:
    """What starts and stops, for each device that something does, and in sum."""
    ids = sorted(
        dict.fromkeys((*found.starts, *found.stops)), key=lambda id: (registry.devices[id].name, id)
    )
    rows = [
        {
            "device": registry.devices[id].name,
            "starts": amount_row(found.starts.get(id, Amount())),
            "stops": amount_row(found.stops.get(id, Amount())),
        }
        for id in ids
    ]
    return {
        "devices": rows,
        "starts": amount_row(_sum(found.starts.values())),
        "stops": amount_row(_sum(found.stops.values())),
        "narrows": found.narrows,
    }


def _sum(amounts: Iterable[Amount]) -> Amount:
    total = Amount()
    for amount in amounts:
        total = total.plus(amount)
    return total
