"""I1 and I2: everybody comes to the same, in time, and then is quiet."""

from collections.abc import Sequence
from typing import Any, ClassVar

from ...crypto.entry import CONTROL_SCOPE
from ...node.inbox import PAGE_MAX
from ...storage.conflict_rows import ConflictState
from ...sync.sharing import NOTHING, Sharing
from ..run import Run
from ..sim_device import SimDevice
from ..sim_network import DEAD_MS
from .belonging import are_together, circles, is_alone, shared_between
from .checker import Checker
from .travel import is_plain

SETTLE_MS_MAX = 900_000
"""After the last fault is mended. The longest wait between two dials is five minutes, and a dial
may have been tried in vain just before the end."""
LOOK_MS = 500
QUIET_MS = 60_000
QUIET_MESSAGES_PER_LINK = 4
Digests = tuple[bytes, bytes]


class ConvergenceChecker(Checker):
    """Equal sets of entries are equal records, equal members, equal keys."""

    claims: ClassVar[dict[str, str]] = {
        "I1": "with the same entries go the same records, conflicts, members and digests",
        "I2": "after the last fault everything converges in time, and then nobody says anything",
    }

    async def at_rest(self) -> None:
        await self._quiet()
        self._equal_members()
        await self._equal_records()

    async def _quiet(self) -> None:
        """Nobody has anything to say when nothing happens.

        Devices that do not know which address is whose find out by trying, at a bounded rate; in
        a crowd that goes on for minutes after all have the same. As long as it leads to links
        between devices that had none, something still happens.
        """
        # A connection that is half open is noticed by its keep-alive, and made anew.
        await self.run.world.wait_ms(DEAD_MS + LOOK_MS)
        until_ms = self.run.world.now_ms + SETTLE_MS_MAX
        while True:
            acquainted = self._acquainted()
            said = await self._said_in_a_minute()
            links = sum(len(device.engine.switchboard.links) for device in self.sound())
            if said <= QUIET_MESSAGES_PER_LINK * max(links, 1):
                return
            if self._acquainted() == acquainted or self.run.world.now_ms >= until_ms:
                break
        self.violate("I2", "", f"{said} messages in a minute in which nothing happened")

    async def _said_in_a_minute(self) -> int:
        """How many messages the sound devices sent to one another; a rotten store may talk on.

        Whoever was removed goes on knocking, and is not answered.
        """
        found = circles(list(self.sound()))
        circle = {device.name: at for at, devices in enumerate(found) for device in devices}
        said = 0

        def hear(source: str, target: str, _: bytes) -> None:
            nonlocal said
            said += source in circle and circle[source] == circle.get(target)

        self.run.world.watchers.append(hear)
        await self.run.world.wait_ms(QUIET_MS)
        self.run.world.watchers.remove(hear)
        return said

    def _acquainted(self) -> int:
        """How many devices have had a link to how many others in this run of theirs."""
        return sum(len(d.engine.switchboard.latest) for d in self.run.world.running())

    def _equal_members(self) -> None:
        for first, *others in circles(list(self.sound())):
            for device in others:
                if members(device) != members(first):
                    self.violate("I1", device.name, f"other members than {first.name} knows")

    async def _equal_records(self) -> None:
        """For each scope, among those who may read it and hold the same of it."""
        found: dict[str, dict[Any, Any]] = {}
        devices = list(self.sound())
        for device in devices:
            found[device.name] = await records(device)
        for circle in circles(devices):
            scopes = {
                (s.database, s.privacy, s.bucket): s.tag
                for d in circle
                for s in d.engine.ledger.scopes()
            }
            for name, tag in sorted(scopes.items()):
                readers = [d for d in circle if name[1] and may_read(d, name[1])]
                views = {d.name: _of_scope(found[d.name], name) for d in readers}
                firsts: dict[bytes, str] = {}
                for device in readers:
                    first = firsts.setdefault(_held(device, tag), device.name)
                    if views[device.name] != views[first]:
                        self.violate("I1", device.name, _difference(views, device.name, first))


RecordKey = tuple[Any, ...]
"""Database, collection, id, privacy, time bucket: two devices may have made one id twice."""


async def records(device: SimDevice) -> dict[RecordKey, tuple[int, Any]]:
    """Everything an application could read: where it is -> (privacy, fields).

    Conflicts as well, those that were resolved included: by their record, field and id.
    """
    read: dict[RecordKey, tuple[int, Any]] = {
        (database, found.collection, found.id, found.privacy, found.bucket): (
            found.privacy,
            found.value,
        )
        async for database, found in device.engine.reader.export(None)
    }
    for found in await device.engine.inbox.page(tuple(ConflictState), limit=PAGE_MAX):
        name = (found.database, found.collection, found.id, found.privacy, found.bucket)
        dispute = (found.state, found.hlc, found.rule, found.body)
        read[(*name, found.field, found.conflict_id)] = (found.privacy, dispute)
    return read


def _of_scope(
    found: dict[RecordKey, tuple[int, Any]], scope: tuple[str, int, int]
) -> dict[RecordKey, Any]:
    """What is read of a database, privacy and time bucket."""
    database, privacy, bucket = scope
    return {
        key: value
        for key, (_, value) in found.items()
        if key[0] == database and key[3:5] == (privacy, bucket)
    }


def _held(device: SimDevice, scope: bytes) -> bytes:
    """The digest of the entries that a device has in a scope; empty if it does not know of it."""
    holdings = device.engine.ledger.holdings
    return holdings.scope_digest(scope) if holdings.knows(scope) else b""


def _difference(views: dict[str, dict[Any, Any]], one: str, other: str) -> str:
    """Where two views differ, by name only; contents are nobody's business."""
    a, b = views[one], views[other]
    only_one, only_other = sorted(a.keys() - b.keys()), sorted(b.keys() - a.keys())
    unlike = sorted(name for name in a.keys() & b.keys() if a[name] != b[name])
    return f"unlike {other}: more {only_one[:3]}, less {only_other[:3]}, other {unlike[:3]}"


def may_read(device: SimDevice, level: int) -> bool:
    engine = device.engine
    return engine.mesh.registry.entitled(engine.our_device(), level)


def members(device: SimDevice) -> list[tuple[Any, ...]]:
    """The registry as far as all devices must agree on it."""
    registry = device.engine.mesh.registry
    return sorted((d.sig_pk, d.name, d.level, d.role, d.active) for d in registry.devices.values())


def digests(device: SimDevice, sharing: Sharing) -> Digests:
    holdings = device.engine.ledger.holdings
    return holdings.control_digest(), holdings.root(sharing)


def spoil_forked_members(run: Run) -> None:
    """Expect nothing of a device whose own log of the membership forked: it is not healed yet.

    That happens when a whole machine is set back, or runs twice, after it wrote to the membership.
    docs/threat-model.md names it among the known weaknesses.
    """
    for witness in run.world.running():
        ledger = witness.engine.ledger
        for scope, instance in sorted(witness.engine.forks.known):
            author = ledger.author_of(instance)
            for device in run.world.running():
                if scope == CONTROL_SCOPE and device.engine.keys.sig_pk == author:
                    run.spoiled.setdefault(device.name, "its log of the membership forked")
                    run.witness.forget_places(device.name, lost=True)


def unsettled(run: Run) -> str:
    """Why the world has not settled yet; empty if it has."""
    sound = [d for d in run.devices.values() if d.name not in run.spoiled]
    down = [d.name for d in sound if not d.is_up]
    if down:
        return f"not up: {down}"
    unlike = _unlike(sound)
    if unlike:
        return unlike
    for one in sound:
        # Whoever was removed waits for keys that it will never be given; and an entry may wait for
        # one that a policy keeps from this device, and not the entry that rests on it.
        waits = one.engine.ingest.waiting() and not is_alone(one, sound) and is_plain(one.engine)
        if waits and not run.leaves_waiting:
            return f"{one.name} has {one.engine.ingest.waiting()} entries waiting"
        if one.engine.committer._running is not None:
            return f"{one.name} is writing"
    return ""


def _unlike(devices: Sequence[SimDevice]) -> str:
    """Which two devices that belong together hold different logs; empty if none do."""
    for first, *others in circles(devices):
        for device in others:
            if digests(device, NOTHING) != digests(first, NOTHING):
                return f"{device.name} and {first.name} hold different membership logs"
    for one in devices:
        for other in devices:
            same = one.engine.keys.sig_pk == other.engine.keys.sig_pk
            if same or not are_together(one, other):
                continue
            shared = shared_between(one, other)
            if digests(one, shared) != digests(other, shared):
                return f"{one.name} and {other.name} hold different entries"
    return ""
