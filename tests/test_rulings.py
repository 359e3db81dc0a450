"""Rulings: one spelling, bounded, believed only of whose log it is, and followed a few times."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.crypto.identity import DeviceKeys
from covey.crypto.ruling import sign_ruling, verify_ruling
from covey.node.branches import Span
from covey.node.links import Link
from covey.node.ruling_exchange import RulingExchange
from covey.simulations.hostile.forger import Entry, Forger
from covey.storage.ruling_rows import follow_ruling, keep_ruling, next_number, rulings
from covey.storage.store import Conn
from covey.sync.errors import DecodeError
from covey.sync.messages import Reason, decode_batch
from covey.sync.rulings import (
    FEATURE,
    RULING_BYTES,
    RULING_TYPE,
    Ruling,
    decode_ruling,
    encode_ruling,
    room_for,
)
from covey.sync.session_events import CloseRequested, Event
from covey.sync.session_limits import (
    CONTROL_SCOPE,
    RULING_NUMBER_MAX,
    RULINGS_FOLLOWED_MAX,
    RULINGS_MAX,
    RULINGS_PER_AUTHOR_MAX,
    RULINGS_PER_LINK_MAX,
    SEQ_MAX,
    ZERO_ID,
)
from covey.sync.sharing import Sharing

from .fake_clock import SeededEntropy
from .loopback import Device, meet, nodes, until
from .memory_world import Device as MemoryDevice
from .memory_world import World, carry, settle_tasks
from .store_rows import memory_conn

SCOPE, AUTHOR, INSTANCE, ID = b"s" * 16, b"a" * 32, b"i" * 16, b"e" * 32
RULING = Ruling(SCOPE, AUTHOR, INSTANCE, 1, 5, ID, 9, b"l" * 32, b"x" * 64)
DRAW = SeededEntropy(7).draw


def some(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


@st.composite
def a_ruling(draw: st.DrawFn) -> Ruling:
    seq = draw(st.integers(1, SEQ_MAX - 100))
    ruling = Ruling(
        draw(some(16).filter(any)),
        draw(some(32)),
        draw(some(16)),
        draw(st.integers(1, RULING_NUMBER_MAX)),
        seq,
        draw(some(32)),
        signature=draw(some(64)),
    )
    if draw(st.booleans()):
        return ruling
    return replace(ruling, lost_seq=seq + draw(st.integers(0, 100)), lost_id=draw(some(32)))


# Bytes -------------------------------------------------------------------------------------------


@given(a_ruling())
def test_a_ruling_reads_as_what_was_written(ruling: Ruling) -> None:
    """All must hold the same word of an author."""
    assert decode_ruling(encode_ruling(ruling)) == ruling


@settings(max_examples=300)
@given(some(RULING_BYTES) | st.binary(max_size=2 * RULING_BYTES))
def test_any_bytes_are_a_ruling_or_refused(data: bytes) -> None:
    """A peer decides what it sends."""
    try:
        found = decode_ruling(data)
    except DecodeError:
        return
    assert encode_ruling(found) == data


@pytest.mark.parametrize(
    "wrong",
    [
        {"scope": CONTROL_SCOPE},
        {"number": 0},
        {"number": RULING_NUMBER_MAX + 1},
        {"seq": 0},
        {"seq": SEQ_MAX + 1, "lost_seq": 0, "lost_id": ZERO_ID},
        {"lost_seq": 4},
        {"lost_seq": 0},
        {"lost_seq": SEQ_MAX + 1},
        {"signature": b"x" * 63},
        {"signature": b"x" * 65},
    ],
)
def test_what_no_author_says_is_refused(wrong: dict[str, Any]) -> None:
    """The membership log is for a person to look at, and there is one spelling of everything."""
    ruling = replace(RULING, **wrong)
    with pytest.raises(DecodeError):
        decode_ruling(ruling.said + ruling.signature)


def test_a_ruling_is_signed_for_one_mesh_and_for_nothing_else() -> None:
    """A device says other things with the same key, and may change meshes."""
    keys = DeviceKeys.generate(DRAW)
    signature = sign_ruling(keys, b"m" * 16, RULING.said)
    other = replace(RULING, number=2)

    assert verify_ruling(keys.sig_pk, b"m" * 16, RULING.said, signature)
    assert not verify_ruling(keys.sig_pk, b"n" * 16, RULING.said, signature)
    assert not verify_ruling(keys.sig_pk, b"m" * 16, other.said, signature)
    assert not verify_ruling(keys.sig_pk, b"m" * 16, RULING.said, keys.sign(RULING.said))


# Which counts, and how many ----------------------------------------------------------------------


@given(a_ruling(), a_ruling())
def test_of_two_rulings_one_counts_on_every_device(one: Ruling, other: Ruling) -> None:
    """In whatever order they come."""
    assert one.outranks(other) + other.outranks(one) == (one.said != other.said)
    assert not (one.number < other.number and one.outranks(other))


def test_of_one_author_the_newest_stay_and_one_author_crowds_out_no_other() -> None:
    """Who forks its own logs all day fills its own places."""
    full = [
        replace(RULING, instance=b"%016d" % number, number=number)
        for number in range(1, RULINGS_PER_AUTHOR_MAX + 1)
    ]

    assert room_for(full, replace(RULING, number=99)) == [full[0]]
    assert room_for(full, RULING) is None
    assert room_for(full, replace(RULING, author=b"b" * 32)) == []
    assert room_for(full, replace(full[3], number=99)) == [full[3]]
    assert room_for(full, full[3]) is None
    assert room_for(full, replace(full[3], author=b"b" * 32, number=99)) is None


def test_no_more_are_kept_than_there_is_room_for() -> None:
    """However many members a mesh has."""
    full = [replace(RULING, author=b"%032d" % n, instance=b"%016d" % n) for n in range(RULINGS_MAX)]

    assert room_for(full, RULING) is None
    assert room_for(full[1:], RULING) == []


def test_a_log_remembers_how_often_its_branches_were_taken_out() -> None:
    """Else each new ruling would begin to count anew."""
    conn = memory_conn()
    assert keep_ruling(conn, RULING) and not keep_ruling(conn, RULING)
    follow_ruling(conn, SCOPE, INSTANCE)
    newer = replace(RULING, number=4)

    assert keep_ruling(conn, newer)
    assert rulings(conn) == [(newer, 1)]
    assert next_number(conn, AUTHOR) == 5 and next_number(conn, b"b" * 32) == 1


# On a link ---------------------------------------------------------------------------------------


def link_of(device: Device) -> Link:
    (link,) = device.engine.switchboard.links.values()
    return link


def told_of(device: Device, keys: DeviceKeys, **other: Any) -> bytes:
    """A frame with a ruling on the log of a device, signed with some keys."""
    engine = device.engine
    scope = engine.ledger.scope_named("memory", 1)
    assert scope is not None
    ruling = Ruling(scope.tag, engine.keys.sig_pk, engine.instance, 1, 1, ID)
    ruling = replace(ruling, **other)
    signature = sign_ruling(keys, engine.mesh.id, ruling.said)
    return RULING_TYPE + encode_ruling(replace(ruling, signature=signature))


async def still_there(device: Device, other: Device, id: str) -> None:
    """What was sent before has been worked off, and the link goes on."""
    await other.facts.put({"text": id}, id=id)
    await until_has(device, id)
    assert link_of(device).closed_for is None


async def until_has(device: Device, id: str) -> None:
    async with device.node.database("memory").watch() as changes:
        if await device.facts.get(id) is None:
            async for change in changes:
                if change.id == id:
                    return


async def test_the_word_of_an_author_is_kept_and_told_on(tmp_path: Path) -> None:
    """The control of the tests below: what is refused there is refused for its fault alone."""
    async with nodes(tmp_path) as opened:
        laptop, phone, tablet = await opened.mesh("laptop", "phone", "tablet")
        await phone.facts.put({"text": "tea"}, id="tea")
        await meet(laptop, phone)
        await meet(laptop, tablet)
        (link,) = phone.engine.switchboard.links_to(laptop.keys.sig_pk)
        link.send(told_of(phone, phone.keys))
        await until(lambda: tablet.engine.rulings.rulings())

        (ruling,) = laptop.engine.rulings.rulings()
        assert (ruling.author, ruling.entry_id) == (phone.keys.sig_pk, ID)
        assert tablet.engine.rulings.rulings() == [ruling]


@pytest.mark.parametrize(
    "frame",
    [
        b"\x18",
        b"\x18rubbish",
        RULING_TYPE + encode_ruling(RULING) + b"x",
        RULING_TYPE + bytes(RULING_BYTES),
        RULING_TYPE + bytes(100_000),
    ],
)
async def test_frames_that_are_no_ruling_end_the_link(tmp_path: Path, frame: bytes) -> None:
    """One gate for all of them."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        await meet(laptop, phone)
        held = link_of(laptop)
        link_of(phone).send(frame)
        await until(lambda: held.closed_for is not None)

        assert held.closed_for is Reason.MALFORMED
        assert laptop.engine.rulings.rulings() == []


async def test_a_ruling_that_its_author_has_not_signed_ends_the_link(tmp_path: Path) -> None:
    """A member must not make others throw away what somebody else wrote."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        await laptop.facts.put({"text": "tea"}, id="tea")
        await meet(laptop, phone)
        held = link_of(laptop)
        link_of(phone).send(told_of(laptop, phone.keys))
        await until(lambda: held.closed_for is not None)

        assert held.closed_for is Reason.MALFORMED
        assert laptop.counters["ruling.forged"] == 1
        assert laptop.engine.rulings.rulings() == []


async def test_nobody_rules_on_the_log_of_another(tmp_path: Path) -> None:
    """Signed by whom it names, it is about a log that is not theirs."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        for device in (laptop, phone):
            await device.facts.put({"text": "tea"}, id="tea")
        await meet(laptop, phone)
        link_of(phone).send(told_of(laptop, phone.keys, author=phone.keys.sig_pk))
        link_of(phone).send(told_of(phone, phone.keys, instance=b"?" * 16))
        link_of(phone).send(told_of(phone, phone.keys, scope=b"?" * 16))
        stranger = DeviceKeys.generate(DRAW)
        link_of(phone).send(told_of(phone, stranger, author=stranger.sig_pk))
        await still_there(laptop, phone, "later")

        assert laptop.counters["ruling.kept"] == 0
        assert laptop.engine.rulings.rulings() == []


async def test_who_was_removed_has_no_word_any_more(tmp_path: Path) -> None:
    """Whoever has the keys of a lost device must not make others throw away what it wrote."""
    async with nodes(tmp_path) as opened:
        laptop, phone, tablet = await opened.mesh("laptop", "phone", "tablet")
        await tablet.facts.put({"text": "tea"}, id="tea")
        await meet(laptop, tablet)
        word = told_of(tablet, tablet.keys)
        await laptop.engine.trust.revoke(tablet.keys.sig_pk)
        await meet(laptop, phone)
        (link,) = phone.engine.switchboard.links_to(laptop.keys.sig_pk)
        link.send(word)
        await phone.facts.put({"text": "later"}, id="later")
        await until_has(laptop, "later")

        assert laptop.engine.rulings.rulings() == []


async def test_more_rulings_than_anybody_holds_end_the_link(tmp_path: Path) -> None:
    """Each may cost a signature."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        await phone.facts.put({"text": "tea"}, id="tea")
        await meet(laptop, phone)
        held = link_of(laptop)
        frame = told_of(phone, phone.keys)
        for _ in range(RULINGS_PER_LINK_MAX + 1):
            link_of(phone).send(frame)
        await until(lambda: held.closed_for is not None)

        assert held.closed_for is Reason.TOO_MUCH


class Half:
    """What a `RulingExchange` needs of a link; not open before somebody says so."""

    def __init__(self, *features: str) -> None:
        self.channel = SimpleNamespace(features=features)
        self.state = SimpleNamespace(telling=SimpleNamespace(met=False), sharing=None)
        self.closed_for: Reason | None = None
        self.said: list[Event] = []

    def deliver(self, event: Event) -> None:
        self.said.append(event)


def test_a_ruling_before_membership_is_settled_ends_the_link() -> None:
    """Who is no member may not know whose logs there are."""
    link: Any = Half(FEATURE)
    exchange = RulingExchange(link)

    assert exchange.takes(RULING_TYPE + encode_ruling(RULING))
    (said,) = link.said
    assert isinstance(said, CloseRequested) and said.reason is Reason.MEMBERSHIP_FIRST


def test_a_link_on_which_nobody_named_the_feature_knows_no_such_frame() -> None:
    """It goes to the session, which knows no such type."""
    link: Any = Half()

    assert not RulingExchange(link).takes(RULING_TYPE + encode_ruling(RULING))


# An author who forks its own logs all day --------------------------------------------------------


class Peer:
    """A source of entries that is asked for more, and tells nothing."""

    def __init__(self) -> None:
        self.branches: dict[tuple[bytes, bytes], Span] = {}
        self.wanted: list[int] = []

    def want_entry(self, scope: bytes, instance: bytes, seq: int) -> bool:
        self.wanted.append(seq)
        return True

    def tell_ruling(self, scope: bytes, instance: bytes) -> None:
        """It does not want to know."""


async def shows(device: MemoryDevice, forger: Forger, *entries: Entry) -> None:
    """A device is given entries by somebody who can be asked for more."""
    batch = decode_batch(forger.frame(*entries))
    await device.engine.ingest.store(await device.engine.ingest.prepare(batch, Peer()))


async def hears(device: MemoryDevice, ruling: Ruling, keys: DeviceKeys) -> None:
    """A device is told what an author says of a log."""
    signature = sign_ruling(keys, device.engine.mesh.id, ruling.said)
    link: Any = SimpleNamespace(state=SimpleNamespace(sharing=Sharing.of((1, 2, 3))))
    device.engine.rulings.heard(link, replace(ruling, signature=signature))
    await settle_tasks_but_sleepers(device)


async def settle_tasks_but_sleepers(device: MemoryDevice) -> None:
    """What goes on now is done; what waits for the clock waits on."""
    await device.clock.advance(0)


async def fork(device: MemoryDevice, author: MemoryDevice) -> tuple[Forger, Forger]:
    """Two logs under one new instance of an author, each of two entries that the other lacks."""
    scope = device.engine.ledger.scope_named("memory", 1)
    assert scope is not None
    one = Forger(author.engine, author.engine.keys, scope.tag, DRAW)
    other = Forger(author.engine, author.engine.keys, scope.tag, DRAW, instance=one.instance)
    for forger, name in ((one, "one"), (other, "other")):
        forger.record(name, {"by": name})
        forger.record(f"{name} too", {"by": name})
    return one, other


def word(forger: Forger, number: int) -> Ruling:
    """Its author rules for this branch, and says that it has written the other one again."""
    first = forger.entries[0]
    return Ruling(forger.scope, forger.keys.sig_pk, forger.instance, number, 1, first.id)


async def held(device: MemoryDevice, forger: Forger) -> Sequence[bytes]:
    """Which first entry of a log a device holds; none if it holds none."""
    log = device.engine.ledger.log(forger.scope, forger.instance)
    assert log is not None

    def job(conn: Conn) -> list[bytes]:
        rows = conn.execute(
            "SELECT entry_id FROM entries WHERE log_no = ? AND seq = 1", (log.number,)
        )
        return [row[0] for row in rows.fetchall()]

    return await device.gate.read(job)


async def two_of_a_mesh(world: World) -> tuple[MemoryDevice, MemoryDevice]:
    laptop = await world.founder("laptop")
    mallory = await world.member(laptop, "mallory")
    await laptop.collection().put({"text": "ours"}, id="ours")
    await carry(laptop, mallory)
    return laptop, mallory


async def test_a_branch_goes_only_when_the_one_that_stays_is_shown() -> None:
    """Else a word would do to make everybody throw a log away, with nothing in its place."""
    async with World() as world:
        laptop, mallory = await two_of_a_mesh(world)
        one, other = await fork(laptop, mallory)
        await shows(laptop, one)
        await hears(laptop, word(other, 1), mallory.engine.keys)
        await laptop.clock.advance(10_000_000)
        before = await held(laptop, one)
        await shows(laptop, other)
        await laptop.clock.advance(10_000)
        await settle_tasks(laptop)
        await shows(laptop, other)

        assert before == [one.entries[0].id]
        assert await held(laptop, one) == [other.entries[0].id]
        said = {name.rpartition("/")[2] for name in await laptop.values()}
        assert said == {"ours", "one", "one too", "other", "other too"}


async def test_an_author_makes_others_work_a_few_times_only_and_ever_more_slowly() -> None:
    """Taking a branch out ends every link and builds the records of a scope anew."""
    async with World() as world:
        laptop, mallory = await two_of_a_mesh(world)
        one, other = await fork(laptop, mallory)
        await shows(laptop, one)
        paused: list[int] = []
        for number in range(1, 2 * RULINGS_FOLLOWED_MAX):
            here, there = (one, other) if number % 2 else (other, one)
            if await held(laptop, one) != [here.entries[0].id]:
                here, there = there, here
            await hears(laptop, word(there, number), mallory.engine.keys)
            began_ms = laptop.clock.now_ms
            await shows(laptop, there)
            while await held(laptop, one) == [here.entries[0].id]:
                if laptop.clock.now_ms - began_ms > 10_000_000:
                    break
                await laptop.clock.advance(1_000)
            else:
                paused.append(laptop.clock.now_ms - began_ms)
                await settle_tasks_but_sleepers(laptop)
                await shows(laptop, there)

        assert len(paused) == RULINGS_FOLLOWED_MAX
        assert paused[0] < 5_000 and all(2 * a - 5_000 < b for a, b in pairwise(paused[1:]))
        assert paused[1] > 50_000
        (alarm,) = (await laptop.node.status())["alarms"]
        assert alarm["kind"] == "fork"


async def test_a_branch_that_went_does_not_come_back_before_the_other_could() -> None:
    """Somebody who has not heard the ruling still offers it. With nothing else it is better."""
    async with World() as world:
        laptop, mallory = await two_of_a_mesh(world)
        one, other = await fork(laptop, mallory)
        await shows(laptop, one)
        await hears(laptop, word(other, 1), mallory.engine.keys)
        await shows(laptop, other)
        await laptop.clock.advance(2_000)
        await shows(laptop, one)
        soon = await held(laptop, one)
        await laptop.clock.advance(120_000)
        await shows(laptop, one)

        assert soon == []
        assert await held(laptop, one) == [one.entries[0].id]
