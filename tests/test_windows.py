"""Windows on real links: a device that takes only what is new gets that, and is in sync with it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from covey.node import buckets
from covey.storage.errors import StoreFullError
from covey.sync.messages import Digests, Reason, encode
from covey.sync.policy import BUCKET_DAYS, DAY_MS, Value, bucket_at

from .loopback import Device, Nodes, ShiftedClock, admit, arrives, meet, nodes, until

MONTH_MS = BUCKET_DAYS * DAY_MS
WINDOW: dict[str, Value | None] = {"mode": "window", "window_days": 30}


async def windowed(opened: Nodes, clock: ShiftedClock) -> list[Device]:
    """A laptop with records of four months and none, a phone that takes 30 days of them, linked."""
    laptop, phone = await opened.mesh("laptop", "phone", clock=clock)
    await laptop.facts.put({"n": 0}, id="before")
    await laptop.engine.trust.set_policy(phone.keys.sig_pk, "memory", WINDOW)
    for month in range(4):
        clock.wall_ahead_ms += MONTH_MS
        await laptop.facts.put({"n": month}, id=f"month {month}")
    await meet_and_settle(laptop, phone)
    return [laptop, phone]


async def meet_and_settle(first: Device, second: Device) -> None:
    first.engine.add_address("127.0.0.1", second.engine.port or 0, second.keys.sig_pk)
    await settled(first, second)


async def settled(*devices: Device) -> None:
    """Linked devices have proved that they hold the same of what they share."""
    await until(
        lambda: all(
            device.engine.standing_with(other.keys.sig_pk).proved
            for device in devices
            for other in devices
            if other is not device
        )
    )


async def ids(device: Device) -> set[str]:
    return {id for _, _, id in await device.records()}


async def state(device: Device) -> str:
    """What `status` says of its peer and the database."""
    (peer,) = (await device.node.status())["peers"]
    (row,) = [row for row in peer["databases"] if row["name"] == "memory"]
    word: str = row["state"]
    return word


async def test_a_phone_with_a_window_gets_what_is_new_and_is_in_sync(tmp_path: Path) -> None:
    """A phone cannot hold the years, and must not look as if it lagged behind them."""
    clock = ShiftedClock()
    async with nodes(tmp_path) as opened:
        laptop, phone = await windowed(opened, clock)

        # Whole buckets: that of 30 days ago, and that of now; and what was born before any.
        assert await ids(phone) == {"before", "month 2", "month 3"}
        assert [await state(device) for device in (laptop, phone)] == ["synced", "synced"]
        await phone.facts.put({"by": "phone"}, id="from the phone")
        await arrives(laptop, "from the phone", {"by": "phone"})
        await laptop.facts.put({"n": 33}, id="month 3")
        await arrives(phone, "month 3", {"n": 33})
        await laptop.facts.put({"n": 11}, id="month 1")
        await settled(laptop, phone)
        assert "month 1" not in await ids(phone)


async def test_a_month_that_begins_while_devices_are_linked_is_pushed_at_once(
    tmp_path: Path,
) -> None:
    """The first record of a month comes under a tag that the other has never heard of."""
    clock = ShiftedClock()
    async with nodes(tmp_path) as opened:
        laptop, phone = await windowed(opened, clock)
        clock.wall_ahead_ms += MONTH_MS
        before = phone.engine.switchboard.links_to(laptop.keys.sig_pk)[0].state.ignored
        await laptop.facts.put({"n": 4}, id="month 4")
        await arrives(phone, "month 4", {"n": 4})
        await settled(laptop, phone)
        link = phone.engine.switchboard.links_to(laptop.keys.sig_pk)[0]

        assert link.state.ignored == before
        # What it has stays until a person removes it, though it is older than the window now.
        assert await ids(phone) == {"before", "month 2", "month 3", "month 4"}


async def test_a_clock_far_ahead_makes_no_record_that_nobody_takes(tmp_path: Path) -> None:
    """Its bucket is not looked for when it is pushed, and found when digests are compared."""
    clock, fast = ShiftedClock(), ShiftedClock()
    async with nodes(tmp_path) as opened:
        laptop = await (await opened.make("laptop", clock=clock)).online()
        phone = await (await opened.make("phone", clock=fast)).online()
        await admit(laptop, phone)
        await laptop.engine.trust.set_policy(laptop.keys.sig_pk, "memory", WINDOW)
        await laptop.facts.put({"n": 0}, id="first")
        await meet(laptop, phone)
        fast.wall_ahead_ms += 40 * MONTH_MS
        await phone.facts.put({"n": 1}, id="of the future")
        await arrives(laptop, "of the future", {"n": 1})
        await settled(laptop, phone)

        found = await laptop.engine.reader.get("memory", "facts", "of the future")
        assert found is not None and found.bucket == bucket_at(fast.wall_ms())


async def test_the_first_record_of_a_database_may_be_of_any_month(tmp_path: Path) -> None:
    """Then there is nothing of the database to compare, but a tag that nobody near explains."""
    clock, slow = ShiftedClock(), ShiftedClock()
    slow.wall_ahead_ms -= 40 * MONTH_MS
    async with nodes(tmp_path) as opened:
        laptop = await (await opened.make("laptop", clock=clock)).online()
        phone = await (await opened.make("phone", clock=slow)).online()
        await admit(laptop, phone)
        await laptop.engine.trust.set_policy(laptop.keys.sig_pk, "memory", WINDOW)
        await meet(laptop, phone)
        await laptop.facts.put({"n": 1}, id="first")
        await arrives(phone, "first", {"n": 1})
        await settled(laptop, phone)


async def test_a_window_that_is_set_or_taken_back_counts_on_open_links(tmp_path: Path) -> None:
    """Nobody restarts a phone to widen its window."""
    clock = ShiftedClock()
    async with nodes(tmp_path) as opened:
        laptop, phone = await windowed(opened, clock)
        await laptop.engine.trust.set_policy(phone.keys.sig_pk, "memory", {"mode": "full"})
        await arrives(phone, "month 0", {"n": 0})
        await settled(laptop, phone)
        assert await ids(phone) == await ids(laptop)

        await laptop.engine.trust.set_policy(phone.keys.sig_pk, "memory", WINDOW)
        await until(
            lambda: any(
                link.floors and link.state.telling.met
                for link in phone.engine.switchboard.links_to(laptop.keys.sig_pk)
            )
        )
        await laptop.facts.put({"n": 10}, id="month 0")
        await laptop.facts.put({"n": 30}, id="month 3")
        await arrives(phone, "month 3", {"n": 30})
        await settled(laptop, phone)
        assert await phone.facts.get("month 0") == {"n": 0}


async def test_a_third_device_gets_everything_whoever_it_asks(tmp_path: Path) -> None:
    """A window is what one device wants, not what a database is."""
    clock = ShiftedClock()
    async with nodes(tmp_path) as opened:
        laptop, phone = await windowed(opened, clock)
        tablet = await opened.make("tablet", clock=clock)
        await admit(laptop, tablet)
        await (await tablet.online()).facts.put({"by": "tablet"}, id="t")
        await meet_and_settle(tablet, laptop)
        assert await ids(tablet) == await ids(laptop)

        await phone.close()
        await laptop.facts.put({"n": 0, "late": True}, id="month 0")
        await arrives(tablet, "month 0", {"n": 0, "late": True})


async def test_tags_that_stand_for_nothing_are_counted_and_end_the_session(tmp_path: Path) -> None:
    """Looking for them costs something, so a liar may do it only so often."""
    clock = ShiftedClock()
    async with nodes(tmp_path) as opened:
        laptop, phone = await windowed(opened, clock)
        (link,) = laptop.engine.switchboard.links_to(phone.keys.sig_pk)
        (database,) = laptop.engine.ledger.holdings.databases(link.state.sharing)
        scopes = len(list(phone.engine.ledger.scopes()))

        for number in range(12):
            rows = tuple((b"%08d%08d" % (number, row), b"d" * 32) for row in range(1_000))
            link.send(encode(Digests(1, database, rows)))
        await until(lambda: phone.counters["link.ended.too_much"])

        assert len(list(phone.engine.ledger.scopes())) == scopes


async def test_a_disk_that_does_not_take_the_name_of_a_bucket_ends_the_link(
    tmp_path: Path,
) -> None:
    """It would be in no comparison, and the session would look finished without it."""
    clock = ShiftedClock()
    async with nodes(tmp_path) as opened:
        laptop, phone = await windowed(opened, clock)
        failing = phone.engine.mesh.buckets
        real = failing._database

        class Full:
            def write(self, job: Any) -> "asyncio.Future[Any]":
                failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                failed.set_exception(StoreFullError(tmp_path))
                return failed

        failing._database = Full()  # type: ignore[assignment]
        clock.wall_ahead_ms += MONTH_MS
        await laptop.facts.put({"n": 4}, id="month 4")
        await until(lambda: phone.counters["link.ended.done"])
        failing._database = real
        await arrives(phone, "month 4", {"n": 4})
        await settled(laptop, phone)


async def test_a_device_with_many_windows_tells_as_many_floors_as_a_greeting_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the other databases it takes everything, which both sides compute alike."""
    clock = ShiftedClock()
    async with nodes(tmp_path) as opened:
        monkeypatch.setattr(buckets, "FLOORS_MAX", 2)
        laptop, phone = await opened.mesh("laptop", "phone", clock=clock)
        for number in range(5):
            await laptop.node.database(f"db{number}").collection("c").put({"n": 1}, id="r")
        await laptop.engine.trust.set_policy(phone.keys.sig_pk, "", WINDOW)
        await meet_and_settle(laptop, phone)

        (link,) = phone.engine.switchboard.links_to(laptop.keys.sig_pk)
        assert len(link.floors) == 2
        assert len(await phone.records()) == 5
        assert link.closed_for is not Reason.MALFORMED
