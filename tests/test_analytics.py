"""`node.sql`: tables for analysis say what the records are, whatever happened to them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.node.data import analytics
from covey.node.data.analytics import (
    AGAIN_MS,
    TIME_MS_MAX,
    AnalyticsMissingError,
    SqlError,
    SqlFailedError,
)
from covey.node.data.analytics_methods import as_json
from covey.node.parameters import UsageError
from covey.node.service import Service
from covey.storage.analytics_database import AnalyticsDatabase
from covey.storage.stores import StoreKind
from covey.sync.values import Counter, Text, Vector

from .memory_world import Device, World, carry

pytest.importorskip("duckdb")

FOREVER = "SELECT count(*) FROM range(100000000) a, range(100000000) b"


@pytest.fixture
async def device() -> AsyncIterator[Device]:
    async with World() as world:
        yield await world.founder("laptop")


async def rows(device: Device, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    return (await device.node.sql(sql, parameters)).rows


async def test_a_collection_is_a_table_that_follows_its_records(device: Device) -> None:
    """Ask, change, ask again: the second answer is of what is there then."""
    facts = device.collection()
    await facts.put({"text": "likes tea", "n": 1}, id="tea")
    await facts.put({"text": Text("likes snow"), "n": Counter(2)}, id="snow", privacy="device")
    await device.collection("other").put({"n": 100}, id="tea")
    ask = "SELECT id, privacy, text, n FROM memory.facts ORDER BY id"

    first = await rows(device, ask)
    await facts.put({"n": 3}, id="tea")
    await facts.delete("snow")
    await facts.put({"n": "many", "when": datetime(2026, 1, 2, tzinfo=UTC)}, id="new")
    second = await device.node.sql("SELECT id, n, w.* FROM memory.facts, (SELECT 1 one) w")

    assert first == [("snow", "device", "likes snow", 2), ("tea", "private", "likes tea", 1)]
    assert sorted(second.rows) == [("new", "many", 1), ("tea", 3, 1)]
    assert second.columns == ["id", "n", "one"] and second.is_whole
    assert await rows(device, "SELECT when_ FROM (SELECT \"when\" when_ FROM memory.facts)") == [
        (None,), (datetime(2026, 1, 2, tzinfo=UTC),)
    ]  # fmt: skip
    (meta,) = await rows(device, "SELECT device, time FROM memory.facts WHERE id = 'tea'")
    assert meta[0] == device.node.device_id and meta[1].tzinfo is UTC


async def test_what_came_by_sync_is_in_the_table_with_its_device() -> None:
    """Both devices answer alike."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        ask = "SELECT id, n, device FROM memory.facts ORDER BY id"
        await laptop.collection().put({"n": 1}, id="a")
        await carry(laptop, phone)
        early = await rows(phone, ask)
        await phone.collection().put({"n": 2}, id="a")
        await phone.collection().put({"n": 3}, id="b")
        await carry(phone, laptop)

        here, there = laptop.node.device_id, phone.node.device_id
        assert early == [("a", 1, here)]
        assert await rows(phone, ask) == [("a", 2, there), ("b", 3, there)]
        assert await rows(laptop, ask) == await rows(phone, ask)


steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "replace", "delete", "ask"]),
        st.sampled_from("abcd"),
        st.dictionaries(
            st.sampled_from(["x", "X", "y"]),
            st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-1, 1) | st.text(max_size=3)
            | st.lists(st.integers(0, 3), max_size=2),
            max_size=3,
        ),
    ),
    max_size=12,
)  # fmt: skip


@given(steps)
@settings(max_examples=25, deadline=None)
def test_a_table_equals_the_records_after_any_history(
    history: list[tuple[str, str, dict[str, Any]]],
) -> None:
    """A table that was asked in between is the same as one that is filled at the end."""

    async def run() -> None:
        async with World() as world:
            device = await world.founder("laptop")
            facts = device.collection()
            await facts.put({"first": 1}, id="first")
            for op, id, value in history:
                match op:
                    case "put":
                        await facts.put(value, id=id)
                    case "replace":
                        await facts.put(value, id=id, replace=True)
                    case "delete":
                        await facts.delete(id)
                    case _:
                        await device.node.sql("SELECT * FROM memory.facts")
            expected = {
                name.rsplit("/", 1)[-1]: value for name, value in (await device.values()).items()
            }

            followed = await device.node.sql("SELECT * FROM memory.facts ORDER BY id")
            await device.engine.analytics._forget()
            afresh = await device.node.sql("SELECT * FROM memory.facts ORDER BY id")

            assert {row[0]: row[4] for row in followed.rows} == expected
            assert afresh == followed

    asyncio.run(run())


async def test_more_changes_than_one_step_takes_are_all_taken(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first fill is many pages of the feed, with other collections in between."""
    monkeypatch.setattr(analytics, "CHANGES_PER_STEP", 3)
    for n in range(10):
        await device.collection().put({"n": n})
        await device.collection("other").put({"n": n})

    assert await rows(device, "SELECT count(*), sum(n) FROM memory.facts") == [(10, 45)]


async def test_a_worn_table_is_made_anew(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a record that changes each second would fill the memory."""
    monkeypatch.setattr("covey.storage.analytics_database.WORN_ROWS_MIN", 2)
    for n in range(5):
        await device.collection().put({"n": n}, id="a")
        assert await rows(device, "SELECT n FROM memory.facts") == [(n,)]


async def test_without_duckdb_the_error_names_the_extra(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing else is broken."""
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    await device.collection().put({"n": 1}, id="a")

    with pytest.raises(AnalyticsMissingError, match=r"covey\[analytics\]"):
        await device.node.sql("SELECT 1")
    assert await device.collection().get("a") == {"n": 1}


async def test_what_is_not_there_is_named_and_costs_nothing(device: Device) -> None:
    """A typing error must not make the next query fill everything again."""
    await device.collection().put({"n": 1}, id="a")
    await rows(device, "SELECT * FROM memory.facts")
    before = device.engine.analytics._followed["memory", "facts"].table

    for sql in (
        "SELECT * FROM memory.fact",
        "SELECT * FROM memory.Facts",
        "SELECT nn FROM memory.facts",
    ):
        with pytest.raises(SqlError):
            await device.node.sql(sql)
    with pytest.raises(SqlError, match="limit"):
        await device.node.sql("SELECT 1", limit=0)

    assert await rows(device, "SELECT n FROM memory.facts") == [(1,)]
    assert device.engine.analytics._followed["memory", "facts"].table is before


async def test_the_store_registers_as_memory(device: Device) -> None:
    """Each store says of what kind it is before it is used."""
    await device.node.sql("SELECT 1")

    assert StoreKind.MEMORY in {
        store.kind for store in device.engine.stores.all() if store.name == "analytics"
    }


async def test_a_failed_fill_leaves_nothing_half_filled(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not taken in would be missing from every answer after."""
    for n in range(4):
        await device.collection().put({"n": n})
    monkeypatch.setattr(analytics, "CHANGES_PER_STEP", 2)
    fill, calls = AnalyticsDatabase.fill, []

    def failing(self: AnalyticsDatabase, *given: Any) -> None:
        fill(self, *given)
        calls.append(given)
        if len(calls) == 2:
            raise SqlFailedError("memory")

    monkeypatch.setattr(AnalyticsDatabase, "fill", failing)
    with pytest.raises(SqlFailedError):
        await device.node.sql("SELECT * FROM memory.facts")

    assert await rows(device, "SELECT count(*) FROM memory.facts") == [(4,)]


async def begun(device: Device) -> "asyncio.Task[Any]":
    """A query without end, in a thread of its own, that has a cursor."""
    device.engine.analytics.beside = asyncio.to_thread
    asked = asyncio.create_task(device.node.sql(FOREVER))
    tables = device.engine.analytics
    while tables._database is None or tables._database._cursor is None:
        await asyncio.sleep(0)
    return asked


async def ended(device: Device, *tasks: "asyncio.Task[Any]") -> None:
    """A thread may be told to stop before its query begins, so time has to go on."""
    while not all(task.done() for task in tasks):
        await device.clock.advance(AGAIN_MS)


async def test_a_query_that_takes_too_long_is_stopped(device: Device) -> None:
    """By the clock of the node; the next one is answered."""
    asked = await begun(device)
    await device.clock.advance(TIME_MS_MAX - 1)
    assert not asked.done()

    await ended(device, asked)

    with pytest.raises(SqlFailedError, match="30 seconds"):
        await asked
    assert await rows(device, "SELECT 1") == [(1,)]


async def test_a_query_whose_caller_has_gone_is_stopped(device: Device) -> None:
    """Ctrl-C in a terminal must not leave a thread at work for half a minute."""
    asked = await begun(device)
    waiting = asyncio.create_task(device.node.sql("SELECT 1"))

    asked.cancel()
    await ended(device, asked)

    assert asked.cancelled()
    assert device.clock.now_ms < 1_000_000 + TIME_MS_MAX
    assert (await waiting).rows == [(1,)]


async def test_a_node_that_closes_stops_what_runs(device: Device) -> None:
    """And answers nothing after."""
    asked = await begun(device)

    closing = asyncio.create_task(device.engine.analytics.close())
    await ended(device, asked, closing)

    with pytest.raises(SqlFailedError, match="stopped"):
        await asked
    with pytest.raises(SqlFailedError, match="closed"):
        await device.node.sql("SELECT 1")


async def test_the_service_answers_in_json(device: Device) -> None:
    """The command line and the socket carry nothing else."""
    service = Service(device.engine, lambda: None)
    await device.collection().put({"n": 1, "v": Vector([1.0]), "b": b"\0"}, id="a")

    asked = await service.call(
        "sql", {"query": "SELECT id, n, b, ? AS p FROM memory.facts", "parameters": [2], "limit": 5}
    )

    assert asked == {
        "columns": ["id", "n", "b", "p"],
        "rows": [["a", 1, {"$bytes": "AA=="}, 2]],
        "whole": True,
    }
    for bad in ({"parameters": 3}, {"parameters": [[1]]}, {"query": None}, {"limit": "x"}):
        with pytest.raises((UsageError, SqlError)):
            await service.call("sql", {"query": "SELECT 1", **bad})


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("'nan'::DOUBLE", None),
        ("2::HUGEINT ^ 2", 4.0),
        ("12345678901234567890123::HUGEINT", 12345678901234567890123),
        ("1.5::DECIMAL(3,2)", "1.50"),
        ("TIMESTAMP '2026-01-02 03:04:05'", "2026-01-02T03:04:05.000Z"),
        ("[TIMESTAMP '2026-01-02 03:04:05']", ["2026-01-02T03:04:05.000Z"]),
        ("{'t': TIMESTAMPTZ '2026-01-02 03:04:05+01'}", {"t": "2026-01-02T02:04:05.000Z"}),
        ("DATE '2026-01-02'", "2026-01-02"),
        ("'\\xAA'::BLOB", "qg=="),
        ("MAP {1.5: [{'a': 'nan'::FLOAT}]}", {"1.5": [{"a": None}]}),
        ("INTERVAL 1 DAY", "1 day, 0:00:00"),
    ],
)
async def test_every_type_of_sql_has_a_form_in_json(device: Device, sql: str, shown: Any) -> None:
    """An answer that cannot be written down would be a defect at the other end."""
    ((value,),) = await rows(device, f"SELECT {sql}")

    assert as_json(value) == shown
