"""Peers that speak real Noise and keep no rule: strangers, and members up to their first batch.

What a member may put into a batch is in test_hostile_batches.py, into the membership log in
test_hostile_members.py. Every test claims `unharmed` (hostile_world.py).
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from covey.crypto.noise import Handshake, Pattern
from covey.node.counters import Counters
from covey.node.hello import Hello, Purpose, encode_hello
from covey.node.links import FEATURES
from covey.node.ports import Address, ConnectionLostError
from covey.node.secure_channel import PIECE_BYTES_MAX
from covey.node.system_clock import SystemClock
from covey.node.websocket import WebSocketTransport
from covey.node.websocket_link import WebSocketConnection
from covey.sync.messages import (
    Ack,
    Digests,
    Goodbye,
    Greeting,
    Have,
    Message,
    Reason,
    Root,
    VectorMessage,
    Want,
    encode,
)
from covey.sync.packing import pack
from covey.sync.session_limits import CREDIT_BYTES_MAX, IGNORED_MAX, SEQ_MAX, WANT_ROWS_MAX

from .fake_clock import FakeClock
from .hostile_world import World, alone, assert_bounded, unharmed, world
from .loopback import Device, enroll, until
from .rogue import Forger, Rogue, new_keys

HELLO = encode_hello(Hello(Purpose.MEMBER, (1,), FEATURES))


class Stranger:
    """A WebSocket to the victim, below everything that is ours."""

    def __init__(self, connection: WebSocketConnection, transport: WebSocketTransport) -> None:
        self.connection = connection
        self._transport = transport

    @classmethod
    async def connect(cls, victim: Device) -> "Stranger":
        transport = WebSocketTransport(SystemClock(), Counters())
        address = Address("127.0.0.1", victim.engine.port or 0)
        return cls(await transport.dial(address, 5_000), transport)

    async def hear_all(self) -> tuple[list[bytes], int | None]:
        """Everything the victim sends until it closes, and with which code, if any."""
        heard: list[bytes] = []
        try:
            while True:
                heard.append(await self.connection.receive())
        except ConnectionLostError as lost:
            await self._transport.close()
            return heard, lost.code


# Strangers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "counter"),
    [
        pytest.param(b"", "bad_hello", id="nothing at all"),
        pytest.param(b"\0" * 20, "bad_hello", id="zeros"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", "bad_hello", id="HTTP in a message"),
        pytest.param(HELLO[:-1], "bad_hello", id="cut short"),
        pytest.param(HELLO + b"\0", "bad_hello", id="a byte too many"),
        pytest.param(HELLO + b"x" * 300, "bad_hello", id="beyond 256 bytes"),
        pytest.param(b"CVH2" + HELLO[4:], "bad_hello", id="another magic"),
        pytest.param(HELLO[:4] + b"\x09" + HELLO[5:], "bad_hello", id="an unknown purpose"),
        pytest.param(b"CVH1\0\2\0\1\0\1\0", "bad_hello", id="versions not ascending"),
        pytest.param(b"CVH1\0\0\0", "bad_hello", id="no version"),
        pytest.param(b"CVH1\0\1\0\1\1\3a\0b", "bad_hello", id="a feature with a zero"),
        pytest.param(HELLO + b"x" * 1100, "oversize", id="more than a handshake may have"),
        pytest.param(
            encode_hello(Hello(Purpose.PAIRING, (1,))), "wrong_purpose", id="pairing, no window"
        ),
        pytest.param(encode_hello(Hello(Purpose.QR, (1,))), "wrong_purpose", id="QR, no window"),
    ],
)
async def test_a_stranger_without_a_proper_hello_gets_not_one_byte(
    tmp_path: Path, first: bytes, counter: str
) -> None:
    """Silence is what makes a port scan useless."""
    async with world(tmp_path) as there, unharmed(there):
        stranger = await Stranger.connect(there.victim)
        await stranger.connection.send(first)

        heard, code = await stranger.hear_all()

        assert (heard, code) in (([], None), ([], 1006))
        assert there.victim.counters[f"channel.refused.{counter}"] == 1


async def test_a_stranger_of_another_version_is_told_which_one_we_speak(tmp_path: Path) -> None:
    """A person with an old version has to learn what to do."""
    async with world(tmp_path) as there, unharmed(there):
        stranger = await Stranger.connect(there.victim)
        await stranger.connection.send(encode_hello(Hello(Purpose.MEMBER, (7, 8))))

        heard, code = await stranger.hear_all()

        assert (heard, code) == ([HELLO], 4000)
        assert there.victim.counters["channel.refused.no_shared_version"] == 1


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(b"", id="empty"),
        pytest.param(bytes(96), id="an ephemeral key of small order"),
        pytest.param(os.urandom(96), id="random"),
        pytest.param(os.urandom(31), id="too short for a key"),
        pytest.param(os.urandom(700), id="with a payload that does not decrypt"),
    ],
)
async def test_a_first_handshake_message_that_does_not_decrypt_is_answered_with_silence(
    tmp_path: Path, first: bytes
) -> None:
    """Who does not know our key must not learn whether we are who they look for."""
    async with world(tmp_path) as there, unharmed(there):
        stranger = await Stranger.connect(there.victim)
        await stranger.connection.send(HELLO)
        await stranger.connection.send(first)

        heard, _ = await stranger.hear_all()

        assert heard == [HELLO]
        assert there.victim.counters["channel.refused.handshake_failed"] == 1


async def shaken(there: World, keys: Any, payload: bytes = b"") -> tuple[Stranger, Handshake]:
    """A stranger after its first handshake message, which is as it should be."""
    stranger = await Stranger.connect(there.victim)
    await stranger.connection.send(HELLO)
    theirs = await stranger.connection.receive()
    size = len(HELLO).to_bytes(2, "big")
    handshake = Handshake(
        Pattern.IK,
        True,
        b"cvy-noise-v1" + size + HELLO + size + theirs,
        os.urandom,
        static=keys.dh_secret().reveal(),
        remote_static=there.victim.keys.dh_pk,
    )
    await stranger.connection.send(handshake.write(payload))
    return stranger, handshake


async def test_a_payload_in_the_handshake_is_refused(tmp_path: Path) -> None:
    """The first message can be a recording, so nothing may ride on it."""
    async with world(tmp_path) as there, unharmed(there):
        stranger, _ = await shaken(there, there.mallory, b"act on this")

        heard, _ = await stranger.hear_all()

        assert heard == []
        assert there.victim.counters["channel.refused.handshake_failed"] == 1


async def test_a_stranger_with_a_key_of_its_own_is_turned_away_with_one_code(
    tmp_path: Path,
) -> None:
    """Whoever knows our public key but is no member learns that it is none, and nothing more."""
    async with world(tmp_path) as there, unharmed(there):
        stranger, handshake = await shaken(there, new_keys())
        handshake.read(await stranger.connection.receive())
        out, _ = handshake.split()
        await stranger.connection.send(out.encrypt(b"", b"\0hello"))

        heard, code = await stranger.hear_all()

        assert (heard, code) == ([], 4001)
        assert there.victim.counters["channel.refused.unknown_device"] == 1


async def test_a_recorded_handshake_of_a_member_opens_nothing(tmp_path: Path) -> None:
    """The first message of IK can be replayed; the victim must not act on it."""
    async with world(tmp_path) as there, unharmed(there):
        links = there.victim.counters["channel.accepted"]
        stranger, _ = await shaken(there, there.mallory)  # Played back: its keys are not ours.
        answer = await stranger.connection.receive()
        await stranger.connection.send(answer)

        heard, _ = await stranger.hear_all()

        assert heard == []
        await until(lambda: there.victim.counters["channel.refused.handshake_failed"] == 1)
        assert there.victim.counters["channel.accepted"] == links


async def test_text_and_oversized_messages_end_a_connection(tmp_path: Path) -> None:
    """Neither may reach anything that parses."""
    async with world(tmp_path) as there, unharmed(there):
        url = f"http://{there.victim.address}/covey/1"
        async with aiohttp.ClientSession() as session:
            codes = []
            for message in ("CVH1", bytes(65_536), bytes(70_000)):
                async with session.ws_connect(url, compress=0, max_msg_size=0) as ws:
                    await (
                        ws.send_str(message) if isinstance(message, str) else ws.send_bytes(message)
                    )
                    await ws.receive()
                    codes.append(ws.close_code)

        assert codes == [1003, 1009, 1009]
        await until(lambda: there.victim.counters["channel.refused.closed"] == 3)


async def test_only_the_one_request_is_answered(tmp_path: Path) -> None:
    """The peer port is open to the network: it must not be a web server."""
    async with world(tmp_path) as there, unharmed(there):
        base = f"http://{there.victim.address}"
        async with aiohttp.ClientSession() as session:
            answers = []
            for method, path in (
                ("GET", "/"),
                ("GET", "/covey/2"),
                ("POST", "/covey/1"),
                ("GET", "/covey/1"),
                ("GET", "/covey/../covey/1?x"),
                ("OPTIONS", "/covey/1"),
            ):
                async with session.request(method, base + path) as answer:
                    answers.append((answer.status, await answer.read()))

        assert {status for status, _ in answers} <= {400, 404}
        assert all(b"covey" not in body.lower() for _, body in answers)


@pytest.mark.parametrize("messages", [0, 1], ids=["silent", "after its hello"])
async def test_a_stranger_that_dawdles_is_dropped_after_five_seconds(
    tmp_path: Path, messages: int
) -> None:
    """Four slow strangers from one address would otherwise keep that address out for ever."""
    clock = FakeClock()
    async with alone(tmp_path, clock) as victim:
        strangers = [await Stranger.connect(victim) for _ in range(4)]
        for stranger in strangers:
            if messages:
                await stranger.connection.send(HELLO)
                await stranger.connection.receive()
        await until(lambda: victim.counters["transport.accepted"] == 4)

        await clock.advance(5_000)
        for stranger in strangers:
            await stranger.hear_all()

        assert victim.counters["channel.refused.timeout"] == 4
        fifth = await Stranger.connect(victim)
        await fifth.connection.send(b"")
        await fifth.hear_all()
        assert victim.counters["transport.turned_away.half_open_source"] == 0


# Members: the channel -------------------------------------------------------------------------


async def test_a_frame_beyond_one_mebibyte_ends_the_channel(tmp_path: Path) -> None:
    """A receiver that gathers pieces without end is out of memory by tea time."""
    async with world(tmp_path) as there, unharmed(there):
        rogue = await there.enter()
        with suppress(ConnectionLostError):
            for _ in range(20):
                await rogue.channel._send_message(b"\1" + bytes(PIECE_BYTES_MAX))

        assert await rogue.goodbye() is None
        await until(lambda: there.victim.counters["channel.ended.oversize"] == 1)
        await rogue.close()


@pytest.mark.parametrize(
    ("plaintext", "counter"),
    [
        pytest.param(b"", "bad_frame", id="no flag"),
        pytest.param(b"\2goodbye", "bad_frame", id="an unknown flag"),
        pytest.param(b"\1", "bad_frame", id="an empty piece with more to come"),
    ],
)
async def test_a_malformed_piece_ends_the_channel(
    tmp_path: Path, plaintext: bytes, counter: str
) -> None:
    """Empty pieces are a loop that costs the sender nothing."""
    async with world(tmp_path) as there, unharmed(there):
        rogue = await there.enter()
        await rogue.channel._send_message(plaintext)

        assert await rogue.goodbye() is None
        await until(lambda: there.victim.counters[f"channel.ended.{counter}"] == 1)
        await rogue.close()


async def test_a_message_that_does_not_decrypt_ends_the_channel(tmp_path: Path) -> None:
    """After one changed byte nothing of a channel can be believed."""
    async with world(tmp_path) as there, unharmed(there):
        rogue = await there.enter()
        await rogue.channel._connection.send(os.urandom(64))

        assert await rogue.goodbye() is None
        await until(lambda: there.victim.counters["channel.ended.tampered"] == 1)
        await rogue.close()


# Members: frames ------------------------------------------------------------------------------

TAG, ID = b"t" * 16, b"i" * 32


@pytest.mark.parametrize("kind", [0x00, 0x0B, 0x21, 0x2F, 0x7F, 0xFF])
async def test_an_unknown_frame_ends_the_session(tmp_path: Path, kind: int) -> None:
    """What is not understood cannot be judged, so it cannot be let pass."""
    async with world(tmp_path) as there, unharmed(there):
        rogue = await there.enter()
        await rogue.send(bytes((kind,)) + pack([]))

        assert f"0x{kind:02x}" in await there.ended(rogue, Reason.MALFORMED)


MALFORMED = {
    "an empty frame": b"",
    "digests of no level": b"\x02" + pack([2, b"", []]),
    "digests of level true": b"\x02" + pack([True, b"", []]),
    "digests with a node at the root": b"\x02" + pack([0, TAG, []]),
    "digests out of order": b"\x02" + pack([0, b"", [[b"b" * 16, ID], [b"a" * 16, ID]]]),
    "digests twice": b"\x02" + pack([0, b"", [[TAG, ID], [TAG, ID]]]),
    "a thousand and more digests": b"\x02"
    + pack([0, b"", [[n.to_bytes(16, "big"), ID] for n in range(1025)]]),
    "a vector of a short scope": b"\x03" + pack([b"short", []]),
    "a vector with seq 0": b"\x03" + pack([TAG, [[TAG, ID, 0, ID]]]),
    "a vector with a negative seq": b"\x03" + pack([TAG, [[TAG, ID, -1, ID]]]),
    "a vector with seq 2^63": b"\x03" + pack([TAG, [[TAG, ID, 2**63, ID]]]),
    "a vector that names a log twice": b"\x03" + pack([TAG, [[TAG, ID, 1, ID]] * 2]),
    "a vector with a row of three": b"\x03" + pack([TAG, [[TAG, ID, 1]]]),
    "a want of nothing": b"\x04" + pack([TAG, []]),
    "a want that ends before it begins": b"\x04" + pack([TAG, [[TAG, 5, 4]]]),
    "wants that overlap": b"\x04" + pack([TAG, [[TAG, 1, 5], [TAG, 5, 6]]]),
    "a want beyond 512 ranges": b"\x04" + pack([TAG, [[TAG, n, n] for n in range(1, 1026, 2)]]),
    "a batch without a run": b"\x05" + TAG,
    "a batch that is cut": b"\x05" + TAG + bytes(90),
    "a batch of rubbish": b"\x05" + os.urandom(3_000),
    "an ack with a float": b"\x06" + pack([TAG, [], 1.5]),
    "an ack with credit 2^32": b"\x06" + pack([TAG, [], 2**32]),
    "an ack with negative credit": b"\x06" + pack([TAG, [], -1]),
    "a have that is a map": b"\x07" + pack({"scope": TAG}),
    "a have with a field too many": b"\x07" + pack([TAG, TAG, ID, 1, ID, None]),
    "a root of short digests": b"\x08" + pack([b"", b""]),
    "a root in the long form": b"\x08\xdc\x00\x02" + pack(ID) + pack(ID),
    "a root with bytes behind it": b"\x08" + pack([ID, ID]) + b"\xc0",
    "a goodbye with a number for a text": b"\x09" + pack([0, 0]),
    "a goodbye that goes on and on": b"\x09" + pack([0, "x" * 257]),
    "a goodbye that is not UTF-8": b"\x09\x92\x00\xa1\xff",
    "a nest": b"\x08" + b"\x91" * 60_000,
    "a megabyte of empty maps": b"\x03" + b"\xdd\x00\x0f\xff\x00" + b"\x80" * 0xFFF00,
    "an array that claims four billion rows": b"\x03\x92" + pack(TAG) + b"\xdd\xff\xff\xff\xff",
    "a string that claims two gigabytes": b"\x08\xdb\x7f\xff\xff\xff",
    "an extension type": b"\x08\xc7\x01\x01\x00",
    "a vector of a hundred thousand logs": b"\x03\x92"
    + pack(TAG)
    + b"\xdd\x00\x01\x86\xa0"
    + b"".join(pack([n.to_bytes(16, "big"), b"", 1, b""]) for n in range(38_000)),
}


@pytest.mark.parametrize("frame", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_message_ends_the_session_and_says_so(
    tmp_path: Path, frame: bytes
) -> None:
    """There is one spelling of everything; a second one is a way around some check."""
    async with world(tmp_path) as there, unharmed(there):
        rogue = await there.enter()
        await rogue.send(frame)

        await there.ended(rogue, Reason.MALFORMED)


GREETINGS = {
    "no map": b"\x01" + pack([1, 2, 3]),
    "a field too few": b"\x01" + pack({"version": 1}),
    "a state of 5 KB": encode(Greeting(1, (), {"x": "y" * 5_000}, 0, ID, ID)),
    "features out of order": encode(Greeting(1, ("b", "a"), {}, 0, ID, ID)),
    "version 65536": encode(Greeting(65_536, (), {}, 0, ID, ID)),
    "a deep state": encode(Greeting(1, (), {"x": [[[[[[[[1]]]]]]]]}, 0, ID, ID)),
}


@pytest.mark.parametrize("frame", GREETINGS.values(), ids=GREETINGS.keys())
async def test_a_malformed_greeting_ends_the_session(tmp_path: Path, frame: bytes) -> None:
    """The first thing a member says is still the word of a machine that may be broken."""
    async with world(tmp_path) as there, unharmed(there):
        rogue = await Rogue.connect(there.victim, there.mallory)
        await rogue.send(frame)

        await there.ended(rogue, Reason.MALFORMED)


@pytest.mark.parametrize(
    "state",
    [
        {"instance": b"x" * 16, "port": -1},
        {"instance": b"x" * 16, "port": 2**40},
        {"instance": b"x" * 16, "port": True},
        {"instance": "no bytes", "port": "no number"},
        {"instance": None, "port": None, "surprise": {"a": [1, 2, 3]}},
    ],
)
async def test_a_strange_device_state_is_no_reason_to_stumble(
    tmp_path: Path, state: dict[str, Any]
) -> None:
    """It is for show and comes from the peer: every type and value will be sent one day."""
    async with world(tmp_path) as there, unharmed(there):
        rogue = await there.enter(device_state=state)

        await rogue.leave()


# Members: the order of things -----------------------------------------------------------------


def early(there: World) -> dict[str, Message]:
    scope = Forger.of_data(there.victim, there.mallory).scope
    return {
        "digests": Digests(0, b"", ()),
        "vector": VectorMessage(scope, ()),
        "want": Want(scope, ((TAG, 1, 1),)),
        "ack": Ack(scope, (), 0),
        "have": Have(scope, TAG, ID, 1, ID),
    }


ABOUT_DATA = ("digests", "vector", "want", "ack", "have")


@pytest.mark.parametrize("name", [*ABOUT_DATA, "root", "control vector"])
async def test_nothing_may_come_before_the_greeting(tmp_path: Path, name: str) -> None:
    """Before the greeting nobody knows what the other side is allowed to hear."""
    async with world(tmp_path) as there, unharmed(there):
        messages = early(there)
        messages["root"] = Root(ID, ID)
        messages["control vector"] = VectorMessage(bytes(16), ())
        rogue = await Rogue.connect(there.victim, there.mallory)
        await rogue.say(messages[name])

        await there.ended(rogue, Reason.OUT_OF_ORDER)


async def test_a_second_greeting_is_out_of_order(tmp_path: Path) -> None:
    """It would set credit and digests anew in the middle of things."""
    async with world(tmp_path) as there, unharmed(there):
        rogue = await there.enter()
        await rogue.say(Greeting(1, (), {}, 0, ID, ID))

        await there.ended(rogue, Reason.OUT_OF_ORDER)


async def test_another_protocol_version_in_the_greeting_ends_the_session(tmp_path: Path) -> None:
    """The hello agreed on one; two words about it are one lie."""
    async with world(tmp_path) as there, unharmed(there):
        rogue = await Rogue.connect(there.victim, there.mallory)
        await rogue.say(Greeting(2, (), {}, 0, ID, ID))

        await there.ended(rogue, Reason.NO_SHARED_VERSION)


@pytest.mark.parametrize("name", [*ABOUT_DATA, "batch"])
async def test_no_word_about_data_before_the_membership_is_settled(
    tmp_path: Path, name: str
) -> None:
    """A device that was removed could otherwise hear one more thing."""
    async with world(tmp_path) as there, unharmed(there):
        rogue = await there.enter(control=os.urandom(32))
        if name == "batch":
            forger = Forger.of_data(there.victim, there.mallory)
            forger.record("early", {"x": 1})
            await rogue.send(forger.frame())
        else:
            await rogue.say(early(there)[name])

        await there.ended(rogue, Reason.MEMBERSHIP_FIRST)


async def test_a_peer_that_never_greets_is_dropped(tmp_path: Path) -> None:
    """A session that waits for ever is a session that somebody else cannot have."""
    clock = FakeClock()
    async with alone(tmp_path, clock) as victim:
        keys = new_keys()
        await enroll(victim, keys, "mallory")
        rogue = await Rogue.connect(victim, keys)
        await rogue.channel._send_message(b"\1the first piece of a greeting")
        await until(lambda: victim.engine.switchboard.links)

        await clock.advance(10_000)

        goodbye = await rogue.goodbye()
        assert goodbye is not None and goodbye.reason is Reason.TOO_SLOW
        await rogue.close()


# Members: lies about what is held -------------------------------------------------------------


async def test_more_than_the_credit_ends_the_session(tmp_path: Path) -> None:
    """The store may be slow: what waits for it must have an end."""
    async with world(tmp_path) as there, unharmed(there):
        rogue = await there.enter()
        forger = Forger.of_data(there.victim, there.mallory)
        frames = []
        for number in range(6):
            entry = forger.record(f"large-{number}", {"text": "x" * 900_000}, heads=())
            frames.append(forger.frame(entry))
        # While nobody may write, nothing is stored and no credit comes back.
        async with there.victim.engine.turns.alone():
            there.victim.engine.ingest._headings = lambda scope, run: ([], [])  # type: ignore[method-assign]
            there.victim.engine.switchboard.prepare_batch = waits_for(there)  # type: ignore[method-assign]
            for frame in frames:
                with suppress(ConnectionLostError):
                    await rogue.send(frame)
            text = await there.ended(rogue, Reason.CREDIT_EXCEEDED)
            assert_bounded(there.victim)
        del there.victim.engine.ingest._headings
        del there.victim.engine.switchboard.prepare_batch

        assert "were allowed" in text


def waits_for(there: World) -> Callable[..., Any]:
    async def prepare_batch(*_: object) -> None:
        async with there.victim.engine.turns.alone():
            raise AssertionError("the session had ended before its batches were looked at")

    return prepare_batch


async def test_a_vector_full_of_logs_that_do_not_exist_keeps_nobody_busy(tmp_path: Path) -> None:
    """It is the cheapest lie there is: two hundred bytes a log, and all of it is to be fetched."""
    async with world(tmp_path) as there, unharmed(there):
        rogue = await there.enter()
        scope = Forger.of_data(there.victim, there.mallory).scope
        rows = sorted((os.urandom(16), ID, SEQ_MAX, ID) for _ in range(8_192))
        for _ in range(3):
            await rogue.say(VectorMessage(scope, tuple(rows)))

        want = await rogue.hear_kind(Want)

        assert len(want.ranges) <= WANT_ROWS_MAX
        assert sum(last - first + 1 for _, first, last in want.ranges) <= 16_384
        assert_bounded(there.victim)
        await rogue.leave()


async def test_wants_of_what_we_do_not_have_are_ignored_up_to_a_point(tmp_path: Path) -> None:
    """Honest peers may be wrong about us; ten thousand times they are not."""
    async with world(tmp_path) as there, unharmed(there):
        rogue = await there.enter()
        scope = Forger.of_data(there.victim, there.mallory).scope
        rows = tuple(sorted((os.urandom(16), 1, SEQ_MAX) for _ in range(WANT_ROWS_MAX)))
        for _ in range(IGNORED_MAX // WANT_ROWS_MAX + 1):
            await rogue.say(Want(scope, rows))

        await there.ended(rogue, Reason.TOO_MUCH)


async def test_what_is_for_this_device_alone_is_not_given_to_a_member_who_asks(
    tmp_path: Path,
) -> None:
    """Every member can compute the tag of a device scope; none may hear of it."""
    async with world(tmp_path) as there:
        await there.victim.facts.put({"text": "mine alone"}, id="diary", privacy="device")
        scope = there.victim.engine.ledger.scope_named("memory", 0)
        assert scope is not None
        async with unharmed(there):
            rogue = await there.enter()
            instance = there.victim.engine.instance
            await rogue.say(
                Want(scope.tag, ((instance, 1, 1),)),
                VectorMessage(scope.tag, ((instance, there.victim.keys.sig_pk, 9, ID),)),
                Digests(1, there.victim.engine.ledger.holdings.database(scope.tag), ()),
                Goodbye(Reason.DONE, ""),
            )

            heard = await rogue.hear_all()

            assert all(getattr(message, "scope", b"") != scope.tag for message in heard)
            assert scope.tag not in b"".join(encode(message) for message in heard)
            await rogue.close()


async def test_a_queue_of_wants_without_credit_has_an_end(tmp_path: Path) -> None:
    """A peer that asks and never lets us answer must not make us remember for ever."""
    async with world(tmp_path) as there, unharmed(there):
        rogue = await there.enter(credit=0)
        forger = Forger.of_data(there.victim, there.mallory)
        instance = there.victim.engine.instance
        head = there.victim.engine.ledger.holdings.head(forger.scope, instance)
        assert head is not None
        for _ in range(4_096 // head.seq + 2):
            rows = tuple((instance, seq, seq) for seq in range(1, head.seq + 1))
            await rogue.say(Want(forger.scope, rows))

        await there.ended(rogue, Reason.TOO_MUCH)


async def test_an_ack_of_what_was_never_sent_gives_no_endless_credit(tmp_path: Path) -> None:
    """Credit is a promise to read; nobody can read four gigabytes ahead."""
    async with world(tmp_path) as there, unharmed(there):
        rogue = await there.enter()
        forger = Forger.of_data(there.victim, there.mallory)
        instance = there.victim.engine.instance
        for _ in range(50):
            await rogue.say(Ack(forger.scope, ((instance, SEQ_MAX),), 2**32 - 1))
            await rogue.say(Ack(b"?" * 16, ((TAG, SEQ_MAX),), 2**32 - 1))
        forger.record("after", {"x": 1})
        await rogue.send(forger.frame())  # Answered when all before it was worked off.
        await rogue.hear_kind(Ack)

        (link,) = there.victim.engine.switchboard.links_to(there.mallory.sig_pk)
        assert link.state.sending.credit <= CREDIT_BYTES_MAX
        await rogue.leave()
        await there.victim.facts.delete("after")


async def test_digests_that_lie_for_ever_cost_a_few_frames(tmp_path: Path) -> None:
    """A peer whose digests never match must not be able to keep us comparing."""
    async with world(tmp_path) as there, unharmed(there):
        rogue = await there.enter()
        control = there.victim.heads()[0]
        before = rogue.channel.bytes_received
        for number in range(400):
            await rogue.say(Root(control, number.to_bytes(32, "big")))
            await rogue.say(Digests(0, b"", ((number.to_bytes(16, "big"), ID),)))
        await rogue.say(Goodbye(Reason.DONE, ""))

        heard = await rogue.hear_all()

        assert len(heard) < 40
        assert rogue.channel.bytes_received - before < 100_000
        await rogue.close()


async def test_control_digests_that_change_for_ever_are_not_remembered_for_ever(
    tmp_path: Path,
) -> None:
    """What both sides told is kept until it matches; someone may see to it that it never does."""
    async with world(tmp_path) as there, unharmed(there):
        rogue = await there.enter(control=os.urandom(32))
        for _ in range(1_000):
            await rogue.say(Root(os.urandom(32), ID))
        await rogue.say(VectorMessage(bytes(16), ()))
        (link,) = there.victim.engine.switchboard.links_to(there.mallory.sig_pk)

        assert len(link.state.telling.controls_heard) <= 256
        await rogue.leave()


async def test_a_peer_that_wants_everything_and_reads_nothing_is_given_two_batches(
    tmp_path: Path,
) -> None:
    """What waits for a slow reader is held in memory, whatever credit it gives."""
    async with world(tmp_path) as there:
        for number in range(40):
            await there.victim.facts.put({"text": "x" * 900_000}, id=f"large-{number}")
        async with unharmed(there):
            rogue = await there.enter(credit=CREDIT_BYTES_MAX)
            forger = Forger.of_data(there.victim, there.mallory)
            instance = there.victim.engine.instance
            head = there.victim.engine.ledger.holdings.head(forger.scope, instance)
            assert head is not None
            (link,) = there.victim.engine.switchboard.links_to(there.mallory.sig_pk)

            await rogue.say(Want(forger.scope, ((instance, 1, head.seq),)))
            await until(
                lambda: (
                    (sending := link.state.sending).unacked > 0
                    and sending.reading is None
                    and bool(sending.queue)
                )
            )

            assert link.state.sending.unacked <= 2 * 1024 * 1024
            await rogue.close()


async def test_a_peer_that_reads_nothing_of_what_is_pushed_is_dropped(tmp_path: Path) -> None:
    """Pushes go as far as the credit, so a bound of memory has to end this."""
    async with world(tmp_path) as there:
        await there.victim.facts.put({"text": "small"}, id="small")
        written: dict[str, dict[str, Any]] = {}
        async with unharmed(there, more=written):
            rogue = await there.enter(credit=CREDIT_BYTES_MAX)
            forger = Forger.of_data(there.victim, there.mallory)
            instance = there.victim.engine.instance
            head = there.victim.engine.ledger.holdings.head(forger.scope, instance)
            assert head is not None
            worst = 0

            def dropped() -> bool:
                nonlocal worst
                links = there.victim.engine.switchboard.links_to(there.mallory.sig_pk)
                worst = max([worst, *(link.outgoing_bytes for link in links)])
                return there.victim.counters["link.ended.too_slow"] == 1

            heads = ((instance, *head),)
            await rogue.say(VectorMessage(forger.scope, heads))
            (link,) = there.victim.engine.switchboard.links_to(there.mallory.sig_pk)
            await until(lambda: forger.scope in link.state.knowledge.complete)
            # More than the buffers of any system hold: nothing but the bound can end this.
            for number in range(40):
                written[f"large-{number}"] = {"text": "x" * 900_000}
                await there.victim.facts.put(written[f"large-{number}"], id=f"large-{number}")
                if dropped():
                    break
            await until(dropped)

            assert worst <= 10 * 1024 * 1024
            await rogue.close()


async def test_a_member_cannot_take_all_the_room_there_is(tmp_path: Path) -> None:
    """Sessions are cheap for whoever opens them and dear for whoever keeps them."""
    async with world(tmp_path) as there, unharmed(there):
        rogues = []
        for _ in range(14):
            rogue = await there.enter(device_state={"instance": os.urandom(16)})
            rogues.append(rogue)

        await until(lambda: len(there.victim.engine.switchboard.links) <= 9)

        for rogue in rogues:
            await rogue.close()
