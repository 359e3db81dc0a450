"""Registry: the devices of a mesh and the keys they were granted, as a fold of its history says.

A value. It is made by `covey.sync.membership` from a set of operations, never changed, and the
same on every device that holds the same set. Unknown means no: a device that is not in it, a
level or a privacy that is not known, is entitled to nothing.

Removed devices stay in it, as inactive ones: their entries have an author, and a removal a cause.

A grant says that a full member gave a key to entitled members. That its scope tag belongs to its
database and privacy is not visible here: whoever holds the tag key checks it.

Spec: docs/protocol.md, section 4. Ids and public keys are 32 bytes, tags and the mesh id 16.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol

from .session_limits import CONTROL_SCOPE

LEVELS: Mapping[str, frozenset[int]] = {
    "full": frozenset((1, 2, 3)),
    "limited": frozenset((2, 3)),
    "guest": frozenset((3,)),
    "mailbox": frozenset(),
}
"""Which privacy levels (1 private, 2 family, 3 public) a device of this trust level may read."""

LEVEL_ORDER = ("mailbox", "guest", "limited", "full")
ROLES = ("member", "admin")
RELATIONSHIPS = ("", "personal", "family", "work")
USES = ("", "primary", "mobile", "shared", "guest")

Rank = tuple[int, bytes, int]
"""Smaller is senior: depth and id of the earliest enrolment, then 0 for the recovery key that the
device set and 1 for the device itself. The recovery key of the founding is `(0, b"", 0)`."""


class Seniority(NamedTuple):
    """The rank of a device or recovery key. The two differ where an enrolment of it is void."""

    assured: Rank
    """By the enrolments that count."""
    claimed: Rank
    """By all of them: the best it can have had while removals were drawn."""


Cut = Mapping[tuple[bytes, bytes], tuple[int, bytes]]
"""(scope tag, instance) to the seq and id of the last entry that still counts."""


def may_hold(level: str, scope: bytes, privacy: int) -> bool:
    """Whether a device of this level may hold keys of this scope. Unknown means no.

    The control key is for everybody but mailboxes, which never read the membership log.
    """
    if scope == CONTROL_SCOPE:
        return level in LEVELS and level != "mailbox"
    return privacy in LEVELS.get(level, frozenset())


class Ignored(Enum):
    """Why an operation of a known kind does not count."""

    MALFORMED = "its details are not of the form that its kind has"
    NOT_ENTITLED = "its author was not entitled to it"
    UNKNOWN_TARGET = "it is about a device that was no member"
    BAD_CERTIFICATE = "its certificate does not verify, is for another mesh, or was used before"
    OTHER_MESH = "it founds another mesh"
    VOIDED = "it rests on the word of a device that was removed"


@dataclass(frozen=True, slots=True)
class Device:
    """One device as the membership log describes it. Keys are public; `sig_pk` is its id."""

    sig_pk: bytes
    dh_pk: bytes
    seal_pk: bytes
    name: str
    type: str
    level: str
    role: str
    enrolled_by: bytes
    """`sig_pk` of the admitting device; its own for the founder."""
    enrolled_at: bytes
    """The operation that enrolled it first."""
    active: bool = True
    """Whether it belongs now. If not, level and role are those that it had."""
    expires_ms: int | None = None
    """When an admin's device should remove it, ms since 1970."""
    enrolled_ms: int = 0
    """When, by the clock of the admitting device, ms since 1970; so is `revoked_ms`."""
    revoked_by: bytes | None = None
    """Who removed it. None for active devices, and where no removal of its own ended it: those
    that a removed device admitted are inactive because their admission is void."""
    revoked_at: bytes | None = None
    """The operation that did."""
    revoked_ms: int | None = None
    relationship: str = ""
    use: str = ""
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recovery:
    """A recovery key that counts now: its words outrank every device."""

    sig_pk: bytes
    seal_pk: bytes
    set_by: bytes
    """The operation that set it."""


@dataclass(frozen=True, slots=True)
class Request:
    """A device that asks to be admitted, through a member."""

    id: bytes
    by: bytes
    """`sig_pk` of the member."""
    cert: bytes
    sig_pk: bytes
    dh_pk: bytes
    seal_pk: bytes
    name: str
    type: str
    level: str
    expires_ms: int | None = None
    """Until when it asks to belong, if not for good."""


class Recipient(Protocol):
    """Whom keys can be sealed to: a device or a recovery key."""

    @property
    def sig_pk(self) -> bytes: ...

    @property
    def seal_pk(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Grant:
    """One key of one scope and epoch, sealed to some devices."""

    id: bytes
    author: bytes
    scope: bytes
    database: str
    privacy: int
    epoch: int
    key_id: bytes
    sealed: Mapping[bytes, bytes]
    """Recipient to box."""
    made_ms: int = 0
    """When, by the clock of its author, ms since 1970."""


@dataclass(frozen=True, slots=True)
class MissingGrant:
    """A key that we hold, and to whom entitled to it nobody has granted it yet."""

    scope: bytes
    database: str
    privacy: int
    epoch: int
    key_id: bytes
    recipients: tuple[Recipient, ...]


@dataclass(frozen=True, slots=True)
class Registry:
    """Everything the membership log says, folded."""

    mesh: bytes = b""
    genesis: bytes = b""
    devices: Mapping[bytes, Device] = field(default_factory=dict)
    """By `sig_pk`."""
    grants: tuple[Grant, ...] = ()
    """Those that count, in order of (depth, id)."""
    heads: tuple[bytes, ...] = ()
    """Operations that no other rests on, ascending: what an entry written now refers to.

    At most 64, as the wire allows; of more, those that count and lie deepest.
    """
    unknown_kinds: tuple[str, ...] = ()
    """Kinds of operations that this version keeps without understanding them."""
    ignored: Mapping[bytes, Ignored] = field(default_factory=dict)
    """Operations of known kinds that do not count, and why."""
    recovery: tuple[Recovery, ...] = ()
    """The recovery keys that count now; several only if they were set at the same time."""
    cuts: Mapping[bytes, Cut] = field(default_factory=dict)
    """Device to where its logs end, united over its removals and what was adopted since."""
    requests: tuple[Request, ...] = ()
    """Devices that wait for an admin, in order of (depth, id)."""
    ranks: Mapping[bytes, Seniority] = field(default_factory=dict)
    """Of every device and recovery key that ever was."""
    settings: Mapping[tuple[bytes, str], Mapping[str, str | int | bool]] = field(
        default_factory=dict
    )
    """(device or b"" for every one, database or "" for every one) to what was said (policy.py)."""
    said_by: Mapping[tuple[bytes, str], Mapping[str, bytes]] = field(default_factory=dict)
    """The same places, to whose word on a key was the last, also where it took back another."""

    def active(self) -> tuple[Device, ...]:
        """The devices that belong now, in order of their ids."""
        return tuple(d for _, d in sorted(self.devices.items()) if d.active)

    def is_admin(self, sig_pk: bytes) -> bool:
        """Whether this device may admit and remove others now."""
        device = self.devices.get(sig_pk)
        return device is not None and device.active and device.role == "admin"

    def outranks(self, one: bytes, other: bytes) -> bool:
        """Whether `one`, a device or recovery key, is senior to `other`. False if one is unknown.

        Then nothing that `other` writes, whenever it claims to have written it, undoes that `one`
        removed it. Neither of two may outrank the other, where one was admitted by a device that
        was removed and by another one as well.
        """
        ranks = self.ranks
        return one in ranks and other in ranks and ranks[one].assured < ranks[other].claimed

    def seniors(self, device: Device) -> list[Device]:
        """The active devices that outrank this one."""
        return [one for one in self.active() if self.outranks(one.sig_pk, device.sig_pk)]

    def entitled(self, device: Device, privacy: int) -> bool:
        """Whether a device may hold keys of this privacy level. 0 (device) is nobody else's."""
        known = self.devices.get(device.sig_pk)
        if known is None or not known.active:
            return False
        return privacy in LEVELS.get(known.level, frozenset())

    def by_dh(self, dh_pk: bytes) -> Device | None:
        """The active device with this Noise key."""
        for device in self.devices.values():
            if device.dh_pk == dh_pk and device.active:
                return device
        return None

    def writer_key(
        self, scope: bytes, held: Collection[bytes] | None = None
    ) -> tuple[int, bytes] | None:
        """(epoch, key id) to write under: the highest epoch, then the smallest key id.

        A key is good if everybody who holds it, by grant or because they made it, may hold it
        now: active members whose level still allows it, and recovery keys. With `held`, only
        keys of these ids count: a member may have made one and kept it to itself.
        """
        recovery = {key.sig_pk for key in self.recovery}
        privacies: dict[tuple[int, bytes], int] = {}
        holders: dict[tuple[int, bytes], set[bytes]] = {}
        for grant in self.grants:
            key = (grant.epoch, grant.key_id)
            if grant.scope == scope and (held is None or grant.key_id in held):
                privacies.setdefault(key, grant.privacy)
                holders.setdefault(key, set()).update(grant.sealed, (grant.author,))
        good = [
            key
            for key, held_by in holders.items()
            if all(
                one in recovery or self._may_hold_now(one, scope, privacies[key]) for one in held_by
            )
        ]
        return min(good, key=lambda key: (-key[0], key[1]), default=None)

    def missing_grants(self, held: Collection[bytes]) -> tuple[MissingGrant, ...]:
        """Which of the keys we hold, by key id, entitled devices still lack; all epochs.

        Recovery keys are entitled to all of them. In order of scope, epoch and key id. A key
        that two grants put into different databases or privacies is taken as its first grant says.
        """
        first: dict[tuple[bytes, int, bytes], Grant] = {}
        for grant in self.grants:
            if grant.key_id in held:
                first.setdefault((grant.scope, grant.epoch, grant.key_id), grant)
        granted = self._granted()
        missing = []
        for key, grant in sorted(first.items()):
            entitled: dict[bytes, Recipient] = {
                device.sig_pk: device
                for device in self.active()
                if may_hold(device.level, grant.scope, grant.privacy)
            }
            entitled.update((one.sig_pk, one) for one in self.recovery)
            lacking = tuple(one for id, one in entitled.items() if id not in granted[key])
            if lacking:
                missing.append(
                    MissingGrant(key[0], grant.database, grant.privacy, *key[1:], lacking)
                )
        return tuple(missing)

    def _may_hold_now(self, holder: bytes, scope: bytes, privacy: int) -> bool:
        device = self.devices.get(holder)
        return device is not None and device.active and may_hold(device.level, scope, privacy)

    def _granted(self) -> dict[tuple[bytes, int, bytes], set[bytes]]:
        """(scope, epoch, key id) to those that it was sealed to."""
        granted: dict[tuple[bytes, int, bytes], set[bytes]] = {}
        for grant in self.grants:
            key = (grant.scope, grant.epoch, grant.key_id)
            granted.setdefault(key, set()).update(grant.sealed)
        return granted
