"""Database: the encrypted store of one home, open.

Two connections to one SQLCipher file in write-ahead mode, each with a thread of its own under
aiosqlite: one writes, one reads, and reading never waits for writing. A job crosses into its thread
once, as a whole, together with all the jobs that wait with it (`commit_queue.py`). An acknowledged
write survives the loss of power: the future of a job resolves after COMMIT with synchronous=FULL.

It does not lock the home (`home.py`), check the key against the vault, or know what the rows mean.
All methods belong to one event loop. The queue of jobs has no bound of its own: a caller that waits
for its futures bounds it.

Disk full: the reserve is given back, so that reading and shutting down work; writes are refused
until the reserve could be taken again.
"""

import asyncio
import os
import time
from asyncio import Future
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import aiosqlite

from .commit_queue import CommitQueue
from .connector import DATABASE_ERRORS, reader_connector, translate, writer_connector
from .errors import (
    HomeExistsError,
    StorageError,
    StoreClosedError,
    StoreDamagedError,
    StoreFullError,
)
from .group_commit import Job, Outcome, run_group, run_read
from .home import translate_os_error
from .migrations import migrate
from .reserve import Reserve
from .store import Conn

T = TypeVar("T")

_ITER_CHUNK_ROWS = 64


class Database:
    """See the module. Made by `create_database` and `open_database`; a context manager."""

    def __init__(
        self,
        path: Path,
        writer: aiosqlite.Connection,
        reader: aiosqlite.Connection,
        reserve: Reserve | None,
    ) -> None:
        self.path = path
        self._writer = writer
        self._reader = reader
        self._reserve = reserve
        self._refusing = False
        self._queue = CommitQueue(self._submit_group)
        self._closed = False

    def write(self, job: Callable[[Conn], T]) -> Future[T]:
        """As `Store.write`. Jobs run strictly in the order of the calls."""
        if self._closed:
            raise StoreClosedError(self.path)
        return self._queue.write(job)

    def read(self, job: Callable[[Conn], T]) -> Future[T]:
        """As `Store.read`. Reads run one after the other, beside the writes."""
        if self._closed:
            raise StoreClosedError(self.path)
        connection, path = self._reader, self.path

        def run() -> T:
            try:
                result: T = run_read(_raw(connection), job, path)
            except StoreDamagedError:
                _renew(connection)
                raise
            return result

        return _submit(connection, run)

    async def close(self) -> None:
        """As `Store.close`. No thread of ours is left, and no write-ahead log unless it is needed.

        A log that could not be copied into the file (full disk) stays and is read at the next
        start.
        """
        if self._closed:
            return
        self._closed = True
        await self._queue.settle()
        await _end(self._reader)
        # The last connection copies the write-ahead log into the file and removes it.
        await _end(self._writer)

    async def __aenter__(self) -> "Database":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def _submit_group(self, jobs: Sequence[Job]) -> Future[list[Outcome]]:
        def run() -> list[Outcome]:
            return self._run_group(jobs)

        return _submit(self._writer, run)

    def _run_group(self, jobs: Sequence[Job]) -> list[Outcome]:
        """In the thread of the writer."""
        reserve = self._reserve
        if self._refusing and reserve is not None:
            if not reserve.regain():
                return [(StoreFullError(self.path), None)] * len(jobs)
            self._refusing = False
        outcomes = run_group(_raw(self._writer), jobs, self.path, time.monotonic_ns)
        if reserve is not None and any(isinstance(error, StoreFullError) for error, _ in outcomes):
            # Without a reserve to regain, SQLite itself finds out when there is room again.
            self._refusing = reserve.held_bytes > 0
            reserve.release()
        if any(isinstance(error, StoreDamagedError) for error, _ in outcomes):
            _renew(self._writer)
        return outcomes


async def create_database(
    path: Path, key: bytes, applied_ms: int, reserve: Reserve | None = None
) -> Database:
    """Make a new store at `path` (mode 0600) and open it. `key` is 32 bytes.

    Raises: HomeExistsError if there is a file, StoreFullError, ReadOnlyHomeError,
    PlaintextStoreError, DiskFailedError.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        raise HomeExistsError(path) from None
    except OSError as error:
        raise translate_os_error(error, path) from error
    return await _open(path, key, applied_ms, True, reserve)


async def open_database(
    path: Path,
    key: bytes,
    applied_ms: int,
    key_checked: bool,
    reserve: Reserve | None = None,
) -> Database:
    """Open the store at `path` and bring its schema up to date. `applied_ms` is now, since 1970.

    `key_checked` tells that the vault has vouched for the key: then a store that does not open is
    damaged, otherwise the key is taken to be wrong.

    Raises: NotInitialisedError, WrongKeyError, StoreDamagedError, NewerStoreError,
    ForeignSchemaError, PlaintextStoreError, ReadOnlyHomeError, HomeBusyError, StoreFullError,
    DiskFailedError.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise translate_os_error(error, path) from error
    if size == 0:
        # SQLite would take it for a new database, and everything would seem to be gone.
        raise StoreDamagedError(path, "the file is empty")
    return await _open(path, key, applied_ms, key_checked, reserve)


async def _open(
    path: Path, key: bytes, applied_ms: int, key_checked: bool, reserve: Reserve | None
) -> Database:
    writer = await _connected(writer_connector(path, key, key_checked))
    try:
        await _submit(writer, lambda: migrate(_raw(writer), path, applied_ms))
        reader = await _connected(reader_connector(path, key, key_checked))
    except DATABASE_ERRORS as error:
        await _end(writer)
        raise translate(error, path) from None
    except BaseException:
        await _end(writer)
        raise
    return Database(path, writer, reader, reserve)


def _submit(connection: aiosqlite.Connection, run: Callable[[], T]) -> Future[T]:
    """Run a function in the thread of a connection, in the order of the calls.

    aiosqlite has a public method for each statement, at two thread switches each (30 to 100 us),
    and none for a function; its private queue takes one. `tests/test_database.py` pins it, and
    the bound on the version in pyproject.toml keeps it. A closure is put there, never a partial:
    aiosqlite logs what it runs, and the arguments of a partial would be records.
    """
    future: Future[T] = asyncio.get_running_loop().create_future()
    connection._tx.put_nowait((future, run))
    return future


def _raw(connection: aiosqlite.Connection) -> Any:
    """The connection of the library below, for use in its own thread."""
    return connection._conn


def _renew(connection: aiosqlite.Connection) -> None:
    """Open a connection again, in its own thread, after it came upon a damaged page.

    SQLCipher refuses everything on a connection that has seen one. All other pages are good, and a
    person will want to save what is in them.
    """
    with suppress(StorageError, *DATABASE_ERRORS):
        connection._conn.close()
        connection._connection = connection._connector()


async def _connected(connector: Callable[[], Any]) -> aiosqlite.Connection:
    connection = aiosqlite.Connection(connector, _ITER_CHUNK_ROWS)
    # A store that nobody closed must not keep the process from ending: what was acknowledged is on
    # the disk, and the interpreter would wait for this thread for ever.
    connection._thread.daemon = True
    try:
        return await connection
    except BaseException:
        # aiosqlite has told the thread to end; it must not outlive the event loop.
        connection._thread.join()
        raise


async def _end(connection: aiosqlite.Connection) -> None:
    """Close one connection and wait until its thread is gone."""
    with suppress(*DATABASE_ERRORS):
        await connection.close()
    connection._thread.join()
