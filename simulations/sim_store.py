"""Simulated store: the Store port on SQLite in memory, whose disk is a `SimDisk`.

Schema, settings, jobs, grouping and the rules for a job that fails are those of the real store;
what is simulated is the disk below. A commit takes a moment, and its callers hear of it a moment
later: the process may die before, in between or after. What is durable is what a `COMMIT` with
`synchronous=FULL` has left, and the setting is read back from SQLite, so a store that does not wait
for its disk loses what it told, as it would on a real one.
"""

import asyncio
import sqlite3
from asyncio import Future
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..storage.commit_queue import CommitQueue
from ..storage.connector import settings
from ..storage.errors import (
    DiskFailedError,
    StoreClosedError,
    StoreDamagedError,
    StoreFullError,
)
from ..storage.group_commit import Job, Outcome, run_group, run_read
from ..storage.migrations import migrate
from ..storage.store import Conn
from .sim_disk import IMAGES_KEPT, STORE_PATH, Fate, SimDisk
from .virtual_loop import Process

T = TypeVar("T")

STEP_S = 1e-6
_CACHE = "cache_size=-2000"
_FULL_SYNC = 2
_FULL_TEXT_DELETES = sqlite3.sqlite_version_info >= (3, 43)


class SimStore:
    """Implements `covey.storage.store.Store` for one process."""

    def __init__(
        self, disk: SimDisk, process: Process, die: Callable[[], None], applied_ms: int
    ) -> None:
        """Opens what is on the disk, or a new store. Raises StoreDamagedError."""
        self._disk = disk
        self._process = process
        self._die = die
        self._closed = False
        self.committed: Callable[[], None] = lambda: None
        """Called when callers are being told of a commit; for checkers."""
        self._changes_before = 0
        """What `changes` had come to when this connection took the place of another."""
        self._reads = 0
        self._last_read_s = 0.0
        self._reading = 0
        self._all_read = asyncio.Event()
        self._all_read.set()
        self._rot()
        disk.recover()
        self._conn = _opened(disk.image)
        (synchronous,) = self._conn.execute("PRAGMA synchronous").fetchone()
        self._waits = synchronous >= _FULL_SYNC
        migrate(self._conn, STORE_PATH, applied_ms, contentless_delete=_FULL_TEXT_DELETES)
        self._queue = CommitQueue(self._run)

    # Store -------------------------------------------------------------------------------------

    def write(self, job: Callable[[Conn], T]) -> Future[T]:
        if not self._process.alive:
            return _never()
        if self._closed:
            raise StoreClosedError(STORE_PATH)
        return self._queue.write(job)

    def read(self, job: Callable[[Conn], T]) -> Future[T]:
        if not self._process.alive:
            return _never()
        if self._closed:
            raise StoreClosedError(STORE_PATH)
        loop = asyncio.get_running_loop()
        future: Future[T] = loop.create_future()
        error, value = self._read_now(job)

        def answer() -> None:
            self._reading -= 1
            if not self._reading:
                self._all_read.set()
            if future.done():
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

        self._reading += 1
        self._all_read.clear()
        loop.call_at(self._answer_at_s(loop.time()), self._process.happen, answer)
        return future

    def _answer_at_s(self, now_s: float) -> float:
        """When the next read is answered: later than the one before, for there is one reader."""
        self._reads += 1
        disk = self._disk
        share = disk.dice.fraction("read", disk.name, disk.commits, self._reads)
        at_s = max(now_s + disk.read_ms_max * share / 1000, self._last_read_s + STEP_S)
        self._last_read_s = at_s
        return at_s

    async def close(self) -> None:
        if self._closed or not self._process.alive:
            return
        self._closed = True
        await self._queue.settle()
        await self._all_read.wait()
        self._disk.maybe = None  # The write-ahead log is gone, with whatever was left in it.
        self.save()
        self._conn.close()

    # The disk below ----------------------------------------------------------------------------

    def save(self) -> None:
        """Bring what is committed to the disk; the process ends or has ended."""
        self._disk.image = self._conn.serialize()

    @property
    def changes(self) -> int:
        """Rows changed since it was opened; equal numbers of one store mean equal contents."""
        return self._changes_before + self._conn.total_changes

    def look(self, job: Callable[[Conn], T]) -> T:
        """For checkers: read at once, whatever the disk does."""
        value: T = run_read(self._conn, job, STORE_PATH)
        return value

    def _read_now(self, job: Callable[[Conn], Any]) -> tuple[BaseException | None, Any]:
        try:
            self._rot()
            return None, run_read(self._conn, job, STORE_PATH)
        except Exception as error:
            return error, None

    def _rot(self) -> None:
        disk = self._disk
        if disk.is_rotten and disk.dice.below(3, "rotten", disk.name, disk.commits) == 0:
            raise StoreDamagedError(STORE_PATH, "a page does not authenticate")

    def _run(self, jobs: Sequence[Job]) -> "Future[list[Outcome]]":
        """As the thread of the real store does: later, and then told later still."""
        loop = asyncio.get_running_loop()
        told: Future[list[Outcome]] = loop.create_future()
        half_s = self._disk.commit_ms() / 2000

        def commit() -> None:
            outcomes = self._commit(jobs)
            if outcomes is not None:
                loop.call_later(half_s, self._process.happen, lambda: self._tell(told, outcomes))

        loop.call_later(half_s, self._process.happen, commit)
        return told

    def _tell(self, told: "Future[list[Outcome]]", outcomes: list[Outcome]) -> None:
        if not told.done():
            told.set_result(outcomes)
            self.committed()

    def _commit(self, jobs: Sequence[Job]) -> list[Outcome] | None:
        """Run a group; None if the process died at it."""
        disk = self._disk
        match disk.next_commit():
            case Fate.DIES_BEFORE:
                self._die()
                return None
            case Fate.FULL:
                return [(StoreFullError(STORE_PATH), None)] * len(jobs)
            case Fate.FAILS:
                return [(DiskFailedError(STORE_PATH, "input/output error"), None)] * len(jobs)
            case Fate.UNSURE:
                self._commit_unsurely(jobs)
                return [(DiskFailedError(STORE_PATH, "input/output error"), None)] * len(jobs)
            case fate:
                outcomes = self._commit_for_sure(jobs)
                if fate is Fate.DIES_AFTER:
                    self._die()
                    return None
                return outcomes

    def _commit_for_sure(self, jobs: Sequence[Job]) -> list[Outcome]:
        try:
            self._rot()
        except StoreDamagedError as error:
            return [(error, None)] * len(jobs)
        if not self._waits:
            self._disk.older = [*self._disk.older, self._conn.serialize()][-IMAGES_KEPT:]
        return run_group(self._conn, jobs, STORE_PATH, lambda: 0)

    def _commit_unsurely(self, jobs: Sequence[Job]) -> None:
        before = self._conn.serialize()
        run_group(self._conn, jobs, STORE_PATH, lambda: 0)
        self._disk.maybe = self._conn.serialize()
        # Another connection: the full-text index keeps in memory what it had read of the other one.
        self._changes_before = self.changes + 1
        self._conn.close()
        self._conn = _opened(before)


def _opened(image: bytes | None) -> "sqlite3.Connection":
    conn = sqlite3.connect(":memory:", isolation_level=None, cached_statements=256)
    if image is not None:
        conn.deserialize(image)
    for setting in settings("rw", _CACHE):
        conn.execute(f"PRAGMA {setting}").fetchall()
    return conn


def _never() -> "Future[Any]":
    """What a dead process gets: nothing, and its task goes on no further."""
    future: Future[Any] = asyncio.get_running_loop().create_future()
    future.cancel()
    return future
