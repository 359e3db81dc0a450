"""Registry: the devices of a mesh and the keys they were granted, as a fold of its history says.

A value. It is made by `covey.sync.membership` from a set of operations, never changed, and the
same on every device that holds the same set. Unknown means no: a device that is not in it, a
level or a privacy that is not known, is entitled to nothing.

A grant says that a full member gave a key to entitled members. That its scope tag belongs to its
database and privacy is not visible here: whoever holds the tag key checks it.

Spec: docs/protocol.md, section 4. Ids and public keys are 32 bytes, tags and the mesh id 16.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum

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
    BAD_CERTIFICATE = "its certificate does not verify, or is for another mesh"
    OTHER_MESH = "it founds another mesh"


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


@dataclass(frozen=True, slots=True)
class MissingGrant:
    """A key that we hold and these entitled devices were not granted yet."""

    scope: bytes
    database: str
    privacy: int
    epoch: int
    key_id: bytes
    recipients: tuple[Device, ...]


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

    def active(self) -> tuple[Device, ...]:
        """The devices that belong now, in order of their ids."""
        return tuple(d for _, d in sorted(self.devices.items()) if d.active)

    def entitled(self, device: Device, privacy: int) -> bool:
        """Whether a device may hold keys of this privacy level. 0 (device) is nobody else's."""
        known = self.devices.get(device.sig_pk)
        if known is None or not known.active:
            return False
        return privacy in LEVELS.get(known.level, frozenset())

    def by_dh(self, dh_pk: bytes) -> Device | None:
        """The device with this Noise key."""
        for device in self.devices.values():
            if device.dh_pk == dh_pk:
                return device
        return None

    def writer_key(
        self, scope: bytes, held: Collection[bytes] | None = None
    ) -> tuple[int, bytes] | None:
        """(epoch, key id) to write under: the highest epoch, then the smallest key id.

        A key that any device holds that is not an active member is not written under. With
        `held`, only keys of these ids count: a member may have made one and kept it to itself.
        """
        active = {device.sig_pk for device in self.active()}
        good = [
            key
            for key, held_by in self._holders().items()
            if key[0] == scope and held_by <= active and (held is None or key[2] in held)
        ]
        if not good:
            return None
        _, epoch, key_id = min(good, key=lambda key: (-key[1], key[2]))
        return epoch, key_id

    def missing_grants(self, held: Collection[bytes]) -> tuple[MissingGrant, ...]:
        """Which of the keys we hold, by key id, entitled devices still lack; all epochs.

        In order of scope, epoch and key id. A key that two grants put into different
        databases or privacies is taken as its first grant says.
        """
        first: dict[tuple[bytes, int, bytes], Grant] = {}
        for grant in self.grants:
            if grant.key_id in held:
                first.setdefault((grant.scope, grant.epoch, grant.key_id), grant)
        holders = self._holders()
        missing = []
        for key, grant in sorted(first.items()):
            lacking = tuple(
                device
                for device in self.active()
                if device.sig_pk not in holders[key]
                and may_hold(device.level, grant.scope, grant.privacy)
            )
            if lacking:
                missing.append(
                    MissingGrant(key[0], grant.database, grant.privacy, *key[1:], lacking)
                )
        return tuple(missing)

    def _holders(self) -> dict[tuple[bytes, int, bytes], set[bytes]]:
        """(scope, epoch, key id) to the devices it was granted to."""
        holders: dict[tuple[bytes, int, bytes], set[bytes]] = {}
        for grant in self.grants:
            key = (grant.scope, grant.epoch, grant.key_id)
            holders.setdefault(key, set()).update(grant.sealed)
        return holders
