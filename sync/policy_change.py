"""Policy change: what a change of settings would make different, before it is made.

A `Change` says something of a device and a database, or of all of them. `said_with` gives what
would have been said then; `difference` compares what reaches whom, before and after, for groups of
entries that one device knows of. An item reaches a device if it can come there from its author
by itself, over however many devices.

Pure. Ids are 32 bytes, sizes bytes of ciphertext.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from .policy import (
    BUCKET_MAX,
    Item,
    Party,
    Policy,
    Said,
    Settings,
    Value,
    decide,
    floor_at,
    layers_for,
    policy_of,
)
from .registry import Registry

PRIVACIES = (1, 2, 3)


class Change(NamedTuple):
    """Settings to be said. A value of None takes back what was said."""

    device: bytes
    """Empty: of every device."""
    database: str
    """Empty: of every database."""
    settings: Mapping[str, Value | None]


class Origin(NamedTuple):
    """Where the value of a setting comes from."""

    source: str
    """`mesh` if people said it, `profile`, or `default`."""
    device: bytes = b""
    database: str = ""


class Group(NamedTuple):
    """Entries of one scope and author, all of which travel alike."""

    database: str
    item: Item
    records: int
    entries: int
    size: int


class Amount(NamedTuple):
    """How much starts, or stops, to come to a device by itself."""

    records: int = 0
    entries: int = 0
    size: int = 0

    def plus(self, other: "Amount | Group") -> "Amount":
        return Amount(
            self.records + other.records, self.entries + other.entries, self.size + other.size
        )


class Difference(NamedTuple):
    """What a change does: to each device that it does something to, and whether it narrows."""

    starts: Mapping[bytes, Amount]
    stops: Mapping[bytes, Amount]
    narrows: bool
    """Whether something would stop that may travel now, be it here or not."""


Parties = Callable[[bytes, str], Party]
"""What a device (its id) wants of a database."""


def said_with(said: Said, changes: Iterable[Change]) -> dict[tuple[bytes, str], Settings]:
    """What would have been said after these changes."""
    after: dict[tuple[bytes, str], Settings] = dict(said)
    for change in changes:
        place = (change.device, change.database)
        merged = {**after.get(place, {}), **change.settings}
        after[place] = {key: value for key, value in merged.items() if value is not None}
    return after


def new_settings(said: Said, change: Change) -> dict[str, Value | None]:
    """What of a change is not so already."""
    known = said.get((change.device, change.database), {})
    return {
        key: value
        for key, value in change.settings.items()
        if known.get(key) != value or type(known.get(key)) is not type(value)
    }


def parties_of(registry: Registry, said: Said, profile: Said, wall_ms: int) -> Parties:
    """What every device wants, if `said` is what was said."""

    def party(id: bytes, database: str) -> Party:
        device = registry.devices.get(id)
        level = device.level if device is not None and device.active else ""
        policy = policy_of(layers_for(said, profile, id, database))
        return Party(id, level, policy, floor_at(policy, wall_ms))

    return party


def policy_with_origins(
    said: Said, profile: Said, device: bytes, database: str
) -> tuple[Policy, dict[str, Origin]]:
    """A policy, and for each of its keys where its value comes from."""
    layers: list[Settings] = []
    origins: dict[str, Origin] = {}
    for source, name in ((said, "mesh"), (profile, "profile")):
        for place in ((device, database), (b"", database), (device, ""), (b"", "")):
            settings = source.get(place, {})
            layers.append(settings)
            for key in settings:
                origins.setdefault(key, Origin(name, *place))
    policy = policy_of(layers)
    return policy, {key: origins.get(key, Origin("default")) for key in Policy._fields}


def difference(
    groups: Sequence[Group],
    databases: Sequence[str],
    devices: Sequence[bytes],
    us: bytes,
    before: Parties,
    after: Parties,
) -> Difference:
    """What reaches whom before and after, of these groups; `databases` are all it may be about.

    What was written by a device that is none of `devices` is taken to come from `us`.
    """
    starts: dict[bytes, Amount] = {}
    stops: dict[bytes, Amount] = {}
    narrows = False
    for database in databases:
        was = {id: before(id, database) for id in devices}
        will = {id: after(id, database) for id in devices}
        if was == will:
            continue
        narrows = narrows or is_narrower(list(was.values()), list(will.values()))
        for group in (group for group in groups if group.database == database):
            origin = group.item.author if group.item.author in was else us
            there, then = reached(group.item, was, origin), reached(group.item, will, origin)
            for id in then - there:
                starts[id] = starts.get(id, Amount()).plus(group)
            for id in there - then:
                stops[id] = stops.get(id, Amount()).plus(group)
    return Difference(starts, stops, narrows or any(stops.values()))


def reached(item: Item, parties: Mapping[bytes, Party], origin: bytes) -> frozenset[bytes]:
    """The devices to which an item comes by itself, from its origin and over others."""
    found, left = [origin], [id for id in parties if id != origin]
    for giver in found:  # It grows while it is walked.
        taking = [id for id in left if decide(item, parties[giver], parties[id]).allowed]
        found += taking
        left = [id for id in left if id not in taking]
    return frozenset(found[1:])


def is_narrower(before: Sequence[Party], after: Sequence[Party]) -> bool:
    """Whether something may travel between two parties before and not after.

    Tried with items of every privacy, of either party and of a third, old and new.
    """
    for at, to in product(range(len(before)), repeat=2):
        if at == to or (before[at], before[to]) == (after[at], after[to]):
            continue
        authors = (before[at].id, before[to].id, b"")
        floors = {before[at].floor, before[to].floor, after[at].floor, after[to].floor}
        buckets = sorted({0, 1, BUCKET_MAX, *floors})
        for privacy, author, bucket in product(PRIVACIES, authors, buckets):
            item = Item(privacy, author, bucket)
            if (
                decide(item, before[at], before[to]).allowed
                and not decide(item, after[at], after[to]).allowed
            ):
                return True
    return False
