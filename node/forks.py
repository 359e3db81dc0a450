"""Forks: one instance with two different entries at one place; somebody's store was copied.

The instance rule of the store catches copies and restored backups before they write (they get an
instance of their own). What slips through, such as the snapshot of a running virtual machine,
is proved by two signed entries of the same number. The fork is an alarm on every device that
sees it.

The device whose own instance forked heals by itself: it goes on under a new instance, takes its
old log out, keeps the values of the records that this log wrote last, builds its records again from
what is left, writes those values again, and fetches the branch that its peers hold. So no
branch's writes are lost, and every device ends with one and the same chain.

Spec: docs/protocol.md, section 7, "Forks".
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..crypto.entry import CONTROL_SCOPE
from ..crypto.identity import short_id
from ..storage import carried_rows, log_rows
from ..storage.instance_rule import renew_instance
from ..storage.record_rows import wipe_projection
from ..storage.store import Conn
from ..sync.vectors import LogHead
from .adopting import take_carried
from .ledger import Log
from .mesh import INSTANCE_BYTES

if TYPE_CHECKING:
    from .engine import Engine


class ForkKeeper:
    """Raises the alarm once a log, and heals our own."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._known: set[tuple[bytes, bytes]] = set()

    @property
    def known(self) -> frozenset[tuple[bytes, bytes]]:
        """(scope, instance) of every log of which two branches were seen in this run."""
        return frozenset(self._known)

    async def claims(
        self, scope: bytes, theirs: Mapping[bytes, LogHead]
    ) -> list[tuple[bytes, int]]:
        """A peer told its heads: where it is behind us, its head should be in our chain.

        Returns the places (instance, seq) where it is not. That proves nothing yet.
        """
        claims = []
        for instance, head in theirs.items():
            log = self._engine.ledger.log(scope, instance)
            if log is None or head.seq >= log.head_seq or not head.entry_id:
                continue
            number, seq = log.number, head.seq
            ours = await self._engine.database.read(
                lambda conn, n=number, s=seq: log_rows.entry_id_at(conn, n, s)  # type: ignore[misc]
            )
            if ours is not None and ours != head.entry_id:
                claims.append((instance, seq))
        return claims

    async def found(self, log: Log) -> None:
        """There is another entry at a place of this log, signed by the same author."""
        name = (log.scope.tag, log.instance)
        if name in self._known:
            return
        self._known.add(name)
        engine = self._engine
        engine.counters.add("fork.seen")
        await engine.alarm(
            "fork", {"device": short_id(log.author), "instance": log.instance.hex()[:8]}
        )
        # A fork of the membership log loses nothing that matters here: a person looks at it.
        if log.instance == engine.instance and log.scope.tag != CONTROL_SCOPE:
            engine.spawn(self._heal(log), "heal")

    async def _heal(self, log: Log) -> None:
        engine = self._engine
        instance = engine.entropy.draw(INSTANCE_BYTES)

        def change(conn: Conn) -> None:
            renew_instance(conn, instance)
            carried_rows.carry_of_log(conn, log.number)
            log_rows.cut_log(conn, log.number, 1)
            wipe_projection(conn, log.scope.number)
            carried_rows.apply_again(conn, log.scope.number)

        async def rebuild() -> None:
            await engine.database.write(change)
            engine.instance = instance

        await engine.rebuild(rebuild)
        await take_carried(engine)
        engine.tell("fork_healed", {"instance": log.instance.hex()[:8]})
