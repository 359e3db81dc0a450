"""Channel: opens an encrypted channel over a fresh connection, or says why there is none.

`open_channel` is for the side that dialled, `accept_channel` for the other. Both exchange hellos
(`hello.py`), run the Noise handshake that the purpose asks for, and return a `SecureChannel`. All
of it takes 5 s of the Clock at most, and hello and handshake at most 1 KiB. Every refusal closes
the connection, is counted by its reason and leaves no task behind.

A responder is silent towards strangers. Its hello names nobody, and after it whoever cannot make
it decrypt something gets not one byte and no close code. A member's channel is handed out after the
initiator's first transport message has decrypted, since the message before may be a recording,
and after `knows` has recognised its key; unknown and revoked look alike.

| purpose | pattern | initiator knows | who may call `admit` |
|---|---|---|---|
| MEMBER | IK | the responder's device key | `accept_channel` itself |
| PAIRING | XX, keys made for this window | nothing | the pairing, after the code is proved |
| QR | IKpsk2 | the key and the secret of the picture | `accept_channel` itself |

Spec: docs/protocol.md, section 5.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NoReturn

from .. import CoveyError
from ..crypto.errors import CryptoError
from ..crypto.noise import Handshake, Pattern
from ..crypto.secret import Secret
from ..sync.errors import DecodeError
from .counters import Counters
from .deadline import DeadlinePassed, within
from .hello import Hello, Purpose, decode_hello, encode_hello, shared_version
from .ports import Clock, Connection, ConnectionLostError, Entropy
from .secure_channel import ABORT, ChannelClosed, End, SecureChannel

__all__ = [
    "ABORT",
    "ChannelClosed",
    "ChannelKeys",
    "ChannelRefused",
    "End",
    "Purpose",
    "Refusal",
    "SecureChannel",
    "accept_channel",
    "open_channel",
]

VERSIONS = (1,)
"""Protocol versions that this program speaks, ascending."""
HANDSHAKE_MS_MAX = 5_000
UNPROVED_BYTES_MAX = 1024
CLOSE_NO_SHARED_VERSION = 4000
CLOSE_UNKNOWN_DEVICE = 4001
PROLOGUE_LABEL = b"cvy-noise-v1"

_PATTERNS = {
    Purpose.MEMBER: Pattern.IK,
    Purpose.PAIRING: Pattern.XX,
    Purpose.QR: Pattern.IK_PSK2,
}


class Refusal(Enum):
    """Why there is no channel. The value is the counter's last part."""

    NO_SHARED_VERSION = "no_shared_version"
    BAD_HELLO = "bad_hello"
    WRONG_PURPOSE = "wrong_purpose"
    HANDSHAKE_FAILED = "handshake_failed"
    UNKNOWN_DEVICE = "unknown_device"
    OVERSIZE = "oversize"
    TIMEOUT = "timeout"
    CLOSED = "closed"


_SENTENCES = {
    Refusal.NO_SHARED_VERSION: "speaks no protocol version of ours: update covey on both devices",
    Refusal.BAD_HELLO: "sent no valid hello: it is no Covey node, or a broken one",
    Refusal.WRONG_PURPOSE: "was asked for something it does not offer now",
    Refusal.HANDSHAKE_FAILED: "is not the device that was meant, or somebody is in between",
    Refusal.UNKNOWN_DEVICE: "is not a member of this mesh",
    Refusal.OVERSIZE: "sent more than a handshake may have",
    Refusal.TIMEOUT: f"did not finish the handshake within {HANDSHAKE_MS_MAX // 1000} s",
    Refusal.CLOSED: "closed during the handshake: it does not know this device, or is another one",
}

_CLOSE_CODES = {
    Refusal.NO_SHARED_VERSION: CLOSE_NO_SHARED_VERSION,
    Refusal.UNKNOWN_DEVICE: CLOSE_UNKNOWN_DEVICE,
}


class ChannelRefused(CoveyError):  # noqa: N818 - as often a rule at work as an error
    """No channel came about, and the connection is closed. `reason` says why."""

    exit_code = 4

    def __init__(self, reason: Refusal, remote: object) -> None:
        super().__init__(f"{remote}: {_SENTENCES[reason]}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ChannelKeys:
    """What one side brings: its private X25519 key and, for QR alone, the 32-byte shared key."""

    static: Secret
    psk: Secret | None = None


async def open_channel(
    connection: Connection,
    purpose: Purpose,
    keys: ChannelKeys,
    remote_static: bytes | None,
    *,
    clock: Clock,
    entropy: Entropy,
    counters: Counters,
    versions: tuple[int, ...] = VERSIONS,
    features: tuple[str, ...] = (),
) -> SecureChannel:
    """Open a channel as the side that dialled. `remote_static` is None for PAIRING only.

    `versions` are the protocol versions to offer, ascending.

    Raises: ChannelRefused, after which the connection is closed.
    """
    opening = _Opening(connection, clock, entropy, counters, versions, features, initiator=True)
    return await opening.run(opening.initiate(purpose, keys, remote_static))


async def accept_channel(
    connection: Connection,
    offers: Mapping[Purpose, ChannelKeys],
    knows: Callable[[bytes], bool],
    *,
    clock: Clock,
    entropy: Entropy,
    counters: Counters,
    versions: tuple[int, ...] = VERSIONS,
    features: tuple[str, ...] = (),
) -> SecureChannel:
    """Open a channel as the side that was dialled, for one of the purposes it `offers` now.

    `knows(static)` says whether that X25519 key is an active member's; it is asked for MEMBER
    only. For MEMBER and QR this waits for the initiator's first message, which `receive` then
    returns. `versions` are the protocol versions to offer, ascending.

    Raises: ChannelRefused, after which the connection is closed.
    """
    opening = _Opening(connection, clock, entropy, counters, versions, features, initiator=False)
    return await opening.run(opening.respond(offers, knows))


class _Refuse(Exception):  # noqa: N818 - from where a rule breaks to the one place that closes
    def __init__(self, reason: Refusal) -> None:
        self.reason = reason


class _Opening:
    """One attempt. `run` is the only place that closes, counts and raises."""

    def __init__(
        self,
        connection: Connection,
        clock: Clock,
        entropy: Entropy,
        counters: Counters,
        versions: tuple[int, ...],
        features: tuple[str, ...],
        *,
        initiator: bool,
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._entropy = entropy
        self._counters = counters
        self._versions = versions
        self._features = tuple(sorted(set(features)))
        self._initiator = initiator
        self._sent = 0
        self._received = 0

    async def run(self, work: Coroutine[Any, Any, SecureChannel]) -> SecureChannel:
        try:
            channel = await within(self._clock, HANDSHAKE_MS_MAX, work)
        except DeadlinePassed:
            await self._refuse(Refusal.TIMEOUT)
        except _Refuse as refused:
            await self._refuse(refused.reason)
        except BaseException:
            await self._connection.close(ABORT)
            raise
        self._counters.add("channel.opened" if self._initiator else "channel.accepted")
        return channel

    async def _refuse(self, reason: Refusal) -> NoReturn:
        self._counters.add(f"channel.refused.{reason.value}")
        # Without a code of its own a refusal is silent: not even a close frame leaves.
        await self._connection.close(_CLOSE_CODES.get(reason, ABORT))
        raise ChannelRefused(reason, self._connection.remote) from None

    async def initiate(
        self, purpose: Purpose, keys: ChannelKeys, remote_static: bytes | None
    ) -> SecureChannel:
        ours = encode_hello(Hello(purpose, self._versions, self._features))
        await self._send(ours)
        theirs = await self._receive()
        hello = _read_hello(theirs)
        if hello.purpose is not purpose:
            raise _Refuse(Refusal.WRONG_PURPOSE)
        version = self._agree(hello)
        handshake = self._handshake(purpose, keys, remote_static, ours, theirs)
        await self._shake(handshake)
        return self._channel(handshake, hello, version)

    async def respond(
        self, offers: Mapping[Purpose, ChannelKeys], knows: Callable[[bytes], bool]
    ) -> SecureChannel:
        theirs = await self._receive()
        hello = _read_hello(theirs)
        keys = offers.get(hello.purpose)
        if keys is None:
            raise _Refuse(Refusal.WRONG_PURPOSE)
        ours = encode_hello(Hello(hello.purpose, self._versions, self._features))
        await self._send(ours)
        version = self._agree(hello)
        handshake = self._handshake(hello.purpose, keys, None, theirs, ours)
        await self._shake(handshake)
        channel = self._channel(handshake, hello, version)
        if hello.purpose is not Purpose.PAIRING:
            await self._prove(channel, knows)
        return channel

    async def _prove(self, channel: SecureChannel, knows: Callable[[bytes], bool]) -> None:
        """Act on the initiator's key, but only after a message that no recording can produce."""
        try:
            await channel.open_first_message()
        except ChannelClosed as ended:
            lost = ended.reason in (End.LOST, End.CLOSED)
            raise _Refuse(Refusal.CLOSED if lost else Refusal.HANDSHAKE_FAILED) from None
        if channel.purpose is Purpose.MEMBER and not knows(channel.remote_static):
            raise _Refuse(Refusal.UNKNOWN_DEVICE)
        channel.admit()

    def _agree(self, hello: Hello) -> int:
        version = shared_version(self._versions, hello.versions)
        if version is None:
            raise _Refuse(Refusal.NO_SHARED_VERSION)
        return version

    def _handshake(
        self,
        purpose: Purpose,
        keys: ChannelKeys,
        remote_static: bytes | None,
        hello_of_initiator: bytes,
        hello_of_responder: bytes,
    ) -> Handshake:
        assert (keys.psk is not None) == (purpose is Purpose.QR), "the shared key is for QR alone"
        return Handshake(
            _PATTERNS[purpose],
            self._initiator,
            _prologue(hello_of_initiator, hello_of_responder),
            self._entropy.draw,
            static=keys.static.reveal(),
            remote_static=remote_static,
            psk=None if keys.psk is None else keys.psk.reveal(),
        )

    async def _shake(self, handshake: Handshake) -> None:
        try:
            while not handshake.finished:
                if handshake.our_turn:
                    await self._send(handshake.write())
                elif handshake.read(await self._receive()):
                    raise _Refuse(Refusal.HANDSHAKE_FAILED)  # a payload, where none may be
        except CryptoError:
            raise _Refuse(Refusal.HANDSHAKE_FAILED) from None

    def _channel(self, handshake: Handshake, hello: Hello, version: int) -> SecureChannel:
        remote_static = handshake.remote_static
        assert remote_static is not None
        handshake_hash = handshake.handshake_hash
        return SecureChannel(
            self._connection,
            handshake.split(),
            purpose=hello.purpose,
            version=version,
            features=tuple(name for name in self._features if name in hello.features),
            initiator=self._initiator,
            handshake_hash=handshake_hash,
            remote_static=remote_static,
            clock=self._clock,
            counters=self._counters,
            bytes_before=(self._sent, self._received),
        )

    async def _send(self, message: bytes) -> None:
        self._sent += len(message)
        try:
            await self._connection.send(message)
        except ConnectionLostError as error:
            raise _Refuse(_reason_of(error)) from None

    async def _receive(self) -> bytes:
        try:
            message = await self._connection.receive()
        except ConnectionLostError as error:
            raise _Refuse(_reason_of(error)) from None
        self._received += len(message)
        if self._received > UNPROVED_BYTES_MAX:
            raise _Refuse(Refusal.OVERSIZE)
        return message


def _read_hello(data: bytes) -> Hello:
    try:
        return decode_hello(data)
    except DecodeError:
        raise _Refuse(Refusal.BAD_HELLO) from None


def _prologue(hello_of_initiator: bytes, hello_of_responder: bytes) -> bytes:
    parts = [PROLOGUE_LABEL]
    for hello in (hello_of_initiator, hello_of_responder):
        parts += [len(hello).to_bytes(2, "big"), hello]
    return b"".join(parts)


def _reason_of(error: ConnectionLostError) -> Refusal:
    match error.code:
        case 4000:
            return Refusal.NO_SHARED_VERSION
        case 4001:
            return Refusal.UNKNOWN_DEVICE
        case _:
            return Refusal.CLOSED
