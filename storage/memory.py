"""MemoryDatabase: the store in memory, without threads, files or encryption. For simulations.

It runs the same schema and the same jobs as `Database` on the standard library's SQLite. A job runs
inside the call of `write` or `read`, so a run is deterministic: what finishes when is up to
the simulator around it. `image` is the committed state as bytes, and `MemoryDatabase(image)` is the
store after a crash that lost everything since.

It never opens a file. On SQLite older than 3.43 the full-text index keeps its texts, which only
costs memory.
"""

import asyncio
import sqlite3
from asyncio import Future
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .errors import StoreClosedError
from .group_commit import run_group, run_read
from .migrations import migrate
from .store import Conn

T = TypeVar("T")

_PATH = Path(":memory:")


class MemoryDatabase:
    """See the module. Implements `Store`."""

    def __init__(self, image: bytes | None = None, applied_ms: int = 0) -> None:
        self._conn = sqlite3.connect(":memory:", isolation_level=None, cached_statements=256)
        if image is not None:
            self._conn.deserialize(image)
        for setting in ("temp_store=MEMORY", "trusted_schema=OFF", "foreign_keys=ON"):
            self._conn.execute(f"PRAGMA {setting}")
        migrate(
            self._conn,
            _PATH,
            applied_ms,
            contentless_delete=sqlite3.sqlite_version_info >= (3, 43),
        )
        self._closed = False

    def write(self, job: Callable[[Conn], T]) -> Future[T]:
        """As `Store.write`; the job has run when this returns."""
        if self._closed:
            raise StoreClosedError(_PATH)
        future: Future[T] = asyncio.get_running_loop().create_future()
        ((error, value),) = run_group(self._conn, [job], _PATH, _time_stands_still)
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)
        return future

    def read(self, job: Callable[[Conn], T]) -> Future[T]:
        """As `Store.read`; the job has run when this returns."""
        if self._closed:
            raise StoreClosedError(_PATH)
        future: Future[T] = asyncio.get_running_loop().create_future()
        try:
            future.set_result(run_read(self._conn, job, _PATH))
        except Exception as error:
            future.set_exception(error)
        return future

    def image(self) -> bytes:
        """The committed state, for `MemoryDatabase(image)`."""
        return self._conn.serialize()

    async def close(self) -> None:
        """As `Store.close`."""
        self._closed = True
        self._conn.close()


def _time_stands_still() -> int:
    """The clock of a group that never ends early."""
    return 0
