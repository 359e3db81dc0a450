"""The mesh of the pytest plugin as tests of applications use it: devices, faults, time, claims."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

import covey
from covey.node.api import Collection
from covey.simulations.mesh import DeviceDownError, Mesh, MeshDevice, MeshUseError
from covey.storage.errors import StoreFullError


def notes(device: MeshDevice) -> Collection:
    return device.database("memory").collection("notes")


# Devices -----------------------------------------------------------------------------------------


async def test_what_one_device_writes_the_other_reads(mesh: Mesh) -> None:
    """This is the first test that anybody writes."""
    laptop, phone = mesh.devices("laptop", "phone")

    await notes(laptop).put({"text": "buy tea"}, id="tea")
    await mesh.settle()

    assert await notes(phone).get("tea") == {"text": "buy tea"}
    mesh.assert_converged()


def test_a_plain_function_uses_the_mesh_as_well(mesh: Mesh) -> None:
    """Not every application's tests are coroutines."""
    laptop, phone = mesh.devices("laptop", "phone")

    mesh.run(notes(laptop).put({"text": "buy tea"}, id="tea"))
    mesh.advance(seconds=5)

    assert mesh.run(notes(phone).get("tea")) == {"text": "buy tea"}


async def test_a_device_is_a_node_with_the_whole_api(mesh: Mesh) -> None:
    """An application must not notice that it is tested."""
    laptop, phone = mesh.devices("laptop", "phone")
    await notes(laptop).put_many([("a", {"cups": 1}), ("b", {"cups": 2})])
    async with laptop.database("memory").transaction() as tx:
        tx.put("notes", {"cups": 3}, id="c")
        tx.delete("notes", "a")

    synced = await laptop.sync()

    assert isinstance(laptop, covey.Node) and synced
    assert [found.id for found in await notes(phone).find({"cups": 3})] == ["c"]
    assert not await notes(phone).delete("a")
    assert (await laptop.status())["peers"][0]["name"] == phone.device_name


async def test_a_watch_sees_what_comes_from_another_device_and_ends_with_its_own(
    mesh: Mesh,
) -> None:
    """An application that redraws from a watch dies with its device, and only then."""
    laptop, phone = mesh.devices("laptop", "phone")
    watch = notes(phone).watch()
    await notes(laptop).put({"text": "buy tea"}, id="tea")
    await mesh.settle()

    mesh.crash(phone)

    assert [(change.op, change.id, change.origin) async for change in watch] == [
        ("put", "tea", laptop.device_id)
    ]


async def test_what_a_level_may_not_read_is_not_there_and_is_not_missed(mesh: Mesh) -> None:
    """A guest's tablet is in sync without the private notes."""
    laptop, phone, tablet = mesh.devices("laptop", "phone", "tablet", levels={"tablet": "limited"})
    await notes(laptop).put({"text": "just for me"}, id="mine")
    await notes(laptop).put({"text": "for all of us"}, id="ours", privacy="family")

    await mesh.settle(everyone=True)

    assert await notes(tablet).get("mine") is None
    assert await notes(tablet).get("ours") == await notes(phone).get("ours")
    mesh.assert_converged()


async def test_a_device_that_joins_later_gets_what_was_written_before(mesh: Mesh) -> None:
    """People buy a new phone."""
    (laptop,) = mesh.devices("laptop")
    await notes(laptop).put({"text": "buy tea"}, id="tea")

    phone = await mesh.join("phone")
    await mesh.settle()

    assert await notes(phone).get("tea") == {"text": "buy tea"}
    assert mesh.device("phone") is phone


MISTAKES: dict[str, tuple[Callable[[Mesh], object], str]] = {
    "no device": (lambda mesh: mesh.devices(), "0 devices"),
    "one name twice": (lambda mesh: mesh.devices("a", "a"), "a device a already"),
    "a stranger": (lambda mesh: mesh.devices("a", levels={"b": "guest"}), "none of the devices"),
    "a low admin": (lambda mesh: mesh.devices("a", levels={"a": "guest"}), "it is full"),
    "a level": (lambda mesh: mesh.devices("a", "b", levels={"b": "king"}), "no level king"),
    "a name": (lambda mesh: mesh.device("a"), "there are none"),
    "a network": (lambda mesh: mesh.law("pigeon"), "flaky-wifi"),
    "the past": (lambda mesh: mesh.advance(hours=-1), "backwards"),
    "two meshes": (lambda mesh: (mesh.devices("a"), mesh.devices("b")), "mesh.join"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_means_nothing_is_refused_with_the_reason(mesh: Mesh, mistake: str) -> None:
    """Whoever writes their first test makes these mistakes."""
    ask, told = MISTAKES[mistake]

    with pytest.raises(MeshUseError, match=told):
        ask(mesh)


# Faults ------------------------------------------------------------------------------------------


async def test_edits_on_both_sides_of_a_partition_meet_after_it(mesh: Mesh) -> None:
    """The case that local-first applications exist for."""
    laptop, phone = mesh.devices("laptop", "phone")
    await notes(laptop).put({"text": "tea"}, id="tea")
    await mesh.settle()
    mesh.partition(laptop, phone)
    await notes(laptop).put({"cups": 2}, id="tea")
    await notes(phone).put({"sort": "green"}, id="tea")
    await mesh.settle()
    apart = await notes(laptop).get("tea")

    mesh.heal()
    await mesh.settle()

    assert apart == {"text": "tea", "cups": 2}
    assert await notes(laptop).get("tea") == {"text": "tea", "cups": 2, "sort": "green"}
    mesh.assert_converged()


async def test_whoever_is_in_no_group_carries_data_between_the_groups(mesh: Mesh) -> None:
    """A partition of two devices is none of a mesh of three."""
    laptop, phone, tablet = mesh.devices("laptop", "phone", "tablet")
    mesh.partition(laptop, phone)
    await notes(laptop).put({"text": "buy tea"}, id="tea")
    await mesh.settle()
    through_the_tablet = await notes(phone).get("tea")

    mesh.partition([laptop], [phone, tablet])
    await notes(laptop).put({"text": "buy coffee"}, id="tea")
    await mesh.settle()

    assert through_the_tablet == {"text": "buy tea"}
    assert await notes(phone).get("tea") == {"text": "buy tea"}


async def test_who_may_not_read_something_carries_it_to_nobody(mesh: Mesh) -> None:
    """A mesh that waited for what cannot happen would never settle."""
    laptop, phone, tablet = mesh.devices("laptop", "phone", "tablet", levels={"tablet": "limited"})
    mesh.partition(laptop, phone)
    await notes(laptop).put({"text": "just for me"}, id="mine")
    await notes(laptop).put({"text": "for all of us"}, id="ours", privacy="family")

    await mesh.settle()

    assert await notes(phone).get("mine") is None
    assert await notes(phone).get("ours") == {"text": "for all of us"}
    with pytest.raises(AssertionError, match="laptop and phone differ in memory/notes/mine"):
        mesh.assert_converged()
    mesh.assert_converged(laptop, tablet)


async def test_what_has_settled_has_reached_those_who_watch(mesh: Mesh) -> None:
    """A test looks at what an application drew right after `settle`."""
    laptop, phone = mesh.devices("laptop", "phone")
    watch, seen = notes(phone).watch(), []

    async def draw() -> None:
        async for change in watch:
            seen.append(change.record)

    drawing = asyncio.create_task(draw())
    for number in range(10):
        await notes(laptop).put({"number": number}, id="same")
        await mesh.settle()
        assert seen[-1] == {"number": number}
    drawing.cancel()


async def test_a_crashed_device_says_so_and_goes_on_with_what_it_had_acknowledged(
    mesh: Mesh,
) -> None:
    """The same handle serves before and after, as variables in a test do."""
    laptop, phone = mesh.devices("laptop", "phone")
    tea = notes(laptop)
    await tea.put({"text": "buy tea"}, id="tea")
    mesh.crash(laptop, power=True)
    with pytest.raises(DeviceDownError, match=r"laptop lost its power: mesh.restart\(laptop\)"):
        await tea.get("tea")
    mesh.advance(minutes=5)

    mesh.restart(laptop)
    await mesh.settle()

    assert await tea.get("tea") == await notes(phone).get("tea") == {"text": "buy tea"}


async def test_a_call_that_a_crash_cuts_short_says_so(mesh: Mesh) -> None:
    """It must neither hang nor claim that something was written."""
    laptop, _ = mesh.devices("laptop", "phone")
    writing = asyncio.create_task(notes(laptop).put({"text": "buy tea"}, id="tea"))
    await asyncio.sleep(0)

    mesh.crash(laptop)

    with pytest.raises(DeviceDownError, match="while a call was under way"):
        await writing


async def test_a_device_that_sleeps_or_is_offline_is_left_out_until_it_is_back(
    mesh: Mesh,
) -> None:
    """A test should not have to wait for a phone that it has put away itself."""
    laptop, phone, tablet = mesh.devices("laptop", "phone", "tablet")
    mesh.sleep(phone)
    mesh.offline(tablet)
    await notes(laptop).put({"text": "buy tea"}, id="tea")
    mesh.advance(hours=8)
    alone_s = await mesh.settle()
    with pytest.raises(DeviceDownError, match=r"asleep: mesh.wake\(phone\)"):
        await notes(phone).get("tea")

    mesh.wake(phone)
    mesh.online(tablet)
    await mesh.settle(everyone=True)

    assert alone_s == 0
    assert await notes(phone).get("tea") == await notes(tablet).get("tea") == {"text": "buy tea"}


async def test_devices_at_different_places_do_not_meet(mesh: Mesh) -> None:
    """There is no cloud in between."""
    laptop, phone = mesh.devices("laptop", "phone")
    mesh.move(phone, "office")
    await notes(laptop).put({"text": "buy tea"}, id="tea")
    await mesh.settle()
    away = await notes(phone).get("tea")

    mesh.move(phone, "home")
    await mesh.settle()

    assert away is None
    assert await notes(phone).get("tea") == {"text": "buy tea"}


async def test_a_full_disk_refuses_writes_until_there_is_room(mesh: Mesh) -> None:
    """Applications have to show that to somebody."""
    laptop, phone = mesh.devices("laptop", "phone")
    mesh.fill_disk(laptop)
    with pytest.raises(StoreFullError):
        await notes(laptop).put({"text": "buy tea"}, id="tea")
    await notes(phone).put({"text": "buy milk"}, id="milk")

    mesh.fill_disk(laptop, on=False)
    await mesh.settle()

    assert await notes(laptop).get("milk") == {"text": "buy milk"}


async def test_a_wrong_clock_and_a_bad_network_only_take_longer(mesh: Mesh) -> None:
    """Sync must not depend on either."""
    laptop, phone = mesh.devices("laptop", "phone")
    mesh.law("satellite")
    mesh.set_clock(phone, days=-4_000)
    await notes(laptop).put({"text": "first"}, id="tea")
    await mesh.settle()

    await notes(phone).put({"text": "second"}, id="tea")
    took_s = await mesh.settle()

    assert took_s >= 0.3
    assert await notes(laptop).get("tea") == {"text": "second"}


# Time --------------------------------------------------------------------------------------------


async def test_time_passes_at_the_call_and_nowhere_else(mesh: Mesh) -> None:
    """A test says how long; nobody waits for it."""
    mesh.devices("laptop", "phone")
    before = mesh.now

    mesh.advance(hours=3)
    awaited = mesh.now
    await mesh.advance(hours=3)
    await asyncio.sleep(3_600)

    assert awaited - before == timedelta(hours=3)
    assert mesh.now - before == timedelta(hours=7)


async def test_timeouts_of_asyncio_run_on_virtual_time(mesh: Mesh) -> None:
    """Applications have some of their own."""
    laptop, phone = mesh.devices("laptop", "phone")
    mesh.partition(laptop, phone)
    watch = notes(phone).watch()

    async def first() -> None:
        async for _ in watch:
            return

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await first()


def test_a_test_that_waits_for_ever_fails_where_it_waits(mesh: Mesh) -> None:
    """Virtual time would pass without end while a person waits."""
    mesh.devices("laptop")
    mesh.patience_days = 0.1

    async def waits() -> None:
        await asyncio.Event().wait()

    with pytest.raises(AssertionError, match="never comes: the test did nothing") as e:
        mesh.run(waits())
    assert [frame.name for frame in e.traceback].count("waits") == 1


async def test_wanted_time_passes_however_long(mesh: Mesh) -> None:
    """Only time in which a test waits for something counts."""
    mesh.patience_days = 0.01
    mesh.devices("laptop")

    mesh.advance(days=1)

    assert mesh.elapsed_s >= 86_400


# Claims ------------------------------------------------------------------------------------------


PARTINGS: dict[str, Callable[[Mesh, MeshDevice], None]] = {
    "they are partitioned": lambda mesh, phone: mesh.partition(phone),
    "phone is offline": lambda mesh, phone: mesh.offline(phone),
    "different places, home and office": lambda mesh, phone: mesh.move(phone, "office"),
    "the disk of phone is full": lambda mesh, phone: mesh.fill_disk(phone),
    "phone has crashed": lambda mesh, phone: mesh.crash(phone),
    "phone is asleep": lambda mesh, phone: mesh.sleep(phone),
    "they have not found each other yet": lambda mesh, phone: mesh.law("mobile"),
}


@pytest.mark.parametrize("told", PARTINGS)
async def test_what_has_not_settled_says_who_differs_in_what_and_why(mesh: Mesh, told: str) -> None:
    """'False is not True' would send people to the debugger. Contents are not repeated."""
    laptop, phone = mesh.devices("laptop", "phone")
    PARTINGS[told](mesh, phone)
    await notes(laptop).put({"text": "a secret"}, id="tea")

    with pytest.raises(AssertionError, match=told) as settling:
        await mesh.settle(0, everyone=True)
    with pytest.raises(AssertionError, match=told) as converged:
        mesh.assert_converged()

    for text in (str(settling.value), str(converged.value)):
        assert "a secret" not in text
        if phone.is_up and not phone.is_asleep:
            assert "laptop and phone differ in memory/notes/tea" in text


async def test_what_stays_on_the_device_never_left_it(mesh: Mesh) -> None:
    """The strongest promise that an application can make about a record."""
    laptop, _ = mesh.devices("laptop", "phone")
    await notes(laptop).put({"text": "my secret diary"}, id="d", privacy="device")
    await notes(laptop).put({"text": "nothing special"}, id="n")

    await mesh.settle()

    mesh.assert_never_left(laptop, "my secret diary")


@pytest.mark.parametrize("text", ["my secret diary", 'quoted "secret" ☕'])
async def test_what_another_device_once_held_is_found_though_it_was_deleted(
    mesh: Mesh, text: str
) -> None:
    """What was readable there for a moment may have been read."""
    laptop, phone, tablet = mesh.devices("laptop", "phone", "tablet")
    await notes(laptop).put({"text": text}, id="d")
    await mesh.settle()
    await notes(laptop).delete("d")
    await mesh.settle()
    mesh.crash(phone)

    with pytest.raises(AssertionError, match="phone has it in its") as told:
        mesh.assert_never_left(laptop, text, shared_with=[tablet])

    assert "tablet" not in str(told.value) and text not in str(told.value)


async def test_what_crosses_a_wire_in_the_clear_is_found(mesh: Mesh) -> None:
    """A check that never fails checks nothing, so this one is shown a leak."""
    laptop, phone = mesh.devices("laptop", "phone")
    for part in (b"...my secret", b" diary..."):
        mesh.stage.tape.hear("laptop", "phone", part)

    with pytest.raises(AssertionError, match="it went from laptop to phone"):
        mesh.assert_never_left(laptop, "my secret diary", shared_with=[phone])


async def test_a_text_too_short_to_be_searched_for_is_refused(mesh: Mesh) -> None:
    """Three letters are found in any ciphertext."""
    (laptop,) = mesh.devices("laptop")

    with pytest.raises(ValueError, match="at least 8"):
        mesh.assert_never_left(laptop, "tea")


# What happened -----------------------------------------------------------------------------------


async def test_events_tell_who_wrote_and_who_received(mesh: Mesh, tmp_path: Path) -> None:
    """They are what a failing test shows."""
    laptop, phone = mesh.devices("laptop", "phone")
    await notes(laptop).put({"text": "a secret"}, id="tea")
    await mesh.settle()
    mesh.crash(phone)
    mesh.save_timeline(tmp_path / "test.html")

    told = [(event.device, event.kind, event.detail) for event in mesh.events]
    assert ("laptop", "put", "memory/notes/tea") in told
    assert ("phone", "received", "put memory/notes/tea of laptop") in told
    assert told[-1] == ("phone", "crash", "")
    page = (tmp_path / "test.html").read_text("utf-8")
    assert "<svg" in page and "phone" in page and "a secret" not in page


HISTORY = """
from covey.simulations.mesh import Mesh
mesh = Mesh(seed=7)
async def test():
    laptop, phone = mesh.devices("laptop", "phone")
    mesh.law("flaky-wifi")
    for number in range(mesh.random.randrange(5, 9)):
        await laptop.database("memory").collection("notes").put({"n": number})
        await phone.database("memory").collection("notes").put({"n": number}, id="same")
    mesh.crash(phone, power=True)
    mesh.restart(phone)
    await mesh.settle()
mesh.run(test())
mesh.close()
print(mesh.stage.world.trace.digest, mesh.problems())
"""


def test_a_seed_is_one_history_in_every_process() -> None:
    """Else the replay that a failing test names would show something else."""
    told = {
        subprocess.run(
            [sys.executable, "-c", HISTORY],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }

    assert len(told) == 1 and told.pop().endswith(" []\n")


def test_seeds_differ() -> None:
    """Else a hundred seeds would be one test."""
    delays = []
    for seed in (1, 2):
        mesh = Mesh(seed)
        mesh.devices("laptop", "phone")
        mesh.advance(seconds=1)
        delays.append([event.at_ms for event in mesh.events])
        mesh.close()

    assert delays[0] != delays[1]


async def test_a_cache_is_of_one_device_and_its_time_is_that_of_the_mesh(mesh: Mesh) -> None:
    """In memory here, so it is gone after a crash: an application must live with that anyway."""
    laptop, phone = mesh.devices("laptop", "phone")
    answers = laptop.cache("answers")

    async def make() -> object:
        return await notes(laptop).get("tea")

    await notes(laptop).put({"text": "buy tea"}, id="tea")
    assert await answers.get_or_make("tea", make, ttl=timedelta(hours=1)) == {"text": "buy tea"}
    await notes(laptop).put({"text": "drink tea"}, id="tea")
    await mesh.settle()
    assert await answers.get("tea") == {"text": "buy tea"}
    assert await phone.cache("answers").get("tea") is None
    assert (await answers.stats()).hits == 1
    mesh.advance(hours=1)
    assert await answers.get("tea") is None

    await answers.put("tea", 1)
    laptop.crash()
    with pytest.raises(DeviceDownError):
        await answers.get("tea")
    mesh.restart(laptop)
    assert await answers.get("tea", "none") == "none"
