"""Following: whatever follows the records looks when they have changed, and never otherwise."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import covey
from covey.node.data.following import AGAIN_MS, Followed, Follower
from covey.storage.errors import StoreFullError
from covey.sync.errors import BadValueError

from .memory_world import Device, World, carry, settle_tasks
from .test_embeddings import EAST, MODEL, NORTH, Forgetful, ids, index_always, of

WAIT_MS = 1_000


class Looks:
    """What follows the records in a test: it counts how often it was called."""

    def __init__(self) -> None:
        self.count = 0
        self.errors: list[Exception] = []

    async def act(self) -> None:
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)


def following(device: Device) -> tuple[Follower, Looks]:
    looks = Looks()
    follower = Follower(device.engine, "of a test", looks.act, WAIT_MS)
    follower.start()
    return follower, looks


async def pass_by(world: World, *devices: Device, ms: int = WAIT_MS) -> None:
    await world.clock.advance(ms)
    for device in devices:
        await settle_tasks(device)


async def test_it_looks_once_at_the_start_and_after_each_change() -> None:
    """What happened before it started is news to it as well."""
    async with World() as world:
        device = await world.founder("laptop")
        _, looks = following(device)
        await pass_by(world, device)
        first = looks.count
        await device.collection().put({"a": 1}, id="r")
        await device.collection().put({"a": 2}, id="r")
        await pass_by(world, device)

        assert (first, looks.count) == (1, 2)


async def test_what_a_peer_wrote_is_news_too() -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        _, looks = following(phone)
        await pass_by(world, phone)
        await laptop.collection().put({"a": 1}, id="r")
        await carry(laptop, phone)
        await pass_by(world, phone)

        assert looks.count == 2


async def test_a_write_that_changes_no_record_is_no_news() -> None:
    """Notes for people are written all the time."""
    async with World() as world:
        device = await world.founder("laptop")
        _, looks = following(device)
        await pass_by(world, device)
        device.engine.tell("test", {"n": 1})
        await device.engine.audit.flush()
        await pass_by(world, device)
        await pass_by(world, device)

        assert looks.count == 1


async def test_nothing_waits_and_nothing_is_read_when_nothing_happens() -> None:
    """A timer that only looks wakes a phone in a pocket."""
    async with World() as world:
        device = await world.founder("laptop")
        _, looks = following(device)
        for _ in range(3):
            await pass_by(world, device)
        reads = counted_reads(device)

        await pass_by(world, device, ms=3_600_000)

        assert (world.clock.sleeping, reads, looks.count) == (0, [], 1)


def counted_reads(device: Device) -> list[Any]:
    reads: list[Any] = []
    read = device.gate.read

    def counted(job: Any) -> Any:
        reads.append(job)
        return read(job)

    device.gate.read = counted  # type: ignore[method-assign]
    return reads


async def test_a_disk_that_is_full_is_tried_again_later() -> None:
    async with World() as world:
        device = await world.founder("laptop")
        _, looks = following(device)
        looks.errors = [StoreFullError(Path("memory"))]
        await pass_by(world, device)
        await pass_by(world, device)
        soon = looks.count
        await pass_by(world, device, ms=AGAIN_MS)

        assert (soon, looks.count) == (1, 2)


async def test_what_cannot_be_done_is_not_tried_until_something_changes() -> None:
    """The same would go wrong again each second."""
    async with World() as world:
        device = await world.founder("laptop")
        _, looks = following(device)
        looks.errors = [BadValueError("no")]
        await pass_by(world, device)
        await pass_by(world, device, ms=3_600_000)
        before = looks.count
        await device.collection().put({"a": 1}, id="r")
        await pass_by(world, device)

        assert (before, looks.count) == (1, 2)


async def test_what_is_owed_is_done_without_a_change() -> None:
    async with World() as world:
        device = await world.founder("laptop")
        follower, looks = following(device)
        await pass_by(world, device)
        follower.owe()
        await pass_by(world, device)

        assert looks.count == 2


async def test_two_looks_never_overlap_and_what_came_meanwhile_is_looked_at() -> None:
    async with World() as world:
        device = await world.founder("laptop")
        under_way, go_on, calls = asyncio.Event(), asyncio.Event(), list[str]()

        async def act() -> None:
            calls.append("begin")
            under_way.set()
            await go_on.wait()
            calls.append("end")

        Follower(device.engine, "of a test", act, WAIT_MS).start()
        await world.clock.advance(WAIT_MS)
        await under_way.wait()
        await device.collection().put({"a": 1}, id="r")
        await world.clock.advance(3 * WAIT_MS)
        go_on.set()
        for _ in range(3):
            await pass_by(world, device)

        assert calls == ["begin", "end", "begin", "end"]


async def test_after_it_is_stopped_nothing_looks() -> None:
    async with World() as world:
        device = await world.founder("laptop")
        follower, looks = following(device)
        follower.stop()
        await device.collection().put({"a": 1}, id="r")
        await pass_by(world, device)

        assert (looks.count, world.clock.sleeping) == (0, 0)


async def test_a_job_that_fails_is_told_to_its_caller_and_is_no_news() -> None:
    async with World() as world:
        device = await world.founder("laptop")
        store, told = Followed(device.gate), list[int]()
        store.listen(lambda: told.append(1))

        def bad(conn: Any) -> None:
            raise ValueError

        with pytest.raises(ValueError):
            await store.write(bad)
        await store.write(lambda conn: None)
        await asyncio.sleep(0)

        assert told == [1]


# Vectors -----------------------------------------------------------------------------------------


async def with_vectors(world: World, open_index: Any = Forgetful) -> Device:
    device = await world.founder("laptop")
    index_always(device, open_index)
    await device.collection().vectors("embedding", **MODEL)
    for _ in range(3):
        await pass_by(world, device)
    return device


async def test_declared_vectors_of_an_idle_device_cost_nothing() -> None:
    """Nothing was said, so nothing is to be compared."""
    async with World() as world:
        device = await with_vectors(world)
        reads, writes = counted_reads(device), device.gate.writes

        await pass_by(world, device, ms=3_600_000)

        assert (world.clock.sleeping, reads, device.gate.writes) == (0, [], writes)


async def test_vectors_are_taken_soon_after_they_are_written() -> None:
    async with World() as world:
        device = await with_vectors(world)
        await device.collection().put(of(EAST), id="east")
        await pass_by(world, device)
        writes = device.gate.writes
        found = await device.collection().nearest(EAST)

        assert (ids(found), device.gate.writes) == (["east"], writes)


async def test_an_index_that_was_let_go_of_is_filled_again_unasked() -> None:
    """Whoever stopped waiting left it behind the rows; it comes back though no record changes."""
    opened: list[Forgetful] = []

    class Stopped(Forgetful):
        def put(self, numbers: Sequence[int], rows: Any) -> None:
            if len(opened) == 1 and self.held:
                raise asyncio.CancelledError
            super().put(numbers, rows)

    def open_index(name: str, dimension: int) -> Forgetful:
        opened.append(Stopped(name, dimension))
        return opened[-1]

    async with World() as world:
        device = await with_vectors(world, open_index)
        await device.collection().put(of(EAST), id="east")
        for _ in range(3):
            await pass_by(world, device)
        await device.collection().put(of(NORTH), id="north")
        with pytest.raises(asyncio.CancelledError):
            await device.collection().nearest(EAST)
        for _ in range(3):
            await pass_by(world, device)

        assert len(opened[-1].held) == 2 and len(opened) == 2
        assert not (await device.collection().nearest(EAST, k=1)).is_exact


async def test_a_callback_that_comes_later_is_called_for_what_waits() -> None:
    async with World() as world:
        device = await with_vectors(world)
        await device.collection().put(of(EAST, model="theirs"), id="r")
        for _ in range(3):
            await pass_by(world, device)
        device.node.register_embedder("minilm", "2", lambda record, field: EAST)
        await pass_by(world, device)

        assert ids(await device.collection().nearest(EAST)) == ["r"]


async def test_a_restart_takes_up_what_is_declared() -> None:
    async with World() as world:
        device = await with_vectors(world)
        await device.collection().put({"embedding": covey.embedding("minilm", "2", EAST)}, id="r")
        device = await world.restart(device)
        await device.engine.vectors.start()
        await pass_by(world, device)
        writes = device.gate.writes

        assert ids(await device.collection().nearest(EAST)) == ["r"]
        assert device.gate.writes == writes
