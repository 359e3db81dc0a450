"""Background: the tasks of a node that outlive the call that started them, and how they end."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from ..storage.errors import StorageError
from .ports import Clock

T = TypeVar("T")

FAREWELL_MS = 500
"""How long links may take to say goodbye before they are cut off."""

AGAIN_MS = 1_000
"""Before something that the disk refused is tried again, at least."""


async def retry_when_due(
    clock: Clock, next_due_ms: Callable[[], int | None], retry: Callable[[], Awaitable[None]]
) -> None:
    """Call `retry` whenever something is due, until nothing is. A disk that refuses is no end."""
    while (due_ms := next_due_ms()) is not None:
        await clock.sleep_ms(max(due_ms - clock.monotonic_ms(), AGAIN_MS))
        with suppress(StorageError):
            await retry()


async def finish(tasks: Iterable[asyncio.Task[Any]], clock: Clock) -> None:
    """Links end by themselves after their goodbye; everything else is cancelled."""
    tasks = list(tasks)
    linking = [task for task in tasks if task.get_name().startswith("link")]
    if linking:
        timer = asyncio.ensure_future(clock.sleep_ms(FAREWELL_MS))
        while any(not task.done() for task in linking) and not timer.done():
            await asyncio.wait([timer, *linking], return_when=asyncio.FIRST_COMPLETED)
            linking = [task for task in linking if not task.done()]
        timer.cancel()
    current = asyncio.current_task()
    rest = [task for task in tasks if task is not current]
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


async def to_its_end(work: Awaitable[T], gone: Callable[[], None] = lambda: None) -> T:
    """What some work gives. It has ended when this ends, also if its caller has gone.

    `gone` is called when the caller goes, and may hurry the work.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        gone()
        while not task.done():
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError:
                continue  # It is being ended; whatever comes next needs it to be over.
        if not task.cancelled():
            task.exception()  # Looked at, or it would be reported as lost.
        raise
