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

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from .. import CoveyError
from ..crypto.entry import (
    CONTROL_SCOPE,
    KIND_CHANGE_SET,
    KIND_MEMBERSHIP,
    Heading,
    open_sealed,
)
from ..crypto.errors import CryptoError
from ..storage import log_rows, membership_rows
from ..storage.errors import StorageError
from ..storage.log_rows import Entry
from ..storage.store import Conn, Store
from ..sync import crdt
from ..sync.changeset import ChangeSet, decode_change_set
from ..sync.chunk import decode_tail
from ..sync.errors import DecodeError
from ..sync.hlc import merge
from ..sync.messages import Batch, Run
from ..sync.record_state import RecordState
from .committer import Committer
from .counters import Counters
from .happenings import Board, RecordChanged
from .headings import HeadingKey, HeadingNumbers
from .ingest_rows import (
    APPLIED,
    PENDING,
    QUARANTINED,
    Opened,
    Prepared,
    write_applied,
    write_batch,
)
from .ledger import Ledger, Log, Scope
from .mesh import Mesh
from .ports import Clock
from .projection import Key, Row, project
from .receiving import Arrived, Forked, Fresh, Gap, Known, Unsigned, check_run
from .shelf import Shelf
from .stored import stored_entry
from .turns import Turns

ATTEMPTS_MAX = 2
WAITING_ENTRIES_MAX = 100_000


_Missing = bytes | tuple[bytes, bytes, int]
"""What a waiting entry waits for first: a key id, or scope, instance and seq of another entry."""


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
        board: Board,
        clock: Clock,
        counters: Counters,
        headings: HeadingNumbers,
        forked: Callable[[Log], Awaitable[None]],
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._mesh = mesh
        self._shelf = shelf
        self._committer = committer
        self._turns = turns
        self._board = board
        self._clock = clock
        self._counters = counters
        self._heading_numbers = headings
        self._forked = forked
        self._waiting: dict[tuple[int, int], _Missing | None] = {}
        """By log number and seq; None if nobody has looked yet what is missing."""

    async def prepare(self, batch: Batch) -> Prepared:
        """Verify and decode a batch. Raises BatchRefusedError; then nothing was changed."""
        scope = self._ledger.scope(batch.scope)
        if scope is None:
            raise BatchRefusedError("unknown scope")
        prepared = Prepared(batch.scope, [], [])
        try:
            await self._prepare(prepared, scope, batch)
        except BaseException:
            self.discard(prepared)
            raise
        return prepared

    async def _prepare(self, prepared: Prepared, scope: Scope, batch: Batch) -> None:
        fresh_keys: set[Key] = set()
        for run in batch.runs:
            headings, names = self._headings(scope, run)
            log = self._ledger.log(batch.scope, run.instance)
            if log is not None and log.author != run.author:
                raise BatchRefusedError("an instance has one author")
            verdict = check_run(run, headings, log)
            if isinstance(verdict, Unsigned):
                raise BatchRefusedError(verdict.why)
            if isinstance(verdict, Gap):  # Whoever sent it will be asked again from where we are.
                self._counters.add("ingest.gap")
                if log is not None:
                    prepared.touched.append(log)
                continue
            if isinstance(verdict, Known):
                self._counters.add("ingest.known")
                assert log is not None
                prepared.touched.append(log)
                continue
            if isinstance(verdict, Forked):
                assert log is not None
                await self._forked(log)
                continue
            if log is None:
                log = await self._mesh.new_log(scope, run.instance, run.author)
            prepared.touched.append(log)
            self._open_run(prepared, log, verdict, headings, names, fresh_keys)

    def discard(self, prepared: Prepared) -> None:
        """The batch will not be stored: the tails of its logs go back to where they were."""
        for log in prepared.logs:
            seq, id = prepared.began[log]
            if log.tail_seq > seq >= log.head_seq:
                log.tail_seq, log.tail_id = seq, id
                log.unapplied = {unapplied for unapplied in log.unapplied if unapplied <= seq}

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
                slow, numbers = await self._database.write(
                    lambda conn: write_batch(conn, prepared, self._heading_numbers)
                )
            except BaseException:
                self.discard(prepared)
                raise
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
            await self._apply_waiting(prepared.entries)

    async def retry_waiting(self) -> None:
        """Something arrived (a key, a device) that waiting entries may have waited for."""
        if self._waiting:
            async with self._turns.alone():
                await self._committer.settle()
                await self._apply_waiting(())

    async def resume(self) -> None:
        """After a start: quarantine what crashed us twice, take up what was left pending."""
        for state in (PENDING, QUARANTINED):
            after = 0
            while rows := await self._database.read(
                lambda conn, s=state, a=after: log_rows.entries_in_state(conn, s, a)  # type: ignore[misc]
            ):
                after = rows[-1].arrival
                for row in rows:
                    log = self._ledger.log_numbered(row.log_no)
                    log.unapplied.add(row.seq)
                    if state is QUARANTINED:
                        continue
                    if row.attempts >= ATTEMPTS_MAX:
                        self._counters.add("ingest.poison")
                        await self._quarantine(log, row.seq, "handing it on ended the node twice")
                    else:
                        self._waiting[log.number, row.seq] = None
        await self.retry_waiting()

    def waiting(self) -> int:
        """Entries held that wait for a key, a device or other entries."""
        return len(self._waiting)

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
        key = self._mesh.key(heading.key_id)
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
                crdt.state_of_first(change, instance, seq),
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
                if len(self._waiting) < WAITING_ENTRIES_MAX:
                    self._waiting[opened.log.number, opened.arrived.seq] = None
            elif opened.state == APPLIED:
                self._post(opened.log, opened.rows)

    async def _apply_waiting(self, fresh: Sequence[Opened]) -> None:
        """Apply pending entries until none of those left has all it needs.

        `fresh` was just stored, with its first attempt counted; others are read again.
        """
        at_hand = {(e.log.number, e.arrived.seq): e for e in fresh if e.changes}
        progress = True
        while progress and self._waiting:
            progress = False
            for place, missing in list(self._waiting.items()):
                if missing is not None and not self._has_come(missing):
                    continue
                try:
                    opened = at_hand.get(place)
                    if opened is None:
                        opened = await self._reopen(*place)
                    if opened is None or not self._ready(opened):
                        continue
                    await self._apply(opened)
                except (asyncio.CancelledError, StorageError):
                    self._forgive(*place)
                    raise
                self._waiting.pop(place, None)
                progress = True

    def _forgive(self, log_number: int, seq: int) -> None:
        """We were closed, or the disk failed: that attempt says nothing about the entry."""
        undone = self._database.write(
            lambda conn: log_rows.take_back_attempt(conn, log_number, seq)
        )
        undone.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _has_come(self, missing: _Missing) -> bool:
        """Asked for every waiting entry whenever a batch was stored, so it reads nothing."""
        if isinstance(missing, bytes):
            return self._mesh.key(missing) is not None
        scope, instance, seq = missing
        log = self._ledger.log(scope, instance)
        return log is not None and log.has_applied(seq)

    def _ready(self, opened: Opened) -> bool:
        """All entries that the writer had seen of these records are applied here."""
        for record_change, _ in opened.changes:
            for instance, seq in record_change.past:
                missing = (opened.log.scope.tag, instance, seq)
                if not self._has_come(missing):
                    self._waiting[opened.log.number, opened.arrived.seq] = missing
                    return False
        return True

    async def _reopen(self, log_number: int, seq: int) -> Opened | None:
        """Decode a pending entry again, one attempt more; None while its key is missing."""
        log = self._ledger.log_numbered(log_number)
        stored = await self._database.read(lambda conn: stored_entry(conn, log_number, seq))
        assert stored is not None, "a waiting entry is in the store"
        row = stored.entry
        try:
            body = self._mesh.open_entry(log, stored)
            if body is None:
                self._waiting[log_number, seq] = stored.key_id
                return None
            if stored.kind == KIND_MEMBERSHIP:
                await self._take_operation(log, row, body)
                return None
            change_set = decode_change_set(body)
            changes = tuple((c, decode_tail(c.tail, log.instance)) for c in change_set.changes)
        except (CryptoError, DecodeError) as error:
            await self._quarantine(log, seq, str(error))
            return None
        arrived = Arrived(seq, 0, row.salt, row.ct, row.entry_id, b"", b"", row.signature)
        name = (stored.kind, stored.key_id, stored.heads)
        opened = Opened(log, arrived, name, PENDING, "", 0, change_set.hlc, changes)
        if self._ready(opened):
            await self._database.write(lambda conn: log_rows.bump_attempts(conn, [row.arrival]))
        return opened

    async def _take_operation(self, log: Log, row: Entry, body: bytes) -> None:
        """A membership operation whose key arrived after it."""
        operation = membership_rows.Operation(row.entry_id, log.author, body)

        def write(conn: Conn) -> None:
            membership_rows.add_operations(conn, [operation])
            log_rows.set_entry_state(conn, log.number, [(row.seq, APPLIED, None)])

        await self._database.write(write)
        log.unapplied.discard(row.seq)
        self._waiting.pop((log.number, row.seq), None)
        await self._mesh.learned([(row.entry_id, log.author, body)])

    async def _apply(self, opened: Opened) -> None:
        """Hand one entry to the CRDT; commit its records with its new state, or quarantine it."""
        log, seq = opened.log, opened.arrived.seq
        scope = log.scope.number
        names = [(c.collection, c.id) for c, _ in opened.changes]
        with await self._shelf.load([scope], names):
            states: dict[Key, tuple[int, RecordState]] = {}
            try:
                for index, (record_change, change) in enumerate(opened.changes):
                    key = (scope, record_change.collection, record_change.id)
                    before = states[key][1] if key in states else self._shelf.state(key)
                    states[key] = (index, crdt.apply(before, log.instance, change, seq))
            except DecodeError as error:
                self._counters.add("ingest.quarantined")
                await self._quarantine(log, seq, str(error))
                return
            rows = [
                project(log, seq, opened.hlc, key, index, state)
                for key, (index, state) in states.items()
            ]
            await self._database.write(lambda conn: write_applied(conn, log.number, seq, rows))
            for key, (_, state) in states.items():
                self._shelf.put(key, state)
        log.unapplied.discard(seq)
        self._post(log, rows)

    async def _quarantine(self, log: Log, seq: int, why: str) -> None:
        """Set an entry aside for good; it stays stored and is passed on."""
        self._waiting.pop((log.number, seq), None)
        log.unapplied.add(seq)
        await self._database.write(
            lambda conn: log_rows.set_entry_state(conn, log.number, [(seq, QUARANTINED, why)])
        )

    def _post(self, log: Log, rows: list[Row]) -> None:
        if not self._board.wants_records:
            return
        for row in rows:
            self._board.post(
                RecordChanged(log.scope.database, row.collection, row.id, log.author, row.fields)
            )
