"""Commit queue: who goes together, who hears what, on a `run` that the test plays."""

import asyncio
from asyncio import Future
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from covey.storage import commit_queue
from covey.storage.commit_queue import CommitQueue
from covey.storage.group_commit import Job, Outcome
from covey.storage.store import Conn


class Disk:
    """Takes groups; the test says when and how each ends."""

    def __init__(self) -> None:
        self.groups: list[list[Job]] = []
        self._told: list[Future[list[Outcome]]] = []

    def run(self, jobs: Sequence[Job]) -> "Future[list[Outcome]]":
        told: Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self.groups.append(list(jobs))
        self._told.append(told)
        return told

    async def finish(self, outcomes: list[Outcome] | BaseException) -> None:
        told = self._told.pop()
        if isinstance(outcomes, BaseException):
            told.set_exception(outcomes)
        else:
            told.set_result(outcomes)
        await turn()


async def turn() -> None:
    """Whatever is ready runs."""
    for _ in range(3):
        await asyncio.sleep(0)


def job(number: int) -> Callable[[Conn], Any]:
    return lambda conn: number


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def queue(disk: Disk) -> CommitQueue:
    return CommitQueue(disk.run)


async def test_what_is_written_in_one_turn_of_the_loop_goes_together(
    disk: Disk, queue: CommitQueue
) -> None:
    """A wait for the disk costs ten times what the work does."""
    jobs = [job(n) for n in range(3)]
    for each in jobs:
        queue.write(each)
    await turn()

    assert disk.groups == [jobs]


async def test_what_arrives_meanwhile_waits_for_the_group_before_it(
    disk: Disk, queue: CommitQueue
) -> None:
    """Two groups at once could become durable in the wrong order."""
    first, second = job(1), job(2)
    queue.write(first)
    await turn()
    later = queue.write(second)
    await turn()
    assert disk.groups == [[first]]
    await disk.finish([(None, 1)])

    assert disk.groups == [[first], [second]]
    assert not later.done()


async def test_jobs_that_a_group_left_out_go_first_in_the_next(
    disk: Disk, queue: CommitQueue
) -> None:
    """A chain of entries must not be overtaken."""
    jobs = [job(n) for n in range(4)]
    futures = [queue.write(each) for each in jobs[:3]]
    await turn()
    futures.append(queue.write(jobs[3]))
    await disk.finish([(None, "a")])

    assert disk.groups == [jobs[:3], jobs[1:]]
    assert [future.done() for future in futures] == [True, False, False, False]


async def test_a_group_has_a_limit(
    disk: Disk, queue: CommitQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first caller must not wait for the work of thousands."""
    monkeypatch.setattr(commit_queue, "GROUP_JOBS_MAX", 2)
    for number in range(5):
        queue.write(job(number))
    await turn()

    assert [len(group) for group in disk.groups] == [2]


async def test_each_caller_hears_of_its_own_job(disk: Disk, queue: CommitQueue) -> None:
    """One caller's mistake is not another's."""
    futures = [queue.write(job(n)) for n in range(3)]
    await turn()
    await disk.finish([(None, "a"), (ZeroDivisionError(), None), (None, "c")])

    heard = await asyncio.gather(*futures, return_exceptions=True)

    assert heard[::2] == ["a", "c"]
    assert isinstance(heard[1], ZeroDivisionError)


async def test_a_group_that_broke_fails_for_everybody_and_the_queue_goes_on(
    disk: Disk, queue: CommitQueue
) -> None:
    """A caller that waits for ever is worse than an error."""
    futures = [queue.write(job(n)) for n in range(2)]
    await turn()
    await disk.finish(ZeroDivisionError())
    after = queue.write(job(3))
    await turn()
    await disk.finish([(None, "after")])

    heard = await asyncio.gather(*futures, return_exceptions=True)

    assert [type(each) for each in heard] == [ZeroDivisionError] * 2
    assert await after == "after"


async def test_a_job_stays_in_its_place_though_its_caller_stopped_waiting(
    disk: Disk, queue: CommitQueue
) -> None:
    """What follows was computed on top of it."""
    jobs = [job(n) for n in range(3)]
    futures = [queue.write(each) for each in jobs]
    futures[1].cancel()
    await turn()
    await disk.finish([(None, n) for n in range(3)])

    assert disk.groups == [jobs]
    assert [await futures[0], await futures[2]] == [0, 2]


async def test_settling_waits_for_what_is_queued_and_under_way(
    disk: Disk, queue: CommitQueue
) -> None:
    """Closing a store must not cut off a write that was taken."""
    await asyncio.wait_for(queue.settle(), 10)
    queue.write(job(1))
    settling = asyncio.ensure_future(queue.settle())
    await turn()
    queue.write(job(2))
    await disk.finish([(None, 1)])
    assert not settling.done()
    await disk.finish([(None, 2)])

    assert settling.done()
