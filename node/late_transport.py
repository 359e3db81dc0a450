"""A transport that is made when it is first used.

`LateTransport` is handed a function that makes the real one, and calls it at the first `listen` or
`dial`. A command that opens a home, reads one record and closes it again uses none, and what the
real one stands on (aiohttp, which reads the system's certificates as it is imported) takes as long
to load as all the rest. `close` closes what was made.
"""

from collections.abc import Callable
from typing import Protocol

from .ports import Accept, Address, Connection, Listener, Transport


class ClosingTransport(Transport, Protocol):
    """A transport that keeps something open between its dials."""

    async def close(self) -> None:
        """Give up what is kept."""


class LateTransport:
    """Implements `covey.node.ports.Transport` by the one that `make` gives."""

    def __init__(self, make: Callable[[], ClosingTransport]) -> None:
        self._make = make
        self._made: ClosingTransport | None = None

    async def listen(self, host: str, port: int, accept: Accept) -> Listener:
        return await self._real().listen(host, port, accept)

    async def dial(self, address: Address, timeout_ms: int) -> Connection:
        return await self._real().dial(address, timeout_ms)

    async def close(self) -> None:
        """Close the real one, if there is one."""
        if self._made is not None:
            await self._made.close()

    def _real(self) -> ClosingTransport:
        if self._made is None:
            self._made = self._make()
        return self._made
