"""Misbehaviours of a member in pieces, frames and their encoding: what no decoder may swallow.

There is one spelling of everything, and a bound on everything, so each of these ends the channel or
the session. Spec: docs/protocol.md, sections 5, 7 and 9.
"""

from collections.abc import Callable
from contextlib import suppress

from ...node.ports import ConnectionLostError
from ...node.secure_channel import PIECE_BYTES_MAX
from ...sync.messages import Goodbye, Greeting, Reason, encode
from ...sync.packing import pack
from .attacker import Attacker
from .misbehaviour import Act, Subject

MESSAGES = Subject()

_TAG, _ID = b"t" * 16, b"i" * 32
_OVERSIZE_PIECES = 18

# Pieces -------------------------------------------------------------------------------------------


@MESSAGES.act("full")
async def undecryptable_message(attacker: Attacker) -> None:
    """Sends a message in the middle of a session that does not decrypt."""
    async with attacker.session() as rogue:
        await rogue.ciphertext(attacker.rubbish(64))
        await rogue.hear_all()


@MESSAGES.act("full")
async def truncated_frame(attacker: Attacker) -> None:
    """Sends the first piece of a frame and hangs up."""
    async with attacker.session() as rogue:
        await rogue.piece(b"\1" + encode(Goodbye(Reason.DONE, ""))[:2])


@MESSAGES.act("full")
async def endless_frame(attacker: Attacker) -> None:
    """Sends pieces of a frame that never ends, beyond one mebibyte."""
    async with attacker.session() as rogue:
        with suppress(ConnectionLostError):
            await rogue.piece(*(b"\1" + bytes(PIECE_BYTES_MAX) for _ in range(_OVERSIZE_PIECES)))
        await rogue.hear_all()


def _piece(plaintext: bytes) -> Act:
    async def act(attacker: Attacker) -> None:
        async with attacker.session() as rogue:
            await rogue.piece(plaintext)
            await rogue.hear_all()

    return act


MESSAGES.add("no-flag", "full", _piece(b""), "Sends a piece without even a flag.")
MESSAGES.add("unknown-flag", "full", _piece(b"\2bye"), "Sends a piece with a flag of its own.")
MESSAGES.add("empty-piece", "full", _piece(b"\1"), "Sends an empty piece and announces more.")

# Frames -------------------------------------------------------------------------------------------


def _frame(make: Callable[[Attacker], bytes]) -> Act:
    """Send one frame in the middle of a session, and hear what comes of it."""

    async def act(attacker: Attacker) -> None:
        async with attacker.session() as rogue:
            await rogue.send(make(attacker))
            await rogue.hear_all()

    return act


def _is(frame: bytes) -> Callable[[Attacker], bytes]:
    return lambda _: frame


def _one_of(*frames: bytes) -> Callable[[Attacker], bytes]:
    return lambda attacker: attacker.random.choice(frames)


_FRAMES: tuple[tuple[str, str, Callable[[Attacker], bytes]], ...] = (
    ("empty-frame", "Sends a frame of no bytes.", _is(b"")),
    (
        "unknown-frame",
        "Sends a frame of a type that there is not.",
        _one_of(*(bytes((kind,)) + pack([]) for kind in (0x00, 0x0A, 0x21, 0x2F, 0x7F, 0xFF))),
    ),
    (
        "second-spelling",
        "Spells a message in another way than the one that is allowed.",
        _one_of(
            b"\x08\xdc\x00\x02" + pack(_ID) + pack(_ID),
            b"\x08" + pack([_ID, _ID]) + b"\xc0",
            b"\x06\x93" + pack(_TAG) + b"\x90" + b"\xcd\x00\x01",
        ),
    ),
    (
        "wrong-types",
        "Puts texts, floats and maps where there must be something else.",
        _one_of(
            b"\x06" + pack([_TAG, [], 1.5]),
            b"\x07" + pack({"scope": _TAG}),
            b"\x08" + pack(["text", "text"]),
            b"\x02" + pack([True, b"", []]),
            b"\x09" + pack([0, 0]),
        ),
    ),
    (
        "numbers-out-of-range",
        "Uses numbers that are negative, zero or too large.",
        _one_of(
            b"\x03" + pack([_TAG, [[_TAG, _ID, 0, _ID]]]),
            b"\x03" + pack([_TAG, [[_TAG, _ID, 2**63, _ID]]]),
            b"\x06" + pack([_TAG, [], 2**32]),
            b"\x06" + pack([_TAG, [], -1]),
            b"\x04" + pack([_TAG, [[_TAG, 5, 4]]]),
        ),
    ),
    (
        "rows-out-of-order",
        "Lists rows twice, out of order or overlapping.",
        _one_of(
            b"\x02" + pack([0, b"", [[b"b" * 16, _ID], [b"a" * 16, _ID]]]),
            b"\x03" + pack([_TAG, [[_TAG, _ID, 1, _ID]] * 2]),
            b"\x04" + pack([_TAG, [[_TAG, 1, 5], [_TAG, 5, 6]]]),
        ),
    ),
    (
        "too-many-rows",
        "Lists more rows than a message may have.",
        _one_of(
            b"\x02" + pack([0, b"", [[n.to_bytes(16, "big"), _ID] for n in range(1_025)]]),
            b"\x04" + pack([_TAG, [[_TAG, n, n] for n in range(1, 1_026, 2)]]),
        ),
    ),
    ("nest", "Nests arrays sixty thousand deep.", _is(b"\x08" + b"\x91" * 60_000)),
    (
        "map-bomb",
        "Sends a megabyte of empty maps, which would cost a second to unpack.",
        _is(b"\x03" + b"\xdd\x00\x0f\xff\x00" + b"\x80" * 0xFFF00),
    ),
    (
        "endless-list",
        "Claims a list of four billion rows in a few bytes.",
        _is(b"\x03\x92" + pack(_TAG) + b"\xdd\xff\xff\xff\xff"),
    ),
    (
        "endless-text",
        "Claims a text of two gigabytes in a few bytes.",
        _is(b"\x08\xdb\x7f\xff\xff\xff"),
    ),
    ("extension-type", "Uses an extension type of msgpack.", _is(b"\x08\xc7\x01\x01\x00")),
    (
        "rubbish-frame",
        "Sends random bytes as a frame of a random type.",
        lambda attacker: bytes((attacker.random.randint(1, 9),)) + attacker.rubbish(300),
    ),
    ("batch-without-a-run", "Sends a batch of nothing.", _is(b"\x05" + _TAG)),
    (
        "rubbish-batch",
        "Sends random bytes as a batch.",
        lambda attacker: b"\x05" + attacker.rubbish(3_000),
    ),
    (
        "goodbye-with-rubbish",
        "Says goodbye in words that are none.",
        _one_of(b"\x09\x92\x00\xa1\xff", b"\x09" + pack([0, "x" * 257]), b"\x09" + pack([256, ""])),
    ),
)
for _name, _about, _make in _FRAMES:
    MESSAGES.add(_name, "full", _frame(_make), _about)


# Greetings ----------------------------------------------------------------------------------------

_GREETINGS = (
    b"\x01" + pack([1, 2, 3]),
    b"\x01" + pack({"version": 1}),
    encode(Greeting(1, (), {"x": "y" * 5_000}, 0, _ID, _ID)),
    encode(Greeting(1, ("b", "a"), {}, 0, _ID, _ID)),
    encode(Greeting(65_536, (), {}, 0, _ID, _ID)),
    encode(Greeting(1, (), {"x": [[[[[[[[1]]]]]]]]}, 0, _ID, _ID)),
)


@MESSAGES.act("full")
async def malformed_greeting(attacker: Attacker) -> None:
    """Greets in a way that no greeting is written."""
    async with attacker.channel() as rogue:
        await rogue.send(attacker.random.choice(_GREETINGS))
        await rogue.hear_all()
