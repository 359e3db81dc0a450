"""Narrowing: what becomes of data that is here when a policy no longer wants it here.

A person chooses with the key `narrowed`: `keep` (the default) leaves it as it is, `remove` takes
the copy of this device away once. It is done at the moment when the policy changes, not ever
after: a database that somebody fetches on demand later stays. Either way it is said.

What only this device has is never removed. At the moment of the change, before the links learn of
it, a peer must be proved to hold all of the database; else the copy stays, and that is said too.

What was taken of a policy is kept in the store, so that a crash between the change and its
consequence, or a change that arrived while the node was restarting, is not missed.

Spec: docs/protocol.md, section 12.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ..storage import log_rows, meta_rows
from ..storage.errors import StorageError
from ..storage.instance_rule import renew_instance, take_branch_out
from ..storage.record_rows import wipe_projection
from ..storage.store import Conn
from ..sync.policy import WINDOW_DAYS_MAX, Policy, floor_at
from ..sync.session_standing import is_proved_whole
from .ledger import Log, Scope
from .mesh import INSTANCE_BYTES
from .mesh_view import DEVICE_PRIVACY

if TYPE_CHECKING:
    from .engine import Engine

POLICIES_TAKEN = "policies.taken"
"""Meta row: JSON of database to its `days_taken` when this device last looked."""
NOTHING, ON_DEMAND = -1, 0


def days_taken(policy: Policy) -> int:
    """How much of a database a device takes: the smaller, the less. Else the days of its window."""
    if not policy.consent:
        return NOTHING
    if policy.mode == "on-demand":
        return ON_DEMAND
    return policy.window_days if policy.mode == "window" else WINDOW_DAYS_MAX + 1


def in_words(days: int) -> str:
    """What `days_taken` says, for people."""
    if days > WINDOW_DAYS_MAX:
        return "everything"
    words = {NOTHING: "nothing", ON_DEMAND: "what is asked for"}
    return words.get(days, f"the last {days} days")


class Narrowing:
    """Watches what the policies of this device take."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._proved: dict[str, bool] = {}
        """Databases that narrowed, and whether a peer was proved to hold all of them."""
        self._looking = True
        """Somebody will look in a moment. At first that is `start`, which knows how it was."""
        self._taken: dict[str, int] = {}
        """As the store has it (`POLICIES_TAKEN`)."""

    async def start(self) -> None:
        """Look at what changed while the node did not run."""
        row = await self._engine.database.read(lambda c: meta_rows.get_meta(c, POLICIES_TAKEN))
        self._taken = {} if row is None else dict(json.loads(row))
        await self._look()

    def membership_changed(self) -> None:
        """A policy may have changed. Called before the links share by it."""
        for database in self._engine.ledger.databases():
            if database not in self._proved and self._is_proved(database):
                self._proved[database] = True
        if not self._looking and not self._engine.closing:
            self._looking = True
            self._engine.spawn(self._look(), "narrowing")

    def _is_proved(self, database: str) -> bool:
        holdings = self._engine.ledger.holdings
        tags = [s.tag for s in self._scopes(database)]
        return any(
            all(is_proved_whole(link.state, tag, holdings) for tag in tags)
            for link in self._engine.switchboard.links.values()
        )

    def _scopes(self, database: str, floor: int = 0) -> list[Scope]:
        """The scopes of a database that ever leave a device; with `floor` the buckets below it."""
        return [
            scope
            for scope in self._engine.ledger.scopes()
            if scope.database == database
            and scope.privacy != DEVICE_PRIVACY
            and (not floor or 0 < scope.bucket < floor)
        ]

    async def _look(self) -> None:
        engine = self._engine
        self._looking = False
        proved, self._proved = self._proved, {}
        with suppress(StorageError):
            before = self._taken
            now = {
                name: engine.mesh.policy(engine.keys.sig_pk, name)
                for name in engine.ledger.databases()
            }
            after = {name: days_taken(policy) for name, policy in now.items()}
            if after == before or engine.closing:  # Then nobody could be told: at the next start.
                return
            for name, policy in now.items():
                if after[name] < before.get(name, NOTHING):
                    await self._narrow(name, policy, proved.get(name, False))
            row = json.dumps(after).encode()
            await engine.database.write(lambda c: meta_rows.set_meta(c, POLICIES_TAKEN, row))
            self._taken = after

    async def _narrow(self, database: str, policy: Policy, is_proved: bool) -> None:
        told = {"database": database, "takes": in_words(days_taken(policy))}
        if policy.narrowed != "remove":
            self._engine.tell("narrowed", {**told, "copy": "kept"})
            return
        # Of a window only what is older goes; what is in no bucket has no age to go by.
        scopes = self._scopes(database, floor_at(policy, self._engine.clock.wall_ms()))
        us = self._engine.keys.sig_pk
        if not is_proved and any(log.author == us for log in self._logs(scopes)):
            self._engine.tell("narrowed", {**told, "copy": "not proved elsewhere"})
        else:
            await self._remove(scopes)
            await self._engine.caches.clear_all()  # Nobody knows what was made of it.
            self._engine.tell("narrowed", {**told, "copy": "removed"})

    def _logs(self, of: Sequence[Scope]) -> list[Log]:
        scopes = {scope.number for scope in of}
        logs = self._engine.ledger.logs()
        return [log for log in logs if log.scope.number in scopes and log.head_seq]

    async def _remove(self, scopes: Sequence[Scope]) -> None:
        """Take the logs and records of scopes out of this store."""
        engine = self._engine
        fresh = engine.entropy.draw(INSTANCE_BYTES)
        logs = self._logs(scopes)

        def change(conn: Conn) -> bytes:
            instance = engine.instance
            for log in logs:
                # Our own logs begin anew, so they need another name than those that others hold.
                if log.instance == instance:
                    instance = fresh
                    renew_instance(conn, instance)
                if log.author == engine.keys.sig_pk:
                    take_branch_out(conn, log.scope.tag, log.instance)
                log_rows.cut_log(conn, log.number, 1)
            for scope in scopes:
                wipe_projection(conn, scope.number)
            return instance

        async def rebuild() -> None:
            engine.instance = await engine.database.write(change)

        await engine.rebuild(rebuild)
