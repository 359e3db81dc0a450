"""The past of a record: what a reader saw then is what is told of then, on every device."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.node.data.past import Past
from covey.node.projection import search_text
from covey.node.service import Service
from covey.storage.errors import StoreFullError
from covey.sync import crdt
from covey.sync.chunk import decode_chunk
from covey.sync.errors import BadValueError, GateError
from covey.sync.outline import outline_of
from covey.sync.record_state import RecordState
from covey.sync.values import Text
from covey.sync.versions import (
    UNKNOWN,
    Made,
    UnknownPastError,
    at_once,
    changes_made,
    state_until,
    states,
)

from .fake_clock import settle
from .memory_world import Device, World, carry, now, tick
from .record_worlds import ACTORS
from .schema_world import schema

ACTS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "delete", "carry"]),
        st.sampled_from(["a", "b"]),
        st.integers(0, 9),
        st.booleans(),
    ),
    max_size=10,
)


async def at(device: Device, time: datetime) -> dict[str, Any] | None:
    return await device.collection().as_of("r", time)


@given(ACTS)
@settings(max_examples=30, deadline=None)
async def test_a_record_at_a_time_is_what_its_only_writer_saw_then(acts: list[Any]) -> None:
    """Whatever was put and deleted; and a device that got all of it later tells the same."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        facts = laptop.collection()
        seen: list[tuple[datetime, dict[str, Any] | None]] = [(await tick(laptop), None)]
        for act, field, number, replace in acts:
            if act == "put":
                await facts.put({field: number}, id="r", replace=replace)
            elif act == "delete":
                await facts.delete("r")
            else:
                await carry(laptop, phone)
            seen.append((await tick(laptop), await facts.get("r")))
        await carry(laptop, phone)

        for time, value in seen:
            assert await at(laptop, time) == value
            assert await at(phone, time) == value
        versions = await facts.history("r")
        assert versions == await phone.collection().history("r")
        if versions:
            assert versions[0].record == await facts.get("r")
        assert [v.time for v in versions] == sorted(
            (v.time for v in versions if v.time), reverse=True
        )


async def test_what_was_written_apart_is_in_the_past_from_when_it_was_written() -> None:
    """A diary must not change what it says of yesterday by the order in which devices met."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put({"n": 0}, id="r")
        await carry(laptop, phone)
        for device in (laptop, phone):
            await device.clock.advance(1_000)
        await phone.collection().put({"apart": 1}, id="r")
        for device in (laptop, phone):
            await device.clock.advance(1_000)
        between = now(laptop)
        await laptop.clock.advance(1_000)
        await laptop.collection().put({"n": 2}, id="r")
        assert await at(laptop, between) == {"n": 0}
        await carry(phone, laptop)
        await carry(laptop, phone)

        for device in (laptop, phone):
            assert await at(device, between) == {"n": 0, "apart": 1}
            assert len(await device.collection().history("r")) == 3


async def test_a_moved_record_keeps_the_past_of_both_its_levels() -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        facts = laptop.collection()
        await facts.put({"n": 1}, id="r")
        before = await tick(laptop)
        await facts.move("r", privacy="family")
        after = await tick(laptop)

        assert await at(laptop, before) == await at(laptop, after) == {"n": 1}
        assert await at(laptop, before - timedelta(days=1)) is None


async def test_a_write_is_in_the_past_when_it_is_on_the_disk_and_not_before() -> None:
    """A commit under way may fail: then a version would have been told that never was."""
    async with World() as world:
        laptop = await world.founder("laptop")
        facts = laptop.collection()
        await facts.put({"n": 1}, id="r")
        laptop.gate.hold_writes = True
        put = asyncio.ensure_future(facts.put({"n": 2}, id="r"))
        born = asyncio.ensure_future(facts.put({"n": 3}, id="new"))
        await settle()

        async def told() -> list[Any]:
            versions = [version.record for version in await facts.history("r")]
            return [versions, await at(laptop, now(laptop)), await facts.history("new")]

        assert await told() == [[{"n": 1}], {"n": 1}, []]
        laptop.gate.fail = StoreFullError(Path("memory"))
        laptop.gate.hold_writes = False
        laptop.gate.release()
        failed = await asyncio.gather(put, born, return_exceptions=True)
        assert [type(one) for one in failed] == [StoreFullError] * 2
        assert await told() == [[{"n": 1}], {"n": 1}, []]
        laptop.gate.fail = None
        await facts.put({"n": 4}, id="r")
        assert (await told())[:2] == [[{"n": 4}, {"n": 1}], {"n": 4}]


async def test_whoever_reads_a_long_past_lets_others_have_a_turn_for_each_version() -> None:
    """4,000 versions take half a second, in which a node would answer nobody."""
    async with World() as world:
        laptop = await world.founder("laptop")
        facts = laptop.collection()
        count = 60
        for n in range(count):
            await facts.put({"n": n}, id="r")
        for ask in (facts.history("r", limit=1), at(laptop, now(laptop))):
            asked = asyncio.ensure_future(ask)
            turns = 0
            while not asked.done():
                await asyncio.sleep(0)
                turns += 1

            # One for each change as it is read, one for each as it is applied.
            assert turns >= 2 * count


def test_to_begin_with_the_past_of_a_record_costs_no_reading_of_all_of_it() -> None:
    """One piece of the work would be as long as the half of it that decodes what was written."""
    state = crdt.create(ACTORS[0], {"n": 0}, entry_seq=1).state
    for n in range(1, 10):
        edited = crdt.edit(state, ACTORS[n % 2], {"n": n}, entry_seq=n + 1, replace=False)
        assert edited is not None
        state = edited.state
    doc, meta = crdt.encode_state(crdt.compacted(state))
    stored = crdt.decode_state(doc, meta, lambda: pytest.fail("it has a document"))

    decode = patch("covey.sync.crdt.decode_chunk", wraps=decode_chunk)
    outline = patch("covey.sync.crdt.outline_of", wraps=outline_of)
    with decode as decoded, outline as outlined:
        steps = changes_made(stored)
        for n in range(1, 11):
            next(steps)
            assert (decoded.call_count, outlined.call_count) == (n, 0)
        made = made_of(stored)
        # What is read again of a version is its last change, not all before it.
        before = decoded.call_count
        for _, then in states(made):
            crdt.registers_of(then)
        assert decoded.call_count <= before + len(made) + 3


async def test_of_many_versions_no_more_are_made_than_are_asked_for() -> None:
    """400 small edits of a record of 900 kB held 364 MB, whatever the limit was."""
    async with World() as world:
        laptop = await world.founder("laptop")
        facts = laptop.collection()
        for n in range(5):
            await facts.put({"n": n}, id="r")
        await facts.move("r", privacy="family")
        whole = await facts.history("r")
        assert [version.record for version in whole].count(None) == 1
        assert len(whole) == 7

        for limit in (0, 1, 2, 100):
            with patch.object(Past, "_shown", autospec=True, side_effect=Past._shown) as shown:
                assert await facts.history("r", limit=limit) == whole[:limit]
            assert shown.call_count <= 2 * limit
        for bad in (-1, True, 10**9):
            with pytest.raises(BadValueError, match="limit"):
                await facts.history("r", limit=bad)


async def test_a_time_without_a_zone_is_no_time() -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        with pytest.raises(BadValueError, match="zone"):
            await Past(laptop.engine).at("memory", "facts", "r", datetime(2026, 1, 1))
        assert await at(laptop, datetime(2026, 1, 1, tzinfo=UTC)) is None
        assert await laptop.collection().history("r") == []


def test_a_text_that_merges_is_found_by_its_words_and_by_nothing_else() -> None:
    """A search for "content" found every record that had one."""
    assert search_text({"a": Text("black tea")}) == "black tea"


def two(first_hlc: int, second_hlc: int) -> RecordState:
    """A record of two devices, of which the second knew what the first wrote."""
    first = crdt.create(ACTORS[0], {"n": 1}, entry_seq=1, hlc=first_hlc)
    second = crdt.edit(first.state, ACTORS[1], {"n": 2}, entry_seq=1, replace=False, hlc=second_hlc)
    assert second is not None
    return second.state


def made_of(state: RecordState) -> list[Made]:
    return at_once(changes_made(state))


def value_at(state: RecordState, hlc: int) -> dict[str, Any] | None:
    then = at_once(state_until(made_of(state), hlc))
    return None if then is None else then.value


def test_a_clock_that_is_ahead_makes_no_past_unreadable() -> None:
    """It moves no other clock far, so what rests on its changes is stamped before them."""
    state = two(first_hlc=100, second_hlc=50)

    assert [value_at(state, hlc) for hlc in (49, 99, 100)] == [None, None, {"n": 2}]
    assert [then.value for _, then in states(made_of(state))] == [{"n": 1}, {"n": 2}]


def test_a_change_without_a_time_is_not_guessed_at() -> None:
    """What rests on such a change proves that it was there; nothing else does."""
    assert value_at(two(UNKNOWN, 50), 50) == {"n": 2}
    for state, hlc in ((two(UNKNOWN, 50), 49), (two(50, UNKNOWN), 50)):
        with pytest.raises(UnknownPastError):
            value_at(state, hlc)
    assert value_at(two(50, UNKNOWN), 49) is None
    assert [one.said for one in made_of(two(50, UNKNOWN))] == [50, UNKNOWN]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 20)), max_size=12),
    st.integers(0, 20),
)
@settings(deadline=None)
def test_any_clocks_leave_a_past_that_is_the_same_everywhere(
    edits: list[tuple[int, int, int]], hlc: int
) -> None:
    """Each writes with any time, and hears of any other; then all hear of everything."""
    base = crdt.create(ACTORS[0], {"n": -1}, entry_seq=1, hlc=5)
    sides = [base.state] + [crdt.apply(None, ACTORS[0], base.tail, 1, 5) for _ in range(2)]
    logs: list[list[tuple[bytes, int]]] = [[(base.tail, 5)], [], []]

    def hear(here: int, source: int) -> None:
        for seq, (tail, time) in enumerate(logs[source], 1):
            with suppress(GateError):  # It rests on what the listener has yet to hear.
                sides[here] = crdt.apply(sides[here], ACTORS[source], tail, seq, time)

    for number, (who, source, time) in enumerate(edits):
        hear(who, source)
        seq = len(logs[who]) + 1
        made = crdt.edit(
            sides[who], ACTORS[who], {"n": number}, entry_seq=seq, replace=False, hlc=time + 1
        )
        assert made is not None
        sides[who] = made.state
        logs[who].append((made.tail, time + 1))
    for _ in range(len(edits) + 1):
        for here in range(3):
            for source in range(3):
                hear(here, source)

    told = [[(one.hlc, one.change.hash) for one in made_of(side)] for side in sides]
    assert told[0] == told[1] == told[2]
    assert len(told[0]) == len(edits) + 1
    values = [value_at(side, hlc) for side in sides]
    assert values[0] == values[1] == values[2]
    last = max(time for time, _ in told[0])
    assert [value_at(side, last) for side in sides] == [side.value for side in sides]


async def test_a_stamp_of_any_size_is_shown_as_the_last_time_there_is() -> None:
    """A peer may stamp its changes with whatever fits; it must not take the history away."""
    async with World() as world:
        laptop = await world.founder("laptop")
        await laptop.collection().put({"n": 1}, id="r")
        with patch("covey.node.data.past.changes_made", lambda _: changes_made(two(2**64 - 1, 7))):
            versions = await laptop.collection().history("r")

        assert [version.record for version in versions] == [{"n": 2}, {"n": 1}]
        assert versions[0].time is not None and versions[0].time.year == 9999


async def test_encrypted_fields_of_the_past_are_opened_where_get_opens_them() -> None:
    """And nowhere else, unless somebody asks."""
    async with World() as world:
        laptop = await world.founder("laptop")
        collection = {"fields": {"secret": "string"}, "encrypted": ["secret"]}
        await laptop.node.install(schema(collections={"facts": collection}))
        await laptop.collection().put({"secret": "canary"}, id="r")
        asked = {"database": "memory", "collection": "facts", "id": "r"}
        then = {**asked, "at": now(laptop).isoformat()}
        service = Service(laptop.engine, lambda: None)

        assert await at(laptop, now(laptop)) == {"secret": "canary"}
        assert "canary" not in str(await service.call("get_at", then))
        assert await service.call("get_at", {**then, "unseal": True}) == {"secret": "canary"}
        assert "canary" not in str(await service.call("history", asked))
