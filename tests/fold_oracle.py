"""Appendix A as it stands, an oracle for the fold: naive, recursive, slow and short enough to read.

Knows genesis, enroll, revoke and demote, and one recovery key that the genesis names. Levels are
one scale, as in the appendix: 0 mailbox, 1 guest, 2 limited, 3 full member, 4 admin. Names follow
the appendix, so that the two can be laid side by side.

Beside the appendix: the device that a removal is about must be known to its author, a device may
leave or lower itself, and enrolments that are void lend no seniority (`literal=True` gives the
ranks of the appendix, under which a removed admin can make another's removals more senior).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from .membership_history import LEVEL_NAMES, History, key

RECOVERY = key("paper")
ADMIN = 4


class Op(NamedTuple):
    kind: str
    author: bytes
    target: bytes
    level: int
    parents: tuple[bytes, ...]


@dataclass
class Fold:
    ok: frozenset[bytes]
    live: frozenset[bytes]
    eff: list[bytes]
    members: dict[bytes, int]


@dataclass
class Oracle:
    ops: dict[bytes, Op]
    literal: bool = False
    folds: dict[frozenset[bytes], Fold] = field(default_factory=dict)
    pasts: dict[bytes, frozenset[bytes]] = field(default_factory=dict)
    depths: dict[bytes, int] = field(default_factory=dict)
    provs: dict[bytes, frozenset[bytes]] = field(default_factory=dict)

    def anc(self, i: bytes) -> frozenset[bytes]:
        if i not in self.pasts:
            parents = self.ops[i].parents
            self.pasts[i] = frozenset(parents).union(*(self.anc(parent) for parent in parents))
        return self.pasts[i]

    def depth(self, i: bytes) -> int:
        if i not in self.depths:
            self.depths[i] = 1 + max((self.depth(p) for p in self.ops[i].parents), default=0)
        return self.depths[i]

    def entitled(self, i: bytes) -> bool:
        op = self.ops[i]
        if op.kind == "genesis":
            return True
        past = self.fold(self.anc(i))
        known = {self.ops[e].target for e in past.ok if self.ops[e].kind in ("genesis", "enroll")}
        if op.kind != "enroll" and op.target not in known:
            return False
        level = past.members.get(op.author, -1)
        lowers_itself = op.kind != "enroll" and op.author == op.target and level >= 0
        if op.kind == "demote" and op.level != ADMIN - 1:
            lowers_itself = lowers_itself and op.level < level
        return op.author == RECOVERY or level == ADMIN or lowers_itself

    def prov(self, i: bytes, ok: frozenset[bytes]) -> frozenset[bytes]:
        """As operations: the author of each is the other half of the pair."""
        if i not in self.provs:
            found = frozenset((i,))
            for e in ok & self.anc(i):
                if self.ops[e].kind == "enroll" and self.ops[e].target == self.ops[i].author:
                    found |= self.prov(e, ok)
            self.provs[i] = found
        return self.provs[i]

    def hits(self, x: bytes, i: bytes, ok: frozenset[bytes]) -> bool:
        if x == i or self.ops[i].author == RECOVERY or x in self.anc(i):
            return False
        return any(
            self.ops[j].author == self.ops[x].target
            and j not in self.anc(x)
            and x not in self.anc(j)
            for j in self.prov(i, ok)
        )

    def rank(self, d: bytes, among: Iterable[bytes]) -> tuple[int, bytes]:
        if d == RECOVERY:
            return (0, b"")
        return min((self.depth(e) + 1, e) for e in among if self.admits(e, d))

    def admits(self, e: bytes, d: bytes) -> bool:
        return self.ops[e].kind in ("genesis", "enroll") and self.ops[e].target == d

    def fold(self, s: frozenset[bytes]) -> Fold:
        if s not in self.folds:
            self.folds[s] = self.folded(s)
        return self.folds[s]

    def folded(self, s: frozenset[bytes]) -> Fold:
        ops = self.ops
        ok = frozenset(i for i in s if self.entitled(i))  # R1
        eff: list[bytes] = []
        void: set[bytes] = set()

        def order(r: bytes) -> tuple[tuple[int, bytes], int, bytes]:
            d = ops[r].author
            lent = ok if self.literal else ok - void
            if d != RECOVERY and not any(self.admits(e, d) for e in lent):
                lent = ok
            return self.rank(d, lent), self.depth(r), r

        left = {i for i in ok if ops[i].kind in ("revoke", "demote")}
        while left:  # R3
            r = min(left, key=order)
            left.remove(r)
            if r in void:
                continue
            eff.append(r)
            void |= {
                i for i in ok - void - set(eff) if ops[i].kind != "genesis" and self.hits(r, i, ok)
            }
        live = set(ok - void)
        dropped = True
        while dropped:  # R4
            orphans = {
                i
                for i in live
                if ops[i].kind != "genesis"
                and ops[i].author != RECOVERY
                and not any(self.admits(e, ops[i].author) for e in live & self.anc(i))
            }
            live -= orphans
            dropped = bool(orphans)
        eff = [r for r in eff if r in live]
        members: dict[bytes, int] = {}
        for e in live:  # R5
            if ops[e].kind not in ("genesis", "enroll"):
                continue
            d = ops[e].target
            about = [r for r in eff if ops[r].target == d and r not in self.anc(e)]
            if any(ops[r].kind == "revoke" for r in about):
                continue
            level = min([ops[e].level, *(ops[r].level for r in about)])
            members[d] = min(members.get(d, level), level)
        return Fold(ok, frozenset(live), eff, members)

    def raises(self) -> bool:
        """Whether a later statement says more than an earlier one: the appendix knows none."""
        said = [i for i in self.fold(frozenset(self.ops)).ok if self.ops[i].kind != "revoke"]
        return any(
            self.ops[i].target == self.ops[j].target
            and self.ops[i].level > self.ops[j].level
            and j in self.anc(i)
            for i in said
            for j in said
        )


def oracle_of(history: History, *, literal: bool = False) -> Oracle:
    ops = {}
    for id, (author, operation) in history.operations.items():
        details, kind = operation.details, operation.kind
        match kind:
            case "genesis":
                target, level = details["sig"], ADMIN
            case "enroll":
                target, level = details["cert"][20:52], scale(details["level"], details["role"])
            case "revoke":
                target, level = details["device"], 0
            case "set-level":
                kind, target, level = "demote", details["device"], scale(details["level"], "member")
            case "set-role":
                kind, target, level = "demote", details["device"], scale("full", details["role"])
            case _:
                continue
        ops[id] = Op(kind, author, target, level, operation.parents)
    return Oracle(ops, literal)


def scale(level: str, role: str) -> int:
    return ADMIN if role == "admin" else LEVEL_NAMES.index(level)
