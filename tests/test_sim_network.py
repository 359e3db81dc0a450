"""The simulated network: what TCP promises it keeps, and everything else goes wrong as it does.

What any transport promises is in tests/contracts. Here are laws, cuts, ends of every kind, and the
two ways in which a machine can be gone.
"""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.node.ports import Address, Connection, ConnectionLostError, UnreachableError
from covey.simulations.dice import Dice
from covey.simulations.sim_connection import BUFFER_BYTES, CLOSE_MS
from covey.simulations.sim_network import DEAD_MS, LAWS, SimNetwork, Tampering, address_of
from covey.simulations.virtual_loop import VirtualLoop

from .simulated import (
    PORT,
    Pair,
    end_of,
    hear_all,
    now_ms,
    virtually,
    wait_ms,
    wait_until_ms,
    with_pair,
)

ABORT = 1006
BIG = bytes(60_000)


async def arrival_ms(connection: Connection) -> tuple[int, bytes]:
    message = await connection.receive()
    return now_ms(), message


# Places and laws -------------------------------------------------------------------------------


def test_machines_reach_each_other_at_one_place_and_nowhere_else() -> None:
    """A phone that left for the office is out of reach at home."""
    network = SimNetwork(Dice(1))
    home, also_home = network.add("a"), network.add("b")
    office, nowhere, also_nowhere = (
        network.add(n, p) for n, p in zip("cde", ["office", None, None], strict=True)
    )

    assert network.goes(home, also_home) and network.goes(home, home)
    assert not network.goes(home, office)
    assert not network.goes(nowhere, also_nowhere)


def test_places_that_are_joined_reach_each_other_until_they_are_parted() -> None:
    """A tunnel carries what a wall would stop, in both directions."""
    network = SimNetwork(Dice(1))
    home, office = network.add("a"), network.add("b", "office")
    network.join("home", "office")
    joined = network.goes(home, office), network.goes(office, home)
    network.part("office", "home")

    assert joined == (True, True)
    assert not network.goes(home, office)


def test_a_cut_is_of_one_direction_and_is_mended_alone_or_with_all() -> None:
    """One-way faults are the ones that keep-alives are for."""
    network = SimNetwork(Dice(1))
    a, b = network.add("a"), network.add("b")
    network.cut("a", "b")
    one_way = network.goes(a, b), network.goes(b, a)
    network.cut("b", "a")
    network.mend("a", "b")
    other_way = network.goes(a, b), network.goes(b, a)
    network.mend()

    assert (one_way, other_way) == ((False, True), (True, False))
    assert network.goes(b, a)


def test_no_two_machines_ever_have_one_address_and_a_move_gives_another() -> None:
    """An address that was taken over by somebody else would be dialled with the wrong key."""
    network = SimNetwork(Dice(1))
    hosts = [network.add(f"m{n}").host for n in range(300)]
    network.move("m7", "office")
    network.move("m7", "home")

    assert len({*hosts, network.machines["m7"].host}) == 301
    assert network.machine_at(hosts[7]) is None
    assert network.machine_at(network.machines["m7"].host) is network.machines["m7"]


def test_between_two_places_the_slower_law_counts_and_both_ways() -> None:
    """A fast network at home does not help a phone on a mobile one."""
    network = SimNetwork(Dice(1), "lan")
    home, office = network.add("a"), network.add("b", "office")
    network.set_law("office", "mobile")

    assert network.law(home, home) == LAWS["lan"]
    assert network.law(home, office) == network.law(office, home) == LAWS["mobile"]


@pytest.mark.parametrize("law", LAWS)
def test_a_message_takes_what_the_law_says_or_longer_by_whole_retransmissions(law: str) -> None:
    """The table in docs/simulation.md is what people plan with."""
    network = SimNetwork(Dice(1), law)
    a, b = network.add("a"), network.add("b")
    rule = LAWS[law]
    late = [network.latency_ms(a, b, n) for n in range(2_000)]
    lost = sum(ms >= rule.base_ms + rule.jitter_ms and rule.loss > 0 for ms in late)

    assert min(late) >= rule.base_ms
    assert all(ms <= rule.base_ms + rule.jitter_ms for ms in late) or rule.loss > 0
    assert lost / len(late) <= rule.loss * 1.5
    assert bool(lost) == bool(rule.loss)


@pytest.mark.parametrize("law", LAWS)
def test_whatever_the_law_messages_arrive_whole_and_in_order(law: str) -> None:
    """What is lost on the way comes later, and so does everything behind it."""

    async def test(pair: Pair) -> list[bytes]:
        ours, theirs = await pair.connect()
        for n in range(300):
            await ours.send(n.to_bytes(2, "big"))
        await ours.close()
        return await hear_all(theirs)

    assert with_pair(test, law=law) == [n.to_bytes(2, "big") for n in range(300)]


@given(
    st.integers(0, 1_000),
    st.sampled_from(sorted(LAWS)),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 400)), max_size=30),
)
def test_no_timing_of_sends_and_closes_swaps_anything(
    seed: int, law: str, sends: list[tuple[int, int]]
) -> None:
    """An end that overtook a message, or a message another, would break every cipher."""

    async def test(pair: Pair) -> list[bytes]:
        ours, theirs = await pair.connect()
        for n, (pause_ms, size) in enumerate(sends):
            if pause_ms:
                await wait_ms(pause_ms - 1)
            await ours.send(bytes([n]) * size)
        await ours.close()
        return await hear_all(theirs)

    assert with_pair(test, seed, law) == [bytes([n]) * size for n, (_, size) in enumerate(sends)]


def test_a_law_that_changes_holds_for_the_next_message() -> None:
    """The phone leaves the house and is on a mobile network from then on."""

    async def test(pair: Pair) -> list[int]:
        ours, theirs = await pair.connect()
        moments = []
        for law in ("instant", "satellite", "instant"):
            pair.network.set_law(None, law)
            began_ms = now_ms()
            await ours.send(b"x")
            moments.append((await arrival_ms(theirs))[0] - began_ms)
        return moments

    fast, slow, fast_again = with_pair(test)

    assert fast == fast_again == 0
    assert slow >= LAWS["satellite"].base_ms


def test_a_long_message_takes_as_long_as_the_law_gives_it_bytes() -> None:
    """A chunk of a large history must not cross a mobile network in no time."""

    async def test(pair: Pair) -> int:
        ours, theirs = await pair.connect()
        began_ms = now_ms()
        await ours.send(BIG)
        return (await arrival_ms(theirs))[0] - began_ms

    assert with_pair(test, law="mobile") >= len(BIG) / LAWS["mobile"].bytes_per_ms


async def hear_once(connection: Connection) -> None:
    await connection.receive()


def test_what_takes_how_long_hangs_on_nothing_that_others_do() -> None:
    """Else a plan could not be shrunk: taking a step away would change the luck of all others."""

    async def main(*, is_busy: bool) -> list[tuple[int, bytes]]:
        pair = Pair(law="wifi")
        await pair.listen()
        if is_busy:
            third, fourth = pair.network.add("c"), pair.network.add("d")
            await pair.transport(third).listen("::", PORT, hear_once)
            for _ in range(3):
                other = await pair.transport(fourth).dial(address_of(third, PORT), 5_000)
                await other.send(b"noise")
        await wait_until_ms(10_000)
        ours, theirs = await pair.connect()
        for n in range(20):
            await ours.send(bytes([n]))
            await theirs.send(bytes([n]))
        return [await arrival_ms(end) for end in (ours, theirs) for _ in range(20)]

    assert virtually(main(is_busy=True)) == virtually(main(is_busy=False))


def test_two_connections_of_one_pair_do_not_share_their_luck() -> None:
    """Links that are always late together would never overtake each other."""

    async def test(pair: Pair) -> list[list[int]]:
        pairs = [await pair.connect() for _ in range(2)]
        moments = []
        for ours, theirs in pairs:
            began_ms, late = now_ms(), []
            for _ in range(10):
                await ours.send(b"x")
                late.append((await arrival_ms(theirs))[0] - began_ms)
            moments.append(late)
        return moments

    first, second = with_pair(test, law="flaky-wifi")

    assert first != second


# Dialling --------------------------------------------------------------------------------------


def test_dialling_takes_three_messages() -> None:
    """TCP and HTTP shake hands before the first byte of ours."""

    async def test(pair: Pair) -> int:
        await pair.connect()
        return now_ms()

    assert with_pair(test, law="satellite") >= 3 * LAWS["satellite"].base_ms


@pytest.mark.parametrize(
    "gone",
    [
        lambda pair: pair.network.cut("a", "b"),
        lambda pair: pair.network.cut("b", "a"),
        lambda pair: pair.network.move("b", "home"),
        lambda pair: pair.network.move("b", None),
        lambda pair: pair.network.move("a", "office"),
        lambda pair: pair.b.process.freeze(),
    ],
    ids=["cut", "cut off", "another address", "out of reach", "elsewhere", "asleep"],
)
@pytest.mark.parametrize("when_ms", [0, 1, 700, 950])
def test_whoever_does_not_answer_is_unreachable_after_the_timeout(
    gone: Callable[[Pair], None], when_ms: int
) -> None:
    """The dialer has to wait as long as in life, also if they go while it is under way."""

    async def test(pair: Pair) -> tuple[int, int]:
        await pair.listen()
        address = pair.address
        asyncio.get_running_loop().call_later(when_ms / 1000, gone, pair)
        if not when_ms:
            await asyncio.sleep(0)
            await wait_ms(0.001)
        with pytest.raises(UnreachableError):
            await pair.transport(pair.a).dial(address, 5_000)
        return now_ms(), len(pair.accepted)

    assert with_pair(test, law="satellite") == (5_000, 0)


def test_where_nothing_listens_the_refusal_comes_as_fast_as_an_answer() -> None:
    """A machine that is on says no; only one that is off says nothing."""

    async def test(pair: Pair) -> int:
        with pytest.raises(UnreachableError, match="nothing listens"):
            await pair.transport(pair.a).dial(pair.address, 60_000)
        return now_ms()

    assert with_pair(test, law="satellite") < 3_000


def test_a_dial_that_takes_longer_than_its_timeout_fails_then() -> None:
    """On a bad network an impatient dialer gives up on somebody who is there."""

    async def test(pair: Pair) -> int:
        await pair.listen()
        with pytest.raises(UnreachableError, match="in time"):
            await pair.transport(pair.a).dial(pair.address, 500)
        return now_ms()

    assert with_pair(test, law="satellite") == 500


def test_a_dial_that_is_cancelled_connects_to_nobody() -> None:
    """The dial book gives up attempts; the other side must not hold what nobody uses."""

    async def test(pair: Pair) -> tuple[int, int]:
        await pair.listen()
        dialling = asyncio.ensure_future(pair.transport(pair.a).dial(pair.address, 5_000))
        await wait_ms(400)
        dialling.cancel()
        await wait_ms(10_000)
        return len(pair.accepted), len(pair.network.pipes)

    assert with_pair(test, law="satellite") == (0, 0)


def test_a_process_that_dies_as_it_dials_connects_to_nobody() -> None:
    """A dead process must not be heard of any more."""

    async def test(pair: Pair) -> tuple[bool, int]:
        await pair.listen()
        assert pair.a.process is not None
        dial = pair.transport(pair.a).dial(pair.address, 5_000)
        dialling = pair.a.process.spawn(dial, "dialling")
        await wait_ms(400)
        pair.crash(pair.a)
        await wait_ms(10_000)
        return dialling.cancelled(), len(pair.accepted)

    assert with_pair(test, law="satellite") == (True, 0)


def test_what_is_accepted_belongs_to_the_process_that_listens() -> None:
    """Else it would live on when that process dies, or die with the one that dialled."""

    async def test(pair: Pair) -> list[str]:
        await pair.connect()
        assert pair.b.process is not None
        return pair.b.process.left()

    assert with_pair(test) == ["accept"]


# Cuts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut_ms", [1, DEAD_MS - 1])
def test_what_meets_a_cut_waits_for_it_to_be_mended(cut_ms: int) -> None:
    """TCP sends again until it gets through; a short cut costs nothing but time."""

    async def test(pair: Pair) -> tuple[list[tuple[int, bytes]], tuple[int, bytes]]:
        ours, theirs = await pair.connect()
        pair.network.cut("a", "b")
        for n in range(3):
            await ours.send(bytes([n]))
        await theirs.send(b"the other way is open")
        back = await arrival_ms(ours)
        await wait_ms(cut_ms)
        pair.network.mend()
        await ours.send(b"\x03")
        return [await arrival_ms(theirs) for _ in range(4)], back

    forth, back = with_pair(test)

    assert forth == [(cut_ms, bytes([n])) for n in range(4)]
    assert back == (0, b"the other way is open")


@pytest.mark.parametrize("direction", [("a", "b"), ("b", "a")])
def test_a_cut_that_lasts_breaks_the_connection_at_both_ends(direction: tuple[str, str]) -> None:
    """A ping needs both directions; without an answer the keep-alive gives up."""

    async def test(pair: Pair) -> list[tuple[int, int | None]]:
        pair_of_ends = await pair.connect()
        waiting = [asyncio.ensure_future(end_of(end.receive())) for end in pair_of_ends]
        pair.network.cut(*direction)
        ends = [await each for each in waiting]
        for end in pair_of_ends:
            with pytest.raises(ConnectionLostError):
                await end.send(b"too late")
        return [(moment, lost.code) for moment, lost in ends]

    assert with_pair(test) == [(DEAD_MS, None), (DEAD_MS, None)]


def test_a_connection_that_has_died_of_a_cut_stays_dead_when_it_is_mended() -> None:
    """What was sent into the void must not come out of it later."""

    async def test(pair: Pair) -> tuple[list[bytes], int]:
        ours, theirs = await pair.connect()
        pair.network.cut("a", "b")
        await ours.send(b"into the void")
        await wait_ms(DEAD_MS + 1)
        pair.network.mend()
        await wait_ms(10_000)
        return await hear_all(theirs), len(pair.network.pipes)

    assert with_pair(test) == ([], 0)


def test_a_cut_that_is_mended_and_cut_again_gets_its_whole_patience_again() -> None:
    """The keep-alive counts silence, and a mended cut ends the silence."""

    async def test(pair: Pair) -> int:
        ours, _ = await pair.connect()
        waiting = asyncio.ensure_future(end_of(ours.receive()))
        for _ in range(3):
            pair.network.cut("a", "b")
            await wait_ms(DEAD_MS - 1)
            pair.network.mend()
        pair.network.cut("a", "b")
        return (await waiting)[0]

    assert with_pair(test) == 3 * (DEAD_MS - 1) + DEAD_MS


@pytest.mark.parametrize("mover", ["a", "b"])
def test_a_connection_does_not_survive_a_move_not_even_there_and_back(mover: str) -> None:
    """It hangs on an address, and a machine that comes home has another one."""

    async def test(pair: Pair) -> tuple[list[int], list[bytes]]:
        ours, theirs = await pair.connect()
        waiting = [asyncio.ensure_future(end_of(end.receive())) for end in (ours, theirs)]
        pair.network.move(mover, None)
        pair.network.move(mover, "home")
        await ours.send(b"to the old address")
        return [(await each)[0] for each in waiting], await hear_all(theirs)

    assert with_pair(test) == ([DEAD_MS, DEAD_MS], [])


# Ends ------------------------------------------------------------------------------------------


def test_an_end_leaves_nothing_behind() -> None:
    """Pipes that are kept for ever slow a long run down, and have keep-alives of their own."""
    loop = VirtualLoop()

    async def main() -> tuple[int, list[float]]:
        pair = Pair()
        for close in (True, False):
            ours, theirs = await pair.connect()
            await ours.send(b"x")
            if close:
                await ours.close()
            else:
                pair.network.break_links("a", "b")
            await hear_all(theirs)
            await theirs.close()
        await wait_ms(CLOSE_MS)
        return len(pair.network.pipes), [when for when, _, t in loop._timers if not t.cancelled()]

    assert virtually(main(), loop) == (0, [])


@pytest.mark.parametrize("power", [False, True])
def test_a_machine_that_crashed_leaves_nothing_behind(power: bool) -> None:
    """The ends of the others must not hang on a machine that is no more."""

    async def test(pair: Pair) -> int:
        ours, theirs = await pair.connect()
        await ours.send(b"x")
        await theirs.send(b"y")
        pair.crash(pair.a, power=power)
        await hear_all(theirs)
        await theirs.close()
        return len(pair.network.pipes)

    assert with_pair(test) == 0


def test_a_process_that_dies_is_missed_at_once_and_a_machine_after_the_keep_alive() -> None:
    """The kernel says goodbye for a process; nobody does for a machine without power."""

    async def test(pair: Pair) -> list[int]:
        moments = []
        for power in (False, True):
            pair.start(pair.a)
            _, theirs = await pair.connect()
            began_ms = now_ms()
            pair.crash(pair.a, power=power)
            moments.append((await end_of(theirs.receive()))[0] - began_ms)
        return moments

    assert with_pair(test) == [0, DEAD_MS]


def test_a_process_that_dies_behind_a_cut_is_missed_after_the_keep_alive() -> None:
    """The kernel's goodbye does not get through."""

    async def test(pair: Pair) -> int:
        _, theirs = await pair.connect()
        pair.network.cut("a", "b")
        pair.crash(pair.a)
        return (await end_of(theirs.receive()))[0]

    assert with_pair(test) == DEAD_MS


def test_a_machine_that_dies_twice_is_missed_no_sooner() -> None:
    """After a power cut it starts again and crashes; its old connections know nothing of that."""

    async def test(pair: Pair) -> int:
        _, theirs = await pair.connect()
        pair.crash(pair.a, power=True)
        await wait_ms(1_000)
        pair.network.drop_process("a", silently=False)
        return (await end_of(theirs.receive()))[0]

    assert with_pair(test) == DEAD_MS


def last_words(seed: int, *, power: bool) -> int:
    """How many of ten messages arrive that a process sent just before it died."""

    async def test(pair: Pair) -> list[bytes]:
        ours, theirs = await pair.connect()
        for n in range(10):
            await ours.send(bytes([n]))
        pair.crash(pair.a, power=power)
        heard = await hear_all(theirs)
        assert heard == [bytes([n]) for n in range(len(heard))]
        return heard

    return len(with_pair(test, seed, law="mobile"))


@pytest.mark.parametrize("power", [False, True])
def test_of_the_last_words_of_a_process_all_some_or_none_arrive(power: bool) -> None:
    """What somebody told just before the crash may have been heard: so it must have been true."""
    heard = {last_words(seed, power=power) for seed in range(40)}

    assert {0, 10} < heard
    assert heard == {last_words(seed, power=power) for seed in range(40)}


def test_a_sleeper_finds_its_connection_gone_when_it_wakes() -> None:
    """The others have given it up meanwhile; it must not listen to nobody for ever."""

    async def test(pair: Pair) -> tuple[int, int, int]:
        ours, theirs = await pair.connect()
        assert pair.a.process is not None
        waiting = pair.a.process.spawn(end_of(ours.receive()), "waiting")
        pair.a.process.freeze()
        await wait_ms(DEAD_MS)
        pair.network.drop_process("a", silently=False)
        given_up_ms, _ = await end_of(theirs.receive())
        await wait_ms(10_000)
        asleep = waiting.done()
        pair.a.process.thaw()
        return given_up_ms, int(asleep), (await waiting)[0]

    assert with_pair(test) == (DEAD_MS, 0, DEAD_MS + 10_000)


def test_what_came_in_sleep_is_read_before_the_end() -> None:
    """The kernel has kept it."""

    async def test(pair: Pair) -> list[bytes]:
        ours, theirs = await pair.connect()
        assert pair.b.process is not None
        pair.b.process.freeze()
        await ours.send(b"good night")
        await wait_ms(1_000)
        pair.crash(pair.a)
        await wait_ms(1_000)
        pair.b.process.thaw()
        return await hear_all(theirs)

    assert with_pair(test) == [b"good night"]


def test_a_reset_is_told_to_both_ends_and_counted() -> None:
    """In mid-frame: neither side closed, and neither learns a code."""

    async def test(pair: Pair) -> tuple[int, list[tuple[int, int | None]], int]:
        ends = [end for _ in range(3) for end in await pair.connect()]
        broken = pair.network.break_links("b", "a")
        lost = [await end_of(end.receive()) for end in ends]
        return broken, [(moment, each.code) for moment, each in lost], len(pair.network.pipes)

    assert with_pair(test) == (3, [(0, None)] * 6, 0)


def test_a_reset_spares_the_connections_to_others() -> None:
    """It is of one pair."""

    async def test(pair: Pair) -> bytes:
        ours, theirs = await pair.connect()
        pair.network.add("c")
        broken = pair.network.break_links("a", "c")
        await ours.send(b"still here")
        assert broken == 0
        return await theirs.receive()

    assert with_pair(test) == b"still here"


@pytest.mark.parametrize("first", ["a", "b"])
def test_of_a_half_open_connection_only_the_first_end_knows(first: str) -> None:
    """The other one sends into the void until its keep-alive tells."""

    async def test(pair: Pair) -> tuple[int, int]:
        ends = dict(zip("ab", await pair.connect(), strict=True))
        knowing, unknowing = ends.pop(first), ends.popitem()[1]
        pair.network.break_links(first, "b" if first == "a" else "a", half=True)
        knows_ms, _ = await end_of(knowing.receive())
        await unknowing.send(b"into the void")
        finds_out_ms, _ = await end_of(unknowing.receive())
        with pytest.raises(ConnectionLostError):
            await unknowing.send(b"too late")
        return knows_ms, finds_out_ms

    assert with_pair(test) == (0, DEAD_MS)


def test_a_close_code_is_told_and_an_abort_has_none() -> None:
    """`removed` and `update me` are told with nothing but these codes."""

    async def test(pair: Pair) -> list[int | None]:
        codes = []
        for code in (1000, 4001, ABORT):
            ours, theirs = await pair.connect()
            await ours.close(code)
            codes.append((await end_of(theirs.receive()))[1].code)
        return codes

    assert with_pair(test) == [1000, 4001, None]


def test_what_is_sent_to_somebody_who_closes_is_swallowed_for_a_second() -> None:
    """The close is on its way, and an end that sends meanwhile cannot know."""

    async def test(pair: Pair) -> int:
        ours, theirs = await pair.connect()
        await theirs.close()
        await wait_ms(CLOSE_MS - 1)
        await ours.send(b"nobody hears this")
        await wait_ms(2)
        with pytest.raises(ConnectionLostError):
            await ours.send(b"nor this")
        return now_ms()

    assert with_pair(test) == CLOSE_MS + 1


# Room ------------------------------------------------------------------------------------------


def test_a_sender_waits_while_more_than_the_buffer_is_under_way_or_unread() -> None:
    """A slow device slows the sender down and does not fill its memory."""

    async def test(pair: Pair) -> tuple[int, int]:
        ours, theirs = await pair.connect()
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(20):
                await ours.send(BIG)
                sent += 1

        sending = asyncio.ensure_future(send())
        await wait_ms(60_000)
        sent_by_then = sent
        for _ in range(20):
            await theirs.receive()
        await sending
        return sent_by_then, sent

    assert with_pair(test) == (BUFFER_BYTES // len(BIG), 20)


def test_a_slow_reader_takes_only_so_many_bytes_and_is_itself_again_later() -> None:
    """A phone on its last battery must not hold everybody up for ever."""

    async def test(pair: Pair) -> list[int]:
        ours, theirs = await pair.connect()
        took = []
        for rate in (5, None):
            pair.b.reads_bytes_per_ms = rate
            began_ms = now_ms()
            await ours.send(BIG)
            took.append((await arrival_ms(theirs))[0] - began_ms)
        return took

    assert with_pair(test) == [len(BIG) // 5, 0]


def test_a_slow_reader_sends_as_fast_as_ever() -> None:
    """Reading is slow, not the network."""

    async def test(pair: Pair) -> int:
        ours, theirs = await pair.connect()
        pair.b.reads_bytes_per_ms = 1
        await theirs.send(BIG)
        return (await arrival_ms(ours))[0]

    assert with_pair(test) == 0


# Tampering -------------------------------------------------------------------------------------


def tampered(*orders: Tampering) -> list[bytes]:
    """What arrives of four messages when these things are done to the first ones."""

    async def test(pair: Pair) -> list[bytes]:
        ours, theirs = await pair.connect()
        for how in orders:
            pair.network.tamper("a", "b", how)
        for message in (b"one!", b"two!", b"three!", b"four!"):
            await ours.send(message)
        await ours.close()
        return await hear_all(theirs)

    return with_pair(test)


@pytest.mark.parametrize(
    ("how", "arrives"),
    [
        (Tampering.DROP, []),
        (Tampering.DOUBLE, [b"one!", b"one!"]),
        (Tampering.CUT, [b"on"]),
        (Tampering.SWAP, [b"two!", b"one!"]),
    ],
)
def test_a_middlebox_does_to_one_message_what_it_was_told(
    how: Tampering, arrives: list[bytes]
) -> None:
    """The ciphers have to notice each of these."""
    rest = [b"three!", b"four!"] if how is Tampering.SWAP else [b"two!", b"three!", b"four!"]

    assert tampered(how) == arrives + rest


def test_a_flip_changes_one_bit() -> None:
    """The least that a cipher has to notice."""
    flipped, *rest = tampered(Tampering.FLIP)
    changes = [one ^ other for one, other in zip(flipped, b"one!", strict=True)]

    assert sum(change.bit_count() for change in changes) == 1
    assert rest == [b"two!", b"three!", b"four!"]


@pytest.mark.parametrize(
    ("how", "count"),
    [
        (Tampering.FLIP, 4),
        (Tampering.DROP, 3),
        (Tampering.DOUBLE, 3),
        (Tampering.SWAP, 4),
        (Tampering.CUT, 4),
    ],
)
def test_it_is_counted_how_long_somebody_reads_on_behind_a_changed_message(
    how: Tampering, count: int
) -> None:
    """From the first one on that was not what should have come."""

    async def test(pair: Pair) -> list[int]:
        ours, theirs = await pair.connect()
        pair.network.tamper("a", "b", how)
        for message in (b"one!", b"two!", b"three!", b"four!"):
            await ours.send(message)
        for _ in range(3 if how is Tampering.DROP else 4):
            await theirs.receive()
        return [pipe.wrong_taken for pipe in pair.network.meddled_pipes()]

    assert sorted(with_pair(test)) == [0, count]


def test_nothing_is_counted_where_nobody_is_in_between() -> None:
    """Else every run would have to be looked through for it."""

    async def test(pair: Pair) -> int:
        ours, theirs = await pair.connect()
        await ours.send(b"one!")
        await theirs.receive()
        return len(pair.network.meddled_pipes())

    assert with_pair(test) == 0


def test_a_message_that_is_held_back_is_not_lost_by_what_is_done_to_the_next() -> None:
    """Each order is of one message."""
    assert tampered(Tampering.SWAP, Tampering.DROP) == [b"one!", b"three!", b"four!"]
    assert tampered(Tampering.SWAP, Tampering.CUT) == [b"tw", b"one!", b"three!", b"four!"]


def test_a_flip_in_an_empty_message_finds_nothing() -> None:
    """A plan may meet any message."""

    async def test(pair: Pair) -> bytes:
        ours, theirs = await pair.connect()
        pair.network.tamper("a", "b", Tampering.FLIP)
        await ours.send(b"")
        return await theirs.receive()

    assert with_pair(test) == b""


def test_tampering_is_of_one_direction() -> None:
    """The other one is as good as ever."""

    async def test(pair: Pair) -> bytes:
        ours, theirs = await pair.connect()
        pair.network.tamper("a", "b", Tampering.DROP)
        await theirs.send(b"back")
        return await ours.receive()

    assert with_pair(test) == b"back"


@pytest.mark.parametrize("how", Tampering)
def test_what_was_tampered_with_takes_no_room_for_ever(how: Tampering) -> None:
    """Bytes that are counted and never read would stop a sender that has all the room."""

    async def test(pair: Pair) -> int:
        ours, theirs = await pair.connect()
        reading = asyncio.ensure_future(hear_all(theirs))
        for _ in range(20):
            pair.network.tamper("a", "b", how)
            await ours.send(BIG)
            await ours.send(BIG)
        await ours.close()
        return len(await reading)

    async def main() -> int:
        async with asyncio.timeout(60):
            return await test(Pair())

    assert virtually(main()) in (20, 40, 60)


def test_when_tampering_ends_the_connections_that_went_through_it_end() -> None:
    """A message that was swallowed would else be missed only at the next one."""

    async def test(pair: Pair) -> tuple[int, int]:
        ours, theirs = await pair.connect()
        pair.network.tamper("a", "b", Tampering.DROP)
        pair.network.end_tampering()
        ended_ms = (await end_of(ours.receive()))[0]
        await hear_all(theirs)
        ours, theirs = await pair.connect()
        await ours.send(b"untouched")
        pair.network.end_tampering()
        return ended_ms, len(await theirs.receive())

    assert with_pair(test) == (0, 9)


# Watching --------------------------------------------------------------------------------------


def test_every_message_is_shown_to_the_watch_as_it_was_sent() -> None:
    """The digest of a run and the search for plaintext rest on it."""
    seen: list[tuple[str, str, bytes]] = []

    async def test(pair: Pair) -> None:
        pair.network.watch = lambda *what: seen.append(what)
        ours, theirs = await pair.connect()
        pair.network.tamper("a", "b", Tampering.DROP)
        await ours.send(b"forth")
        await theirs.send(b"back")

    with_pair(test)

    assert seen == [("a", "b", b"forth"), ("b", "a", b"back")]


def test_an_address_is_of_one_machine_and_one_port() -> None:
    """Dials go where it says."""
    machine = SimNetwork(Dice(1)).add("a")

    assert address_of(machine, 7) == Address(machine.host, 7)
