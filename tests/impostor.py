"""The other side of a pairing, scripted: a joiner or a sponsor that lies where it is told to.

Both speak real Noise XX and, unless told otherwise, know the code. What they send after that is
for the test to say. docs/protocol.md, section 6, numbers the steps.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from covey.crypto.identity import DeviceKeys, make_certificate
from covey.crypto.pairing import PakeInitiator, PakeResponder, prove_key
from covey.crypto.secret import Secret
from covey.node.channel import (
    ABORT,
    ChannelKeys,
    Purpose,
    SecureChannel,
    accept_channel,
    open_channel,
)
from covey.node.counters import Counters
from covey.node.pairing import public_of
from covey.node.pairing_frames import (
    TYPE_CONFIRM_A,
    TYPE_CONFIRM_B,
    TYPE_POINT_A,
    TYPE_POINT_B,
    Newcomer,
    expect,
)
from covey.node.ports import Address, Connection, ConnectionLostError, Listener
from covey.node.system_clock import SystemClock
from covey.node.system_entropy import SystemEntropy
from covey.node.websocket import WebSocketTransport

from .loopback import PATIENCE_S, Device


@dataclass
class FakeJoiner:
    """Side B, step by step."""

    keys: DeviceKeys
    transport: WebSocketTransport
    channel: SecureChannel
    static: Secret

    @classmethod
    async def connect(cls, admin: Device, keys: DeviceKeys | None = None) -> "FakeJoiner":
        transport = WebSocketTransport(SystemClock(), Counters())
        static = Secret(os.urandom(32))
        channel = await open_channel(
            await transport.dial(Address("127.0.0.1", admin.engine.port or 0), 5_000),
            Purpose.PAIRING,
            ChannelKeys(static),
            None,
            clock=SystemClock(),
            entropy=SystemEntropy(),
            counters=Counters(),
        )
        return cls(keys or DeviceKeys.generate(os.urandom), transport, channel, static)

    async def begin(self, code: str) -> PakeInitiator:
        """Step 1."""
        ours = public_of(self.static)
        theirs = self.channel.remote_static
        pake = PakeInitiator(code, self.channel.handshake_hash, theirs, ours, os.urandom)
        await self.channel.send(bytes((TYPE_POINT_B,)) + pake.start())
        return pake

    async def prove(self, code: str) -> None:
        """Steps 1 to 4. Raises PairingRefusedError if the other side says no."""
        pake = await self.begin(code)
        point = expect(await self.receive(), TYPE_POINT_A)
        await self.channel.send(bytes((TYPE_CONFIRM_B,)) + pake.confirm(point))
        pake.finish(expect(await self.receive(), TYPE_CONFIRM_A))

    async def introduce(self, **other: Any) -> None:
        """Step 5."""
        fields = {
            "sig": self.keys.sig_pk,
            "dh": self.keys.dh_pk,
            "seal": self.keys.seal_pk,
            "name": "impostor",
            "type": "phone",
            "proof": prove_key(self.keys.sign, self.channel.handshake_hash),
        }
        await self.channel.send(Newcomer(**{**fields, **other}).encode())

    def certificate(self, mesh: bytes) -> bytes:
        return make_certificate(self.keys, mesh, 1)

    async def receive(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.channel.receive()

    async def last_word(self) -> bytes:
        """What the other side says before it closes."""
        heard = b""
        with suppress(ConnectionLostError):
            while True:
                heard = await self.receive()
        return heard

    async def close(self) -> None:
        await self.channel.close(ABORT)
        await self.transport.close()


Script = Callable[[SecureChannel], Awaitable[None]]


@dataclass
class FakeSponsor:
    """Side A: shows `code` and, once the joiner has proved it, does what the script says."""

    code: str
    script: Script
    heard: list[bytes] = field(default_factory=list)
    port: int = 0
    _static: Secret = field(default_factory=lambda: Secret(os.urandom(32)))
    _listener: Listener | None = None

    async def open(self) -> str:
        transport = WebSocketTransport(SystemClock(), Counters())
        self._listener = await transport.listen("127.0.0.1", 0, self._accept)
        return f"127.0.0.1:{self._listener.port}"

    async def close(self) -> None:
        assert self._listener is not None
        await self._listener.close()

    async def _accept(self, connection: Connection) -> None:
        channel = await accept_channel(
            connection,
            {Purpose.PAIRING: ChannelKeys(self._static)},
            lambda _: False,
            clock=SystemClock(),
            entropy=SystemEntropy(),
            counters=Counters(),
        )
        with suppress(ConnectionLostError):
            await self._prove(channel)
            await self.script(channel)
            while True:
                self.heard.append(await channel.receive())

    async def _prove(self, channel: SecureChannel) -> None:
        """Steps 1 to 5, as the true device would."""
        ours = public_of(self._static)
        pake = PakeResponder(
            self.code, channel.handshake_hash, ours, channel.remote_static, os.urandom
        )
        point = expect(await channel.receive(), TYPE_POINT_B)
        await channel.send(bytes((TYPE_POINT_A,)) + pake.answer(point))
        own = pake.finish(expect(await channel.receive(), TYPE_CONFIRM_B))
        await channel.send(bytes((TYPE_CONFIRM_A,)) + own)
        self.heard.append(await channel.receive())
