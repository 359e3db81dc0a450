"""Secure channel: frames of up to 1 MiB between two devices, encrypted, in order, or none at all.

A frame travels as one or more Noise messages, each a flag byte (1 more follows, 0 last) and a
piece. The channel promises that a frame comes out whole and unchanged or the channel ends; the
first message that does not decrypt or breaks a rule ends it for good, without a byte to the other
side, and nothing from it is tried again. It does not say who the other side is allowed to be.

A channel also ends after an hour or 2^20 messages in one direction (`End.WORN`); connecting again
makes new keys. `renewal_due` tells it a few minutes earlier, for an end between two frames.

`send` may be called by several tasks and keeps frames apart; `receive` has one caller at a time.
A `send` cancelled half-way ends the channel, since a cipher that has counted on cannot go back.
Cancelling `receive` loses nothing. Spec: docs/protocol.md, section 5, step 3. Sizes are bytes.
"""

import asyncio
from enum import Enum
from typing import Never, Protocol, runtime_checkable

from ..crypto.errors import OpenError
from ..crypto.noise import MESSAGE_BYTES_MAX, TAG_BYTES, CipherState
from .counters import Counters
from .hello import Purpose
from .ports import Address, Clock, Connection, ConnectionLostError

FRAME_BYTES_MAX = 1 << 20
PIECE_BYTES_MAX = MESSAGE_BYTES_MAX - TAG_BYTES - 1
MESSAGES_MAX = 1 << 20
AGE_MS_MAX = 3_600_000
AGE_GRACE_MS = 60_000
"""How much later than us the other side may find the channel too old: clocks and queues differ."""
RENEWAL_MS = AGE_MS_MAX - 300_000
RENEWAL_MESSAGES = MESSAGES_MAX - (1 << 14)

ABORT = 1006
"""Closes without a byte: the code that RFC 6455 keeps for links that broke."""

_LAST = b"\0"
_MORE = b"\1"


class End(Enum):
    """Why a channel ended. The value is the counter's last part."""

    CLOSED = "closed"
    LOST = "lost"
    WORN = "worn"
    TAMPERED = "tampered"
    BAD_FRAME = "bad_frame"
    OVERSIZE = "oversize"
    INTERRUPTED = "interrupted"


class ChannelClosed(ConnectionLostError):  # noqa: N818 - an end, and only sometimes an error
    """The channel has ended, at this call or before. `code` is the WebSocket code, if any."""

    def __init__(self, reason: End, why: str, code: int | None = None) -> None:
        super().__init__(why, code)
        self.reason = reason


@runtime_checkable
class Guarded(Protocol):
    """A connection that is limited more strictly until somebody vouches for the other side."""

    def admit(self) -> None: ...


class SecureChannel:
    """Made by `open_channel` and `accept_channel` (covey.node.channel)."""

    def __init__(
        self,
        connection: Connection,
        ciphers: tuple[CipherState, CipherState],
        *,
        purpose: Purpose,
        version: int,
        features: tuple[str, ...],
        initiator: bool,
        handshake_hash: bytes,
        remote_static: bytes,
        clock: Clock,
        counters: Counters,
        bytes_before: tuple[int, int] = (0, 0),
    ) -> None:
        self.purpose = purpose
        self.version = version
        self.features = features
        """Names that both sides offered, ascending."""
        self.initiator = initiator
        self.is_introduction = False
        """Whether we came under the keys of the device whose copy we are (`introducing.py`)."""
        self.handshake_hash = handshake_hash
        self.remote_static = remote_static
        self.bytes_sent, self.bytes_received = bytes_before
        """What crossed the wire, handshake and encryption included, WebSocket headers not."""
        self.messages_sent = 0
        self.messages_received = 0
        self._connection = connection
        self._cipher_out, self._cipher_in = ciphers
        self._clock = clock
        self._counters = counters
        self._opened_ms = clock.monotonic_ms()
        self._sending = asyncio.Lock()
        self._receiving = False
        self._opened_early: bytes | None = None
        self._pieces: list[bytes] = []
        self._pieces_bytes = 0
        self._ended: ChannelClosed | None = None

    def __repr__(self) -> str:
        state = "open" if self._ended is None else self._ended.reason.value
        return f"<SecureChannel {self.purpose.name} with {self.remote}, {state}>"

    @property
    def remote(self) -> Address:
        return self._connection.remote

    @property
    def renewal_due(self) -> bool:
        """Whether it is time to make a new channel, while this one still works."""
        return (
            self._clock.monotonic_ms() - self._opened_ms >= RENEWAL_MS
            or self.messages_sent >= RENEWAL_MESSAGES
            or self.messages_received >= RENEWAL_MESSAGES
        )

    def admit(self) -> None:
        """The other side is proved to be welcome: limits for strangers no longer hold for it."""
        if isinstance(self._connection, Guarded):
            self._connection.admit()

    async def send(self, frame: bytes) -> None:
        """Send one frame of at most 1 MiB; wait while the link is full. Raises: ChannelClosed."""
        size = len(frame)
        assert size <= FRAME_BYTES_MAX, "a frame is at most 1 MiB"
        async with self._sending:
            if self._ended is not None:
                raise _again(self._ended)
            if self._worn(1 + size // PIECE_BYTES_MAX, self.messages_sent, AGE_MS_MAX):
                await self._end(End.WORN, "the channel has been in use for too long: connect again")
            at = 0
            try:
                while size - at > PIECE_BYTES_MAX:
                    await self._send_message(_MORE + frame[at : at + PIECE_BYTES_MAX])
                    at += PIECE_BYTES_MAX
                await self._send_message(_LAST + (frame[at:] if at else frame))
            except ConnectionLostError as error:
                await self._lose(error)
            except BaseException:  # cancellation above all
                self._note(ChannelClosed(End.INTERRUPTED, "sending was interrupted"))
                await self._connection.close(ABORT)
                raise

    async def _send_message(self, plaintext: bytes) -> None:
        message = self._cipher_out.encrypt(b"", plaintext)
        self.messages_sent += 1
        self.bytes_sent += len(message)
        await self._connection.send(message)

    async def receive(self) -> bytes:
        """Return the next frame. Raises: ChannelClosed."""
        assert not self._receiving, "one caller at a time"
        self._receiving = True
        try:
            while True:
                plaintext = await self._next_message()
                flag = plaintext[:1]
                if flag == _LAST and not self._pieces:
                    return plaintext[1:]
                if flag == _LAST or (flag == _MORE and len(plaintext) > 1):
                    self._pieces.append(plaintext[1:])
                    self._pieces_bytes += len(plaintext) - 1
                else:
                    await self._end(End.BAD_FRAME, "the other side sent a malformed frame", ABORT)
                if self._pieces_bytes > FRAME_BYTES_MAX:
                    await self._end(End.OVERSIZE, "the other side sent too long a frame", ABORT)
                if flag == _LAST:
                    frame = b"".join(self._pieces)
                    self._pieces.clear()
                    self._pieces_bytes = 0
                    return frame
        finally:
            self._receiving = False

    async def open_first_message(self) -> None:
        """Wait for the first message and decrypt it; `receive` returns what it belongs to.

        It proves that the initiator of an IK handshake is alive and no recording.
        Raises: ChannelClosed.
        """
        self._opened_early = await self._next_message()

    async def _next_message(self) -> bytes:
        if self._opened_early is not None:
            early, self._opened_early = self._opened_early, None
            return early
        if self._ended is not None:
            raise _again(self._ended)
        try:
            message = await self._connection.receive()
        except ConnectionLostError as error:
            await self._lose(error)
        self.messages_received += 1
        self.bytes_received += len(message)
        if self._worn(0, self.messages_received, AGE_MS_MAX + AGE_GRACE_MS):
            await self._end(End.WORN, "the other side used the channel for too long")
        try:
            return self._cipher_in.decrypt(b"", message)
        except OpenError:
            await self._end(End.TAMPERED, "a message was changed on its way", ABORT)

    def _worn(self, more: int, messages: int, age_ms_max: int) -> bool:
        return (
            messages + more > MESSAGES_MAX
            or self._clock.monotonic_ms() - self._opened_ms > age_ms_max
        )

    async def close(self, code: int = 1000) -> None:
        """Close with a WebSocket code. Never raises; closing twice is harmless."""
        self._note(ChannelClosed(End.CLOSED, "the channel was closed on this side", code))
        await self._connection.close(code)

    async def _lose(self, error: ConnectionLostError) -> Never:
        reason = End.LOST if error.code is None else End.CLOSED
        await self._end(reason, str(error), error.code)

    async def _end(self, reason: End, why: str, code: int | None = None) -> Never:
        """End the channel and raise. If it has ended already, the first reason stays."""
        self._note(ChannelClosed(reason, why, code))
        await self._connection.close(ABORT if code == ABORT else 1000)
        assert self._ended is not None
        raise _again(self._ended)

    def _note(self, ended: ChannelClosed) -> None:
        if self._ended is None:
            self._ended = ended
            self._counters.add(f"channel.ended.{ended.reason.value}")
            self._pieces.clear()


def _again(ended: ChannelClosed) -> ChannelClosed:
    """A copy to raise: one exception raised by several tasks would collect all their traces."""
    return ChannelClosed(ended.reason, str(ended), ended.code)
