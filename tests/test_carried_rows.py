"""What a device lines up to be written again when one of its logs is taken out."""

import json

import pytest

from covey.storage import carried_rows, pack_rows, record_rows
from covey.storage.carried_rows import Carried
from covey.storage.pack_rows import Tier
from covey.storage.store import Conn

from .memory_world import Device, World, meet


def last(value: str) -> str | None:
    """The value of the last field of a record; None if it is deleted."""
    fields = json.loads(value)
    return None if fields is None else list(fields.values())[-1]


def carried(conn: Conn, device: Device, from_seq: int) -> list[Carried]:
    """What is lined up of the device's own log of the database `memory`, from a place on."""
    (log_no,) = conn.execute(
        "SELECT log_no FROM logs JOIN scopes USING (scope_no)"
        " WHERE database = 'memory' AND instance = ?",
        (device.engine.instance,),
    ).fetchone()
    carried_rows.carry_of_log(conn, log_no, from_seq)
    return carried_rows.next_carried(conn, 9)


@pytest.mark.parametrize("tier", [None, Tier.WARM, Tier.COLD])
@pytest.mark.parametrize("at_once", [1, 2, 500])
async def test_every_record_that_a_log_has_written_to_is_carried_deleted_ones_too(
    tier: Tier | None, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that another device changed since was left, and what the branch had written in it was
    lost (`covey simulate data --seeds 6808`). One that was deleted came back.
    """
    monkeypatch.setattr(carried_rows, "READ_AT_ONCE", at_once)
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        for id in ("ours", "changed", "deleted"):
            await laptop.collection().put({"mood": "calm"}, id=id)
        await phone.collection().put({"note": "theirs"}, id="theirs")
        await meet(laptop, phone)
        await phone.collection().put({"note": "later"}, id="changed")
        await phone.collection().put({"note": "twice"}, id="theirs")
        await phone.collection().delete("deleted")
        await meet(laptop, phone)
        await laptop.collection("plans").put({"mood": "keen"}, id="elsewhere")
        await laptop.collection(database="work").put({"mood": "busy"}, id="of another scope")

        def job(conn: Conn) -> list[tuple[str, str, str | None]]:
            if tier is not None:
                for coll in record_rows.collections(conn):
                    rows = conn.execute(
                        "SELECT record_no FROM records WHERE coll_no = ?", (coll.coll_no,)
                    )
                    pack_rows.pack(conn, tier, coll.coll_no, [row[0] for row in rows.fetchall()])
            found = carried(conn, laptop, 1)
            return [(row.collection, row.id, last(row.value)) for row in found]

        lined_up = await laptop.engine.database.write(job)

        ours = [("facts", "changed", "later"), ("facts", "deleted", None)]
        more = [("facts", "ours", "calm"), ("plans", "elsewhere", "keen")]
        assert sorted(lined_up) == [*ours, *more]


async def test_only_what_a_log_has_changed_from_a_place_on_is_carried() -> None:
    """What both branches of a forked log say stays where it is."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        for id in ("before", "twice", "once"):
            await laptop.collection().put({"mood": "calm"}, id=id)
        await laptop.collection().put({"mood": "keen"}, id="twice")
        await laptop.collection().put({"mood": "busy"}, id="made there")
        await laptop.collection().put({"mood": "gone"}, id="gone")
        await laptop.collection().delete("gone")
        await meet(laptop, phone)
        await phone.collection().put({"note": "later"}, id="twice")
        await phone.collection().put({"note": "later"}, id="before")
        await meet(laptop, phone)

        def job(conn: Conn) -> list[tuple[str, bool]]:
            found = carried(conn, laptop, 4)
            return sorted((row.id, row.doc is not None) for row in found)

        lined_up = await laptop.engine.database.write(job)

        assert lined_up == [("gone", True), ("made there", False), ("twice", True)]


# Somebody else's branch ---------------------------------------------------------------------------


async def of_three(world: World) -> tuple[Device, bytes]:
    """A laptop with records of its own, of the phone, and of both; and the phone's instance."""
    laptop = await world.founder("laptop")
    phone = await world.member(laptop, "phone")
    await phone.collection().put({"mood": "calm"}, id="theirs")
    await phone.collection().put({"mood": "calm"}, id="theirs too")
    await phone.collection().put({"mood": "keen"}, id="theirs too")
    await laptop.collection().put({"mood": "calm"}, id="ours")
    await laptop.collection().put({"mood": "calm"}, id="both")
    await meet(laptop, phone)
    await phone.collection().put({"note": "later"}, id="both")
    await meet(laptop, phone)
    return laptop, phone.engine.instance


def lined_up(device: Device, conn: Conn, told: dict[bytes, int]) -> tuple[bool, set[str]]:
    (scope_no,) = conn.execute("SELECT scope_no FROM scopes WHERE database = 'memory'").fetchone()
    are_ours = carried_rows.carry_of_scope(conn, scope_no, told, device.engine.instance)
    return are_ours, {row.id for row in carried_rows.next_carried(conn, 9)}


async def test_what_the_author_writes_again_is_not_carried_by_others() -> None:
    """Each record would be written as often as there are devices."""
    async with World() as world:
        laptop, instance = await of_three(world)

        found = await laptop.engine.database.write(
            lambda conn: lined_up(laptop, conn, {instance: 9})
        )

        assert found == (True, {"ours", "both"})


async def test_what_the_author_does_not_write_again_is_carried() -> None:
    """It may not have had all of the branch that goes."""
    async with World() as world:
        laptop, instance = await of_three(world)

        found = await laptop.engine.database.write(
            lambda conn: lined_up(laptop, conn, {instance: 2})
        )

        assert found == (True, {"ours", "both", "theirs too"})


async def test_records_that_are_as_they_were_are_forgotten() -> None:
    """Most of a scope has nothing to do with a branch."""
    async with World() as world:
        laptop, instance = await of_three(world)

        def job(conn: Conn) -> list[str]:
            lined_up(laptop, conn, {instance: 1})
            conn.execute("DELETE FROM records WHERE id = 'ours'")
            conn.execute("UPDATE records SET meta = x'00' WHERE id = 'both'")
            carried_rows.drop_unchanged(conn)
            return sorted(row.id for row in carried_rows.next_carried(conn, 9))

        assert await laptop.engine.database.write(job) == ["both", "ours"]
