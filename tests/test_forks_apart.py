"""Forked logs whose two branches reached different devices before these met."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import pytest

from covey.simulations.plan import Plan, Step
from covey.simulations.runner import run_plan
from covey.simulations.sim_device import SimDevice
from covey.simulations.sim_disk import Fate
from covey.simulations.templates import Part
from covey.simulations.world import World
from covey.sync.blob_messages import FEATURE as BLOBS
from covey.sync.rulings import Name

from .simulated import LAPTOP, PHONE, a_world, facts, meet, run_in_a_world, start_all

TABLET, DESKTOP = Part("tablet", "tablet"), Part("desktop")
SOON_MS = 180_000


def put(at_ms: int, id: str) -> Step:
    """The laptop writes a private record."""
    args = {"database": "memory", "collection": "facts", "privacy": "private"}
    record = {"id": f"private-{id}", "fields": {"text": f"canary {id}"}}
    return Step(at_ms, "put", {**args, "device": "laptop", **record})


def move(at_ms: int, device: str, place: str | None) -> Step:
    return Step(at_ms, "move", {"device": device, "place": place})


def test_two_devices_with_different_branches_of_a_log_come_to_the_same() -> None:
    """A machine is set back: one device has what it wrote before, another what it wrote then."""
    image = {"device": "laptop", "image": "snapshot"}
    steps = (
        put(500, "common"),
        Step(5_000, "keep-image", image),
        move(6_000, "tablet", None),
        put(6_500, "before"),
        move(7_000, "phone", None),
        Step(7_500, "put-back", {**image, "whole_machine": True}),
        move(8_500, "tablet", "home"),
        put(9_000, "after"),
        move(12_000, "phone", "home"),
    )
    plan = Plan(
        "by hand", 1, (LAPTOP, PHONE, TABLET), "lan", ("home",) * 3, (), steps, end_ms=15_000
    )

    assert [str(violation) for violation in run_plan(plan).violations] == []


# By hand -----------------------------------------------------------------------------------------


def keep_image(device: SimDevice) -> Callable[[], Awaitable[None]]:
    """A snapshot of the whole machine; what is returned sets the machine back to it."""
    device.store.save()
    image = device.disk.copy(device.name, device.disk.identity)

    async def put_back() -> None:
        device.crash()
        device.disk = image.copy(device.name, image.identity)
        await device.start()

    return put_back


async def text(device: SimDevice, id: str) -> object:
    record = await facts(device).get(id)
    return None if record is None else record.get("text")


async def until(world: World, condition: Callable[[], Awaitable[bool]], what: str) -> None:
    until_ms = world.now_ms + SOON_MS
    while not await condition():
        assert world.now_ms < until_ms, what
        await world.wait_ms(50)


async def until_it_says(device: SimDevice, id: str, words: str | None) -> None:
    async def said() -> bool:
        return await text(device, id) == words

    await until(device.world, said, f"{device.name} does not say {words} of {id}")


async def part(world: World) -> tuple[SimDevice, SimDevice, SimDevice]:
    """The laptop and the tablet have one branch, the phone the other; the laptop runs alone."""
    laptop, phone, tablet = (world.devices[name] for name in ("laptop", "phone", "tablet"))
    await start_all(world)
    await facts(laptop).put({"text": "common"}, id="common")
    await meet(world)
    put_back = keep_image(laptop)
    others = [d for d in world.devices.values() if d.name not in ("laptop", "phone")]
    for device in others:
        await device.stop()
    await facts(laptop).put({"text": "before"}, id="before")
    await facts(laptop).put({"text": "changed before"}, id="common")
    await until_it_says(phone, "common", "changed before")
    await phone.stop()
    await put_back()
    for device in others:
        await device.start()
    await facts(laptop).put({"text": "after"}, id="after")
    await until_it_says(tablet, "after", "after")
    return laptop, phone, tablet


async def records(device: SimDevice) -> dict[str, object]:
    found = await facts(device).find()
    return {record.id: record.value for record in found}


async def everybody_says(*devices: SimDevice) -> dict[str, object]:
    """What all of them say; they say the same."""
    first, *others = [await records(device) for device in devices]
    assert all(other == first for other in others)
    return first


BOTH = {
    "common": {"text": "changed before"},
    "before": {"text": "before"},
    "after": {"text": "after"},
}


def test_a_ruling_reaches_a_device_that_does_not_meet_its_author_again() -> None:
    """The author may be switched off when those with the two branches meet."""

    async def test(world: World) -> None:
        laptop, phone, tablet = await part(world)
        await tablet.stop()
        await phone.start()
        await meet(world)
        await laptop.stop()
        await tablet.start()
        await meet(world)

        assert await everybody_says(phone, tablet) == BOTH

    run_in_a_world(test, LAPTOP, PHONE, TABLET)


def test_what_others_wrote_on_the_branch_that_goes_is_not_lost() -> None:
    """Their entries rest on what is no more: they write them again, with all beside them."""

    async def test(world: World) -> None:
        laptop, phone, tablet = await part(world)
        desktop = world.devices["desktop"]
        await until_it_says(desktop, "after", "after")
        await laptop.stop()
        was = tablet.engine.instance
        await facts(tablet).put({"text": "edited by the tablet"}, id="after")
        async with tablet.node.database("memory").transaction() as both:
            both.put("facts", {"note": "in one entry"}, id="after")
            both.put("facts", {"text": "beside it"}, id="beside")
        await facts(tablet).put({"text": "on top"}, id="beside")
        await until_it_says(desktop, "beside", "on top")
        await facts(desktop).put({"text": "by the desktop"}, id="beside")
        await until_it_says(tablet, "beside", "by the desktop")
        await facts(tablet).put({"text": "of its own"}, id="own")
        await facts(tablet).delete("common")
        await until_it_says(desktop, "common", None)
        await tablet.stop()
        await desktop.stop()
        await laptop.start()
        await phone.start()
        await meet(world)
        await laptop.stop()
        await tablet.start()
        await desktop.start()
        await meet(world)
        await laptop.start()
        await meet(world)

        assert tablet.engine.instance != was
        said = await everybody_says(laptop, phone, tablet, desktop)
        assert said["after"] == {"text": "edited by the tablet", "note": "in one entry"}
        assert said["beside"] == {"text": "by the desktop"}
        assert said["own"] == {"text": "of its own"}
        assert said["before"] == {"text": "before"}
        for device in (laptop, phone, tablet, desktop):
            assert device.engine.ingest.waiting() == 0

    run_in_a_world(test, LAPTOP, PHONE, TABLET, DESKTOP)


def test_what_others_wrote_on_the_branch_is_theirs_though_its_author_wrote_again_later() -> None:
    """What an author says again is as old as it was: an edit that knew it stands."""

    async def test(world: World) -> None:
        laptop, phone, tablet = await part(world)
        await laptop.stop()
        await facts(tablet).put({"text": "edited"}, id="after")
        await facts(tablet).put({"note": "edited"}, id="common")
        await tablet.stop()
        await laptop.start()
        await phone.start()
        await meet(world)
        await tablet.start()
        await meet(world)

        said = await everybody_says(laptop, phone, tablet)
        assert said["after"] == {"text": "edited"}
        assert said["common"] == {"text": "changed before", "note": "edited"}

    run_in_a_world(test, LAPTOP, PHONE, TABLET)


def test_a_record_that_others_deleted_on_the_branch_stays_deleted() -> None:
    """A deletion is an edit as well."""

    async def test(world: World) -> None:
        laptop, phone, tablet = await part(world)
        await facts(laptop).put({"text": "more"}, id="more")
        await until_it_says(tablet, "more", "more")
        await laptop.stop()
        await facts(tablet).put({"text": "of its own"}, id="own")
        await facts(tablet).put({"note": "edited"}, id="more")
        await facts(tablet).delete("own")
        await tablet.stop()
        await laptop.start()
        await phone.start()
        await meet(world)
        await tablet.start()
        await meet(world)

        said = await everybody_says(laptop, phone, tablet)
        assert "own" not in said
        assert said["more"] == {"text": "more", "note": "edited"}

    run_in_a_world(test, LAPTOP, PHONE, TABLET)


@pytest.mark.parametrize("who", ["laptop", "tablet"])
@pytest.mark.parametrize("fate", [Fate.DIES_BEFORE, Fate.DIES_AFTER, Fate.FAILS])
def test_a_crash_at_any_moment_costs_nothing(who: str, fate: Fate) -> None:
    """What is taken out, what is lined up and what is ruled become durable together."""
    for ahead in range(1, 10):
        with a_world(LAPTOP, PHONE, TABLET) as world:

            async def test(world: World = world, ahead: int = ahead) -> None:
                laptop, phone, tablet = await part(world)
                await laptop.stop()
                await facts(tablet).put({"note": "edited"}, id="common")
                await tablet.stop()
                await laptop.start()
                if who == "laptop":
                    laptop.disk.doom_commit(ahead, fate)
                await phone.start()
                await until_in_sync(world)
                await tablet.start()
                if who == "tablet":
                    tablet.disk.doom_commit(ahead, fate)
                await until_in_sync(world)
                wanted = BOTH | {"common": {"text": "changed before", "note": "edited"}}

                async def said() -> bool:
                    # What a disk refuses is written again later.
                    return [await records(device) for device in world.running()] == [wanted] * 3

                await until(world, said, f"they say something else, {ahead} commits on")

            world.run(test())
        assert world.violations == []


async def until_in_sync(world: World) -> None:
    """As `meet`, though devices crash on the way."""
    is_down = [device for device in world.devices.values() if not device.is_up]
    expected = [device for device in world.devices.values() if device not in is_down]

    async def done() -> bool:
        for device in expected:
            if not device.is_up:
                await device.start()
        return all(
            one is other or one.engine.standing_with(other.engine.keys.sig_pk).proved
            for one in expected
            for other in expected
        )

    await until(world, done, "they do not come together")


def test_a_machine_that_was_set_back_twice_loses_nothing() -> None:
    """Then there are three branches, of which its owner has written one again."""

    async def test(world: World) -> None:
        laptop, phone, tablet, desktop = (
            world.devices[name] for name in ("laptop", "phone", "tablet", "desktop")
        )
        await start_all(world)
        await facts(laptop).put({"text": "common"}, id="common")
        await meet(world)
        put_back = keep_image(laptop)
        holders = {"first": phone, "second": tablet, "third": desktop}
        for device in holders.values():
            await device.stop()
        for name, device in holders.items():
            await device.start()
            await facts(laptop).put({"text": name}, id=name)
            await facts(laptop).put({name: name}, id="common")
            await until_it_has(device, name)
            await device.stop()
            await put_back()
        await facts(laptop).put({"text": "fourth"}, id="fourth")
        for device in holders.values():
            await device.start()
        await meet(world)

        said = await everybody_says(laptop, phone, tablet, desktop)
        names = (*holders, "fourth")
        assert said.pop("common") == {"text": "common"} | {name: name for name in holders}
        assert said == {name: {"text": name} for name in names}

    run_in_a_world(test, LAPTOP, PHONE, TABLET, DESKTOP)


def test_a_device_that_healed_without_a_word_rules_when_it_sees_the_other_branch() -> None:
    """A program from before rulings did. There is nothing of its own to take out any more."""

    async def test(world: World) -> None:
        laptop, phone, tablet = await part(world)
        laptop.engine.rulings.rule, rule = (  # type: ignore[method-assign]
            lambda *_: None,
            laptop.engine.rulings.rule,
        )
        await tablet.stop()
        await phone.start()
        await meet(world)
        laptop.engine.rulings.rule = rule  # type: ignore[method-assign]
        assert laptop.engine.rulings.rulings() == []
        await tablet.start()
        await meet(world)

        assert await everybody_says(laptop, phone, tablet) == BOTH
        (ruling,) = tablet.engine.rulings.rulings()
        assert ruling.lost_seq == 0

    run_in_a_world(test, LAPTOP, PHONE, TABLET)


async def until_it_has(device: SimDevice, name: str) -> None:
    async def has() -> bool:
        record = await facts(device).get("common")
        return record is not None and record.get(name) == name

    await until(device.world, has, f"{device.name} does not have {name}")


def test_a_device_that_knows_of_no_rulings_syncs_all_the_same() -> None:
    """An older version is told nothing that it does not know, and passes nothing on."""
    with a_world(LAPTOP, PHONE, TABLET) as world:
        world.devices["phone"].features = (BLOBS,)

        async def test() -> None:
            laptop, phone, tablet = await part(world)
            await phone.start()
            await meet(world)

            assert await everybody_says(laptop, phone, tablet) == BOTH
            assert not phone.engine.rulings.rulings()
            assert tablet.engine.rulings.rulings() == laptop.engine.rulings.rulings() != []

        world.run(test())
    assert world.violations == []


def test_where_the_branch_that_was_ruled_for_is_lost_the_others_come_together() -> None:
    """The only device that had it may be gone before anybody could fetch it."""

    async def test(world: World) -> None:
        laptop, phone, tablet = await part(world)
        await tablet.stop()
        is_healed = asyncio.Event()
        keep_out = laptop.engine.rulings.keep_out

        def healed(names: Iterable[Name]) -> None:
            phone.crash()
            keep_out(names)
            is_healed.set()

        laptop.engine.rulings.keep_out = healed  # type: ignore[method-assign]
        await phone.start()
        await is_healed.wait()
        await tablet.start()
        await until_in_sync(world)

        assert await everybody_says(laptop, tablet) == {
            "common": {"text": "common"},
            "after": {"text": "after"},
        }

    run_in_a_world(test, LAPTOP, PHONE, TABLET)


def test_two_machines_that_are_copies_come_to_one_branch_with_all_others() -> None:
    """Each of them goes over to what it sees first, and rules for it: one word counts."""

    async def test(world: World) -> None:
        laptop, phone, tablet = (world.devices[n] for n in ("laptop", "phone", "tablet"))
        await start_all(world)
        await facts(laptop).put({"text": "common"}, id="common")
        await meet(world)
        laptop.store.save()
        twin = world.add("twin", laptop.disk.copy("twin", laptop.disk.identity), "elsewhere")
        world.network.move("tablet", "elsewhere")
        await twin.start()
        await facts(laptop).put({"text": "laptop"}, id="laptop")
        await until_it_says(phone, "laptop", "laptop")
        await facts(twin).put({"text": "twin"}, id="twin")
        await until_it_says(tablet, "twin", "twin")
        await facts(phone).put({"note": "phone"}, id="laptop")
        await facts(tablet).put({"note": "tablet"}, id="twin")
        # They change places: each finds the branch of the other.
        world.network.move("phone", "elsewhere")
        world.network.move("tablet", "home")
        await world.wait_ms(60_000)
        for name in ("phone", "twin"):
            world.network.move(name, "home")
        wanted = {
            "common": {"text": "common"},
            "laptop": {"text": "laptop", "note": "phone"},
            "twin": {"text": "twin", "note": "tablet"},
        }

        async def said() -> bool:
            return [await records(device) for device in world.running()] == [wanted] * 4

        await until(world, said, "they say something else")
        (scope,) = (s.tag for s in phone.engine.ledger.scopes() if s.privacy == 1)
        heads = [device.engine.ledger.holdings.heads(scope) for device in world.running()]
        assert all(found == heads[0] for found in heads)

    run_in_a_world(test, LAPTOP, PHONE, TABLET)
