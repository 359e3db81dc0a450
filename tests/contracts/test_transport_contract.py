"""What every Transport promises (covey.node.ports), real and simulated.

Add an implementation to `TRANSPORTS`: a context manager that yields it with an address to bind.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from covey.node.admission import AdmissionLimits
from covey.node.counters import Counters
from covey.node.ports import (
    Address,
    Connection,
    ConnectionLostError,
    Listener,
    PortInUseError,
    Transport,
    UnreachableError,
)
from covey.node.system_clock import SystemClock
from covey.node.websocket import WebSocketTransport
from covey.simulations.dice import Dice
from covey.simulations.sim_connection import SimTransport
from covey.simulations.sim_network import SimNetwork

MESSAGE_BYTES_MAX = 65_535
ABORT = 1006
DIAL_MS = 5_000
PATIENCE_S = 20


@dataclass
class Stage:
    """A transport with one listener, and the connections that were made to it."""

    transport: Transport
    host: str
    listener: Listener
    accepted: asyncio.Queue[Connection] = field(default_factory=asyncio.Queue)
    dialled: list[Connection] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    accepts_ended: int = 0
    fails_next: bool = False

    @property
    def address(self) -> Address:
        return Address(self.host, self.listener.port)

    async def accept(self, connection: Connection) -> None:
        self.accepted.put_nowait(connection)
        if self.fails_next:
            self.fails_next = False
            raise ConnectionLostError("a test wants it so")
        try:
            await self.over.wait()
        finally:
            self.accepts_ended += 1

    async def connect(self) -> tuple[Connection, Connection]:
        ours = await self.transport.dial(self.address, DIAL_MS)
        self.dialled.append(ours)
        return ours, await self.accepted.get()


@asynccontextmanager
async def websocket() -> AsyncIterator[tuple[Transport, str]]:
    many = AdmissionLimits(half_open_per_source_max=32, arrivals_per_source_per_second_max=100)
    transport = WebSocketTransport(SystemClock(), Counters(), many)
    yield transport, "127.0.0.1"
    await transport.close()


@asynccontextmanager
async def sim() -> AsyncIterator[tuple[Transport, str]]:
    network = SimNetwork(Dice(1), "instant")
    machine = network.add("here")
    yield SimTransport(network, machine, None), machine.host


Opener = Callable[[], AbstractAsyncContextManager[tuple[Transport, str]]]
TRANSPORTS: dict[str, Opener] = {"websocket": websocket, "sim": sim}


@pytest.fixture(params=TRANSPORTS)
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with TRANSPORTS[request.param]() as (transport, host):
        made: list[Stage] = []

        def accept(connection: Connection) -> Awaitable[None]:
            return made[0].accept(connection)

        listener = await transport.listen(host, 0, accept)
        made.append(Stage(transport, host, listener))
        yield made[0]
        made[0].over.set()
        for connection in made[0].dialled:
            await connection.close(ABORT)
        await listener.close()


async def send_all(connection: Connection, messages: list[bytes]) -> None:
    for message in messages:
        await connection.send(message)


async def receive_some(connection: Connection, count: int) -> list[bytes]:
    return [await connection.receive() for _ in range(count)]


async def close_both(pair: tuple[Connection, Connection], first: int) -> None:
    """Close one side while the other listens, as it does in real life."""
    listening = asyncio.ensure_future(pair[1 - first].receive())
    await pair[first].close()
    with pytest.raises(ConnectionLostError):
        await listening


async def test_messages_arrive_whole_and_in_order(stage: Stage) -> None:
    """The ciphers count messages: one lost, doubled or out of order ends a channel."""
    ours, theirs = await stage.connect()
    messages = [bytes([n % 256]) * size for n, size in enumerate([1, 0, 5, MESSAGE_BYTES_MAX] * 5)]

    # Both at once: all of them together are more than a link need hold.
    _, forth = await asyncio.gather(send_all(ours, messages), receive_some(theirs, len(messages)))
    _, back = await asyncio.gather(send_all(theirs, messages), receive_some(ours, len(messages)))

    assert forth == messages
    assert back == messages


async def test_many_connections_do_not_mix(stage: Stage) -> None:
    """Every member of a mesh has one of its own."""
    pairs = [await stage.connect() for _ in range(8)]
    for n, (ours, _) in enumerate(pairs):
        await ours.send(bytes([n]))

    assert [await theirs.receive() for _, theirs in pairs] == [bytes([n]) for n in range(8)]


async def test_both_sides_know_where_the_other_is(stage: Stage) -> None:
    """The address of a member that called us is worth remembering."""
    ours, theirs = await stage.connect()

    assert ours.remote == stage.address
    assert theirs.remote.port not in (0, stage.listener.port)


async def test_the_port_is_the_real_one(stage: Stage) -> None:
    """Port 0 asks for any; what is announced must be what was given."""
    assert stage.listener.port > 0


async def test_a_sender_waits_for_a_receiver_that_does_not_read(stage: Stage) -> None:
    """A slow device must slow the sender down, not fill the sender's memory."""
    ours, theirs = await stage.connect()
    messages, sent = 2_000, 0

    async def send_all() -> None:
        nonlocal sent
        for _ in range(messages):
            await ours.send(bytes(MESSAGE_BYTES_MAX))
            sent += 1

    sending = asyncio.ensure_future(send_all())
    await theirs.receive()
    sent_by_then = sent
    for _ in range(messages - 1):
        await theirs.receive()
    await sending

    assert sent_by_then < messages / 2


async def test_a_cancelled_sender_does_not_disturb_another_one(stage: Stage) -> None:
    """Pings, closes and frames wait for the same room in the same buffer."""
    ours, theirs = await stage.connect()
    counts = [0, 0]

    async def send_all(sender: int) -> None:
        for _ in range(1_000):
            await ours.send(bytes([sender]) * MESSAGE_BYTES_MAX)
            counts[sender] += 1

    senders = [asyncio.ensure_future(send_all(sender)) for sender in range(2)]
    got = (await theirs.receive())[0]
    senders[0].cancel()
    while got < 1_000:
        got += (await theirs.receive())[0]
    await senders[1]

    assert senders[0].cancelled()
    assert counts[1] == 1_000


async def test_what_several_senders_sent_arrives_in_the_order_of_their_calls(stage: Stage) -> None:
    """A cipher numbers messages as it makes them; the link must not number them otherwise."""
    ours, theirs = await stage.connect()
    messages = [n.to_bytes(2, "big") * (MESSAGE_BYTES_MAX // 2) for n in range(200)]
    sending = [asyncio.ensure_future(ours.send(message)) for message in messages]

    arrived = await receive_some(theirs, len(messages))
    await asyncio.gather(*sending)

    assert [message[:2] for message in arrived] == [message[:2] for message in messages]


async def test_a_send_that_is_cancelled_while_it_waits_has_sent_its_message(stage: Stage) -> None:
    """Only the wait for room is cut short: a message that was begun is never half on its way."""
    ours, theirs = await stage.connect()
    sending = [asyncio.ensure_future(ours.send(bytes(MESSAGE_BYTES_MAX))) for _ in range(200)]
    await asyncio.sleep(0)
    for each in sending:
        each.cancel()
    await asyncio.gather(*sending, return_exceptions=True)
    last = asyncio.ensure_future(ours.send(b"last"))

    arrived = await receive_some(theirs, len(sending) + 1)
    await last

    assert arrived[-1] == b"last"


@pytest.mark.parametrize("closer", [0, 1])
async def test_a_sender_that_waits_for_room_is_told_of_the_end(stage: Stage, closer: int) -> None:
    """Who sends need not be who listens: a task that waits for room must not wait for ever."""
    pair = await stage.connect()
    sender = pair[1 - closer]
    sending = asyncio.ensure_future(send_all(sender, [bytes(MESSAGE_BYTES_MAX)] * 2_000))
    await pair[closer].receive()
    await pair[closer].close(ABORT)

    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(ConnectionLostError):
            await sending
        with pytest.raises(ConnectionLostError):
            await sender.send(b"too late")


async def test_a_cancelled_receive_loses_no_message(stage: Stage) -> None:
    """Receiving is raced against timers, and the timer often wins."""
    ours, theirs = await stage.connect()
    waiting = asyncio.ensure_future(theirs.receive())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await ours.send(b"still here")

    assert await theirs.receive() == b"still here"


@pytest.mark.parametrize("code", [1000, 1001, 4000, 4001])
@pytest.mark.parametrize("closer", [0, 1])
async def test_a_close_code_reaches_the_other_side(stage: Stage, code: int, closer: int) -> None:
    """`removed` and `update me` are told with nothing but these codes."""
    pair = await stage.connect()
    closing = asyncio.ensure_future(pair[closer].close(code))
    with pytest.raises(ConnectionLostError) as lost:
        await pair[1 - closer].receive()
    await closing

    assert lost.value.code == code


@pytest.mark.parametrize("closer", [0, 1])
async def test_an_abort_reaches_the_other_side_without_a_code(stage: Stage, closer: int) -> None:
    """Strangers get silence: not even a close frame."""
    pair = await stage.connect()
    await pair[closer].close(ABORT)

    with pytest.raises(ConnectionLostError) as lost:
        await pair[1 - closer].receive()
    assert lost.value.code is None


@pytest.mark.parametrize("closer", [0, 1])
async def test_what_was_sent_before_a_close_still_arrives(stage: Stage, closer: int) -> None:
    """The hello that explains a refusal is followed by a close at once."""
    pair = await stage.connect()
    await pair[closer].send(b"last words")
    closing = asyncio.ensure_future(pair[closer].close(4000))
    arrived = await pair[1 - closer].receive()
    with pytest.raises(ConnectionLostError) as lost:
        await pair[1 - closer].receive()
    await closing

    assert (arrived, lost.value.code) == (b"last words", 4000)


@pytest.mark.parametrize("side", [0, 1])
async def test_closing_wakes_a_receive_of_the_same_side(stage: Stage, side: int) -> None:
    """A session that ends must not leave its reader waiting for ever."""
    pair = await stage.connect()
    waiting = asyncio.ensure_future(pair[side].receive())
    await asyncio.sleep(0)
    await close_both(pair, side)

    with pytest.raises(ConnectionLostError):
        await waiting


@pytest.mark.parametrize("side", [0, 1])
async def test_a_closed_connection_sends_and_receives_nothing(stage: Stage, side: int) -> None:
    """Both must say so, for there is no other way to find out."""
    pair = await stage.connect()
    await close_both(pair, side)
    await pair[side].close(4001)

    with pytest.raises(ConnectionLostError):
        await pair[side].send(b"too late")
    for _ in range(6):
        with pytest.raises(ConnectionLostError):
            await pair[side].receive()


async def test_an_accept_that_fails_takes_nobody_with_it(stage: Stage) -> None:
    """One connection's fault in our code must not cost us the others."""
    first, _ = await stage.connect()
    stage.fails_next = True
    second, _ = await stage.connect()

    with pytest.raises(ConnectionLostError):
        await second.receive()
    third, theirs = await stage.connect()
    await third.send(b"still here")
    assert await theirs.receive() == b"still here"
    await first.send(b"so am I")


async def test_dialling_where_nobody_listens_is_an_error_of_its_own(stage: Stage) -> None:
    """Unreachable is normal life: the next address is tried."""
    nobody = stage.address
    await stage.listener.close()

    with pytest.raises(UnreachableError):
        await stage.transport.dial(nobody, DIAL_MS)


async def test_a_taken_port_is_an_error_of_its_own(stage: Stage) -> None:
    """The cure is another port, so the text must be about the port."""
    with pytest.raises(PortInUseError) as taken:
        await stage.transport.listen(stage.host, stage.listener.port, stage.accept)
    assert str(stage.listener.port) in str(taken.value)


async def test_closing_the_listener_ends_its_connections_and_its_accepts(stage: Stage) -> None:
    """A node that stops must be gone when it says so."""
    pairs = [await stage.connect() for _ in range(3)]
    waiting = [asyncio.ensure_future(ours.receive()) for ours, _ in pairs]
    await stage.listener.close()
    await stage.listener.close()

    assert stage.accepts_ended == 3
    for each in waiting:
        with pytest.raises(ConnectionLostError):
            await each
