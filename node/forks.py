"""Forks: one instance with two different entries at one place; somebody's store was copied.

The instance rule of the store catches copies and restored backups before they write (they get an
instance of their own). What slips through, such as the snapshot of a running virtual machine,
is proved by two signed entries of the same number. The fork is an alarm on every device that
sees it, kept until a person has seen it.

The device whose own instance forked heals at once: it opens a new instance and writes the
records whose latest change stood in the forked log again under it. So no branch's writes are lost:
peers that hold the other branch get ours as new changes.

Spec: docs/protocol.md, section 7, "Forks".
"""

from typing import TYPE_CHECKING

from ..crypto.identity import short_id
from ..storage import carried_rows
from ..storage.instance_rule import renew_instance
from ..sync.session_events import DeclareFork
from .adopting import take_carried
from .ledger import Log
from .mesh import INSTANCE_BYTES
from .receiving import Forked

if TYPE_CHECKING:
    from .engine import Engine


class ForkKeeper:
    """Raises the alarm once a log, and heals our own."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._known: set[tuple[bytes, bytes]] = set()

    async def found(self, log: Log, forked: Forked) -> None:
        """A verified run does not continue what we hold."""
        await self._handle(log)

    async def declared(self, fork: DeclareFork) -> None:
        """A peer's vector names another entry at a place where we hold one."""
        log = self._engine.ledger.log(fork.scope, fork.instance)
        if log is not None:
            await self._handle(log)

    async def _handle(self, log: Log) -> None:
        name = (log.scope.tag, log.instance)
        if name in self._known:
            return
        self._known.add(name)
        engine = self._engine
        engine.counters.add("fork.seen")
        await engine.alarm(
            "fork", {"device": short_id(log.author), "instance": log.instance.hex()[:8]}
        )
        if log.instance == engine.instance:
            engine.spawn(self._heal(log), "heal")

    async def _heal(self, log: Log) -> None:
        """Go on under a new instance, and write again what only our branch may have."""
        engine = self._engine
        instance = engine.entropy.draw(INSTANCE_BYTES)
        async with engine.turns.alone():
            await engine.committer.settle()

            def renew(conn) -> None:  # type: ignore[no-untyped-def]
                renew_instance(conn, instance)
                carried_rows.carry_of_log(conn, log.number)

            await engine.database.write(renew)
            engine.instance = engine.mesh.instance = instance
        await take_carried(engine, rewrite=True)
