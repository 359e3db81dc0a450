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
neither what a branch wrote nor what it deleted is lost.

The branches may have reached different devices before these met. So in the transaction in which it
takes its own out, it rules for the other (`rulings.py`). Whoever holds another branch than the one
that is ruled for, and is shown that one, does the same: but it writes again only what its author
does not, and goes on under a new instance only if it has written on the branch itself. Its own
entries from there on wait, with all that rest on them, for what does not come back. So every device
ends with one and the same chain.

An instance has a log in each scope, and whoever holds the other branch of one may come later: the
logs of instances that the store has left are healed in the same way, each of them once. Where
another branch shows after that, the device rules for the one that it holds by then.

Spec: docs/protocol.md, section 7, "Forks" and "Rulings".
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING

from ..crypto.entry import CONTROL_SCOPE
from ..crypto.identity import short_id
from ..storage import carried_rows, log_rows
from ..storage.errors import StorageError
from ..storage.instance_rule import holds_own_branch, renew_instance, take_branch_out
from ..storage.record_rows import wipe_projection
from ..storage.ruling_rows import follow_ruling
from ..storage.store import Conn
from ..sync.rulings import Ruling
from ..sync.vectors import LogHead
from .adopting import take_carried
from .branches import Source, Span, narrowed, places
from .ledger import Log
from .mesh import INSTANCE_BYTES
from .receiving import Forked, Known

if TYPE_CHECKING:
    from .engine import Engine


class Part(Enum):
    """What is for a device to do about another branch of a log than the one that it holds."""

    HEAL = "heal"
    """It is its own log, and its own branch: it takes it out, and rules for the other."""
    FOLLOW = "follow"
    """Its author ruled against the branch that is here."""
    RULE = "rule"
    """It is its own log, and the branch here came from others, or stays: it may rule for it."""
    TELL = "tell"
    """Nothing but to say what was ruled."""


class ForkKeeper:
    """Raises the alarm once a log, and heals our own."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._known: set[tuple[bytes, bytes]] = set()
        self._forked: dict[Log, Span] = {}
        """Logs of our own that are to be taken out, each with where the other branch begins."""
        self._overruled: dict[bytes, dict[Log, int]] = {}
        """By author, logs that are to be taken out because it ruled so, and from where on."""
        self._is_busy = False
        """The store is changing: whoever connects after that will see what is left to do."""

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
        """A run of a log came, signed, at places of which we hold entries."""
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
        ruling = self._engine.rulings.of(*name)
        part = await self._part(log, ruling, span.begins)
        if self._is_busy or log in self._forked:
            return
        shown = None if ruling is None else dict(theirs).get(ruling.seq)
        if source is None:
            if part is Part.HEAL:
                self._take_out(log, Span(0, 1) if span.begins is None else span)
        elif part is Part.TELL or (
            part is not Part.HEAL and ruling and shown not in (None, ruling.entry_id)
        ):
            source.tell_ruling(*name)
        else:
            ask_for = self._act(log, part, span, None if shown or not ruling else ruling.seq)
            if ask_for is not None:
                source.branches[name] = span
                source.want_entry(*name, ask_for)

    async def _part(self, log: Log, ruling: Ruling | None, begins: int | None) -> "Part":
        """What is for us to do about another branch of a log."""
        name = log.scope.tag, log.instance

        def look(conn: Conn) -> tuple[bool, bytes | None]:
            held = None if ruling is None else log_rows.entry_id_at(conn, log.number, ruling.seq)
            return holds_own_branch(conn, *name), held

        is_own, held = await self._engine.database.read(look)
        if is_own:
            # A copy of this machine may have ruled for what is here: then they are to go over.
            stays = ruling and begins and held == ruling.entry_id and begins <= ruling.seq
            return Part.RULE if stays else Part.HEAL
        if ruling is not None and held not in (None, ruling.entry_id):
            return Part.FOLLOW if self._engine.rulings.may_follow(*name) else Part.TELL
        is_ours = log.author == self._engine.keys.sig_pk
        return Part.RULE if is_ours and (ruling is None or held is not None) else Part.TELL

    def _act(self, log: Log, part: "Part", span: Span, unseen: int | None) -> int | None:
        """Do our part once it is known where the branch begins; else a place to ask for.

        `unseen` is the place that a ruling names, if they did not show what they hold there.
        """
        if span.begins is None:
            return span.next_seq
        if part is Part.HEAL:
            self._take_out(log, span)
        elif part is Part.RULE:
            rulings = self._engine.rulings
            self._engine.spawn(rulings.rule_for_ours(log, span.begins), "rule")
        elif unseen is not None:
            return unseen
        else:
            self._overrule(log, span.begins)
        return None

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

    # Our own logs ------------------------------------------------------------------------------

    def _take_out(self, log: Log, span: Span) -> None:
        """`span` ends where the branch begins that they hold, with the entry that stands there."""
        self._forked[log] = span
        if len(self._forked) == 1:
            self._engine.spawn(self._heal(), "heal")

    async def _heal(self) -> None:
        """Take out all logs that are known to be forked by the time that nobody reads or writes."""
        engine, forked = self._engine, self._forked
        fresh = engine.entropy.draw(INSTANCE_BYTES)

        def change(conn: Conn) -> bytes:
            instance = engine.instance
            for log, span in forked.items():
                carried_rows.carry_of_log(conn, log.number, span.other)
            for log, span in forked.items():
                if log.instance == instance:
                    instance = fresh
                    renew_instance(conn, instance)
                take_branch_out(conn, log.scope.tag, log.instance)
                cut = log_rows.cut_log(conn, log.number, span.other)
                if cut and span.other_id:
                    last = cut[-1].seq, cut[-1].entry_id
                    engine.rulings.rule(conn, log, span.other, span.other_id, last)
                wipe_projection(conn, log.scope.number)
                carried_rows.apply_again(conn, log.scope.number)
            return instance

        if await self._rebuild(change):
            engine.rulings.keep_out((log.scope.tag, log.instance) for log in forked)
            await take_carried(engine)
            for log in forked:
                engine.tell("fork_healed", {"instance": log.instance.hex()[:8]})
        else:
            forked.clear()  # To be seen again when somebody connects.

    # Those of others ---------------------------------------------------------------------------

    def _overrule(self, log: Log, from_seq: int) -> None:
        """Our branch of a log begins there, and its author ruled for another that we can have."""
        if log.author not in self._overruled:
            self._overruled[log.author] = {}
            self._engine.spawn(self._follow(log.author), "follow")
        self._overruled[log.author][log] = from_seq

    async def _follow(self, author: bytes) -> None:
        """Take out what its author ruled against, all its logs that are known by then."""
        engine, fresh = self._engine, self._engine.entropy.draw(INSTANCE_BYTES)
        await engine.clock.sleep_ms(engine.rulings.pause_ms(author))
        logs = self._overruled.pop(author)
        if engine.forks is not self or self._is_busy or self._forked:
            return  # To be seen again when somebody connects.

        def change(conn: Conn) -> bytes:
            rests_on_it = False
            told: dict[int, dict[bytes, int]] = {}
            for log in list(logs):
                ruling = engine.rulings.of(log.scope.tag, log.instance)
                held = ruling and log_rows.entry_id_at(conn, log.number, ruling.seq)
                if not ruling or held in (None, ruling.entry_id):
                    del logs[log]
                    continue
                lost = log_rows.entry_id_at(conn, log.number, ruling.lost_seq) == ruling.lost_id
                told.setdefault(log.scope.number, {})[log.instance] = lost * ruling.lost_seq
            for scope_no, of_scope in told.items():
                is_ours = carried_rows.carry_of_scope(conn, scope_no, of_scope, engine.instance)
                rests_on_it = rests_on_it or is_ours
            for log, from_seq in logs.items():
                log_rows.cut_log(conn, log.number, from_seq)
                follow_ruling(conn, log.scope.tag, log.instance)
                wipe_projection(conn, log.scope.number)
                carried_rows.apply_again(conn, log.scope.number)
            if not rests_on_it:
                return engine.instance
            # What we wrote on the branch waits, and what follows it in our log would wait with it.
            renew_instance(conn, fresh)
            return fresh

        if await self._rebuild(change):
            engine.rulings.took_out(author, [(log.scope.tag, log.instance) for log in logs])
            with suppress(StorageError):  # It saves work and nothing else.
                await engine.database.write(carried_rows.drop_unchanged)
            await take_carried(engine)
            for log in logs:
                detail = {"device": short_id(author), "instance": log.instance.hex()[:8]}
                engine.tell("fork_settled", detail)

    async def _rebuild(self, change: Callable[[Conn], bytes]) -> bool:
        """Change the store and load it anew; false if the disk refused the change.

        `change` gives the instance to write under from then on. What the disk refuses after that is
        done again when something comes, and what was lined up is to be written all the same.
        """
        engine, self._is_busy, is_changed = self._engine, True, False

        async def rebuild() -> None:
            nonlocal is_changed
            engine.instance = await engine.database.write(change)
            is_changed = True

        try:
            await engine.rebuild(rebuild)
        except StorageError:
            self._is_busy = False
        return is_changed
