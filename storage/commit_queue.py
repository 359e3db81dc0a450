"""Commit queue: the jobs that wait to become durable, in order, one group at a time.

While one group is on its way to the disk, what arrives waits, and then goes as the next group. The
queue decides who goes together and who hears what; it is handed `run`, which makes a group durable
(`group_commit.run_group`, in a thread or in a simulation) and says how its jobs ended. `run` may
leave out the last jobs of a group; they go first in the next one.

A job runs even if its caller stopped waiting: what follows may build on it. The queue has no bound
of its own: a caller that waits for its futures bounds it. All methods belong to one event loop.
"""

import asyncio
from asyncio import Future
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .group_commit import GROUP_JOBS_MAX, Job, Outcome
from .store import Conn

T = TypeVar("T")

Run = Callable[[Sequence[Job]], "Future[list[Outcome]]"]
"""Begins to make a group durable. The future gives the outcomes of the jobs that were run, in
order; its exception is what befell all of them. One group is under way at a time."""


class CommitQueue:
    """See the module."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._queue: deque[tuple[Job, Future[Any]]] = deque()
        self._in_flight: list[tuple[Job, Future[Any]]] = []
        self._idle = asyncio.Event()
        self._idle.set()

    def write(self, job: Callable[[Conn], T]) -> Future[T]:
        """As `Store.write`. Jobs run strictly in the order of the calls."""
        loop = asyncio.get_running_loop()
        future: Future[T] = loop.create_future()
        self._queue.append((job, future))
        if self._idle.is_set():
            self._idle.clear()
            # Not at once: what else is ready to write in this turn of the loop joins the group.
            loop.call_soon(self._start_group)
        return future

    async def settle(self) -> None:
        """Return when nothing is queued and nothing under way."""
        await self._idle.wait()

    def _start_group(self) -> None:
        queue = self._queue
        self._in_flight = [queue.popleft() for _ in range(min(GROUP_JOBS_MAX, len(queue)))]
        jobs = [job for job, _ in self._in_flight]
        self._run(jobs).add_done_callback(self._finish_group)

    def _finish_group(self, group: "Future[list[Outcome]]") -> None:
        broken = group.exception()
        # What is not the fault of one job (a defect of ours) must still reach every caller.
        outcomes = [(broken, None)] * len(self._in_flight) if broken else group.result()
        for (_, future), (error, value) in zip(self._in_flight, outcomes, strict=False):
            if future.done():
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
        self._queue.extendleft(reversed(self._in_flight[len(outcomes) :]))
        if self._queue:
            self._start_group()
        else:
            self._in_flight = []
            self._idle.set()
