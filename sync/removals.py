"""Removals: which of a set of operations still count once its removals are drawn (R2 to R4).

Holds the operations that were entitled when they were written (R1, entitlement.py). A removal
makes void what rests on the word of the device it removes, unless that was known to it or was
written knowing it. Removals are drawn in order of seniority, so a device cannot undo, by operations
that it dates back, what a senior of it has decided. What this leaves of a device is authority.py.

Sets of operations are integers, one bit each in order of insertion, so parents have lower bits
than their children. Operations that were written by one author on the strength of the same
admissions form one `_Word` and share their provenance: a removal is weighed against words, of
which there are about as many as devices, and not against operations. Where no operation rivals a
removal, and that is every day but the bad ones, nothing has to be drawn. Nothing here recurses.

Answers are pure functions of the set, so they are remembered by it and never go stale.

Spec: docs/protocol.md, section 4, "Rules". Ids and public keys are 32 bytes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .operations import Operation
from .registry import Rank

_ROOT_RANK: Rank = (0, b"", 0)


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """An operation whose ancestors are all known. `past` is the set of them."""

    id: bytes
    author: bytes
    operation: Operation
    bit: int
    depth: int
    past: int


@dataclass(slots=True, eq=False)
class _Word:
    """The operations of one author that rest on the same admissions of it."""

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


class Removals:
    """The entitled operations of one mesh, and what its removals make void."""

    def __init__(self) -> None:
        self.recorded = 0
        """All operations that count unless they are void."""
        self.recoveries: list[Node] = []
        """What set a recovery key, in order of insertion, like all lists here."""
        self._enrolments = 0
        self._ranks: dict[bytes, list[tuple[int, Rank]]] = {}
        """By device: what each of its enrolments gives it."""
        self._credentials: dict[bytes, list[_Credential]] = {}
        self._credential_bits: dict[bytes, int] = {}
        self._words: dict[tuple[bytes, int], _Word] = {}
        """By author and credentials; a word comes after those that its credentials rest on."""
        self._written: dict[bytes, int] = {}
        self._rooted = 0
        """What was written on rooted words."""
        self._removals: dict[bytes, list[_Removal]] = {}
        """By target."""
        self._removal_of: dict[int, _Removal] = {}
        self._removal_bits = 0
        self._contested: dict[int, _Removal] = {}
        """Those that have rivals."""
        self._nodes: dict[int, Node] = {}
        """By bit."""

    # Recording ---------------------------------------------------------------------------------

    def record(self, node: Node) -> None:
        """Take in an operation that was entitled, and that a removal may make void.

        Its ancestors are recorded already; whether it admits or removes somebody is told next.
        """
        if node.past:  # The genesis rests on nobody's word.
            word = self._word(node)
            word.written |= node.bit
            if word.is_rooted:
                self._rooted |= node.bit
        self.recorded |= node.bit
        self._nodes[node.bit] = node
        self._written[node.author] = self._written.get(node.author, 0) | node.bit
        for removal in self._removals.get(node.author, ()):
            if not node.past & removal.node.bit:
                self._rival(removal, node.bit)

    def admits(self, node: Node, device: bytes) -> None:
        """`node`, recorded, is the genesis or an enrolment of this device."""
        self._enrolments |= node.bit
        self._ranks.setdefault(device, []).append((node.bit, (node.depth + 1, node.id, 1)))
        self._credential(node, device, makes_recovery=False)

    def makes_recovery(self, node: Node, sig_pk: bytes) -> None:
        """`node`, recorded, makes this key a recovery key."""
        self.recoveries.append(node)
        self._credential(node, sig_pk, makes_recovery=True)

    def removes(self, node: Node, target: bytes) -> None:
        """`node`, recorded, takes authority from this device. Nothing descends from it yet."""
        removal = _Removal(node, target)
        self._removals.setdefault(target, []).append(removal)
        self._removal_of[node.bit] = removal
        self._removal_bits |= node.bit
        rivals = self._written.get(target, 0) & ~node.past & ~node.bit
        if rivals:
            self._rival(removal, rivals)

    def _credential(self, node: Node, holder: bytes, *, makes_recovery: bool) -> None:
        word = self._word(node) if node.past else None
        given = _Credential(node, word, makes_recovery)
        self._credentials.setdefault(holder, []).append(given)
        self._credential_bits[holder] = self._credential_bits.get(holder, 0) | node.bit

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

    def draw(self, within: int) -> tuple[int, int]:
        """Which of these operations count, and which of those are removals in effect.

        The set holds all ancestors of its operations that were recorded, or all of those that can
        matter to an answer: admissions, removals and statements of recovery keys.
        """
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
        return live, live & self._removal_bits

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
                if hit & self._enrolments:
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
        hit &= within
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
        for device in self._ranks if keys is None else sorted(set(keys)):
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
        for node in self.recoveries:
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
