"""Applying: stored entries become records, by way of the CRDT, when all they rest on is here.

An entry waits for its key and for whatever its changes rest on (`waiting.py`); only what can never
be right is quarantined, so that all devices come to the same. Whoever crashes the process is tried
once more after a restart, then after ever longer times of quiet, and then quarantined: the attempt
is on the disk before the entry is handed on. What arrived together is applied together and
committed together; what is tried again after a start goes one by one, so that a poisonous entry
takes no other with it. The caller holds the turn (`turns.py`): nobody else writes meanwhile.
"""

import asyncio
from collections.abc import Callable, Sequence

from ..crypto.entry import CONTROL_SCOPE, KIND_MEMBERSHIP
from ..crypto.errors import CryptoError
from ..crypto.identity import short_id
from ..storage import log_rows, membership_rows
from ..storage.errors import StorageError
from ..storage.log_rows import Entry
from ..storage.store import Conn, Store
from ..sync import crdt
from ..sync.changeset import decode_change_set
from ..sync.chunk import decode_tail
from ..sync.errors import DecodeError, GateError, GateRefusal
from ..sync.record_state import RecordState
from .audit import Audit
from .counters import Counters
from .happenings import RecordChanged
from .ingest_rows import APPLIED, PENDING, QUARANTINED, SHELVED, Opened, write_applied
from .ledger import Ledger, Log
from .mesh import Mesh
from .outcomes import set_aside, tell_disputes
from .ports import Clock
from .projection import Key, project
from .receiving import Arrived
from .shelf import Shelf
from .stored import stored_entry
from .waiting import Missing, Place, Waiting

ATTEMPTS_AT_ONCE = 2
"""After so many crashes at an entry it is tried again only when the node has run for a while."""
ATTEMPTS_MAX = 6
SUSPECT_MS = 60_000
"""The first such while; each further crash doubles it."""
WAITING_ENTRIES_MAX = 100_000
WHY_SHELVED = "written after its author was removed; nobody who belongs has built on it"
ENTRIES_PER_APPLY = 256
"""Entries handed to the CRDT before what came of them is committed."""


class Applier:
    """Every entry of this store that is held and not applied yet."""

    def __init__(
        self,
        database: Store,
        ledger: Ledger,
        mesh: Mesh,
        shelf: Shelf,
        audit: Audit,
        counters: Counters,
        clock: Clock,
        put_off: Callable[[], None],
    ) -> None:
        """`put_off` is told when an entry is to be tried again at a later time."""
        self._database = database
        self._ledger = ledger
        self._mesh = mesh
        self._shelf = shelf
        self._audit = audit
        self._counters = counters
        self._clock = clock
        self._put_off = put_off
        self._waiting = Waiting()
        self._operations: list[tuple[bytes, bytes, bytes]] = []
        """Membership operations that were opened and are to be learned."""
        self._claims = 0
        """How many entries were taken off the shelf because others rest on them."""

    @property
    def waiting(self) -> Waiting:
        """The entries that wait; as many as its length."""
        return self._waiting

    def await_turn(self, opened: Opened) -> None:
        """A pending entry was stored. Beyond the bound it is taken up at the next start."""
        if len(self._waiting) < WAITING_ENTRIES_MAX:
            self._waiting.add(_place(opened), _records(opened))

    def judge(self, entries: Sequence[Opened]) -> None:
        """Of entries that are about to be stored: those of removed devices go on the shelf."""
        for opened in entries:
            log, seq = opened.log, opened.arrived.seq
            if self._mesh.counts(log, seq, opened.heading[2]) or opened.state is QUARANTINED:
                continue
            opened.state, opened.why, opened.attempts, opened.rows = SHELVED, WHY_SHELVED, 0, []
            log.unapplied.add(seq)
            log.shelved.add(seq)
            self.tell_shelved(log)

    def tell_shelved(self, log: Log) -> None:
        """An entry of a removed device went on the shelf."""
        known = self._mesh.registry.devices.get(log.author)
        name = known.name if known else short_id(log.author)
        self._audit.tally("shelved", {"device": name, "entries": 1})

    def hold_back(self, entries: Sequence[Opened]) -> None:
        """Of entries that are about to be stored: none may overtake an earlier one of its log."""
        unread: set[Log] = set()
        for opened in entries:
            if opened.state == PENDING and not opened.changes:
                unread.add(opened.log)
            if not opened.rows:
                continue
            records = _records(opened) or ()
            if opened.log in unread or self._waiting.stands_before(opened.log.number, records):
                opened.state, opened.attempts, opened.rows = PENDING, 1, []
                opened.log.unapplied.add(opened.arrived.seq)

    def came(self, entries: Sequence[Opened]) -> None:
        """These were applied in the transaction that stored them: others may rest on them."""
        self._waiting.came(change.hash for opened in entries for _, change in opened.changes)
        if any(row.blobs for opened in entries for row in opened.rows):
            self._audit.board.blobs_noticed()

    async def resume(self) -> None:
        """After a start: quarantine what crashed us twice, take up what was left pending."""
        for state in (PENDING, QUARANTINED, SHELVED):
            after = 0
            while rows := await self._database.read(
                lambda conn, s=state, a=after: log_rows.entries_in_state(conn, s, a)  # type: ignore[misc]
            ):
                after = rows[-1].arrival
                for row in rows:
                    log = self._ledger.log_numbered(row.log_no)
                    log.unapplied.add(row.seq)
                    if state is PENDING:
                        await self._take_up(log, row)
                    elif state is SHELVED:
                        log.shelved.add(row.seq)

    async def _take_up(self, log: Log, row: Entry) -> None:
        """Line up an entry that was left pending; one that we crashed at often, for later.

        A crash says little: the power may have gone. Only who is crashed at again and again, after
        ever longer times of quiet, is set aside for good.
        """
        if row.attempts >= ATTEMPTS_MAX:
            self._counters.add("ingest.poison")
            await self._quarantine(
                log, row.seq, f"handing it on ended the node {row.attempts} times"
            )
            return
        place = (log.number, row.seq)
        self._waiting.add(place, () if log.scope.tag == CONTROL_SCOPE else None)
        if row.attempts >= ATTEMPTS_AT_ONCE:
            self._counters.add("ingest.suspect")
            self._wait(place, SUSPECT_MS << (row.attempts - ATTEMPTS_AT_ONCE))

    def _wait(self, place: Place, duration_ms: int) -> None:
        """Put an entry off: nothing else may come that would make us look at it again."""
        self._waiting.wait_for(place, self._clock.monotonic_ms() + duration_ms)
        self._put_off()

    def next_due_ms(self) -> int | None:
        """When an entry that was put off is due again, in monotonic time; None if none is."""
        due = [missing for _, missing in self._waiting.places() if isinstance(missing, int)]
        return min(due, default=None)

    async def apply_waiting(self, fresh: Sequence[Opened]) -> None:
        """Apply pending entries until none of those left has all it needs.

        `fresh` was just stored, with its first attempt counted; others are read again.
        """
        slow = [e for e in fresh if e.changes and _place(e) in self._waiting]
        try:
            for start in range(0, len(slow), ENTRIES_PER_APPLY):
                await self._apply(slow[start : start + ENTRIES_PER_APPLY])
        except (asyncio.CancelledError, StorageError):
            for opened in slow:
                self._try_later(_place(opened))
            raise
        at_hand = {_place(e): e for e in slow}
        progress = True
        while progress and self._waiting:
            claims = self._claims
            try:
                progress = await self._look_through(at_hand) or claims != self._claims
            finally:
                await self._learn()

    async def _look_through(self, at_hand: dict[Place, Opened]) -> bool:
        """Apply each waiting entry that has all it needs by now; whether there was one."""
        progress = False
        for place, missing in self._waiting.places():
            if missing is not None and not self._has_come(missing):
                continue
            if place not in self._waiting:
                continue
            self._waiting.look_again(place)
            if not self._waiting.is_next(place):
                continue
            await self._apply_one(place, at_hand.get(place))
            progress = progress or place not in self._waiting
        return progress

    async def _apply_one(self, place: Place, opened: Opened | None) -> None:
        """Apply one pending entry if it is ready; it is read again if it is not at hand."""
        try:
            found = opened or await self._reopen(*place)
            if found is not None and self._ready(found):
                await self._apply([found])
        except (asyncio.CancelledError, StorageError):
            self._try_later(place)
            raise

    def _try_later(self, place: Place) -> None:
        """It was no fault of the entry."""
        self._forgive(*place)
        if place in self._waiting:
            self._wait(place, 0)

    def _forgive(self, log_number: int, seq: int) -> None:
        """We were closed, or the disk failed: that attempt says nothing about the entry."""
        undone = self._database.write(
            lambda conn: log_rows.take_back_attempt(conn, log_number, seq)
        )
        undone.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _has_come(self, missing: Missing) -> bool:
        """Asked for every waiting entry whenever a batch was stored, so it reads nothing."""
        if isinstance(missing, bytes):
            return self._mesh.key(missing) is not None
        if isinstance(missing, int):
            return self._clock.monotonic_ms() >= missing
        if isinstance(missing, frozenset):
            return False  # `came` forgets it when one of them has.
        scope, instance, seq = missing
        log = self._ledger.log(scope, instance)
        return log is not None and (log.has_applied(seq) or seq in log.shelved)

    def _claim(self, scope: bytes, instance: bytes, seq: int) -> bool:
        """An entry that counts rests on this one: is it here and applied, or does it wait now?

        One on the shelf counts from now on: whoever belongs and built on it vouches for it.
        """
        log = self._ledger.log(scope, instance)
        if log is None:
            return False
        if seq in log.shelved:
            self._claims += 1
            self.take_off_shelf(log, seq)
        return log.has_applied(seq)

    def take_off_shelf(self, log: Log, seq: int) -> None:
        """It counts now: line it up."""
        log.shelved.discard(seq)
        self._waiting.add((log.number, seq), None)

    def wait_again(self, log: Log, seq: int) -> None:
        """What it rests on was taken away: it waits until that comes back."""
        log.unapplied.add(seq)
        self.take_off_shelf(log, seq)

    def put_on_shelf(self, log: Log, seq: int) -> None:
        """It does not count any more: it waits for nothing but somebody who vouches for it."""
        log.unapplied.add(seq)
        log.shelved.add(seq)
        self._waiting.remove((log.number, seq))

    def _ready(self, opened: Opened) -> bool:
        """All that the writer had seen of these records, and its own entries, are applied here."""
        place = _place(opened)
        self._waiting.read(place, _records(opened) or ())
        if not self._waiting.is_next(place):
            return False
        for record_change, _ in opened.changes:
            for instance, seq in record_change.past:
                missing = (opened.log.scope.tag, instance, seq)
                if not self._claim(*missing):
                    self._waiting.wait_for(place, missing)
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
                self._waiting.wait_for((log_number, seq), stored.key_id)
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

            def begin(conn: Conn) -> None:
                log_rows.bump_attempts(conn, [row.arrival])
                if row.state == SHELVED:
                    log_rows.set_entry_state(conn, log.number, [(seq, PENDING, None)])

            await self._database.write(begin)
        return opened

    async def _take_operation(self, log: Log, row: Entry, body: bytes) -> None:
        """A membership operation whose key arrived after it."""
        operation = membership_rows.Operation(row.entry_id, log.author, body)

        def write(conn: Conn) -> None:
            membership_rows.add_operations(conn, [operation])
            log_rows.set_entry_state(conn, log.number, [(row.seq, APPLIED, None)])

        await self._database.write(write)
        log.unapplied.discard(row.seq)
        self._waiting.remove((log.number, row.seq))
        self._operations.append((row.entry_id, log.author, body))

    async def _learn(self) -> None:
        """Operations that waited for one key are learned at once, and drawn from together.

        Else every session would begin to compare anew with each of them, and peers bear that a few
        times only.
        """
        operations, self._operations = self._operations, []
        if operations:
            await self._mesh.learned(operations)

    async def _apply(self, entries: Sequence[Opened]) -> None:
        """Hand entries of one scope, in order, to the CRDT; commit what came of them together.

        An entry that is not ready stays pending; one that the gate refuses is quarantined alone.
        """
        scope = entries[0].log.scope.number
        names = [(c.collection, c.id) for opened in entries for c, _ in opened.changes]
        with await self._shelf.load([scope], names):
            states: dict[Key, RecordState] = {}
            applied: list[Opened] = []
            refused: list[tuple[Opened, str]] = []
            for opened in entries:
                if not self._ready(opened):
                    continue
                try:
                    states.update(self._merged(opened, states))
                except DecodeError as error:
                    if not self._waits_after(opened, error):
                        refused.append((opened, str(error)))
                    continue
                self._waiting.remove(_place(opened))
                # From here on those behind it may rest on it; undone below if the disk fails.
                opened.log.unapplied.discard(opened.arrived.seq)
                applied.append(opened)
            await self._commit(applied, [opened for opened, _ in refused])
            for key, state in states.items():
                self._shelf.put(key, state)
        self.came(applied)
        for opened in applied:
            self.post(opened)
        for opened, why in refused:
            self._counters.add("ingest.quarantined")
            await self._quarantine(opened.log, opened.arrived.seq, why)

    async def _commit(self, applied: Sequence[Opened], refused: Sequence[Opened]) -> None:
        """Make the rows of what was applied durable. If that fails, all of it waits again."""
        try:
            await self._database.write(lambda conn: write_applied(conn, applied))
        except BaseException:
            for opened in applied:
                opened.log.unapplied.add(opened.arrived.seq)
            for opened in (*applied, *refused):
                self._waiting.add(_place(opened), _records(opened))
            raise

    def _waits_after(self, opened: Opened, error: DecodeError) -> bool:
        """Whether the change rests on another that may still come; else it waits no longer."""
        if not (isinstance(error, GateError) and error.refusal is GateRefusal.UNKNOWN_DEPENDENCY):
            self._waiting.remove(_place(opened))
            return False
        deps = frozenset(dep for _, change in opened.changes for dep in change.deps)
        self._waiting.wait_for(_place(opened), deps)
        self._forgive(opened.log.number, opened.arrived.seq)
        return True

    def _merged(self, opened: Opened, states: dict[Key, RecordState]) -> dict[Key, RecordState]:
        """The states of its records after an entry, which gets its rows. Raises DecodeError."""
        log, seq, judge = opened.log, opened.arrived.seq, self._shelf.judge
        after: dict[Key, tuple[int, RecordState]] = {}
        for index, (record_change, change) in enumerate(opened.changes):
            key = (log.scope.number, record_change.collection, record_change.id)
            before = after[key][1] if key in after else states.get(key) or self._shelf.state(key)
            after[key] = (index, crdt.apply(before, log.instance, change, seq, opened.hlc))
        opened.rows = [
            project(log, seq, opened.hlc, key, index, state, judge.resolution(key, state))
            for key, (index, state) in after.items()
        ]
        return {key: state for key, (_, state) in after.items()}

    async def _quarantine(self, log: Log, seq: int, why: str) -> None:
        """Set an entry aside for good; it stays stored and is passed on."""
        self._waiting.remove((log.number, seq))
        log.unapplied.add(seq)
        await self._database.write(
            lambda conn: log_rows.set_entry_state(conn, log.number, [(seq, QUARANTINED, why)])
        )
        self._audit.tally("quarantined", set_aside(self._mesh, log, why))

    def post(self, opened: Opened) -> None:
        """Tell whoever watches what this entry changed, and what came into dispute by it."""
        tell_disputes(self._audit, opened.log.scope.database, opened.hlc, opened.rows)
        if not self._audit.board.wants_records:
            return
        log = opened.log
        for row in opened.rows:
            self._audit.board.post(
                RecordChanged(log.scope.database, row.collection, row.id, log.author, row.fields)
            )


def _place(opened: Opened) -> Place:
    return opened.log.number, opened.arrived.seq


def _records(opened: Opened) -> list[Key] | None:
    """The records that an entry touches; None if it cannot be read yet."""
    log = opened.log
    if not opened.changes:
        return [] if log.scope.tag == CONTROL_SCOPE else None
    return [(log.scope.number, c.collection, c.id) for c, _ in opened.changes]
