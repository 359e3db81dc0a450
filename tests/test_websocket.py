"""The Transport on real sockets: what a careless or hostile client gets, and what is left."""

import asyncio
import gc
import ipaddress
import socket
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import ifaddr
import psutil
import pytest
from aiohttp import web

from covey.node import websocket
from covey.node.admission import AdmissionLimits
from covey.node.counters import Counters
from covey.node.ports import (
    Address,
    Connection,
    ConnectionLostError,
    PortInUseError,
    UnreachableError,
)
from covey.node.secure_channel import ABORT
from covey.node.system_clock import SystemClock
from covey.node.websocket import WebSocketListener, WebSocketTransport
from covey.node.websocket_link import WebSocketConnection

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
HASTY = aiohttp.ClientWSTimeout(ws_close=0.01)


class Server:
    """A listener on loopback whose connections the test gets to see."""

    def __init__(self, transport: WebSocketTransport, counters: Counters) -> None:
        self.transport = transport
        self.counters = counters
        self.accepted: asyncio.Queue[Connection] = asyncio.Queue()
        self.listener: WebSocketListener
        self.over = asyncio.Event()

    async def accept(self, connection: Connection) -> None:
        self.accepted.put_nowait(connection)
        await self.over.wait()

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.listener.port)

    async def dial(self) -> WebSocketConnection:
        return await self.transport.dial(self.address, 5_000)

    async def next(self) -> WebSocketConnection:
        connection = await self.accepted.get()
        assert isinstance(connection, WebSocketConnection)
        return connection


MakeServer = Callable[..., Awaitable[Server]]


@pytest.fixture
async def serve() -> AsyncIterator[MakeServer]:
    """Make servers; afterwards no task, no socket and no unclosed resource may be left."""
    servers: list[Server] = []
    tasks, sockets = asyncio.all_tasks(), open_sockets()

    async def make(limits: AdmissionLimits | None = None, host: str = "127.0.0.1") -> Server:
        counters = Counters()
        server = Server(WebSocketTransport(SystemClock(), counters, limits), counters)
        server.listener = await server.transport.listen(host, 0, server.accept)
        servers.append(server)
        return server

    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        yield make
        for server in servers:
            server.over.set()
            await server.listener.close()
            await server.transport.close()
        gc.collect()
        # Two turns, in which asyncio closes the sockets that were shut.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert asyncio.all_tasks() <= tasks | {asyncio.current_task()}
    assert open_sockets() <= sockets


def open_sockets() -> set[tuple[object, object]]:
    """What TCP sockets this process holds; those in TIME_WAIT are the kernel's alone."""
    return {(c.laddr, c.raddr) for c in psutil.Process().net_connections("tcp")}


async def raw(address: Address, request: str) -> tuple[bytes, asyncio.StreamWriter]:
    """Send an HTTP request by hand and return the head of the answer."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(request.replace("\n", "\r\n").encode())
    head = await reader.read(65_536)
    return head, writer


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", UPGRADE, 404),
        ("GET", "/covey/2", UPGRADE, 404),
        ("GET", "/covey/1/", UPGRADE, 404),
        ("POST", "/covey/1", UPGRADE, 404),
        ("GET", "/covey/1", {}, 400),
        ("GET", "/covey/1", UPGRADE | {"Sec-WebSocket-Key": "short"}, 400),
    ],
)
async def test_nothing_but_the_upgrade_is_answered(
    serve: MakeServer, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    """The peer port serves peers; a browser or a scanner finds no page, no version, no help."""
    server = await serve()
    url = f"http://{server.address}{path}"
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, headers=headers) as answer,
    ):
        body = await answer.text()

    assert answer.status == status
    assert "aiohttp" not in str(answer.headers).lower() + body.lower()
    assert server.accepted.empty()


@pytest.mark.parametrize(
    "garbage",
    [
        "\n\n\n",
        "GET /covey/1 HTTP/9.9\n\n",
        "\x16\x03\x01\x02",
        "GET " + "a" * 9_000,
        "SSH-2.0-x\n",
    ],
)
async def test_garbage_on_the_port_hurts_nobody(serve: MakeServer, garbage: str) -> None:
    """Whatever scans the network ends up here sooner or later."""
    server = await serve()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.listener.port)
    writer.write(garbage.encode("latin-1"))
    writer.write_eof()
    await reader.read()
    writer.close()
    connection = await server.dial()
    await connection.send(b"well")

    assert await (await server.next()).receive() == b"well"
    await connection.close(ABORT)


async def test_compression_is_not_agreed_to(serve: MakeServer) -> None:
    """Ciphertext does not compress, and a decompressor is one more thing to attack."""
    server = await serve()
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{server.address}/covey/1", compress=15, timeout=HASTY) as link,
    ):
        assert link.compress == 0


async def test_text_is_refused(serve: MakeServer) -> None:
    """The protocol has no text: whoever sends it speaks another one."""
    server = await serve()
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{server.address}/covey/1", timeout=HASTY) as link,
    ):
        await link.send_str("hello")
        receiving = asyncio.ensure_future((await server.next()).receive())
        message = await link.receive()
        with pytest.raises(ConnectionLostError) as lost:
            await receiving

    assert lost.value.code == 1003
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1003)


@pytest.mark.parametrize("size", [65_536, 65_600, 65_601, 4_000_000])
async def test_oversize_is_refused(serve: MakeServer, size: int) -> None:
    """A Noise message has 65,535 bytes at most; more is memory that a stranger makes us spend."""
    server = await serve()
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{server.address}/covey/1", timeout=HASTY) as link,
    ):
        sending = asyncio.gather(link.send_bytes(bytes(size)), link.receive())
        with pytest.raises(ConnectionLostError) as lost:
            await (await server.next()).receive()
        await asyncio.gather(sending, return_exceptions=True)

    assert lost.value.code == 1009


async def test_a_fifth_half_open_connection_of_one_source_is_turned_away(serve: MakeServer) -> None:
    """One machine must not take all the places at the door."""
    server = await serve()
    four = [await server.dial() for _ in range(4)]
    with pytest.raises(UnreachableError):
        await server.dial()
    for _ in four:
        (await server.next()).admit()
    fifth = await server.dial()

    assert server.counters["transport.turned_away.half_open_source"] == 1
    await asyncio.gather(*(each.close(ABORT) for each in [*four, fifth]))


async def test_a_place_at_the_door_is_free_again_when_the_connection_is_gone(
    serve: MakeServer,
) -> None:
    """Counting only up would lock everyone out after four visits."""
    server = await serve()
    for _ in range(10):
        connection = await server.dial()
        accepted = await server.next()
        closing = asyncio.ensure_future(connection.close())
        with pytest.raises(ConnectionLostError):
            await accepted.receive()
        await closing
        await accepted.close()

    assert server.counters["transport.turned_away.half_open_source"] == 0


async def test_too_many_arrivals_in_a_second_are_turned_away(serve: MakeServer) -> None:
    """Handshakes cost arithmetic; a flood of them must not."""
    server = await serve(AdmissionLimits(arrivals_per_source_per_second_max=1))
    first = await server.dial()

    with pytest.raises(UnreachableError):
        await server.dial()
    await first.close(ABORT)


async def test_whoever_asks_for_nothing_is_closed(
    serve: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that sends no request, or half of one, holds a place that others need."""
    monkeypatch.setattr(websocket, "_FIRST_REQUEST_S", 0.05)
    server = await serve()
    silent, halfway = [
        await asyncio.open_connection("127.0.0.1", server.listener.port) for _ in range(2)
    ]
    halfway[1].write(b"GET /covey/1 HTTP/1.1\r\nHost: ")

    assert await silent[0].read() == b""
    assert await halfway[0].read() == b""
    silent[1].close()
    halfway[1].close()


async def test_small_messages_are_not_held_back(serve: MakeServer) -> None:
    """With Nagle's algorithm a live change would wait for the acknowledgement of the one before."""
    server = await serve()
    ours = await server.dial()
    both = [ours, await server.next()]
    sockets = [each._link.get_extra_info("socket") for each in both]

    assert all(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for s in sockets)
    await ours.close(ABORT)


async def test_a_dial_sends_nothing_that_was_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, serve: MakeServer
) -> None:
    """No program name, no cookie; a proxy of the environment would see whom we talk to."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    request = asyncio.get_running_loop().create_future()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request.set_result(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 404 Not Found\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    other = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    with pytest.raises(UnreachableError):
        await (await serve()).transport.dial(Address("127.0.0.1", port), 5_000)
    other.close()
    names = {line.partition(b":")[0].lower() for line in (await request).splitlines()[1:-1]}

    assert names == {
        b"host",
        b"upgrade",
        b"connection",
        b"sec-websocket-version",
        b"sec-websocket-key",
    }


async def test_a_redirect_is_not_followed(serve: MakeServer) -> None:
    """Whoever answers at an address must not send us to another one."""
    server = await serve()
    followed = asyncio.Event()

    async def redirect(request: web.BaseRequest) -> web.StreamResponse:
        if request.path != "/covey/1":
            followed.set()
        return web.Response(status=307, headers={"Location": f"http://{server.address}/covey/1"})

    loop = asyncio.get_running_loop()
    http = web.Server(redirect)
    other = await loop.create_server(http, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    with pytest.raises(UnreachableError):
        await server.transport.dial(Address("127.0.0.1", port), 5_000)
    other.close()
    await http.shutdown(1)

    assert not followed.is_set()
    assert server.accepted.empty()


async def test_a_dial_gives_up_in_time(serve: MakeServer) -> None:
    """Firewalls drop silently: without a limit one dead address would hold the line for minutes."""
    server = await serve()
    deaf = socket.create_server(("127.0.0.1", 0))
    port = deaf.getsockname()[1]

    with pytest.raises(UnreachableError, match="within 50 ms"):
        await server.transport.dial(Address("127.0.0.1", port), 50)
    deaf.close()


@pytest.mark.parametrize("host", ["", "no such host", "a/b", "host.invalid", "256.1.1.1", "::::"])
async def test_a_nonsense_address_is_unreachable_and_no_crash(serve: MakeServer, host: str) -> None:
    """People type addresses."""
    with pytest.raises(UnreachableError):
        await (await serve()).transport.dial(Address(host, 1), 2_000)


async def test_all_interfaces_means_both_families(serve: MakeServer) -> None:
    """Half of the devices at home come over one family, half over the other."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    server = await serve(host="::")
    for host in ("127.0.0.1", "::1"):
        connection = await server.transport.dial(Address(host, server.listener.port), 5_000)
        accepted = await server.next()

        assert accepted.remote.host == host
        await connection.close(ABORT)


async def test_a_link_local_address_with_its_scope_can_be_dialled(serve: MakeServer) -> None:
    """Two laptops on one cable have nothing else, and without its scope it leads nowhere."""
    scoped = [
        f"{ip.ip[0]}%{adapter.index}"
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
        if isinstance(ip.ip, tuple) and ipaddress.IPv6Address(ip.ip[0]).is_link_local
    ]
    if not scoped:
        pytest.skip("this machine has no link-local IPv6 address")
    server = await serve(host="::")
    connection = await server.transport.dial(Address(scoped[0], server.listener.port), 5_000)
    await connection.send(b"here")

    assert await (await server.next()).receive() == b"here"
    await connection.close(ABORT)


@pytest.mark.parametrize("host", ["192.0.2.99", "nonsense", "2001:db8::9"])
async def test_an_address_that_is_not_ours_cannot_be_bound(serve: MakeServer, host: str) -> None:
    """The person is told which setting to change, not shown a trace."""
    server = await serve()

    with pytest.raises(PortInUseError, match="cannot listen on"):
        await server.transport.listen(host, 0, server.accept)


async def test_an_accept_that_fails_closes_its_connection_and_no_other(serve: MakeServer) -> None:
    """A defect of ours in one session must not take the others down."""
    server = await serve()
    healthy = await server.dial()
    other_end = await server.next()

    async def fail(_: Connection) -> None:
        raise AssertionError("a defect of ours")

    failing = await server.transport.listen("127.0.0.1", 0, fail)
    connection = await server.transport.dial(Address("127.0.0.1", failing.port), 5_000)
    with pytest.raises(ConnectionLostError):
        await connection.receive()
    await failing.close()
    await healthy.send(b"well")

    assert await other_end.receive() == b"well"
    assert server.counters["transport.accept_failed"] == 1
    await connection.close(ABORT)
    await healthy.close(ABORT)


async def test_closing_waits_for_no_peer_that_does_not_answer(serve: MakeServer) -> None:
    """A device that fell asleep must not hold up our stop."""
    server = await serve()
    request = "".join(f"{name}: {value}\n" for name, value in UPGRADE.items())
    head, writer = await raw(server.address, f"GET /covey/1 HTTP/1.1\nHost: x\n{request}\n")
    await server.listener.close()

    assert head.startswith(b"HTTP/1.1 101")
    writer.close()


async def test_closing_waits_for_no_peer_that_does_not_read(serve: MakeServer) -> None:
    """What is still to be sent to it would otherwise keep the socket, and us, for ever."""
    server = await serve()
    request = "".join(f"{name}: {value}\n" for name, value in UPGRADE.items())
    _, writer = await raw(server.address, f"GET /covey/1 HTTP/1.1\nHost: x\n{request}\n")
    accepted = await server.next()

    async def fill() -> None:
        while True:
            await accepted.send(bytes(65_535))

    filling = asyncio.ensure_future(fill())
    await asyncio.wait((filling,), timeout=0.05)
    blocked = not filling.done()
    await server.listener.close()

    assert blocked
    with pytest.raises(ConnectionLostError):
        await filling
    writer.close()


async def test_an_abort_leaves_not_one_byte_on_the_wire(serve: MakeServer) -> None:
    """A close frame would tell a stranger that its guess was read and found wrong."""
    server = await serve()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.listener.port)
    headers = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items())
    writer.write(f"GET /covey/1 HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    await (await server.next()).close(ABORT)

    assert await reader.read() == b""
    writer.close()
