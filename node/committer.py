"""Committer: local entries become durable. The writing end of the node's own logs.

A caller stages an entry (`stage`): it gets the next place in this instance's log of its scope, is
sealed and signed at once, and waits. Everything staged while the disk was busy goes into the
next transaction together: entries, records, full text and membership operations (group commit).
`Staged.done` resolves after that transaction is on the disk, in log order.

If a commit fails, it and everything staged behind it fail with the same error, the tails roll
back, and nothing of them was ever shown to a peer: the chain on disk is the chain there is.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..crypto.entry import Heading, seal, sign_entry
from ..crypto.identity import DeviceKeys
from ..storage import log_rows, membership_rows, meta_rows
from ..storage.log_rows import EntryState, NewEntry
from ..storage.store import Conn, Store
from .headings import HeadingKey, HeadingNumbers
from .ledger import Ledger, Log, Scope
from .ports import Clock, Entropy
from .projection import Row, upsert

SALT_BYTES = 8
ENTRIES_PER_COMMIT_MAX = 4096
HLC_RESERVED = "hlc_reserved"
HLC_RESERVE_MS = 5_000
"""How far ahead of the wall clock stamps are set aside, and so how far a restart may jump."""
HLC_RESERVE_MIN = 1 << 16
"""Set aside if our stamps are that far ahead already: many short runs must not drive them on."""


@dataclass(frozen=True, slots=True)
class Outlet:
    """Everything needed to write to a scope: our log there, the header fields, the scope key."""

    log: Log
    heading: Heading
    heads: tuple[bytes, ...]
    key: bytes
    signer: DeviceKeys | None = None
    """Whose word it is, if not ours: the paper key's."""

    @property
    def scope(self) -> Scope:
        return self.log.scope

    def __repr__(self) -> str:
        return f"<Outlet {self.log.scope.database} {self.log.scope.privacy}>"


@dataclass(slots=True, eq=False)
class Staged:
    """One sealed entry on its way to the disk, with the rows that go with it."""

    outlet: Outlet
    seq: int
    prev: bytes
    salt: bytes
    ciphertext: bytes
    entry_id: bytes
    signature: bytes
    done: asyncio.Future[None]
    rows: Sequence[Row] = ()
    operation: bytes | None = None
    """The decrypted body, for an entry of the membership log."""

    @property
    def log(self) -> Log:
        return self.outlet.log


@dataclass(slots=True)
class Committer:
    """The one writer of this node's logs."""

    database: Store
    ledger: Ledger
    keys: DeviceKeys
    clock: Clock
    entropy: Entropy
    headings: HeadingNumbers
    advanced: Callable[[list[Staged]], None]
    """Called once a transaction with the entries it made durable, in order."""
    failed: Callable[[list[Staged]], None]
    """Called with entries that will not become durable, before their callers learn of it."""
    hlc: int = 0
    hlc_reserved: int = 0
    """Stamps up to here are spent by a restart, so that most commits need not store the clock."""
    _queue: list[Staged] = field(default_factory=list)
    _ends: dict[Log, tuple[int, bytes]] = field(default_factory=dict)
    """Where a log stands when all that is staged for it is durable."""
    _running: asyncio.Task[None] | None = None

    def stage(
        self,
        outlet: Outlet,
        body: bytes,
        *,
        rows: Sequence[Row] = (),
        operation: bytes | None = None,
    ) -> Staged:
        """Seal `body` as the next entry of the outlet's log and queue it.

        Raises BodyTooLargeError; then nothing was staged.
        """
        log = outlet.log
        self._turn_away(log)
        seq, prev = log.tail_seq + 1, log.tail_id
        salt = self.entropy.draw(SALT_BYTES)
        ciphertext, entry_id = seal(
            outlet.heading, outlet.key, seq, prev, salt, body, outlet.scope.bucket
        )
        signature = sign_entry(outlet.signer or self.keys, entry_id)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        staged = Staged(
            outlet, seq, prev, salt, ciphertext, entry_id, signature, done, rows, operation
        )
        log.tail_seq, log.tail_id = self._ends[log] = seq, entry_id
        self._queue.append(staged)
        if self._running is None:
            self._running = asyncio.create_task(self._drain(), name="committer")
        return staged

    def _turn_away(self, log: Log) -> None:
        """Take the tail back from entries of this log that a peer brings and nobody stores yet.

        A machine that was set back is told what it wrote by others. Ours would rest on theirs and
        be durable before them: a log with a gap. So theirs come too late, and show as a fork.
        """
        end = self._ends.get(log) or log.landing or (log.head_seq, log.head_id)
        if (log.tail_seq, log.tail_id) != end:
            log.tail_seq, log.tail_id = end
            log.unapplied = {seq for seq in log.unapplied if seq <= log.tail_seq}

    async def settle(self) -> None:
        """Wait until nothing is on its way to the disk."""
        while self._running is not None:
            await asyncio.wait([self._running])

    async def _drain(self) -> None:
        try:
            # One turn of the loop, so that writes which arrive together share the first commit.
            await asyncio.sleep(0)
            while self._queue:
                group = self._queue[:ENTRIES_PER_COMMIT_MAX]
                del self._queue[:ENTRIES_PER_COMMIT_MAX]
                reserved = self._to_reserve()
                try:
                    numbers = await self.database.write(
                        lambda conn, g=group, r=reserved: self._write_group(conn, g, r)  # type: ignore[misc]
                    )
                except (Exception, asyncio.CancelledError) as error:
                    # A defect of ours too: whoever waits hears of it, and the log gets no gap.
                    self._fail(group, error)
                    if isinstance(error, asyncio.CancelledError):
                        raise
                    continue
                self.headings.learn(numbers)
                self.hlc_reserved = max(self.hlc_reserved, reserved)
                for staged in group:
                    self.ledger.made_durable(staged.log, staged.seq, staged.entry_id)
                    if self._ends.get(staged.log) == (staged.seq, staged.entry_id):
                        del self._ends[staged.log]
                for staged in group:
                    if not staged.done.done():
                        staged.done.set_result(None)
                self.advanced(group)
        finally:
            self._running = None

    def _fail(self, group: list[Staged], error: BaseException) -> None:
        lost = group + self._queue
        self._queue = []
        for staged in lost:
            self.ledger.roll_back(staged.log)
            self._ends.pop(staged.log, None)
        self.failed(lost)
        for staged in lost:
            if not staged.done.done():
                if isinstance(error, asyncio.CancelledError):
                    staged.done.cancel()
                else:
                    staged.done.set_exception(error)
                    # Whoever waits for several of them is told by the first, and asks no other.
                    staged.done.exception()

    def _to_reserve(self) -> int:
        """Up to which stamp the next commit sets stamps aside; 0 if enough of them are."""
        if self.hlc <= self.hlc_reserved:
            return 0
        ahead = (self.clock.wall_ms() + HLC_RESERVE_MS) << 16
        return max(self.hlc + HLC_RESERVE_MIN, ahead)

    def _write_group(self, conn: Conn, group: list[Staged], reserve: int) -> dict[HeadingKey, int]:
        """One transaction: every entry of the group with its rows. Runs in the store's thread."""
        by_log: dict[int, list[NewEntry]] = {}
        numbers: dict[HeadingKey, int] = {}
        for staged in group:
            heading = staged.outlet.heading
            number = self.headings.number(
                conn, numbers, (heading.kind, heading.key_id, staged.outlet.heads)
            )
            by_log.setdefault(staged.log.number, []).append(
                NewEntry(
                    staged.seq,
                    number,
                    staged.salt,
                    staged.ciphertext,
                    staged.entry_id,
                    staged.signature,
                    EntryState.APPLIED,
                    0,
                )
            )
        for log_number, entries in by_log.items():
            log_rows.append_entries(conn, log_number, entries)
        upsert(conn, [row for staged in group for row in staged.rows])
        membership_rows.add_operations(
            conn,
            [
                membership_rows.Operation(s.entry_id, s.outlet.heading.author, s.operation)
                for s in group
                if s.operation is not None
            ],
        )
        if reserve:
            meta_rows.set_meta(conn, HLC_RESERVED, reserve.to_bytes(8, "big"))
        return numbers
