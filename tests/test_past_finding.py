"""Queries of what was: a collection at a time is what a query of that time answered."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.node.data import past_finding
from covey.node.data.past import Past, UnknownMomentError
from covey.node.data.past_finding import TooMuchPastError
from covey.node.data.personal import Personal, about_of
from covey.node.service import Service
from covey.storage.pack_rows import Tier, pack
from covey.storage.store import Conn
from covey.sync.errors import BadValueError
from covey.sync.values import Counter, Text

from .memory_world import Device, World, carry, now, tick
from .schema_world import schema

VALUES = st.one_of(
    st.integers(-2, 3),
    st.sampled_from(["", "a", "b", None, True, 1.5]),
    st.sampled_from([Text("ab"), Counter(2), [1, "a"], {"x": 1}, {"x": "a"}]),
)
WRITES = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "replace", "delete", "move"]),
        st.sampled_from(["r", "s", "t"]),
        st.dictionaries(st.sampled_from(["a", "b", "m"]), VALUES, max_size=2),
    ),
    max_size=10,
)
ASKED = st.fixed_dictionaries(
    {
        "where": st.sampled_from(
            [
                {},
                {"a": 1},
                {"a": {">=": 0}},
                {"a": {"!=": "a"}},
                {"a": {"exists": False}},
                {"a": {"in": ["", "b", True]}, "b": {"<": 3}},
                {"/m/x": 1},
                {"a": {"has": 1}},
                {"a": {"prefix": ""}},
            ]
        ),
        "order": st.sampled_from([None, "a", "-b", ["a", "-b"], "/m/x"]),
        "descending": st.booleans(),
        "limit": st.sampled_from([100, 2, 1, 0]),
        "offset": st.sampled_from([0, 1]),
    }
)


async def act(device: Device, what: str, id: str, fields: dict[str, Any]) -> None:
    facts = device.collection()
    if what == "delete":
        await facts.delete(id)
    elif what == "move":
        await facts.move(id, privacy="family")
    else:
        await facts.put(fields, id=id, replace=what == "replace")


@given(WRITES, ASKED)
@settings(max_examples=60, deadline=None)
async def test_a_query_of_a_time_is_answered_as_it_was_then(
    writes: list[Any], asked: dict[str, Any]
) -> None:
    """Each moment of any history; a device that got all of it later answers the same."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        seen: list[tuple[datetime, list[tuple[str, Any]]]] = []
        for write in [None, *writes]:
            if write is not None:
                await act(laptop, *write)
            found = await laptop.collection().find(**asked)
            seen.append((await tick(laptop), [(one.id, one.value) for one in found]))
        await carry(laptop, phone)

        for device in (laptop, phone):
            for time, answer in seen:
                then = await device.collection().find(**asked, at=time)
                assert [(one.id, one.value) for one in then] == answer


async def test_what_was_written_apart_is_judged_from_when_it_was_written() -> None:
    """And what is known of it is what its last change then said."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put({"n": 0}, id="r")
        await carry(laptop, phone)
        early = await tick(laptop)
        await phone.collection().put({"apart": 1}, id="r")
        await phone.collection().put({"apart": 1}, id="s")
        between = await tick(laptop)
        await laptop.collection().put({"n": 2}, id="r")
        await laptop.collection().put({"n": 2}, id="s")
        await carry(phone, laptop)

        found = await laptop.collection().find({"apart": 1}, order="n", at=between)
        assert [(one.id, one.value) for one in found] == [
            ("s", {"apart": 1}),
            ("r", {"n": 0, "apart": 1}),
        ]
        authors = [laptop.engine.ledger.log_numbered(one.log).author for one in found]
        assert authors == [phone.engine.keys.sig_pk] * 2
        assert all(one.hlc >> 16 == int(between.timestamp() * 1000) for one in found)
        assert await laptop.collection().find({"apart": 1}, at=early) == []


async def test_only_what_changed_since_is_read() -> None:
    """A collection of a hundred thousand records of which ten changed costs ten histories."""
    async with World() as world:
        laptop = await world.founder("laptop")
        facts = laptop.collection()
        for n in range(6):
            await facts.put({"n": n}, id=f"r{n}")
            await facts.put({"m": n}, id=f"r{n}")
        then = await tick(laptop)
        await facts.put({"n": 9}, id="r0")
        await facts.put({"n": 9}, id="new")
        await facts.put({"m": 9}, id="new")
        with patch.object(Past, "opened", autospec=True, side_effect=Past.opened) as opened:
            found = await facts.find({"n": {"<": 3}}, order="-n", at=then)

        assert [one.value["n"] for one in found] == [2, 1, 0]
        assert opened.call_count == 1


async def test_others_have_a_turn_between_records() -> None:
    """The node goes on while a query of the past reads."""
    async with World() as world:
        laptop = await world.founder("laptop")
        facts = laptop.collection()
        for n in range(20):
            await facts.put({"n": n}, id=f"r{n}")
        then = await tick(laptop)
        for n in range(20):
            await facts.put({"n": -n}, id=f"r{n}")
        asked = asyncio.ensure_future(facts.find(at=then))
        turns = 0
        while not asked.done():
            await asyncio.sleep(0)
            turns += 1

        assert len(asked.result()) == 20 and turns >= 20


@pytest.mark.parametrize(
    ("limit", "value", "told"),
    [
        ("RECORDS_MAX", 9, "more than 9 records"),
        ("HISTORIES_MAX", 4, "more than 4 of its records changed"),
        ("HISTORY_BYTES_MAX", 100, "more than 100 bytes"),
        ("PASSING_CHARACTERS_MAX", 50, "more than 50 characters"),
    ],
)
async def test_a_query_that_would_read_too_much_is_refused_with_what_helps(
    limit: str, value: int, told: str
) -> None:
    """Each bound, and the work below it is done; in parts, however small they are."""
    async with World() as world:
        laptop = await world.founder("laptop")
        facts = laptop.collection()
        for n in range(5):
            await facts.put({"n": n}, id=f"young{n}")
            await facts.put({"n": n}, id=f"old{n}")
            await facts.put({"m": n}, id=f"old{n}")
        then = await tick(laptop)
        for n in range(5):
            await facts.put({"n": -n - 1}, id=f"old{n}")
        with patch.multiple(past_finding, RECORDS_PER_READ=3, HISTORY_BYTES_PER_READ=1):
            assert len(await facts.find(at=then)) == 10
            with patch.object(past_finding, limit, value):
                with pytest.raises(TooMuchPastError, match=told) as refused:
                    await facts.find(at=then)
                assert "narrow the query" in str(refused.value) and refused.value.exit_code == 2


async def test_what_does_not_go_with_a_time_is_refused() -> None:
    """An answer about today would look like one about then."""
    async with World() as world:
        laptop = await world.founder("laptop")
        facts = laptop.collection()
        await facts.put({"n": 1}, id="r")
        time = now(laptop)
        service = Service(laptop.engine, lambda: None)
        place = {"database": "memory", "collection": "facts", "at": time.isoformat()}
        cursor = (await facts.page(limit=0)).next

        with pytest.raises(BadValueError, match="text"):
            await facts.find(text="tea", at=time)
        with pytest.raises(BadValueError, match="after"):
            await service.call("find", {**place, "after": "x"})
        with pytest.raises(BadValueError, match="zone"):
            await facts.find(at=time.replace(tzinfo=None))
        with pytest.raises(BadValueError, match="test"):
            await facts.find({"n": {"~": 1}}, at=time)
        assert cursor is None
        assert await facts.find(at=datetime(1, 1, 1, tzinfo=UTC)) == []
        assert len(await facts.find(at=datetime(9999, 1, 1, tzinfo=UTC))) == 1


async def test_a_packed_record_is_read_like_any_other() -> None:
    """Where its times lie is another place."""
    async with World() as world:
        laptop = await world.founder("laptop")
        facts = laptop.collection()
        await facts.put({"n": 1}, id="r")
        then = await tick(laptop)
        await facts.put({"n": 2}, id="r")
        after = await tick(laptop)

        def pack_all(conn: Conn) -> int:
            (row,) = conn.execute(
                "SELECT coll_no, record_no FROM records WHERE id = 'r'"
            ).fetchall()
            return pack(conn, Tier.COLD, row[0], [row[1]]).records

        assert await laptop.engine.database.write(pack_all) == 1
        laptop = await world.restart(laptop)
        for time, n in ((then, 1), (after, 2)):
            (found,) = await laptop.collection().find(at=time)
            assert found.value == {"n": n}


async def test_a_time_that_was_not_kept_is_not_guessed_at() -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        await laptop.collection().put({"n": 1}, id="r")
        await laptop.engine.database.write(lambda conn: conn.execute("UPDATE records SET hlc = 0"))
        laptop = await world.restart(laptop)

        with pytest.raises(UnknownMomentError, match="facts/r"):
            await laptop.collection().find(at=now(laptop))


async def test_what_has_been_erased_since_is_left_out_and_counted() -> None:
    """It must not come back by way of a query."""
    async with World() as world:
        laptop = await world.founder("laptop")
        facts, service = laptop.collection(), Service(laptop.engine, lambda: None)
        await facts.put({"who": "mara"}, id="r")
        await facts.put({"who": "mara"}, id="moved")
        await facts.put({"who": "tom"}, id="s")
        before = await tick(laptop)
        await facts.move("moved", privacy="family")
        await tick(laptop)
        about = about_of({"about": {"who": "mara"}})
        await Personal(laptop.engine).erase("memory", about, dry_run=False)
        place = {"database": "memory", "collection": "facts", "at": before.isoformat()}

        assert [one.id for one in await facts.find(at=before)] == ["s"]
        assert await service.call("find", place) == {
            "records": [{"id": "s", "who": "tom"}],
            "erased": 2,
        }


async def test_encrypted_fields_stay_closed_as_in_any_query() -> None:
    """`as_of` opens them, as `get` does."""
    async with World() as world:
        laptop = await world.founder("laptop")
        collection = {"fields": {"secret": "string"}, "encrypted": ["secret"]}
        await laptop.node.install(schema(collections={"facts": collection}))
        await laptop.collection().put({"secret": "canary"}, id="r")
        time = await tick(laptop)
        await laptop.collection().put({"secret": "other"}, id="r")

        (found,) = await laptop.collection().find(at=time)
        assert "canary" not in str(found.value)
        assert await laptop.collection().as_of("r", time) == {"secret": "canary"}
