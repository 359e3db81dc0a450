"""Steps over late writes: what an older device wrote is brought up with all else, by any step.

A device leaves late writes to those that keep the records at a higher version. When it goes there
itself, they are its own business.
"""

from typing import Any

import pytest

from covey.node.data import remaking
from covey.node.data.schema import Schema
from covey.node.data.steps import Migration
from covey.storage.errors import StoreFullError

from .memory_world import Device, World, carry, meet
from .schema_world import RENAME, first, notes, schema, second
from .test_late_writes import look, two
from .test_schema_migrations import facts, old_records, texts


def measure(record: dict[str, Any]) -> dict[str, Any]:
    record["size"] = len(record["text"])
    return record


def unmeasured(record: dict[str, Any]) -> dict[str, Any]:
    record.pop("size", None)
    return record


def third() -> Schema:
    """Version 3: the size of a text stands beside it."""
    steps = [
        Migration(2, "facts", changes=[RENAME]),
        Migration(3, "facts", measure, unmeasured),
    ]
    return schema(3, collections=notes(text="string", size="integer"), migrations=steps)


async def late(phone: Device, laptop: Device, id: str = "late", body: str = "of the phone") -> None:
    """An older device writes, and nobody looks at it yet."""
    await phone.collection().put({"body": body}, id=id)
    await carry(phone, laptop)


async def test_a_step_up_takes_along_what_an_older_device_wrote() -> None:
    """It would fail at it, or make something else of it, and nobody would look at it again."""
    async with World() as world:
        laptop, phone = await two(world)
        await laptop.collection().put({"text": "b"}, id="r")
        await late(phone, laptop)

        await laptop.node.install(third())

        wanted = {"r": {"text": "b", "size": 1}, "late": {"text": "of the phone", "size": 12}}
        assert await facts(laptop) == wanted


async def test_a_step_down_takes_along_what_a_still_older_device_wrote() -> None:
    """It is at neither version, and has to come to the lower one."""
    async with World() as world:
        laptop, phone = await two(world)
        await laptop.node.install(third())
        await laptop.collection().put({"text": "b", "size": 1}, id="r")
        await late(phone, laptop)

        await laptop.node.migrate("memory", 2)
        await look(world, laptop)

        assert await facts(laptop) == {"r": {"text": "b"}, "late": {"text": "of the phone"}}


async def test_a_step_that_is_gone_on_with_passes_over_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An older device wrote to a record that the step had done before it was cut off."""
    monkeypatch.setattr(remaking, "SLICE_RECORDS", 7)
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await old_records(laptop)
        await meet(laptop, phone)
        await laptop.node.install(second(), migrate=False)
        laptop.gate.fail_after = 4
        with pytest.raises(StoreFullError):
            await laptop.node.migrate("memory")
        laptop.gate.fail_after = None
        await late(phone, laptop, "r00")

        await laptop.node.migrate("memory")
        await look(world, laptop)

        assert await facts(laptop) == {**texts(), "r00": {"text": "of the phone"}}


async def test_without_the_functions_of_an_older_step_its_late_writes_wait() -> None:
    """An application may leave them out: the step that it has is done, and nothing is forgotten."""

    def renamed(record: dict[str, Any]) -> dict[str, Any]:
        if "body" in record:
            record["text"] = record.pop("body")
        return record

    def older(*later: Migration, up: Any = None) -> Schema:
        steps = [Migration(2, "facts", up, checksum="rename"), *later]
        return schema(1 + len(steps), collections=notes(text="string"), migrations=steps)

    newer = Migration(3, "facts", changes=[{"add": "kind", "value": "fact"}])
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.node.install(older(up=renamed))
        await phone.node.install(first())
        await meet(laptop, phone)
        await late(phone, laptop)
        await laptop.node.install(older(newer))
        await look(world, laptop)
        before = await facts(laptop)

        await laptop.node.install(older(newer, up=renamed))

        assert before == {"late": {"body": "of the phone", "kind": "fact"}}
        assert await facts(laptop) == {"late": {"text": "of the phone", "kind": "fact"}}
