"""I8: the registry is the fold of the set of operations, in whatever order they came."""

from random import Random
from typing import Any, ClassVar

from ...crypto.grants import mesh_id
from ...crypto.identity import read_certificate
from ...storage import membership_rows
from ...sync.errors import DecodeError
from ...sync.membership import Membership, Operation, decode_operation
from ...sync.registry import Registry
from .checker import Checker


class AuthorityChecker(Checker):
    """Folds what each store holds anew, in an order of its own."""

    claims: ClassVar[dict[str, str]] = {
        "I8": "the registry a device acts on is the fold of all its operations, in any order",
    }

    async def at_rest(self) -> None:
        for device in self.sound():
            stored = device.store.look(membership_rows.operations)
            operations = _decoded(stored)
            random: Random = self.run.world.dice.stream("fold", device.name)
            ids = list(operations)
            random.shuffle(ids)
            fold = Membership(read_certificate, mesh_id, device.engine.mesh.id)
            half = len(ids) // 2
            for part in (ids[:half], ids[half:]):
                fold.add({id: operations[id] for id in part})
            if _told(fold.registry) != _told(device.engine.mesh.registry):
                self.violate("I8", device.name, "the registry is not the fold of its operations")


def _decoded(stored: list[membership_rows.Operation]) -> dict[bytes, tuple[bytes, Operation]]:
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
