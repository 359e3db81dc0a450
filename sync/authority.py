"""Authority: what of a set of operations still counts once its removals are drawn.

Knows the operations that were entitled when they were written (rule R1, entitlement.py) and
answers, for any set of them that is closed under ancestors: which of them count (R2 to R4), and
what a device is there (R5). A removal makes void what rests on the word of the device it removes,
unless that was known to it or was written knowing it; removals are drawn in order of seniority,
so a device cannot undo, by operations that it dates back, what a senior of it has decided.

Sets of operations are integers, one bit each in order of insertion, so parents have lower bits
than their children. Operations that were written by one author on the strength of the same
admissions form one `_Word` and share their provenance: a removal is weighed against words, of
which there are about as many as devices, and not against operations. Where no operation rivals a
removal, and that is every day but the bad ones, nothing has to be drawn. Nothing here recurses.

Answers are pure functions of the set, so they are remembered by it and never go stale.

Spec: docs/protocol.md, section 4, "Rules". Ids and public keys are 32 bytes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from .operations import Operation
from .registry import LEVEL_ORDER, ROLES, Rank
from .session_limits import FOLDS_KEPT_MAX

_ROOT_RANK: Rank = (0, b"", 0)


class Standing(NamedTuple):
    """What a device is, or was at some point of the past. Recovery keys are full admins."""

    level: str
    role: str


_RECOVERY_STANDING = Standing("full", "admin")


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """An operation whose ancestors are all known. `past` is the set of them."""

    id: bytes
    author: bytes
    operation: Operation
    bit: int
    depth: int
    past: int


class Statement(NamedTuple):
    """What one operation says of one device: `value` is its place in LEVEL_ORDER or ROLES."""

    node: Node
    value: int


@dataclass(slots=True, eq=False)
class _Word:
    """The operations of one author that rest on the same admissions of it (`basis`)."""

    credentials: int
    """Enrolments of the author, and statements that made it a recovery key."""
    provenance: int
    """These, and what they rest on themselves."""
    is_rooted: bool
    """Whether it is that of the founding recovery key or of a successor: nothing voids it."""
    written: int = 0


class _Credential(NamedTuple):
    node: Node
    word: _Word | None
    """The word that it was given on; None for the genesis."""
    makes_recovery: bool


@dataclass(slots=True, eq=False)
class _Removal:
    node: Node
    target: bytes
    rivals: int = 0
    """What the target wrote neither before nor after it."""


@dataclass(slots=True, eq=False)
class Verdict:
    """What counts in one closed set."""

    live: int
    """The operations that count."""
    removed: int
    """The removals that are in effect."""
    standings: dict[bytes, Standing | None] = field(default_factory=dict)
    recovery: tuple[Node, ...] | None = None


class Authority:
    """The entitled operations of one mesh, by what they mean for authority."""

    def __init__(self) -> None:
        self.entitled = 0
        """All operations that were recorded."""
        self.bits = 0
        """Those of them that any standing can depend on."""
        self.enrolments: dict[bytes, list[Node]] = {}
        """Genesis and enrolments, by device, in order of insertion, like all lists here."""
        self._enrolment_bits = 0
        self._ranks: dict[bytes, list[tuple[int, Rank]]] = {}
        """By device: what each of its enrolments gives it."""
        self.revokes: dict[bytes, list[Node]] = {}
        self._levels: dict[bytes, list[Statement]] = {}
        self._roles: dict[bytes, list[Statement]] = {}
        self._revoke_bits: dict[bytes, int] = {}
        self._recoveries: list[Node] = []
        self._credentials: dict[bytes, list[_Credential]] = {}
        self._credential_bits: dict[bytes, int] = {}
        self._words: dict[tuple[bytes, int], _Word] = {}
        """By author and credentials; a word comes after those that its credentials rest on."""
        self._written: dict[bytes, int] = {}
        self._rooted = 0
        """What was written on rooted words."""
        self._removals: dict[bytes, list[_Removal]] = {}
        self._removal_of: dict[int, _Removal] = {}
        self._removal_bits = 0
        self._contested: dict[int, _Removal] = {}
        """Those that have rivals."""
        self._nodes: dict[int, Node] = {}
        """By bit."""
        self._verdicts: dict[int, Verdict] = {}

    # Recording ---------------------------------------------------------------------------------

    def record(self, node: Node) -> None:
        """Take in an operation that was entitled, and that a removal may make void.

        Its ancestors are recorded already, and what it says of devices follows (`enrolled` ...).
        """
        if node.past:  # The genesis rests on nobody's word.
            word = self._word(node)
            word.written |= node.bit
            if word.is_rooted:
                self._rooted |= node.bit
        self.entitled |= node.bit
        self._nodes[node.bit] = node
        self._written[node.author] = self._written.get(node.author, 0) | node.bit
        for removal in self._removals.get(node.author, ()):
            if not node.past & removal.node.bit:
                self._rival(removal, node.bit)

    def enrolled(self, node: Node, device: bytes, level: str, role: str) -> None:
        """`node`, recorded, admits a device; the genesis does so as well."""
        self.bits |= node.bit
        self._enrolment_bits |= node.bit
        self._ranks.setdefault(device, []).append((node.bit, (node.depth + 1, node.id, 1)))
        self.enrolments.setdefault(device, []).append(node)
        self._credential(node, device, makes_recovery=False)
        self._levels.setdefault(device, []).append(Statement(node, LEVEL_ORDER.index(level)))
        self._roles.setdefault(device, []).append(Statement(node, ROLES.index(role)))

    def recovery_set(self, node: Node, sig_pk: bytes) -> None:
        """`node`, recorded, makes this key the recovery key."""
        self.bits |= node.bit
        self._recoveries.append(node)
        self._credential(node, sig_pk, makes_recovery=True)

    def level_set(self, node: Node, device: bytes, level: str) -> None:
        self.bits |= node.bit
        self._levels.setdefault(device, []).append(Statement(node, LEVEL_ORDER.index(level)))
        if level != "full":
            self._remove(node, device)

    def role_set(self, node: Node, device: bytes, role: str) -> None:
        self.bits |= node.bit
        self._roles.setdefault(device, []).append(Statement(node, ROLES.index(role)))
        if role == "member":
            self._remove(node, device)

    def revoked(self, node: Node, device: bytes) -> None:
        self.bits |= node.bit
        self.revokes.setdefault(device, []).append(node)
        self._revoke_bits[device] = self._revoke_bits.get(device, 0) | node.bit
        self._remove(node, device)

    def _credential(self, node: Node, holder: bytes, *, makes_recovery: bool) -> None:
        word = self._word(node) if node.past else None
        given = _Credential(node, word, makes_recovery)
        self._credentials.setdefault(holder, []).append(given)
        self._credential_bits[holder] = self._credential_bits.get(holder, 0) | node.bit

    def _remove(self, node: Node, target: bytes) -> None:
        """R3: a removal. Nothing descends from it yet."""
        removal = _Removal(node, target)
        self._removals.setdefault(target, []).append(removal)
        self._removal_of[node.bit] = removal
        self._removal_bits |= node.bit
        rivals = self._written.get(target, 0) & ~node.past & ~node.bit
        if rivals:
            self._rival(removal, rivals)

    def _rival(self, removal: _Removal, bits: int) -> None:
        removal.rivals |= bits
        self._contested[removal.node.bit] = removal

    def _word(self, node: Node) -> _Word:
        """The word that an operation was written on: its author's admissions in its past."""
        credentials = self._credential_bits.get(node.author, 0) & node.past
        name = (node.author, credentials)
        word = self._words.get(name)
        if word is None:
            provenance, is_rooted = 0, False
            for given in self._credentials.get(node.author, ()):
                if not credentials & given.node.bit:
                    continue
                provenance |= given.node.bit | (given.word.provenance if given.word else 0)
                if given.makes_recovery and (given.word is None or given.word.is_rooted):
                    is_rooted = True
            word = _Word(credentials, 0 if is_rooted else provenance, is_rooted)
            self._words[name] = word
        return word

    # What counts -------------------------------------------------------------------------------

    def verdict(self, within: int) -> Verdict:
        """What counts among these operations, which hold all their recorded ancestors."""
        verdict = self._verdicts.get(within)
        if verdict is None:
            if len(self._verdicts) >= FOLDS_KEPT_MAX:
                self._verdicts.clear()
            verdict = self._verdicts[within] = self._draw(within)
        return verdict

    def _draw(self, within: int) -> Verdict:
        contested = [
            removal
            for bit, removal in self._contested.items()
            if bit & within and removal.rivals & within
        ]
        void = self._voided(contested, within) if contested else 0
        live = within & ~void
        if void:
            # R4. A word stands after those it rests on, so what falls makes fall what comes later.
            for word in self._words.values():
                if word.written & live and not word.credentials & live:
                    live &= ~word.written
        return Verdict(live, live & self._removal_bits)

    def _voided(self, contested: list[_Removal], within: int) -> int:
        """R3: removals in order of (rank of their author, depth, id); each is in effect unless an
        earlier one has voided it, and then voids what rests on the word of its target.

        Enrolments that are void lend no seniority, or a removed admin could, by admitting another
        in the past of everybody, have its removals come first. So the order is that of what is
        left after each; none can come before the removal that makes such an enrolment void.
        """
        hits = {removal.node.bit: self._hit_by(removal, within) for removal in contested}
        reach = left = 0
        for bit, hit in hits.items():
            left |= bit
            reach |= hit
        # Removals that void nothing and that nothing can void come when they like.
        left |= reach & self._removal_bits
        void = drawn = 0
        while left := left & ~void & ~drawn:
            for removal in self._by_rank(left, within, void):
                bit = removal.node.bit
                if bit & void:
                    continue
                drawn |= bit
                hit = hits.get(bit, 0) & ~void & ~drawn
                void |= hit
                if hit & self._enrolment_bits:
                    break  # The ranks are others now.
        return void

    def _by_rank(self, removals: int, within: int, void: int) -> list[_Removal]:
        found = [self._removal_of[bit] for bit in bits_of(removals)]
        if len(found) > 1:
            ranks = self.ranks(within, void, (one.node.author for one in found))
            found.sort(key=lambda one: (ranks[one.node.author], one.node.depth, one.node.id))
        return found

    def _hit_by(self, removal: _Removal, within: int) -> int:
        """What rests on the word of the target, and neither precedes nor follows its removal."""
        hit = rivals = removal.rivals & within & ~self._rooted
        for word in self._words.values():
            if word.provenance & rivals:
                hit |= word.written
        hit &= within & ~self._rooted
        for bit in bits_of(hit):
            if self._nodes[bit].past & removal.node.bit:
                hit &= ~bit
        return hit

    def ranks(
        self, within: int, void: int = 0, keys: Iterable[bytes] | None = None
    ) -> dict[bytes, Rank]:
        """R2: the seniority of devices and recovery keys of a closed set, all or of `keys`.

        Smaller is senior. Of those whose every enrolment is void, that which these would give.
        """
        ranks: dict[bytes, Rank] = {}
        for device in self.enrolments if keys is None else set(keys):
            rank = self._device_rank(device, within, void)
            if rank is not None:
                ranks[device] = rank
        for node, rank in self._recovery_ranks(within, void).items():
            key = recovery_of(node)[0]
            ranks[key] = min(rank, ranks.get(key, rank))
        return ranks

    def _device_rank(self, device: bytes, within: int, void: int) -> Rank | None:
        given = self._ranks.get(device, ())
        counting = [rank for bit, rank in given if bit & within and not bit & void]
        if not counting:
            counting = [rank for bit, rank in given if bit & within]
        return min(counting) if counting else None

    def _recovery_ranks(self, within: int, void: int) -> dict[Node, Rank]:
        """The rank that each statement of a recovery key gives: that of whoever made it."""
        ranks: dict[Node, Rank] = {}
        for node in self._recoveries:
            if not node.bit & within:
                continue
            if not node.past:
                ranks[node] = _ROOT_RANK
                continue
            own = self._device_rank(node.author, within, void)
            inherited = [] if own is None else [(own[0], own[1], 0)]
            for given in self._credentials[node.author]:
                if given.makes_recovery and given.node.bit & node.past:
                    inherited.append(ranks[given.node])
            ranks[node] = min(inherited)
        return ranks

    # What a device is --------------------------------------------------------------------------

    def standing(self, key: bytes, past: int) -> Standing | None:
        """What a device or recovery key is in a closed set; None if it does not belong."""
        return self.standing_in(self.verdict(past & self.bits), key)

    def standing_in(self, verdict: Verdict, key: bytes) -> Standing | None:
        """The same, of a set that was judged already."""
        if key not in verdict.standings:
            is_recovery = any(recovery_of(node)[0] == key for node in self.recoveries(verdict))
            verdict.standings[key] = (
                _RECOVERY_STANDING if is_recovery else self._device_standing(verdict, key)
            )
        return verdict.standings[key]

    def _device_standing(self, verdict: Verdict, device: bytes) -> Standing | None:
        if not self.admitting(verdict, device):
            return None
        level = min(said.value for said in latest(self.levels(verdict, device)))
        role = min(said.value for said in latest(self.roles(verdict, device)))
        return standing_of(level, role)

    def admitting(self, verdict: Verdict, device: bytes) -> list[Node]:
        """The enrolments by which a device belongs; none if it does not.

        A removal ends what does not descend from it, so also what came at the same time.
        """
        ended = self._revoke_bits.get(device, 0) & verdict.removed
        return [
            node
            for node in self.enrolments.get(device, ())
            if node.bit & verdict.live and not ended & ~node.past
        ]

    def is_ended(self, verdict: Verdict, device: bytes, node: Node) -> bool:
        """Whether a removal in effect ends what an operation said of a device."""
        return bool(self._revoke_bits.get(device, 0) & verdict.removed & ~node.past)

    def levels(self, verdict: Verdict, device: bytes) -> list[Statement]:
        """R5: what is said of the level of a device, and not ended by a removal."""
        return self._lasting(self._levels.get(device, []), verdict, device)

    def roles(self, verdict: Verdict, device: bytes) -> list[Statement]:
        return self._lasting(self._roles.get(device, []), verdict, device)

    def _lasting(self, said: list[Statement], verdict: Verdict, device: bytes) -> list[Statement]:
        ended = self._revoke_bits.get(device, 0) & verdict.removed
        live = verdict.live
        return [one for one in said if one.node.bit & live and not ended & ~one.node.past]

    def revoking(self, verdict: Verdict, device: bytes) -> list[Node]:
        """The removals of a device that are in effect."""
        return [node for node in self.revokes.get(device, ()) if node.bit & verdict.removed]

    def recoveries(self, verdict: Verdict) -> tuple[Node, ...]:
        """The statements of recovery keys that count and that no later one replaces."""
        if verdict.recovery is None:
            live = [node for node in self._recoveries if node.bit & verdict.live]
            replaced = 0
            for node in live:
                replaced |= node.past
            verdict.recovery = tuple(node for node in live if not node.bit & replaced)
        return verdict.recovery

    def was_recovery(self, key: bytes, past: int) -> bool:
        """Whether an operation of this set made it a recovery key, current or not."""
        given = self._credentials.get(key, ())
        return any(one.makes_recovery and one.node.bit & past for one in given)

    def admitted(self, key: bytes) -> int:
        """The operations that ever admitted a key, whether they count by now or not."""
        bits = 0
        for given in self._credentials.get(key, ()):
            bits |= given.node.bit
        return bits

    def vouching(self, verdict: Verdict, key: bytes) -> int:
        """The operations on which a key belongs: enrolments, and statements of a recovery key."""
        bits = 0
        for node in self.admitting(verdict, key):
            bits |= node.bit
        for given in self._credentials.get(key, ()):
            if given.makes_recovery:
                bits |= given.node.bit & verdict.live
        return bits


def latest(statements: list[Statement]) -> list[Statement]:
    """Those that no other descends from: several, if they were made at the same time."""
    replaced = 0
    for said in statements:
        replaced |= said.node.past
    return [said for said in statements if not said.node.bit & replaced]


def standing_of(level: int, role: int) -> Standing:
    """Of places in LEVEL_ORDER and ROLES. Only a full device decides anything."""
    name = LEVEL_ORDER[level]
    return Standing(name, ROLES[role] if name == "full" else "member")


def recovery_of(node: Node) -> tuple[bytes, bytes]:
    """`sig` and `seal` of the recovery key that an operation set."""
    sig_pk, seal_pk = node.operation.details["recovery"]
    return sig_pk, seal_pk


def bits_of(bits: int) -> Iterator[int]:
    """The single bits of a set, ascending."""
    while bits:
        lowest = bits & -bits
        yield lowest
        bits ^= lowest
