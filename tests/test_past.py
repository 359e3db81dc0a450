"""The past of a record: what a reader saw then is what is told of then, on every device."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.node.data.past import Past
from covey.node.projection import search_text
from covey.sync.errors import BadValueError
from covey.sync.values import Text, timestamp_of

from .memory_world import Device, World, carry

ACTS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "delete", "carry"]),
        st.sampled_from(["a", "b"]),
        st.integers(0, 9),
        st.booleans(),
    ),
    max_size=10,
)


def now(device: Device) -> datetime:
    return timestamp_of(device.clock.wall_ms())


async def tick(device: Device) -> datetime:
    """The time, and time passes."""
    time = now(device)
    await device.clock.advance(1_000)
    return time


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
        assert [v.time for v in versions] == sorted((v.time for v in versions), reverse=True)


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
