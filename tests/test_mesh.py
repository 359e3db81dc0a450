"""Mesh: who gets which key, whatever happens at the same time, and what nobody can take over."""

import asyncio

import pytest

from covey.crypto.entry import CONTROL_SCOPE
from covey.crypto.grants import mesh_id
from covey.node.mesh_view import NotAdminError, NotEntitledError
from covey.storage.errors import StorageError
from covey.sync.digests import database_digest, root_digest
from covey.sync.hlc import tick
from covey.sync.membership import Operation, encode_operation
from covey.sync.sharing import Sharing

from .fake_clock import settle
from .memory_world import Device, World, admit, carry, meet

LEVEL_PRIVACIES = {"full": {1, 2, 3}, "limited": {2, 3}, "guest": {3}}


async def with_all_levels(world: World) -> Device:
    device = await world.founder("laptop")
    for name in ("device", "private", "family", "public"):
        await device.collection().put({"for": name}, id=name, privacy=name)
    return device


@pytest.mark.parametrize("level", ["full", "limited", "guest"])
@pytest.mark.parametrize("before", [True, False])
async def test_a_device_gets_the_keys_of_its_level_and_no_others(level: str, before: bool) -> None:
    """A guest that once held a private key holds it for ever."""
    async with World() as world:
        if before:
            laptop = await with_all_levels(world)
            other = await world.member(laptop, "other", level)
        else:
            laptop = await world.founder("laptop")
            other = await world.member(laptop, "other", level)
            for name in ("device", "private", "family", "public"):
                await laptop.collection().put({"for": name}, id=name, privacy=name)
        await carry(laptop, other)
        granted = {
            grant.privacy
            for grant in other.engine.mesh.registry.grants
            if grant.scope != CONTROL_SCOPE and other.id in grant.sealed
        }
        held = {
            scope.privacy
            for scope in laptop.engine.ledger.scopes()
            for key in (laptop.engine.mesh.outlet_now(scope).heading.key_id,)
            if other.engine.mesh.key(key) is not None
        }

        assert granted == held == LEVEL_PRIVACIES[level]
        names = {1: "private", 2: "family", 3: "public"}
        assert {record["for"] for record in (await other.values()).values()} == {
            names[privacy] for privacy in LEVEL_PRIVACIES[level]
        }


@pytest.mark.parametrize("level", ["limited", "guest"])
async def test_what_is_shown_to_a_lesser_device_has_no_trace_of_private_scopes(level: str) -> None:
    """A digest over private logs would tell when private records change."""
    async with World() as world:
        laptop = await with_all_levels(world)
        other = await world.member(laptop, "other", level)
        await carry(laptop, other)
        sharing = laptop.engine.mesh.sharing_with(other.id)
        holdings = laptop.engine.ledger.holdings
        before = holdings.root(sharing)
        private = next(s for s in laptop.engine.ledger.scopes() if s.privacy == 1)
        await laptop.collection().put({"n": 1}, id="more")
        await laptop.collection().put({"n": 1}, id="mine", privacy="device")

        assert sharing == Sharing.of(LEVEL_PRIVACIES[level])
        assert holdings.root(sharing) == before
        assert before == root_digest(
            [
                (tag, database_digest(holdings.scope_rows(tag, sharing)))
                for tag in holdings.databases(sharing)
            ]
        )
        assert private.tag not in holdings.scopes(sharing)
        assert before == other.engine.ledger.holdings.root(sharing)


async def test_a_database_made_while_another_device_is_admitted_reaches_that_device() -> None:
    """The maker does not know the newcomer, the admitting device not the database."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        tablet = await world.founder("tablet")
        await admit(laptop, tablet)
        await phone.collection().put({"x": 1}, id="r")
        await meet(laptop, phone, tablet)
        await meet(laptop, phone, tablet)

        assert await tablet.values() == {"memory/facts/r": {"x": 1}}
        assert all(device.engine.ingest.waiting() == 0 for device in (laptop, phone, tablet))


async def test_one_database_opened_on_two_devices_at_once_is_one_database() -> None:
    """Two keys come to be; both must open, and one must win, the same one everywhere."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put({"a": 1}, id="r")
        await phone.collection().put({"b": 1}, id="r")
        await phone.collection().put({"b": 1}, id="q")
        await meet(laptop, phone)
        await meet(laptop, phone)
        expected = {"memory/facts/r": {"a": 1, "b": 1}, "memory/facts/q": {"b": 1}}
        assert await laptop.values() == await phone.values() == expected

        (scope,) = laptop.engine.ledger.scopes()
        (theirs,) = phone.engine.ledger.scopes()
        assert scope.tag == theirs.tag
        keys = {
            laptop.engine.mesh.outlet_now(scope).heading.key_id,
            phone.engine.mesh.outlet_now(theirs).heading.key_id,
        }
        assert len(keys) == 1
        tablet = await world.member(laptop, "tablet")
        await meet(laptop, phone, tablet)
        assert await tablet.values() == expected


async def test_writes_that_open_a_database_at_once_all_arrive() -> None:
    """An application starts with ten tasks that all write first."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await asyncio.gather(*(laptop.collection().put({"n": n}, id=f"r{n}") for n in range(10)))
        await asyncio.gather(
            *(laptop.collection().put({"n": n}, id=f"d{n}", privacy="device") for n in range(3))
        )
        await carry(laptop, phone)
        assert len(await phone.values()) == 10

        laptop = await world.restart(laptop)
        await asyncio.gather(
            *(laptop.collection().put({"m": n}, id=f"d{n}", privacy="device") for n in range(3))
        )
        assert await laptop.collection().get("d2") == {"n": 2, "m": 2}


async def test_a_later_genesis_in_the_log_founds_nothing() -> None:
    """A member that writes one must not become the founder, nor change the mesh's name."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        keys, mesh = phone.engine.keys, phone.engine.mesh
        details = {
            "sig": keys.sig_pk, "dh": keys.dh_pk, "seal": keys.seal_pk,
            "name": "king", "type": "phone", "salt": bytes(16), "created": 1,
        }  # fmt: skip
        genesis = encode_operation(Operation("genesis", (), tick(0, 1), details))
        scope = phone.engine.ledger.scope(CONTROL_SCOPE)
        assert scope is not None
        staged = phone.engine.committer.stage(await mesh.outlet(scope), genesis, operation=genesis)
        await staged.done
        await carry(phone, laptop)
        for device in (phone, laptop):
            device = await world.restart(device)
            assert device.engine.mesh.id == mesh.id != mesh_id(genesis)
            registry = device.engine.mesh.registry
            assert registry.devices[phone.id].role == "member"
            assert registry.devices[laptop.id].role == "admin"
            if device.id == phone.id:
                with pytest.raises(NotAdminError):
                    device.engine.mesh.require_admin()


async def test_a_device_that_may_not_is_told_so_and_nothing_is_written() -> None:
    """The message is better than an operation that every fold ignores."""
    async with World() as world:
        laptop = await world.founder("laptop")
        guest = await world.member(laptop, "guest", "guest")
        before = guest.engine.ledger.holdings.control_digest()

        with pytest.raises(NotEntitledError, match="guest"):
            await guest.collection().put({"x": 1}, id="r")
        with pytest.raises(NotAdminError):
            await guest.engine.trust.rename(laptop.id, "mine")
        assert guest.engine.ledger.holdings.control_digest() == before
        with pytest.raises(NotEntitledError, match="level full"):
            await guest.collection().put({"x": 1}, id="r", privacy="public")
        assert guest.engine.ledger.holdings.control_digest() == before
        await laptop.collection().put({"y": 1}, id="q", privacy="public")
        await carry(laptop, guest)
        await guest.collection().put({"x": 1}, id="r", privacy="public")
        await guest.engine.trust.rename(guest.id, "visitor")
        await carry(guest, laptop)
        assert await laptop.collection().get("r") == {"x": 1}
        assert laptop.engine.mesh.registry.devices[guest.id].name == "visitor"


async def test_a_caller_that_gives_up_while_a_database_opens_leaves_the_mesh_whole() -> None:
    """The operation is on the disk and at the peers: this device must go on knowing it."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        for steps in range(1, 5):
            name = f"database{steps}"
            laptop.gate.hold_writes = True
            writing = asyncio.ensure_future(
                laptop.collection("facts", name).put({"x": 1}, id="given up")
            )
            for step in range(6):
                await settle()
                if step == steps:
                    writing.cancel()
                    await settle()
                laptop.gate.release()
            await settle()
            laptop.gate.hold_writes = False
            laptop.gate.release()
            await settle()
            await laptop.collection("facts", name).put({"x": 2}, id="r")
        await meet(laptop, phone)
        heads = laptop.engine.mesh.registry.heads

        assert heads == phone.engine.mesh.registry.heads
        assert await phone.values() == await laptop.values()
        laptop = await world.restart(laptop)
        assert heads == laptop.engine.mesh.registry.heads


async def test_an_operation_that_failed_never_happened() -> None:
    """What rests on it would wait for ever on every other device."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        heads = laptop.engine.mesh.registry.heads
        laptop.gate.fail_after = 0
        renames = [laptop.engine.trust.rename(laptop.id, f"name{n}") for n in range(3)]
        failures = await asyncio.gather(*renames, return_exceptions=True)
        laptop.gate.fail_after = None

        assert all(isinstance(failure, StorageError) for failure in failures)
        assert laptop.engine.mesh.registry.heads == heads
        await laptop.engine.trust.rename(laptop.id, "better")
        await carry(laptop, phone)
        assert phone.engine.mesh.registry.devices[laptop.id].name == "better"
        assert phone.engine.mesh.registry.heads == laptop.engine.mesh.registry.heads
