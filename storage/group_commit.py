"""Group commit: jobs that wait together become durable together.

A durable commit costs a wait for the disk (150 to 340 us here); the work of a job costs a tenth of
that. So a group of waiting jobs is run, in order, in one transaction. In a group of more than one
each job stands in a savepoint: one that raises is undone alone, and its caller alone hears of it.
What breaks the transaction itself (a full disk, a damaged page, a failed commit) fails the whole
group: nothing of it is durable, and nobody was told otherwise.

A group ends after `GROUP_MS_MAX` milliseconds, so that the first caller does not wait for
the work of hundreds. This module knows no thread, no queue (`commit_queue.py`) and no clock: the
caller hands one in.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .connector import translate
from .store import Conn

GROUP_JOBS_MAX = 512
GROUP_MS_MAX = 20

Job = Callable[[Conn], Any]
Outcome = tuple[BaseException | None, Any]
"""The exception of a job, or None and what it returned."""


def run_group(
    conn: Any, jobs: Sequence[Job], path: Path, now_ns: Callable[[], int]
) -> list[Outcome]:
    """Run the jobs, or a first part of them, in one transaction; return when it is durable.

    The outcomes are those of the jobs that were run, in order: fewer than `jobs` if time ran out
    on `now_ns`, a monotonic clock in nanoseconds.
    """
    try:
        conn.execute("BEGIN IMMEDIATE")
        # Alone, a job needs no savepoint: the transaction is its own.
        alone = len(jobs) == 1
        outcomes = [_success(jobs[0](conn))] if alone else _run_each(conn, jobs, path, now_ns)
        conn.execute("COMMIT")
    except BaseException as error:
        _roll_back(conn)
        failure = _presentable(error, path)
        return [(failure, None)] * len(jobs)
    return outcomes


def run_read(conn: Any, job: Job, path: Path) -> Any:
    """Run one job on one consistent state. Raises what `translate` makes of its exception."""
    try:
        conn.execute("BEGIN")
        return job(conn)
    except BaseException as error:
        presentable = _presentable(error, path)
        if presentable is error:
            raise
        raise presentable from error
    finally:
        _roll_back(conn)


def _run_each(
    conn: Any, jobs: Sequence[Job], path: Path, now_ns: Callable[[], int]
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    deadline_ns = now_ns() + GROUP_MS_MAX * 1_000_000
    for job in jobs:
        conn.execute("SAVEPOINT job")
        try:
            outcomes.append(_success(job(conn)))
        except Exception as error:
            if not conn.in_transaction:
                # SQLite has rolled everything back by itself; so have the jobs before this one.
                raise
            conn.execute("ROLLBACK TO job")
            outcomes.append((_presentable(error, path), None))
        conn.execute("RELEASE job")
        if now_ns() >= deadline_ns:
            break
    return outcomes


def _success(value: Any) -> Outcome:
    return None, value


def _roll_back(conn: Any) -> None:
    # A rollback that fails leaves nothing to undo: an uncommitted change dies with its connection.
    with suppress(Exception):
        if conn.in_transaction:
            conn.execute("ROLLBACK")


def _presentable(error: BaseException, path: Path) -> BaseException:
    if isinstance(error, StopIteration):
        # A future cannot carry it: its caller would wait for ever.
        return RuntimeError("a job raised StopIteration")
    return translate(error, path)
