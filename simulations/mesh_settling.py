"""Mesh settling: whether devices hold the same, and if not, which, what and why.

What must be equal follows from who reaches whom: for each privacy level, the devices that may read
it and reach each other, directly or through others that may read it too, must hold the same entries
of it. The membership log must be equal among all that reach each other.

Reasons name devices, and records by database, collection and id; never their fields.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..node.ledger import PRIVACY_NAMES
from ..storage.record_queries import Found, list_records
from ..sync.sharing import Sharing
from .checkers.convergence import digests, may_read, members
from .mesh_device import DeviceDownError, MeshDevice
from .sim_network import SimNetwork

RECORDS_MAX = 100_000
NAMED_MAX = 4
"""Records that a reason names."""

Level = int
MEMBERSHIP: Level = 0
"""Stands for the membership log; the privacy level 0 (device) is never shared."""
LEVELS: tuple[Level, ...] = (*range(1, len(PRIVACY_NAMES)), MEMBERSHIP)
"""What people wrote comes first: it tells them more."""


@dataclass(frozen=True, slots=True)
class Look:
    """At which devices, and whether those that are down or out of reach must be equal as well."""

    devices: Sequence[MeshDevice]
    network: SimNetwork
    everyone: bool

    def awake(self) -> list[MeshDevice]:
        return [device for device in self.devices if device.is_up and not device.is_asleep]

    def groups(self, level: Level) -> list[list[MeshDevice]]:
        """Devices that must be equal at this level, group by group."""
        readers = [d for d in self.awake() if level == MEMBERSHIP or may_read(d.sim, level)]
        return [readers] if self.everyone else _groups(readers, self.network)


def differences(look: Look) -> list[str]:
    """Why these devices do not hold the same, a line each; empty if they do."""
    told = []
    if look.everyone:
        told = [f"{d.name} {_state(d)}" for d in look.devices if not d.is_up or d.is_asleep]
    pairs: dict[tuple[str, str], str] = {}
    for level in LEVELS:
        for group in look.groups(level):
            for one, other in _unlike(group, level):
                pairs.setdefault((one.name, other.name), _why(one, other, level, look.network))
    told += pairs.values()
    return told or [busy for device in look.awake() if (busy := _busy(device))]


async def not_at_rest(look: Look, until_s: float) -> list[str]:
    """Let devices that hold the same apply it; then why they do not show the same, if so."""
    for device in look.awake():
        try:
            async with asyncio.timeout_at(until_s):
                await device.at_rest()
        except TimeoutError:
            return [f"{device.name} is busy"]
        except DeviceDownError as down:
            return [str(down)]
    return differences(look) or unequal_records(look)


def unequal_records(look: Look) -> list[str]:
    """Where devices that hold the same entries show other records or members, a line each."""
    told = []
    views = {device.name: _records(device) for device in look.awake()}
    for level in LEVELS:
        for first, *others in filter(None, look.groups(level)):
            for other in others:
                if level == MEMBERSHIP:
                    what = "" if members(first.sim) == members(other.sim) else "members"
                else:
                    what = _names_of_difference(views[first.name], views[other.name], level)
                if what:
                    told.append(f"{first.name} and {other.name} show different {what}")
    return told


def _groups(devices: Sequence[MeshDevice], network: SimNetwork) -> list[list[MeshDevice]]:
    """The devices by who reaches whom, in order."""
    groups: list[list[MeshDevice]] = []
    for device in devices:
        near = [g for g in groups if any(_reach(device, other, network) for other in g)]
        groups = [group for group in groups if group not in near]
        groups.append([*(other for group in near for other in group), device])
    return groups


def _reach(one: MeshDevice, other: MeshDevice, network: SimNetwork) -> bool:
    ours, theirs = one.sim.machine, other.sim.machine
    return network.goes(ours, theirs) and network.goes(theirs, ours)


def _unlike(group: Sequence[MeshDevice], level: Level) -> list[tuple[MeshDevice, MeshDevice]]:
    """Each device that holds something else than the first of its group, with that one."""
    if not group:
        return []
    first = _holds(group[0], level)
    return [(group[0], device) for device in group[1:] if _holds(device, level) != first]


def _holds(device: MeshDevice, level: Level) -> bytes:
    control, root = digests(device.sim, Sharing.of((level,)))
    return control if level == MEMBERSHIP else root


def _why(one: MeshDevice, other: MeshDevice, level: Level, network: SimNetwork) -> str:
    if level == MEMBERSHIP:
        what = "the membership log"
    else:
        names = _names_of_difference(_records(one), _records(other), level)
        what = names or f"the history of {PRIVACY_NAMES[level]} records"
    head = f"{one.name} and {other.name} differ in {what}"
    return f"{head}; {_between(one, other, network)}"


def _between(one: MeshDevice, other: MeshDevice, network: SimNetwork) -> str:
    """What keeps two devices from each other."""
    for device in (one, other):
        if device.place is None:
            return f"{device.name} is offline"
    if one.place != other.place and not _reach(one, other, network):
        return f"they are at different places, {one.place} and {other.place}"
    if not _reach(one, other, network):
        return "they are partitioned"
    full = [device.name for device in (one, other) if device.sim.disk.is_full]
    if full:
        return f"the disk of {' and '.join(full)} is full"
    linked = one.sim.engine.switchboard.links_to(other.sim.engine.keys.sig_pk)
    return "they are connected" if linked else "they have not found each other yet"


def _state(device: MeshDevice) -> str:
    return "is asleep" if device.is_up else device.why_down


def _busy(device: MeshDevice) -> str:
    """What a device that holds the same has still to do."""
    engine = device.sim.engine
    waiting = engine.ingest.waiting()
    if waiting:
        return f"{device.name} has {waiting} entries that wait for others"
    if any(log.tail_seq != log.head_seq for log in engine.ledger.logs()):
        return f"{device.name} is writing"
    return ""


Records = dict[tuple[str, str, str, int], Any]


def _records(device: MeshDevice) -> Records:
    """Everything that the device shows: (database, collection, id, privacy) -> JSON."""
    names = sorted({scope.database for scope in device.sim.engine.ledger.scopes()})
    found: Records = {}
    for name in names:
        rows = device.sim.store.look(_lister(name))
        found |= {(name, row.collection, row.id, row.privacy): row.value for row in rows}
    return found


def _lister(database: str) -> Callable[[Any], list[Found]]:
    return lambda conn: list_records(conn, database, None, None, RECORDS_MAX)


def _names_of_difference(one: Records, other: Records, level: Level) -> str:
    unlike = sorted(
        "/".join(name[:3])
        for name in one.keys() | other.keys()
        if name[3] == level and one.get(name) != other.get(name)
    )
    more = f" and {len(unlike) - NAMED_MAX} more" if len(unlike) > NAMED_MAX else ""
    return ", ".join(unlike[:NAMED_MAX]) + more
