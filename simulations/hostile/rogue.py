"""Rogue: one session with a victim, over real Noise, in which anything may be said.

It can stop being polite at every layer: messages of the channel, frames, messages of the session.
What it says is not judged here. Every wait is bounded by the Clock: after `patience_ms` without an
answer a `SilenceError` says so, which is a lost connection to whoever catches those.

It owns its connection, and not the transport that made it.
"""

from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

from ...crypto.identity import DeviceKeys
from ...node.channel import ABORT, ChannelKeys, Purpose, SecureChannel, open_channel
from ...node.counters import Counters
from ...node.deadline import DeadlinePassed, within
from ...node.ports import Address, Clock, ConnectionLostError, Entropy, Transport
from ...sync.messages import Ack, Goodbye, Greeting, Message, Reason, Root, decode, encode

T = TypeVar("T")

CREDIT = 4_194_304
DIAL_MS = 5_000
PATIENCE_MS = 12_000
"""Longer than a victim gives a peer that does not greet."""

Heads = Callable[[], tuple[bytes, bytes]]
"""The control digest and the root digest that a victim would tell us."""


class SilenceError(ConnectionLostError):
    """The other side said nothing for too long, or took nothing that we sent."""


async def patiently(clock: Clock, duration_ms: int, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns, if that takes at most `duration_ms`. Raises: SilenceError."""
    try:
        return await within(clock, duration_ms, work)
    except DeadlinePassed:
        raise SilenceError(f"nothing within {duration_ms} ms") from None


@dataclass
class Rogue:
    """One connection to a victim, made with somebody's keys."""

    channel: SecureChannel
    clock: Clock
    heads: Heads
    patience_ms: int = PATIENCE_MS

    @classmethod
    async def connect(
        cls,
        transport: Transport,
        address: Address,
        dh_pk: bytes,
        keys: DeviceKeys,
        *,
        clock: Clock,
        entropy: Entropy,
        heads: Heads,
    ) -> Self:
        """Finish the handshake of a member with whoever owns `dh_pk`.

        The victim acts on it after our first message. Raises: UnreachableError, ChannelRefused.
        """
        connection = await transport.dial(address, DIAL_MS)
        channel = await open_channel(
            connection,
            Purpose.MEMBER,
            ChannelKeys(keys.dh_secret()),
            dh_pk,
            clock=clock,
            entropy=entropy,
            counters=Counters(),
        )
        return cls(channel, clock, heads)

    async def greet(self, **other: Any) -> Greeting:
        """Greet as if we held exactly what the victim holds, and hear its greeting.

        If it has moved on meanwhile, it is told that we have as well. `other` replaces fields.
        """
        control, root = self.heads()
        ours = replace(Greeting(1, (), {}, CREDIT, control, root), **other)
        await self.say(ours)
        heard: Greeting = await self.hear_kind(Greeting)
        if "control" not in other and heard.control != control:
            await self.say(Root(heard.control, heard.root))
        return heard

    # Saying ------------------------------------------------------------------------------------

    async def say(self, *messages: Message) -> None:
        await self.send(*(encode(message) for message in messages))

    async def send(self, *frames: bytes) -> None:
        """Frames as they are, whether they mean something or not."""
        await self._bounded(self._send_all(frames))

    async def flood(self, *messages: Message) -> None:
        """Say all of it, or as much as the victim puts up with."""
        with suppress(ConnectionLostError):
            await self.say(*messages)

    async def piece(self, *plaintexts: bytes) -> None:
        """Channel messages as they are: a flag byte and a piece of a frame, or not even that."""
        await self._bounded(self._send_pieces(plaintexts))

    async def ciphertext(self, message: bytes) -> None:
        """A message below the channel, which should be the work of its cipher."""
        await self._bounded(self.channel._connection.send(message))

    # Hearing -----------------------------------------------------------------------------------

    async def hear(self) -> Message:
        return decode(await self._bounded(self.channel.receive()))

    async def hear_all(self) -> list[Message]:
        """Everything up to the end of the connection, or to a long silence."""
        heard: list[Message] = []
        with suppress(ConnectionLostError):
            while True:
                heard.append(await self.hear())
        return heard

    async def hear_kind(self, *kinds: type[Message]) -> Any:
        """The next message of one of these kinds; others are passed over."""
        while not isinstance(message := await self.hear(), kinds):
            pass
        return message

    async def answer(self) -> Ack | None:
        """What the victim makes of a batch: it acknowledges it, or says goodbye."""
        heard = await self.hear_kind(Ack, Goodbye)
        return heard if isinstance(heard, Ack) else None

    async def goodbye(self) -> Goodbye | None:
        """How the victim ended it; None if it closed without a word."""
        heard = await self.hear_all()
        return next((message for message in heard if isinstance(message, Goodbye)), None)

    # Leaving -----------------------------------------------------------------------------------

    async def leave(self) -> None:
        """Say goodbye as an honest peer does, and wait until the victim has let go."""
        with suppress(ConnectionLostError):
            await self.say(Goodbye(Reason.DONE, ""))
            await self.hear_all()
        await self.close()

    async def close(self, code: int = ABORT) -> None:
        await self.channel.close(code)

    async def _bounded(self, work: Coroutine[Any, Any, T]) -> T:
        return await patiently(self.clock, self.patience_ms, work)

    async def _send_all(self, frames: tuple[bytes, ...]) -> None:
        for frame in frames:
            await self.channel.send(frame)

    async def _send_pieces(self, plaintexts: tuple[bytes, ...]) -> None:
        for plaintext in plaintexts:
            await self.channel._send_message(plaintext)
