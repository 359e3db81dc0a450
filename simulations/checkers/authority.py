"""I8: the registry is the fold of the set of operations, in whatever order they came.

And no name is in it that nobody had a right to give. That is looked up in the operations one by
one: a fold that lets too many name a device would say so twice.
"""

from random import Random
from typing import Any, ClassVar

from ...crypto.errors import CryptoError
from ...crypto.grants import mesh_id
from ...crypto.identity import read_certificate
from ...storage import membership_rows
from ...sync.errors import DecodeError
from ...sync.membership import Membership, Operations, decode_operation
from ...sync.operations import ENROLL, GENESIS, RENAME
from ...sync.registry import Registry
from ..sim_device import SimDevice
from .checker import Checker


class AuthorityChecker(Checker):
    """Folds what each store holds anew, in an order of its own."""

    claims: ClassVar[dict[str, str]] = {
        "I8": "the registry is the fold of all operations, in any order; only who may gives names",
    }

    async def at_rest(self) -> None:
        for device in self.sound():
            stored = device.store.look(membership_rows.operations)
            operations = decoded(stored)
            random: Random = self.run.world.dice.stream("fold", device.name)
            ids = list(operations)
            random.shuffle(ids)
            fold = Membership(read_certificate, mesh_id, device.engine.mesh.id)
            half = len(ids) // 2
            for part in (ids[:half], ids[half:]):
                fold.add({id: operations[id] for id in part})
            if _told(fold.registry) != _told(device.engine.mesh.registry):
                self.violate("I8", device.name, "the registry is not the fold of its operations")
            self._names(device, operations)

    def _names(self, device: SimDevice, operations: Operations) -> None:
        """Every name was given by the device itself, by an admin, or with its enrolment."""
        devices = device.engine.mesh.registry.devices
        given = {member: _enrolled_names(member, operations) for member in devices}
        for author, operation in operations.values():
            renamed = operation.details.get("device")
            if operation.kind != RENAME or renamed not in given or author not in devices:
                continue
            if author == renamed or devices[author].role == "admin":
                given[renamed].append(operation.details.get("name"))
        for member, names in given.items():
            if devices[member].name not in names:
                told = f"a member is called {devices[member].name}, by nobody who may name it"
                self.violate("I8", device.name, told)


def _enrolled_names(member: bytes, operations: Operations) -> list[Any]:
    """The names under which a device founded the mesh or was enrolled."""
    names = []
    for _, operation in operations.values():
        details = operation.details
        if operation.kind == GENESIS and details.get("sig") == member:
            names.append(details.get("name"))
        if operation.kind == ENROLL and enrols(details.get("cert"), member):
            names.append(details.get("name"))
    return names


def enrols(certificate: Any, member: bytes) -> bool:
    try:
        return isinstance(certificate, bytes) and read_certificate(certificate).sig_pk == member
    except CryptoError:
        return False


def decoded(stored: list[membership_rows.Operation]) -> Operations:
    decoded = {}
    for one in stored:
        try:
            decoded[one.op_id] = (one.author, decode_operation(one.body))
        except DecodeError:
            continue
    return decoded


def _told(registry: Registry) -> tuple[Any, ...]:
    """What a registry says, comparable."""
    grants = sorted((g.scope, g.epoch, g.key_id) for g in registry.grants)
    devices = sorted(
        (d.sig_pk, d.name, d.level, d.role, d.active) for d in registry.devices.values()
    )
    return registry.mesh, registry.heads, devices, grants
