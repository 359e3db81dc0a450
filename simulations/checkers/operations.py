"""Operations: what a store holds of the membership log, and folds of it that nobody acts on."""

from collections.abc import Iterable, Mapping

from ...crypto.grants import mesh_id
from ...crypto.identity import read_certificate
from ...storage import membership_rows
from ...sync.errors import DecodeError
from ...sync.membership import Membership, Operation, decode_operation
from ..sim_device import SimDevice

Operations = dict[bytes, tuple[bytes, Operation]]
"""Operation id to its author and itself."""


def operations_of(device: SimDevice) -> Operations:
    """Every operation that a device has read."""
    found = {}
    for one in device.store.look(membership_rows.operations):
        try:
            found[one.op_id] = (one.author, decode_operation(one.body))
        except DecodeError:
            continue
    return found


def fold_of(mesh: bytes, *parts: Mapping[bytes, tuple[bytes, Operation]]) -> Membership:
    """The fold of these operations, taken in part by part."""
    fold = Membership(read_certificate, mesh_id, mesh)
    for part in parts:
        fold.add(part)
    return fold


def past_of(operations: Operations, heads: Iterable[bytes]) -> set[bytes]:
    """These operations and all that they rest on, as far as they are here."""
    found: set[bytes] = set()
    line = list(heads)
    while line:
        id = line.pop()
        if id in operations and id not in found:
            found.add(id)
            line += operations[id][1].parents
    return found
