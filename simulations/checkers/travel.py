"""Travel: what may go between two devices, written down once more, from docs/protocol.md alone.

The program has its own rule (`sync/policy.py`), its own table of levels and its own profile. A
mistake in those would be ours as well if we asked them, so nothing is taken from there but what
people said (`Registry.settings`), which authority.py judges.

Time buckets are left out: from which one on a device takes is its own to tell, on each link.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from ...node.engine import Engine
from ...sync.registry import Registry

MAY_READ: Mapping[str, frozenset[int]] = {
    "full": frozenset((1, 2, 3)),
    "limited": frozenset((2, 3)),
    "guest": frozenset((3,)),
}
"""What each level may read, as docs/protocol.md says."""
PROFILE_MODES: Mapping[str, str] = {
    "cache": "local-only",
    "embeddings": "on-demand",
    "analytics": "periodic",
}
"""Databases to which the profile gives another mode than `full`."""
WIDENED = ("on-demand", "window")
"""Modes of a device that takes less than it may ask for."""
KNOWN_MODES = (
    *("full", "summary", "metadata", "window"),
    *("on-demand", "periodic", "local-only"),
)
KNOWN_DIRECTIONS = ("both", "send", "receive")


class Side(NamedTuple):
    """One of two devices, and what it wants of the database in question."""

    id: bytes
    level: str
    """Empty if it is no active member."""
    mode: str
    direction: str
    consent: bool


def may_read_of(level: str) -> frozenset[int]:
    """The levels of privacy that a device of this level may read, beside its own `device`."""
    return MAY_READ.get(level, frozenset())


def side(registry: Registry, id: bytes, database: str, *, asks: bool = False) -> Side:
    """A device as a registry has it. `asks`: it takes all of the database now."""
    known = registry.devices.get(id)
    level = known.level if known is not None and known.active else ""
    mode = _word(registry, id, database, "mode", PROFILE_MODES.get(database, "full"))
    direction = _word(registry, id, database, "direction", "both")
    if asks and mode in WIDENED:
        mode = "full"
    return Side(id, level, mode, direction, _word(registry, id, database, "consent", True))


def _word(registry: Registry, id: bytes, database: str, key: str, default: Any) -> Any:
    """The nearest word: of both, of the database, of the device, of everything."""
    for name in ((id, database), (b"", database), (id, ""), (b"", "")):
        said = registry.settings.get(name, {})
        if key in said:
            return said[key]
    return default


def forbidden(privacy: int, author: bytes, one: Side, other: Side) -> str:
    """Which rule keeps an author's log from going between two devices; empty if none does."""
    rule = forbidden_of_all(privacy, one, other)
    if rule:
        return rule
    for device in (one, other):
        if author == device.id and device.direction == "receive":
            return "direction receive"
        if author != device.id and device.direction == "send":
            return "direction send"
        if author != device.id and device.mode == "on-demand":
            return "mode on-demand"
    return ""


def forbidden_asked(privacy: int, author: bytes, giver: Side, taker: Side) -> str:
    """Which rule keeps `giver` from handing out what `taker` asks for; empty if none does."""
    rule = forbidden_of_all(privacy, giver, taker)
    if not rule and author == giver.id and giver.direction == "receive":
        return "direction receive"
    return rule


def forbidden_of_all(privacy: int, one: Side, other: Side) -> str:
    """Which rule keeps everything of a database and privacy from going between two devices."""
    for device in (one, other):
        if not device.level:
            return "membership"
        if privacy not in may_read_of(device.level):
            return f"level {device.level}" if privacy else "privacy device"
        if not device.consent:
            return "consent"
        if device.mode == "local-only":
            return "mode local-only"
        if device.mode not in KNOWN_MODES or device.direction not in KNOWN_DIRECTIONS:
            return "a word that is not known"
    return ""


def is_plain(engine: Engine) -> bool:
    """Whether every database goes wherever levels let it, as this device knows it."""
    return not any(engine.mesh.registry.settings.values()) and PROFILE_MODES.keys().isdisjoint(
        engine.ledger.databases()
    )


def holders(
    registry: Registry, privacy: int, database: str, author: bytes, devices: Collection[bytes]
) -> set[bytes]:
    """The devices to which an author's log comes, if all of these are linked with one another."""
    sides = {id: side(registry, id, database) for id in devices}
    found, line = {author}, [author] if author in sides else []
    while line:
        giver = sides[line.pop()]
        for id, taker in sides.items():
            if id not in found and not forbidden(privacy, author, giver, taker):
                found.add(id)
                line.append(id)
    return found
