"""Stranger: a connection to a victim below everything that is ours, whole messages and no more.

It can send anything as a hello and anything as a handshake, or do both as they should be done, with
whatever keys. Waits are bounded as those of a `Rogue`. Spec: docs/protocol.md, section 5.
"""

from dataclasses import dataclass

from ...crypto.identity import DeviceKeys
from ...crypto.noise import Handshake, Pattern
from ...node.channel import PROLOGUE_LABEL
from ...node.hello import Hello, Purpose, encode_hello
from ...node.ports import Clock, Connection, ConnectionLostError
from .forger import Draw
from .rogue import PATIENCE_MS, patiently

HELLO = encode_hello(Hello(Purpose.MEMBER, (1,)))


@dataclass
class Stranger:
    """One connection of somebody about whom the victim knows nothing."""

    connection: Connection
    clock: Clock
    patience_ms: int = PATIENCE_MS

    async def send(self, *messages: bytes) -> None:
        for message in messages:
            await patiently(self.clock, self.patience_ms, self.connection.send(message))

    async def hear(self) -> bytes:
        return await patiently(self.clock, self.patience_ms, self.connection.receive())

    async def hear_all(self) -> tuple[list[bytes], int | None]:
        """Everything the victim sends until it closes, and with which code, if any."""
        heard: list[bytes] = []
        try:
            while True:
                heard.append(await self.hear())
        except ConnectionLostError as lost:
            return heard, lost.code

    async def shake(
        self,
        keys: DeviceKeys,
        dh_pk: bytes,
        draw: Draw,
        *,
        hello: bytes = HELLO,
        pretended: bytes = HELLO,
        payload: bytes = b"",
    ) -> tuple[Handshake, bytes]:
        """Hellos, and the first message of a handshake, which is returned as well.

        `hello` is sent; `pretended` is what the handshake is about.
        """
        await self.send(hello)
        theirs = await self.hear()
        parts = [PROLOGUE_LABEL]
        for each in (pretended, theirs):
            parts += [len(each).to_bytes(2, "big"), each]
        static = keys.dh_secret().reveal()
        handshake = Handshake(
            Pattern.IK, True, b"".join(parts), draw, static=static, remote_static=dh_pk
        )
        first = handshake.write(payload)
        await self.send(first)
        return handshake, first
