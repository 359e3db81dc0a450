"""Forks: one instance with two different entries at one place; somebody's store was copied.

The instance rule of the store catches copies and restored backups before they write (they get an
instance of their own). What slips through, such as the snapshot of a running virtual machine,
is proved by two signed entries of the same number. The fork is an alarm on every device that
sees it.

The device whose own instance forked heals by itself. It asks whoever holds the other branch for
single entries until it knows where the two begin to differ. Then it goes on under a new instance,
takes its own log out from there on, keeps the records that this part has changed as they were
shown, deleted ones too, builds its records again from what is left, writes these again with the
knowledge that the branch had (`rewriting.py`), and fetches the branch that its peers hold. So
neither what a branch wrote nor what it deleted is lost, and every device ends with one and the same
chain.

An instance has a log in each scope, and whoever holds the other branch of one may come later: the
logs of instances that the store has left are healed in the same way, each of them once.

Spec: docs/protocol.md, section 7, "Forks".
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..crypto.entry import CONTROL_SCOPE
from ..crypto.identity import short_id
from ..storage import carried_rows, log_rows
from ..storage.errors import StorageError
from ..storage.instance_rule import holds_own_branch, renew_instance, take_branch_out
from ..storage.record_rows import wipe_projection
from ..storage.store import Conn
from ..sync.vectors import LogHead
from .adopting import take_carried
from .branches import Source, Span, narrowed, places
from .ledger import Log
from .mesh import INSTANCE_BYTES
from .receiving import Forked, Known

if TYPE_CHECKING:
    from .engine import Engine


class ForkKeeper:
    """Raises the alarm once a log, and heals our own."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._known: set[tuple[bytes, bytes]] = set()
        self._forked: dict[Log, int] = {}
        """Logs of our own that are to be taken out, and from where on."""

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
        for log, head in self.behind(scope, theirs):
            number, seq = log.number, head.seq
            ours = await self._engine.database.read(
                lambda conn, n=number, s=seq: log_rows.entry_id_at(conn, n, s)  # type: ignore[misc]
            )
            if ours is not None and ours != head.entry_id:
                claims.append((log.instance, seq))
        return claims

    def behind(self, scope: bytes, theirs: Mapping[bytes, LogHead]) -> list[tuple[Log, LogHead]]:
        """Our logs of which a peer told a head that is behind ours."""
        ledger = self._engine.ledger
        logs = [(ledger.log(scope, instance), head) for instance, head in theirs.items()]
        return [
            (log, head)
            for log, head in logs
            if log is not None and head.seq < log.head_seq and head.entry_id
        ]

    async def compare(self, log: Log, run: Known | Forked, source: Source | None) -> None:
        """A run of a log came, signed, at places of which we hold entries.

        Whoever holds another branch of a log of our own is asked until we know where it begins.
        """
        theirs, name = places(run), (log.scope.tag, log.instance)
        first, last = theirs[0][0], run.entries[-1]
        ours = await self._engine.database.read(
            lambda conn: log_rows.entry_ids(conn, log.number, first, last.seq)
        )
        if isinstance(run, Known) and last.seq not in ours:
            return  # On its way to the disk: what it will be there is not known yet.
        before = Span() if source is None else source.branches.pop(name, Span())
        span = narrowed(before, ours, theirs)
        if not span.is_branch:
            return
        await self._alarm(log)
        if log.scope.tag == CONTROL_SCOPE:
            return  # A fork of the membership log loses nothing here: a person looks at it.
        if log in self._forked or not await self._engine.database.read(
            lambda conn: holds_own_branch(conn, *name)
        ):
            return
        if span.begins is not None:
            self._take_out(log, span.begins)
        elif source is None:
            self._take_out(log, 1)
        else:
            source.branches[name] = span
            source.want_entry(*name, span.next_seq)

    async def _alarm(self, log: Log) -> None:
        """There is another entry at a place of this log, signed by the same author."""
        engine, name = self._engine, (log.scope.tag, log.instance)
        if name in self._known:
            return
        self._known.add(name)
        engine.counters.add("fork.seen")
        await engine.alarm(
            "fork", {"device": short_id(log.author), "instance": log.instance.hex()[:8]}
        )

    def _take_out(self, log: Log, from_seq: int) -> None:
        self._forked[log] = from_seq
        if len(self._forked) == 1:
            self._engine.spawn(self._heal(), "heal")

    async def _heal(self) -> None:
        """Take out all logs that are known to be forked by the time that nobody reads or writes."""
        engine, forked = self._engine, self._forked
        fresh = engine.entropy.draw(INSTANCE_BYTES)

        def change(conn: Conn) -> bytes:
            instance = engine.instance
            for log, from_seq in forked.items():
                carried_rows.carry_of_log(conn, log.number, from_seq)
            for log, from_seq in forked.items():
                if log.instance == instance:
                    instance = fresh
                    renew_instance(conn, instance)
                take_branch_out(conn, log.scope.tag, log.instance)
                log_rows.cut_log(conn, log.number, from_seq)
                wipe_projection(conn, log.scope.number)
                carried_rows.apply_again(conn, log.scope.number)
            return instance

        async def rebuild() -> None:
            engine.instance = await engine.database.write(change)

        try:
            await engine.rebuild(rebuild)
        except StorageError:
            forked.clear()  # To be seen again when somebody connects.
            return
        await take_carried(engine)
        for log in forked:
            engine.tell("fork_healed", {"instance": log.instance.hex()[:8]})
