"""Mesh: who belongs, who may what, and which keys we hold, as this node knows it.

Keeps the membership operations, their fold (`Registry`) and every key that was granted to this
device. Writes our own operations: enrolments, grants, names. After every change of the set of
operations the fold is made anew and its consequences drawn: keys sealed to us are opened, scopes
become known, devices that became entitled get their grants.

The rules themselves are pure (`covey.sync.membership`); this module holds the state and the keys.
Spec: docs/protocol.md, sections 2 (tags) and 4.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from .. import CoveyError
from ..crypto.entry import (
    CONTROL_SCOPE,
    KIND_CHANGE_SET,
    KIND_MEMBERSHIP,
    Heading,
    auth_ref,
    entry_id,
    key_id,
    open_sealed,
)
from ..crypto.grants import database_tag, discovery_key, scope_tag, tag_key
from ..crypto.identity import DeviceKeys
from ..storage import log_rows, membership_rows
from ..storage.errors import StorageError
from ..storage.membership_rows import ScopeKey
from ..storage.store import Store
from ..sync.errors import DecodeError
from ..sync.hlc import tick
from ..sync.membership import Membership, Operation, decode_operation, encode_operation
from ..sync.registry import Device, Grant, Registry, may_hold
from .committer import Committer, Outlet, Staged
from .granting import control_keys, grant_details, granted_keys, missing_grants
from .ledger import PRIVACY_NAMES, Ledger, Log, Scope
from .outgoing import whole_log
from .ports import Clock, Entropy
from .stored import StoredEntry

KEY_BYTES = 32
INSTANCE_BYTES = 16
DEVICE_PRIVACY = 0
OUTLETS_KEPT_MAX = 1024


class NotAdminError(CoveyError):
    """Only an admin device may admit, rename or limit others. Nothing was changed."""

    exit_code = 3


class NotEntitledError(CoveyError):
    """This device holds no key for that database and level, and may not make one."""

    exit_code = 3


class Mesh:
    """The membership of one mesh, and our keys. Owned by the engine."""

    def __init__(
        self,
        database: Store,
        ledger: Ledger,
        keys: DeviceKeys,
        instance: bytes,
        clock: Clock,
        entropy: Entropy,
        membership: Membership,
        changed: Callable[[], None],
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._keys = keys
        self._clock = clock
        self._entropy = entropy
        self._membership = membership
        self._changed = changed
        self._scope_keys: dict[bytes, bytes] = {}
        self._device_scope_keys: dict[bytes, bytes] = {}
        self._headings: dict[tuple[bytes, ...], Heading] = {}
        self._outlets: dict[bytes, Outlet] = {}
        self._granting = False
        self._is_behind = False
        self._opening = asyncio.Lock()
        self.instance = instance
        self.committer: Committer

    # What is known -----------------------------------------------------------------------------

    @property
    def registry(self) -> Registry:
        return self._membership.registry

    @property
    def id(self) -> bytes:
        return self.registry.mesh

    def key(self, id: bytes) -> bytes | None:
        """The scope key of this id, if it was granted to us."""
        return self._scope_keys.get(id)

    def us(self) -> Device:
        return self.registry.devices[self._keys.sig_pk]

    def require_admin(self) -> None:
        """Raises NotAdminError unless this device may admit others."""
        if self.us().role != "admin":
            raise NotAdminError(
                "this device is a member, not an admin: run this on the device that made the mesh"
            )

    def control_key(self) -> tuple[int, bytes, bytes]:
        """Epoch, key id and key under which membership operations are written now."""
        current = self.registry.writer_key(CONTROL_SCOPE, self._scope_keys)
        assert current is not None, "a mesh has a control key from its first transaction on"
        return current[0], current[1], self._scope_keys[current[1]]

    def discovery_key(self) -> bytes:
        return discovery_key(self.control_key()[2])

    def shared_privacies(self, peer: bytes) -> frozenset[int]:
        """The privacy levels that both we and an active peer are entitled to."""
        devices = self.registry.devices
        both = [devices[self._keys.sig_pk], devices[peer]]
        return frozenset(
            level
            for level in range(1, len(PRIVACY_NAMES))
            if all(self.registry.entitled(device, level) for device in both)
        )

    def may_write(self, author: bytes, scope: Scope, heads: Sequence[bytes]) -> bool:
        """Was `author` entitled to this scope in the fold of these membership heads?

        Membership operations judge themselves in the fold; there any chain is stored.
        """
        if scope.tag == CONTROL_SCOPE:
            return True
        standing = self._membership.standing(author, heads)
        return standing is not None and may_hold(standing.level, scope.tag, scope.privacy)

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
        key = self._scope_keys.get(key_id)
        if key is None:
            return None
        shared = self.heading(log.scope.tag, log.author, log.instance, key_id, stored.heads)
        _, ad, nonce = entry_id(shared, row.seq, stored.prev, row.salt, row.ct)
        return open_sealed(key, ad, nonce, row.ct)

    # Ways to write -----------------------------------------------------------------------------

    async def outlet(self, scope: Scope) -> Outlet:
        """What is needed to write to a scope now. Raises NotEntitledError."""
        if self._ledger.log(scope.tag, self.instance) is None:
            await self.new_log(scope, self.instance, self._keys.sig_pk)
        return self.outlet_now(scope)

    def outlet_now(self, scope: Scope) -> Outlet:
        """As `outlet`, for a scope in which this instance has a log; it does not await.

        Asked again right before staging: heads that never became durable are refused by peers.
        """
        log = self._ledger.log(scope.tag, self.instance)
        assert log is not None, "outlet makes the log"
        heads = self.registry.heads
        outlet = self._outlets.get(scope.tag)
        if outlet is not None and outlet.heads == heads and outlet.log is log:
            return outlet
        id = self._writer_key_id(scope)
        heading = self.heading(scope.tag, self._keys.sig_pk, self.instance, id, heads)
        outlet = Outlet(log, heading, heads, self._scope_keys[id])
        self._outlets[scope.tag] = outlet
        return outlet

    def can_write(self, scope: Scope) -> bool:
        """Whether this device holds a key to write under; its own scopes it always can."""
        outlet = self._outlets.get(scope.tag)
        if outlet is not None and outlet.heads == self.registry.heads:
            return True
        if scope.privacy == DEVICE_PRIVACY and scope.tag != CONTROL_SCOPE:
            return True
        return self.registry.writer_key(scope.tag, self._scope_keys) is not None

    def can_open(self, database: str, privacy: int) -> bool:
        """Whether this device may write to that scope, or make it if nobody has yet."""
        scope = self._ledger.scope_named(database, privacy)
        return self._may_make(privacy) if scope is None else self.can_write(scope)

    def _may_make(self, privacy: int) -> bool:
        """Only a full device's grants count; what stays on this device needs none."""
        return privacy == DEVICE_PRIVACY or self.us().level == "full"

    def _writer_key_id(self, scope: Scope) -> bytes:
        if scope.privacy == DEVICE_PRIVACY and scope.tag != CONTROL_SCOPE:
            return key_id(self._device_scope_keys[scope.tag])
        current = self.registry.writer_key(scope.tag, self._scope_keys)
        if current is None:
            raise NotEntitledError(
                f"{scope.database}: this device may not write at privacy"
                f" {PRIVACY_NAMES[scope.privacy]}"
            )
        return current[1]

    async def new_log(self, scope: Scope, instance: bytes, author: bytes) -> Log:
        """A log that the store does not have yet, still empty."""
        number = await self._database.write(
            lambda conn: log_rows.ensure_log(conn, scope.number, instance, author)
        )
        log = self._ledger.log(scope.tag, instance)
        if log is None:
            log = Log(number, scope, instance, author)
            self._ledger.add_log(log)
        return log

    async def open_scope(self, database: str, privacy: int) -> Scope:
        """Make a scope: its key, and grants to every entitled device. Durable when it returns.

        First writes that come together share one; another key each would be granted for ever.
        """
        async with self._opening:
            scope = self._ledger.scope_named(database, privacy)
            return await self._make_scope(database, privacy) if scope is None else scope

    async def _make_scope(self, database: str, privacy: int) -> Scope:
        tag = scope_tag(self._tag_key(), database, privacy)
        if not self._may_make(privacy):
            raise NotEntitledError(
                f"{database}: this device may not open a database at privacy"
                f" {PRIVACY_NAMES[privacy]}, its level is {self.us().level}: write there first on"
                " a device of level full"
            )
        key = self._entropy.draw(KEY_BYTES)
        await self._database.write(
            lambda conn: membership_rows.add_scope_key(conn, ScopeKey(tag, 1, key_id(key), key))
        )
        self._scope_keys[key_id(key)] = key
        if privacy == DEVICE_PRIVACY:
            self._device_scope_keys[tag] = key
            return await self._know_scope(tag, database, privacy)
        recipients = [
            device for device in self.registry.active() if self.registry.entitled(device, privacy)
        ]
        name = (tag, database, privacy, 1)
        details = grant_details(self.id, name, key, recipients, self._entropy)
        await self._settle(await self._append([("grant", details)]))
        scope = self._ledger.scope(tag)
        assert scope is not None
        return scope

    async def rename(self, device: bytes, name: str) -> None:
        """Give a device another name. Raises NotAdminError for somebody else's device."""
        if device != self._keys.sig_pk:
            self.require_admin()
        await self._settle(await self._append([("rename", {"device": device, "name": name})]))

    async def enroll(self, certificate: bytes, name: str, kind: str, level: str) -> None:
        """Admit a device, with every key its level entitles it to, in one transaction."""
        details = {
            "cert": certificate,
            "name": name,
            "type": kind,
            "level": level,
            "role": "member",
        }
        staged = await self._append([("enroll", details)], with_grants=True)
        await self._settle(staged)

    async def welcome(
        self, device: bytes
    ) -> tuple[bytes, tuple[tuple[int, bytes, bytes], ...], list[bytes]]:
        """What a new device needs: genesis id, every control key sealed to it, and the log.

        The log comes as batch frames, in order of arrival; its oldest entries are under the oldest
        key.
        """
        newcomer = self.registry.devices[device]
        keys = control_keys(self.registry, self._scope_keys, newcomer, self._entropy)
        vector = self._ledger.holdings.heads(CONTROL_SCOPE)
        ranges = tuple((instance, 1, head.seq) for instance, head in sorted(vector.items()))
        frames = await whole_log(self._database, self._ledger, CONTROL_SCOPE, ranges)
        return self.registry.genesis, keys, frames

    # Learning ----------------------------------------------------------------------------------

    def load(
        self, operations: Iterable[tuple[bytes, bytes, bytes]], keys: Iterable[ScopeKey]
    ) -> None:
        """At a start: everything the store holds. (op id, author, body), in order of arrival."""
        for scope_key in keys:
            self._scope_keys[scope_key.key_id] = scope_key.key
            scope = self._ledger.scope(scope_key.scope_tag)
            if scope is not None and scope.tag != CONTROL_SCOPE and not scope.privacy:
                self._device_scope_keys[scope.tag] = scope_key.key
        self._add(operations)

    async def learned(self, operations: Iterable[tuple[bytes, bytes, bytes]]) -> None:
        """New operations are durable: fold, and draw the consequences, now or when the disk can."""
        self._add(operations)
        with suppress(StorageError):
            await self._draw_consequences()

    @property
    def is_behind(self) -> bool:
        """Whether something follows from the operations that the disk did not take yet."""
        return self._is_behind

    async def catch_up(self) -> None:
        """Draw the consequences that are left. Raises StorageError; then some still are."""
        if self._is_behind:
            await self._draw_consequences()

    def _add(self, operations: Iterable[tuple[bytes, bytes, bytes]]) -> None:
        decoded: dict[bytes, tuple[bytes, Operation]] = {}
        for id, author, body in operations:
            try:
                decoded[id] = (author, decode_operation(body))
            except DecodeError:
                continue
        self._membership.add(decoded)

    async def _draw_consequences(self) -> None:
        """Whatever happens meanwhile, what was not done is known to be left (`is_behind`)."""
        self._is_behind = True
        try:
            await self._take_keys()
            for grant in self.registry.grants:
                if self._ledger.scope(grant.scope) is None and self._is_rightly_named(grant):
                    await self._know_scope(grant.scope, grant.database, grant.privacy)
            self._is_behind = False
        finally:
            self._changed()
        await self._grant_missing()

    async def _take_keys(self) -> None:
        """Keep every key that is sealed to us and that we do not have."""
        fresh = granted_keys(self.registry, self._keys, self._scope_keys, self._is_rightly_named)
        if fresh:
            await self._database.write(
                lambda conn: [membership_rows.add_scope_key(conn, key) for key in fresh]
            )
            # Not before: a key that is in memory alone would be missing after a crash.
            self._scope_keys.update((key.key_id, key.key) for key in fresh)

    async def _know_scope(self, tag: bytes, database: str, privacy: int) -> Scope:
        number = await self._database.write(
            lambda conn: log_rows.ensure_scope(conn, tag, database, privacy)
        )
        scope = self._ledger.scope(tag)
        if scope is None:
            scope = Scope(number, tag, database, privacy)
            self.add_scope(scope)
        return scope

    def add_scope(self, scope: Scope) -> None:
        self._ledger.add_scope(scope, database_tag(self._tag_key(), scope.database))

    async def _grant_missing(self) -> None:
        """Devices that became entitled after a key was made get it from whoever made it.

        The key's first granter does it; everybody else waits, so that one grant is written
        and not one a member. What the granter cannot do any more is done by the enrolling device.
        """
        if self._granting or self.us().level != "full":
            return
        self._granting = True
        try:
            details = self._missing_grants(self._keys.sig_pk)
            if details:
                await self._settle(await self._append([("grant", d) for d in details]))
        finally:
            self._granting = False

    # Operations --------------------------------------------------------------------------------

    def _missing_grants(self, first_granter: bytes | None) -> list[dict[str, Any]]:
        return missing_grants(self.registry, self._scope_keys, first_granter, self._entropy)

    async def _append(
        self, operations: list[tuple[str, dict[str, Any]]], *, with_grants: bool = False
    ) -> list[Staged]:
        """Stage operations one after the other, each resting on the one before.

        The fold takes them in at once, so that each sees its predecessors; if the commit fails
        they are taken out again (`take_back`). `with_grants`: then also what is missing.
        """
        scope = self._ledger.scope(CONTROL_SCOPE)
        assert scope is not None
        await self.outlet(scope)
        staged = [await self._append_one(scope, kind, details) for kind, details in operations]
        if with_grants:
            for details in self._missing_grants(None):
                staged.append(await self._append_one(scope, "grant", details))
        return staged

    async def _append_one(self, scope: Scope, kind: str, details: dict[str, Any]) -> Staged:
        committer = self.committer
        committer.hlc = tick(committer.hlc, self._clock.wall_ms())
        operation = Operation(kind, self.registry.heads, committer.hlc, details)
        body = encode_operation(operation)
        staged = committer.stage(await self.outlet(scope), body, operation=body)
        self._membership.add({staged.entry_id: (self._keys.sig_pk, operation)})
        return staged

    async def _settle(self, staged: list[Staged]) -> None:
        """Wait until it is durable and its consequences are drawn, also if the caller gives up."""

        async def finish() -> None:
            for one in staged:
                await one.done
            await self._draw_consequences()

        await asyncio.shield(finish())

    def take_back(self, operations: Sequence[bytes]) -> None:
        """These did not become durable: nothing that is written from now on rests on them."""
        self._membership.remove(operations)
        self._outlets.clear()

    def _is_rightly_named(self, grant: Grant) -> bool:
        """Whether the scope tag is that of the database and privacy: members might lie here."""
        if grant.scope == CONTROL_SCOPE:
            return True
        return grant.scope == scope_tag(self._tag_key(), grant.database, grant.privacy)

    def _tag_key(self) -> bytes:
        # Grants come in the order of the fold, so this is the founder's, whoever made more.
        first = next(grant for grant in self.registry.grants if grant.scope == CONTROL_SCOPE)
        return tag_key(self._scope_keys[first.key_id])
