"""Foreign thread: calls of an application's code that nobody can end, each in a thread of its own.

A thread of a pool that hangs keeps the whole process from ending. These threads are daemons: the
process ends without them, and whoever stopped waiting hears nothing of what they answer.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def in_foreign_thread(call: Callable[[], T]) -> T:
    """Run a call in another thread, and return or raise what it does."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def tell(act: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # The loop has ended meanwhile.
            loop.call_soon_threadsafe(lambda: None if answer.done() else act())

    def run() -> None:
        try:
            result = call()
        except BaseException as error:
            failure = error
            tell(lambda: answer.set_exception(failure))
        else:
            tell(lambda: answer.set_result(result))

    threading.Thread(target=run, name="covey-foreign", daemon=True).start()
    return await answer
