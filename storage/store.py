"""The store as its callers see it: one connection inside a job, and a place to run jobs.

A *job* is a plain function of a connection. `write` jobs run one after the other in the order of
the calls, each as one atomic change; `read` jobs see one consistent state that includes every
write acknowledged before. The row functions of this floor (`log_rows`, `record_rows`, ...) are
what jobs are made of; they know nothing of threads, files or encryption.

`covey.storage.database.Database` is the encrypted store on disk, `covey.storage.memory` the same
on memory for simulations; `tests/contracts/test_database_contract.py` holds for both.
"""

from asyncio import Future
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

Value = None | int | float | str | bytes
"""What a column holds and a parameter binds."""


class Cursor(Protocol):
    """The result of one statement."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Conn(Protocol):
    """What a job may do: run statements. Transactions are not its business."""

    def execute(self, sql: str, parameters: Sequence[Value] = ..., /) -> Cursor: ...

    def executemany(self, sql: str, parameters: Iterable[Sequence[Value]], /) -> Cursor: ...


class Store(Protocol):
    """Runs jobs. All methods are called on one event loop."""

    def write(self, job: Callable[[Conn], T]) -> Future[T]:
        """Queue a job; the future resolves after its change is durable.

        A job that raises changes nothing, and its own future alone gets the exception. A queued
        job runs even if its caller stops waiting.

        Raises (through the future): StoreFullError, StoreDamagedError, DiskFailedError,
        ReadOnlyHomeError, HomeBusyError, and whatever the job itself raises.
        At once: StoreClosedError.
        """

    def read(self, job: Callable[[Conn], T]) -> Future[T]:
        """Run a job that changes nothing. Raises like `write`."""

    async def close(self) -> None:
        """Finish what is queued and let go of the files. Closing twice is harmless."""
