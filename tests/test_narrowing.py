"""Narrowing: data that a policy no longer wants here are kept or removed as chosen, and said."""

from pathlib import Path
from typing import Any

from covey.node.happenings import NodeEvent

from .loopback import Device, Nodes, ShiftedClock, in_sync, meet, next_event, nodes, until
from .test_sharing import held, meet_under_terms, put, say, settled
from .test_windows import ids, meet_and_settle, windowed


async def narrowed(device: Device) -> dict[str, Any]:
    """What the device said of the database that narrowed."""
    return await device.event("narrowed", database="notes")


async def pair_with_notes(opened: Nodes) -> tuple[Device, Device]:
    """Two linked devices; both wrote into notes, and are in sync."""
    laptop, phone = await opened.mesh("laptop", "phone")
    await put(laptop, "notes", "memory")
    await put(phone, "notes")
    await meet(laptop, phone)
    return laptop, phone


async def test_data_stay_unless_somebody_chose_otherwise(tmp_path: Path) -> None:
    """To lose data because of a policy would be worse than to keep too much."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await pair_with_notes(opened)
        await say(laptop, phone, "notes", mode="on-demand")

        assert await narrowed(phone) == {
            "database": "notes",
            "takes": "what is asked for",
            "copy": "kept",
        }
        assert (await held(phone))["notes"] == {"laptop", "phone"}


async def test_a_copy_is_removed_once_where_somebody_chose_so(tmp_path: Path) -> None:
    """The phone is full. What it wrote is on the laptop, and comes back if it is wanted again."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await pair_with_notes(opened)
        for device in (laptop, phone):
            await device.node.cache("answers").put("what is in the notes?", "a word")
        await say(laptop, phone, "notes", consent=False, narrowed="remove")

        assert (await narrowed(phone))["copy"] == "removed"
        assert await phone.node.cache("answers").get("what is in the notes?") is None
        assert await laptop.node.cache("answers").get("what is in the notes?") == "a word"
        assert await held(phone) == {"memory": {"laptop"}}
        notes = phone.node.database("notes").collection("c")
        assert await notes.find(text="laptop") == []
        await notes.put({"x": 1}, id="afterwards")
        assert (await held(laptop))["notes"] == {"laptop", "phone"}

        await say(laptop, phone, "notes", consent=None)
        await meet_under_terms(laptop, phone)
        await in_sync(laptop, phone)
        everything = {"laptop", "phone", "afterwards"}
        assert (await held(phone))["notes"] == (await held(laptop))["notes"] == everything
        assert (await laptop.node.status())["alarms"] == []


async def test_what_is_fetched_afterwards_stays(tmp_path: Path) -> None:
    """To remove is done once, and not again each time that the policy is looked at."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await pair_with_notes(opened)
        await say(laptop, phone, "notes", mode="on-demand", narrowed="remove")
        assert (await narrowed(phone))["copy"] == "removed"
        await meet_under_terms(laptop, phone)
        assert await phone.node.fetch("notes")
        await say(laptop, phone, "memory", priority="low")
        await settled(laptop, phone)

        assert (await held(phone))["notes"] == {"laptop", "phone"}


async def test_what_nobody_else_is_proved_to_have_is_not_removed(tmp_path: Path) -> None:
    """A policy must not be a way to lose the only copy."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        await put(phone, "notes")
        await phone.engine.trust.set_policy(
            phone.keys.sig_pk, "notes", {"mode": "on-demand", "narrowed": "remove"}
        )

        assert (await narrowed(phone))["copy"] == "not proved elsewhere"
        assert (await held(phone))["notes"] == {"phone"}
        await meet_under_terms(laptop, phone)
        assert (await held(laptop))["notes"] == {"phone"}


async def test_a_peer_that_shares_its_own_writes_alone_proves_nothing_of_ours(
    tmp_path: Path,
) -> None:
    """What the two share is the same on both sides, and what was written here is not in it."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await pair_with_notes(opened)
        await say(laptop, laptop, "notes", mode="on-demand")
        await settled(laptop, phone)
        await phone.node.database("notes").collection("c").put({"x": 1}, id="only here")
        await settled(laptop, phone)
        await say(laptop, phone, "notes", mode="on-demand", narrowed="remove")

        assert (await narrowed(phone))["copy"] == "not proved elsewhere"
        assert (await held(phone))["notes"] == {"laptop", "phone", "only here"}


async def test_a_change_that_came_right_before_the_end_is_carried_out_at_the_next_start(
    tmp_path: Path,
) -> None:
    """The operation was on the disk, and its consequence was not."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await pair_with_notes(opened)
        phone.engine.narrowing.membership_changed = lambda: None  # type: ignore[method-assign]
        await say(laptop, phone, "notes", mode="on-demand")
        await settled(laptop, phone)
        await phone.close()
        opened.open_devices.remove(phone)
        again = await opened.make("phone")
        rows = [row async for row in again.engine.directory.journal_rows()]

        assert [row["copy"] for row in rows if row["event"] == "narrowed"] == ["kept"]


async def test_wider_or_other_wishes_say_nothing(tmp_path: Path) -> None:
    """Only what is left out is worth a word."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await pair_with_notes(opened)
        events = phone.engine.board.subscribe(NodeEvent)
        await say(laptop, phone, "notes", priority="low", mode="summary")
        await say(laptop, phone, "memory", mode="window", window_days=30)
        await settled(laptop, phone)
        await say(laptop, phone, "memory", mode="window", window_days=60)
        await say(laptop, phone, "memory", mode="full")
        await say(laptop, phone, "notes", mode="on-demand")
        first = await next_event(events, "narrowed")
        second = await next_event(events, "narrowed")
        events.close()

        assert (first["database"], first["takes"]) == ("memory", "the last 30 days")
        assert (second["database"], second["takes"]) == ("notes", "what is asked for")


async def test_of_a_window_that_narrows_only_what_is_older_goes(tmp_path: Path) -> None:
    """Half a year was too much for the phone; this month stays, and what has no age."""
    clock = ShiftedClock()
    async with nodes(tmp_path) as opened:
        laptop, phone = await windowed(opened, clock)
        laptop_says = laptop.engine.trust.set_policy
        await laptop_says(phone.keys.sig_pk, "memory", {"window_days": 300})
        await until(lambda: len(phone.engine.switchboard.links) == 1)
        await meet_and_settle(laptop, phone)
        everything = {"before", "month 0", "month 1", "month 2", "month 3"}
        assert await ids(phone) == everything
        await laptop_says(phone.keys.sig_pk, "memory", {"window_days": 30, "narrowed": "remove"})

        told = await phone.event("narrowed", database="memory", copy="removed")
        assert told["takes"] == "the last 30 days"
        assert await ids(phone) == {"before", "month 2", "month 3"}
        assert await ids(laptop) == everything
