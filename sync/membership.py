"""Membership: the history of a mesh, and its fold into the registry.

An operation counts if its author was entitled to it in the fold of the operation's *own ancestors*.
So what counts is a function of the set of operations, not of the order in which they came: every
device that holds the same set has the same registry. Operations whose parents are not here yet
wait, and are in no fold until these come. What does not count, and what is of an unknown kind, is
kept and listed.

Whether an operation counts never changes once its ancestors are known. Ancestors are kept as bit
sets (integers) over the order of insertion, so an operation costs a few machine words and a fold
costs one pass. Nothing here recurses. `_standing` is the one place that answers what a device was
at some point of the past: removal and demotion (ranks, voided operations, cascades) will change
that answer, and the operations that count, without touching the rest.

Certificates and the mesh id are opaque here: the caller passes the functions that know them.

Spec: docs/protocol.md, section 4. Ids and public keys are 32 bytes, the mesh id 16.
"""

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from .. import CoveyError
from .operations import (
    ENROLL,
    GENESIS,
    GRANT,
    RENAME,
    CertificateView,
    MeshId,
    Operation,
    ReadCertificate,
    decode_operation,
    encode_operation,
    is_control_grant,
    is_known,
    is_well_formed,
)
from .registry import LEVEL_ORDER, LEVELS, ROLES, Device, Grant, Ignored, Registry, may_hold
from .session_limits import FOLDS_KEPT_MAX, PARENTS_MAX

__all__ = [
    "CertificateView",
    "Membership",
    "Operation",
    "Operations",
    "decode_operation",
    "encode_operation",
    "fold",
]

Operations = Mapping[bytes, tuple[bytes, Operation]]
"""Operation id to its author and itself."""


def fold(
    operations: Operations, *, read_certificate: ReadCertificate, mesh_id: MeshId, mesh: bytes
) -> Registry:
    """The registry that a set of operations makes of a mesh. Operations without parents wait."""
    membership = Membership(read_certificate, mesh_id, mesh)
    membership.add(operations)
    return membership.registry


class Standing(NamedTuple):
    """What a device is, or was at some point of the past."""

    level: str
    role: str


@dataclass(frozen=True, slots=True, eq=False)
class _Node:
    """An operation whose ancestors are all known. `past` is the bit set of them."""

    id: bytes
    author: bytes
    operation: Operation
    bit: int
    depth: int
    past: int


class _Enrolment(NamedTuple):
    """What a genesis or an enrolment that counts says of one device."""

    node: _Node
    device: Device


class Membership:
    """The operations of one mesh. `registry` is the fold of all whose ancestors are here."""

    def __init__(
        self, read_certificate: ReadCertificate, mesh_id: MeshId, mesh: bytes | None = None
    ) -> None:
        """Pass `mesh` wherever it is known: without it the genesis with the smallest id decides,
        of those in the first `add`, and any member can write one.
        """
        self._read_certificate = read_certificate
        self._mesh_id = mesh_id
        self._mesh = mesh
        self._nodes: dict[bytes, _Node] = {}
        self._ordered: list[tuple[int, bytes, _Node]] = []
        """By (depth, id), which is how operations of equal standing are ordered."""
        self._inner = 0
        """Which operations have a child."""
        self._waiting: dict[bytes, tuple[bytes, Operation]] = {}
        self._blocked: dict[bytes, list[bytes]] = {}
        """A missing parent to the operations that wait for it first of all."""
        self._forget_judgements()

    def _forget_judgements(self) -> None:
        self._enrolments: dict[bytes, list[_Enrolment]] = {}
        self._enrolment_of: dict[bytes, _Enrolment] = {}
        self._enrolment_bits = 0
        self._standings: dict[int, dict[bytes, Standing | None]] = {}
        self._grants: dict[bytes, Grant] = {}
        self._renames: dict[bytes, tuple[bytes, str]] = {}
        self._ignored: dict[bytes, Ignored] = {}
        self._folds: dict[tuple[bytes, ...], Registry] = {}
        self.registry = Registry()

    def add(self, operations: Operations) -> None:
        """Take in operations. Known ones change nothing; those without parents wait."""
        if not operations and self._nodes:
            return
        if self._mesh is None:
            self._mesh = self._mesh_of(operations)
        for id, (author, operation) in operations.items():
            if id not in self._nodes and id not in self._waiting:
                self._waiting[id] = (author, operation)
                self._settle(id)
        self.registry = self._folded(self._ordered, self._heads())

    def remove(self, ids: Iterable[bytes]) -> None:
        """Take out operations of ours that did not become durable, and what rests on them."""
        gone = set(ids)
        left = {n.id: (n.author, n.operation) for n in self._nodes.values() if n.id not in gone}
        left |= {id: waiting for id, waiting in self._waiting.items() if id not in gone}
        self._nodes, self._ordered, self._inner = {}, [], 0
        self._waiting, self._blocked = {}, {}
        self._forget_judgements()
        self.add(left)

    def at(self, heads: Sequence[bytes]) -> Registry | None:
        """The fold of these operations and their ancestors; None if one is not here."""
        key = tuple(sorted(heads))
        known = self._folds.get(key)
        if known is not None:
            return known
        past = self._past(key)
        if past is None:
            return None
        nodes = [row for row in self._ordered if past & row[2].bit]
        if len(self._folds) >= FOLDS_KEPT_MAX:
            self._folds.clear()
        registry = self._folds[key] = self._folded(nodes, key)
        return registry

    def standing(self, device: bytes, heads: Sequence[bytes]) -> Standing | None:
        """What a device was in the fold of these heads; None if no member, or a head is not here.

        Much cheaper than `at` where a history refers to many different heads.
        """
        past = self._past(heads)
        return None if past is None else self._standing(device, past)

    @property
    def parked(self) -> int:
        """How many operations wait for their parents."""
        return len(self._waiting)

    # The graph -----------------------------------------------------------------------------------

    def _settle(self, id: bytes) -> None:
        """Insert a waiting operation, and all that waited for it, as far as parents are here."""
        ready = [id]
        while ready:
            id = ready.pop()
            author, operation = self._waiting[id]
            missing = next((p for p in operation.parents if p not in self._nodes), None)
            if missing is not None:
                self._blocked.setdefault(missing, []).append(id)
                continue
            del self._waiting[id]
            self._insert(id, author, operation)
            ready += self._blocked.pop(id, ())

    def _insert(self, id: bytes, author: bytes, operation: Operation) -> None:
        past, depth = 0, 0
        for parent in operation.parents:
            node = self._nodes[parent]
            past |= node.past | node.bit
            depth = max(depth, node.depth)
        node = _Node(id, author, operation, 1 << len(self._nodes), depth + 1, past)
        self._nodes[id] = node
        self._inner |= past
        insort(self._ordered, (node.depth, id, node))
        if is_known(operation.kind):
            fault = self._judge(node)
            if fault is not None:
                self._ignored[id] = fault

    def _heads(self) -> tuple[bytes, ...]:
        heads = [node for node in self._nodes.values() if not self._inner & node.bit]
        if len(heads) > PARENTS_MAX:
            heads.sort(key=lambda node: (node.id in self._ignored, -node.depth, node.id))
        return tuple(sorted(node.id for node in heads[:PARENTS_MAX]))

    def _past(self, heads: Iterable[bytes]) -> int | None:
        """The bit set of these operations and all their ancestors."""
        past = 0
        for head in heads:
            node = self._nodes.get(head)
            if node is None:
                return None
            past |= node.past | node.bit
        return past

    # What counts ---------------------------------------------------------------------------------

    def _standing(self, device: bytes, past: int) -> Standing | None:
        """What a device is in the fold of a past: of several enrolments the lower of each."""
        # Of a past only the enrolments in it matter, and most operations share these.
        known = self._standings.setdefault(past & self._enrolment_bits, {})
        if device in known:
            return known[device]
        level, role = len(LEVEL_ORDER), len(ROLES)
        for node, enrolled in self._enrolments.get(device, ()):
            if past & node.bit:
                level = min(level, LEVEL_ORDER.index(enrolled.level))
                role = min(role, ROLES.index(enrolled.role))
        standing = None if role == len(ROLES) else Standing(LEVEL_ORDER[level], ROLES[role])
        if len(self._standings) > FOLDS_KEPT_MAX:
            self._standings.clear()
        known[device] = standing
        return standing

    def _judge(self, node: _Node) -> Ignored | None:
        """Whether an operation of a known kind counts; None if so, and then it is recorded."""
        operation = node.operation
        if not is_well_formed(operation):
            return Ignored.MALFORMED
        if operation.kind == GENESIS:
            return self._judge_genesis(node)
        author = self._standing(node.author, node.past)
        if author is None:
            return Ignored.NOT_ENTITLED
        if operation.kind == ENROLL:
            return self._judge_enrolment(node, author)
        if operation.kind == GRANT:
            return self._judge_grant(node, author)
        assert operation.kind == RENAME
        return self._judge_rename(node, author)

    def _judge_genesis(self, node: _Node) -> Ignored | None:
        details = node.operation.details
        if node.operation.parents or details["sig"] != node.author:
            return Ignored.NOT_ENTITLED
        if self._mesh_id(encode_operation(node.operation)) != self._mesh:
            return Ignored.OTHER_MESH
        keys = (details["sig"], details["dh"], details["seal"])
        self._record(node, keys, "full", "admin")
        return None

    def _judge_enrolment(self, node: _Node, author: Standing) -> Ignored | None:
        details = node.operation.details
        level, role = details["level"], details["role"]
        if level not in LEVELS or role not in ROLES or (role == "admin" and level != "full"):
            return Ignored.MALFORMED
        if author.role != "admin":
            return Ignored.NOT_ENTITLED
        try:
            certificate = self._read_certificate(details["cert"])
        except CoveyError:
            return Ignored.BAD_CERTIFICATE
        if certificate.mesh != self._mesh:
            return Ignored.BAD_CERTIFICATE
        keys = (certificate.sig_pk, certificate.dh_pk, certificate.seal_pk)
        self._record(node, keys, level, role)
        return None

    def _judge_grant(self, node: _Node, author: Standing) -> Ignored | None:
        details = node.operation.details
        scope, privacy = details["scope"], details["privacy"]
        if is_control_grant(details) != (not details["database"]):
            return Ignored.MALFORMED
        if author.level != "full":
            return Ignored.NOT_ENTITLED
        for recipient, _ in details["sealed"]:
            standing = self._standing(recipient, node.past)
            if standing is None:
                return Ignored.UNKNOWN_TARGET
            if not may_hold(standing.level, scope, privacy):
                return Ignored.NOT_ENTITLED
        self._grants[node.id] = _grant(node, details)
        return None

    def _judge_rename(self, node: _Node, author: Standing) -> Ignored | None:
        device, name = node.operation.details["device"], node.operation.details["name"]
        if author.role != "admin" and device != node.author:
            return Ignored.NOT_ENTITLED
        if self._standing(device, node.past) is None:
            return Ignored.UNKNOWN_TARGET
        self._renames[node.id] = (device, name)
        return None

    def _record(self, node: _Node, keys: tuple[bytes, bytes, bytes], level: str, role: str) -> None:
        details = node.operation.details
        device = Device(*keys, details["name"], details["type"], level, role, node.author, node.id)
        enrolment = _Enrolment(node, device)
        self._enrolments.setdefault(device.sig_pk, []).append(enrolment)
        self._enrolment_of[node.id] = enrolment
        self._enrolment_bits |= node.bit

    def _mesh_of(self, operations: Operations) -> bytes | None:
        found = (
            id
            for id, (author, operation) in operations.items()
            if operation.kind == GENESIS
            and is_well_formed(operation)
            and not operation.parents
            and operation.details["sig"] == author
        )
        first = min(found, default=None)
        return None if first is None else self._mesh_id(encode_operation(operations[first][1]))

    # The fold ------------------------------------------------------------------------------------

    def _folded(
        self, rows: Sequence[tuple[int, bytes, _Node]], heads: tuple[bytes, ...]
    ) -> Registry:
        """The registry of operations that are closed under parents, in order of (depth, id)."""
        devices: dict[bytes, Device] = {}
        names: dict[bytes, str] = {}
        grants: list[Grant] = []
        unknown: set[str] = set()
        ignored: dict[bytes, Ignored] = {}
        genesis = b""
        for _, id, node in rows:
            if id in self._grants:
                grants.append(self._grants[id])
            elif id in self._renames:
                device_id, names[device_id] = self._renames[id]
            elif id in self._enrolment_of:
                enrolled = self._enrolment_of[id].device
                known = devices.get(enrolled.sig_pk)
                devices[enrolled.sig_pk] = _joined(known, enrolled) if known else enrolled
                names[enrolled.sig_pk] = enrolled.name
                genesis = id if node.operation.kind == GENESIS else genesis
            elif id in self._ignored:
                ignored[id] = self._ignored[id]
            else:
                unknown.add(node.operation.kind)
        for device_id, name in names.items():
            if devices[device_id].name != name:
                devices[device_id] = replace(devices[device_id], name=name)
        return Registry(
            (self._mesh or b"") if genesis else b"",
            genesis,
            devices,
            tuple(grants),
            heads,
            tuple(sorted(unknown)),
            ignored,
        )


def _joined(known: Device, again: Device) -> Device:
    """One device from two enrolments: the keys of the first, the lower level and role."""
    return replace(
        known,
        level=min(known.level, again.level, key=LEVEL_ORDER.index),
        role=min(known.role, again.role, key=ROLES.index),
    )


def _grant(node: _Node, details: Mapping[str, Any]) -> Grant:
    return Grant(
        node.id,
        node.author,
        details["scope"],
        details["database"],
        details["privacy"],
        details["epoch"],
        details["key_id"],
        dict(details["sealed"]),
    )
