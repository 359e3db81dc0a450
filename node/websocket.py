"""WebSocket: the Transport port on aiohttp, one binary message for one Noise message.

`WebSocketTransport` listens on a port of its own, where `GET /covey/1` with a WebSocket upgrade is
the only request that is answered with anything but 404, and dials such ports. No compression, no
text, no message over 65,535 bytes, a ping after 20 s of silence. A dial follows no redirect, sends
no cookie, and reads no proxy and no password from the environment.

It encrypts nothing and trusts nobody: that is the channel's work (`channel.py`). Until a channel
calls `admit`, a connection counts as half-open and is limited by `admission.py`; a TCP connection
that never asks for anything is closed after 5 s. What a connection does is in `websocket_link.py`.

Closing the listener closes its connections, ends their `accept` calls and leaves no task and no
socket. Spec: docs/protocol.md, section 5; RFC 6455. The buffers of one connection hold about 64 KiB
to send and 192 KiB received; then `send` waits, and the other side's `send` does.
"""

import asyncio
import errno
import logging
import socket
from contextlib import suppress
from functools import partial

import aiohttp
from aiohttp import web
from yarl import URL

from .admission import Admission, AdmissionLimits, Ticket, Turned
from .counters import Counters
from .ports import Accept, Address, Clock, ConnectionLostError, PortInUseError, UnreachableError
from .websocket_link import CLOSE_TIMEOUT_S, WebSocketConnection, short_cause

PATH = "/covey/1"
_GOING_AWAY = 1001
_AIOHTTP_MESSAGE_BYTES_MAX = 65_600
_HEARTBEAT_S = 20
_WRITER_LIMIT_BYTES = 32 * 1024
_FIRST_REQUEST_S = 5
_BACKLOG = 128
_NO_NODE = "what answers there is no Covey node"
_LINE_BYTES_MAX = 1024
_HEADERS_MAX = 32

_log = logging.getLogger(__name__)


class _GuardedHandler(web.RequestHandler):
    """One TCP connection of the server, which needs a ticket before a byte of it is read."""

    ticket: Ticket | None = None

    def __init__(self, door: "_GuardedServer", **options: object) -> None:
        super().__init__(door, loop=asyncio.get_running_loop(), **options)  # type: ignore[arg-type]
        self._door = door

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        ticket = self._door.arrive(peer[0]) if peer else None
        if ticket is None:
            assert isinstance(transport, asyncio.Transport)
            transport.abort()
            return
        self.ticket = ticket
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.ticket is not None:
            self._door.admission.leave(self.ticket)
            super().connection_lost(exc)


class _GuardedServer(web.Server):
    """aiohttp's low-level server with `admission` at the door."""

    def __init__(
        self, handler: "WebSocketListener", clock: Clock, counters: Counters, admission: Admission
    ) -> None:
        super().__init__(handler.serve)
        self.admission = admission
        self._clock = clock
        self._counters = counters

    def arrive(self, host: str) -> Ticket | None:
        outcome = self.admission.arrive(host, self._clock.monotonic_ms())
        if isinstance(outcome, Turned):
            self._counters.add(f"transport.turned_away.{outcome.value}")
            return None
        return outcome

    def __call__(self) -> web.RequestHandler:
        return _GuardedHandler(
            self,
            keepalive_timeout=_FIRST_REQUEST_S,
            access_log=None,
            lingering_time=0,
            max_line_size=_LINE_BYTES_MAX,
            max_field_size=_LINE_BYTES_MAX,
            max_headers=_HEADERS_MAX,
        )


class WebSocketListener:
    """Implements `covey.node.ports.Listener`. Made by `WebSocketTransport.listen`."""

    def __init__(
        self, clock: Clock, counters: Counters, limits: AdmissionLimits, accept: Accept
    ) -> None:
        self._counters = counters
        self._accept = accept
        self._admission = Admission(limits)
        self._http = _GuardedServer(self, clock, counters, self._admission)
        self._server: asyncio.Server | None = None
        self._port = 0
        self._serving: dict[WebSocketConnection, asyncio.Task[None] | None] = {}

    @property
    def port(self) -> int:
        return self._port

    async def start(self, bound: socket.socket) -> None:
        self._port = bound.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._http, sock=bound, backlog=_BACKLOG)

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request: upgrade it and run `accept`, or 404."""
        if request.method != "GET" or request.path != PATH:
            return self._refuse(404)
        link = web.WebSocketResponse(
            timeout=CLOSE_TIMEOUT_S,
            heartbeat=_HEARTBEAT_S,
            autoping=True,
            compress=False,
            max_msg_size=_AIOHTTP_MESSAGE_BYTES_MAX,
            writer_limit=_WRITER_LIMIT_BYTES,
        )
        link.headers["Server"] = "covey"
        try:
            await link.prepare(request)
        except (web.HTTPException, ConnectionError):
            # Also if it has gone already, which aiohttp would tell on standard error.
            return self._refuse(400)
        handler = request.protocol
        assert isinstance(handler, _GuardedHandler) and handler.ticket is not None
        admit = partial(self._admission.admit, handler.ticket)
        connection = WebSocketConnection(link, _peer(link.get_extra_info("peername")), admit)
        self._serving[connection] = asyncio.current_task()
        try:
            await self._run(connection)
        finally:
            await connection.close()
            del self._serving[connection]
        return link

    def _refuse(self, status: int) -> web.Response:
        self._counters.add("transport.requests_refused")
        answer = web.Response(status=status, headers={"Server": "covey"})
        answer.force_close()
        return answer

    async def _run(self, connection: WebSocketConnection) -> None:
        self._counters.add("transport.accepted")
        try:
            await self._accept(connection)
        except ConnectionLostError:
            pass
        except Exception:
            # One connection's fault in our code must not take the listener down with it.
            self._counters.add("transport.accept_failed")
            _log.exception("accept failed")

    async def close(self) -> None:
        """Stop accepting, close every connection and wait until all `accept` calls have ended."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        tasks = [task for task in self._serving.values() if task is not None]
        closing = [asyncio.ensure_future(each.close(_GOING_AWAY)) for each in self._serving]
        if tasks:
            await asyncio.wait(tasks + closing, timeout=CLOSE_TIMEOUT_S)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, *closing, return_exceptions=True)
        self._http.pre_shutdown()
        await self._http.shutdown(CLOSE_TIMEOUT_S)
        with suppress(TimeoutError):
            # Since Python 3.12 this also waits for connections, one of which may never end.
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await server.wait_closed()


class WebSocketTransport:
    """Implements `covey.node.ports.Transport`. `close` it when nothing will be dialled any more."""

    def __init__(
        self, clock: Clock, counters: Counters, limits: AdmissionLimits | None = None
    ) -> None:
        self._clock = clock
        self._counters = counters
        self._limits = limits or AdmissionLimits()
        self._session: aiohttp.ClientSession | None = None

    async def listen(self, host: str, port: int, accept: Accept) -> WebSocketListener:
        """Bind `host`, an IP literal: `::` means all of IPv6 and IPv4, `0.0.0.0` all of IPv4.

        Where the machine has no IPv6, `::` means all of IPv4. Raises: PortInUseError.
        """
        bound = _bind(host, port)
        listener = WebSocketListener(self._clock, self._counters, self._limits, accept)
        await listener.start(bound)
        return listener

    async def dial(self, address: Address, timeout_ms: int) -> WebSocketConnection:
        """Connect and upgrade within `timeout_ms`. Raises: UnreachableError."""
        if self._session is None:
            self._session = _open_session()
        self._counters.add("transport.dialled")
        try:
            url = URL.build(scheme="http", host=address.host, port=address.port, path=PATH)
            async with asyncio.timeout(timeout_ms / 1000):
                link = await self._session.ws_connect(
                    url,
                    autoping=True,
                    heartbeat=_HEARTBEAT_S,
                    compress=0,
                    max_msg_size=_AIOHTTP_MESSAGE_BYTES_MAX,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT_S),
                )
        except TimeoutError:
            raise UnreachableError(f"{address}: no answer within {timeout_ms} ms") from None
        except _Failed as failed:
            raise UnreachableError(f"{address}: {failed}") from None
        except aiohttp.WSServerHandshakeError:
            raise UnreachableError(f"{address}: {_NO_NODE}") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UnreachableError(f"{address}: {short_cause(error)}") from None
        return WebSocketConnection(link, address)

    async def close(self) -> None:
        """Give up what dialling keeps, and break dialled connections that are still open."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()


class _Failed(Exception):  # noqa: N818 - never leaves this file
    """A dial failed in a way that aiohttp would try to make good, and must not. Says how."""


async def _once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from dialling twice and from following a redirect."""
    try:
        answer = await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Failed(short_cause(error)) from None
    if answer.status != 101:
        answer.close()
        raise _Failed(_NO_NODE)
    return answer


def _open_session() -> aiohttp.ClientSession:
    """One session for all dials of a transport: making one costs more than a handshake."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, use_dns_cache=False, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        trust_env=False,
        middlewares=(_once,),
    )


def _bind(host: str, port: int) -> socket.socket:
    try:
        if host == "::" and socket.has_dualstack_ipv6():
            return socket.create_server(
                (host, port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True
            )
        if host == "::":
            host = "0.0.0.0"
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        cures = {
            errno.EADDRINUSE: "another program listens there; choose another port",
            errno.EACCES: "not allowed; choose a port above 1023",
        }
        cure = cures.get(
            error.errno or 0, f"{short_cause(error)}; choose an address of this machine"
        )
        raise PortInUseError(f"cannot listen on {Address(host, port)}: {cure}") from None


def _peer(name: tuple[str, int] | tuple[str, int, int, int]) -> Address:
    """Turn a socket's peer name into an Address; IPv4 seen through an IPv6 socket is IPv4."""
    return Address(name[0].removeprefix("::ffff:") if "." in name[0] else name[0], name[1])
