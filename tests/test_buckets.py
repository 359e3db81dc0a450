"""Time buckets: records of a month in scopes of their own, whose keys and names are derived."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.crypto.entry import bucket_key
from covey.crypto.errors import OpenError
from covey.crypto.grants import scope_tag
from covey.node.buckets import NEAR_BUCKETS, BucketTags, unknown_scopes
from covey.node.ledger import Scope
from covey.node.mesh_view import NotEntitledError
from covey.node.record_requests import PrivacyFixedError
from covey.node.stored import stored_entry
from covey.storage import log_rows
from covey.storage.errors import StoreFullError
from covey.sync.messages import Ack, Digests, Have, Root, VectorMessage, encode
from covey.sync.policy import BUCKET_DAYS, BUCKET_MAX, DAY_MS, Value, bucket_at
from covey.sync.vectors import Holdings

from .memory_world import Device, World, admit, carry, meet, name_scope, settle_tasks

TAG_KEY = bytes(range(32))
MONTH_MS = BUCKET_DAYS * DAY_MS
FULL = StoreFullError(Path("memory"))
WINDOW: dict[str, Value | None] = {"mode": "window", "window_days": 30}


def base(database: str = "memory", privacy: int = 1, number: int = 1) -> Scope:
    return Scope(number, scope_tag(TAG_KEY, database, privacy), database, privacy)


async def windowed(world: World, *levels: str) -> list[Device]:
    """A laptop and others, the last of which takes only 30 days of `memory`; all have met."""
    laptop = await world.founder("laptop")
    await laptop.collection().put({"n": 0}, id="from before")
    devices = [laptop]
    for number, level in enumerate(levels):
        devices.append(await world.member(laptop, f"device {number}", level))
    phone = devices[-1]
    await laptop.engine.trust.set_policy(phone.id, "memory", WINDOW)
    await meet(*devices)
    return devices


def next_month(world: World) -> int:
    """Let a month pass on all clocks; the bucket that it is now."""
    world.clock.wall_ahead_ms += MONTH_MS
    return bucket_at(world.clock.wall_ms())


def scope_of(device: Device, bucket: int, privacy: int = 1) -> Scope:
    found = device.engine.ledger.scope_named("memory", privacy, bucket)
    assert found is not None, f"no bucket {bucket}"
    return found


async def born(device: Device, id: str) -> int:
    found = await device.engine.reader.get("memory", "facts", id)
    assert found is not None, f"no record {id}"
    return found.bucket


@settings(max_examples=30, deadline=None)
@given(st.integers(1, BUCKET_MAX), st.integers(1, 3))
def test_any_bucket_of_any_known_scope_is_found_by_its_tag(bucket: int, privacy: int) -> None:
    """Nobody is told of a bucket by anything but its tag."""
    bases = [base("other", 2, 9), *(base("memory", level, level) for level in (1, 2, 3))]
    tag = scope_tag(TAG_KEY, "memory", privacy, bucket)

    assert TAGS.find(tag, bases) == (bases[privacy], bucket)
    assert TAGS.find(tag, bases[:1]) is None
    near = TAGS.find_near(tag, bases, bucket)
    assert near == (bases[privacy], bucket)


TAGS = BucketTags(TAG_KEY)


@settings(max_examples=200)
@given(st.binary(min_size=16, max_size=16))
def test_a_tag_that_somebody_made_up_is_of_no_bucket(tag: bytes) -> None:
    """Who lies makes us look something up, and nothing else."""
    assert TAGS.find(tag, [base()]) is None
    assert TAGS.find_near(tag, [base()], 691) is None


def test_a_tag_without_a_database_is_looked_for_near_now_only() -> None:
    """A push names no database; to look through all months of all of them for it is too much."""
    for distance in range(-3, 4):
        tag = scope_tag(TAG_KEY, "memory", 1, 691 + distance)

        found = TAGS.find_near(tag, [base()], 691)

        assert (found is not None) == (abs(distance) <= NEAR_BUCKETS)


def test_each_bucket_has_a_key_and_a_tag_of_its_own() -> None:
    """The key of one month must open no other, and is not the key of the scope."""
    keys = {bucket_key(TAG_KEY, bucket) for bucket in range(300)}
    tags = {scope_tag(TAG_KEY, "memory", 1, bucket) for bucket in range(300)}

    assert len(keys) == len(tags) == 300
    assert bucket_key(TAG_KEY, 0) == TAG_KEY


def test_the_scopes_that_a_frame_names_are_found_before_the_session_sees_it() -> None:
    """Where each message names its scope is laid out by hand; here the encoder is asked."""
    known, new = b"k" * 16, b"n" * 16
    holdings = Holdings()
    holdings.add_scope(known, b"d" * 16, 1)
    frames = {
        scope: (
            encode(VectorMessage(scope, ((b"i" * 16, b"a" * 32, 7, b"e" * 32),))),
            encode(VectorMessage(scope, ())),
            encode(Have(scope, b"i" * 16, b"a" * 32, 7, b"e" * 32)),
            b"\x05" + scope + b"any run",
        )
        for scope in (known, new)
    }
    rows = ((known, b"1" * 32), (new, b"2" * 32))

    assert [unknown_scopes(frame, holdings) for frame in frames[known]] == [None] * 4
    assert [unknown_scopes(frame, holdings) for frame in frames[new]] == [(None, [new])] * 4
    level_1 = encode(Digests(1, b"d" * 16, rows))
    assert unknown_scopes(level_1, holdings) == (b"d" * 16, [new])
    for frame in (
        encode(Digests(0, b"", rows)),
        encode(Digests(1, b"d" * 16, rows[:1])),
        encode(Ack(new, (), 0)),
        encode(Root(b"c" * 32, b"r" * 32)),
        level_1[:-1],
        b"\x05short",
        b"",
    ):
        assert unknown_scopes(frame, holdings) is None


@settings(max_examples=300)
@given(st.binary(max_size=80))
def test_no_frame_makes_us_fall_before_the_session_has_judged_it(frame: bytes) -> None:
    """It is read before anything was checked."""
    named = unknown_scopes(frame, Holdings())

    assert named is None or all(len(tag) == 16 for tag in named[1])


async def test_a_record_is_born_into_the_bucket_of_its_writers_clock_and_stays_there() -> None:
    """What is new is told from what is old by when it was born, not by when it was changed."""
    async with World() as world:
        laptop, phone = await windowed(world, "full")
        first = bucket_at(world.clock.wall_ms())
        await laptop.collection().put({"n": 1}, id="a")
        second = next_month(world)
        await phone.collection().put({"n": 2}, id="b")
        await laptop.collection().put({"m": 1}, id="a")
        await laptop.collection().put({"n": 3}, id="secret", privacy="device")
        await meet(laptop, phone)

        assert [await born(laptop, id) for id in ("from before", "a", "b", "secret")] == [
            0,
            first,
            second,
            0,
        ]
        assert await laptop.values() == await phone.values() | {
            "memory/facts/secret": {"n": 3},
        }
        described = laptop.engine.directory.describe(
            await laptop.engine.reader.get("memory", "facts", "a"),  # type: ignore[arg-type]
            (),
        )
        assert described["born"] == "2023-10-20"
        values = await laptop.values()
        again = await world.restart(laptop)
        assert await again.values() == values
        assert [await born(again, id) for id in ("a", "b")] == [first, second]


async def test_a_database_of_which_everybody_takes_everything_has_no_buckets() -> None:
    """Scopes cost something; a mesh without a window is as it was."""
    async with World() as world:
        laptop, phone = await windowed(world, "full")
        await laptop.engine.trust.set_policy(phone.id, "memory", {"mode": "full"})
        await laptop.collection().put({"n": 1}, id="a")
        await laptop.collection(database="other").put({"n": 1}, id="a")

        assert await born(laptop, "a") == 0
        assert not any(scope.bucket for scope in laptop.engine.ledger.scopes())


async def test_everything_that_reads_reads_all_buckets() -> None:
    """A person does not know of buckets."""
    async with World() as world:
        (laptop,) = await windowed(world)
        watch = laptop.collection().watch()
        for number in range(24):
            next_month(world)
            await laptop.collection().put({"n": number, "text": f"word{number}"}, id=f"r{number}")
        await laptop.collection().delete("r3")
        await laptop.collection().put({"text": "changed"}, id="r4")

        collection = laptop.collection()
        assert [f.id for f in await collection.find({"n": 4}, text="changed")] == ["r4"]
        assert [f.id for f in await collection.find(text="word20")] == ["r20"]
        assert len(await collection.find(limit=100)) == 24  # 23 and the one from before.
        assert await laptop.engine.reader.count() == {"memory": 24}
        assert len(await laptop.values()) == 24
        seen = []
        async for change in watch:
            seen.append((change.op, change.id))
            if change.id == "r4" and change.op == "put" and len(seen) > 20:
                break
        assert ("delete", "r3") in seen
        watch.close()


# Keys, and who may ------------------------------------------------------------------------------


async def readable(device: Device) -> set[str]:
    return {found.id for found in await device.collection().find(limit=100)}


async def test_a_late_joiner_reads_every_bucket_under_keys_of_every_epoch() -> None:
    """A bucket has no grants: what a newcomer is given of the scope must open all of it."""
    async with World() as world:
        laptop, phone = await windowed(world, "full")
        for epoch in range(3):
            next_month(world)
            await laptop.collection().put({"n": epoch}, id=f"laptop {epoch}")
            await meet(laptop, phone)
            await phone.collection().put({"n": epoch}, id=f"phone {epoch}")
            await meet(laptop, phone)
            assert await laptop.engine.trust.rotate() == 2  # The control scope and one other.
        late = await world.member(laptop, "late")
        await meet(laptop, phone, late)

        assert await readable(late) == await readable(laptop)
        assert len(await readable(late)) == 7
        keys = {grant.key_id for grant in late.engine.mesh.registry.grants if grant.database}
        used = set(late.gate.inner.read(log_rows.entries_by_key).result()) & keys
        assert len(used) == 3
        # It goes on in a bucket of long ago.
        await late.collection().put({"by": "late"}, id="laptop 0")
        await meet(laptop, phone, late)
        assert (await phone.values())["memory/facts/laptop 0"] == {"n": 0, "by": "late"}


async def test_after_a_removal_no_bucket_is_written_under_a_key_that_was_known() -> None:
    """The key of a bucket follows from the scope's: it must follow from the new one."""
    async with World() as world:
        laptop, phone, tablet = await windowed(world, "full", "full")
        await phone.collection().put({"n": 1}, id="a")
        await meet(laptop, phone, tablet)
        known = set(phone.engine.mesh.held_keys())
        await laptop.engine.trust.revoke(phone.id)
        await meet(laptop, tablet)
        for device in (laptop, tablet):
            await device.collection().put({"by": "who stays"}, id="a")
        next_month(world)
        await tablet.collection().put({"n": 2}, id="b")
        await meet(laptop, tablet)

        assert await laptop.values() == await tablet.values()
        scope = scope_of(laptop, bucket_at(world.clock.wall_ms()))
        for device in (laptop, tablet):
            for log in device.engine.ledger.logs():
                if log.scope.bucket and log.author != phone.id:
                    outlet = device.engine.mesh._outlets.get(log.scope.tag)
                    assert outlet is None or outlet.heading.key_id not in known
        assert scope.key_tag == scope_of(laptop, 0).tag


async def test_what_a_limited_device_may_not_read_it_is_not_told_by_any_bucket() -> None:
    """A tag of a private bucket that somebody names to it makes no scope there."""
    async with World() as world:
        laptop, phone = await windowed(world, "limited")
        now = bucket_at(world.clock.wall_ms())
        await laptop.collection().put({"n": 1}, id="private")
        await laptop.collection().put({"n": 2}, id="family", privacy="family")
        await name_scope(laptop, phone, scope_of(laptop, now).tag)
        await meet(laptop, phone)

        assert await readable(phone) == {"family"}
        assert phone.engine.ledger.scope_named("memory", 1, now) is None
        with pytest.raises(NotEntitledError):
            await phone.collection().put({"n": 3}, id="mine")
        await phone.collection().put({"n": 3}, id="mine", privacy="family")
        assert await born(phone, "mine") == now


async def test_an_entry_that_was_moved_to_another_bucket_opens_nowhere() -> None:
    """The key of its month is no key of another month, nor of the scope."""
    async with World() as world:
        (laptop,) = await windowed(world)
        await laptop.collection().put({"n": 1}, id="a")
        mesh, now = laptop.engine.mesh, bucket_at(world.clock.wall_ms())
        log = next(log for log in laptop.engine.ledger.logs() if log.scope.bucket == now)
        stored = await laptop.gate.read(lambda conn: stored_entry(conn, log.number, 1))
        assert stored is not None
        assert mesh.open_entry(log, stored) is not None
        real = log.scope
        for bucket in (0, now - 1):
            log.scope = Scope(9, real.tag, "memory", 1, bucket, real.base_tag)
            with pytest.raises(OpenError):
                mesh.open_entry(log, stored)
        log.scope = real


async def test_a_bucket_that_the_disk_refuses_is_none() -> None:
    """A scope in memory alone would have logs that no restart finds."""
    async with World() as world:
        (laptop,) = await windowed(world)
        laptop.gate.fail = FULL
        with pytest.raises(StoreFullError):
            await laptop.collection().put({"n": 1}, id="a")

        assert not any(scope.bucket for scope in laptop.engine.ledger.scopes())
        laptop.gate.fail = None
        await laptop.collection().put({"n": 1}, id="a")
        assert await (await world.restart(laptop)).collection().get("a") == {"n": 1}


# What a removed device wrote, and forks -----------------------------------------------------------


async def test_what_a_removed_device_wrote_in_buckets_counts_as_far_as_it_was_seen() -> None:
    """The cut names the log of each bucket; an edit that somebody built on counts beyond it."""
    async with World() as world:
        laptop, tablet, phone = await windowed(world, "full", "full")
        await phone.collection().put({"n": 1}, id="seen")
        await meet(laptop, tablet, phone)
        for id in ("seen", "unseen", "vouched"):
            await phone.collection().put({"late": id}, id=id)
        next_month(world)
        await phone.collection().put({"n": 2}, id="of a bucket that nobody saw")
        await laptop.engine.trust.revoke(phone.id)
        await carry(phone, tablet)
        await tablet.collection().put({"by": "tablet"}, id="vouched")
        await meet(laptop, tablet)
        await carry(laptop, tablet)

        expected: dict[str, object] = {"from before": {"n": 0}, "seen": {"n": 1}}
        expected["vouched"] = {"late": "vouched", "by": "tablet"}
        for device in (laptop, tablet):
            values = {k.rpartition("/")[2]: v for k, v in (await device.values()).items()}
            # One entry carries one record, so only what was built on comes along.
            assert values == expected
        await laptop.engine.trust.adopt(phone.id)
        await meet(laptop, tablet)
        for device in (laptop, tablet):
            assert "of a bucket that nobody saw" in await readable(device)


async def test_a_forked_log_of_a_bucket_heals_in_its_bucket() -> None:
    """What is written again is as old as it was, and both branches are there."""
    async with World() as world:
        laptop, phone = await windowed(world, "full")
        now = bucket_at(world.clock.wall_ms())
        await phone.collection().put({"n": 1}, id="common")
        await meet(laptop, phone)
        twin = await world._start(
            type(phone.gate)(phone.gate.image()),
            phone.engine.keys,
            phone.engine.instance,
            phone.engine.entropy,  # type: ignore[arg-type]
        )
        await phone.collection().put({"by": "phone"}, id="phone")
        await twin.collection().put({"by": "twin"}, id="twin")
        await carry(phone, laptop)
        next_month(world)
        await carry(laptop, twin)
        await settle_tasks(twin)
        await meet(laptop, twin)

        for device in (laptop, twin):
            assert await readable(device) == {"from before", "common", "phone", "twin"}
            assert [await born(device, id) for id in ("common", "phone", "twin")] == [now] * 3


# One id twice -------------------------------------------------------------------------------------


async def test_of_two_records_of_one_id_born_in_two_months_the_newer_is_meant() -> None:
    """Devices with a window hold only that one. Nothing of the other is lost, as with privacies."""
    async with World() as world:
        laptop, phone = await windowed(world, "full")
        await laptop.collection().put({"by": "laptop"}, id="twin")
        next_month(world)
        await phone.collection().put({"by": "phone"}, id="twin")
        await meet(laptop, phone)

        for device in (laptop, phone):
            assert await device.collection().get("twin") == {"by": "phone"}
            page = await device.engine.reader.page("memory", "facts", 100)
            assert [f.value["by"] for f in page if f.id == "twin"] == ["phone", "laptop"]
        await laptop.collection().put({"n": 1}, id="twin")
        await meet(laptop, phone)
        assert await phone.collection().get("twin") == {"by": "phone", "n": 1}
        # As with two privacies: what is deleted is the one that is meant, and the other shows.
        assert await phone.collection().delete("twin")
        await meet(laptop, phone)
        assert await laptop.collection().get("twin") == {"by": "laptop"}
        assert await laptop.collection().delete("twin")
        assert await laptop.collection().get("twin") is None
        await laptop.collection().put({"again": True}, id="twin")
        await meet(laptop, phone)
        assert await phone.collection().get("twin") == {"again": True}


async def test_a_put_at_another_level_is_refused_in_whatever_bucket_the_record_lives() -> None:
    """It would be a second record of that id."""
    async with World() as world:
        (laptop,) = await windowed(world)
        await laptop.collection().put({"n": 1}, id="a")
        next_month(world)

        with pytest.raises(PrivacyFixedError, match="was born private"):
            await laptop.collection().put({"n": 2}, id="a", privacy="family")


async def test_who_changes_meshes_takes_the_month_of_its_records_along() -> None:
    """They are written again, but they are as old as they were."""
    async with World() as world:
        laptop = await world.founder("laptop")
        await laptop.collection().put({"n": 0}, id="first")
        phone = await world.founder("phone")
        await phone.engine.trust.set_policy(b"", "memory", WINDOW)
        old = bucket_at(world.clock.wall_ms())
        await phone.collection().put({"n": 1}, id="old")
        next_month(world)
        await admit(laptop, phone)
        await meet(laptop, phone)

        assert await laptop.collection().get("old") == {"n": 1}
        assert await born(laptop, "old") == old
