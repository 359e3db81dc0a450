"""Rekeying: the former key opens nothing new, and nothing is lost on the way to the next."""

import asyncio
from typing import Any

import pytest

from covey.crypto.identity import DeviceKeys
from covey.node.granting import granted_keys
from covey.node.ingest import BatchRefusedError
from covey.node.mesh_view import NotEntitledError
from covey.node.rekeying import current_keys, is_outdated, rekey
from covey.node.trust_methods import TrustMethods
from covey.storage.errors import StorageError

from .memory_world import Device, World, carry, meet, settle_tasks
from .test_recovering import reborn
from .test_trust import three


def opened_by(keys: DeviceKeys, device: Device) -> set[bytes]:
    """The ids of all keys that open with these device keys, in what a device has of the log."""
    registry = device.engine.mesh.registry
    return {
        key.key_id for key in granted_keys(registry.mesh, registry.grants, keys, (), lambda _: True)
    }


def newest(device: Device) -> set[bytes]:
    """The ids of the keys that a device writes under now, of the membership log and its data."""
    scope = device.engine.ledger.scope_named("memory", 1)
    assert scope is not None
    mesh = device.engine.mesh
    current = mesh.registry.writer_key(scope.tag, mesh.held_keys())
    assert current is not None
    return {mesh.control_key()[1], current[1]}


async def asked(device: Device, method: str) -> Any:
    answer = await TrustMethods(device.engine).table()[method]({})
    await settle_tasks(device)
    return answer


async def test_the_former_key_opens_nothing_that_is_granted_afterwards() -> None:
    """Somebody had it once; the device goes on as before."""
    async with World() as world:
        laptop, phone, tablet = await three(world)
        stolen = phone.engine.keys
        before = opened_by(stolen, phone)

        answer = await asked(phone, "device_rekey")
        await meet(laptop, phone, tablet)
        await laptop.collection().put({"n": 1}, id="later")
        await meet(laptop, phone, tablet)

        assert answer["scopes"] == 2
        assert opened_by(stolen, laptop) == before
        assert newest(laptop) == newest(phone) and not newest(laptop) & before
        assert opened_by(phone.engine.keys, laptop) >= newest(laptop)
        assert await phone.values() == await laptop.values()
        for device in (laptop, tablet):
            known = device.engine.mesh.registry.devices[phone.id]
            assert (known.seal_pk, known.dh_pk) == (
                current_keys(phone.engine).seal_pk,
                stolen.dh_pk,
            )
            assert known.seal_pk != stolen.seal_pk


async def test_what_was_sealed_to_the_former_key_meanwhile_still_opens() -> None:
    """Others go on using it until they have heard."""
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await rekey(phone.engine)
        await laptop.engine.trust.rotate()
        await laptop.collection().put({"n": 1}, id="meanwhile")
        await carry(laptop, phone)

        assert (await phone.values())["memory/facts/meanwhile"] == {"n": 1}
        again = await reborn(world, phone)
        await meet(laptop, again, tablet)
        assert await again.values() == await laptop.values() == await tablet.values()
        assert not is_outdated(again.engine)


@pytest.mark.parametrize("level", ["limited", "guest"])
async def test_a_device_that_makes_no_keys_is_given_the_next_ones_under_its_new_one(
    level: str,
) -> None:
    """It cannot end the epoch itself, and says so."""
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await laptop.engine.trust.set_level(phone.id, level)
        await laptop.collection(database="open").put({"n": 1}, id="r", privacy="public")
        await meet(laptop, phone, tablet)
        stolen = phone.engine.keys

        assert (await asked(phone, "device_rekey"))["scopes"] is None
        await meet(laptop, phone, tablet)
        before = opened_by(stolen, laptop)
        await asked(laptop, "keys_rotate")
        await laptop.collection(database="open").put({"n": 2}, id="r", privacy="public")
        await meet(laptop, phone, tablet)

        assert opened_by(stolen, laptop) == before
        assert (await phone.values())["open/facts/r"] == {"n": 2}


async def test_of_two_at_once_both_keys_are_kept() -> None:
    """Whichever the others hear last, it opens."""
    async with World() as world:
        laptop, phone, tablet = await three(world)

        await asyncio.gather(rekey(phone.engine), rekey(phone.engine))
        again = await reborn(world, phone)
        await meet(laptop, again, tablet)
        await laptop.engine.trust.rotate()
        await laptop.collection().put({"n": 1}, id="later")
        await meet(laptop, again, tablet)

        assert not is_outdated(again.engine)
        assert (await again.values())["memory/facts/later"] == {"n": 1}


@pytest.mark.parametrize("writes", [0, 1])
async def test_a_disk_that_fails_on_the_way_leaves_a_device_that_reads(writes: int) -> None:
    """Before the key is on the disk nobody hears of it; after that it may be heard at any time."""
    async with World() as world:
        laptop, phone, tablet = await three(world)
        former = phone.engine.our_device().seal_pk
        phone.gate.fail_after = writes
        with pytest.raises(StorageError):
            await rekey(phone.engine)
        phone.gate.fail_after = None

        again = await reborn(world, phone)
        assert again.engine.our_device().seal_pk == former == current_keys(again.engine).seal_pk
        await laptop.engine.trust.rotate()
        await laptop.collection().put({"n": 1}, id="later")
        await meet(laptop, again, tablet)
        assert (await again.values())["memory/facts/later"] == {"n": 1}
        await asked(again, "device_rekey")
        await meet(laptop, again, tablet)
        assert laptop.engine.mesh.registry.devices[phone.id].seal_pk not in (former, b"")
        assert not is_outdated(again.engine)


async def test_a_home_that_was_put_back_to_before_it_reads_nothing_new_and_says_so() -> None:
    """It is all that a thief of a backup has; a person has to see it and act."""
    async with World() as world:
        laptop, phone, tablet = await three(world)
        copy = await world.restart(phone, crash=True)
        await asked(phone, "device_rekey")
        await meet(laptop, phone, tablet)
        await laptop.collection().put({"n": 1}, id="later")
        with pytest.raises(BatchRefusedError):  # It cannot read who may write what by now.
            await carry(laptop, copy)

        assert "memory/facts/later" not in await copy.values()
        assert (await copy.engine.status())["outdated_key"] is True
        assert (await phone.engine.status())["outdated_key"] is False


async def test_a_device_that_was_removed_renews_nothing() -> None:
    async with World() as world:
        laptop, phone, _ = await three(world)
        await laptop.engine.trust.revoke(phone.id)
        await carry(laptop, phone)
        with pytest.raises(NotEntitledError):
            await rekey(phone.engine)

        assert (await phone.engine.status())["outdated_key"] is False


async def test_everybody_is_told_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that changed unasked is what somebody with a copy of the device would do."""
    async with World() as world:
        laptop, phone, _ = await three(world)
        told: list[str] = []
        monkeypatch.setattr(laptop.engine, "tell", lambda kind, detail: told.append(kind))
        await rekey(phone.engine)
        await carry(phone, laptop)

        assert told == ["rekeyed"]
