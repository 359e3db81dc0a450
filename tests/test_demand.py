"""Demand: databases that are fetched, records that are asked for, and who answered."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.node.demand_methods import NotFoundError
from covey.node.demands import NobodyNearError, NotToBeHadError, Reply, newest
from covey.node.service import Service
from covey.storage.errors import StoreClosedError
from covey.sync.demand import Answer, Ask, Question, Said
from covey.sync.errors import DecodeError
from covey.sync.messages import decode, encode
from covey.sync.session_events import Demanded
from covey.sync.session_limits import ASKED_MAX, QUESTIONS_OPEN_MAX

from .loopback import Device, nodes, until
from .test_sharing import held, meet_under_terms, put, say, settled

TAG = b"t" * 16

tags = st.binary(min_size=16, max_size=16)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=16)
numbers = st.integers(0, 2**32 - 1)
demands = st.one_of(
    st.builds(
        lambda f, echo: Ask(tuple(sorted(f)), echo), st.sets(tags, max_size=9), st.booleans()
    ),
    st.builds(Question, numbers, tags, names, names),
    st.builds(Answer, numbers, st.sampled_from((Said.NOT_HERE, Said.REFUSED, Said.BUSY))),
    st.builds(
        Answer,
        numbers,
        st.just(Said.HERE),
        st.binary(min_size=1, max_size=99),
        st.integers(0, 2**64 - 1),
        st.binary(min_size=32, max_size=32),
        st.integers(0, 3),
    ),
)


# Frames ------------------------------------------------------------------------------------------


@given(demands)
def test_frames_say_what_was_said(message: Any) -> None:
    """And in one spelling."""
    assert decode(encode(message)) == message


@given(st.sampled_from((0x0C, 0x0D, 0x0E)), st.binary(max_size=60))
def test_any_other_frame_is_refused_or_is_what_we_would_write(kind: int, body: bytes) -> None:
    """Whatever a peer sends ends in a value or in an error."""
    frame = bytes((kind,)) + body
    try:
        message = decode(frame)
    except DecodeError:
        return
    assert encode(message) == frame


@pytest.mark.parametrize(
    "message",
    [
        Ask((TAG, TAG)),
        Ask((b"z" * 16, b"a" * 16)),
        Ask((b"short",)),
        Ask(tuple(i.to_bytes(16, "big") for i in range(ASKED_MAX + 1))),
        Question(-1, TAG, "c", "id"),
        Question(2**32, TAG, "c", "id"),
        Question(1, TAG[1:], "c", "id"),
        Question(1, TAG, "", "id"),
        Question(1, TAG, "c" * 65, "id"),
        Question(1, TAG, "c", "i" * 257),
        Answer(1, Said.HERE, b""),
        Answer(1, Said.NOT_HERE, b"{}"),
        Answer(1, Said.HERE, b"{}", -1),
        Answer(1, Said.HERE, b"{}", 1, b"a"),
        Answer(1, Said.HERE, b"{}", 1, bytes(32), 4),
        Answer(1, Said.HERE, bytes(1_000_001)),
    ],
    ids=lambda message: str(message)[:40],
)
def test_a_frame_beyond_its_bounds_is_refused(message: Any) -> None:
    """Ours never says it; a peer that does is told so."""
    with pytest.raises(DecodeError):
        decode(encode(message))


def test_of_several_answers_the_newest_write_is_shown() -> None:
    """The same on every device that asks: by time, then author, then who answered."""

    def reply(said: Said, hlc: int, author: bytes, device: bytes = b"d") -> Reply:
        return Reply(device, said, b"{}", hlc, author, 1)

    old, new = reply(Said.HERE, 1 << 16, b"a"), reply(Said.HERE, 2 << 16, b"b")
    same = reply(Said.HERE, 2 << 16, b"a")

    assert newest([old, new, same, reply(Said.REFUSED, 9 << 16, b"a")]) == same
    assert newest([reply(Said.NOT_HERE, 0, b"a")]) is None


# On links ----------------------------------------------------------------------------------------


async def demand_of(device: Device, id: str, database: str = "notes", **more: Any) -> Any:
    params = {"database": database, "collection": "c", "id": id, "timeout_s": 30, **more}
    return await Service(device.engine, lambda: None).call("get", params)


async def on_demand(opened: Any, *names: str) -> list[Device]:
    """Devices that are linked with the first; the last one holds notes on demand."""
    devices: list[Device] = await opened.mesh(*names)
    await say(devices[0], devices[-1], "notes", mode="on-demand")
    await put(devices[0], "notes")
    for other in devices[1:]:
        await meet_under_terms(devices[0], other)
    return devices


async def test_a_record_on_demand_is_shown_as_who_has_it_and_not_kept(tmp_path: Path) -> None:
    """Who answered is said: the answer is their word."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await on_demand(opened, "laptop", "phone")
        found = await demand_of(phone, "laptop")
        meta = found.pop("_meta")

        assert found == {"by": "laptop"} and "notes" not in await held(phone)
        assert (meta["here"], meta["answered_by"], meta["asked"]) == (False, "laptop", ["laptop"])
        assert (meta["device"], meta["privacy"]) == (laptop.node.device_id, "private")
        with pytest.raises(NotFoundError, match="nor to be had from laptop"):
            await demand_of(phone, "nobody")


async def test_what_is_private_to_a_device_or_withdrawn_is_never_answered(tmp_path: Path) -> None:
    """Asking widens what a device takes, and nothing about who may have it."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await on_demand(opened, "laptop", "phone")
        notes = laptop.node.database("notes").collection("c")
        await notes.put({"x": 1}, id="mine", privacy="device")
        with pytest.raises(NotFoundError):
            await demand_of(phone, "mine")
        await put(laptop, "cache")
        with pytest.raises(NotFoundError):
            await demand_of(phone, "laptop", "cache")
        await say(laptop, phone, "notes", consent=False)
        await settled(laptop, phone)
        with pytest.raises(NotFoundError):
            await demand_of(phone, "laptop")


async def test_what_a_device_that_only_receives_has_added_to_a_record_is_not_answered(
    tmp_path: Path,
) -> None:
    """The newest write is another device's, and what it was joined with stays where it is."""
    async with nodes(tmp_path) as opened:
        laptop, tablet, phone = await opened.mesh("laptop", "tablet", "phone")
        await say(laptop, laptop, "notes", direction="receive")
        await say(laptop, phone, "notes", mode="on-demand")
        await put(tablet, "notes")
        for other in (tablet, phone):
            await meet_under_terms(laptop, other)
        await settled(laptop, tablet)
        assert (await demand_of(phone, "tablet"))["by"] == "tablet"

        await laptop.node.database("notes").collection("c").put({"diary": 1}, id="tablet")
        await tablet.node.database("notes").collection("c").put({"more": 1}, id="tablet")
        await settled(laptop, tablet)
        notes = laptop.node.database("notes").collection("c")
        assert await notes.get("tablet") == {"by": "tablet", "diary": 1, "more": 1}
        with pytest.raises(NotFoundError, match="nor to be had from laptop"):
            await demand_of(phone, "tablet")


async def test_a_guest_is_not_answered_about_what_is_private(tmp_path: Path) -> None:
    """Nor told that there is something."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await on_demand(opened, "laptop", "phone")
        notes = laptop.node.database("notes").collection("c")
        await notes.put({"x": 1}, id="open", privacy="public")
        await laptop.engine.trust.set_level(phone.keys.sig_pk, "guest")
        await settled(laptop, phone)

        assert (await demand_of(phone, "open"))["x"] == 1
        with pytest.raises(NotFoundError, match="nor to be had from laptop"):
            await demand_of(phone, "laptop")


async def test_who_does_not_answer_in_time_is_named(tmp_path: Path) -> None:
    """A deadline is an answer too."""
    async with nodes(tmp_path) as opened:
        laptop, tablet, phone = await opened.mesh("laptop", "tablet", "phone")
        await say(laptop, phone, "notes", mode="on-demand")
        await put(laptop, "notes")
        for one, other in ((laptop, tablet), (laptop, phone), (tablet, phone)):
            await meet_under_terms(one, other)
        tablet.engine.demands.heard = lambda *_: None  # type: ignore[method-assign]
        found = await demand_of(phone, "laptop", timeout_s=0.05)

        assert (found["_meta"]["asked"], found["_meta"]["silent"]) == (["laptop"], ["tablet"])
        with pytest.raises(NotFoundError, match="no answer in time from tablet"):
            await demand_of(phone, "nobody", timeout_s=0.05)


async def test_nobody_is_asked_where_all_that_others_have_is_here(tmp_path: Path) -> None:
    """A record that does not exist is told at once, and costs the others nothing."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await on_demand(opened, "laptop", "phone")
        await put(laptop, "memory")
        await settled(laptop, phone)
        heard: list[Any] = []
        laptop.engine.demands.heard = lambda *said: heard.append(said)  # type: ignore[method-assign]
        with pytest.raises(NotFoundError, match=r"no record c/x in memory$"):
            await demand_of(phone, "x", "memory")
        with pytest.raises(NotFoundError, match=r"no record c/x in notes$"):
            await demand_of(phone, "x", timeout_s=0)

        assert heard == []


async def test_without_anybody_near_a_record_is_not_found_and_it_is_said_why(
    tmp_path: Path,
) -> None:
    """Not found and not reachable are two things."""
    async with nodes(tmp_path) as opened:
        _, phone = await opened.mesh("laptop", "phone")
        with pytest.raises(NotFoundError, match="no device is near"):
            await demand_of(phone, "laptop", "embeddings")
        with pytest.raises(NobodyNearError):
            await phone.engine.demands.fetch("embeddings", 1)


async def test_fetching_brings_all_of_a_database_and_then_stops(tmp_path: Path) -> None:
    """What has come stays; what is written later does not come by itself."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await on_demand(opened, "laptop", "phone")
        done = await phone.engine.demands.fetch("notes", 60_000)

        assert done["complete"] and done["entries"] == 1
        assert [row["name"] for row in done["from"]] == ["laptop"]
        assert (await held(phone))["notes"] == {"laptop"}
        await settled(laptop, phone)
        await laptop.node.database("notes").collection("c").put({"x": 1}, id="later")
        await put(laptop, "memory")
        await until(lambda: "memory" in phone.engine.ledger.databases())
        await settled(laptop, phone)
        assert (await held(phone))["notes"] == {"laptop"}
        assert await phone.node.fetch("notes")
        assert (await held(phone))["notes"] == {"laptop", "later"}


@pytest.mark.parametrize("what", ["fetch", "question", "sync"])
async def test_whoever_waits_while_the_node_closes_is_told_so(tmp_path: Path, what: str) -> None:
    """The time that was asked for may be a day, and nobody would come any more."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await on_demand(opened, "laptop", "phone")
        phone.engine.demands._is_whole = lambda _: False  # type: ignore
        laptop.engine.demands.heard = lambda *_: None  # type: ignore[method-assign]
        waits: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
            "fetch": lambda: phone.node.fetch("notes", timeout=86_400),
            "question": lambda: demand_of(phone, "laptop", timeout_s=86_400),
            "sync": lambda: phone.engine.patience.sync(bytes(32), 86_400_000),
        }
        waiting = asyncio.ensure_future(waits[what]())
        demands = phone.engine.demands
        await until(lambda: what == "sync" or demands.asked or demands._open)
        await phone.engine.close()

        with pytest.raises(StoreClosedError, match="open the node again"):
            await waiting


async def test_an_edit_of_a_record_that_was_not_here_joins_what_others_have(
    tmp_path: Path,
) -> None:
    """Written without having it, it is a concurrent write like any other."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await on_demand(opened, "laptop", "phone")
        await phone.node.database("notes").collection("c").put({"extra": 1}, id="laptop")
        await settled(laptop, phone)

        notes = laptop.node.database("notes").collection("c")
        assert await notes.get("laptop") == {"by": "laptop", "extra": 1}


async def test_what_may_not_come_is_not_fetched(tmp_path: Path) -> None:
    """Consent is not the device's to give."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await on_demand(opened, "laptop", "phone")
        await say(laptop, phone, "notes", consent=False)
        await settled(laptop, phone)
        with pytest.raises(NotToBeHadError, match="rule consent"):
            await phone.engine.demands.fetch("notes", 60_000)
        with pytest.raises(NotToBeHadError, match="rule local-only"):
            await phone.engine.demands.fetch("cache", 60_000)


async def test_a_peer_that_asks_without_end_is_told_that_we_are_busy(tmp_path: Path) -> None:
    """Its questions cost a look-up each; they wait in no queue of ours."""
    async with nodes(tmp_path) as opened:
        _, phone = await on_demand(opened, "laptop", "phone")
        (link,) = phone.engine.switchboard.links.values()
        answers: list[Answer] = []
        take = phone.engine.demands.heard
        phone.engine.demands.heard = lambda *said: answers.append(said[1])  # type: ignore
        tag = phone.engine.mesh.database_tag("notes")
        for number in range(4 * QUESTIONS_OPEN_MAX):
            link.deliver(Demanded(Question(number, tag, "c", "laptop")))
        await until(lambda: len(answers) == 4 * QUESTIONS_OPEN_MAX)
        phone.engine.demands.heard = take  # type: ignore[method-assign]

        assert {answer.said for answer in answers} <= {Said.HERE, Said.BUSY}
        assert sum(answer.said is Said.HERE for answer in answers) >= QUESTIONS_OPEN_MAX
        assert (await demand_of(phone, "laptop"))["by"] == "laptop"


async def test_an_answer_that_is_no_record_is_not_shown(tmp_path: Path) -> None:
    """Paired is not trusted blindly: what a peer sends is looked at first."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await on_demand(opened, "laptop", "phone")
        for value in (b"[1]", b"{", b"\xff", json.dumps({"_meta": {}}).encode()):

            async def found(_: bytes, q: Question, value: bytes = value) -> Answer:
                return Answer(q.number, Said.HERE, value, 1 << 16, laptop.keys.sig_pk, 1)

            laptop.engine.demands._found = found  # type: ignore
            with pytest.raises(NotFoundError):
                await demand_of(phone, "laptop")
