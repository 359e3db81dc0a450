"""Simulated connection: two pipes that carry whole messages in order, or break, as TCP does.

Implements the Transport port (`covey.node.ports`) on a `SimNetwork`; the shared suite in
tests/contracts holds for it. What is sent is on its way at once, and its sender waits while more
than `BUFFER_BYTES` are on the way or unread. A message that meets a cut waits for it to be mended;
what waits longer than the keep-alive breaks the connection. When a process dies, a part of what it
sent last still arrives. Addresses are hosts of the simulated network.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import Any

from ..node.ports import (
    Accept,
    Address,
    ConnectionLostError,
    Listener,
    PortInUseError,
    UnreachableError,
)
from .sim_network import DEAD_MS, Machine, Pipe, SimNetwork, Tampering, now_ms
from .virtual_loop import Process

BUFFER_BYTES = 256 * 1024
STEP_MS = 0.001
TRIPS = 3
"""Messages to and fro before a connection stands."""
CLOSE_MS = 1_000
"""So long an end that closes waits for the other's answer, and takes what is sent meanwhile."""
WHOLE_SHARE = 1 / 3
"""How often all of what a process sent last arrives after its death."""
MESSAGE_BYTES_MAX = 65_535
ABORT = 1006


class _End:
    """That no more messages come, and with which code the other side closed."""

    __slots__ = ("code", "why")

    def __init__(self, why: str, code: int | None = None) -> None:
        self.why = why
        self.code = code


class _Wrong(bytes):
    """What comes in the place of another message: changed, doubled, or behind one that is lost."""


class _Pipe(Pipe):
    """One direction: what one end sent and the other has not taken yet."""

    def __init__(
        self,
        network: SimNetwork,
        source: Machine,
        target: Machine,
        number: int,
        name: tuple[str, int],
    ) -> None:
        self.network = network
        self.source = source
        self.target = target
        self.number = number
        self._name = name
        self._event = "/".join(map(str, (source.name, target.name, *name)))
        """Tells it from all others between the two, whatever else happens in the world."""
        self._host = target.host
        """The address of the target when the connection was made."""
        self._source_host = source.host
        self.count = 0
        self.bytes_waiting = 0
        self.arrived: deque[bytes | _End] = deque()
        self._stalled: deque[bytes | _End] = deque()
        self._last_ms = 0.0
        self._dead_timer: asyncio.TimerHandle | None = None
        self._readers: deque[asyncio.Future[None]] = deque()
        self._writers: deque[asyncio.Future[None]] = deque()
        self._ended: _End | None = None
        self._broken = False
        self._last_words_ms = math.inf
        """What comes later is lost, because its sender is gone."""
        self._swapped: bytes | None = None
        self._is_next_wrong = False
        self.target_process = target.process
        network.pipes[number] = self
        self.look()

    # The sending end.

    async def send(self, message: bytes) -> None:
        self._raise_if_ended()
        self.network.watch(self.source.name, self.target.name, message)
        for each in self._tampered(message):
            self.bytes_waiting += len(each)
            self._post(each)
        while self.bytes_waiting > BUFFER_BYTES and self._ended is None:
            await self._wait(self._writers)
        self._raise_if_ended()

    def _raise_if_ended(self) -> None:
        if self._ended is not None:
            raise ConnectionLostError(self._ended.why, self._ended.code)

    def _tampered(self, message: bytes) -> list[bytes]:
        held = [] if self._swapped is None else [self._swapped]
        self._swapped = None
        orders = self.network.tampered.get((self.source.name, self.target.name))
        how = orders.pop(0) if orders else None
        match how:
            case None:
                wrong, self._is_next_wrong = self._is_next_wrong, False
                return [_Wrong(message) if wrong else message, *held]
            case Tampering.FLIP:
                at = len(message) // 2
                flipped = bytes(byte ^ 4 for byte in message[at : at + 1])
                return [_Wrong(message[:at] + flipped + message[at + 1 :]), *held]
            case Tampering.DROP:
                self._is_next_wrong = True
                return held
            case Tampering.DOUBLE:
                return [message, _Wrong(message), *held]
            case Tampering.SWAP:
                self._swapped, self._is_next_wrong = message, True
                return held
            case Tampering.CUT:
                return [_Wrong(message[: len(message) // 2]), *held]

    def _post(self, item: bytes | _End) -> None:
        """On its way. Later ones never arrive earlier."""
        self.count += 1
        size = len(item) if isinstance(item, bytes) else 0
        law = self.network.law(self.source, self.target)
        late_ms = self.network.lateness_ms(law, f"{self._event}/{self.count}")
        loop = asyncio.get_running_loop()
        # A little later than the one before: equal timers may fire in any order.
        due_ms = max(loop.time() * 1000 + late_ms, self._last_ms + STEP_MS)
        due_ms += size / law.bytes_per_ms
        self._last_ms = due_ms
        loop.call_at(due_ms / 1000, self._come, item)

    def _come(self, item: bytes | _End) -> None:
        if now_ms() > self._last_words_ms:
            return
        if self._stalled or not self._goes():
            self._stalled.append(item)
            return
        process = self.target_process
        if process is None or (process.alive and not process.frozen):
            self._take_in(item)
        else:
            process.happen(lambda: self._take_in(item))

    def _take_in(self, item: bytes | _End) -> None:
        if self._ended_for_reader:
            return
        self.arrived.append(item)
        self._wake(self._readers)
        if isinstance(item, _End):
            self.forget()
            if item.code is None:
                self.other._stop(item.why)
            else:
                # Whoever closes in order hears out what is sent meanwhile, for a while.
                loop, stop = asyncio.get_running_loop(), lambda: self.other._stop(item.why)
                loop.call_later(CLOSE_MS / 1000, self._in_target, stop)

    @property
    def _ended_for_reader(self) -> bool:
        return bool(self.arrived) and isinstance(self.arrived[-1], _End)

    # The receiving end.

    async def receive(self) -> bytes:
        while not self.arrived:
            await self._wait(self._readers)
        item = self.arrived[0]
        if isinstance(item, _End):
            raise ConnectionLostError(item.why, item.code)
        self.arrived.popleft()
        self.bytes_waiting -= len(item)
        self._wake(self._writers)
        if self.wrong_taken or isinstance(item, _Wrong):
            self.wrong_taken += 1
        return bytes(item)

    # What happens to it.

    def finish(self, code: int) -> None:
        """The sending end closed: what was sent before still arrives."""
        if self._ended is None:
            self._ended = _End("the connection was closed here")
            self._post(_End("the other side closed", None if code == ABORT else code))
            self._wake(self._writers)

    def reset(self) -> None:
        """As Pipe: this end knows at once."""
        self._break("the other side reset the connection", self._goes())

    def vanish(self) -> None:
        """As Pipe: this end knows at once, the other finds out by its keep-alive."""
        self._break("", False)

    def _break(self, why: str, is_told: bool) -> None:
        if self._broken:
            return
        self._broken = True
        self.other._lose("the connection was reset")
        self._stop("the connection was reset")
        self._stalled.clear()
        self._last_words_ms = self._draw_last_words_ms()
        late_ms = self.network.latency_ms(self.source, self.target, *self._name, "reset")
        told_ms = max(now_ms() + late_ms, self._last_words_ms + STEP_MS)
        if not is_told:
            why, told_ms = "nothing came for too long", now_ms() + DEAD_MS
        asyncio.get_running_loop().call_at(told_ms / 1000, self._lose, why)

    def _draw_last_words_ms(self) -> float:
        """Up to when what is on its way still arrives: what had left the machine."""
        share = self.network.dice.fraction(
            "last words", self.source.name, self.target.name, *self._name
        )
        whole_ms = max(self._last_ms - now_ms(), 0)
        return now_ms() + whole_ms * min(share / (1 - WHOLE_SHARE), 1)

    def _stop(self, why: str) -> None:
        """The sending end sends no more."""
        if self._ended is None:
            self._ended = _End(why)
        self._wake(self._writers)

    def _lose(self, why: str) -> None:
        """The receiving end learns that nothing more comes; sending ends as well."""
        self.forget()
        self._in_target(lambda: self._take_in(_End(why)))

    def _in_target(self, act: Callable[[], None]) -> None:
        """It reaches the process that receives."""
        if self.target_process is None:
            act()
        else:
            self.target_process.happen(act)

    def look(self) -> None:
        if self._goes():
            if self._dead_timer is not None:
                self._dead_timer.cancel()
                self._dead_timer = None
            stalled, self._stalled = self._stalled, deque()
            for item in stalled:
                self._come(item)
        elif self._dead_timer is None and not self._broken:
            loop = asyncio.get_running_loop()
            self._dead_timer = loop.call_later(DEAD_MS / 1000, self._died)

    def _died(self) -> None:
        """The keep-alive of both ends has run out: a ping needs both directions."""
        for pipe in (self, self.other):
            pipe._broken = True
            pipe._last_words_ms = now_ms()
            pipe._lose("nothing came for too long")

    other: "_Pipe"

    def _goes(self) -> bool:
        moved = self.target.host != self._host or self.source.host != self._source_host
        return not moved and self.network.goes(self.source, self.target)

    def forget(self) -> None:
        self.network.pipes.pop(self.number, None)
        if self._dead_timer is not None:
            self._dead_timer.cancel()

    @staticmethod
    async def _wait(queue: "deque[asyncio.Future[None]]") -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(future)
        await future

    @staticmethod
    def _wake(queue: "deque[asyncio.Future[None]]") -> None:
        while queue:
            future = queue.popleft()
            if not future.done():
                future.set_result(None)


class SimConnection:
    """Implements `covey.node.ports.Connection`: one end of two pipes."""

    def __init__(self, outgoing: _Pipe, incoming: _Pipe, remote: Address) -> None:
        self._out = outgoing
        self._in = incoming
        self._remote = remote
        self._closed = False

    @property
    def remote(self) -> Address:
        return self._remote

    async def send(self, message: bytes) -> None:
        if len(message) > MESSAGE_BYTES_MAX:
            # The real transport of the other side closes with 1009 and reads no further.
            self._out.reset()
            raise ConnectionLostError("the message is too long for the transport", 1009)
        await self._out.send(message)

    async def receive(self) -> bytes:
        return await self._in.receive()

    async def close(self, code: int = 1000) -> None:
        if self._closed:
            return
        self._closed = True
        self._out.finish(code)
        self._in.arrived.clear()
        self._in.arrived.append(_End("the connection was closed here"))
        self._in._wake(self._in._readers)
        # What goes out stays until the other end has heard of the end, or its keep-alive ran out.
        self._in.forget()


class SimTransport:
    """Implements `covey.node.ports.Transport` for one process on one machine."""

    def __init__(self, network: SimNetwork, machine: Machine, process: Process | None) -> None:
        self._network = network
        self._machine = machine
        self._process = process

    async def listen(self, host: str, port: int, accept: Accept) -> Listener:
        machine = self._machine
        if port == 0:
            port = self._fresh_port()
        if port in machine.listeners:
            raise PortInUseError(f"port {port} is taken: choose another one")
        listener = SimListener(machine, port, accept, self._process)
        machine.listeners[port] = listener.arrive
        return listener

    def _fresh_port(self) -> int:
        self._machine.next_port += 1
        return self._machine.next_port

    async def dial(self, address: Address, timeout_ms: int) -> SimConnection:
        """As Transport: three messages there and back, then the connection stands."""
        network, ours = self._network, self._machine
        until_ms = now_ms() + timeout_ms
        theirs = await self._answering(address, until_ms)
        dial = network.count_dial(ours.name, theirs.name)
        for trip in range(TRIPS):
            late_ms = network.latency_ms(ours, theirs, "dial", dial, trip)
            await self._pass(min(late_ms, until_ms - now_ms()))
            if now_ms() >= until_ms:
                raise UnreachableError(f"{address}: nobody answered in time")
            theirs = await self._answering(address, until_ms)
        if address.port not in theirs.listeners:
            raise UnreachableError(f"{address}: nothing listens there")
        return self._connect(theirs, address, dial)

    async def _answering(self, address: Address, until_ms: float) -> Machine:
        """The machine at an address. If none answers, all of the time passes."""
        network, ours = self._network, self._machine
        theirs = network.machine_at(address.host)
        if (
            theirs is None
            or not (network.goes(ours, theirs) and network.goes(theirs, ours))
            or (theirs.process is not None and theirs.process.frozen)
        ):
            await self._pass(until_ms - now_ms())
            raise UnreachableError(f"{address}: nobody answered")
        return theirs

    def _connect(self, theirs: Machine, address: Address, dial: int) -> SimConnection:
        network, ours = self._network, self._machine
        number = network.fresh_number()
        forth = _Pipe(network, ours, theirs, 2 * number, ("forth", dial))
        back = _Pipe(network, theirs, ours, 2 * number + 1, ("back", dial))
        forth.other, back.other = back, forth
        back.target_process = self._process
        dialled = SimConnection(forth, back, address)
        port = self._fresh_port()
        accepted = SimConnection(back, forth, Address(ours.host, port))
        theirs.listeners[address.port](accepted)
        return dialled

    async def _pass(self, duration_ms: float) -> None:
        """Let time pass for this process."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def done() -> None:
            if not future.done():
                future.set_result(None)

        process = self._process
        act: Callable[[], Any] = done if process is None else lambda: process.happen(done)
        handle = loop.call_later(max(duration_ms, 0) / 1000, act)
        try:
            await future
        finally:
            handle.cancel()

    async def close(self) -> None:
        """Nothing is held that the listener and the connections do not hold."""


class SimListener:
    """Implements `covey.node.ports.Listener`."""

    def __init__(
        self, machine: Machine, port: int, accept: Accept, process: Process | None
    ) -> None:
        self._machine = machine
        self._port = port
        self._accept = accept
        self._process = process
        self._accepting: dict[asyncio.Task[None], SimConnection] = {}

    @property
    def port(self) -> int:
        return self._port

    def arrive(self, connection: Any) -> Any:
        """A connection was made: run `accept` for it, in the process that listens."""

        async def run() -> None:
            try:
                await self._accept(connection)
            finally:
                await connection.close()

        if self._process is None:
            task = asyncio.ensure_future(run())
        else:
            task = self._process.spawn(run(), "accept")
        self._accepting[task] = connection
        task.add_done_callback(lambda done: self._accepting.pop(done, None))

    async def close(self) -> None:
        self._machine.listeners.pop(self._port, None)
        for task, connection in list(self._accepting.items()):
            await connection.close(1001)
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
