"""Recovering: what the paper key decides stands, and it opens everything it is said to open."""

import pytest

from covey.crypto.entry import CONTROL_SCOPE
from covey.crypto.recovery import RecoveryKeys
from covey.crypto.secret import Secret
from covey.node.recovering import DrillFailedError, Recovering, RecoveryRefusedError

from .memory_world import Device, World, carry, carry_scope, meet, settle_tasks
from .test_trust import shelved, three


def paper(number: int = 1) -> RecoveryKeys:
    return RecoveryKeys.from_seed(Secret(bytes([number]) * 32))


async def test_the_oldest_admin_gives_the_mesh_a_paper_key_that_opens_everything() -> None:
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await phone.collection(database="other").put({"n": 1}, id="q", privacy="family")
        await meet(laptop, phone, tablet)
        await laptop.engine.trust.set_role(phone.id, "admin")
        await carry(laptop, phone)
        with pytest.raises(RecoveryRefusedError, match="oldest admin"):
            await Recovering(phone.engine).create(paper(2), None)
        await Recovering(laptop.engine).create(paper(), None)
        await meet(laptop, phone, tablet)

        for device in (laptop, phone, tablet):
            assert [key.sig_pk for key in device.engine.mesh.registry.recovery] == [paper().sig_pk]
            found = await Recovering(device.engine).drill(paper())
            assert found.databases == ("memory", "other")
        with pytest.raises(RecoveryRefusedError, match="only its words"):
            await Recovering(laptop.engine).create(paper(2), None)
        with pytest.raises(RecoveryRefusedError, match="not the one of this mesh"):
            await Recovering(laptop.engine).drill(paper(3))


async def test_a_drill_fails_while_keys_are_missing() -> None:
    """A rehearsal that says yes without looking is worse than none."""
    async with World() as world:
        laptop, phone, _ = await three(world)
        await Recovering(laptop.engine).create(paper(), None)
        # The phone has not heard of the paper key, and opens a database of its own.
        await phone.collection(database="fresh").put({"n": 1}, id="r")
        await carry(phone, laptop)
        with pytest.raises(DrillFailedError, match="1 entries"):
            await Recovering(laptop.engine).drill(paper())
        await meet(laptop, phone)
        await meet(laptop, phone)
        assert "fresh" in (await Recovering(laptop.engine).drill(paper())).databases


async def test_a_new_paper_key_takes_the_place_of_the_old_one_which_opens_nothing_new() -> None:
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await Recovering(laptop.engine).create(paper(), None)
        await Recovering(laptop.engine).create(paper(2), paper())
        await settle_tasks(laptop)
        await meet(laptop, phone, tablet)
        await laptop.collection().put({"n": 3}, id="r")
        await carry(laptop, phone)

        recovery = laptop.engine.mesh.registry.recovery
        assert [key.sig_pk for key in recovery] == [paper(2).sig_pk]
        await Recovering(phone.engine).drill(paper(2))
        scope = laptop.engine.ledger.scope_named("memory", 1)
        assert scope is not None
        used = laptop.engine.mesh.outlet_now(scope).heading.key_id
        for grant in laptop.engine.mesh.registry.grants:
            assert grant.key_id != used or paper().sig_pk not in grant.sealed


async def test_the_paper_key_removes_the_oldest_admin_for_good() -> None:
    """A stolen first device outranks all others, but not the paper."""
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await laptop.engine.trust.set_role(phone.id, "admin")
        await Recovering(laptop.engine).create(paper(), None)
        await meet(laptop, phone, tablet)
        assert [d.name for d in phone.engine.trust.objectors(laptop.id)] == ["laptop"]
        await Recovering(phone.engine).revoke(paper(), {laptop.id})
        # The thief hears of it, or not: it removes the phone in return.
        await laptop.engine.trust.revoke(phone.id)
        await laptop.collection().put({"text": "thief"}, id="r")
        await carry_scope(laptop, phone, CONTROL_SCOPE)
        await settle_tasks(phone)
        await carry(phone, tablet)

        for device in (phone, tablet):
            active = {d.sig_pk for d in device.engine.mesh.registry.active()}
            assert active == {phone.id, tablet.id}
        await phone.collection().put({"n": 9}, id="r")
        await carry(phone, tablet)
        assert (await tablet.values())["memory/facts/r"]["n"] == 9


@pytest.mark.parametrize("replaces", [True, False])
async def test_words_and_an_old_copy_make_a_new_device_and_end_the_lost_one(
    replaces: bool,
) -> None:
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await Recovering(laptop.engine).create(paper(), None)
        await meet(laptop, phone, tablet)
        backup = laptop.gate.image()
        await laptop.collection().put({"n": 77}, id="after")
        await carry(laptop, tablet)
        # The laptop is lost; a copy of its home becomes another device.
        copy = await world.restart(laptop, crash=True)
        del backup
        fresh = paper(2) if replaces else None
        keys = await Recovering(copy.engine).take_over(
            paper(), "new laptop", "laptop", {laptop.id}, fresh
        )
        await settle_tasks(copy)
        new = await reborn(world, copy)
        assert new.id == keys.sig_pk != laptop.id
        await meet(new, tablet, phone)
        await meet(new, tablet, phone)

        registry = tablet.engine.mesh.registry
        assert {d.name for d in registry.active()} == {"new laptop", "phone", "tablet"}
        assert registry.devices[new.id].role == "admin"
        assert not registry.devices[laptop.id].active
        assert [key.sig_pk for key in registry.recovery] == [(fresh or paper()).sig_pk]
        await new.collection().put({"by": "new"}, id="new")
        await tablet.collection().put({"by": "tablet"}, id="tablet")
        await meet(new, tablet, phone)
        expected = await new.values()
        assert expected["memory/facts/new"] == {"by": "new"}
        assert await tablet.values() == await phone.values() == expected
        await Recovering(new.engine).drill(fresh or paper())


async def reborn(world: World, device: Device) -> Device:
    """Open the store as whoever its device keys say, and under the instance that it says."""
    from covey.crypto.identity import DeviceKeys
    from covey.node.founding import DEVICE_KEYS
    from covey.storage import meta_rows

    from .fake_clock import SeededEntropy
    from .memory_world import Gate

    gate = Gate(device.gate.image())
    await device.engine.close()
    stored = await gate.read(lambda conn: meta_rows.get_meta(conn, DEVICE_KEYS))
    instance = await gate.read(lambda conn: meta_rows.get_meta(conn, "instance.id"))
    assert stored is not None and instance is not None
    world.seed += 1
    return await world._start(gate, DeviceKeys.decode(stored), instance, SeededEntropy(world.seed))


async def test_what_a_lost_device_wrote_after_the_backup_is_on_the_shelf() -> None:
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await Recovering(laptop.engine).create(paper(), None)
        await meet(laptop, phone, tablet)
        copy = await world.restart(laptop, crash=True)
        await laptop.collection().put({"by": "thief"}, id="thief")
        await Recovering(copy.engine).take_over(paper(), "new", "laptop", {laptop.id}, None)
        new = await reborn(world, copy)
        await carry(new, tablet)
        scope = laptop.engine.ledger.scope_named("memory", 1)
        assert scope is not None
        await carry_scope(laptop, tablet, scope.tag)
        assert "memory/facts/thief" not in await tablet.values()
        assert shelved(tablet) == 1


@pytest.mark.parametrize("level", ["full", "limited", "guest"])
async def test_any_device_that_is_left_becomes_an_admin_by_the_word_of_the_paper_key(
    level: str,
) -> None:
    """All admins are lost; what is left is one device, whatever it may read."""
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await laptop.collection().put({"n": 1}, id="open", privacy="public")
        await Recovering(laptop.engine).create(paper(), None)
        await laptop.engine.trust.set_level(tablet.id, level)
        await meet(laptop, phone, tablet)
        await Recovering(tablet.engine).promote(paper(), {laptop.id}, paper(2))
        await settle_tasks(tablet)
        await meet(tablet, phone)
        await meet(tablet, phone)

        registry = phone.engine.mesh.registry
        assert {d.name for d in registry.active()} == {"phone", "tablet"}
        us = registry.devices[tablet.id]
        assert (us.level, us.role) == ("full", "admin")
        assert [key.sig_pk for key in registry.recovery] == [paper(2).sig_pk]
        fourth = await world.member(tablet, "fourth")
        await meet(tablet, phone, fourth)
        await fourth.collection().put({"by": "fourth"}, id="fourth")
        await meet(tablet, phone, fourth)
        expected = await phone.values()
        assert expected["memory/facts/fourth"] == {"by": "fourth"}
        assert expected["memory/facts/r"] == {"text": "tea", "n": 0}
        assert await tablet.values() == await fourth.values() == expected
        await Recovering(tablet.engine).drill(paper(2))
        with pytest.raises(RecoveryRefusedError):
            await Recovering(tablet.engine).promote(paper(), (), None)


async def test_the_paper_key_does_not_remove_the_device_it_speaks_on() -> None:
    """It would make new keys that it has no part in itself."""
    async with World() as world:
        laptop, _, _ = await three(world)
        recovering = Recovering(laptop.engine)

        assert recovering.others(["phone"])
        with pytest.raises(RecoveryRefusedError, match="the device you are on"):
            recovering.others(["phone", "laptop"])
