"""`covey storage`: what takes room adds up, and what could be freed is what tidying frees."""

from pathlib import Path
from typing import Any

import pytest

from covey.node.data.storage_methods import StorageMethods
from covey.node.parameters import DAY_MS, UsageError
from covey.storage.lifecycle_rows import store_size
from covey.sync.errors import BadValueError

from .memory_world import Device, World
from .store_rows import new_store


async def filled(world: World) -> Device:
    device = await world.founder("laptop")
    for round in range(3):
        for n in range(25):
            await device.collection().put({"text": f"{round} of {n} " * 9}, id=f"r{n:02}")
    await device.collection("moods").put({"text": "calm"}, id="m")
    await device.collection().delete("r24")
    return device


def row(report: dict[str, Any], collection: str = "facts") -> dict[str, Any]:
    (found,) = [each for each in report["collections"] if each["collection"] == collection]
    return dict(found)


async def test_a_report_counts_everything_once() -> None:
    """Somebody decides by it what to let go of."""
    async with World() as world:
        device = await filled(world)
        report = await StorageMethods(device.engine).report({})
        facts, store = row(report), report["store"]
        known = sum(each["bytes"] for each in (*report["collections"], *report["history"]))

        assert (facts["records"], facts["deleted"]) == (24, 1)
        value = len(b'{"text":"' + b"2 of 0 " * 9 + b'"}')
        assert facts["values"] == 10 * value + 14 * (value + 9)
        assert facts["documents"] > facts["values"] and facts["packed"] == 0
        assert [each["database"] for each in report["history"]] == [None, "memory"]
        assert known + store["text"] + store["rest"] + store["free"] == store["bytes"]


async def test_what_could_be_freed_is_what_tidying_frees() -> None:
    """A promise that does not hold is worse than none."""
    async with World() as world:
        device = await filled(world)
        methods = StorageMethods(device.engine)
        await methods.keep(
            {"database": "memory", "collection": "moods", "days": 1, "warm": 0, "cold": 0}
        )
        await methods.keep({"database": "memory", "collection": "facts", "warm": 1, "cold": 1})
        await device.clock.advance(2 * DAY_MS)
        could = (await methods.report({}))["could_free"]
        done = await methods.tidy({})
        after = await methods.report({})

        assert (could["expired"], could["packable"]) == (done["expired"], 25) == (1, 25)
        assert done["packed"] == 26, "the deletion that was just made has a document as well"
        facts = row(after)
        assert (facts["cold"], facts["documents"]) == (25, 0)
        assert facts["packed"] < facts["packed_from"] * 0.4
        assert (after["could_free"]["expired"], after["could_free"]["packable"]) == (0, 0)


async def test_a_rule_is_shown_as_it_was_said_and_withdrawn() -> None:
    """What is not said is what it is without a rule."""
    async with World() as world:
        device = await world.founder("laptop")
        methods = StorageMethods(device.engine)
        names = {"database": "memory", "collection": "facts"}
        rule = await methods.keep({**names, "expires": "until"})

        assert rule == {**names, "expires": "until", "days": None, "warm": 30, "cold": 180}
        assert (await methods.report({}))["rules"] == [rule]
        assert await methods.keep({**names, "withdraw": True}) == {"withdrawn": True}
        assert await methods.keep({**names, "withdraw": True}) == {"withdrawn": False}


@pytest.mark.parametrize(
    "wrong",
    [
        {"database": None},
        {"collection": 7},
        {"days": "3"},
        {"days": 0},
        {"days": True},
        {"warm": 9.5},
        {"expires": ["x"]},
        {"collection": "\n"},
    ],
    ids=range(8),
)
async def test_wrong_parameters_are_refused(wrong: dict[str, Any]) -> None:
    """The local socket passes on whatever it was sent."""
    async with World() as world:
        device = await world.founder("laptop")
        with pytest.raises((UsageError, BadValueError)):
            params = {"database": "memory", "collection": "facts", **wrong}
            await StorageMethods(device.engine).keep(params)
        assert await device.engine.lifecycle.rules() == []


async def test_the_encrypted_store_tells_its_pages_as_numbers(tmp_path: Path) -> None:
    """SQLCipher answers one of these questions with a text."""
    async with await new_store(tmp_path / "store.db") as database:
        size = await database.read(store_size)

    assert size.total == (tmp_path / "store.db").stat().st_size > 0
    assert size.free == 0
