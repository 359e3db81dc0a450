"""Virtual loop: an asyncio event loop on which time passes only when nothing is left to do.

Whenever no callback is ready, time jumps to the next timer. So a day of quiet costs nothing, a run
is as fast as its work, and the order of everything follows from the program alone. Sockets, threads
and executors do not exist on it: whoever asks for one has left the simulation, and is told.

A `Process` is the set of tasks that belong to one simulated process: whatever is started by one of
its tasks is its own too (a context variable says whose). It can be frozen, as by a lid that is
closed, and killed, as by `kill -9`: then none of its code runs any more but what ends its tasks.
Exceptions that end a task of a process and that no caller could expect are collected.

Built on `asyncio.BaseEventLoop` of CPython 3.11 and 3.12, whose queues it uses directly.
"""

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from .. import CoveyError
from ..node.channel import _Refuse
from ..node.deadline import DeadlinePassed

T = TypeVar("T")

TURNS_WITHOUT_TIME_MAX = 200_000
"""Turns of the loop at one moment of virtual time; beyond it nothing will ever happen again."""

CANCELLED_TIMERS_MAX = 500
"""Timers that were cancelled and still lie in the queue, before it is cleaned."""

DECLARED = (CoveyError, DeadlinePassed, _Refuse, StopAsyncIteration)
"""What may end a task: errors that a caller is told of, and signals between two functions."""

PROCESS: contextvars.ContextVar["Process | None"] = contextvars.ContextVar("process", default=None)


class DeadlockError(Exception):
    """Nobody will ever do anything again, and what was waited for has not happened."""


class LivelockError(Exception):
    """Tasks keep one another busy while no time passes."""


class Process:
    """The tasks of one simulated process. Made anew at each start."""

    def __init__(self, name: str, report: Callable[[str, BaseException], None]) -> None:
        """`report(task name, exception)` is told of what should never have ended a task."""
        self.name = name
        self.alive = True
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)
        self._report = report
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self._frozen: deque[Callable[[], None]] | None = None

    def __len__(self) -> int:
        return len(self.tasks)

    @property
    def frozen(self) -> bool:
        return self._frozen is not None

    def spawn(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Start a task that belongs to this process."""
        loop = asyncio.get_running_loop()
        return loop.create_task(work, name=name, context=self.context)

    def happen(self, act: Callable[[], None]) -> None:
        """Something of the world reaches this process: now, when it thaws, or never."""
        if not self.alive:
            return
        if self._frozen is not None:
            self._frozen.append(act)
        else:
            act()

    def freeze(self) -> None:
        """Nothing reaches the process until it thaws."""
        if self.alive and self._frozen is None:
            self._frozen = deque()

    def thaw(self) -> None:
        """What came meanwhile reaches the process now, in its order."""
        waiting, self._frozen = self._frozen or deque(), None
        for act in waiting:
            self.happen(act)

    def kill(self) -> None:
        """End every task. The ports of the process must be dead before (`alive` tells them)."""
        self.alive = False
        self._frozen = None
        for task in list(self.tasks):
            task.cancel()

    def left(self) -> list[str]:
        """The names of tasks that have not ended."""
        return [task.get_name() for task in self.tasks if not task.done()]

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """Called by the loop for each task that the process starts."""
        self.tasks[task] = None
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.tasks.pop(task, None)
        if task.cancelled() or not self.alive:
            return
        error = task.exception()
        if error is not None and not isinstance(error, DECLARED):
            self._report(task.get_name(), error)


class _Handle(asyncio.Handle):
    """A callback that is due. Made without asking the loop whether it is being debugged."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context | None,
    ) -> None:
        self._context = contextvars.copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class _TimerHandle(_Handle, asyncio.TimerHandle):
    """A callback for later, with `_when` and `_scheduled` as its maker sets them."""

    __slots__ = ()
    _when: float
    _scheduled: bool


class VirtualLoop(asyncio.BaseEventLoop):
    """See the module. Time starts at 0."""

    _ready: deque[asyncio.Handle]

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._turns = 0
        self._tasks: dict[asyncio.Task[Any], None] = {}
        """Those that belong to no process."""
        self._processes: dict[Process, None] = {}
        self.turns_total = 0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        """A heap: due, and then in the order in which they were asked for."""
        self._timers_made = 0
        self._timers_cancelled = 0
        # Asked for by each future and each task: a call into C instead of one through Python.
        self.create_future = partial(asyncio.Future, loop=self)  # type: ignore[method-assign]
        self.get_debug = bool  # type: ignore[method-assign]

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    @property
    def now_ms(self) -> int:
        """Virtual milliseconds since the loop was made."""
        return int(self._now * 1000 + 1e-6)

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is None:
            self._tasks[task] = None
            task.add_done_callback(self._forget)
        else:
            self._processes[process] = None
            process.adopt(task)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)

    def tasks_left(self) -> list[asyncio.Task[Any]]:
        """Every task that has not ended, in the order of their start by process."""
        owners: list[dict[asyncio.Task[Any], None]] = [self._tasks]
        owners += [process.tasks for process in self._processes]
        return [task for owner in owners for task in owner if not task.done()]

    # As in BaseEventLoop, without what a simulation has no use for: these four are where a run
    # spends most of its turns.

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        timer = _TimerHandle(callback, args, self, context)
        timer._when = when
        timer._scheduled = True
        self._timers_made += 1
        heapq.heappush(self._timers, (when, self._timers_made, timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if handle._scheduled:  # type: ignore[attr-defined]
            self._timers_cancelled += 1

    def close(self) -> None:
        super().close()
        self._timers.clear()

    def _run_once(self) -> None:
        ready = self._ready
        if not ready:
            self._skip()
        self._turns += 1
        self.turns_total += 1
        if self._turns > TURNS_WITHOUT_TIME_MAX:
            self._turns = 0
            raise LivelockError(f"nothing but turns of the loop since {self.now_ms} ms")
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            try:
                handle._context.run(handle._callback, *handle._args)  # type: ignore[attr-defined]
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                self.call_exception_handler(
                    {"message": f"Exception in {handle!r}", "exception": error, "handle": handle}
                )

    def _skip(self) -> None:
        """Let time pass up to the next timer."""
        if self._timers_cancelled > CANCELLED_TIMERS_MAX:
            self._drop_cancelled()
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
            self._timers_cancelled -= 1
        if not timers:
            raise DeadlockError("every task waits for another one")
        when = timers[0][0]
        if when > self._now:
            self._now = when
            self._turns = 0
        while timers and timers[0][0] <= self._now:
            timer = heapq.heappop(timers)[2]
            if timer._cancelled:
                self._timers_cancelled -= 1
            else:
                timer._scheduled = False  # type: ignore[attr-defined]
                self._ready.append(timer)

    def _drop_cancelled(self) -> None:
        self._timers_cancelled = 0
        self._timers[:] = [row for row in self._timers if not row[2]._cancelled]
        heapq.heapify(self._timers)

    # What a simulation does not have.

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        raise AssertionError("there are no threads in a simulation")

    def _write_to_self(self) -> None:
        """Another thread wants the loop's attention; there is none."""

    def _process_events(self, event_list: Any) -> None:
        """There are no sockets, so nothing is ever reported about one."""
