"""Late writes: what an older device writes is brought up soon, once, and by the right device."""

from typing import Any

import pytest

from covey.node.data import late_writes, remaking
from covey.node.data.late_writes import LOOK_MS
from covey.node.data.schema import Schema
from covey.node.data.steps import Migration
from covey.simulations.mesh import Mesh
from covey.simulations.mesh_device import MeshDevice
from covey.storage.errors import StoreFullError
from covey.sync.sharing import Sharing

from .memory_world import Device, World, carry, meet, settle_tasks
from .schema_world import RENAME, first, notes, schema, second
from .test_schema_migrations import facts, shout

ADD = {"add": "kind", "value": "fact"}


def third() -> Schema:
    """Version 3: what version 2 added is gone again."""
    steps = [
        Migration(2, "facts", changes=[RENAME, ADD]),
        Migration(3, "facts", changes=[{"remove": "kind", "value": "fact"}]),
    ]
    return schema(3, collections=notes(text="string"), migrations=steps)


def second_with_kind() -> Schema:
    step = Migration(2, "facts", changes=[RENAME, ADD])
    return schema(2, collections=notes(text="string", kind="string"), migrations=[step])


# In the simulator --------------------------------------------------------------------------------


async def shown(device: MeshDevice) -> dict[str, Any]:
    found = await device.database("memory").collection("facts").find()
    return {each.id: each.value for each in found}


def entries(device: MeshDevice) -> int:
    """How many entries of records it holds."""
    holdings = device.sim.engine.ledger.holdings
    scopes = holdings.scopes(Sharing.of((1, 2, 3)))
    return sum(head.seq for scope in scopes for head in holdings.heads(scope).values())


async def come_to_rest(mesh: Mesh) -> None:
    """Everything has arrived, everybody has looked, and what they wrote has arrived."""
    for _ in range(3):
        await mesh.settle()
        await mesh.advance(seconds=20)
    await mesh.settle()


async def write(device: MeshDevice, id: str, **value: Any) -> None:
    await device.database("memory").collection("facts").put(value, id=id)


async def test_what_an_old_device_wrote_while_it_was_away_is_brought_up(mesh: Mesh) -> None:
    """Nobody restarts an application because a tablet was switched on."""
    laptop, phone, tablet = mesh.devices("laptop", "phone", "tablet")
    for device in (laptop, phone, tablet):
        await device.install(first())
    await write(laptop, "before", body="b")
    await come_to_rest(mesh)
    mesh.partition([laptop, phone], [tablet])
    await laptop.install(second())
    await mesh.settle()
    await phone.install(second())
    await write(tablet, "late", body="of the tablet", mood="calm")
    await write(tablet, "before", body="edited")
    await write(laptop, "before", lang="en")
    await mesh.settle()

    mesh.heal()
    await come_to_rest(mesh)

    wanted = {
        "late": {"text": "of the tablet", "mood": "calm"},
        "before": {"text": "edited", "lang": "en"},
    }
    for device in (laptop, phone, tablet):
        assert await shown(device) == wanted
    (old,) = await tablet.schemas()
    assert (old["version"], old["at"]) == (1, 1)
    mesh.assert_converged()


async def test_an_old_device_still_reads_what_it_knows(mesh: Mesh) -> None:
    """A step that only adds takes nothing from the older program."""
    laptop, tablet = mesh.devices("laptop", "tablet")
    step = Migration(2, "facts", changes=[ADD])
    newer = schema(2, collections=notes(body="string", kind="string"), migrations=[step])
    await tablet.install(first())
    await laptop.install(first())
    await come_to_rest(mesh)
    await laptop.install(newer)
    await write(tablet, "r", body="of the tablet")
    await come_to_rest(mesh)
    await write(tablet, "r", body="again")
    await come_to_rest(mesh)

    for device in (laptop, tablet):
        assert await shown(device) == {"r": {"body": "again", "kind": "fact"}}


async def test_of_two_that_can_one_does_it(mesh: Mesh) -> None:
    """Each late write would else be answered by every device that has the newer version."""
    laptop, phone, tablet = mesh.devices("laptop", "phone", "tablet")
    await tablet.install(first())
    await laptop.install(second())
    await come_to_rest(mesh)
    await phone.install(second())
    await come_to_rest(mesh)
    before = entries(laptop)

    await write(tablet, "late", body="b")
    await come_to_rest(mesh)

    assert await shown(phone) == {"late": {"text": "b"}}
    assert entries(laptop) - before == 2  # The write, and what brought it up.


async def test_devices_on_three_versions_come_to_rest(mesh: Mesh) -> None:
    """The middle one would put back what the newest takes away, and so on for ever."""
    laptop, phone, tablet = mesh.devices("laptop", "phone", "tablet")
    await tablet.install(first())
    await come_to_rest(mesh)
    await phone.install(second_with_kind())
    await come_to_rest(mesh)
    await laptop.install(third())
    await come_to_rest(mesh)
    await write(tablet, "late", body="b")
    await come_to_rest(mesh)
    counts = [entries(device) for device in (laptop, phone, tablet)]

    await mesh.advance(hours=1)

    assert [entries(device) for device in (laptop, phone, tablet)] == counts
    for device in (laptop, phone, tablet):
        assert await shown(device) == {"late": {"text": "b"}}


async def test_two_that_know_nothing_of_each_others_version_come_to_rest(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The news may come late, or be wrong: nothing may depend on it for ever."""
    monkeypatch.setattr(late_writes.LateWrites, "_said", alone)
    laptop, phone = mesh.devices("laptop", "phone")
    await phone.install(second_with_kind())
    await laptop.install(third())
    await write(phone, "r", body="b")
    await come_to_rest(mesh)
    await mesh.advance(minutes=5)
    counts = [entries(device) for device in (laptop, phone)]
    await mesh.advance(hours=1)

    assert [entries(device) for device in (laptop, phone)] == counts
    assert counts[0] < 40
    assert (await shown(phone))["r"]["text"] == "b"


async def alone(self: late_writes.LateWrites, schema: Schema) -> Any:
    """What is said, as if only this device had said anything."""
    said = await self._schemas.news.said(schema)
    return {device: one for device, one in said.items() if device == self._schemas.news.us}


async def test_what_was_taken_down_stays_down(mesh: Mesh) -> None:
    """A version that proved wrong was left, by a person; another device does not know better."""
    laptop, phone, tablet = mesh.devices("laptop", "phone", "tablet")
    for device in (laptop, phone):
        await device.install(second())
        await come_to_rest(mesh)
    await tablet.install(first())
    await write(laptop, "r", text="b")
    await come_to_rest(mesh)
    await laptop.migrate("memory", 1)
    await come_to_rest(mesh)
    await write(tablet, "late", body="of the tablet")
    await come_to_rest(mesh)

    for device in (laptop, phone, tablet):
        assert await shown(device) == {"r": {"body": "b"}, "late": {"body": "of the tablet"}}
    assert [row["at"] for row in await phone.schemas()] == [2]
    await phone.migrate("memory")
    await come_to_rest(mesh)
    assert await shown(laptop) == {"r": {"text": "b"}, "late": {"text": "of the tablet"}}


async def test_what_was_taken_down_over_two_steps_stays_down(mesh: Mesh) -> None:
    """Also when the older application is installed there, for which it was taken down."""
    laptop, phone, tablet = mesh.devices("laptop", "phone", "tablet")
    for device in (laptop, phone):
        await device.install(third())
        await come_to_rest(mesh)
    await write(laptop, "r", text="b")
    await come_to_rest(mesh)
    await laptop.migrate("memory", 1)
    await come_to_rest(mesh)
    await laptop.install(first())
    await write(tablet, "late", body="of the tablet")
    await come_to_rest(mesh)
    await phone.install(third())
    await come_to_rest(mesh)

    for device in (laptop, phone, tablet):
        found = await shown(device)
        assert (found["r"]["body"], found["late"]["body"]) == ("b", "of the tablet")
        assert "text" not in found["r"] and "text" not in found["late"]


async def test_a_crash_in_the_middle_is_gone_on_with(mesh: Mesh) -> None:
    """What was brought up is on the disk, and what was not is found again."""
    laptop, tablet = mesh.devices("laptop", "tablet")
    await tablet.install(first())
    await laptop.install(second())
    await come_to_rest(mesh)
    for round in range(6):
        await write(tablet, f"r{round}", body=f"b{round}")
        await mesh.advance(milliseconds=500 * round + LOOK_MS // 2)
        mesh.crash(laptop)
        await mesh.advance(seconds=1)
        mesh.restart(laptop)
    await come_to_rest(mesh)

    wanted = {f"r{round}": {"text": f"b{round}"} for round in range(6)}
    assert await shown(laptop) == await shown(tablet) == wanted


# What is left alone ------------------------------------------------------------------------------


async def two(world: World) -> tuple[Device, Device]:
    """A laptop on version 2, and a phone on version 1."""
    laptop = await world.founder("laptop")
    phone = await world.member(laptop, "phone")
    await laptop.node.install(second())
    await phone.node.install(first())
    await meet(laptop, phone)
    await look(world, laptop)
    return laptop, phone


async def look(world: World, *devices: Device) -> None:
    for _ in range(3):
        await world.clock.advance(3 * LOOK_MS)
        for device in devices:
            await settle_tasks(device)


async def test_one_record_that_cannot_be_brought_up_stops_no_other() -> None:
    """A peer wrote it; neither the application nor other records may fail by it."""

    def fussy(record: dict[str, Any]) -> dict[str, Any] | None:
        if record.get("body") == "bad":
            raise KeyError
        return shout(record)

    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        newer = second(Migration(2, "facts", fussy))
        await laptop.node.install(newer)
        await phone.node.install(first())
        await meet(laptop, phone)
        await phone.collection().put_many(
            [(f"r{n}", {"body": b}) for n, b in enumerate(["a", "b"])]
        )
        await phone.collection().put({"body": "bad"}, id="bad")
        await carry(phone, laptop)
        await look(world, laptop)
        await laptop.node.install(newer)

        assert await facts(laptop) == {
            "r0": {"text": "A"},
            "r1": {"text": "B"},
            "bad": {"body": "bad"},
        }
        (line, *_) = await laptop.engine.schemas.history("memory", 9)
        assert (line["action"], line["changed"], line["left"]) == ("caught up", 2, 1)


async def test_many_and_large_records_are_brought_up_in_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An entry holds a megabyte, and so may each of the records."""
    monkeypatch.setattr(remaking, "SLICE_RECORDS", 3)
    monkeypatch.setattr(late_writes, "FEED_PAGE", 4)
    async with World() as world:
        laptop, phone = await two(world)
        for n in range(3):
            await phone.collection().put({"body": "ä" * 200_000}, id=f"large{n}")
        await phone.collection().put_many([(f"r{n}", {"body": "b"}) for n in range(10)])
        await carry(phone, laptop)
        await look(world, laptop)

        assert {tuple(value) for value in (await facts(laptop)).values()} == {("text",)}


async def test_who_decides_otherwise_is_heard_while_there_is_much_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten thousand late records take a minute, in which a newer device may come."""
    monkeypatch.setattr(late_writes, "FEED_PAGE", 2)
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        newest = await world.member(laptop, "newest")
        await meet(laptop, phone, newest)
        await laptop.node.install(second_with_kind())
        await phone.node.install(first())
        await meet(laptop, phone, newest)
        await look(world, laptop)
        await phone.collection().put_many([(f"r{n}", {"body": "b"}) for n in range(8)])
        await newest.node.install(third())
        await carry(phone, laptop)
        bring_up = late_writes.LateWrites._bring_up

        async def then_news(self: Any, *args: Any) -> Any:
            monkeypatch.setattr(late_writes.LateWrites, "_bring_up", bring_up)
            done = await bring_up(self, *args)
            await carry(newest, laptop)
            return done

        monkeypatch.setattr(late_writes.LateWrites, "_bring_up", then_news)
        await laptop.engine.schemas.late.look()

        assert sum("text" in value for value in (await facts(laptop)).values()) == 2
        (line, *_) = await laptop.engine.schemas.history("memory", 9)
        assert (line["action"], line["changed"]) == ("caught up", 2)


async def test_a_full_disk_is_waited_for() -> None:
    async with World() as world:
        laptop, phone = await two(world)
        await phone.collection().put({"body": "b"}, id="late")
        await carry(phone, laptop)
        laptop.gate.fail = StoreFullError(laptop.engine.place)
        await look(world, laptop)
        laptop.gate.fail = None
        await look(world, laptop)

        assert await facts(laptop) == {"late": {"text": "b"}}


async def test_functions_that_are_not_here_leave_it_to_the_application() -> None:
    """The command line runs without it. Nothing is passed over: it is brought up later."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        newer = second(Migration(2, "facts", shout))
        await laptop.node.install(newer)
        await phone.node.install(first())
        await meet(laptop, phone)
        laptop = await world.restart(laptop)
        await phone.collection().put({"body": "b"}, id="late")
        await carry(phone, laptop)
        await look(world, laptop)
        before = await facts(laptop)
        await laptop.node.install(newer)

        assert before == {"late": {"body": "b"}}
        assert await facts(laptop) == {"late": {"text": "B"}}


async def test_a_device_that_may_not_read_the_news_waits_to_be_asked() -> None:
    """It would not hear that a newer version is there, or that a person took the records down."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        guest = await world.member(laptop, "guest", "guest")
        await meet(laptop, phone, guest)
        public = phone.node.database("memory").collection("facts")
        await public.put({"body": "b"}, id="r", privacy="public")
        await meet(laptop, phone, guest)
        await guest.node.install(second())
        await look(world, guest)
        await public.put({"body": "c"}, id="late", privacy="public")
        await carry(phone, guest)
        await look(world, guest)
        untouched = await facts(guest)
        await guest.node.install(second())

        assert untouched == {"r": {"text": "b"}, "late": {"body": "c"}}
        assert await facts(guest) == {"r": {"text": "b"}, "late": {"text": "c"}}


async def test_records_that_are_being_taken_down_are_not_brought_up_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A large step goes in slices; half of the records would end on another version."""
    monkeypatch.setattr(remaking, "SLICE_RECORDS", 3)
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.node.install(second())
        await laptop.collection().put_many([(f"r{n}", {"text": "b"}) for n in range(9)])
        await meet(laptop, phone)
        await phone.node.install(second())
        await meet(laptop, phone)
        await look(world, laptop, phone)
        laptop.gate.fail_after = 4
        with pytest.raises(StoreFullError):
            await laptop.node.migrate("memory", 1)
        laptop.gate.fail_after = None
        await carry(laptop, phone)
        half = await facts(phone)
        await look(world, phone)
        untouched = await facts(phone)
        await laptop.node.migrate("memory", 1)
        await carry(laptop, phone)
        await look(world, phone)

        assert 0 < sum("body" in value for value in half.values()) < 9
        assert untouched == half
        assert {tuple(value) for value in (await facts(phone)).values()} == {("body",)}


async def test_a_removed_device_has_no_say_any_more() -> None:
    """The only one with version 3 was lost: who has version 2 goes on."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        lost = await world.member(laptop, "lost")
        await meet(laptop, phone, lost)
        await phone.node.install(first())
        await laptop.node.install(second_with_kind())
        await meet(laptop, phone, lost)
        await lost.node.install(third())
        await meet(laptop, phone, lost)
        await phone.collection().put({"body": "b"}, id="r")
        await meet(laptop, phone)
        await look(world, laptop)
        before = await facts(laptop)
        await laptop.engine.trust.remove([lost.id], None)
        await phone.collection().put({"body": "c"}, id="r")
        await meet(laptop, phone)
        await look(world, laptop)

        assert before == {"r": {"body": "b"}}
        assert await facts(laptop) == {"r": {"text": "c", "kind": "fact"}}


async def test_a_schema_that_was_removed_and_comes_again_elsewhere_looks_at_everything() -> None:
    """What came before was looked at for another database."""
    step = Migration(2, "facts", changes=[RENAME])
    elsewhere = schema(2, database="elsewhere", collections=notes(text="string"), migrations=[step])
    async with World() as world:
        laptop, phone = await two(world)
        other = await world.member(laptop, "other")
        await meet(laptop, phone, other)
        await other.node.install(elsewhere)
        await phone.collection(database="elsewhere").put({"body": "b"}, id="late")
        await carry(phone, laptop)
        await carry(other, laptop)
        await laptop.collection().put({"text": "t"}, id="own")
        await look(world, laptop)
        await laptop.node.uninstall("memory")
        await laptop.node.install(elsewhere)

        assert await laptop.collection(database="elsewhere").get("late") == {"text": "b"}


async def test_who_comes_second_waits_for_the_first() -> None:
    """Each late write would else be answered by every device that has the newer version."""
    async with World() as world:
        laptop, phone = await two(world)
        other = await world.member(laptop, "other")
        await meet(laptop, phone, other)
        await other.node.install(second())
        await meet(laptop, phone, other)
        await look(world, laptop, other)
        await phone.collection().put({"body": "b"}, id="late")
        await carry(phone, laptop)
        await carry(phone, other)
        await world.clock.advance(2 * LOOK_MS - 1)
        await settle_tasks(laptop)
        await settle_tasks(other)
        soon = [await facts(device) for device in (laptop, other)]
        await look(world, laptop, other)

        assert sorted(soon, key=str) == [{"late": {"body": "b"}}, {"late": {"text": "b"}}]
        # The first may be switched off, so the second does it in the end.
        assert await facts(laptop) == await facts(other) == {"late": {"text": "b"}}


async def test_what_is_written_at_the_newest_version_stays_as_it_is() -> None:
    """Step 2 would add what step 3 gives another name, over what the application wrote there."""
    steps = [
        Migration(2, "facts", changes=[ADD]),
        Migration(3, "facts", changes=[{"rename": "kind", "to": "sort"}]),
    ]
    newest = schema(3, collections=notes(sort="string"), migrations=steps)
    async with World() as world:
        laptop = await world.founder("laptop")
        await laptop.node.install(newest)
        await laptop.collection().put({"sort": "guess"}, id="r")
        await laptop.collection().put({"kind": "of an old device"}, id="late")
        await laptop.collection().put({}, id="oldest")
        await look(world, laptop)

        assert await facts(laptop) == {
            "r": {"sort": "guess"},
            "late": {"sort": "of an old device"},
            "oldest": {"sort": "fact"},
        }


async def test_looking_in_vain_writes_nothing() -> None:
    """A companion that writes all day would else write twice as often."""
    async with World() as world:
        laptop, _ = await two(world)
        await laptop.collection().put({"text": "b"}, id="r")
        writes = laptop.gate.writes
        await look(world, laptop)

        assert laptop.gate.writes == writes
