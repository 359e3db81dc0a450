"""Noise: the handshakes that open a channel between two devices, and the ciphers they end in.

A `Handshake` value is one side of one handshake: `write` and `read` in turns until `finished`, then
`split` gives one `CipherState` for each direction. It does no I/O and draws its one ephemeral key
from the `draw` it is given. The first error ends it for good: a message that was changed, cut or
meant for another handshake is never followed by a second try on the same state.

It promises what the Noise pattern promises, and refuses an all-zero Diffie-Hellman result. It does
not say who `remote_static` belongs to: the caller looks it up and decides. Payloads are returned
as they are; the protocol's own are empty and the caller refuses others.

In use are IK (members), XX (pairing by code) and IKpsk2 (pairing by QR code), all of
25519_ChaChaPoly_BLAKE2s. A `Script` spells any other pattern, which lets the published vectors run
through the same code.

Spec: docs/protocol.md, section 5; The Noise Protocol Framework, revision 34. Sizes are bytes: keys
32, tags 16, messages at most 65,535.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base
from nacl.exceptions import RuntimeError as SodiumRuntimeError

from .errors import CryptoError, OpenError
from .noise_ciphers import (
    KEY_BYTES,
    MESSAGE_BYTES_MAX,
    PLAINTEXT_BYTES_MAX,
    TAG_BYTES,
    CipherState,
    HashFunction,
    NonceExhaustedError,
    SymmetricState,
)

__all__ = [
    "KEY_BYTES",
    "MESSAGE_BYTES_MAX",
    "PLAINTEXT_BYTES_MAX",
    "TAG_BYTES",
    "CipherState",
    "Handshake",
    "HandshakeError",
    "HashFunction",
    "NonceExhaustedError",
    "Pattern",
    "Script",
]


class HandshakeError(CryptoError):
    """The handshake failed and cannot go on: a changed, cut, foreign or hostile message.

    Raised by `Handshake`. Nothing of the message was used. The cure is a new connection, if the
    other side is who it should be.
    """

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Script:
    """A handshake pattern: whose static keys are known before, and the tokens of each message.

    The initiator speaks first, then they take turns. Tokens: e s ee es se ss psk.
    """

    name: str
    initiator_known: bool
    responder_known: bool
    messages: tuple[tuple[str, ...], ...]


class Pattern(Enum):
    """The patterns of the protocol (docs/protocol.md, section 5)."""

    IK = Script("IK", False, True, (("e", "es", "s", "ss"), ("e", "ee", "se")))
    XX = Script("XX", False, False, (("e",), ("e", "ee", "s", "es"), ("s", "se")))
    IK_PSK2 = Script("IKpsk2", False, True, (("e", "es", "s", "ss"), ("e", "ee", "se", "psk")))


class _Phase(Enum):
    RUNNING = "running"
    FINISHED = "finished"
    SPLIT = "split"
    DEAD = "dead"


class Handshake:
    """One side of one Noise handshake. Write and read in turns, starting with the initiator.

    `static` is our private key and `remote_static` the public one of the other side, each given if
    and only if the pattern has a use for it beforehand; `psk` is one key, or one for each psk token
    in order. `draw(32)` must give fresh randomness.
    """

    __slots__ = (
        "_draw",
        "_ephemeral",
        "_initiator",
        "_next",
        "_phase",
        "_psks",
        "_remote_ephemeral",
        "_remote_static",
        "_script",
        "_static",
        "_symmetric",
        "_with_psk",
    )

    def __init__(
        self,
        pattern: Pattern | Script,
        initiator: bool,
        prologue: bytes,
        draw: Callable[[int], bytes],
        static: bytes | None = None,
        remote_static: bytes | None = None,
        psk: bytes | tuple[bytes, ...] | None = None,
        hash_function: HashFunction = HashFunction.BLAKE2S,
    ) -> None:
        script = pattern.value if isinstance(pattern, Pattern) else pattern
        psks = () if psk is None else (psk,) if isinstance(psk, bytes) else psk
        _check_keys(script, initiator, static, remote_static, psks)
        self._script = script
        self._initiator = initiator
        self._draw = draw
        self._static = static
        self._remote_static = remote_static
        self._ephemeral = b""
        self._remote_ephemeral = b""
        self._psks = list(psks)
        self._with_psk = bool(psks)
        self._next = 0
        self._phase = _Phase.RUNNING
        name = f"Noise_{script.name}_25519_ChaChaPoly_{hash_function.value}"
        self._symmetric = SymmetricState(name.encode(), hash_function)
        self._symmetric.mix_hash(prologue)
        if script.initiator_known:
            self._symmetric.mix_hash(self._public_static() if initiator else (remote_static or b""))
        if script.responder_known:
            self._symmetric.mix_hash((remote_static or b"") if initiator else self._public_static())

    def __repr__(self) -> str:
        side = "initiator" if self._initiator else "responder"
        return f"<Handshake {self._script.name} {side}, message {self._next}, {self._phase.value}>"

    @property
    def finished(self) -> bool:
        """Whether every message was written or read. False after an error."""
        return self._phase in (_Phase.FINISHED, _Phase.SPLIT)

    @property
    def our_turn(self) -> bool:
        """Whether the next thing to do is `write`."""
        return self._phase is _Phase.RUNNING and self._initiator == (self._next % 2 == 0)

    @property
    def handshake_hash(self) -> bytes:
        """The hash that is the same on both sides if and only if nobody was in between."""
        assert self.finished, "no handshake hash before the end"
        return self._symmetric.hash

    @property
    def remote_static(self) -> bytes | None:
        """The public static key of the other side, once known.

        Proved when `finished`, but for the initiator of an IK: the responder acts on it only after
        the first transport message, since the one handshake message can be a replay.
        """
        return self._remote_static

    def write(self, payload: bytes = b"") -> bytes:
        """Return the next message, to be sent as it is.

        Raises: HandshakeError after an earlier error, or for an unusable key of the other side.
        """
        self._begin(our_turn=True)
        parts = []
        for token in self._script.messages[self._next]:
            match token:
                case "e":
                    self._ephemeral = self._draw(KEY_BYTES)
                    assert len(self._ephemeral) == KEY_BYTES
                    public = crypto_scalarmult_base(self._ephemeral)
                    self._mix_ephemeral(public)
                    parts.append(public)
                case "s":
                    parts.append(self._symmetric.encrypt_and_hash(self._public_static()))
                case _:
                    self._mix(token)
        parts.append(self._symmetric.encrypt_and_hash(payload))
        message = b"".join(parts)
        assert len(message) <= MESSAGE_BYTES_MAX
        self._succeed()
        return message

    def read(self, message: bytes) -> bytes:
        """Take in the next message of the other side and return its payload.

        Raises: HandshakeError for any other message than the one written, and ever after.
        """
        self._begin(our_turn=False)
        if len(message) > MESSAGE_BYTES_MAX:
            raise HandshakeError(
                f"a handshake message has {len(message)} bytes, {MESSAGE_BYTES_MAX} allowed"
            )
        at = 0
        for token in self._script.messages[self._next]:
            match token:
                case "e":
                    self._remote_ephemeral = _take(message, at, KEY_BYTES)
                    self._mix_ephemeral(self._remote_ephemeral)
                    at += KEY_BYTES
                case "s":
                    size = KEY_BYTES + (TAG_BYTES if self._symmetric.has_key else 0)
                    self._remote_static = self._open(_take(message, at, size))
                    at += size
                case _:
                    self._mix(token)
        payload = self._open(message[at:])
        self._succeed()
        return payload

    def split(self) -> tuple[CipherState, CipherState]:
        """Return the ciphers to send and to receive with. Once; the handshake keeps no key."""
        assert self._phase is _Phase.FINISHED, "split comes once, after the last message"
        self._phase = _Phase.SPLIT
        first, second = self._symmetric.split()
        return (first, second) if self._initiator else (second, first)

    def _begin(self, our_turn: bool) -> None:
        if self._phase is not _Phase.RUNNING:
            raise HandshakeError(f"the handshake takes no more messages: it is {self._phase.value}")
        # A message out of turn can be the other side's doing, so it is no assertion.
        if self.our_turn != our_turn:
            self._phase = _Phase.DEAD
            raise HandshakeError("a handshake message came out of turn")
        # Whatever interrupts this message, the state is half-way and must not be used again.
        self._phase = _Phase.DEAD

    def _succeed(self) -> None:
        self._next += 1
        if self._next < len(self._script.messages):
            self._phase = _Phase.RUNNING
        else:
            self._phase = _Phase.FINISHED
            self._forget()

    def _forget(self) -> None:
        self._ephemeral = b""
        self._static = None
        self._psks.clear()

    def _public_static(self) -> bytes:
        assert self._static is not None
        return crypto_scalarmult_base(self._static)

    def _mix_ephemeral(self, public: bytes) -> None:
        self._symmetric.mix_hash(public)
        if self._with_psk:
            self._symmetric.mix_key(public)

    def _mix(self, token: str) -> None:
        if token == "psk":
            self._symmetric.mix_key_and_hash(self._psks.pop(0))
            return
        # The first letter is the initiator's key, the second the responder's.
        ours, theirs = token[0], token[1]
        if not self._initiator:
            ours, theirs = theirs, ours
        private = self._ephemeral if ours == "e" else self._static
        public = self._remote_ephemeral if theirs == "e" else self._remote_static
        assert private is not None and len(private) == KEY_BYTES
        assert public is not None and len(public) == KEY_BYTES
        try:
            shared = crypto_scalarmult(private, public)
        except SodiumRuntimeError:
            raise HandshakeError("the other side sent a key of small order") from None
        self._symmetric.mix_key(shared)

    def _open(self, data: bytes) -> bytes:
        try:
            return self._symmetric.decrypt_and_hash(data)
        except OpenError:
            raise HandshakeError(
                "a handshake message does not open: other keys, another hello, or changed"
            ) from None


def _check_keys(
    script: Script,
    initiator: bool,
    static: bytes | None,
    remote_static: bytes | None,
    psks: tuple[bytes, ...],
) -> None:
    known, their_known = script.initiator_known, script.responder_known
    if not initiator:
        known, their_known = their_known, known
    ours = script.messages[0 if initiator else 1 :: 2]
    sent = any("s" in message for message in ours)
    psk_count = sum(message.count("psk") for message in script.messages)
    assert (static is not None) == (known or sent), "our static key: the pattern says otherwise"
    assert (remote_static is not None) == their_known, (
        "their static key: the pattern says otherwise"
    )
    assert len(psks) == psk_count, "one pre-shared key for each psk token"
    # The binding does not check lengths and would read beyond a shorter key.
    assert all(len(key) == KEY_BYTES for key in (static, remote_static, *psks) if key is not None)


def _take(message: bytes, at: int, size: int) -> bytes:
    piece = message[at : at + size]
    if len(piece) != size:
        raise HandshakeError(f"a handshake message of {len(message)} bytes ends too early")
    return piece
