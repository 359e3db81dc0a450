"""Deadline: do something, but not for longer than this, by the Clock port.

`asyncio.timeout` would read the event loop's clock and so escape a simulation. Here the timer
is the clock's, raced against the work. Whichever loses is cancelled and awaited before the
function returns, so no task is left behind on any path, cancellation included.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from .ports import Clock

T = TypeVar("T")


class DeadlinePassed(Exception):  # noqa: N818 - a signal between two functions, not an error
    """The work took too long and was cancelled. Caught by whoever set the deadline."""


async def within(clock: Clock, duration_ms: int, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns, or raise what it raises, if that takes at most `duration_ms`.

    Work that ends in the same turn of the event loop as the timer counts as in time.

    Raises: DeadlinePassed.
    """
    doing = asyncio.ensure_future(work)
    passed = doing.get_loop().create_future()
    cancel = clock.call_after_ms(duration_ms, lambda: _pass(passed))
    try:
        await asyncio.wait((doing, passed), return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        raise DeadlinePassed
    finally:
        cancel()
        await _cancel(doing)


async def set_or_passed(clock: Clock, duration_ms: int, event: asyncio.Event) -> None:
    """Wait until the event is set; if that takes longer than `duration_ms`, set it.

    For loops that look again whatever woke them. Unlike `within` it starts no task.
    """
    cancel = clock.call_after_ms(duration_ms, event.set)
    try:
        await event.wait()
    finally:
        cancel()


def _pass(passed: "asyncio.Future[None]") -> None:
    if not passed.done():
        passed.set_result(None)


async def _cancel(task: asyncio.Future[Any]) -> None:
    if task.done():
        # Retrieving the exception keeps asyncio from reporting it as lost.
        if not task.cancelled():
            task.exception()
        return
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()
