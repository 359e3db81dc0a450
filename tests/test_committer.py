"""Committer: what arrives together shares a transaction, and a failure leaves the chain whole."""

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest

from covey.crypto.identity import make_certificate
from covey.node.committer import HLC_RESERVE_MS
from covey.storage.errors import StoreFullError
from covey.sync.hlc import wall_ms_of

from .fake_clock import settle
from .memory_world import Device, World, carry

FULL = StoreFullError(Path("memory"))


def put(device: Device, number: int) -> "asyncio.Task[object]":
    return asyncio.ensure_future(device.collection().put({"n": number}, id=f"r{number}"))


async def ready(world: World) -> Device:
    """A device whose database is open, so that a put is one entry and nothing else."""
    device = await world.founder("laptop")
    await device.collection().put({"n": -1}, id="first")
    return device


async def test_entries_that_arrive_together_share_one_transaction() -> None:
    """A durable commit costs 200 us of waiting; a thousand waits would be an import's time."""
    async with World() as world:
        device = await ready(world)
        before = device.gate.writes

        await asyncio.gather(*(put(device, number) for number in range(50)))
        assert device.gate.writes - before == 1


async def test_what_arrives_while_the_disk_is_busy_goes_into_the_next_transaction() -> None:
    """Nobody waits for more than the transaction under way and the next one."""
    async with World() as world:
        device = await ready(world)
        device.gate.hold_writes = True
        before = device.gate.writes
        puts = [put(device, 0)]
        await settle()
        puts += [put(device, number) for number in range(1, 20)]
        await settle()
        assert device.gate.writes - before == 1
        device.gate.release()
        await settle()
        assert device.gate.writes - before == 2
        device.gate.release()

        await asyncio.gather(*puts)
        assert device.gate.writes - before == 2


async def test_writes_are_acknowledged_in_the_order_of_the_log() -> None:
    """A program that was told that its second write is safe may rely on the first."""
    async with World() as world:
        device = await ready(world)
        device.gate.hold_writes = True
        told: list[int] = []
        puts = []
        for number in range(6):
            puts.append(put(device, number))
            puts[-1].add_done_callback(lambda _, n=number: told.append(n))  # type: ignore[misc]
            await settle()
        assert told == []
        device.gate.hold_writes = False
        device.gate.release()
        await asyncio.gather(*puts)
        await settle()

        assert told == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("error", [FULL, RuntimeError("a defect of ours")])
async def test_a_failed_commit_fails_everything_behind_it_and_the_chain_goes_on(
    error: Exception,
) -> None:
    """An entry without its predecessor would be a gap that no peer can ever fill."""
    async with World() as world:
        device = await ready(world)
        phone = await world.member(device, "phone")
        (scope,) = device.engine.ledger.scopes()
        log = device.engine.ledger.log(scope.tag, device.engine.instance)
        assert log is not None
        head = log.head_seq
        device.gate.hold_writes = True
        puts = [put(device, 0)]
        await settle()
        puts += [put(device, 1), put(device, 2)]
        await settle()
        assert log.tail_seq == head + 3
        device.gate.fail = error
        device.gate.hold_writes = False
        device.gate.release()
        failed = await asyncio.gather(*puts, return_exceptions=True)

        assert failed == [error, error, error]
        assert (log.tail_seq, log.tail_id) == (log.head_seq, log.head_id)
        assert log.head_seq == head
        device.gate.fail = None
        await put(device, 3)
        await carry(device, phone)
        assert set(await phone.values()) == {"memory/facts/first", "memory/facts/r3"}


async def test_who_waits_for_several_entries_hears_of_a_failure_once() -> None:
    """The errors of the others would be told by the event loop, to nobody, with a trace."""
    async with World() as world:
        admin = await ready(world)
        keys = (await world.founder("phone")).engine.keys
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        certificate = make_certificate(keys, admin.engine.mesh.id, 1)
        # Not the one of this module: what an error has passed through lives as long as it does.
        admin.gate.fail = StoreFullError(Path("memory"))

        with pytest.raises(StoreFullError):
            await admin.engine.mesh.enroll(certificate, "phone", "phone", "full")
        admin.gate.fail = None
        await settle()
        gc.collect()

        assert told == []


async def test_a_caller_that_gives_up_does_not_undo_its_write_nor_hide_it_from_watchers() -> None:
    """A timeout around `put` says nothing about the disk; what was written must be seen."""
    async with World() as world:
        device = await ready(world)
        async with device.collection().watch() as changes:
            device.gate.hold_writes = True
            giving_up = put(device, 0)
            await settle()
            giving_up.cancel()
            await settle()
            device.gate.hold_writes = False
            device.gate.release()
            await settle()
            await device.collection().put({"m": 1}, id="r0")
            changes.close()

            assert [change.record async for change in changes] == [{"n": 0}, {"n": 0, "m": 1}]


async def test_stamps_never_go_back_over_a_crash() -> None:
    """A wall clock set back during a restart must not make new writes look older than old ones."""
    async with World() as world:
        device = await ready(world)
        stamps = []
        for number in range(4):
            await put(device, number)
            found = await device.engine.reader.get("memory", "facts", f"r{number}")
            assert found is not None
            stamps.append(found.hlc)
            device = await world.restart(device, crash=True)
            world.clock.wall_ahead_ms -= 60_000

        assert stamps == sorted(set(stamps))


async def test_many_short_runs_do_not_drive_the_stamps_into_the_future() -> None:
    """Each command of a script opens the home; many must not date records tomorrow."""
    async with World() as world:
        device = await ready(world)
        for number in range(30):
            await put(device, number)
            device = await world.restart(device)
            world.clock.now_ms += 10
        found = await device.engine.reader.get("memory", "facts", "r29")

        assert found is not None
        assert wall_ms_of(found.hlc) <= world.clock.wall_ms() + HLC_RESERVE_MS + 100
