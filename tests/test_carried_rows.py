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
