"""Two Connections joined in memory, which keep what was sent and can change it on its way."""

import asyncio
from collections.abc import Callable

from covey.node.ports import Address, ConnectionLostError

ABORT = 1006


class MemoryConnection:
    """Implements `covey.node.ports.Connection`. Make two with `joined`."""

    def __init__(self, name: str) -> None:
        self.remote_name = name
        self.sent: list[bytes] = []
        self.closed_with: int | None = None
        self.admitted = False
        self.on_the_way: Callable[[bytes], bytes] = lambda message: message
        self.other: MemoryConnection
        self._arrived: asyncio.Queue[bytes | ConnectionLostError] = asyncio.Queue()

    @property
    def remote(self) -> Address:
        return Address(self.remote_name, 1)

    def admit(self) -> None:
        self.admitted = True

    async def send(self, message: bytes) -> None:
        if self.closed_with is not None:
            raise ConnectionLostError("closed")
        self.sent.append(message)
        self.other._arrived.put_nowait(self.on_the_way(message))

    async def receive(self) -> bytes:
        arrived = await self._arrived.get()
        if isinstance(arrived, bytes):
            return arrived
        self._arrived.put_nowait(arrived)
        raise ConnectionLostError(str(arrived), arrived.code)

    async def close(self, code: int = 1000) -> None:
        if self.closed_with is not None:
            return
        self.closed_with = code
        self._arrived.put_nowait(ConnectionLostError("closed here"))
        seen = None if code == ABORT else code
        self.other._arrived.put_nowait(ConnectionLostError("closed there", seen))

    def break_link(self) -> None:
        """Both sides find the link gone, without a code."""
        for side in (self, self.other):
            side._arrived.put_nowait(ConnectionLostError("broken"))


def joined() -> tuple[MemoryConnection, MemoryConnection]:
    """Return the two ends of one link: for the initiator, and for the responder."""
    first, second = MemoryConnection("responder.test"), MemoryConnection("initiator.test")
    first.other, second.other = second, first
    return first, second
