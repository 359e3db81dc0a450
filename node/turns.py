"""Turns: many local writes may prepare at once, or one received batch, never both.

A local write reads a record's state, computes a change and queues it without another reader in
between; a received batch does the same for many records. The lock keeps the two kinds apart so
that neither computes on a state the other is about to replace. Fair: whoever waits longest goes
first, so a cold sync does not starve a person's write and the reverse.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    def __init__(self) -> None:
        self._sharing = 0
        self._alone = False
        self._waiting: deque[tuple[bool, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        await self._enter(alone=False)
        try:
            yield
        finally:
            self._sharing -= 1
            self._wake()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        await self._enter(alone=True)
        try:
            yield
        finally:
            self._alone = False
            self._wake()

    async def _enter(self, *, alone: bool) -> None:
        if not self._waiting and self._may_enter(alone):
            self._take(alone)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((alone, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(alone)
            else:
                self._wake()  # Who stood behind us may be able to enter.
            raise

    def _may_enter(self, alone: bool) -> bool:
        return not self._alone and (not alone or self._sharing == 0)

    def _take(self, alone: bool) -> None:
        if alone:
            self._alone = True
        else:
            self._sharing += 1

    def _give_back(self, alone: bool) -> None:
        if alone:
            self._alone = False
        else:
            self._sharing -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            alone, turn = self._waiting[0]
            if turn.done():
                self._waiting.popleft()
                continue
            if not self._may_enter(alone):
                return
            self._waiting.popleft()
            self._take(alone)
            turn.set_result(None)
