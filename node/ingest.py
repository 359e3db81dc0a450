"""Ingest: batches from peers become durable entries, and entries become records.

The order of work on a batch is cheap first, and verify before parse: lengths (the frame decoder),
scope known, chain and one signature a run (`receiving.py`), author entitled, key, AEAD, padding,
change set, gate, one transaction with `synchronous=FULL`, and only then the acknowledgement.

Two paths lead from an entry to records. An entry whose changes all begin new records of plain
fields is applied in the transaction that stores it; the CRDT library is not involved. Any other
entry is stored as *pending* first, with its attempt counted, then handed to the CRDT, then marked
as applied together with its records. So an input that crashes the process is tried once more after
a restart and then quarantined: a crash cannot become a loop. An entry whose past or key has not
arrived stays pending and is tried again when something arrives.

One batch at a time, in order of arrival; the next one is verified and decoded while
the disk works on the one before.
"""

from collections.abc import Awaitable, Callable

from .. import CoveyError
from ..crypto.entry import (
    CONTROL_SCOPE,
    KIND_CHANGE_SET,
    KIND_MEMBERSHIP,
    Heading,
    open_sealed,
)
from ..crypto.errors import CryptoError
from ..storage.errors import StorageError
from ..storage.store import Store
from ..sync import crdt
from ..sync.changeset import ChangeSet, decode_change_set
from ..sync.chunk import decode_tail
from ..sync.errors import DecodeError
from ..sync.hlc import merge
from ..sync.messages import Batch, Run
from .applying import Applier
from .audit import Audit
from .branches import Source
from .committer import Committer
from .counters import Counters
from .headings import HeadingKey, HeadingNumbers
from .ingest_rows import (
    APPLIED,
    PENDING,
    QUARANTINED,
    Opened,
    Prepared,
    write_batch,
)
from .ledger import Ledger, Log, Scope
from .mesh import Mesh
from .outcomes import set_aside
from .ports import Clock
from .projection import Key, project
from .receiving import Forked, Fresh, Gap, Known, Unsigned, Verdict, check_run
from .rulings import Rulings
from .shelf import Shelf
from .turns import Turns
from .vouching import Vouching

Compare = Callable[[Log, Known | Forked, Source | None], Awaitable[None]]
"""Is given runs at places of which we hold something."""


class BatchRefusedError(CoveyError):
    """A batch broke the protocol. Nothing of it was stored. `reason` is counted and shown."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"batch refused: {reason}")
        self.reason = reason


class StoreMovedError(StorageError):
    """A batch before this one could not be stored, so this one has nothing to continue."""

    def __init__(self) -> None:
        Exception.__init__(self, "a batch before this one could not be stored")


class Ingest:
    """The one reader of other devices' logs. `store` is called by one task at a time."""

    def __init__(
        self,
        database: Store,
        ledger: Ledger,
        mesh: Mesh,
        shelf: Shelf,
        committer: Committer,
        turns: Turns,
        audit: Audit,
        clock: Clock,
        counters: Counters,
        headings: HeadingNumbers,
        compare: Compare,
        rulings: Rulings,
        put_off: Callable[[], None],
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._mesh = mesh
        self._shelf = shelf
        self._committer = committer
        self._turns = turns
        self._clock = clock
        self._counters = counters
        self._heading_numbers = headings
        self._compare = compare
        self._rulings = rulings
        self._audit = audit
        self._applier = Applier(database, ledger, mesh, shelf, audit, counters, clock, put_off)
        self._vouching = Vouching(database, ledger, mesh, shelf, self._applier, audit)

    async def prepare(self, batch: Batch, source: Source | None = None) -> Prepared:
        """Verify and decode a batch. Raises BatchRefusedError; then nothing was changed.

        `source` can be asked where a branch of a log begins, if this shows that there is one.
        """
        scope = self._ledger.scope(batch.scope)
        if scope is None:
            raise BatchRefusedError("unknown scope")
        prepared = Prepared(batch.scope, [], [])
        try:
            await self._prepare(prepared, scope, batch, source)
        except BaseException:
            self.discard(prepared)
            raise
        return prepared

    async def _prepare(
        self, prepared: Prepared, scope: Scope, batch: Batch, source: Source | None
    ) -> None:
        fresh_keys: set[Key] = set()
        for run in batch.runs:
            headings, names = self._headings(scope, run)
            log, verdict = await self._judge(scope, run, headings)
            if isinstance(verdict, Unsigned):
                raise BatchRefusedError(verdict.why)
            if isinstance(verdict, Gap):  # Whoever sent it will be asked again from where we are.
                self._counters.add("ingest.gap")
                if log is not None:
                    prepared.touched.append(log)
                continue
            if isinstance(verdict, Known | Forked):
                assert log is not None
                if isinstance(verdict, Known):
                    self._counters.add("ingest.known")
                    prepared.touched.append(log)
                await self._compare(log, verdict, source)
                continue
            assert log is not None
            prepared.touched.append(log)
            if self._rulings.keeps_out(log, verdict.entries):
                self._counters.add("ingest.kept_out")
                continue
            self._open_run(prepared, log, verdict, headings, names, fresh_keys)

    async def _judge(
        self, scope: Scope, run: Run, headings: list[Heading]
    ) -> tuple[Log | None, Verdict]:
        """What a run is to us, and its log, made if the run begins it. Raises BatchRefusedError."""
        while True:
            log = self._ledger.log(scope.tag, run.instance)
            if self._ledger.author_of(run.instance) not in (None, run.author):
                raise BatchRefusedError("an instance has one author")
            verdict = check_run(run, headings, log)
            if log is not None or not isinstance(verdict, Fresh):
                return log, verdict
            # While the log is made, another peer may bring the same entries: judge anew.
            await self._mesh.new_log(scope, run.instance, run.author)

    def discard(self, prepared: Prepared) -> None:
        """The batch will not be stored: the tails of its logs go back to where they were."""
        for log in prepared.logs:
            seq, id = prepared.began[log]
            if log.tail_seq > seq >= log.head_seq:
                log.tail_seq, log.tail_id = seq, id
                log.unapplied = {unapplied for unapplied in log.unapplied if unapplied <= seq}
                log.shelved = {shelved for shelved in log.shelved if shelved <= seq}

    async def store(self, prepared: Prepared) -> None:
        """Make the batch durable and apply what can be applied. Raises StorageError.

        To be run to its end: what was cancelled half-way would be on the disk and not in memory.
        """
        if not prepared.entries:
            return
        async with self._turns.alone():
            # What local writers have staged goes first: from here on the store has their records.
            await self._committer.settle()
            try:
                if not prepared.continues():
                    raise StoreMovedError
                # Not when it was prepared: a removal may have come in the batch before it.
                self._applier.judge(prepared.entries)
                self._applier.hold_back(prepared.entries)
                for log in prepared.logs:
                    log.landing = prepared.ends[log]
                slow, numbers = await self._database.write(
                    lambda conn: write_batch(conn, prepared, self._heading_numbers)
                )
            except BaseException:
                self.discard(prepared)
                raise
            finally:
                for log in prepared.logs:
                    log.landing = None
            self._heading_numbers.learn(numbers)
            self._finish(prepared, slow)
            if prepared.scope == CONTROL_SCOPE:
                await self._mesh.learned(
                    [
                        (e.arrived.entry_id, e.log.author, e.operation)
                        for e in prepared.entries
                        if e.operation is not None
                    ]
                )
                await self._vouching.judge_again()
            self._applier.came([e for e in prepared.entries if e.state is APPLIED])
            await self._applier.apply_waiting(prepared.entries)

    @property
    def is_behind(self) -> bool:
        """Whether entries are still to be judged by the membership that is known by now."""
        return self._vouching.is_due

    async def retry_waiting(self) -> None:
        """Something arrived (a key, a device) that waiting entries may have waited for."""
        if self._applier.waiting or self.is_behind:
            async with self._turns.alone():
                await self._committer.settle()
                await self._vouching.judge_again()
                await self._applier.apply_waiting(())

    async def resume(self) -> None:
        """After a start: quarantine what crashed us twice, take up what was left pending."""
        await self._applier.resume()
        await self.retry_waiting()

    def next_due_ms(self) -> int | None:
        """When an entry that was put off is to be tried again; `retry_waiting` does it."""
        return self._applier.next_due_ms()

    def held_back(self) -> int:
        """How many entries are held and not applied yet, whatever they wait for."""
        return len(self._applier.waiting)

    def waiting(self) -> int:
        """How many entries wait for a key or for other entries that may still come.

        Not those of a scope that this device may not read any more: nobody will send it what they
        rest on. They stay, and wait again if it is let read more. Nor those that rest on a branch
        of a log whose author ruled for another.
        """
        waiting, left = self._applier.waiting, self._rulings.left_behind(self._applier.waiting)
        log, may_read = self._ledger.log_numbered, self._mesh.may_read
        counts = {no: n - left.get(no, 0) for no, n in waiting.by_log()}
        return sum(n for no, n in counts.items() if may_read(log(no).scope))

    def _headings(self, scope: Scope, run: Run) -> tuple[list[Heading], list[HeadingKey]]:
        """The shared header fields of each segment, if its author may write there at all."""
        kind_here = KIND_MEMBERSHIP if scope.tag == CONTROL_SCOPE else KIND_CHANGE_SET
        headings, names = [], []
        for segment in run.segments:
            if segment.kind != kind_here:
                raise BatchRefusedError("an entry of this kind does not belong in this scope")
            if not self._mesh.may_write(run.author, scope, segment.heads):
                raise BatchRefusedError("the author may not write to this scope")
            try:
                heading = self._mesh.heading(
                    scope.tag, run.author, run.instance, segment.key_id, segment.heads
                )
            except CryptoError as error:
                raise BatchRefusedError(str(error)) from None
            headings.append(heading)
            names.append((segment.kind, segment.key_id, segment.heads))
        return headings, names

    def _open_run(
        self,
        prepared: Prepared,
        log: Log,
        fresh: Fresh,
        headings: list[Heading],
        names: list[HeadingKey],
        fresh_keys: set[Key],
    ) -> None:
        """Decrypt and decode every entry of a run; give the log its new tail."""
        if log not in prepared.began:
            prepared.began[log] = (log.tail_seq, log.tail_id)
            prepared.logs.append(log)
        for arrived in fresh.entries:
            heading = headings[arrived.heading]
            opened = Opened(log, arrived, names[arrived.heading], APPLIED)
            self._open(opened, heading, fresh_keys)
            if opened.state != APPLIED:
                log.unapplied.add(arrived.seq)
            prepared.entries.append(opened)
        last = fresh.entries[-1]
        log.tail_seq, log.tail_id = prepared.ends[log] = (last.seq, last.entry_id)

    def _open(self, opened: Opened, heading: Heading, fresh_keys: set[Key]) -> None:
        arrived = opened.arrived
        key = self._mesh.opening_key(opened.log.scope, heading.key_id)
        if key is None:
            opened.state, opened.why = PENDING, "its key has not arrived"
            return
        try:
            body = open_sealed(key, arrived.ad, arrived.nonce, arrived.ciphertext)
            if heading.kind == KIND_MEMBERSHIP:
                opened.operation = body
                return
            self._decode(opened, decode_change_set(body), fresh_keys)
        except (CryptoError, DecodeError) as error:
            opened.state, opened.why = QUARANTINED, str(error)
            self._counters.add("ingest.quarantined")

    def _decode(self, opened: Opened, change_set: ChangeSet, fresh_keys: set[Key]) -> None:
        """Pass every change through the gate's static part; project the plain new records."""
        log, seq, instance = opened.log, opened.arrived.seq, opened.log.instance
        changes = tuple((rc, decode_tail(rc.tail, instance)) for rc in change_set.changes)
        opened.hlc, opened.changes = change_set.hlc, changes
        self._committer.hlc = merge(self._committer.hlc, change_set.hlc, self._clock.wall_ms())
        if instance == self._mesh.instance:
            # A machine that was set back learns what it wrote itself: its log goes on from there,
            # however far behind its clock is.
            self._committer.hlc = max(self._committer.hlc, change_set.hlc)
        scope = log.scope.number
        plain = True
        for record_change, change in changes:
            key = (scope, record_change.collection, record_change.id)
            if record_change.past or change.deps or change.flat is None or key in fresh_keys:
                plain = False
            fresh_keys.add(key)
        if not plain or any(self._shelf.state((scope, c.collection, c.id)) for c, _ in changes):
            opened.state, opened.attempts = PENDING, 1
            return
        opened.rows = [
            project(
                log,
                seq,
                change_set.hlc,
                (scope, record_change.collection, record_change.id),
                index,
                crdt.state_of_first(change, instance, seq, change_set.hlc),
            )
            for index, (record_change, change) in enumerate(changes)
        ]

    def _finish(self, prepared: Prepared, slow: list[Opened]) -> None:
        """The transaction is durable: publish heads, tell watchers, line up what is pending."""
        for opened in slow:
            opened.state = PENDING
            opened.log.unapplied.add(opened.arrived.seq)
        for log in prepared.logs:
            self._ledger.made_durable(log, *prepared.ends[log])
        for opened in prepared.entries:
            if opened.state == PENDING:
                self._applier.await_turn(opened)
            elif opened.state == APPLIED:
                self._applier.post(opened)
            elif opened.state == QUARANTINED:
                self._audit.tally("quarantined", set_aside(self._mesh, opened.log, opened.why))
