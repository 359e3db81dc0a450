"""Patience: waiting for links and proofs, with an end.

Conditions are looked at again whenever a link comes, goes or is proved, and now and then besides.
Time is the Clock port's.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from ..storage.errors import StoreClosedError
from .deadline import DeadlinePassed, set_or_passed, within
from .status import peer_standing

if TYPE_CHECKING:
    from .engine import Engine

T = TypeVar("T")

LOOK_EVERY_MS = 50


class Patience:
    """What the engine and its callers wait for."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._changed = asyncio.Event()

    def look_again(self) -> None:
        """Something changed that somebody may wait for."""
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds."""
        while not condition():
            self._changed.clear()
            await set_or_passed(self._engine.clock, LOOK_EVERY_MS, self._changed)

    async def holds(self, condition: Callable[[], bool], timeout_ms: int) -> bool:
        """Whether the condition comes to hold within the time.

        For calls of applications, which no task of the node ends. Raises StoreClosedError if the
        node closes meanwhile: nobody would make the condition true any more.
        """
        engine = self._engine

        def over() -> bool:
            return engine.closing or condition()

        try:
            await within(engine.clock, timeout_ms, self.until(over))
        except DeadlinePassed:
            return False
        if engine.closing:
            raise StoreClosedError(engine.place)
        return True

    async def at_most(self, work: Awaitable[T], timeout_ms: int, *, otherwise: T) -> T:
        """What `work` gives within the time, else `otherwise`."""

        async def wait() -> T:
            return await work

        try:
            return await within(self._engine.clock, timeout_ms, wait())
        except DeadlinePassed:
            return otherwise

    async def sync(self, device: bytes | None, timeout_ms: int) -> bool:
        """One round with whoever is reachable; True only if all of them are proved in sync.

        What is held, here or there, is not waited for; nothing of it would come.

        With `device`, only that one counts, and it must be reached. Raises StoreClosedError.
        """
        engine = self._engine
        await engine.go_online()
        engine.reach.hurry()
        links_to = engine.switchboard.links_to

        def settled() -> bool:
            wanted = [device] if device else engine.reach.candidates()
            linked = [d for d in wanted if links_to(d)]
            if not linked or any(d not in linked and engine.reach.is_trying(d) for d in wanted):
                return False
            return all(peer_standing(engine, d).settled for d in linked)

        return await self.holds(settled, timeout_ms)

    async def after_admission(self, device: bytes, connect_ms: int, sync_ms: int) -> None:
        """Stay until a new device has what we have: linked within one time, proved in the other."""
        links_to = self._engine.switchboard.links_to
        clock = self._engine.clock

        def done() -> bool:
            links = links_to(device)
            return not links or any(link.proved_ms for link in links)

        with suppress(DeadlinePassed):
            await within(clock, connect_ms, self.until(lambda: bool(links_to(device))))
            await within(clock, sync_ms, self.until(done))
