"""Lifecycle: what has reached its time goes on every device, and nothing else ever does."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.node.data import deleting, lifecycle
from covey.node.data.lifecycle import EVERY_MS, due_ms, time_ms
from covey.node.parameters import DAY_MS
from covey.storage.lifecycle_rows import RuleRow
from covey.storage.pack_rows import Tier
from covey.sync.errors import BadValueError

from .fake_clock import settle
from .memory_world import Device, World, meet

RULE = RuleRow("memory", "facts", "expires", None, 30, 180)


def in_ms(device: Device, later_ms: int) -> int:
    return device.clock.wall_ms() + later_ms


async def live(device: Device) -> list[str]:
    return [found.id for found in await device.collection().find(limit=10_000)]


async def test_what_has_reached_its_time_is_deleted_and_nothing_else() -> None:
    """Working memory is to be forgotten; one record too many would be lost for good."""
    async with World() as world:
        device = await world.founder("laptop")
        facts = device.collection()
        await device.engine.lifecycle.declare("memory", "facts", expires_field="expires")
        soon = datetime.fromtimestamp(in_ms(device, 1000) / 1000, UTC)
        await facts.put({"expires": in_ms(device, 1000)}, id="number")
        await facts.put({"expires": soon}, id="time")
        await facts.put({"expires": soon.isoformat()}, id="text")
        await facts.put({"expires": in_ms(device, 5_000)}, id="later")
        for id, odd in {
            "none": None,
            "bool": True,
            "word": "never",
            "list": [1],
            "less": -5,
        }.items():
            await facts.put({"expires": odd}, id=id)
        await facts.put({"text": "no such field"}, id="without")
        await device.collection("other").put({"expires": 1}, id="elsewhere")

        assert (await device.engine.lifecycle.sweep()).expired == 0
        await device.clock.advance(1_001)
        assert (await device.engine.lifecycle.sweep(dry_run=True)).expired == 3
        assert (await device.engine.lifecycle.sweep()).expired == 3
        assert await live(device) == ["bool", "later", "less", "list", "none", "without", "word"]
        assert len(await device.collection("other").find()) == 1


async def test_an_age_counts_from_the_latest_change() -> None:
    """What is still being written is not old."""
    async with World() as world:
        device = await world.founder("laptop")
        await device.engine.lifecycle.declare("memory", "facts", keep_days=2)
        await device.collection().put({"n": 1}, id="old")
        await device.collection().put({"n": 1}, id="edited")
        await device.clock.advance(DAY_MS)
        await device.collection().put({"n": 2}, id="edited")
        await device.clock.advance(DAY_MS + 1)
        await device.engine.lifecycle.sweep()

        assert await live(device) == ["edited"]


async def test_the_device_that_wrote_it_deletes_first_and_the_others_after_a_day() -> None:
    """Two deletions of one record are one too many; none at all leaves it for ever."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        for device in (laptop, phone):
            await device.engine.lifecycle.declare("memory", "facts", expires_field="expires")
        await laptop.collection().put({"expires": in_ms(laptop, 1000)}, id="a")
        await meet(laptop, phone)
        await phone.clock.advance(2000)

        assert (await phone.engine.lifecycle.sweep()).expired == 0
        await phone.clock.advance(DAY_MS)
        assert (await phone.engine.lifecycle.sweep()).expired == 1
        assert (await laptop.engine.lifecycle.sweep()).expired == 1
        await meet(laptop, phone)
        assert await live(laptop) == await live(phone) == []


async def test_an_edit_apart_keeps_a_record_and_more_time_saves_it() -> None:
    """Whoever works on something must not lose it to a clock elsewhere."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.engine.lifecycle.declare("memory", "facts", expires_field="expires")
        at = in_ms(laptop, 1000)
        for id in ("saved", "touched"):
            await laptop.collection().put({"expires": at}, id=id)
        await meet(laptop, phone)
        await phone.collection().put({"expires": in_ms(phone, 10 * DAY_MS)}, id="saved")
        await phone.collection().put({"text": "a word"}, id="touched")
        await laptop.clock.advance(2000)
        await laptop.engine.lifecycle.sweep()
        assert await live(laptop) == []
        await meet(laptop, phone)

        assert await live(laptop) == await live(phone) == ["saved", "touched"]
        await laptop.clock.advance(DAY_MS)
        await laptop.engine.lifecycle.sweep()
        await meet(laptop, phone)
        assert await live(laptop) == await live(phone) == ["saved"]


async def test_what_was_edited_between_looking_and_deleting_stays() -> None:
    """A sweep reads many records; one may be given more time meanwhile."""
    async with World() as world:
        device = await world.founder("laptop")
        rule = await device.engine.lifecycle.declare("memory", "facts", expires_field="expires")
        await device.collection().put({"expires": 1}, id="a")
        await device.collection().put({"expires": in_ms(device, DAY_MS)}, id="a")

        assert await device.engine.lifecycle._delete(rule, ["a", "gone"]) == (0, 0)
        assert await live(device) == ["a"]


async def test_the_age_is_that_of_the_newest_change_in_whatever_order_changes_came() -> None:
    """Devices that hold the same must decide the same."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put({"n": 0}, id="a")
        await meet(laptop, phone)
        await phone.collection().put({"m": 1}, id="a")  # older, and it comes last
        await laptop.clock.advance(DAY_MS)
        await laptop.collection().put({"n": 1}, id="a")
        await meet(laptop, phone)
        await laptop.engine.lifecycle.declare("memory", "facts", keep_days=2)
        await laptop.clock.advance(DAY_MS + 2)
        await laptop.engine.lifecycle.sweep()

        assert await live(laptop) == ["a"]


async def test_packed_records_read_write_and_sync_as_others() -> None:
    """Nobody sees a tier."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        for round in range(3):
            for n in range(30):
                await laptop.collection().put({"text": f"{round} of {n}"}, id=f"r{n:02}")
        await laptop.collection().delete("r29")
        await meet(laptop, phone)
        await laptop.engine.lifecycle.declare("memory", "facts", warm_days=1, cold_days=9)
        before = await laptop.values()
        await laptop.clock.advance(2 * DAY_MS)
        warm = await laptop.engine.lifecycle.sweep()
        again = await laptop.engine.lifecycle.sweep()
        await laptop.clock.advance(9 * DAY_MS)
        cold = await laptop.engine.lifecycle.sweep()
        laptop.engine.shelf.drop([(1, "facts", f"r{n:02}") for n in range(30)])

        assert (warm.packed, again.packed, cold.packed) == (30, 0, 29)
        assert warm.after < warm.before and await laptop.values() == before
        await laptop.collection().put({"text": "new"}, id="r00")
        await phone.collection().put({"more": 1}, id="r01")
        await meet(laptop, phone)
        assert await laptop.values() == await phone.values()
        assert (await laptop.collection().get("r01") or {})["text"] == "2 of 1"


async def test_rules_are_kept_replaced_and_withdrawn() -> None:
    """They must outlive the process that said them."""
    async with World() as world:
        device = await world.founder("laptop")
        await device.engine.lifecycle.declare("memory", "facts", keep_days=9)
        rule = await device.engine.lifecycle.declare("memory", "facts", keep_days=3)
        device = await world.restart(device)

        assert await device.engine.lifecycle.rules() == [rule]
        assert await device.engine.lifecycle.withdraw("memory", "facts")
        assert not await device.engine.lifecycle.withdraw("memory", "facts")
        assert await device.engine.lifecycle.rules() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"keep_days": 0},
        {"keep_days": True},
        {"keep_days": 10**9},
        {"warm_days": -1},
        {"warm_days": None},
        {"cold_days": 1.5},
        {"warm_days": 9, "cold_days": 3},
        {"expires_field": ""},
        {"expires_field": "x" * 300},
    ],
)
async def test_rules_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    """A rule deletes; a slip of the finger must not be one."""
    async with World() as world:
        device = await world.founder("laptop")
        with pytest.raises(BadValueError):
            await device.engine.lifecycle.declare("memory", "facts", **wrong)
        assert await device.engine.lifecycle.rules() == []


async def test_hostile_names_are_names() -> None:
    """Fields are looked up in the record, and never become SQL or a path."""
    async with World() as world:
        device = await world.founder("laptop")
        field = "x') OR 1=1; DROP TABLE records; --"
        await device.engine.lifecycle.declare("memory", "facts", expires_field=field)
        await device.collection().put({field: 1}, id="a")
        await device.collection().put({"x": 1}, id="b")
        await device.engine.lifecycle.sweep()

        assert await live(device) == ["b"]


async def test_a_sweep_comes_every_hour_by_itself() -> None:
    """Nobody thinks of it."""
    async with World() as world:
        device = await world.founder("laptop")
        await device.engine.lifecycle.declare("memory", "facts", expires_field="expires")
        await device.collection().put({"expires": 1}, id="a")
        device.engine.lifecycle.start()
        await settle()
        assert await live(device) == ["a"]
        await device.clock.advance(EVERY_MS + 1)
        await settle()

        assert await live(device) == []


async def test_many_records_are_walked_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of a million records must not be read at once, and no page may be missed."""
    for name, size in (("WALK_RECORDS", 7), ("PACK_RECORDS", 3)):
        monkeypatch.setattr(lifecycle, name, size)
    monkeypatch.setattr(deleting, "DELETE_RECORDS", 2)
    async with World() as world:
        device = await world.founder("laptop")
        facts = device.collection()
        for n in range(20):
            await facts.put({"expires": n % 2 or None}, id=f"r{n:02}")
            await facts.put({"n": n}, id=f"r{n:02}")
        await device.engine.lifecycle.declare(
            "memory", "facts", expires_field="expires", warm_days=0, cold_days=0
        )
        swept = await device.engine.lifecycle.sweep()

        assert (swept.expired, swept.packed) == (10, 20)
        assert await live(device) == [f"r{n:02}" for n in range(0, 20, 2)]


@given(
    st.none() | st.booleans() | st.floats() | st.text() | st.lists(st.integers()) | st.integers(),
)
def test_whatever_is_in_the_field_is_a_time_or_never(value: object) -> None:
    """A peer may write anything there."""
    found = time_ms(value)

    assert found is None or isinstance(found, int)
    assert due_ms({"expires": value}, 5 << 16, RULE) == found
    assert due_ms({}, 5 << 16, RULE) is None


@pytest.mark.parametrize(
    "text",
    [
        *("1801121312345", "20200101", "2020-W01-1", "1" * 5_000, "20200101T000000Z", "2020"),
        *(
            "2020-01-01x10:00",
            "2020-01-01\u00e910:00",
            "\u0662\u0660\u0662\u0660-01-01",
            "2020-01-01T25:00",
        ),
    ],
)
def test_a_text_that_only_may_be_a_time_deletes_nothing(text: str) -> None:
    """Numbers, too, are written as texts: of phones, of ids, of milliseconds since 1970."""
    assert time_ms(text) is None
    assert time_ms({"$time": text}) is None


@pytest.mark.parametrize(
    "text",
    [
        *("2020-01-01", "2020-01-01T00:00:00.000Z", "2020-01-01 00:00", "2020-01-01T01:00+01:00"),
        *("2019-12-31T23:00:00,5-01", "2020-01-01T00:00:00.123456789Z"),
    ],
)
def test_a_time_may_be_written_in_the_usual_ways(text: str) -> None:
    found = time_ms(text)
    assert found is not None and 0 <= found - 1_577_836_800_000 < 1_000


def test_the_earlier_of_field_and_age_counts() -> None:
    """Both were said, so neither is to be passed."""
    both = RULE._replace(keep_days=1)

    assert due_ms({"expires": 7}, 9 << 16, both) == 7
    assert due_ms({"expires": DAY_MS * 9}, 9 << 16, both) == 9 + DAY_MS
    assert time_ms(datetime(1970, 1, 2, tzinfo=UTC) + timedelta(days=1)) == 2 * DAY_MS
    assert time_ms({"$time": "1970-01-02T00:00:00Z"}) == DAY_MS
    assert time_ms("1970-01-02") == DAY_MS
    assert Tier.COLD > Tier.WARM > Tier.HOT
