"""Policies: what devices want of databases, for people who look at it or change it.

A change is proposed first: what says nothing, or is not ours to say, is refused with a sentence;
what would start or stop to travel is counted from what this device holds. Only then it is written,
as operations of the membership log, in one transaction however many there are.

What a policy means is `covey.sync.policy`, and who may say what is decided again, on every device,
by the fold. Contract: docs/cli.md, `covey policy`. Ids are 32 bytes.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .. import CoveyError
from ..storage.amounts import LogAmount, amounts_of_scope
from ..storage.store import Conn
from ..sync.policy import TAG, Item, Policy, Said, is_for_admins
from ..sync.policy_change import (
    Change,
    Difference,
    Group,
    Origin,
    difference,
    new_settings,
    parties_of,
    policy_with_origins,
    said_with,
)
from ..sync.policy_sense import idle_setting, odd_settings
from ..sync.policy_text import PolicyTextError, parse_setting, shown_key
from ..sync.profile import COMPANION
from ..sync.registry import Device
from .birth import privacy_level
from .mesh_view import NotAdminError
from .narrowing import days_taken
from .parameters import UsageError
from .record_requests import check_place
from .trust import TrustRefusedError

if TYPE_CHECKING:
    from .engine import Engine

OPERATIONS_MAX = 256
"""How many operations one change of policies may take."""


class SaysNothingError(CoveyError):
    """Settings that could have no effect beside the others. Nothing was changed."""

    exit_code = 2


class Proposal(NamedTuple):
    """A change that may be made, and what it would do."""

    changes: tuple[Change, ...]
    """Only what is not so already."""
    difference: Difference
    warnings: tuple[str, ...]


class Policies:
    """The policies of one engine's mesh."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    # Looking -----------------------------------------------------------------------------------

    @property
    def said(self) -> Said:
        """What people said of the policies of this mesh."""
        return self._engine.mesh.registry.settings

    def databases(self) -> list[str]:
        """The databases that are here or that somebody said something of, by name."""
        names = {*self._engine.ledger.databases(), *(name for _, name in self.said)}
        return sorted(names - {""})

    def members(self) -> list[Device]:
        """The active devices that policies are about, by name: no mailbox, which reads nothing."""
        active = self._engine.mesh.registry.active()
        return sorted((d for d in active if d.level != "mailbox"), key=lambda d: (d.name, d.sig_pk))

    def of(self, device: bytes, database: str) -> tuple[Policy, dict[str, Origin]]:
        """What a device wants of a database, and where each key of it comes from."""
        return policy_with_origins(self.said, COMPANION, device, database)

    def in_short(self, database: str) -> str:
        """What this device wants of a database, in a word."""
        return _in_short(self._engine.mesh.policy(self._engine.keys.sig_pk, database))

    def summary(self, device: bytes) -> str:
        """What a device wants, on one line: of databases in general, then where it differs."""
        general = _in_short(self._engine.mesh.policy(device, ""))
        special = (
            (name, _in_short(self._engine.mesh.policy(device, name))) for name in self.databases()
        )
        differing = [f"{name}: {short}" for name, short in special if short != general]
        return "; ".join([general, *differing])

    # Changing ----------------------------------------------------------------------------------

    async def propose(self, changes: Sequence[Change], places: Sequence[str] = ()) -> Proposal:
        """What these changes would do. Nothing is written.

        `places`: where each was written, for the errors about it.
        Raises NotAdminError, TrustRefusedError, SaysNothingError, UsageError.
        """
        after = said_with(self.said, changes)
        warnings: list[str] = []
        for number, change in enumerate(changes):
            try:
                warnings += self._check(change, after)
            except (NotAdminError, SaysNothingError, TrustRefusedError) as error:
                if not places:
                    raise
                raise type(error)(f"{places[number]}: {error}") from None
        fresh = tuple(
            change._replace(settings=new)
            for change in changes
            if (new := new_settings(self.said, change))
        )
        if len(fresh) > OPERATIONS_MAX:
            raise UsageError(f"{len(fresh)} changes at once, {OPERATIONS_MAX} allowed: split them")
        found = await self._difference(fresh, after)
        warnings += self._removals(fresh, after)
        return Proposal(fresh, found, tuple(dict.fromkeys(warnings)))

    async def write(self, proposal: Proposal) -> None:
        """Make the change: all of it or nothing. Durable when it returns.

        Raises NotEntitledError, StorageError; then nothing was changed.
        """
        if proposal.changes:
            await self._engine.mesh.write(
                [
                    (
                        "policy",
                        {"device": c.device, "database": c.database, "set": dict(c.settings)},
                    )
                    for c in proposal.changes
                ]
            )

    async def create_database(self, name: str, mode: str | None) -> None:
        """Make a database before its first record; harmless if it is there.

        Raises UsageError for a mode that does not exist, NotAdminError.
        """
        check_place(name)
        mesh, us = self._engine.mesh, self._engine.keys.sig_pk
        if mode is not None:
            try:
                key, value = parse_setting("mode", mode)
            except PolicyTextError as error:
                raise UsageError(f"policy: {error}") from None
            if value is not None and mesh.policy(us, name).mode != value:
                # Before the database: whoever hears of it knows at once what to do with it.
                await self.write(await self.propose([Change(b"", name, {key: value})]))
        if self._engine.ledger.scope_named(name, privacy_level(None)) is None:
            await mesh.open_scope(name, privacy_level(None))

    # Parts of these ----------------------------------------------------------------------------

    def _check(self, change: Change, after: Said) -> list[str]:
        """What is odd about a change. Raises where it makes no sense, or is not ours to make."""
        self._require_sense_of_target(change)
        self._require_right(change)
        outcomes = list(self._outcomes(change, after))
        idle = idle_setting(change.settings, outcomes)
        if idle is not None:
            raise SaysNothingError(idle)
        is_everything = not (change.device or change.database)
        return list(odd_settings(change.settings, outcomes, is_everything))

    def _require_sense_of_target(self, change: Change) -> None:
        if change.database:
            check_place(change.database)
        if not change.device:
            return
        device = self._engine.mesh.registry.devices.get(change.device)
        if device is None or not device.active:
            raise TrustRefusedError(
                "this device does not belong to the mesh any more: `covey devices` lists who does"
            )
        if device.level == "mailbox":
            raise SaysNothingError(
                f"{device.name} is a mailbox: it stores for everybody what it cannot read, and"
                " policies say nothing of it"
            )
        tags = [key for key in change.settings if key.startswith(TAG)]
        if tags:
            raise SaysNothingError(
                f"{tags[0]} is about records, not about a device: set it without one"
            )

    def _require_right(self, change: Change) -> None:
        """Raises NotAdminError, naming who may, if the fold would not count it."""
        us = self._engine.mesh.us()
        for_admins = [key for key in change.settings if is_for_admins(change.device, key)]
        if us.role == "admin" or (change.device == us.sig_pk and not for_admins):
            return
        admins = [device.name for device in self.members() if device.role == "admin"]
        who = f"do it on {' or '.join(admins)}" if admins else "there is none any more"
        strict = [shown_key(key) for key in change.settings if is_for_admins(us.sig_pk, key)]
        what = f"about {strict[0]}" if strict else "for other devices"
        own = "" if strict else f", or say it of {us.name} alone"
        raise NotAdminError(
            f"this device is a member, and only an admin decides {what}: {who}{own}"
        )

    def _outcomes(self, change: Change, after: Said) -> Iterator[Policy]:
        """The policies that a change is about, as they would be."""
        devices = [change.device] if change.device else [d.sig_pk for d in self.members()]
        databases = [change.database]
        if not change.database:
            named = (name for _, name in (*COMPANION, *after))
            databases = list(dict.fromkeys(("", *self.databases(), *named)))
        for device in devices:
            for database in databases:
                yield policy_with_origins(after, COMPANION, device, database)[0]

    def _removals(self, changes: Sequence[Change], after: Said) -> Iterator[str]:
        """Which copies would be taken away by these changes (`narrowing.py`), in words."""
        named = {change.database for change in changes}
        for name in sorted(self._engine.ledger.databases()):
            if not named & {name, ""}:
                continue
            for device in self.members():
                will = policy_with_origins(after, COMPANION, device.sig_pk, name)[0]
                was = self._engine.mesh.policy(device.sig_pk, name)
                if will.narrowed == "remove" and days_taken(will) < days_taken(was):
                    yield (
                        f"{device.name} removes its copy of {name}, if another device is proved to"
                        " have all of it (narrowed=remove)"
                    )

    async def _difference(self, changes: Sequence[Change], after: Said) -> Difference:
        named = {change.database for change in changes}
        databases = sorted({*self.databases(), *named} - {""}) if "" in named else sorted(named)
        registry, now_ms = self._engine.mesh.registry, self._engine.clock.wall_ms()
        found = difference(
            await self._groups(databases),
            # The name of none: databases that are still to come.
            [*databases, *([""] if "" in named else [])],
            [device.sig_pk for device in self.members()],
            self._engine.keys.sig_pk,
            parties_of(registry, self.said, COMPANION, now_ms),
            parties_of(registry, after, COMPANION, now_ms),
        )
        return found

    async def _groups(self, databases: Sequence[str]) -> list[Group]:
        """What is here of these databases, by scope and author."""
        scopes = [s for s in self._engine.ledger.scopes() if s.privacy and s.database in databases]

        def read(conn: Conn) -> list[list[LogAmount]]:
            return [amounts_of_scope(conn, scope.number) for scope in scopes]

        amounts = await self._engine.database.read(read)
        found = []
        for scope, logs in zip(scopes, amounts, strict=True):
            for log in logs:
                author = self._engine.ledger.log_numbered(log.log_no).author
                item = Item(scope.privacy, author)
                found.append(Group(scope.database, item, log.records, log.entries, log.size))
        return found


def _in_short(policy: Policy) -> str:
    if not policy.consent:
        return "no consent"
    return policy.mode if policy.direction == "both" else f"{policy.mode}, {policy.direction} only"
