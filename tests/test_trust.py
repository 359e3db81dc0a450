"""Trust: a device that is removed or limited, whatever it and others wrote meanwhile."""

import itertools

import pytest

from covey.crypto.entry import CONTROL_SCOPE
from covey.node.mesh_view import NotAdminError, NotEntitledError
from covey.node.parameters import UsageError
from covey.node.trust import TrustRefusedError
from covey.storage import event_rows, log_rows
from covey.storage.errors import StorageError
from covey.storage.log_rows import EntryState

from .memory_world import (
    Device,
    World,
    batches,
    carry,
    carry_scope,
    meet,
    settle_tasks,
    single_entries,
    take,
)


async def three(world: World) -> tuple[Device, Device, Device]:
    """Laptop is the admin; phone and tablet are members of level full; all hold one record."""
    laptop = await world.founder("laptop")
    phone = await world.member(laptop, "phone")
    tablet = await world.member(laptop, "tablet")
    await laptop.collection().put({"text": "tea", "n": 0}, id="r")
    await meet(laptop, phone, tablet)
    return laptop, phone, tablet


async def revoke(admin: Device, device: Device) -> None:
    await admin.engine.trust.revoke(device.id)
    await settle_tasks(admin)


async def give(source: Device, target: Device) -> None:
    """Bring data that `target` does not ask for any more: all that `source` holds."""
    for scope in source.engine.ledger.scopes():
        if target.engine.ledger.scope(scope.tag) is not None:
            await carry_scope(source, target, scope.tag)
    await settle_tasks(target)


def entry_keys(device: Device, scope: bytes | None = None) -> dict[bytes, set[bytes]]:
    """Under which keys a device wrote, by scope."""
    found: dict[bytes, set[bytes]] = {}

    def read(conn):  # type: ignore[no-untyped-def]
        for row in log_rows.entries_by_arrival(conn, 0, 10_000):
            log = device.engine.ledger.log_numbered(row.log_no)
            if log.author == device.id and log.scope.privacy + (log.scope.tag == CONTROL_SCOPE):
                heading = log_rows.headings_by_no(conn, [row.heading_no])[row.heading_no]
                found.setdefault(log.scope.tag, set()).add(heading.key_id)

    device.gate.inner.read(read)
    return found


def shelved(device: Device) -> int:
    return sum(row["entries"] for row in device.engine.directory.shelf_rows())


# Keys -------------------------------------------------------------------------------------------


async def test_nothing_written_after_a_removal_opens_with_a_key_that_the_removed_one_has() -> None:
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await revoke(laptop, phone)
        before = set(phone.engine.mesh.held_keys())
        await laptop.collection().put({"secret": 1}, id="later")
        await laptop.engine.trust.rename(laptop.id, "the laptop")
        await carry(laptop, tablet)
        await tablet.collection().put({"secret": 2}, id="tablet's")

        assert not phone_opens(phone, laptop, before)
        assert not phone_opens(phone, tablet, before)


def phone_opens(phone: Device, other: Device, keys: set[bytes]) -> list[str]:
    """Entries of `other`, written after it knew of the removal, under keys that the phone has.

    The one grant of the next control key is the exception: it has to be readable for whoever has
    only the old one, and holds boxes for others.
    """
    opened = []
    grants = other.engine.mesh.registry.grants
    handing_on = {grant.id for grant in grants if grant.scope == CONTROL_SCOPE}

    def read(conn):  # type: ignore[no-untyped-def]
        for row in log_rows.entries_by_arrival(conn, 0, 10_000):
            log = other.engine.ledger.log_numbered(row.log_no)
            heading = log_rows.headings_by_no(conn, [row.heading_no])[row.heading_no]
            heads = [heading.heads[i : i + 32] for i in range(0, len(heading.heads), 32)]
            at = other.engine.mesh._membership.at(heads)
            if at is None or (log.scope.tag != CONTROL_SCOPE and not log.scope.privacy):
                continue
            known = at.devices.get(phone.id)
            if row.entry_id in handing_on:
                continue
            if known is not None and not known.active and heading.key_id in keys:
                opened.append(f"{log.scope.database} {row.seq}")

    other.gate.inner.read(read)
    return opened


async def test_a_removal_and_its_new_keys_are_one_transaction() -> None:
    async with World() as world:
        laptop, phone, _ = await three(world)
        laptop.gate.fail_after = 0
        with pytest.raises(StorageError):
            await laptop.engine.trust.revoke(phone.id)
        laptop.gate.fail_after = None

        assert laptop.engine.mesh.registry.devices[phone.id].active
        writes = laptop.gate.writes
        await laptop.engine.trust.revoke(phone.id)
        registry = laptop.engine.mesh.registry
        assert not registry.devices[phone.id].active
        scope = laptop.engine.ledger.scope_named("memory", 1)
        assert scope is not None
        assert not laptop.engine.mesh.needs_key(scope)
        assert not laptop.engine.mesh.stale_scopes()
        # One transaction for the log; what follows from it may be another.
        again = await world.restart(laptop, crash=True)
        assert not again.engine.mesh.registry.devices[phone.id].active
        assert not again.engine.mesh.stale_scopes()
        assert laptop.gate.writes - writes <= 3


async def test_two_removals_at_once_leave_keys_that_neither_holds() -> None:
    """Each new epoch is held by the device that the other one removed."""
    async with World() as world:
        laptop, phone, tablet = await three(world)
        desktop = await world.member(laptop, "desktop")
        await laptop.engine.trust.set_role(desktop.id, "admin")
        await meet(laptop, phone, tablet, desktop)
        await revoke(laptop, phone)
        await revoke(desktop, tablet)
        await meet(laptop, desktop)
        lost = set(phone.engine.mesh.held_keys()) | set(tablet.engine.mesh.held_keys())
        # What each sealed to the other's removed device before it knew is theirs as well.
        for device in (laptop, desktop):
            for grant in device.engine.mesh.registry.grants:
                if {phone.id, tablet.id} & set(grant.sealed):
                    lost.add(grant.key_id)
        await laptop.collection().put({"n": 1}, id="r")
        await desktop.collection().put({"n": 2}, id="q")

        for device in (laptop, desktop):
            registry = device.engine.mesh.registry
            assert {d.sig_pk for d in registry.active()} == {laptop.id, desktop.id}
            scope = device.engine.ledger.scope_named("memory", 1)
            assert scope is not None
            assert device.engine.mesh.outlet_now(scope).heading.key_id not in lost
            assert device.engine.mesh.control_key()[1] not in lost
        await meet(laptop, desktop)
        assert await laptop.values() == await desktop.values()


async def test_a_senior_whom_a_junior_removed_at_once_is_given_the_keys_made_meanwhile() -> None:
    """It is the eldest, whose turn it would be, and the only one that cannot do it."""
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await laptop.engine.trust.set_role(tablet.id, "admin")
        await meet(laptop, phone, tablet)
        await revoke(tablet, laptop)
        await tablet.collection().put({"by": "tablet"}, id="from-tablet")
        await carry(tablet, phone)
        await phone.collection().put({"by": "phone"}, id="from-phone")
        await revoke(laptop, tablet)
        for source, target in ((laptop, phone), (phone, laptop)) * 2:
            await carry_scope(source, target, CONTROL_SCOPE)
            await settle_tasks(target)
        await meet(laptop, phone)

        for device in (laptop, phone):
            active = {d.sig_pk for d in device.engine.mesh.registry.active()}
            assert active == {laptop.id, phone.id}
            assert (await device.values())["memory/facts/from-phone"] == {"by": "phone"}
        assert await laptop.values() == await phone.values()
        assert laptop.engine.ingest.waiting() == 0


async def test_who_joins_while_another_admin_removes_somebody_is_given_the_new_keys() -> None:
    """It can read nothing that the new key was said under, and so not that it has it, either."""
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await laptop.engine.trust.set_role(tablet.id, "admin")
        await meet(laptop, phone, tablet)
        desktop = await world.member(laptop, "desktop")
        await revoke(tablet, phone)
        await tablet.collection().put({"by": "tablet"}, id="later")
        for source, target in ((laptop, tablet), (tablet, desktop), (tablet, laptop)):
            await carry_scope(source, target, CONTROL_SCOPE)
            await settle_tasks(target)
        await meet(laptop, tablet, desktop)

        expected = {
            "memory/facts/r": {"text": "tea", "n": 0},
            "memory/facts/later": {"by": "tablet"},
        }
        for device in (laptop, tablet, desktop):
            assert await device.values() == expected
            assert device.engine.ingest.waiting() == 0


async def test_a_new_control_key_is_not_granted_to_whom_it_was_made_to_exclude() -> None:
    """The removal comes sealed under the key that comes before it, which shows nobody removed."""
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await laptop.engine.trust.set_role(tablet.id, "admin")
        await meet(laptop, phone, tablet)
        await revoke(tablet, laptop)
        await carry(tablet, phone)
        await revoke(laptop, tablet)
        made = {grant.key_id for grant in laptop.engine.mesh.registry.grants if grant.epoch == 2}
        await carry_scope(laptop, phone, CONTROL_SCOPE)
        await settle_tasks(phone)

        granted = [g for g in phone.engine.mesh.registry.grants if g.key_id in made]
        assert granted and not any(tablet.id in grant.sealed for grant in granted)


async def test_whoever_may_read_less_gets_no_new_key_of_what_it_may_not() -> None:
    async with World() as world:
        laptop, phone, _ = await three(world)
        await laptop.collection().put({"n": 1}, id="f", privacy="family")
        await meet(laptop, phone)
        await laptop.engine.trust.set_level(phone.id, "limited")
        held = set(phone.engine.mesh.held_keys())
        await laptop.collection().put({"secret": 1}, id="private")
        await laptop.collection().put({"n": 2}, id="f")
        await carry(laptop, phone)

        private = laptop.engine.ledger.scope_named("memory", 1)
        assert private is not None
        used = laptop.engine.mesh.outlet_now(private).heading.key_id
        assert used not in held
        assert phone.engine.mesh.key(used) is None
        assert (await phone.values())["memory/facts/f"] == {"n": 2}
        with pytest.raises(NotEntitledError):
            await phone.collection().put({"n": 1}, id="mine")


async def test_what_a_device_may_not_read_any_more_is_not_waited_for() -> None:
    """A person would look in vain for the device that could bring what is missing.

    Others hold it and will not send it. It waits again, and comes, if the device may read more.
    """
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await tablet.collection().put({"text": "coffee"}, id="r")
        await carry(tablet, laptop)
        await laptop.collection().put({"n": 1}, id="r")
        private = laptop.engine.ledger.scope_named("memory", 1)
        assert private is not None
        for batch in await single_entries(laptop, private.tag):
            if batch.runs[0].author == laptop.id:
                await take(phone, batch)
        assert phone.engine.ingest.waiting() == 1
        await laptop.engine.trust.set_level(phone.id, "limited")
        await carry(laptop, phone)
        phone = await world.restart(phone)

        assert (await phone.engine.status())["waiting_entries"] == 0
        assert phone.engine.ingest.held_back() == 1

        await laptop.engine.trust.set_level(phone.id, "full")
        await meet(laptop, phone)
        await meet(laptop, phone)
        assert phone.engine.ingest.held_back() == 0
        assert await phone.values() == await laptop.values()


async def test_whoever_may_read_more_gets_what_was_written_before() -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone", "guest")
        await laptop.collection().put({"n": 1}, id="private")
        await meet(laptop, phone)
        assert await phone.values() == {}
        await laptop.engine.trust.set_level(phone.id, "full")
        await meet(laptop, phone)
        await meet(laptop, phone)

        assert await phone.values() == {"memory/facts/private": {"n": 1}}


async def test_keys_are_replaced_on_demand_and_when_they_are_old() -> None:
    async with World() as world:
        laptop, phone, tablet = await three(world)
        scope = laptop.engine.ledger.scope_named("memory", 1)
        assert scope is not None
        first = laptop.engine.mesh.outlet_now(scope).heading.key_id
        assert await laptop.engine.trust.rotate() == 2
        second = laptop.engine.mesh.outlet_now(scope).heading.key_id
        await laptop.engine.trust.look_after()
        assert laptop.engine.mesh.outlet_now(scope).heading.key_id == second != first
        await world.clock.advance(30 * 86_400_000 + 43_200_000)
        await phone.engine.trust.look_after()
        await carry(laptop, phone)
        await phone.engine.trust.look_after()
        theirs = phone.engine.mesh.registry.writer_key(scope.tag)
        assert theirs is not None and theirs[1] == second, "a junior waits"
        await laptop.engine.trust.look_after()
        assert laptop.engine.mesh.outlet_now(scope).heading.key_id != second
        await laptop.collection().put({"n": 7}, id="new")
        await meet(laptop, phone, tablet)

        assert await laptop.values() == await phone.values() == await tablet.values()


async def test_a_guest_whose_time_is_over_is_removed() -> None:
    async with World() as world:
        laptop, phone, _ = await three(world)
        day_ms = 86_400_000
        expires = world.clock.wall_ms() + day_ms
        await laptop.engine.trust.set_level(phone.id, "guest", expires)
        await laptop.engine.trust.look_after()
        assert laptop.engine.mesh.registry.devices[phone.id].active
        await world.clock.advance(day_ms + 1)
        await laptop.engine.trust.look_after()

        assert not laptop.engine.mesh.registry.devices[phone.id].active


async def test_a_device_that_is_alone_gives_nothing_up() -> None:
    """Nobody could ever give it back: one slip, and its own data would be out of its reach."""
    async with World() as world:
        laptop = await world.founder("laptop")
        trust, expires_ms = laptop.engine.trust, world.clock.wall_ms() + 1
        for giving_up in (
            trust.set_level(laptop.id, "guest"),
            trust.set_level(laptop.id, "full", expires_ms),
            trust.set_role(laptop.id, "member"),
            trust.revoke(laptop.id),
        ):
            with pytest.raises(TrustRefusedError, match="alone in its mesh"):
                await giving_up

        us = laptop.engine.our_device()
        assert (us.level, us.role, us.active, us.expires_ms) == ("full", "admin", True, None)


@pytest.mark.parametrize("words", [[""], ["y" * 33], [f"w{n}" for n in range(17)]])
async def test_a_description_that_would_count_for_nothing_is_refused(words: list[str]) -> None:
    """It was written, meant nothing to any device, and looked as if it had worked."""
    async with World() as world:
        laptop = await world.founder("laptop")
        before = laptop.engine.mesh.registry.heads

        with pytest.raises(UsageError, match="1 to 32 bytes"):
            await laptop.engine.trust.describe(laptop.id, use="mobile", capabilities=words)

        assert laptop.engine.mesh.registry.heads == before


async def test_a_removed_device_is_told_so_and_not_sent_to_an_admin() -> None:
    """On its own screen it looks like a member."""
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await laptop.engine.trust.revoke(phone.id)
        await carry(laptop, phone)

        with pytest.raises(NotAdminError, match="removed from its mesh"):
            await phone.engine.trust.adopt(tablet.id)


async def test_a_device_that_left_keeps_nobody_from_changing_what_is_there() -> None:
    """There is no good key then; a delete must not say that there is no such record."""
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await phone.engine.trust.revoke(phone.id)
        await carry(phone, tablet)
        assert await tablet.collection().delete("r")
        await meet(laptop, tablet)
        assert await laptop.values() == await tablet.values() == {}


async def test_a_limited_device_without_a_key_is_told_so_and_finds_its_records() -> None:
    """It can make no key; to say that there is no such record would be a lie."""
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await laptop.collection().put({"n": 1}, id="f", privacy="family")
        await laptop.engine.trust.set_level(tablet.id, "limited")
        await meet(laptop, phone, tablet)
        await phone.engine.trust.revoke(phone.id)
        await carry_scope(phone, tablet, CONTROL_SCOPE)
        await settle_tasks(tablet)
        with pytest.raises(NotEntitledError, match=r"renewed|no key"):
            await tablet.collection().delete("f")
        with pytest.raises(NotEntitledError, match=r"renewed|no key"):
            await tablet.collection().put({"n": 2}, id="f")
        await carry(phone, laptop)
        await meet(laptop, tablet)
        await tablet.collection().put({"n": 2}, id="f")
        assert (await tablet.values())["memory/facts/f"] == {"n": 2}


# What a removed device wrote --------------------------------------------------------------------


async def test_what_was_seen_stays_and_what_came_later_is_on_the_shelf() -> None:
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await phone.collection().put({"text": "seen"}, id="r")
        await phone.collection().put({"by": "phone"}, id="seen")
        await meet(laptop, phone, tablet)
        await phone.collection().put({"text": "late"}, id="r")
        await phone.collection().put({"by": "phone"}, id="late")
        await carry(phone, tablet)
        assert (await tablet.values())["memory/facts/r"] == {"text": "late", "n": 0}
        await revoke(laptop, phone)
        await carry(laptop, tablet)

        expected = {
            "memory/facts/r": {"text": "seen", "n": 0},
            "memory/facts/seen": {"by": "phone"},
        }
        assert await tablet.values() == expected
        assert shelved(tablet) == 2
        await meet(laptop, tablet)
        assert await laptop.values() == expected
        assert shelved(laptop) == 2
        again = await world.restart(laptop)
        assert await again.values() == expected
        assert shelved(again) == 2


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_what_somebody_built_on_counts_in_whatever_order_it_comes(
    order: tuple[int, ...],
) -> None:
    """An honest edit must not be lost because it rests on one of a device that was removed."""
    async with World() as world:
        laptop, phone, tablet = await three(world)
        fourth = await world.member(laptop, "fourth")
        await meet(laptop, phone, tablet, fourth)
        await phone.collection().put({"text": "late"}, id="r")
        await phone.collection().put({"by": "phone"}, id="alone")
        await carry(phone, tablet)
        await tablet.collection().put({"n": 5}, id="r")
        await revoke(laptop, phone)
        steps = [(laptop, fourth), (phone, fourth), (tablet, fourth)]
        for index in order:
            source, target = steps[index]
            if source is phone:
                await give(phone, target)
            else:
                await carry(source, target)
        await meet(laptop, tablet, fourth)

        expected = {"memory/facts/r": {"text": "late", "n": 5}}
        for device in (laptop, tablet, fourth):
            assert await device.values() == expected
            assert shelved(device) == 1


async def test_what_is_vouched_for_at_second_hand_is_not_on_the_shelf_for_a_moment() -> None:
    """It would come back when what rests on it is applied, but people would be told meanwhile."""
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await phone.collection().put({"text": "late"}, id="r")
        await phone.collection().put({"text": "later"}, id="r")
        await carry(phone, tablet)
        await tablet.collection().put({"n": 5}, id="r")
        await revoke(laptop, phone)
        await carry(laptop, tablet)

        await tablet.engine.notes.flush()
        events = await tablet.gate.read(lambda conn: event_rows.events(conn, -1, 1000))
        assert {"revoked", "shelved"} & {event.kind for event in events} == {"revoked"}
        assert await tablet.values() == {"memory/facts/r": {"text": "later", "n": 5}}


async def test_a_removed_device_does_not_vouch_for_itself() -> None:
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await revoke(laptop, phone)
        for n in range(3):
            await phone.collection().put({"n": n + 10}, id="r")
        await give(phone, laptop)
        await carry(laptop, tablet)
        await give(phone, tablet)

        for device in (laptop, tablet):
            assert await device.values() == {"memory/facts/r": {"text": "tea", "n": 0}}
            assert shelved(device) == 3


async def test_an_admin_adopts_what_is_on_the_shelf_and_it_counts_everywhere() -> None:
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await phone.collection().put({"text": "offline"}, id="r")
        await phone.collection().put({"by": "phone"}, id="new")
        await revoke(laptop, phone)
        await give(phone, laptop)
        assert shelved(laptop) == 2
        with pytest.raises(NotAdminError):
            await tablet.engine.trust.adopt(phone.id)
        await laptop.engine.trust.adopt(phone.id)
        await settle_tasks(laptop)
        await meet(laptop, tablet)

        expected = {
            "memory/facts/r": {"text": "offline", "n": 0},
            "memory/facts/new": {"by": "phone"},
        }
        for device in (laptop, tablet):
            assert await device.values() == expected
            assert shelved(device) == 0
        await phone.collection().put({"text": "after"}, id="r")
        await give(phone, laptop)
        assert await laptop.values() == expected
        assert shelved(laptop) == 1


async def test_a_crash_between_a_removal_and_its_consequences_changes_nothing() -> None:
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await phone.collection().put({"text": "late"}, id="r")
        await carry(phone, tablet)
        await revoke(laptop, phone)
        operations = await batches(laptop, tablet, CONTROL_SCOPE)
        prepared = [await tablet.engine.ingest.prepare(batch) for batch in operations]
        # The batch becomes durable, and the disk takes nothing after that.
        tablet.gate.fail_after = 1
        for one in prepared:
            try:
                await tablet.engine.ingest.store(one)
            except StorageError:
                break
        tablet = await world.restart(tablet, crash=True)
        await settle_tasks(tablet)

        assert await tablet.values() == {"memory/facts/r": {"text": "tea", "n": 0}}
        assert shelved(tablet) == 1
        row = tablet.gate.inner.read(
            lambda conn: log_rows.entries_in_state(conn, EntryState.SHELVED)
        )
        assert len(await row) == 1


# Rights -----------------------------------------------------------------------------------------


async def test_a_member_removes_and_limits_nobody_but_itself() -> None:
    async with World() as world:
        laptop, phone, tablet = await three(world)
        for act in (
            phone.engine.trust.revoke(tablet.id),
            phone.engine.trust.set_level(tablet.id, "guest"),
            phone.engine.trust.set_level(phone.id, "full"),
            phone.engine.trust.set_role(phone.id, "admin"),
            phone.engine.trust.rename(tablet.id, "mine"),
            phone.engine.trust.describe(tablet.id, use="guest"),
        ):
            with pytest.raises(NotAdminError):
                await act
        await phone.engine.trust.set_level(phone.id, "limited")
        await carry(phone, laptop)
        assert laptop.engine.mesh.registry.devices[phone.id].level == "limited"
        await phone.engine.trust.revoke(phone.id)
        await carry(phone, laptop)
        assert not laptop.engine.mesh.registry.devices[phone.id].active
        assert not laptop.engine.mesh.stale_scopes(), "the most senior device made new keys"
        with pytest.raises(NotEntitledError, match="removed"):
            await phone.collection().put({"n": 1}, id="x")
        await phone.collection().put({"n": 1}, id="mine", privacy="device")
        assert await phone.values(), "what it has can still be read"


async def test_who_has_left_is_told_so_when_it_opens_a_database() -> None:
    """It still has the level that it had, and its grants count no more."""
    async with World() as world:
        _, phone, _ = await three(world)
        await phone.engine.trust.revoke(phone.id)
        with pytest.raises(NotEntitledError):
            await phone.engine.mesh.open_scope("new", 1)
        with pytest.raises(NotEntitledError):
            await phone.collection("new").put({"n": 1})


async def test_a_mesh_is_not_left_without_an_admin() -> None:
    async with World() as world:
        laptop, phone, _ = await three(world)
        for act in (
            laptop.engine.trust.revoke(laptop.id),
            laptop.engine.trust.set_level(laptop.id, "limited"),
            laptop.engine.trust.set_role(laptop.id, "member"),
        ):
            with pytest.raises(TrustRefusedError, match="only admin"):
                await act
        await laptop.engine.trust.set_role(phone.id, "admin")
        await laptop.engine.trust.revoke(laptop.id)
        assert not laptop.engine.mesh.registry.devices[laptop.id].active


async def test_a_removed_device_comes_back_only_by_a_new_enrolment() -> None:
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await revoke(laptop, phone)
        await meet(laptop, tablet)
        # Everything that it holds of old says that it belongs; nobody is impressed.
        await carry(phone, laptop)
        await carry(phone, tablet)
        for device in (laptop, tablet):
            assert not device.engine.mesh.registry.devices[phone.id].active
            assert not device.engine.knows(phone.engine.keys.dh_pk)
        with pytest.raises(TrustRefusedError):
            await laptop.engine.trust.revoke(phone.id)


async def test_links_to_who_was_removed_end_before_anything_is_written_of_it() -> None:
    """The disk takes its time, and every frame until then would go to somebody removed."""
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await revoke(laptop, phone)
        mesh, done = tablet.engine.mesh, []
        changed, take_keys = mesh._changed, mesh._take_keys

        def tell() -> None:
            if not mesh.registry.devices[phone.id].active:
                done.append("links")
            changed()

        async def take() -> bool:
            if not mesh.registry.devices[phone.id].active:
                done.append("keys")
            return await take_keys()

        mesh._changed, mesh._take_keys = tell, take  # type: ignore[method-assign]
        await carry(laptop, tablet)

        assert done[:2] == ["links", "keys"]


async def test_everybody_is_told_in_words_what_was_decided() -> None:
    async with World() as world:
        laptop, phone, tablet = await three(world)
        await laptop.engine.trust.set_role(tablet.id, "admin")
        await laptop.engine.trust.rename(tablet.id, "slate")
        await laptop.engine.trust.set_level(phone.id, "limited")
        await laptop.engine.trust.revoke(phone.id)
        await carry(laptop, tablet)
        for device in (laptop, tablet):
            await device.engine.notes.flush()
            events = await device.gate.read(lambda conn: event_rows.events(conn, -1, 1000))
            told = {(event.kind, event.detail) for event in events}
            kinds = [event.kind for event in events]
            assert {"role", "renamed", "revoked", "rotated"} <= set(kinds)
            revoked = next(detail for kind, detail in told if kind == "revoked")
            assert '"by": "laptop"' in revoked and '"device": "phone"' in revoked
