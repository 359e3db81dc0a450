"""Membership: the history of a mesh, and its fold into the registry.

An operation counts if its author was entitled to it in the fold of the operation's *own ancestors*
(entitlement.py), and if no removal makes it void (authority.py). Both are functions of the set of
operations, not of the order in which they came: every device that holds the same set has the same
registry. Operations whose parents are not here yet wait, and are in no fold until these come. What
does not count, and what is of an unknown kind, is kept and listed.

Whether an author was entitled never changes once the ancestors are known. What is void changes
with every removal, so it is drawn for a whole set at a time. Ancestors are kept as bit sets
(integers) over the order of insertion, so an operation costs a few machine words and a fold costs
one pass. Nothing here recurses.

Certificates and the mesh id are opaque here: the caller passes the functions that know them.

Spec: docs/protocol.md, section 4. Ids and public keys are 32 bytes, the mesh id 16.
"""

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence

from .authority import Authority, Standing
from .entitlement import Entitlement, grant_of
from .folding import Fold, Row
from .operations import (
    GENESIS,
    GRANT,
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
from .registry import Grant, Ignored, Registry
from .removals import Node
from .session_limits import FOLDS_KEPT_MAX, PARENTS_MAX

__all__ = [
    "CertificateView",
    "Membership",
    "Operation",
    "Operations",
    "Standing",
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
        self._nodes: dict[bytes, Node] = {}
        self._ordered: list[Row] = []
        """By (depth, id), which is how operations of equal standing are ordered."""
        self._inner = 0
        """Which operations have a child."""
        self._waiting: dict[bytes, tuple[bytes, Operation]] = {}
        self._blocked: dict[bytes, list[bytes]] = {}
        """A missing parent to the operations that wait for it first of all."""
        self._forget_judgements()

    def _forget_judgements(self) -> None:
        self._authority = Authority()
        self._entitlement = self._judging()
        self._ignored: dict[bytes, Ignored] = {}
        self._unknown: dict[bytes, str] = {}
        """Operation to its kind."""
        self._vouching: dict[bytes, int] = {}
        self._folds: dict[tuple[bytes, ...], Registry] = {}
        self.registry = Registry()

    def _judging(self) -> Entitlement:
        return Entitlement(self._read_certificate, self._mesh_id, self._mesh, self._authority)

    def add(self, operations: Operations) -> None:
        """Take in operations. Known ones change nothing; those without parents wait."""
        if not operations and self._nodes:
            return
        if self._mesh is None:
            self._mesh = self._mesh_of(operations)
            self._entitlement = self._judging()
        for id, (author, operation) in operations.items():
            if id not in self._nodes and id not in self._waiting:
                self._waiting[id] = (author, operation)
                self._settle(id)
        self._vouching = {}
        self.registry = self._folded(self._ordered, (1 << len(self._nodes)) - 1, self._heads())

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
        registry = self._folds[key] = self._folded(nodes, past, key)
        return registry

    def standing(self, device: bytes, heads: Sequence[bytes]) -> Standing | None:
        """What a device was in the fold of these heads; None if no member, or a head is not here.

        A recovery key that was current there is a full admin. Removals in that past are drawn.
        Much cheaper than `at` where a history refers to many different heads.
        """
        past = self._past(heads)
        return None if past is None else self._authority.standing(device, past)

    def admissible(self, author: bytes, heads: Sequence[bytes]) -> bool:
        """Whether what admitted an author as of these heads still counts in the fold of everything.

        That is an enrolment in their past that is not void and that no removal has ended, or a
        statement that made the author a recovery key. False if a head is not here.
        """
        past = self._past(heads)
        if past is None:
            return False
        return bool(self._vouching_for(author) & past)

    def never_left(self, author: bytes) -> bool:
        """Whether everything that ever admitted an author still counts: all it wrote does."""
        admitted = self._authority.admitted(author)
        return bool(admitted) and admitted == self._vouching_for(author)

    def admission(self, author: bytes) -> bytes:
        """Equal bytes: what admitted the author still counts to the same part as before."""
        vouching = self._vouching_for(author)
        return b"".join(sorted(node.id for node in self._nodes.values() if node.bit & vouching))

    def _vouching_for(self, author: bytes) -> int:
        if author not in self._vouching:
            verdict = self._authority.verdict(self._authority.recorded)
            self._vouching[author] = self._authority.vouching(verdict, author)
        return self._vouching[author]

    @property
    def parked(self) -> int:
        """How many operations wait for their parents."""
        return len(self._waiting)

    def parked_control_grants(self) -> list[Grant]:
        """Grants of control keys among the operations that wait. Nobody has judged them.

        Whoever lacks a control key cannot read what such a grant rests on, and needs it for that.
        """
        return [
            grant_of(id, author, operation)
            for id, (author, operation) in self._waiting.items()
            if operation.kind == GRANT
            and is_well_formed(operation)
            and is_control_grant(operation.details)
        ]

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
        node = Node(id, author, operation, 1 << len(self._nodes), depth + 1, past)
        self._nodes[id] = node
        self._inner |= past
        insort(self._ordered, (node.depth, id, node))
        if not is_known(operation.kind):
            self._unknown[id] = operation.kind
            return
        fault = self._entitlement.judge(node)
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

    def _folded(self, rows: Sequence[Row], past: int, heads: tuple[bytes, ...]) -> Registry:
        """The registry of operations that are closed under parents, in order of (depth, id)."""
        fold = Fold(self._authority, self._entitlement, self._ignored, self._unknown, past)
        return fold.registry(rows, heads, self._mesh or b"")
