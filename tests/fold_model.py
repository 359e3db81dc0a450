"""The rules of section 4 once more, naive: with promotions, roles and recovery keys that change.

Where fold_oracle.py is Appendix A to the letter, this is what the protocol makes of it. Works on
whole histories by walking to ancestors; every definition is that of R1 to R5 in words.
"""

from dataclasses import dataclass, field
from functools import cached_property

from .membership_history import LEVEL_NAMES, History

ROLES = ("member", "admin")
ADMITTING = ("genesis", "enroll")
Standing = tuple[str, str]


@dataclass
class Fold:
    ok: frozenset[bytes]
    live: frozenset[bytes]
    eff: frozenset[bytes]
    standings: dict[bytes, Standing]
    recovery: frozenset[bytes]

    def of(self, key: bytes) -> Standing | None:
        return ("full", "admin") if key in self.recovery else self.standings.get(key)


@dataclass
class Model:
    history: History
    folds: dict[frozenset[bytes], Fold] = field(default_factory=dict)
    pasts: dict[bytes, frozenset[bytes]] = field(default_factory=dict)

    @cached_property
    def everything(self) -> Fold:
        return self.fold(frozenset(self.history.operations))

    # What an operation is ------------------------------------------------------------------------

    def author(self, i: bytes) -> bytes:
        return self.history.operations[i][0]

    def kind(self, i: bytes) -> str:
        return self.history.operations[i][1].kind

    def anc(self, i: bytes) -> frozenset[bytes]:
        if i not in self.pasts:
            parents = self.history.operations[i][1].parents
            self.pasts[i] = frozenset(parents).union(*map(self.anc, parents))
        return self.pasts[i]

    def depth(self, i: bytes) -> int:
        return 1 + max(map(self.depth, self.history.operations[i][1].parents), default=0)

    def target(self, i: bytes) -> bytes:
        details = self.history.operations[i][1].details
        if self.kind(i) in ADMITTING:
            return bytes(details["sig"] if self.kind(i) == "genesis" else details["cert"][20:52])
        return bytes(details.get("device", b""))

    def sets_recovery(self, i: bytes) -> bytes | None:
        recovery = self.history.operations[i][1].details.get("recovery")
        return None if recovery is None else bytes(recovery[0])

    def says(self, i: bytes) -> tuple[str | None, str | None]:
        """Level and role that an operation gives its target."""
        details = self.history.operations[i][1].details
        return (
            ("full", "admin")
            if self.kind(i) == "genesis"
            else (
                details.get("level"),
                details.get("role"),
            )
        )

    def removes(self, i: bytes) -> bool:
        level, role = self.says(i)
        return (
            self.kind(i) == "revoke"
            or (self.kind(i) == "set-level" and level != "full")
            or (self.kind(i) == "set-role" and role == "member")
        )

    # R1 ------------------------------------------------------------------------------------------

    def entitled(self, i: bytes) -> bool:
        if self.kind(i) == "genesis":
            return True
        before = self.fold(self.anc(i))
        who, target, itself = before.of(self.author(i)), self.target(i), False
        known = {self.target(e) for e in before.ok if self.kind(e) in ADMITTING}
        keys = {self.sets_recovery(s) for s in before.ok}
        if who is None:
            return False
        level, role = self.says(i)
        match self.kind(i):
            case "enroll":
                return who[1] == "admin" and target not in keys
            case "recovery-replace":
                new = self.sets_recovery(i)
                senior = self.author(i) == self.most_senior(before)
                may = self.author(i) in before.recovery if before.recovery else senior
                return may and new not in known
            case "rename":
                return (who[1] == "admin" or target == self.author(i)) and target in known
            case "set-level":
                itself = LEVEL_NAMES.index(level or "") < LEVEL_NAMES.index(who[0])
            case "set-role":
                itself = role == "member"
                there = before.of(target)
                if role == "admin" and (there is None or there[0] != "full"):
                    return False
            case "revoke":
                itself = True
        itself = itself and target == self.author(i)
        return (who[1] == "admin" or itself) and target in known and target not in keys

    def most_senior(self, fold: Fold) -> bytes | None:
        admins = [key for key in fold.standings if fold.standings[key][1] == "admin"]
        lent = fold.live & fold.ok
        return min(admins, key=lambda key: self.rank(key, fold.ok, lent), default=None)

    # R2 ------------------------------------------------------------------------------------------

    def rank(
        self, key: bytes, ok: frozenset[bytes], lent: frozenset[bytes]
    ) -> tuple[int, bytes, int]:
        ranks = [self.recovery_rank(s, ok, lent) for s in ok if self.sets_recovery(s) == key]
        own = self.device_rank(key, ok, lent)
        return min([*ranks, *([own] if own else [])])

    def device_rank(
        self, key: bytes, ok: frozenset[bytes], lent: frozenset[bytes]
    ) -> tuple[int, bytes, int] | None:
        given = [e for e in ok if self.kind(e) in ADMITTING and self.target(e) == key]
        given = [e for e in given if e in lent] or given
        return min(((self.depth(e) + 1, e, 1) for e in given), default=None)

    def recovery_rank(
        self, s: bytes, ok: frozenset[bytes], lent: frozenset[bytes]
    ) -> tuple[int, bytes, int]:
        if self.kind(s) == "genesis":
            return (0, b"", 0)
        setter = self.author(s)
        own = self.device_rank(setter, ok, lent)
        ranks = [(own[0], own[1], 0)] if own else []
        ranks += [
            self.recovery_rank(t, ok, lent)
            for t in ok & self.anc(s)
            if self.sets_recovery(t) == setter
        ]
        return min(ranks)

    # R3 ------------------------------------------------------------------------------------------

    def rooted(self, i: bytes, ok: frozenset[bytes]) -> bool:
        return any(
            self.kind(s) == "genesis" or self.rooted(s, ok)
            for s in ok & self.anc(i)
            if self.sets_recovery(s) == self.author(i)
        )

    def provenance(self, i: bytes, ok: frozenset[bytes]) -> frozenset[bytes]:
        if self.rooted(i, ok):
            return frozenset()
        given = [
            c
            for c in ok & self.anc(i)
            if (self.kind(c) == "enroll" and self.target(c) == self.author(i))
            or self.sets_recovery(c) == self.author(i)
        ]
        return frozenset((i,)).union(*(self.provenance(c, ok) for c in given))

    def hits(self, x: bytes, i: bytes, ok: frozenset[bytes]) -> bool:
        if x == i or x in self.anc(i) or self.kind(i) == "genesis":
            return False
        return any(
            self.author(j) == self.target(x) and j not in self.anc(x) and x not in self.anc(j)
            for j in self.provenance(i, ok)
        )

    # The fold ------------------------------------------------------------------------------------

    def fold(self, s: frozenset[bytes]) -> Fold:
        if s not in self.folds:
            self.folds[s] = self._fold(s)
        return self.folds[s]

    def _fold(self, s: frozenset[bytes]) -> Fold:
        ok = frozenset(i for i in s if self.entitled(i))
        void: frozenset[bytes] = frozenset()
        drawn: frozenset[bytes] = frozenset()
        while left := [r for r in ok - void - drawn if self.removes(r)]:
            _, r = min(
                ((self.rank(self.author(r), ok, ok - void), self.depth(r), r), r) for r in left
            )
            drawn |= {r}
            void |= {i for i in ok - void - drawn if self.hits(r, i, ok)}
        live = ok - void
        while fallen := {i for i in live if not self.stands(i, live)}:  # R4
            live -= fallen
        eff = drawn & live
        standings = {}
        for device in {self.target(e) for e in live if self.kind(e) in ADMITTING}:
            standing = self.standing(device, live, eff)
            if standing is not None:
                standings[device] = standing
        statements = [i for i in live if self.sets_recovery(i) is not None]
        current = {i for i in statements if not any(i in self.anc(j) for j in statements)}
        recovery = {key for i in current if (key := self.sets_recovery(i)) is not None}
        return Fold(ok, live, eff, standings, frozenset(recovery))

    def stands(self, i: bytes, live: frozenset[bytes]) -> bool:
        return self.kind(i) == "genesis" or any(
            (self.kind(c) in ADMITTING and self.target(c) == self.author(i))
            or self.sets_recovery(c) == self.author(i)
            for c in live & self.anc(i)
        )

    def standing(
        self, device: bytes, live: frozenset[bytes], eff: frozenset[bytes]
    ) -> Standing | None:
        """R5."""
        about = [i for i in live if self.target(i) == device]
        ends = [r for r in about if self.kind(r) == "revoke" and r in eff]
        lasting = [
            i
            for i in about
            if self.kind(i) in ("set-level", "set-role")
            or (self.kind(i) in ADMITTING and all(r in self.anc(i) for r in ends))
        ]
        if not any(self.kind(i) in ADMITTING for i in lasting):
            return None
        said = []
        for which, order in ((0, LEVEL_NAMES), (1, ROLES)):
            speaking = [i for i in lasting if self.says(i)[which] is not None]
            last = [i for i in speaking if not any(i in self.anc(j) for j in speaking)]
            said.append(min(order.index(self.says(i)[which] or "") for i in last))
        level = LEVEL_NAMES[said[0]]
        return level, ROLES[said[1]] if level == "full" else "member"
