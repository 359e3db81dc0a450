"""Noise: published vectors, a second implementation, and everything that must be refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_scalarmult_base
from noise.connection import Keypair, NoiseConnection

from covey.crypto.errors import OpenError
from covey.crypto.noise import (
    MESSAGE_BYTES_MAX,
    PLAINTEXT_BYTES_MAX,
    CipherState,
    Handshake,
    HandshakeError,
    HashFunction,
    NonceExhaustedError,
    Pattern,
    Script,
)

VECTORS = json.loads((Path(__file__).parent / "vectors" / "noise.json").read_text())["vectors"]

PROLOGUE = b"cvy-noise-v1 and two hellos"
INITIATOR_STATIC = bytes(range(32))
RESPONDER_STATIC = bytes(range(100, 132))
PSK = b"k" * 32

# The patterns that only the vectors use, spelled as in revision 34, section 7.
FURTHER_PATTERNS = {
    "N": (False, True, ("e es",)),
    "X": (False, True, ("e es s ss",)),
    "NN": (False, False, ("e", "e ee")),
    "XK": (False, True, ("e es", "e ee", "s se")),
    "KK": (True, True, ("e es ss", "e ee se")),
}


def script_named(name: str) -> Script:
    """Build a script from a pattern name such as XXpsk0+psk2 (revision 34, sections 8 and 9)."""
    base, *positions = name.replace("+", "").split("psk")
    if base in FURTHER_PATTERNS:
        initiator_known, responder_known, lines = FURTHER_PATTERNS[base]
        messages = [line.split() for line in lines]
    else:
        script: Script = Pattern[base].value
        initiator_known, responder_known = script.initiator_known, script.responder_known
        messages = [list(message) for message in script.messages]
    for position in positions:
        if position == "0":
            messages[0].insert(0, "psk")
        else:
            messages[int(position) - 1].append("psk")
    return Script(name, initiator_known, responder_known, tuple(map(tuple, messages)))


def fixed(private: bytes) -> Callable[[int], bytes]:
    def draw(size: int) -> bytes:
        assert size == len(private)
        return private

    return draw


def no_draw(size: int) -> bytes:
    raise AssertionError("this side has no ephemeral key to draw")


def side_of_vector(vector: dict[str, Any], initiator: bool) -> Handshake:
    ours = "init" if initiator else "resp"
    _, pattern, _, _, hash_name = vector["protocol_name"].split("_")

    def field(name: str) -> bytes | None:
        return bytes.fromhex(vector[name]) if name in vector else None

    ephemeral = field(f"{ours}_ephemeral")
    return Handshake(
        script_named(pattern),
        initiator,
        field(f"{ours}_prologue") or b"",
        no_draw if ephemeral is None else fixed(ephemeral),
        static=field(f"{ours}_static"),
        remote_static=field(f"{ours}_remote_static"),
        psk=tuple(map(bytes.fromhex, vector.get(f"{ours}_psks", ()))),
        hash_function=HashFunction(hash_name),
    )


def case_name(vector: dict[str, Any]) -> str:
    return f"{vector['source']}-{vector['protocol_name'].removeprefix('Noise_')}"


@pytest.mark.parametrize("vector", VECTORS, ids=case_name)
def test_published_vector_is_spoken_and_understood(vector: dict[str, Any]) -> None:
    """Only agreement with other implementations shows that this is Noise and not our own idea."""
    initiator, responder = side_of_vector(vector, True), side_of_vector(vector, False)
    ciphers: dict[str, tuple[CipherState, CipherState]] = {}
    for message in vector["messages"]:
        payload, expected = (bytes.fromhex(message[key]) for key in ("payload", "ciphertext"))
        from_initiator = message["sender"] == "i"
        if message["handshake"]:
            sender, receiver = (initiator, responder) if from_initiator else (responder, initiator)
            assert sender.write(payload) == expected
            assert receiver.read(expected) == payload
            if sender.finished:
                hashes = initiator.handshake_hash, responder.handshake_hash
                ciphers = {"i": initiator.split(), "r": responder.split()}
        else:
            send = ciphers[message["sender"]][0]
            receive = ciphers["r" if from_initiator else "i"][1]
            assert send.encrypt(b"", payload) == expected
            assert receive.decrypt(b"", expected) == payload

    assert initiator.finished and responder.finished
    assert hashes[0] == hashes[1]
    if "handshake_hash" in vector:
        assert hashes[0].hex() == vector["handshake_hash"]


def test_all_published_vectors_are_there() -> None:
    """A vector file that shrank would make the test above pass for nothing."""
    assert len(VECTORS) == 237


def pair(
    pattern: Pattern, prologues: tuple[bytes, bytes] = (PROLOGUE, PROLOGUE), psk: bytes = PSK
) -> tuple[Handshake, Handshake]:
    """Two sides that fit together, with fixed keys."""
    known = pattern is not Pattern.XX
    keyed = pattern is Pattern.IK_PSK2
    return (
        Handshake(
            pattern,
            True,
            prologues[0],
            fixed(b"i" * 32),
            static=INITIATOR_STATIC,
            remote_static=crypto_scalarmult_base(RESPONDER_STATIC) if known else None,
            psk=PSK if keyed else None,
        ),
        Handshake(
            pattern,
            False,
            prologues[1],
            fixed(b"r" * 32),
            static=RESPONDER_STATIC,
            psk=psk if keyed else None,
        ),
    )


def run(
    initiator: Handshake,
    responder: Handshake,
    change: Callable[[int, bytes], bytes] = lambda number, message: message,
) -> None:
    """Carry every message across, each through `change`, until both sides are finished."""
    sender, receiver = initiator, responder
    number = 0
    while not (initiator.finished and responder.finished):
        receiver.read(change(number, sender.write()))
        sender, receiver = receiver, sender
        number += 1


def lengths_of_messages(pattern: Pattern) -> list[int]:
    lengths = []

    def note(number: int, message: bytes) -> bytes:
        lengths.append(len(message))
        return message

    run(*pair(pattern), note)
    return lengths


patterns = pytest.mark.parametrize("pattern", list(Pattern), ids=lambda pattern: pattern.name)


@patterns
def test_both_sides_end_with_one_hash_each_other_s_key_and_a_working_channel(
    pattern: Pattern,
) -> None:
    """This is all that the node asks of a handshake."""
    initiator, responder = pair(pattern)
    run(initiator, responder)
    hashes = initiator.handshake_hash, responder.handshake_hash
    send, receive = initiator.split()
    their_send, their_receive = responder.split()

    assert hashes[0] == hashes[1] and len(hashes[0]) == 32
    assert initiator.remote_static == crypto_scalarmult_base(RESPONDER_STATIC)
    assert responder.remote_static == crypto_scalarmult_base(INITIATOR_STATIC)
    assert their_receive.decrypt(b"", send.encrypt(b"", b"ping")) == b"ping"
    assert receive.decrypt(b"", their_send.encrypt(b"", b"pong")) == b"pong"


SECOND_OPINIONS = [
    (pattern, initiator)
    for pattern in (Pattern.IK, Pattern.XX, Pattern.IK_PSK2)
    for initiator in (True, False)
]


@pytest.mark.parametrize(("pattern", "initiator"), SECOND_OPINIONS)
def test_the_second_implementation_understands_us(pattern: Pattern, initiator: bool) -> None:
    """Vectors fix every key; here both sides draw their own, as in real life."""
    other = NoiseConnection.from_name(
        f"Noise_{pattern.value.name}_25519_ChaChaPoly_BLAKE2s".encode()
    )
    other.set_prologue(PROLOGUE)
    if initiator:
        other.set_as_responder()
    else:
        other.set_as_initiator()
    if pattern is Pattern.IK_PSK2:
        other.set_psks(PSK)
    our_static, their_static = os.urandom(32), os.urandom(32)
    other.set_keypair_from_private_bytes(Keypair.STATIC, their_static)
    known = pattern is not Pattern.XX
    if known and not initiator:
        public = crypto_scalarmult_base(our_static)
        other.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, public)
    ours = Handshake(
        pattern,
        initiator,
        PROLOGUE,
        os.urandom,
        static=our_static,
        remote_static=crypto_scalarmult_base(their_static) if known and initiator else None,
        psk=PSK if pattern is Pattern.IK_PSK2 else None,
    )
    other.start_handshake()
    while not ours.finished:
        if ours.our_turn:
            assert other.read_message(ours.write(b"to them")) == b"to them"
        else:
            assert ours.read(bytes(other.write_message(b"to us"))) == b"to us"
    handshake_hash = ours.handshake_hash
    send, receive = ours.split()

    assert other.handshake_finished
    assert handshake_hash == other.get_handshake_hash()
    assert ours.remote_static == crypto_scalarmult_base(their_static)
    assert other.decrypt(send.encrypt(b"", b"a" * 1000)) == b"a" * 1000
    assert receive.decrypt(b"", other.encrypt(b"b" * 1000)) == b"b" * 1000


@settings(max_examples=250, deadline=None)
@given(
    pattern=st.sampled_from(list(Pattern)),
    number=st.integers(0, 2),
    where=st.integers(0, 10_000),
    data=st.data(),
)
def test_a_changed_handshake_message_ends_the_handshake(
    pattern: Pattern, number: int, where: int, data: st.DataObject
) -> None:
    """Whoever sits in between must not be able to alter one bit of it unnoticed."""
    initiator, responder = pair(pattern)
    count = len(pattern.value.messages)
    kind = data.draw(st.sampled_from(["flip", "cut", "append"]))

    def change(at: int, message: bytes) -> bytes:
        if at != number % count:
            return message
        if kind == "cut":
            return message[: where % len(message)]
        if kind == "append":
            return message + b"\0"
        changed = bytearray(message)
        changed[where // 8 % len(message)] ^= 1 << where % 8
        return bytes(changed)

    # What is appended to the first message of XX is a payload in clear; the next message notices.
    with pytest.raises(HandshakeError):
        run(initiator, responder, change)

    assert not (initiator.finished and responder.finished)


@patterns
def test_a_flipped_bit_in_any_byte_is_refused(pattern: Pattern) -> None:
    """The property above samples; this leaves out no byte of any message."""
    unnoticed = []
    for number, length in enumerate(lengths_of_messages(pattern)):
        for byte in range(length):
            bit = 1 << (byte * 5 + number) % 8

            def flip(
                at: int, message: bytes, n: int = number, i: int = byte, b: int = bit
            ) -> bytes:
                if at != n:
                    return message
                return message[:i] + bytes([message[i] ^ b]) + message[i + 1 :]

            try:
                run(*pair(pattern), flip)
                unnoticed.append((number, byte))
            except HandshakeError:
                continue

    assert unnoticed == []


@patterns
def test_a_changed_hello_fails_the_handshake(pattern: Pattern) -> None:
    """The prologue holds both hellos: this is the protection against a downgrade."""
    initiator, responder = pair(pattern, prologues=(PROLOGUE, PROLOGUE + b"!"))

    with pytest.raises(HandshakeError):
        run(initiator, responder)


def test_a_wrong_pre_shared_key_fails_the_handshake() -> None:
    """The token of a QR code is what tells the scanned device from any other."""
    initiator, responder = pair(Pattern.IK_PSK2, psk=b"x" * 32)

    with pytest.raises(HandshakeError):
        run(initiator, responder)


def test_an_initiator_who_expects_another_responder_is_refused_at_once() -> None:
    """A stranger gets silence: the first message already does not open."""
    stranger = Handshake(
        Pattern.IK,
        True,
        PROLOGUE,
        os.urandom,
        static=INITIATOR_STATIC,
        remote_static=crypto_scalarmult_base(b"other" + bytes(27)),
    )
    _, responder = pair(Pattern.IK)

    with pytest.raises(HandshakeError):
        responder.read(stranger.write())


SMALL_ORDER = [bytes(32), b"\1" + bytes(31), bytes.fromhex("ec" + "ff" * 30 + "7f")]


@pytest.mark.parametrize("point", SMALL_ORDER, ids=lambda point: point.hex()[:4])
def test_a_key_of_small_order_is_refused(point: bytes) -> None:
    """An all-zero result would let both sides agree on a key that everyone knows."""
    _, responder = pair(Pattern.XX)
    assert responder.read(point) == b""

    with pytest.raises(HandshakeError, match="small order"):
        responder.write()


def test_a_known_static_key_of_small_order_is_refused() -> None:
    """A registry that holds such a key must not lead to a channel."""
    initiator = Handshake(
        Pattern.IK, True, b"", os.urandom, static=INITIATOR_STATIC, remote_static=bytes(32)
    )

    with pytest.raises(HandshakeError, match="small order"):
        initiator.write()


def test_after_an_error_the_handshake_is_dead() -> None:
    """A second try on a half-mixed state would be a second guess for an attacker."""
    initiator, responder = pair(Pattern.IK)
    message = initiator.write()
    with pytest.raises(HandshakeError):
        responder.read(message[:-1] + bytes([message[-1] ^ 1]))

    with pytest.raises(HandshakeError, match="dead"):
        responder.read(message)
    with pytest.raises(HandshakeError, match="dead"):
        responder.write()
    assert not responder.finished


def test_a_message_out_of_turn_is_refused_and_final() -> None:
    """A peer that speaks twice must not confuse the state."""
    initiator, responder = pair(Pattern.XX)
    message = initiator.write()
    responder.read(message)
    with pytest.raises(HandshakeError, match="out of turn"):
        responder.read(message)

    with pytest.raises(HandshakeError, match="dead"):
        responder.write()


def test_an_oversized_handshake_message_is_refused() -> None:
    """Noise allows 65,535 bytes; more is never hashed."""
    _, responder = pair(Pattern.XX)

    with pytest.raises(HandshakeError, match="65535 allowed"):
        responder.read(bytes(MESSAGE_BYTES_MAX + 1))


def test_a_finished_handshake_takes_no_more_messages() -> None:
    """What comes next belongs to the channel."""
    initiator, responder = pair(Pattern.IK)
    run(initiator, responder)

    with pytest.raises(HandshakeError, match="finished"):
        responder.read(b"more")
    with pytest.raises(HandshakeError, match="finished"):
        initiator.write()


@settings(max_examples=150, deadline=None)
@given(pattern=st.sampled_from(list(Pattern)), message=st.binary(max_size=200))
def test_random_bytes_are_refused_or_fail_later(pattern: Pattern, message: bytes) -> None:
    """Anyone on the network can send these bytes to us, before any trust."""
    initiator, responder = pair(pattern)
    initiator.write()
    answer = b""
    try:
        responder.read(message)
        answer = responder.write()
    except HandshakeError:
        assert not responder.finished
        return

    with pytest.raises(HandshakeError):
        initiator.read(answer)


def channel() -> tuple[CipherState, CipherState]:
    return CipherState(b"c" * 32), CipherState(b"c" * 32)


def test_channel_messages_must_come_in_order_unchanged_and_once() -> None:
    """The counter is the only thing that stops replay and reordering inside a channel."""
    send, receive = channel()
    first, second = send.encrypt(b"", b"one"), send.encrypt(b"", b"two")
    with pytest.raises(OpenError):
        receive.decrypt(b"", second)
    assert receive.decrypt(b"", first) == b"one"
    with pytest.raises(OpenError):
        receive.decrypt(b"", first)
    with pytest.raises(OpenError):
        receive.decrypt(b"ad", second)

    assert receive.decrypt(b"", second) == b"two"


@pytest.mark.parametrize("size", [0, 15, MESSAGE_BYTES_MAX + 1])
def test_channel_messages_of_impossible_size_are_refused(size: int) -> None:
    """Sizes are checked before any cryptography."""
    _, receive = channel()

    with pytest.raises(OpenError, match="allowed"):
        receive.decrypt(b"", bytes(size))


def test_the_largest_channel_message_fits() -> None:
    """One WebSocket message is one Noise message of at most 65,535 bytes."""
    send, receive = channel()
    message = send.encrypt(b"", bytes(PLAINTEXT_BYTES_MAX))

    assert len(message) == MESSAGE_BYTES_MAX
    assert receive.decrypt(b"", message) == bytes(PLAINTEXT_BYTES_MAX)


def test_a_used_up_counter_refuses_instead_of_repeating_a_nonce() -> None:
    """A repeated nonce gives away two plaintexts and the key of the authenticator."""
    send, receive = channel()
    send._nonce = receive._nonce = 2**64 - 2
    last = send.encrypt(b"", b"last")
    assert receive.decrypt(b"", last) == b"last"

    with pytest.raises(NonceExhaustedError):
        send.encrypt(b"", b"one more")
    with pytest.raises(NonceExhaustedError):
        receive.decrypt(b"", last)


def test_representations_show_no_secret() -> None:
    """They end up in logs and tracebacks."""
    initiator, responder = pair(Pattern.IK_PSK2)
    texts = [repr(initiator)]
    run(initiator, responder)
    texts += [repr(responder), repr(responder.split())]

    for secret in (INITIATOR_STATIC, RESPONDER_STATIC, PSK, b"i" * 32, b"r" * 32):
        assert not any(repr(secret)[2:-1] in text or secret.hex() in text for text in texts)
    assert texts[0] == "<Handshake IKpsk2 initiator, message 0, running>"


def test_keys_are_forgotten_when_the_handshake_is_over() -> None:
    """The ephemeral key is what makes the channel unreadable to whoever steals the static one."""
    initiator, responder = pair(Pattern.IK_PSK2)
    run(initiator, responder)

    assert (initiator._ephemeral, initiator._static, initiator._psks) == (b"", None, [])
