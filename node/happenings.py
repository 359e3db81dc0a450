"""Happenings: what listeners inside this process are told, as it happens.

A `Board` fans out small immutable events (a record changed, a peer came, a proof was made) to
any number of subscribers. A subscriber that does not keep up loses the oldest events and is told
how many, so nobody can make the node remember without bound.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from .. import CoveyError

BACKLOG_EVENTS_MAX = 100_000


class LaggingError(CoveyError):
    """A listener fell so far behind that changes were dropped. Read the records anew."""

    def __init__(self, lost: int) -> None:
        super().__init__(f"{lost} changes were dropped: the listener was too slow; read anew")


@dataclass(frozen=True, slots=True)
class RecordChanged:
    """One record has a new state on this device. `value` is None after a deletion."""

    database: str
    collection: str
    id: str
    origin: bytes
    """`sig` public key of the device that wrote the change."""
    value: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """Something about peers, pairing or trust, ready to be shown. Never holds record content."""

    kind: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EventsLost:
    count: int


Happening = RecordChanged | NodeEvent | EventsLost


class Subscription:
    """One listener's queue. Iterate it; close it when done."""

    def __init__(self, board: "Board", kinds: tuple[type, ...]) -> None:
        self._board = board
        self._kinds = kinds
        self._queue: deque[Happening] = deque()
        self._lost = 0
        self._ready = asyncio.Event()
        self._closed = False

    def offer(self, happening: Happening) -> None:
        if not isinstance(happening, self._kinds):
            return
        if len(self._queue) >= BACKLOG_EVENTS_MAX:
            self._queue.popleft()
            self._lost += 1
        self._queue.append(happening)
        self._ready.set()

    async def __aiter__(self) -> AsyncIterator[Happening]:
        while True:
            while self._lost or self._queue:
                # Also between two events: who is always behind would else never hear of it.
                if self._lost:
                    lost, self._lost = self._lost, 0
                    yield EventsLost(lost)
                else:
                    yield self._queue.popleft()
            if self._closed:
                return
            self._ready.clear()
            await self._ready.wait()

    def take(self) -> list[Happening]:
        """What has come and was not read yet."""
        waiting: list[Happening] = [EventsLost(self._lost)] if self._lost else []
        waiting += self._queue
        self._lost = 0
        self._queue.clear()
        return waiting

    def close(self) -> None:
        self._closed = True
        self._ready.set()
        self._board.forget(self)


class Board:
    """Where happenings are posted. One a node."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self._record_listeners = 0
        self.blobs_noticed: Callable[[], None] = _nothing
        """Called when records that refer to blobs were written."""

    @property
    def wants_records(self) -> bool:
        """True if somebody listens to record changes: else nobody need build them."""
        return self._record_listeners > 0

    def subscribe(self, *kinds: type) -> Subscription:
        subscription = Subscription(self, kinds)
        self._subscriptions.append(subscription)
        self._record_listeners += RecordChanged in kinds
        return subscription

    def forget(self, subscription: Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
            self._record_listeners -= RecordChanged in subscription._kinds

    def post(self, happening: Happening) -> None:
        for subscription in self._subscriptions:
            subscription.offer(happening)

    def close(self) -> None:
        for subscription in list(self._subscriptions):
            subscription.close()


def _nothing() -> None:
    """What is called as long as nobody listens."""
