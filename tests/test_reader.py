"""Reader: what an application sees is what is durable, whole and in order."""

import asyncio
from datetime import datetime
from typing import Any

import pytest

from covey.node import reader
from covey.node.data.asking import Query
from covey.sync.errors import BadValueError

from .fake_clock import settle
from .memory_world import Device, World


async def filled(world: World) -> Device:
    device = await world.founder("laptop")
    for number in range(7):
        await device.collection().put(
            {"n": number, "text": f"word{number % 2} tea"}, id=f"r{number}"
        )
    await device.collection().put({"n": 1}, id="r1", privacy=None)
    await device.collection("other").put({"n": 9}, id="o", privacy="family")
    await device.collection("facts", "second").put({"n": 5}, id="s")
    await device.collection().delete("r6")
    return device


async def test_a_record_says_what_it_is_and_for_whom() -> None:
    """`get --meta` rests on it."""
    async with World() as world:
        device = await filled(world)
        found = await device.engine.reader.get("memory", "other", "o")

        assert found is not None
        assert (found.id, found.value, found.privacy) == ("o", {"n": 9}, 2)
        author = device.engine.ledger.log_numbered(found.log).author
        assert author == device.id
        for name in (("memory", "facts", "r6"), ("memory", "none", "o"), ("none", "facts", "r1")):
            assert await device.engine.reader.get(*name) is None


async def test_nothing_is_read_that_is_not_durable() -> None:
    """What a crash may take back must not have been shown."""
    async with World() as world:
        device = await filled(world)
        device.gate.hold_writes = True
        put = asyncio.ensure_future(device.collection().put({"n": 100}, id="r1"))
        await settle()
        before = await device.collection().get("r1")
        device.gate.hold_writes = False
        device.gate.release()
        await put

        assert before is not None and before["n"] == 1
        assert (await device.collection().get("r1") or {})["n"] == 100


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        (Query({}, None, None, False, 100), ["r0", "r1", "r2", "r3", "r4", "r5"]),
        (Query({}, None, "n", True, 2), ["r5", "r4"]),
        (Query({"n": 3}, None, None, False, 100), ["r3"]),
        (Query({"n": 3.0}, None, None, False, 100), ["r3"]),
        (Query({"n": True}, None, None, False, 100), []),
        (Query({"n": "3"}, None, None, False, 100), []),
        (Query({"missing": None}, None, None, False, 100), []),
        (Query({}, "word1", "n", False, 100), ["r1", "r3", "r5"]),
        (Query({"n": 5}, "tea", None, False, 100), ["r5"]),
        (Query({}, "tea OR word1", None, False, 100), []),
        (Query({}, None, None, False, 0), []),
    ],
)
async def test_find_gives_what_was_asked_for(query: Query, ids: list[str]) -> None:
    """Equality, words and order are the whole language; nothing typed becomes another one."""
    async with World() as world:
        device = await filled(world)

        assert [f.id for f in await device.engine.queries.find("memory", "facts", query)] == ids


@pytest.mark.parametrize("value", [[1], {"a": 1}, {}, datetime(2026, 1, 1), object()])
async def test_what_does_not_compare_is_refused(value: Any) -> None:
    """An empty answer would look like a true one."""
    async with World() as world:
        device = await filled(world)

        with pytest.raises(BadValueError):
            await device.collection().find({"n": value})


async def test_an_export_gives_every_record_once_whatever_the_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A record lost between two pages of a backup is lost."""
    monkeypatch.setattr(reader, "EXPORT_PAGE_RECORDS", 2)
    async with World() as world:
        device = await filled(world)
        rows = [(name, f.collection, f.id) async for name, f in device.engine.reader.export(None)]

        assert rows == [
            *(("memory", "facts", f"r{n}") for n in range(6)),
            ("memory", "other", "o"),
            ("second", "facts", "s"),
        ]
        assert [f.id async for _, f in device.engine.reader.export("second")] == ["s"]
        assert await device.engine.reader.count() == {"memory": 7, "second": 1}
        assert [f.id for f in await device.engine.reader.page("memory", None, 3)] == [
            "r0",
            "r1",
            "r2",
        ]
