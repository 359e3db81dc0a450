"""Mesh: who belongs, who may what, and which keys we hold, as this node knows it.

Keeps the membership operations, their fold (`Registry`) and every key that was granted to this
device. Writes our own operations: enrolments, grants, removals. After every change of the set of
operations the fold is made anew and its consequences drawn: keys sealed to us are opened, scopes
become known, devices that became entitled get their grants.

The rules themselves are pure (`covey.sync.membership`), what follows from them for a reader stands
in `mesh_view.py`; this module learns, writes, and holds the keys.
Spec: docs/protocol.md, sections 2 (tags) and 4.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

from ..crypto.entry import CONTROL_SCOPE, key_id
from ..crypto.grants import database_tag, scope_tag
from ..crypto.identity import DeviceKeys
from ..storage import log_rows, membership_rows
from ..storage.errors import StorageError
from ..storage.membership_rows import ScopeKey
from ..storage.store import Store
from ..sync.errors import DecodeError
from ..sync.hlc import tick
from ..sync.membership import Membership, Operation, decode_operation, encode_operation
from ..sync.registry import Recipient
from .buckets import Buckets
from .committer import Committer, Outlet, Staged
from .granting import (
    control_keys,
    grant_details,
    granted_keys,
    missing_grants,
    recipients_of,
)
from .ledger import PRIVACY_NAMES, Ledger, Log, Scope
from .mesh_view import DEVICE_PRIVACY, MeshView, NotEntitledError, Said
from .outgoing import whole_log
from .ports import Clock, Entropy
from .rotation import next_epoch, seniority

KEY_BYTES = 32
INSTANCE_BYTES = 16
LIMITING = frozenset({"revoke", "set-level", "set-role"})
Operations = Sequence[Said]
"""To be written by us."""


class Mesh(MeshView):
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
        scopes_known: Callable[[], None],
    ) -> None:
        """`changed` is told of a changed membership, `scopes_known` of new time buckets."""
        super().__init__(ledger, keys, membership)
        self._database = database
        self._clock = clock
        self._entropy = entropy
        self._changed = changed
        self.buckets = Buckets(database, ledger, self, clock, scopes_known)
        self._granting = False
        self._owes_grants = False
        self._is_behind = False
        self._opening = asyncio.Lock()
        self.instance = instance
        self.committer: Committer

    # Ways to write -----------------------------------------------------------------------------

    async def outlet(self, scope: Scope) -> Outlet:
        """What is needed to write to a scope now. Raises NotEntitledError.

        If no key is left that only devices hold which may, a full device makes the next one first.
        """
        if self._ledger.log(scope.tag, self.instance) is None:
            await self.new_log(scope, self.instance, self._keys.sig_pk)
        await self.renew_key(scope)
        return self.outlet_now(scope)

    async def renew_key(self, scope: Scope) -> None:
        """Make the next key of a scope if none is left to write under, and this device may."""
        while self.needs_key(scope) and self.us().level == "full":
            await self.rotate([scope])

    async def rotate(self, scopes: Sequence[Scope]) -> int:
        """Begin a new epoch for these scopes; how many. Durable when it returns.

        Raises NotEntitledError unless this device is of level full.
        """
        self._require_maker()
        tags = list(dict.fromkeys(s.key_tag for s in scopes))
        await self.write(self.new_epochs(tags))
        return len(tags)

    async def rotate_stale(self) -> None:
        """Begin a new epoch wherever somebody holds the key who may not any more."""
        await self.write(lambda: self.new_epochs(self.stale_scopes()))

    def new_epochs(self, scopes: Iterable[bytes], without: Collection[bytes] = ()) -> list[Said]:
        """Grants of a new key for each of these scopes, to all but `without`, to be written."""
        found = []
        for tag in scopes:
            scope = self._ledger.scope(tag)
            if scope is None:
                continue  # The disk did not take it yet; whoever writes to it first makes the key.
            name = (tag, scope.database, scope.privacy, next_epoch(self.registry, tag))
            recipients = recipients_of(self.registry, tag, scope.privacy, without)
            key = self._entropy.draw(KEY_BYTES)
            self._scope_keys[key_id(key)] = key
            details = grant_details(self.id, name, key, recipients, self._entropy)
            found.append(("grant", details))
        return found

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
        id = self.writing_key_id(scope)
        heading = self.heading(scope.tag, self._keys.sig_pk, self.instance, id, heads)
        outlet = Outlet(log, heading, heads, self._scope_keys[id])
        self._outlets[scope.tag] = outlet
        return outlet

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
        tag = scope_tag(self.tag_key(), database, privacy)
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
        name = (tag, database, privacy, 1)
        recipients = recipients_of(self.registry, tag, privacy)
        await self.write([("grant", grant_details(self.id, name, key, recipients, self._entropy))])
        scope = self._ledger.scope(tag)
        if scope is None:  # What removes or limits us came in between, so our grant is void.
            raise NotEntitledError(f"{database}: this device may not open a database any more")
        return scope

    async def write(
        self,
        operations: Operations | Callable[[], Iterable[Said]],
        *,
        with_grants: bool = False,
        signer: DeviceKeys | None = None,
    ) -> None:
        """Append operations to the membership log, in one transaction. Durable when it returns.

        A function is called at the moment when nothing can come between what it sees and them; what
        it yields is taken in one by one, so it sees each before it makes the next.
        `with_grants`: then also the keys that somebody is entitled to by them and lacks. `signer`
        is the paper key, if it is the one who says so: each time in a log of its own.
        Raises NotEntitledError, StorageError; then nothing was written.
        """
        await self._settle(
            await self._append(operations, with_grants=with_grants, signer=signer or self._keys)
        )

    async def enroll(
        self, certificate: bytes, name: str, kind: str, level: str, expires_ms: int | None = None
    ) -> None:
        """Admit a device, with every key its level entitles it to, in one transaction."""
        details: dict[str, Any] = {
            "cert": certificate,
            "name": name,
            "type": kind,
            "level": level,
            "role": "member",
        }
        if expires_ms is not None:
            details["expires"] = expires_ms
        await self.write([("enroll", details)], with_grants=True)

    async def welcome(
        self, device: bytes
    ) -> tuple[bytes, tuple[tuple[int, bytes, bytes], ...], list[bytes]]:
        """What a new device, or the paper key, needs: genesis id, control keys sealed, and the log.

        The log comes as batch frames, in order of arrival; its oldest entries are under the oldest
        key.
        """
        readers: list[Recipient] = [*self.registry.devices.values(), *self.registry.recovery]
        newcomer = next(reader for reader in readers if reader.sig_pk == device)
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
        before = {device.sig_pk for device in self.registry.active()}
        self._add(operations)
        if before - {device.sig_pk for device in self.registry.active()}:
            # Links to who was removed end before the disk has taken what else follows.
            self._changed()
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
        fresh = False
        try:
            fresh = await self._take_keys()
            for grant in self.registry.grants:
                if self._ledger.scope(grant.scope) is None and self._is_rightly_named(grant):
                    await self._know_scope(grant.scope, grant.database, grant.privacy)
            self._is_behind = False
        finally:
            self._changed()
        self._owes_grants = True
        if not fresh:
            await self.grant_owed()

    async def grant_owed(self) -> None:
        """Give others the keys that they lack, if that was put off.

        It is put off while keys are new here: what waited for them, a removal perhaps, says who is
        to have what.
        """
        if self._owes_grants:
            self._owes_grants = False
            await self._grant_missing()

    async def _take_keys(self) -> bool:
        """Keep every key that is sealed to us and that we do not have; whether there were any.

        A control key also of a grant that waits for operations that are sealed under that very key.
        It reads the log and nothing else: under which key anybody writes is for the fold to say.
        """
        grants = (*self.registry.grants, *self._membership.parked_control_grants())
        fresh = granted_keys(self.id, grants, self._keys, self._scope_keys, self._is_rightly_named)
        if fresh:
            await self.keep(fresh)
        return bool(fresh)

    def receive_with(self, keys: DeviceKeys) -> None:
        """From now on open what is sealed to any of these keys of ours."""
        self._keys = keys

    async def keep(self, keys: Sequence[ScopeKey]) -> None:
        """Keep keys that were opened, and know them from the moment at which they are durable."""
        await self._database.write(
            lambda conn: [membership_rows.add_scope_key(conn, key) for key in keys]
        )
        # Not before: a key that is in memory alone would be missing after a crash.
        self._scope_keys.update((key.key_id, key.key) for key in keys)

    async def _know_scope(self, tag: bytes, database: str, privacy: int) -> Scope:
        number = await self._database.write(
            lambda conn: log_rows.ensure_scope(conn, tag, database, privacy)
        )
        scope = self._ledger.scope(tag)
        if scope is None:
            scope = Scope(number, tag, database, privacy)
            self.add_scope(scope)
        return scope

    def load_scope(self, row: log_rows.Scope) -> None:
        """A scope of the store; that of a bucket comes after the one that has its keys."""
        base = self._ledger.scope_named(row.database, row.privacy) if row.bucket else None
        self.add_scope(Scope(*row, b"" if base is None else base.tag))

    def add_scope(self, scope: Scope) -> None:
        self._ledger.add_scope(scope, database_tag(self.tag_key(), scope.database))

    async def _grant_missing(self) -> None:
        """Devices that became entitled after a key was made get it from whoever made it.

        The key's first granter does it, or for one that does not belong any more the most senior
        full device that has it; everybody else waits, so that one grant is written and not one a
        member. In the same way the most senior full device makes new keys where two removals at
        once have left none.
        """
        us = self.us()
        if self._granting or not us.active:
            return
        self._granting = True
        try:
            grants: list[Said] = []
            if us.level == "full" and seniority(self.registry, us) == 0:
                # First of all: what follows goes under the control key that is made here.
                grants += self.new_epochs(self.stale_scopes())
            grants += self._missing_grants(us.sig_pk)
            if grants:
                await self.write(grants)
        finally:
            self._granting = False

    # Operations --------------------------------------------------------------------------------

    def _missing_grants(self, first_granter: bytes | None) -> list[Said]:
        found = missing_grants(self.registry, self._scope_keys, first_granter, self._entropy)
        return [("grant", details) for details in found]

    async def _append(
        self,
        operations: Operations | Callable[[], Iterable[Said]],
        *,
        with_grants: bool,
        signer: DeviceKeys,
    ) -> list[Staged]:
        """Stage operations one after the other, each resting on the one before.

        The fold takes them in at once, so that each sees its predecessors; if the commit fails
        they are taken out again (`take_back`). `with_grants`: then also what is missing.
        """
        scope = self._ledger.scope(CONTROL_SCOPE)
        assert scope is not None
        # The paper key may speak on two devices at once, so no chain of it is ever gone on with.
        instance = (
            self.instance
            if signer.sig_pk == self._keys.sig_pk
            else self._entropy.draw(INSTANCE_BYTES)
        )
        log = self._ledger.log(CONTROL_SCOPE, instance)
        if log is None:
            log = await self.new_log(scope, instance, signer.sig_pk)
        if signer.sig_pk == self._keys.sig_pk:
            self._require_active()
        # From here on nothing awaits: all of it is in one transaction, and no other comes between.
        first: Operations = ()
        if self.needs_key(scope) and (callable(operations) or not self._renews_control(operations)):
            if signer.sig_pk == self._keys.sig_pk:
                self._require_maker()
            first = self.new_epochs([CONTROL_SCOPE])
        staged, limits = [], False
        # One by one: each is staged before the next is asked for, which may depend on it.
        for kind, details in chain(first, operations() if callable(operations) else operations):
            staged.append(self._append_one(log, signer, kind, details))
            limits = limits or kind in LIMITING
        if with_grants:
            for kind, details in self._missing_grants(None):
                staged.append(self._append_one(log, signer, kind, details))
        if limits:
            # Links to who may not be here any more end before this is sent to anybody.
            self._changed()
        return staged

    def _append_one(
        self, log: Log, signer: DeviceKeys, kind: str, details: dict[str, Any]
    ) -> Staged:
        committer = self.committer
        committer.hlc = tick(committer.hlc, self._clock.wall_ms())
        heads = self.registry.heads
        operation = Operation(kind, heads, committer.hlc, details)
        body = encode_operation(operation)
        id = self._key_for(kind, details)
        heading = self.heading(CONTROL_SCOPE, signer.sig_pk, log.instance, id, heads)
        outlet = Outlet(log, heading, heads, self._scope_keys[id], signer)
        staged = committer.stage(outlet, body, operation=body)
        self._membership.add({staged.entry_id: (signer.sig_pk, operation)})
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
