"""The channel: who gets one, who gets silence, and what ends it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from nacl.bindings import crypto_scalarmult_base

from covey.crypto.noise import Handshake, Pattern
from covey.crypto.secret import Secret
from covey.node.channel import (
    ABORT,
    VERSIONS,
    ChannelClosed,
    ChannelKeys,
    ChannelRefused,
    End,
    Purpose,
    Refusal,
    SecureChannel,
    accept_channel,
    open_channel,
)
from covey.node.counters import Counters
from covey.node.hello import Hello, encode_hello
from covey.node.secure_channel import FRAME_BYTES_MAX, MESSAGES_MAX, PIECE_BYTES_MAX, RENEWAL_MS

from .fake_clock import FakeClock, SeededEntropy, settle
from .memory_connection import MemoryConnection, joined

OUR_KEY = bytes([1]) * 32
THEIR_KEY = bytes([2]) * 32
PSK = bytes([3]) * 32
HOUR_MS = 3_600_000


@dataclass
class Pair:
    """Both ends of a link, with what each side brings."""

    clock: FakeClock = field(default_factory=FakeClock)
    entropy: SeededEntropy = field(default_factory=SeededEntropy)
    ours: MemoryConnection = field(init=False)
    theirs: MemoryConnection = field(init=False)
    our_counters: Counters = field(default_factory=Counters)
    their_counters: Counters = field(default_factory=Counters)
    known: set[bytes] = field(default_factory=lambda: {public(OUR_KEY)})
    offers: dict[Purpose, ChannelKeys] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ours, self.theirs = joined()
        self.offers = {
            Purpose.MEMBER: ChannelKeys(Secret(THEIR_KEY)),
            Purpose.PAIRING: ChannelKeys(Secret(THEIR_KEY)),
            Purpose.QR: ChannelKeys(Secret(THEIR_KEY), Secret(PSK)),
        }

    async def open(
        self,
        purpose: Purpose = Purpose.MEMBER,
        *,
        expect: bytes = THEIR_KEY,
        psk: bytes = PSK,
        versions: tuple[int, ...] = VERSIONS,
        features: tuple[str, ...] = (),
    ) -> SecureChannel:
        keys = ChannelKeys(Secret(OUR_KEY), Secret(psk) if purpose is Purpose.QR else None)
        return await open_channel(
            self.ours,
            purpose,
            keys,
            None if purpose is Purpose.PAIRING else public(expect),
            clock=self.clock,
            entropy=self.entropy,
            counters=self.our_counters,
            versions=versions,
            features=features,
        )

    async def accept(
        self, features: tuple[str, ...] = (), versions: tuple[int, ...] = VERSIONS
    ) -> SecureChannel:
        return await accept_channel(
            self.theirs,
            self.offers,
            self.known.__contains__,
            clock=self.clock,
            entropy=self.entropy,
            counters=self.their_counters,
            versions=versions,
            features=features,
        )

    async def both(
        self, purpose: Purpose = Purpose.MEMBER, first: bytes = b"greeting"
    ) -> tuple[SecureChannel, SecureChannel]:
        """Open both ends; the initiator says `first`, which the responder has then received."""
        accepting = asyncio.ensure_future(self.accept())
        ours = await self.open(purpose)
        await ours.send(first)
        theirs = await accepting
        assert await theirs.receive() == first
        return ours, theirs


def public(private: bytes) -> bytes:
    key: bytes = crypto_scalarmult_base(private)
    return key


def hello(purpose: Purpose = Purpose.MEMBER, versions: tuple[int, ...] = (1,)) -> bytes:
    data: bytes = encode_hello(Hello(purpose, versions))
    return data


@pytest.fixture(autouse=True)
async def no_task_left() -> AsyncIterator[None]:
    """Whatever a test does, no task of a channel may outlive it."""
    before = asyncio.all_tasks()
    yield
    await settle()
    assert asyncio.all_tasks() <= before | {asyncio.current_task()}


async def refusal_of(work: Awaitable[SecureChannel]) -> Refusal:
    with pytest.raises(ChannelRefused) as refused:
        await work
    return refused.value.reason


@pytest.mark.parametrize("purpose", Purpose)
async def test_both_sides_get_a_channel_for_every_purpose(purpose: Purpose) -> None:
    """Members, codes and QR pictures all begin here."""
    pair = Pair()

    ours, theirs = await pair.both(purpose)
    await theirs.send(b"answer")

    assert await ours.receive() == b"answer"
    assert ours.handshake_hash == theirs.handshake_hash
    assert (ours.remote_static, theirs.remote_static) == (public(THEIR_KEY), public(OUR_KEY))
    assert (ours.initiator, theirs.initiator) == (True, False)
    assert ours.purpose is theirs.purpose is purpose


async def test_bytes_are_counted_as_they_crossed_the_wire() -> None:
    """People on metered links are shown these numbers."""
    pair = Pair()

    ours, theirs = await pair.both()

    assert ours.bytes_sent == theirs.bytes_received == sum(map(len, pair.ours.sent))
    assert theirs.bytes_sent == ours.bytes_received == sum(map(len, pair.theirs.sent))


async def test_only_features_of_both_sides_are_used() -> None:
    """An older node must never be sent what it cannot read."""
    pair = Pair()
    accepting = asyncio.ensure_future(pair.accept(features=("new", "old")))
    ours = await pair.open(features=("odd", "old"))
    await ours.send(b"")
    theirs = await accepting

    assert ours.features == theirs.features == ("old",)


@pytest.mark.parametrize(
    ("our_versions", "their_versions", "agreed"),
    [((1,), (1,), 1), ((1, 2), (1,), 1), ((1,), (1, 2), 1), ((1, 2), (1, 2, 3), 2)],
)
async def test_both_sides_speak_the_highest_version_that_both_offer(
    our_versions: tuple[int, ...], their_versions: tuple[int, ...], agreed: int
) -> None:
    """Devices of one mesh are never updated all at once."""
    pair = Pair()
    accepting = asyncio.ensure_future(pair.accept(versions=their_versions))
    ours = await pair.open(versions=our_versions)
    await ours.send(b"")
    theirs = await accepting

    assert (ours.version, theirs.version) == (agreed, agreed)


async def test_versions_that_share_nothing_lead_to_no_channel_on_either_side() -> None:
    """A node that offers only what is new must not fall back to what is old."""
    pair = Pair()
    accepting = asyncio.ensure_future(refusal_of(pair.accept(versions=(1,))))

    assert await refusal_of(pair.open(versions=(2, 3))) is Refusal.NO_SHARED_VERSION
    assert await accepting is Refusal.NO_SHARED_VERSION


async def test_a_member_is_admitted_only_after_its_first_message() -> None:
    """Handshake message 1 can be a recording: nothing may be done for it."""
    pair = Pair()
    accepting = asyncio.ensure_future(pair.accept())
    ours = await pair.open()
    await settle()
    early = (accepting.done(), pair.theirs.admitted)
    await ours.send(b"greeting")
    await accepting

    assert early == (False, False)
    assert pair.theirs.admitted


async def test_pairing_is_admitted_by_nobody_but_the_pairing() -> None:
    """XX proves no identity at all: a stranger must stay under the limits for strangers."""
    pair = Pair()
    await pair.both(Purpose.PAIRING)

    assert not pair.theirs.admitted


async def test_a_key_that_is_not_a_member_is_closed_with_4001() -> None:
    """Unknown and revoked devices must see the same thing."""
    pair = Pair(known=set())
    accepting = asyncio.ensure_future(pair.accept())
    ours = await pair.open()
    await ours.send(b"greeting")

    assert await refusal_of(accepting) is Refusal.UNKNOWN_DEVICE
    assert pair.theirs.closed_with == 4001
    with pytest.raises(ChannelClosed) as closed:
        await ours.receive()
    assert closed.value.code == 4001


GARBAGE = [
    b"",
    b"\0",
    b"GET / HTTP/1.1\r\n\r\n",
    hello()[:-1],
    hello() + b"\0",
    b"CVH2" + hello()[4:],
    b"CVH1\x09" + hello()[5:],
    b"CVH1\0\0\0",
    b"CVH1\0\x02\0\x02\0\x01\0",
    b"CVH1\0\x02\0\x01\0\x01\0",
    b"CVH1\0\x01\0\x01\x02\x01b\x01a",
    b"CVH1\0\x01\0\x01\x01\x00",
    b"CVH1\0\x01\0\x01\x01\x01 ",
    b"CVH1\0\x01\0\x01\x01\x02\xc3\xa4",
    b"CVH1\0\x01\0\x01\x01\x05abc",
    b"CVH1\0\x7f\0\x01",
    bytes(256),
    bytes(257),
    hello() + bytes(250),
]


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_the_responder_says_nothing_to_what_is_no_hello(garbage: bytes) -> None:
    """A port scanner must not learn that a node of ours listens, nor which version."""
    pair = Pair()
    await pair.ours.send(garbage)

    assert await refusal_of(pair.accept()) is Refusal.BAD_HELLO
    assert (pair.theirs.sent, pair.theirs.closed_with) == ([], ABORT)
    assert pair.their_counters["channel.refused.bad_hello"] == 1


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_the_initiator_gives_up_on_what_is_no_hello(garbage: bytes) -> None:
    """Whatever else listens on a remembered address must not confuse us."""
    pair = Pair()
    await pair.theirs.send(garbage)

    assert await refusal_of(pair.open()) is Refusal.BAD_HELLO
    assert pair.ours.sent == [hello()]
    assert pair.ours.closed_with == ABORT


async def test_more_than_a_handshake_may_have_is_refused_before_it_is_looked_at() -> None:
    """Strangers cost us a kibibyte, not what they choose."""
    pair = Pair()
    await pair.ours.send(bytes(1025))

    assert await refusal_of(pair.accept()) is Refusal.OVERSIZE
    assert pair.theirs.sent == []


async def test_a_hello_and_a_message_together_stay_within_the_limit() -> None:
    """The kibibyte is for all of the handshake, or it would be one each."""
    pair = Pair()
    await pair.ours.send(hello())
    await pair.ours.send(bytes(1020))

    assert await refusal_of(pair.accept()) is Refusal.OVERSIZE


async def test_no_shared_version_is_answered_with_a_hello_and_4000() -> None:
    """A silent close would make an old node try for ever; this one can tell its owner to update."""
    pair = Pair()
    await pair.ours.send(hello(versions=(2, 7)))

    assert await refusal_of(pair.accept()) is Refusal.NO_SHARED_VERSION
    assert (pair.theirs.sent, pair.theirs.closed_with) == ([hello()], 4000)


async def test_the_initiator_says_that_versions_do_not_fit() -> None:
    """The person must be told to update, not that the network is down."""
    pair = Pair()
    await pair.theirs.send(hello(versions=(9,)))

    assert await refusal_of(pair.open()) is Refusal.NO_SHARED_VERSION


async def test_a_close_with_4000_reads_as_no_shared_version() -> None:
    """The close can overtake the hello when the link breaks in between."""
    pair = Pair()
    await pair.theirs.close(4000)

    assert await refusal_of(pair.open()) is Refusal.NO_SHARED_VERSION


async def test_a_purpose_that_is_not_offered_is_met_with_silence() -> None:
    """No pairing window is open: nobody can find out by asking whether there ever is one."""
    pair = Pair()
    del pair.offers[Purpose.PAIRING]
    await pair.ours.send(hello(Purpose.PAIRING))

    assert await refusal_of(pair.accept()) is Refusal.WRONG_PURPOSE
    assert (pair.theirs.sent, pair.theirs.closed_with) == ([], ABORT)


async def test_a_responder_that_changes_the_purpose_is_refused() -> None:
    """A member's key must not be used in a handshake that was meant for pairing."""
    pair = Pair()
    await pair.theirs.send(hello(Purpose.QR))

    assert await refusal_of(pair.open()) is Refusal.WRONG_PURPOSE


async def test_a_stranger_with_the_wrong_key_of_ours_gets_the_hello_and_then_silence() -> None:
    """Who does not know the responder's key learns nothing about it."""
    pair = Pair()
    accepting = asyncio.ensure_future(pair.accept())

    assert await refusal_of(pair.open(expect=b"\x09" * 32)) is Refusal.CLOSED
    assert await refusal_of(accepting) is Refusal.HANDSHAKE_FAILED
    assert (pair.theirs.sent, pair.theirs.closed_with) == ([hello()], ABORT)


async def test_a_wrong_secret_of_the_picture_fails_at_the_initiator() -> None:
    """IKpsk2 mixes the secret in last: the responder must not take its own answer for success."""
    pair = Pair()
    accepting = asyncio.ensure_future(pair.accept())

    assert await refusal_of(pair.open(Purpose.QR, psk=b"\x09" * 32)) is Refusal.HANDSHAKE_FAILED
    assert await refusal_of(accepting) is Refusal.CLOSED
    assert pair.ours.closed_with == ABORT


def flip_bit(message: bytes) -> bytes:
    return message[:-1] + bytes([message[-1] ^ 1])


def cut_short(message: bytes) -> bytes:
    return message[:-1]


def lengthen(message: bytes) -> bytes:
    return message + b"\0"


def other_version(message: bytes) -> bytes:
    return hello(versions=(1, 2)) if message.startswith(b"CVH1") else message


SPOILS = [flip_bit, cut_short, lengthen, lambda _: b"", lambda _: bytes(96)]


def spoil_nth(n: int, spoil: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    seen = 0

    def on_the_way(message: bytes) -> bytes:
        nonlocal seen
        seen += 1
        return spoil(message) if seen == n else message

    return on_the_way


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("purpose", [Purpose.MEMBER, Purpose.QR])
async def test_a_spoilt_first_message_gets_no_byte(
    purpose: Purpose, spoil: Callable[[bytes], bytes]
) -> None:
    """Garbage after the hello must not make the responder answer or remember anything."""
    pair = Pair()
    pair.ours.on_the_way = spoil_nth(2, spoil)
    accepting = asyncio.ensure_future(pair.accept())

    assert await refusal_of(pair.open(purpose)) is Refusal.CLOSED
    assert await refusal_of(accepting) is Refusal.HANDSHAKE_FAILED
    assert (len(pair.theirs.sent), pair.theirs.closed_with) == (1, ABORT)
    assert pair.their_counters["channel.refused.handshake_failed"] == 1


@pytest.mark.parametrize("spoil", SPOILS)
async def test_a_spoilt_first_message_of_pairing_leads_nowhere(
    spoil: Callable[[bytes], bytes],
) -> None:
    """It is a bare key, so a change may show only at the second message, but there it must."""
    pair = Pair()
    pair.ours.on_the_way = spoil_nth(2, spoil)
    accepting = asyncio.ensure_future(pair.accept())

    refusals = {await refusal_of(pair.open(Purpose.PAIRING)), await refusal_of(accepting)}

    assert refusals == {Refusal.HANDSHAKE_FAILED, Refusal.CLOSED}


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("purpose", Purpose)
async def test_a_spoilt_second_message_ends_both_sides(
    purpose: Purpose, spoil: Callable[[bytes], bytes]
) -> None:
    """An answer that was changed must not look like a channel to either side."""
    pair = Pair()
    pair.theirs.on_the_way = spoil_nth(2, spoil)
    accepting = asyncio.ensure_future(pair.accept())

    assert await refusal_of(pair.open(purpose)) is Refusal.HANDSHAKE_FAILED
    assert await refusal_of(accepting) is Refusal.CLOSED
    assert (len(pair.ours.sent), pair.ours.closed_with) == (2, ABORT)


@pytest.mark.parametrize("spoil", SPOILS)
async def test_a_spoilt_third_message_of_pairing_gets_no_channel(
    spoil: Callable[[bytes], bytes],
) -> None:
    """Only then would the responder have shown its code exchange."""
    pair = Pair()
    pair.ours.on_the_way = spoil_nth(3, spoil)
    accepting = asyncio.ensure_future(pair.accept())
    ours = await pair.open(Purpose.PAIRING)

    assert await refusal_of(accepting) is Refusal.HANDSHAKE_FAILED
    assert pair.theirs.closed_with == ABORT
    await ours.close()


@pytest.mark.parametrize("spoil", SPOILS)
async def test_a_spoilt_first_transport_message_gets_no_channel(
    spoil: Callable[[bytes], bytes],
) -> None:
    """A replayed handshake ends here: the replayer cannot make this message."""
    pair = Pair()
    pair.ours.on_the_way = spoil_nth(3, spoil)
    accepting = asyncio.ensure_future(pair.accept())
    ours = await pair.open()
    await ours.send(b"greeting")

    assert await refusal_of(accepting) is Refusal.HANDSHAKE_FAILED
    assert (len(pair.theirs.sent), pair.theirs.closed_with) == (2, ABORT)
    assert not pair.theirs.admitted
    await ours.close()


async def test_a_recorded_handshake_played_again_gets_no_channel() -> None:
    """Someone who watched a member connect must not become that member."""
    recorded = Pair()
    await recorded.both()
    pair = Pair(entropy=SeededEntropy(1))
    for message in recorded.ours.sent:
        await pair.ours.send(message)

    assert await refusal_of(pair.accept()) is Refusal.HANDSHAKE_FAILED


@pytest.mark.parametrize("end", ["ours", "theirs"])
async def test_a_hello_changed_on_its_way_fails_the_handshake(end: str) -> None:
    """Nobody in between may talk two nodes down to an older version or fewer features."""
    pair = Pair()
    getattr(pair, end).on_the_way = other_version
    accepting = asyncio.ensure_future(pair.accept())

    assert await refusal_of(pair.open()) is Refusal.CLOSED
    assert await refusal_of(accepting) is Refusal.HANDSHAKE_FAILED


async def test_a_handshake_with_a_payload_is_refused() -> None:
    """Payloads before the proof of identity are a place to hide things."""
    pair = Pair()
    accepting = asyncio.ensure_future(pair.accept())
    await pair.ours.send(hello())
    their_hello = await pair.ours.receive()
    prologue = b"cvy-noise-v1" + b"".join(
        len(each).to_bytes(2, "big") + each for each in (hello(), their_hello)
    )
    handshake = Handshake(
        Pattern.IK,
        True,
        prologue,
        pair.entropy.draw,
        static=OUR_KEY,
        remote_static=public(THEIR_KEY),
    )
    await pair.ours.send(handshake.write(b"early data"))

    assert await refusal_of(accepting) is Refusal.HANDSHAKE_FAILED


@pytest.mark.parametrize("said", [0, 1, 2])
async def test_a_silent_initiator_is_dropped_after_five_seconds(said: int) -> None:
    """Half-open connections are few; nobody may sit on one."""
    pair = Pair()
    accepting = asyncio.ensure_future(pair.accept())
    if said == 1:
        await pair.ours.send(hello())
    if said == 2:
        await pair.open()  # and then no first message
    await pair.clock.advance(4_999)
    in_time = accepting.done()
    await pair.clock.advance(1)

    assert not in_time
    assert await refusal_of(accepting) is Refusal.TIMEOUT
    assert pair.theirs.closed_with == ABORT


async def test_a_silent_responder_is_given_up_after_five_seconds() -> None:
    """An address that swallows connections must not hold up the other addresses."""
    pair = Pair()
    opening = asyncio.ensure_future(pair.open())
    await pair.clock.advance(5_000)

    assert await refusal_of(opening) is Refusal.TIMEOUT


async def test_no_timer_is_left_when_the_handshake_is_done() -> None:
    """A timer that stays would close somebody's session later, or keep the process alive."""
    pair = Pair()
    await pair.both()

    assert pair.clock.sleeping == 0


async def test_a_cancelled_opening_closes_the_connection() -> None:
    """When the node stops, nothing half-open may stay."""
    pair = Pair()
    opening = asyncio.ensure_future(pair.open())
    await settle()
    opening.cancel()

    with pytest.raises(asyncio.CancelledError):
        await opening
    assert pair.ours.closed_with == ABORT


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES_MAX, PIECE_BYTES_MAX + 1, FRAME_BYTES_MAX])
async def test_frames_of_every_size_come_out_as_they_went_in(size: int) -> None:
    """Batches are cut into Noise messages and must not be noticed to be."""
    pair = Pair()
    ours, theirs = await pair.both()
    frame = SeededEntropy(size).draw(size)
    await ours.send(frame)
    await theirs.send(frame)

    assert await theirs.receive() == frame
    assert await ours.receive() == frame
    assert max(map(len, pair.ours.sent)) <= 65_535


async def test_frames_of_many_senders_are_kept_apart() -> None:
    """The session, its answers and its pushes share one channel."""
    pair = Pair()
    ours, theirs = await pair.both()
    frames = [bytes([n]) * (PIECE_BYTES_MAX * 2) for n in range(8)]
    await asyncio.gather(*map(ours.send, frames))

    assert [await theirs.receive() for _ in frames] == frames


async def test_a_cancelled_receive_loses_nothing() -> None:
    """Waiting for a frame is raced against timers all the time."""
    pair = Pair()
    ours, theirs = await pair.both()
    waiting = asyncio.ensure_future(theirs.receive())
    # The first piece of two, so that the cancelled call has taken something already.
    await ours._send_message(b"\1" + b"first ")
    await settle()
    waiting.cancel()
    await settle()
    await ours._send_message(b"\0" + b"second")

    assert await theirs.receive() == b"first second"


async def test_a_cancelled_send_ends_the_channel() -> None:
    """Half a frame has left: what follows would be read as the rest of it."""
    pair = Pair()
    ours, theirs = await pair.both()
    gate = asyncio.Event()

    class Stuck(MemoryConnection):
        async def send(self, message: bytes) -> None:
            await gate.wait()

    pair.ours.__class__ = Stuck
    sending = asyncio.ensure_future(ours.send(bytes(PIECE_BYTES_MAX * 2)))
    await settle()
    sending.cancel()
    await settle()

    with pytest.raises(ChannelClosed) as closed:
        await ours.send(b"more")
    assert closed.value.reason is End.INTERRUPTED
    with pytest.raises(ChannelClosed):
        await theirs.receive()


@pytest.mark.parametrize("spoil", SPOILS)
async def test_a_changed_message_ends_the_channel_without_an_answer(
    spoil: Callable[[bytes], bytes],
) -> None:
    """Nothing from a link that someone tampers with is tried again."""
    pair = Pair()
    ours, theirs = await pair.both()
    before = len(pair.theirs.sent)
    pair.ours.on_the_way = spoil
    await ours.send(b"to be changed")

    with pytest.raises(ChannelClosed) as closed:
        await theirs.receive()
    assert closed.value.reason is End.TAMPERED
    assert (len(pair.theirs.sent), pair.theirs.closed_with) == (before, ABORT)
    assert pair.their_counters["channel.ended.tampered"] == 1
    with pytest.raises(ChannelClosed):
        await theirs.send(b"too late")


async def test_a_repeated_message_ends_the_channel() -> None:
    """A replay inside the channel must not be applied twice."""
    pair = Pair()
    ours, theirs = await pair.both()
    await ours.send(b"once")
    await pair.ours.send(pair.ours.sent[-1])
    await theirs.receive()

    with pytest.raises(ChannelClosed) as closed:
        await theirs.receive()
    assert closed.value.reason is End.TAMPERED


@pytest.mark.parametrize("plaintext", [b"", b"\2", b"\xffpiece", b"\1"])
async def test_an_unknown_flag_or_an_empty_piece_ends_the_channel(plaintext: bytes) -> None:
    """A member's bug must not become our endless loop."""
    pair = Pair()
    ours, theirs = await pair.both()
    await ours._send_message(plaintext)

    with pytest.raises(ChannelClosed) as closed:
        await theirs.receive()
    assert closed.value.reason is End.BAD_FRAME


async def test_a_frame_over_a_mebibyte_ends_the_channel() -> None:
    """Pieces without an end would fill our memory."""
    pair = Pair()
    ours, theirs = await pair.both()
    for _ in range(17):
        await ours._send_message(b"\1" + bytes(PIECE_BYTES_MAX))

    with pytest.raises(ChannelClosed) as closed:
        await theirs.receive()
    assert closed.value.reason is End.OVERSIZE
    assert theirs.messages_received == 18


async def test_a_channel_is_worn_after_an_hour() -> None:
    """New keys every hour: an old key that leaks opens an hour at most."""
    pair = Pair()
    ours, theirs = await pair.both()
    due = ours.renewal_due
    await pair.clock.advance(RENEWAL_MS)
    due_later = ours.renewal_due
    await pair.clock.advance(HOUR_MS - RENEWAL_MS)
    await ours.send(b"at the last moment")
    await pair.clock.advance(1)

    assert (due, due_later) == (False, True)
    assert await theirs.receive() == b"at the last moment"
    with pytest.raises(ChannelClosed) as closed:
        await ours.send(b"too late")
    assert closed.value.reason is End.WORN
    assert pair.ours.closed_with == 1000


async def test_a_channel_is_worn_after_2_to_the_20_messages() -> None:
    """The count is checked before the first piece leaves, so no frame is cut in two."""
    pair = Pair()
    ours, theirs = await pair.both()
    ours.messages_sent = theirs.messages_received = MESSAGES_MAX - 1
    with_two_pieces = bytes(PIECE_BYTES_MAX + 1)
    sent = len(pair.ours.sent)

    with pytest.raises(ChannelClosed) as closed:
        await ours.send(with_two_pieces)
    assert closed.value.reason is End.WORN
    assert len(pair.ours.sent) == sent


async def test_a_peer_that_goes_on_after_2_to_the_20_messages_is_closed() -> None:
    """The limit holds on both sides, or it would hold on neither."""
    pair = Pair()
    ours, theirs = await pair.both()
    theirs.messages_received = MESSAGES_MAX
    await ours.send(b"one more")

    with pytest.raises(ChannelClosed) as closed:
        await theirs.receive()
    assert closed.value.reason is End.WORN


async def test_a_broken_link_and_a_closed_one_are_told_apart() -> None:
    """One calls for another try at once, the other says why it ended."""
    pair = Pair()
    ours, _ = await pair.both()
    pair.ours.break_link()
    with pytest.raises(ChannelClosed) as broken:
        await ours.receive()
    pair = Pair()
    ours, theirs = await pair.both()
    await theirs.close(4002)
    with pytest.raises(ChannelClosed) as closed:
        await ours.receive()

    assert (broken.value.reason, broken.value.code) == (End.LOST, None)
    assert (closed.value.reason, closed.value.code) == (End.CLOSED, 4002)


async def test_closing_wakes_whoever_waits_and_may_be_repeated() -> None:
    """A session ends from many places; the last one must not stumble."""
    pair = Pair()
    ours, _ = await pair.both()
    waiting = asyncio.ensure_future(ours.receive())
    await settle()
    await ours.close()
    await ours.close(4001)

    with pytest.raises(ChannelClosed) as closed:
        await waiting
    assert closed.value.reason is End.CLOSED
    assert pair.ours.closed_with == 1000


async def test_nothing_shown_of_a_channel_is_secret() -> None:
    """Reprs end in logs and bug reports."""
    pair = Pair()
    ours, _ = await pair.both(first=b"canary")
    shown = repr(ours) + repr(pair.offers)

    assert OUR_KEY.hex() not in shown and THEIR_KEY.hex() not in shown
    assert "canary" not in shown and str(PSK) not in shown
