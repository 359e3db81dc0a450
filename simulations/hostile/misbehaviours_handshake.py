"""Misbehaviours before anybody is known: hellos, handshakes, and saying nothing at all.

Whoever cannot make the victim decrypt something gets no answer but its hello. A slow one is dropped
after five seconds. Spec: docs/protocol.md, section 5.
"""

from contextlib import suppress

from ...node.hello import Hello, Purpose, encode_hello
from ...node.ports import ConnectionLostError
from ...sync.session_limits import GREETING_MS
from .attacker import Attacker
from .misbehaviour import Act, Subject
from .stranger import HELLO

HANDSHAKE = Subject()

_HANDSHAKE_BYTES = 96

# Instead of a hello -------------------------------------------------------------------------------


def _opening(*messages: bytes) -> Act:
    """Say this, and hear what comes of it."""

    async def act(attacker: Attacker) -> None:
        async with attacker.knock() as stranger:
            with suppress(ConnectionLostError):
                await stranger.send(*messages)
            await stranger.hear_all()

    return act


_OPENINGS: tuple[tuple[str, str, Act], ...] = (
    ("empty-hello", "Says nothing, in a message of its own.", _opening(b"")),
    (
        "foreign-hello",
        "Speaks HTTP where the hello should be.",
        _opening(b"GET / HTTP/1.1\r\n\r\n"),
    ),
    ("oversize-hello", "Says a hello beyond 256 bytes.", _opening(HELLO + b"x" * 300)),
    (
        "hello-beyond-all-bounds",
        "Says a hello of more bytes than hello and handshake may have together.",
        _opening(HELLO + b"x" * 60_000),
    ),
    ("wrong-magic", "Says a hello of another protocol.", _opening(b"CVH2" + HELLO[4:])),
    ("cut-hello", "Says a hello without its last byte.", _opening(HELLO[:-1])),
    (
        "hello-in-pieces",
        "Says its hello byte by byte.",
        _opening(*(HELLO[at : at + 1] for at in range(len(HELLO)))),
    ),
    (
        "unknown-versions",
        "Speaks only versions that nobody speaks.",
        _opening(encode_hello(Hello(Purpose.MEMBER, (7, 8)))),
    ),
    (
        "versions-out-of-order",
        "Lists its versions downwards, which is a second spelling.",
        _opening(b"CVH1\0\2\0\2\0\1\0"),
    ),
    (
        "feature-with-a-zero",
        "Names a feature that is no text.",
        _opening(b"CVH1\0\1\0\1\1\3a\0b"),
    ),
    (
        "unknown-purpose",
        "Connects for a purpose that there is not.",
        _opening(HELLO[:4] + b"\x09" + HELLO[5:]),
    ),
    (
        "pairing-without-a-window",
        "Wants to pair where nobody shows a code.",
        _opening(encode_hello(Hello(Purpose.PAIRING, (1,)))),
    ),
    (
        "handshake-of-zeros",
        "Sends a first handshake message whose key is of small order.",
        _opening(HELLO, bytes(_HANDSHAKE_BYTES)),
    ),
    (
        "empty-handshake",
        "Sends a first handshake message of no bytes.",
        _opening(HELLO, b""),
    ),
    (
        "two-hellos",
        "Says its hello again where the handshake should begin.",
        _opening(HELLO, HELLO),
    ),
)
for _name, _about, _act in _OPENINGS:
    HANDSHAKE.add(_name, "stranger", _act, _about)


@HANDSHAKE.act("stranger")
async def garbage_hello(attacker: Attacker) -> None:
    """Sends random bytes where the hello should be."""
    await _opening(attacker.rubbish(attacker.random.randint(1, 256)))(attacker)


# Handshakes ---------------------------------------------------------------------------------------


@HANDSHAKE.act("stranger")
async def handshake_garbage(attacker: Attacker) -> None:
    """Sends random bytes where the handshake should begin."""
    await _opening(HELLO, attacker.rubbish(_HANDSHAKE_BYTES))(attacker)


@HANDSHAKE.act("stranger")
async def key_of_a_stranger(attacker: Attacker) -> None:
    """Finishes the handshake with a key that is no member's."""
    async with attacker.knock() as stranger:
        handshake, _ = await stranger.shake(
            attacker.keys, attacker.victim.keys.dh_pk, attacker.entropy.draw
        )
        handshake.read(await stranger.hear())
        out, _ = handshake.split()
        await stranger.send(out.encrypt(b"", b"\0hello"))
        await stranger.hear_all()


@HANDSHAKE.act("stranger")
async def handshake_with_another(attacker: Attacker) -> None:
    """Begins a handshake that is meant for somebody else."""
    async with attacker.knock() as stranger:
        other = attacker.new_keys().dh_pk
        await stranger.shake(attacker.keys, other, attacker.entropy.draw)
        await stranger.hear_all()


@HANDSHAKE.act("full")
async def changed_hello(attacker: Attacker) -> None:
    """Makes a handshake about another hello than the one that was said, as a downgrade would."""
    async with attacker.knock() as stranger:
        said = encode_hello(Hello(Purpose.MEMBER, (1, 2)))
        await stranger.shake(
            attacker.keys, attacker.victim.keys.dh_pk, attacker.entropy.draw, hello=said
        )
        await stranger.hear_all()


@HANDSHAKE.act("full")
async def handshake_with_a_payload(attacker: Attacker) -> None:
    """Lets a payload ride on the first handshake message, which could be a recording."""
    async with attacker.knock() as stranger:
        await stranger.shake(
            attacker.keys,
            attacker.victim.keys.dh_pk,
            attacker.entropy.draw,
            payload=b"act on this",
        )
        await stranger.hear_all()


@HANDSHAKE.act("full")
async def replayed_handshake(attacker: Attacker) -> None:
    """Plays back the first handshake message of a member, and then rubbish."""
    async with attacker.knock() as stranger:
        _, recorded = await stranger.shake(
            attacker.keys, attacker.victim.keys.dh_pk, attacker.entropy.draw
        )
        await stranger.hear()
    async with attacker.knock() as stranger:
        await stranger.send(HELLO)
        await stranger.hear()
        await stranger.send(recorded)
        await stranger.send(await stranger.hear())
        await stranger.hear_all()


@HANDSHAKE.act("full")
async def garbage_after_the_handshake(attacker: Attacker) -> None:
    """Finishes the handshake of a member and then sends what does not decrypt."""
    async with attacker.channel() as rogue:
        await rogue.ciphertext(attacker.rubbish(64))
        await rogue.hear_all()


# Slowness -----------------------------------------------------------------------------------------


@HANDSHAKE.act("stranger")
async def silence_from_the_start(attacker: Attacker) -> None:
    """Connects and says nothing until it is dropped."""
    await _opening()(attacker)


@HANDSHAKE.act("stranger")
async def silence_after_the_hello(attacker: Attacker) -> None:
    """Says its hello and then nothing until it is dropped."""
    await _opening(HELLO)(attacker)


@HANDSHAKE.act("stranger")
async def silence_within_the_handshake(attacker: Attacker) -> None:
    """Sends a good first handshake message and then nothing until it is dropped."""
    async with attacker.knock() as stranger:
        await stranger.shake(attacker.keys, attacker.victim.keys.dh_pk, attacker.entropy.draw)
        await stranger.hear_all()


@HANDSHAKE.act("full")
async def silence_after_the_handshake(attacker: Attacker) -> None:
    """Finishes the handshake of a member and then says nothing until it is dropped."""
    async with attacker.channel() as rogue:
        await rogue.hear_all()


@HANDSHAKE.act("full")
async def silence_instead_of_a_greeting(attacker: Attacker) -> None:
    """Sends the first piece of a greeting and nothing more, for longer than a victim waits."""
    async with attacker.channel() as rogue:
        await rogue.piece(b"\1the first piece of a greeting")
        assert rogue.patience_ms > GREETING_MS
        await rogue.hear_all()


@HANDSHAKE.act("full")
async def greeting_byte_by_byte(attacker: Attacker) -> None:
    """Sends its greeting a byte at a time, each as late as one may be."""
    async with attacker.channel() as rogue:
        with suppress(ConnectionLostError):
            for byte in b"\x01\x86\xa7control":
                await rogue.piece(bytes((1, byte)))
                await attacker.clock.sleep_ms(2_000)
