"""WebSocket link: the Connection port over one upgraded aiohttp connection, either end of it.

Turns what aiohttp reports into whole binary messages or a `ConnectionLostError`, refuses text and
anything over 65,535 bytes, and closes without ever raising. Closing with `ABORT` (1006, which RFC
6455 never puts on the wire) drops the link without another byte. No message of an error quotes
what the other side sent.

Several tasks may `send`, one may `receive`, and any may `close` meanwhile.
`websocket.py` makes these. Spec: docs/protocol.md, section 5; RFC 6455.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress

import aiohttp
from aiohttp import web

from .ports import Address, ConnectionLostError
from .secure_channel import ABORT

MESSAGE_BYTES_MAX = 65_535
CLOSE_TIMEOUT_S = 1.0
_TEXT_REFUSED = 1003
_TOO_BIG = 1009

# What aiohttp and the socket raise on a link that is gone or going.
_LINK_ERRORS = (aiohttp.ClientError, OSError, RuntimeError, TimeoutError)


class WebSocketConnection:
    """Implements `covey.node.ports.Connection` over one WebSocket, dialled or accepted."""

    def __init__(
        self,
        link: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
        remote: Address,
        on_admitted: Callable[[], None] = lambda: None,
    ) -> None:
        self._link = link
        self._remote = remote
        self._on_admitted = on_admitted
        self._closing = False

    @property
    def remote(self) -> Address:
        return self._remote

    def admit(self) -> None:
        """The other side has proved who it is: it no longer counts as half-open."""
        self._on_admitted()

    async def send(self, message: bytes) -> None:
        """Queue one message of at most 65,535 bytes. Raises: ConnectionLostError."""
        assert len(message) <= MESSAGE_BYTES_MAX, "one message is one Noise message"
        try:
            await self._link.send_bytes(message)
        except _LINK_ERRORS as error:
            raise self._lost(f"the connection is gone ({short_cause(error)})") from None
        except asyncio.CancelledError:
            # The message is queued; only the wait for room was cut short.
            if _is_cancelled():
                raise
            if self._link.closed:
                raise self._lost("the connection is closed") from None

    async def receive(self) -> bytes:
        """Return the next message. One caller at a time. Raises: ConnectionLostError."""
        try:
            message = await self._link.receive()
        except _LINK_ERRORS as error:
            raise self._lost(f"the connection is gone ({short_cause(error)})") from None
        except asyncio.CancelledError:
            # Not ours: it came while aiohttp answered a ping. No message was taken.
            if _is_cancelled():
                raise
            return await self.receive()
        if message.type is aiohttp.WSMsgType.BINARY:
            data: bytes = message.data
            if len(data) <= MESSAGE_BYTES_MAX:
                return data
            await self.close(_TOO_BIG)
            raise self._lost(f"sent {len(data)} bytes, {MESSAGE_BYTES_MAX} allowed", _TOO_BIG)
        raise await self._ended(message)

    async def _ended(self, message: aiohttp.WSMessage) -> ConnectionLostError:
        match message.type:
            case aiohttp.WSMsgType.TEXT:
                await self.close(_TEXT_REFUSED)
                return self._lost("sent text", _TEXT_REFUSED)
            case aiohttp.WSMsgType.CLOSE:
                # aiohttp says 0 where the frame held no code.
                return self._lost("closed by the other side", message.data or None)
            case aiohttp.WSMsgType.ERROR:
                error = message.data
                code = error.code if isinstance(error, aiohttp.WebSocketError) else None
                return self._lost(f"the connection broke ({short_cause(error)})", code)
            case _:
                return self._lost("the connection is closed")

    def _lost(self, why: str, code: int | None = None) -> ConnectionLostError:
        return ConnectionLostError(f"{self._remote}: {why}", code)

    async def close(self, code: int = 1000) -> None:
        """Close with a WebSocket code, waiting at most a second for the answer; or `ABORT`."""
        if self._closing:
            return
        self._closing = True
        if code == ABORT:
            self._cut()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._link.close(code=code)
        except _LINK_ERRORS:
            self._cut()
        except asyncio.CancelledError:
            self._cut()
            if _is_cancelled():
                raise

    def _cut(self) -> None:
        """End the TCP connection now. Whatever waits on it is woken by the loss."""
        link = self._link.get_extra_info("socket")
        if link is not None:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)


def _is_cancelled() -> bool:
    """Whether a CancelledError is meant for this task.

    aiohttp lets all who wait for room in a buffer wait for one future: when one of them is
    cancelled, which may be its own ping, the others get the error as well.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def short_cause(error: BaseException) -> str:
    """Say in a few words what went wrong, in none that the other side could have chosen."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "closed at once: busy, or no Covey node"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "no such host"
    return type(error).__name__
