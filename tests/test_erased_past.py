"""What was erased is not shown as it was: not at a time, and not as a version."""

from datetime import timedelta
from typing import Any

import pytest

from covey.node.data import deleting
from covey.node.data.past import ErasedError
from covey.node.data.personal import Personal, about_of
from covey.node.service import Service
from covey.storage.errors import StorageError

from .memory_world import Device, World, carry, meet, tick

MARA = about_of({"about": {"who": "mara"}})
ASKED = {"database": "memory", "collection": "facts", "id": "r"}


async def erase(device: Device) -> dict[str, Any]:
    done = await Personal(device.engine).erase("memory", MARA, dry_run=False)
    await device.clock.advance(1_000)
    return done


async def shown(device: Device) -> list[Any]:
    return [version.record for version in await device.collection().history("r")]


async def test_no_version_of_what_was_erased_is_shown() -> None:
    """`covey history` gave back what `covey erase` had taken, to whoever asked."""
    async with World() as world:
        device = await world.founder("laptop")
        facts = device.collection()
        start = await tick(device)
        await facts.put({"who": "mara", "n": 1}, id="r")
        await facts.put({"n": 2}, id="r")
        before = await tick(device)
        receipt = (await erase(device))["receipt"]
        after = await tick(device)

        for _ in range(2):
            for ask in (facts.as_of("r", before), facts.history("r")):
                with pytest.raises(ErasedError) as told:
                    await ask
                assert receipt["erased_at"][:10] in str(told.value)
                assert f"receipt {receipt['number']}" in str(told.value)
                assert told.value.exit_code == 3
            assert await facts.as_of("r", start) is None
            assert await facts.as_of("r", after) is None
            world.devices.remove(device)
            device = await world.restart(device)
            facts = device.collection()


async def test_what_is_written_after_an_erasure_has_a_past_of_its_own() -> None:
    """The id of an erased record may be used again, and be erased again."""
    async with World() as world:
        device = await world.founder("laptop")
        facts, service = device.collection(), Service(device.engine, lambda: None)
        for turn in range(2):
            await facts.put({"who": "mara", "n": turn}, id="r")
            before = await tick(device)
            number = (await erase(device))["receipt"]["number"]
            gone = await tick(device)
        await facts.put({"n": 3}, id="r")
        since = await tick(device)
        await facts.delete("r")
        await facts.put({"n": 4}, id="r")

        assert await shown(device) == [{"n": 4}, None, {"n": 3}]
        assert [version.record for version in await facts.history("r", limit=1)] == [{"n": 4}]
        assert (await service.call("history", ASKED))["erased"]["receipt"] == number
        assert await facts.as_of("r", gone) is None
        assert await facts.as_of("r", since) == {"n": 3}
        with pytest.raises(ErasedError, match=f"receipt {number}"):
            await facts.as_of("r", before)


async def test_what_was_deleted_and_not_erased_keeps_its_past() -> None:
    async with World() as world:
        device = await world.founder("laptop")
        facts, service = device.collection(), Service(device.engine, lambda: None)
        await facts.put({"who": "mara"}, id="other")
        await facts.put({"n": 1}, id="r")
        await facts.delete("r")
        await erase(device)

        assert await shown(device) == [None, {"n": 1}]
        assert "erased" not in await service.call("history", ASKED)


@pytest.mark.parametrize(
    ("database", "collection", "id"),
    [("memory", "facts", "twin"), ("memory", "others", "r"), ("other", "facts", "r")],
)
async def test_a_record_of_the_same_content_that_was_only_deleted_keeps_its_past(
    database: str, collection: str, id: str
) -> None:
    """One device gives the same name to the same versions of all records: the past of others was
    said to be erased as well.
    """
    async with World() as world:
        device = await world.founder("laptop")
        content = {"who": "mara", "n": 1}
        await device.collection().put(content, id="r")
        await erase(device)
        twin = device.collection(collection, database)
        await twin.put(content, id=id)
        await tick(device)
        await twin.delete(id)

        assert [version.record for version in await twin.history(id)] == [None, content]


async def test_what_an_interrupted_erasure_took_is_not_shown_and_nothing_is_proved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The disk is full, or the node is killed, after some of many records."""
    monkeypatch.setattr(deleting, "DELETE_RECORDS", 1)
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put({"who": "mara", "n": 1}, id="a")
        await laptop.collection().put({"who": "mara", "n": 2}, id="b")
        laptop.gate.fail_after = 3
        with pytest.raises(StorageError):
            await erase(laptop)
        laptop.gate.fail_after = None
        await meet(laptop, phone)
        (receipt,) = await Personal(laptop.engine).receipts()

        assert (receipt["records"], receipt["digest"]) == (1, "")
        assert [device["proved_at"] for device in receipt["devices"]] == [None]
        with pytest.raises(ErasedError):
            await laptop.collection().history("a")
        assert await laptop.collection().get("b") is not None

        again = (await erase(laptop))["receipt"]
        assert (again["records"], len(again["digest"])) == (1, 64)
        with pytest.raises(ErasedError):
            await laptop.collection().history("b")


async def test_a_level_at_which_it_once_lived_shows_nothing_either() -> None:
    """A record that is moved is deleted where it was; that deletion is not the erasure's."""
    async with World() as world:
        device = await world.founder("laptop")
        facts = device.collection()
        await facts.put({"who": "mara"}, id="r")
        before = await tick(device)
        await facts.move("r", privacy="family")
        between = await tick(device)
        await erase(device)

        for time in (before, between):
            with pytest.raises(ErasedError):
                await facts.as_of("r", time)
        with pytest.raises(ErasedError):
            await facts.history("r")


async def test_a_version_of_a_clock_that_is_ahead_is_not_shown() -> None:
    """By its time it came after the erasure that knew of it."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put({"who": "mara"}, id="r")
        await carry(laptop, phone)
        phone.clock.wall_ahead_ms += 3_600_000
        await phone.collection().put({"n": 1}, id="r")
        ahead = await tick(phone)
        phone.clock.wall_ahead_ms -= 3_600_000
        await carry(phone, laptop)
        await erase(laptop)

        with pytest.raises(ErasedError):
            await shown(laptop)
        with pytest.raises(ErasedError):
            await laptop.collection().as_of("r", ahead - timedelta(minutes=30))
        assert await laptop.collection().as_of("r", ahead + timedelta(minutes=30)) is None


async def test_an_edit_made_apart_keeps_the_record_and_shows_what_it_is_since() -> None:
    """By the rule for an edit beside a deletion. What the record is now, anyone may see."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put({"who": "mara", "n": 1}, id="r")
        await carry(laptop, phone)
        before = await tick(laptop)
        await erase(laptop)
        await phone.collection().put({"n": 2}, id="r")
        await carry(phone, laptop)
        now = await laptop.collection().get("r")

        assert now == {"who": "mara", "n": 2}
        assert await shown(laptop) == [now]
        with pytest.raises(ErasedError):
            await laptop.collection().as_of("r", before)


async def test_another_device_knows_of_a_deletion_alone() -> None:
    """Nothing tells it more: it shows what was, as docs/data/erasing.md says."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put({"who": "mara"}, id="r")
        await carry(laptop, phone)
        await erase(laptop)
        await carry(laptop, phone)

        assert await shown(phone) == [None, {"who": "mara"}]
