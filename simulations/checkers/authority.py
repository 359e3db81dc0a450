"""I8: the registry is the fold of the set of operations, in whatever order they came.

And no name and no cut is in it that nobody had a right to give, and nobody has undone a removal by
the founder, who is senior to all. That is looked up in the operations one by one: a fold that lets
too many decide, or the wrong one, would say so twice.
"""

from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar

from ...crypto.errors import CryptoError
from ...crypto.identity import read_certificate
from ...sync.membership import Operations
from ...sync.operations import (
    ADOPT,
    ENROLL,
    GENESIS,
    RENAME,
    REVOKE,
    SET_LEVEL,
    Operation,
    is_known,
    is_well_formed,
)
from ...sync.registry import Ignored, Registry
from ..doings.trust_doings import TRUST_DOINGS
from ..sim_device import SimDevice
from ..templates import HOSTILE_LEVELS, VARIANTS, mallory_keys
from .checker import Checker
from .operations import fold_of, operations_of
from .settings import wrong_settings


class AuthorityChecker(Checker):
    """Folds what each store holds anew, in an order of its own."""

    claims: ClassVar[dict[str, str]] = {
        "I8": "the registry is the fold of all operations, in any order, of who may say so",
    }

    async def at_rest(self) -> None:
        for device in self.sound():
            operations = operations_of(device)
            random: Random = self.run.world.dice.stream("fold", device.name)
            ids = list(operations)
            random.shuffle(ids)
            half = len(ids) // 2
            parts = [{id: operations[id] for id in part} for part in (ids[:half], ids[half:])]
            fold = fold_of(device.engine.mesh.id, *parts)
            if _told(fold.registry) != _told(device.engine.mesh.registry):
                self.violate("I8", device.name, "the registry is not the fold of its operations")
            self._names(device, operations)
            self._cuts(device, operations)
            self._founder(device, operations)
            self._belonging(device)
            registry = device.engine.mesh.registry
            for problem in wrong_settings(registry, operations, said(operations, registry).admins):
                self.violate("I8", device.name, problem)

    def _belonging(self, device: SimDevice) -> None:
        """Nobody belongs but who was admitted, and nobody is gone or limited by an attacker."""
        run, registry = self.run, device.engine.mesh.registry
        variant = run.plan.seed % VARIANTS
        # Members from the start in a run that may be attacked, also if no attack comes to pass.
        hostile = {mallory_keys(variant, level).sig_pk for level in HOSTILE_LEVELS}
        admitted = {*run.ids.values()} | hostile
        for member in registry.active():
            if member.sig_pk not in admitted:
                self.violate("I8", device.name, f"{member.name} belongs, whom nobody admitted")
        if device.name in run.newcomers or any(run.done[do] for do in TRUST_DOINGS):
            return
        for at, part in enumerate(run.plan.cast):
            known = registry.devices.get(run.ids.get(part.name, b""))
            expected = (True, part.level, "member" if at else "admin")
            if known is not None and (known.active, known.level, known.role) != expected:
                self.violate("I8", device.name, f"{part.name} is not what it was, by nobody's word")

    def _names(self, device: SimDevice, operations: Operations) -> None:
        """Every name was given by the device itself, by an admin, or with its enrolment."""
        registry = device.engine.mesh.registry
        admins = said(operations, registry).admins
        given: dict[bytes, list[str]] = {}
        for author, operation in operations.values():
            if not is_known(operation.kind) or not is_well_formed(operation):
                continue
            details, about = operation.details, _subject(operation)
            if about is None or "name" not in details:
                continue
            itself = author == about and operation.kind in (GENESIS, RENAME)
            if itself or author in admins:
                given.setdefault(about, []).append(details["name"])
        for member in registry.devices.values():
            if member.name not in given.get(member.sig_pk, ()):
                told = f"a member is called {member.name}, by nobody who may name it"
                self.violate("I8", device.name, told)

    def _cuts(self, device: SimDevice, operations: Operations) -> None:
        """What counts of removed devices was said by an admin, or by one that left."""
        registry = device.engine.mesh.registry
        admins = said(operations, registry).admins
        given: dict[bytes, set[bytes]] = {}
        for author, operation in operations.values():
            if operation.kind not in (ADOPT, REVOKE) or not is_well_formed(operation):
                continue
            about = operation.details["device"]
            if author in admins or (author == about and operation.kind == REVOKE):
                given.setdefault(about, set()).update(row[3] for row in operation.details["cut"])
        for about, cut in registry.cuts.items():
            if not {entry for _, entry in cut.values()} <= given.get(about, set()):
                self.violate("I8", device.name, "a cut counts that is of nobody who may decide")

    def _founder(self, device: SimDevice, operations: Operations) -> None:
        """Whoever made the mesh is senior to all devices: no removal by it is undone."""
        registry = device.engine.mesh.registry
        founder, _ = operations[registry.genesis]
        for id, (author, operation) in operations.items():
            voided = registry.ignored.get(id) is Ignored.VOIDED
            if author == founder and operation.kind == REVOKE and voided:
                self.violate("I8", device.name, "a removal by the founder was undone by a junior")


@dataclass(slots=True)
class Said:
    """What devices have ever been, as their operations say: what they did then counts now."""

    levels: dict[bytes, list[str]] = field(default_factory=dict)
    admins: dict[bytes, None] = field(default_factory=dict)


def said(operations: Operations, registry: Registry) -> Said:
    """Who was ever of which level, and an admin. An order there is not, so it is not asked for."""
    found = Said()
    for id, (_, operation) in operations.items():
        if not is_known(operation.kind) or not is_well_formed(operation):
            continue
        if registry.ignored.get(id) not in (None, Ignored.VOIDED):
            continue
        details, member = operation.details, _subject(operation)
        is_founder = operation.kind == GENESIS
        if member is not None and (is_founder or operation.kind in (ENROLL, SET_LEVEL)):
            found.levels.setdefault(member, []).append(details.get("level", "full"))
        if member is not None and (is_founder or details.get("role") == "admin"):
            found.admins[member] = None
        if "recovery" in details:
            found.levels.setdefault(details["recovery"][0], []).append("full")
            found.admins[details["recovery"][0]] = None
    return found


def _subject(operation: Operation) -> bytes | None:
    """Whom a well-formed operation is about, if it is about a member."""
    details = operation.details
    if operation.kind == GENESIS:
        return bytes(details["sig"])
    if operation.kind == ENROLL:
        try:
            return read_certificate(details["cert"]).sig_pk
        except CryptoError:
            return None
    return bytes(details["device"]) if "device" in details else None


def _told(registry: Registry) -> tuple[Any, ...]:
    """What a registry says, comparable."""
    grants = sorted((g.scope, g.epoch, g.key_id) for g in registry.grants)
    return (
        registry.mesh,
        registry.heads,
        dict(registry.devices),
        grants,
        registry.recovery,
        {device: dict(cut) for device, cut in registry.cuts.items()},
        registry.requests,
        dict(registry.ranks),
        dict(registry.ignored),
        {name: dict(said) for name, said in registry.settings.items() if said},
    )
