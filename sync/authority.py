"""Authority: what the devices of a mesh are, for any set of operations closed under ancestors (R5).

Knows what each entitled operation says of devices: who is admitted and removed, at which level and
role, and which recovery keys there are. Which operations still count is removals.py. Of what does,
the last word counts, and of several last words the lowest; a removal ends every enrolment that does
not descend from it.

Answers are pure functions of the set, so they are remembered by it and never go stale.

Spec: docs/protocol.md, section 4, "Rules". Ids and public keys are 32 bytes.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from .registry import LEVEL_ORDER, ROLES, Rank
from .removals import Node, Removals, recovery_of
from .session_limits import FOLDS_KEPT_MAX


class Standing(NamedTuple):
    """What a device is, or was at some point of the past. Recovery keys are full admins."""

    level: str
    role: str


_RECOVERY_STANDING = Standing("full", "admin")


class Statement(NamedTuple):
    """What one operation says of one device: `value` is its place in LEVEL_ORDER or ROLES."""

    node: Node
    value: int


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
    """The entitled operations of one mesh, by what they say of devices."""

    def __init__(self) -> None:
        self.bits = 0
        """The operations that a standing can depend on."""
        self._removals = Removals()
        self._enrolments: dict[bytes, list[Node]] = {}
        """Genesis and enrolments, by device, in order of insertion, like all lists here."""
        self._revokes: dict[bytes, list[Node]] = {}
        self._levels: dict[bytes, list[Statement]] = {}
        self._roles: dict[bytes, list[Statement]] = {}
        self._enrolled_by: dict[bytes, int] = {}
        """Device to the set of operations that enrolled it, and so the next two."""
        self._revoked_by: dict[bytes, int] = {}
        self._recovery_by: dict[bytes, int] = {}
        self._verdicts: dict[int, Verdict] = {}

    # Recording ---------------------------------------------------------------------------------

    @property
    def recorded(self) -> int:
        """All operations that count unless they are void."""
        return self._removals.recorded

    def record(self, node: Node) -> None:
        """Take in an entitled operation, after its ancestors; then what it says of devices."""
        self._removals.record(node)

    def enrolled(self, node: Node, device: bytes, level: str, role: str) -> None:
        """`node`, recorded, admits a device; the genesis does so as well."""
        self.bits |= node.bit
        self._removals.admits(node, device)
        _add(self._enrolled_by, device, node)
        self._enrolments.setdefault(device, []).append(node)
        self._levels.setdefault(device, []).append(Statement(node, LEVEL_ORDER.index(level)))
        self._roles.setdefault(device, []).append(Statement(node, ROLES.index(role)))

    def recovery_set(self, node: Node, sig_pk: bytes) -> None:
        """`node`, recorded, makes this key the recovery key."""
        self.bits |= node.bit
        self._removals.makes_recovery(node, sig_pk)
        _add(self._recovery_by, sig_pk, node)

    def level_set(self, node: Node, device: bytes, level: str) -> None:
        self.bits |= node.bit
        self._levels.setdefault(device, []).append(Statement(node, LEVEL_ORDER.index(level)))
        if level != "full":
            self._removals.removes(node, device)

    def role_set(self, node: Node, device: bytes, role: str) -> None:
        self.bits |= node.bit
        self._roles.setdefault(device, []).append(Statement(node, ROLES.index(role)))
        if role == "member":
            self._removals.removes(node, device)

    def revoked(self, node: Node, device: bytes) -> None:
        self.bits |= node.bit
        self._revokes.setdefault(device, []).append(node)
        _add(self._revoked_by, device, node)
        self._removals.removes(node, device)

    # What counts -------------------------------------------------------------------------------

    def verdict(self, within: int) -> Verdict:
        """What counts among these operations, which hold all their recorded ancestors."""
        verdict = self._verdicts.get(within)
        if verdict is None:
            if len(self._verdicts) >= FOLDS_KEPT_MAX:
                self._verdicts.clear()
            verdict = self._verdicts[within] = Verdict(*self._removals.draw(within))
        return verdict

    def ranks(self, within: int, void: int = 0) -> dict[bytes, Rank]:
        """R2: the seniority of every device and recovery key of a closed set; smaller is senior.

        By the enrolments that are not void; of those that have none, by the void ones.
        """
        return self._removals.ranks(within, void)

    # What a device is --------------------------------------------------------------------------

    def standing(self, key: bytes, past: int) -> Standing | None:
        """What a device or recovery key is in a closed set; None if it does not belong."""
        return self.standing_in(self.verdict(past & self.bits), key)

    def standing_in(self, verdict: Verdict, key: bytes) -> Standing | None:
        """The same, of a set that was judged already."""
        if key not in verdict.standings:
            is_recovery = key in self._recovery_by and any(
                recovery_of(node)[0] == key for node in self.recoveries(verdict)
            )
            verdict.standings[key] = (
                _RECOVERY_STANDING if is_recovery else self._device_standing(verdict, key)
            )
        return verdict.standings[key]

    def _device_standing(self, verdict: Verdict, device: bytes) -> Standing | None:
        if not self.admitting(verdict, device):
            return None
        level = min([said.value for said in latest(self.levels(verdict, device))])
        role = min([said.value for said in latest(self.roles(verdict, device))])
        return standing_of(level, role)

    def admitting(self, verdict: Verdict, device: bytes) -> list[Node]:
        """The enrolments by which a device belongs; none if it does not.

        A removal ends what does not descend from it, so also what came at the same time.
        """
        ended = self._revoked_by.get(device, 0) & verdict.removed
        return [
            node
            for node in self._enrolments.get(device, ())
            if node.bit & verdict.live and not ended & ~node.past
        ]

    def is_ended(self, verdict: Verdict, device: bytes, node: Node) -> bool:
        """Whether a removal in effect ends what an operation said of a device."""
        return bool(self._revoked_by.get(device, 0) & verdict.removed & ~node.past)

    def levels(self, verdict: Verdict, device: bytes) -> list[Statement]:
        """R5: what is said of the level of a device, but for enrolments that have ended."""
        return self._lasting(self._levels.get(device, []), verdict, device)

    def roles(self, verdict: Verdict, device: bytes) -> list[Statement]:
        return self._lasting(self._roles.get(device, []), verdict, device)

    def _lasting(self, said: list[Statement], verdict: Verdict, device: bytes) -> list[Statement]:
        live = verdict.live
        ended = self._revoked_by.get(device, 0) & verdict.removed
        if ended:
            # What lowered it at the time of its removal holds also if it was admitted again.
            for node in self._enrolments.get(device, ()):
                if ended & ~node.past:
                    live &= ~node.bit
        return [one for one in said if one.node.bit & live]

    def revoking(self, verdict: Verdict, device: bytes) -> list[Node]:
        """The removals of a device that are in effect."""
        return [node for node in self._revokes.get(device, ()) if node.bit & verdict.removed]

    def recoveries(self, verdict: Verdict) -> tuple[Node, ...]:
        """The statements of recovery keys that count and that no later one replaces."""
        if verdict.recovery is None:
            live = [node for node in self._removals.recoveries if node.bit & verdict.live]
            replaced = 0
            for node in live:
                replaced |= node.past
            verdict.recovery = tuple(node for node in live if not node.bit & replaced)
        return verdict.recovery

    def was_enrolled(self, device: bytes, past: int) -> bool:
        """Whether an operation of this set admitted a device, removed since or not."""
        return bool(self._enrolled_by.get(device, 0) & past)

    def was_recovery(self, key: bytes, past: int) -> bool:
        """Whether an operation of this set made it a recovery key, current or not."""
        return bool(self._recovery_by.get(key, 0) & past)

    def admitted(self, key: bytes) -> int:
        """The operations that ever admitted a key, whether they count by now or not."""
        return self._enrolled_by.get(key, 0) | self._recovery_by.get(key, 0)

    def vouching(self, verdict: Verdict, key: bytes) -> int:
        """The operations on which a key belongs: enrolments, and statements of a recovery key."""
        bits = 0
        for node in self.admitting(verdict, key):
            bits |= node.bit
        return bits | self._recovery_by.get(key, 0) & verdict.live


def latest(statements: list[Statement]) -> list[Statement]:
    """Those that no other descends from: several, if they were made at the same time."""
    if len(statements) == 1:
        return statements
    replaced = 0
    for said in statements:
        replaced |= said.node.past
    return [said for said in statements if not said.node.bit & replaced]


def standing_of(level: int, role: int) -> Standing:
    """Of places in LEVEL_ORDER and ROLES. Only a full device decides anything."""
    name = LEVEL_ORDER[level]
    return Standing(name, ROLES[role] if name == "full" else "member")


def _add(sets: dict[bytes, int], key: bytes, node: Node) -> None:
    sets[key] = sets.get(key, 0) | node.bit
