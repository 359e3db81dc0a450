"""Bus: changes of records as events, and operations by message, inside of one process.

    bus = covey.Bus()
    bus.handle(Remember, remember)            # one handler for each kind of message
    bus.follow(facts, redraw)                 # any number of listeners for each repository
    async with bus:
        id = await bus.send(Remember("likes tea"))

A message is an object of a class of the application; its handler is a coroutine function, and what
it returns, or raises, is what `send` does. A listener is told of every change from `follow` on,
local or synced, in order, while the block lasts. One that raises ends the block with its error: a
listener that fails unseen would leave a screen, or an index, as it was.
"""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, TypeVar

from ... import CoveyError
from .repositories import Changed, Changes, Repository

T = TypeVar("T")
M = TypeVar("M")

Listener = Callable[[Changed[T]], Awaitable[None]]


class NoHandlerError(CoveyError):
    """A message was sent that nobody handles. Nothing was done."""

    exit_code = 3


class HandlerTakenError(CoveyError):
    """A kind of message has a handler already: two would each do the operation."""

    exit_code = 3


class Bus:
    """See the module. Made for one application; what was followed is so until the block ends."""

    def __init__(self) -> None:
        self._handlers: dict[type, Callable[[Any], Awaitable[Any]]] = {}
        self._following: list[tuple[Changes[Any], Listener[Any]]] = []
        self._group: asyncio.TaskGroup | None = None

    def handle(self, kind: type[M], handler: Callable[[M], Awaitable[Any]]) -> None:
        """Let `handler` carry out messages of exactly this class. Raises HandlerTakenError."""
        if kind in self._handlers:
            raise HandlerTakenError(f"{kind.__name__} is handled already")
        self._handlers[kind] = handler

    async def send(self, message: Any) -> Any:
        """Have a message carried out; what its handler returns. Raises NoHandlerError."""
        handler = self._handlers.get(type(message))
        if handler is None:
            known = ", ".join(sorted(kind.__name__ for kind in self._handlers)) or "no message"
            raise NoHandlerError(f"nobody handles a {type(message).__name__}; handled: {known}")
        return await handler(message)

    def follow(self, repository: Repository[T], listener: Listener[T]) -> None:
        """Tell `listener` of every change of a repository from now on."""
        following = (repository.changes(), listener)
        self._following.append(following)
        if self._group is not None:
            self._start(*following)

    def _start(self, changes: Changes[Any], listener: Listener[Any]) -> None:
        assert self._group is not None
        self._group.create_task(_tell(changes, listener))

    async def __aenter__(self) -> "Bus":
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        for following in self._following:
            self._start(*following)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._group is not None
        group, self._group = self._group, None
        for changes, _ in self._following:
            changes.close()
        # What has happened until now is still told; then each ends by itself.
        self._following = []
        try:
            await group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as failed:
            # An error of the block alone is that error, and needs no group around it.
            if failed.exceptions != (error,):
                raise


async def _tell(changes: Changes[T], listener: Listener[T]) -> None:
    async for change in changes:
        await listener(change)
