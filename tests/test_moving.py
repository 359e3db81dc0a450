"""Moving a record to another privacy level: a delete and a rewrite, and what becomes of edits."""

from pathlib import Path

import pytest

from covey.node.birth import TagRefusedError
from covey.node.mesh_view import NotEntitledError
from covey.node.record_requests import MoveRefusedError
from covey.storage.errors import StoreFullError
from covey.sync.errors import BadValueError
from covey.sync.policy import BUCKET_DAYS, DAY_MS, bucket_at
from covey.sync.values import Text

from .memory_world import Device, World, carry, meet

MONTH_MS = BUCKET_DAYS * DAY_MS
FULL = StoreFullError(Path("memory"))


async def levels(device: Device, id: str) -> dict[int, object]:
    """Privacy to value of every record with this id."""
    page = await device.engine.reader.page("memory", "facts", 100)
    return {found.privacy: found.value for found in page if found.id == id}


async def shared(world: World) -> tuple[Device, Device, Device]:
    """A laptop, a phone and a limited tablet, with a private and a family record."""
    laptop = await world.founder("laptop")
    phone = await world.member(laptop, "phone")
    tablet = await world.member(laptop, "tablet", "limited")
    await laptop.collection().put({"n": 1, "text": Text("tea")}, id="a")
    await laptop.collection().put({"n": 2}, id="f", privacy="family")
    await meet(laptop, phone, tablet)
    return laptop, phone, tablet


async def test_a_moved_record_is_where_it_was_moved_to_and_nowhere_else() -> None:
    """Whoever may hold the new level gets it; for the others it is gone."""
    async with World() as world:
        laptop, phone, tablet = await shared(world)
        assert await laptop.collection().move("a", privacy="family")
        assert await laptop.collection().move("f", privacy="private")
        await meet(laptop, phone, tablet)

        for device in (laptop, phone):
            assert await levels(device, "a") == {2: {"n": 1, "text": {"$text": "tea"}}}
            assert await levels(device, "f") == {1: {"n": 2}}
        assert await levels(tablet, "a") == {2: {"n": 1, "text": {"$text": "tea"}}}
        assert await levels(tablet, "f") == {}
        # It is edited like any other, and a text merges as a text.
        await tablet.collection().put({"by": "tablet"}, id="a")
        await meet(laptop, phone, tablet)
        assert (await levels(laptop, "a"))[2] == {
            "n": 1,
            "by": "tablet",
            "text": {"$text": "tea"},
        }


async def test_a_move_is_one_transaction() -> None:
    """Half of it would be a record that is lost, or one that is there twice."""
    async with World() as world:
        laptop, _, _ = await shared(world)
        laptop.gate.fail = FULL
        with pytest.raises(StoreFullError):
            await laptop.collection().move("a", privacy="family")
        laptop.gate.fail = None
        assert (await levels(laptop, "a")).keys() == {1}

        writes = laptop.gate.writes
        assert await laptop.collection().move("a", privacy="family")
        crashed = await world.restart(laptop, crash=True)
        assert (await levels(crashed, "a")).keys() == {2}
        assert writes < laptop.gate.writes


async def test_a_move_is_in_the_log_of_the_device_without_the_record() -> None:
    """A person sees later that something was moved; what it was is in no log."""
    async with World() as world:
        laptop, _, _ = await shared(world)
        await laptop.collection().move("a", privacy="family")
        await laptop.engine.audit.flush()
        rows = [row async for row in laptop.engine.directory.journal_rows()]

        (told,) = [row for row in rows if row["event"] == "moved"]
        assert told.items() >= {"database": "memory", "from": "private", "to": "family"}.items()
        assert not {"id", "collection"} & told.keys()


async def test_what_is_not_there_or_there_already_is_not_moved() -> None:
    """A script that runs twice moves once."""
    async with World() as world:
        laptop, _, tablet = await shared(world)
        assert not await laptop.collection().move("none", privacy="family")
        assert not await laptop.collection().move("f", privacy="family")
        await laptop.collection().delete("a")
        assert not await laptop.collection().move("a", privacy="family")
        with pytest.raises(BadValueError, match="secret"):
            await laptop.collection().move("f", privacy="secret")
        with pytest.raises(NotEntitledError):
            await tablet.collection().move("f", privacy="private")

        assert await levels(laptop, "f") == await levels(tablet, "f") == {2: {"n": 2}}


async def test_a_record_can_be_moved_there_and_back_and_to_this_device_only() -> None:
    """The place that it left holds a deletion; there it lives again, without its old fields."""
    async with World() as world:
        laptop, phone, tablet = await shared(world)
        await laptop.collection().move("a", privacy="family")
        await laptop.collection().put({"m": 1}, id="a")
        await laptop.collection().put({"n": 5, "text": "plain"}, id="a", replace=True)
        await laptop.collection().move("a", privacy="private")
        await meet(laptop, phone, tablet)
        assert await levels(phone, "a") == {1: {"n": 5, "text": "plain"}}
        assert await levels(tablet, "a") == {}

        await laptop.collection().move("a", privacy="device")
        await meet(laptop, phone, tablet)
        assert await levels(laptop, "a") == {0: {"n": 5, "text": "plain"}}
        assert await levels(phone, "a") == {}


async def test_an_edit_at_the_old_level_that_did_not_know_of_the_move_is_kept() -> None:
    """An edit beside a deletion keeps the record alive: there are two of them, and none is lost."""
    async with World() as world:
        laptop, phone, tablet = await shared(world)
        await laptop.collection().move("a", privacy="family")
        await phone.collection().put({"by": "phone"}, id="a")
        await meet(laptop, phone, tablet)

        for device in (laptop, phone):
            found = await levels(device, "a")
            assert found.keys() == {1, 2}
            assert found[1] == {"by": "phone", "n": 1, "text": {"$text": "tea"}}
            assert found[2] == {"n": 1, "text": {"$text": "tea"}}
        # To move the other as well would be to choose between them.
        with pytest.raises(MoveRefusedError, match=r"private and family.*covey delete"):
            await laptop.collection().move("a", privacy="family")
        await laptop.collection().delete("a")
        await meet(laptop, phone, tablet)
        assert (await levels(phone, "a")).keys() == {2}


async def test_a_deletion_at_the_old_level_that_did_not_know_of_the_move_leaves_the_new() -> None:
    """Nobody deleted the record at its new level. A person who meant it deletes it again."""
    async with World() as world:
        laptop, phone, _ = await shared(world)
        await laptop.collection().move("a", privacy="family")
        await phone.collection().delete("a")
        await meet(laptop, phone)

        assert (await levels(phone, "a")).keys() == (await levels(laptop, "a")).keys() == {2}


async def test_two_moves_at_once_to_two_levels_leave_both() -> None:
    """Two people decided two things; both records are there until somebody decides again."""
    async with World() as world:
        laptop, phone, _ = await shared(world)
        await laptop.collection().move("a", privacy="family")
        await phone.collection().move("a", privacy="public")
        await meet(laptop, phone)

        assert await levels(laptop, "a") == await levels(phone, "a")
        assert (await levels(laptop, "a")).keys() == {2, 3}


async def test_two_moves_at_once_to_one_level_are_one_record() -> None:
    """Both wrote a record of that id there, apart: the fields merge as those of any two puts."""
    async with World() as world:
        laptop, phone, _ = await shared(world)
        await laptop.collection().move("a", privacy="family")
        await phone.collection().move("a", privacy="family")
        await meet(laptop, phone)

        assert (await levels(laptop, "a")).keys() == (await levels(phone, "a")).keys() == {2}
        assert await levels(laptop, "a") == await levels(phone, "a")


async def test_the_half_of_a_move_that_arrives_first_shows_alone_and_then_all_is_well() -> None:
    """Two scopes are two logs: a device may be told of the deletion first, or of the birth."""
    async with World() as world:
        laptop, phone, tablet = await shared(world)
        await laptop.collection().move("a", privacy="family")
        await carry(laptop, tablet)  # Of the two it gets the birth alone.
        await carry(tablet, phone)
        assert (await levels(phone, "a")).keys() == {1, 2}
        await carry(laptop, phone)

        assert (await levels(phone, "a")).keys() == {2}


async def test_a_moved_record_stays_in_the_month_of_its_birth() -> None:
    """To move it makes nothing new of it, for a device that takes only what is new."""
    async with World() as world:
        laptop, phone, tablet = await shared(world)
        await laptop.engine.trust.set_policy(phone.id, "memory", {"mode": "window"})
        old = bucket_at(world.clock.wall_ms())
        await laptop.collection().put({"n": 3}, id="b")
        await laptop.collection().put({"n": 4}, id="mine", privacy="device")
        world.clock.wall_ahead_ms += 9 * MONTH_MS
        await laptop.collection().put({"n": 5}, id="new", privacy="family")
        for id, privacy in (("a", "family"), ("b", "family"), ("mine", "private")):
            assert await laptop.collection().move(id, privacy=privacy)
        await meet(laptop, phone, tablet)

        born = {}
        for id in ("a", "b", "mine"):
            found = await laptop.engine.reader.get("memory", "facts", id)
            assert found is not None
            born[id] = found.bucket
        # What never left this device is born where it comes to others.
        assert born == {"a": 0, "b": old, "mine": bucket_at(world.clock.wall_ms())}
        assert (await levels(tablet, "b")).keys() == {2}


async def test_a_record_is_not_moved_to_where_one_of_its_tags_may_not_be() -> None:
    """A tag says how private a record is, whichever way it would get elsewhere."""
    async with World() as world:
        laptop, _, _ = await shared(world)
        await laptop.collection().put({"n": 6, "tags": ["personal"]}, id="tagged")

        with pytest.raises(TagRefusedError, match="family is too wide for its tag 'personal'"):
            await laptop.collection().move("tagged", privacy="family")
        assert (await levels(laptop, "tagged")).keys() == {1}
        assert await laptop.collection().move("tagged", privacy="device")
