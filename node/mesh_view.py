"""Mesh view: what the membership and our keys say: who may what, and which key is for what.

Reads only. `Mesh` (mesh.py) learns and writes; whatever it changes shows here at once.

Spec: docs/protocol.md, sections 2 (tags), 4 and 10. Ids and keys are 32 bytes.
"""

from collections.abc import Collection, Sequence
from typing import Any

from .. import CoveyError
from ..crypto.entry import (
    CONTROL_SCOPE,
    KIND_CHANGE_SET,
    KIND_MEMBERSHIP,
    Heading,
    auth_ref,
    bucket_key,
    entry_id,
    key_id,
    open_sealed,
)
from ..crypto.grants import database_tag, discovery_key, scope_tag, tag_key
from ..crypto.identity import DeviceKeys
from ..sync.membership import Membership
from ..sync.policy import Party, Policy, layers_for, policy_of, when_asked
from ..sync.profile import COMPANION
from ..sync.registry import Device, Grant, Registry, may_hold
from ..sync.sharing import Sharing, terms_between
from .committer import Outlet
from .granting import recipients_of
from .ledger import PRIVACY_NAMES, Ledger, Log, Scope
from .presence import KEYS_MAX as DISCOVERY_KEYS_MAX
from .rotation import next_epoch, old_control_key, stale_scopes
from .stored import StoredEntry

DEVICE_PRIVACY = 0
OUTLETS_KEPT_MAX = 1024
Said = tuple[str, dict[str, Any]]
"""What somebody says about the mesh: the kind and the details of a membership operation."""


_REMOVED = "this device was removed from its mesh: what it has can be read and exported"


class NotAdminError(CoveyError):
    """Only an admin device may admit, rename or limit others. Nothing was changed."""

    exit_code = 3


class NotEntitledError(CoveyError):
    """This device holds no key for that database and level, and may not make one."""

    exit_code = 3


class MeshView:
    """What a mesh is, as this node knows it."""

    def __init__(self, ledger: Ledger, keys: DeviceKeys, membership: Membership) -> None:
        self._ledger = ledger
        self._keys = keys
        self._membership = membership
        self._scope_keys: dict[bytes, bytes] = {}
        self._device_scope_keys: dict[bytes, bytes] = {}
        self._headings: dict[tuple[bytes, ...], Heading] = {}
        self._outlets: dict[bytes, Outlet] = {}
        self._bucket_keys: dict[tuple[bytes, int], bytes] = {}
        self._writers: dict[bytes, tuple[int, bytes] | None] = {}
        self._writers_of: tuple[Registry, int] | None = None

    @property
    def registry(self) -> Registry:
        return self._membership.registry

    @property
    def id(self) -> bytes:
        return self.registry.mesh

    def key(self, id: bytes) -> bytes | None:
        """The scope key of this id, if it was granted to us."""
        return self._scope_keys.get(id)

    def opening_key(self, scope: Scope, id: bytes) -> bytes | None:
        """What opens entries of a scope that name this key; None if it was not granted to us."""
        key = self._scope_keys.get(id)
        if key is None or not scope.bucket:
            return key
        name = (id, scope.bucket)
        derived = self._bucket_keys.get(name)
        if derived is None:
            if len(self._bucket_keys) >= OUTLETS_KEPT_MAX:
                self._bucket_keys.clear()
            derived = self._bucket_keys[name] = bucket_key(key, scope.bucket)
        return derived

    def is_bucketed(self, database: str) -> bool:
        """Whether new records of a database are born into time buckets: some device takes only
        what is new of it, by what people said of it or by the profile.
        """
        return any(
            name in (database, "") and said.get("mode") == "window"
            for source in (self.registry.settings, COMPANION)
            for (_, name), said in source.items()
        )

    def us(self) -> Device:
        return self.registry.devices[self._keys.sig_pk]

    def require_admin(self) -> None:
        """Raises NotAdminError unless this device may admit others."""
        if not self.us().active:
            raise NotAdminError(_REMOVED)
        if self.us().role != "admin":
            raise NotAdminError(
                "this device is a member, not an admin: run this on an admin, which `covey devices`"
                " shows"
            )

    def control_key(self) -> tuple[int, bytes, bytes]:
        """Epoch, key id and key under which membership operations are written now."""
        current = self.registry.writer_key(CONTROL_SCOPE, self._scope_keys)
        epoch, id = current or self._old_control_key()
        return epoch, id, self._scope_keys[id]

    def discovery_keys(self) -> list[bytes]:
        """Newest first: older ones are for members that have not heard of the newest."""
        newest = self.control_key()[1]
        older = [
            grant.key_id
            for grant in reversed(self.registry.grants)
            if grant.scope == CONTROL_SCOPE and grant.key_id in self._scope_keys
        ]
        ids = list(dict.fromkeys([newest, *older]))[:DISCOVERY_KEYS_MAX]
        return [discovery_key(self._scope_keys[id]) for id in ids]

    def sharing_with(
        self, peer: bytes, ask: Collection[str] = (), they_ask: Collection[bytes] = ()
    ) -> Sharing:
        """What we have in common with a device of this mesh; nothing if either was removed.

        `ask` and `they_ask`: databases that we, and they by their tags, take now on demand.
        """
        ours = self._keys.sig_pk
        both = [self.registry.devices[ours], self.registry.devices[peer]]
        privacies = [
            level
            for level in range(1, len(PRIVACY_NAMES))
            if all(self.registry.entitled(device, level) for device in both)
        ]
        names = self._ledger.databases() if privacies and not self._is_plain() else ()
        terms = []
        for name in names:
            tag = self.database_tag(name)
            one = self.party(ours, name, is_asking=name in ask)
            other = self.party(peer, name, is_asking=tag in they_ask)
            terms.append((tag, terms_between(one, other)))
        return Sharing.of(privacies, terms)

    def database_tag(self, database: str) -> bytes:
        """The tag by which members speak of a database."""
        return database_tag(self.tag_key(), database)

    def policy(self, device: bytes, database: str) -> Policy:
        """What a device wants of a database, by what people said and the profile."""
        return policy_of(layers_for(self.registry.settings, COMPANION, device, database))

    def party(self, device: bytes, database: str, *, is_asking: bool = False) -> Party:
        """A device, known or not, as `decide` wants to see it."""
        known = self.registry.devices.get(device)
        level = known.level if known is not None and known.active else ""
        policy = self.policy(device, database)
        return Party(device, level, when_asked(policy) if is_asking else policy)

    def _is_plain(self) -> bool:
        """Whether nobody said anything, and no database has a name that the profile limits."""
        return not self.registry.settings and not any(
            (b"", name) in COMPANION for name in self._ledger.databases()
        )

    def may_read(self, scope: Scope) -> bool:
        """Whether this device may be sent entries of a scope, and the keys to them."""
        us = self.us()
        if scope.privacy == DEVICE_PRIVACY and scope.tag != CONTROL_SCOPE:
            return True
        return us.active and may_hold(us.level, scope.tag, scope.privacy)

    def may_write(self, author: bytes, scope: Scope, heads: Sequence[bytes]) -> bool:
        """Was `author` entitled to this scope in the fold of these membership heads?

        Membership operations judge themselves in the fold; there any chain is stored.
        """
        if scope.tag == CONTROL_SCOPE:
            return True
        standing = self._membership.standing(author, heads)
        return standing is not None and may_hold(standing.level, scope.tag, scope.privacy)

    def counts(self, log: Log, seq: int, heads: Sequence[bytes]) -> bool:
        """Whether an entry counts by itself: its author still belongs by the word under which it
        wrote, or whoever removed it had seen this entry (`vouching.py`).
        """
        if log.scope.tag == CONTROL_SCOPE or self._membership.admissible(log.author, heads):
            return True
        cut = self.registry.cuts.get(log.author, {}).get((log.scope.tag, log.instance))
        return cut is not None and seq <= cut[0]

    def counts_wholly(self, log: Log) -> bool:
        """Whether every entry of this log counts by itself, under whatever heads."""
        if log.scope.privacy == DEVICE_PRIVACY or self._membership.never_left(log.author):
            return True
        cut = self.registry.cuts.get(log.author, {}).get((log.scope.tag, log.instance))
        return cut is not None and log.head_seq <= cut[0]

    def standing_name(self, log: Log) -> bytes:
        """Equal names: the same entries of this log count by themselves."""
        cut = self.registry.cuts.get(log.author, {}).get((log.scope.tag, log.instance))
        reach = b"" if cut is None else cut[0].to_bytes(8, "big")
        return self._membership.admission(log.author) + reach

    def heading(
        self, scope: bytes, author: bytes, instance: bytes, key: bytes, heads: tuple[bytes, ...]
    ) -> Heading:
        """The header fields that entries of one segment share. Raises FormatError."""
        name = (scope, author, instance, key, *heads)
        heading = self._headings.get(name)
        if heading is None:
            kind = KIND_MEMBERSHIP if scope == CONTROL_SCOPE else KIND_CHANGE_SET
            ref = auth_ref(heads)
            heading = Heading(kind, self.id, scope, author, instance, ref, key)
            if len(self._headings) >= OUTLETS_KEPT_MAX:
                self._headings.clear()
            self._headings[name] = heading
        return heading

    def open_entry(self, log: Log, stored: StoredEntry) -> bytes | None:
        """Decrypt a stored entry; None while its key is missing. Raises CryptoError."""
        row, key_id = stored.entry, stored.key_id
        key = self.opening_key(log.scope, key_id)
        if key is None:
            return None
        shared = self.heading(log.scope.tag, log.author, log.instance, key_id, stored.heads)
        _, ad, nonce = entry_id(shared, row.seq, stored.prev, row.salt, row.ct)
        return open_sealed(key, ad, nonce, row.ct)

    def needs_key(self, scope: Scope) -> bool:
        """Whether there is no key left to write to this scope: each is held by somebody removed."""
        if scope.privacy == DEVICE_PRIVACY and scope.tag != CONTROL_SCOPE:
            return False
        made = self._outlets.get(scope.tag)
        if made is not None and made.heads == self.registry.heads:
            return False
        return self._writer(scope) is None

    def _writer(self, scope: Scope) -> tuple[int, bytes] | None:
        """`Registry.writer_key` of a scope, worked out once for all its buckets."""
        registry, held = self.registry, len(self._scope_keys)
        known = self._writers_of
        if known is None or known[0] is not registry or known[1] != held:
            self._writers.clear()
            self._writers_of = (registry, held)
        if scope.key_tag not in self._writers:
            found = registry.writer_key(scope.key_tag, self._scope_keys)
            self._writers[scope.key_tag] = found
        return self._writers[scope.key_tag]

    def can_make_key(self, scope: Scope) -> bool:
        """Whether this device may begin the next epoch of a scope."""
        return self._may_make(scope.privacy)

    def require_key(self, scope: Scope) -> None:
        """Raises NotEntitledError if there is no key to write to this scope (`needs_key`)."""
        self.writing_key_id(scope)

    def held_keys(self) -> Collection[bytes]:
        """The ids of all keys that we hold."""
        return self._scope_keys.keys()

    def stale_scopes(self, without: Collection[bytes] = ()) -> list[bytes]:
        """Scopes that need a new key if `without` were not there, the control scope first."""
        return stale_scopes(self.registry, self._scope_keys, without)

    def can_write(self, scope: Scope) -> bool:
        """Whether this device may have records there, by its level and the keys that it has.

        Whether one of these keys may be used now is another question (`needs_key`): if not, a write
        is refused, or waits for the next key, and does not look elsewhere for the record.
        """
        outlet = self._outlets.get(scope.tag)
        if outlet is not None and outlet.heads == self.registry.heads:
            return True
        if scope.privacy == DEVICE_PRIVACY and scope.tag != CONTROL_SCOPE:
            return True
        return may_hold(self.us().level, scope.tag, scope.privacy) and any(
            grant.scope == scope.key_tag and grant.key_id in self._scope_keys
            for grant in self.registry.grants
        )

    def can_open(self, database: str, privacy: int) -> bool:
        """Whether this device can write to that scope now, or make it if nobody has yet."""
        scope = self._ledger.scope_named(database, privacy)
        if scope is None or self.needs_key(scope):
            return self._may_make(privacy)
        return self.can_write(scope)

    def _may_make(self, privacy: int) -> bool:
        """Only a full member's grants count; what stays on this device needs none."""
        return privacy == DEVICE_PRIVACY or self._is_maker()

    def _require_active(self) -> None:
        if not self.us().active:
            raise NotEntitledError(_REMOVED)

    def _is_maker(self) -> bool:
        us = self.us()
        return us.active and us.level == "full"

    def _require_maker(self) -> None:
        if not self._is_maker():
            raise NotEntitledError(
                "the keys have to be renewed first, which a device of level full does: bring one"
                " near, or wait until it is back"
            )

    def writing_key_id(self, scope: Scope) -> bytes:
        """The id of the key that entries of a scope are written under now.

        Raises NotEntitledError if there is none (`needs_key`).
        """
        if scope.privacy == DEVICE_PRIVACY and scope.tag != CONTROL_SCOPE:
            return key_id(self._device_scope_keys[scope.key_tag])
        current = self._writer(scope)
        if current is not None:
            return current[1]
        self._require_active()
        raise NotEntitledError(
            f"{scope.database}: this device may not write at privacy"
            f" {PRIVACY_NAMES[scope.privacy]}, or has no key yet that a removed device lacks"
        )

    def _renews_control(self, operations: Sequence[Said]) -> bool:
        """Whether the next control key is granted by one of these."""
        epoch = next_epoch(self.registry, CONTROL_SCOPE)
        return any(
            kind == "grant" and not details["database"] and details["epoch"] >= epoch
            for kind, details in operations
        )

    def _key_for(self, kind: str, details: dict[str, Any]) -> bytes:
        """The id of the control key under which an operation goes.

        The grant of a control key goes under the newest one that all who are to have it can read;
        a new device, which has none, is handed them all with the log.
        """
        if kind == "grant" and not details["database"]:
            readers = {recipient for recipient, _ in details["sealed"]}
            grants = [grant for grant in self.registry.grants if grant.scope == CONTROL_SCOPE]
            if readers <= {recipient for grant in grants for recipient in grant.sealed}:
                return old_control_key(self.registry, self._scope_keys, readers)[1]
        return self.control_key()[1]

    def _old_control_key(self) -> tuple[int, bytes]:
        readers = recipients_of(self.registry, CONTROL_SCOPE, 0)
        return old_control_key(self.registry, self._scope_keys, [r.sig_pk for r in readers])

    def _is_rightly_named(self, grant: Grant) -> bool:
        """Whether the scope tag is that of the database and privacy: members might lie here."""
        if grant.scope == CONTROL_SCOPE:
            return True
        return grant.scope == scope_tag(self.tag_key(), grant.database, grant.privacy)

    def tag_key(self) -> bytes:
        """The key of all tags of this mesh."""
        # Grants come in the order of the fold, so this is the founder's, whoever made more.
        first = next(grant for grant in self.registry.grants if grant.scope == CONTROL_SCOPE)
        return tag_key(self._scope_keys[first.key_id])
