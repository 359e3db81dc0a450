"""Mesh loop: the virtual loop of a test, which plain functions of the test may drive themselves.

A test says `mesh.advance(hours=3)` in the middle of a coroutine, and three hours have passed when
the call returns. So the loop can be run from inside of one of its own tasks (`drive`): that task
stands still as if it waited, and everybody else goes on, in the order in which they would have.

`MeshWorld` is the world on such a loop. It tells what Covey must never do (`violations`) from what
a test left behind (`mistakes`).

`drive` uses the hooks that asyncio has for this ("Extending", `_leave_task` and `_enter_task`).
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .virtual_loop import LivelockError, VirtualLoop
from .world import World

CALLBACKS_WITHOUT_TIME_MAX = 1_000_000
"""Callbacks at one moment of virtual time; beyond it nothing will ever happen again."""

_PACKAGE = Path(__file__).resolve().parent.parent
OUR_CODE = tuple(
    f"{_PACKAGE / name}/" for name in ("crypto", "node", "simulations", "storage", "sync")
)


DAY_S = 86_400.0
PATIENCE_DAYS = 3.0


class StuckError(Exception):
    """Time passed, and passed, and the test did nothing."""


class MeshLoop(VirtualLoop):
    """See the module. Runs one callback a turn, so that a callback may run the next ones."""

    def __init__(self) -> None:
        super().__init__()
        self.patience_days = PATIENCE_DAYS
        """How long nobody may use the mesh, in virtual days, before the test is given up."""
        self._touched_s = 0.0

    def touch(self) -> None:
        """The test has done something."""
        self._touched_s = self._now

    def own_tasks(self) -> list[asyncio.Task[Any]]:
        """The tasks that have not ended and belong to no device."""
        return [task for task in self._tasks if not task.done()]

    def drive(self, done: Callable[[], bool]) -> None:
        """Run what is due, and let time pass, until `done`. Called by what the loop runs."""
        current = asyncio.current_task(self)
        if current is not None:
            asyncio._leave_task(self, current)
        try:
            while not done():
                self._run_once()
        finally:
            if current is not None:
                asyncio._enter_task(self, current)

    def pass_time(self, duration_s: float) -> None:
        """Drive the loop for so many virtual seconds."""
        passed: list[bool] = []
        self.call_later(duration_s, passed.append, True)
        # All of this time is wanted.
        self._touched_s = self._now + duration_s
        self.drive(lambda: bool(passed))

    def _run_once(self) -> None:
        if not self._ready:
            self._skip()
            if self._now > self._touched_s + self.patience_days * DAY_S:
                self.touch()
                raise StuckError(
                    f"the test did nothing for {self.patience_days:g} days of virtual time"
                    " (mesh.advance lets time pass that is wanted)"
                )
        self._turns += 1
        self.turns_total += 1
        if self._turns > CALLBACKS_WITHOUT_TIME_MAX:
            self._turns = 0
            raise LivelockError(f"nothing but turns of the loop since {self.now_ms} ms")
        handle = self._ready.popleft()
        if not handle._cancelled:
            handle._run()


class MeshWorld(World):
    """A world that a test holds in its hands."""

    loop: MeshLoop

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.loop.close()
        self.loop = MeshLoop()
        self.loop.set_exception_handler(self._lost_exception)
        self.mistakes: list[str] = []
        """What ended badly in tasks of the test itself, and was not looked at."""

    def _lost_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        task, error = context.get("future"), context.get("exception")
        if isinstance(task, asyncio.Task) and not _is_ours(task):
            text = f"{task.get_name()} ended with {type(error).__name__}, and nobody awaited it"
            self.mistakes.append(f"{text}: {error}")
        else:
            super()._lost_exception(loop, context)


def _is_ours(task: "asyncio.Task[Any]") -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is None or code.co_filename.startswith(OUR_CODE)
