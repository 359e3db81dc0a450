"""Ingest: whatever the order of arrival, and whatever goes wrong meanwhile, the records agree."""

import asyncio
import random
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.crypto.entry import CONTROL_SCOPE
from covey.node.applying import ATTEMPTS_MAX, SUSPECT_MS
from covey.node.ingest import BatchRefusedError, StoreMovedError
from covey.storage import log_rows
from covey.storage.errors import StoreFullError
from covey.storage.log_rows import EntryState
from covey.sync import crdt
from covey.sync.errors import GateError, GateRefusal
from covey.sync.messages import Batch

from .fake_clock import settle
from .memory_world import (
    Device,
    World,
    admit,
    batches,
    carry,
    carry_scope,
    meet,
    settle_tasks,
    shared_scopes,
    single_entries,
    take,
)

FULL = StoreFullError(Path("memory"))


async def history(world: World) -> tuple[list[Device], list[Batch]]:
    """Three devices that wrote in turns and at once; and all their data entries, one by one."""
    a = await world.founder("a")
    b, c = await world.member(a, "b"), await world.member(a, "c")
    await a.collection().put({"title": "one", "tags": ["x"]}, id="r")
    await a.collection().put({"n": 1}, id="plain")
    await meet(a, b, c)
    await b.collection().put({"title": "two", "by": "b"}, id="r")
    await c.collection().put({"tags": ["x", "y"]}, id="r")
    await b.collection().put({"b": 1}, id="both")
    await c.collection().put({"c": 1}, id="both")
    await meet(a, b, c)
    await a.collection().delete("plain")
    await b.collection().put({"both": 1}, id="both")
    await c.collection().put({"n": 2}, id="plain")
    async with c.node.database("memory").transaction() as tx:
        tx.put("facts", {"t": 1}, "r")
        tx.put("facts", {"t": 1}, "fresh")
        tx.put("facts", {"u": 1}, "fresh")
    await meet(a, b, c)
    (scope,) = shared_scopes(a, b)
    return [a, b, c], await single_entries(a, scope)


async def newcomer(world: World, admin: Device) -> Device:
    device = await world.member(admin, f"new{world.seed}")
    await carry_scope(admin, device, CONTROL_SCOPE)
    return device


def interleaved(entries: list[Batch], choices: "random.Random") -> list[Batch]:
    """Any order that keeps each log in its own order, which is what links give."""
    logs: dict[bytes, list[Batch]] = {}
    for batch in entries:
        logs.setdefault(batch.runs[0].instance, []).append(batch)
    order = []
    while left := [instance for instance, batches in logs.items() if batches]:
        order.append(logs[choices.choice(left)].pop(0))
    return order


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32))
def test_any_order_of_delivery_gives_the_same_records(seed: int) -> None:
    """Convergence: peers send what they have when they have it."""

    async def run() -> None:
        async with World() as world:
            devices, entries = await history(world)
            expected = await devices[0].values()
            assert expected == await devices[1].values() == await devices[2].values()
            late = await newcomer(world, devices[0])
            choices = random.Random(seed)
            for batch in interleaved(entries, choices):
                await take(late, batch)
                if choices.random() < 0.1:
                    late = await world.restart(late, crash=choices.random() < 0.5)
            assert late.engine.ingest.waiting() == 0
            assert await late.values() == expected
            late = await world.restart(late)
            await late.collection().put({"after": 1}, id="r")
            await late.collection().put({"after": 1}, id="fresh")
            await carry(late, devices[0])
            assert await late.values() == await devices[0].values()

    asyncio.run(run())


async def test_an_entry_waits_for_its_past_and_is_applied_when_it_comes() -> None:
    """Its author had seen a change that we have not; showing half of it would be a lie."""
    async with World() as world:
        (a, *_), entries = await history(world)
        late = await newcomer(world, a)
        others = [e for e in entries if e.runs[0].author != a.id]
        for batch in others:
            await take(late, batch)
        waiting = late.engine.ingest.waiting()
        assert waiting > 0
        assert (await late.engine.status())["waiting_entries"] == waiting
        late = await world.restart(late)
        assert late.engine.ingest.waiting() == waiting
        for batch in entries:
            await take(late, batch)

        assert late.engine.ingest.waiting() == 0
        assert await late.values() == await a.values()


async def test_an_entry_whose_key_comes_later_is_applied_then() -> None:
    """A member may be granted a key after it was told of what the key opens."""
    async with World() as world:
        a = await world.founder("a")
        b = await world.member(a, "b")
        await b.collection().put({"x": 1}, id="r")
        await carry(b, a)
        late = await newcomer(world, a)
        (scope,) = shared_scopes(a, late)
        keys = dict(late.engine.mesh._scope_keys)
        control = late.engine.mesh.control_key()[1]
        late.engine.mesh._scope_keys = {control: keys[control]}
        for batch in await single_entries(b, scope):
            await take(late, batch)
        assert late.engine.ingest.waiting() == 1
        assert await late.values() == {}

        late.engine.mesh._scope_keys = keys
        late.engine._membership_changed()
        await settle_tasks(late)
        assert await late.values() == {"memory/facts/r": {"x": 1}}


async def test_batches_that_come_again_change_nothing() -> None:
    """Two peers send the same; a link that broke sends it again."""
    async with World() as world:
        (a, *_), entries = await history(world)
        late = await newcomer(world, a)
        (scope,) = shared_scopes(a, late)
        whole = await batches(a, late, scope)
        for batch in (*entries, *whole, *entries):
            await take(late, batch)
        digest = late.engine.ledger.holdings.scope_digest(scope)

        assert await late.values() == await a.values()
        assert digest == a.engine.ledger.holdings.scope_digest(scope)
        stored = await late.gate.read(lambda conn: log_rows.entries_by_arrival(conn, 0, 1000))
        assert len({(e.log_no, e.seq) for e in stored}) == len(stored)


async def test_a_record_created_on_both_sides_merges() -> None:
    """Two devices that were apart choose one id; both stories are true."""
    async with World() as world:
        a = await world.founder("a")
        b = await world.member(a, "b")
        await a.collection().put({"a": 1, "same": "x"}, id="r")
        await b.collection().put({"b": 1, "same": "x"}, id="r")
        await meet(a, b)

        assert await a.values() == await b.values()
        assert await a.collection().get("r") == {"a": 1, "b": 1, "same": "x"}


async def test_what_the_gate_refuses_is_set_aside_and_the_log_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One bad entry of one member must not stop what comes after it, nor its passing on."""
    async with World() as world:
        a = await world.founder("a")
        b = await world.member(a, "b")
        await a.collection().put({"x": 1}, id="r")
        await carry(a, b)
        await a.collection().put({"x": 2}, id="r")
        await a.collection().put({"y": 1}, id="later")
        real = crdt.apply
        monkeypatch.setattr(
            crdt, "apply", lambda *_: (_ for _ in ()).throw(GateError(GateRefusal.KIND))
        )
        await carry(a, b)
        monkeypatch.setattr(crdt, "apply", real)

        (scope,) = shared_scopes(a, b)
        assert await b.values() == {"memory/facts/r": {"x": 1}, "memory/facts/later": {"y": 1}}
        assert b.engine.counters["ingest.quarantined"] == 1
        (aside,) = await b.gate.read(
            lambda conn: log_rows.entries_in_state(conn, EntryState.QUARANTINED)
        )
        assert aside.why is not None and "change refused" in aside.why
        holdings = [d.engine.ledger.holdings.scope_digest(scope) for d in (a, b)]
        assert holdings[0] == holdings[1]
        b = await world.restart(b)
        assert b.engine.ingest.waiting() == 0


async def with_one_waiting(world: World) -> tuple[Device, Device, Batch]:
    """A device that holds an entry which waits for another; and the other."""
    a = await world.founder("a")
    b = await world.member(a, "b")
    await a.collection().put({"x": 1}, id="r")
    await carry(a, b)
    await b.collection().put({"y": 1}, id="r")
    late = await newcomer(world, a)
    (scope,) = shared_scopes(a, late)
    first, second = sorted(await single_entries(b, scope), key=lambda e: e.runs[0].author != a.id)
    await take(late, second)
    assert late.engine.ingest.waiting() == 1
    return b, late, first


async def crashed_at(late: Device, times: int) -> None:
    """Let the store say that the node ended so often while its waiting entry was handed on."""
    (row,) = await late.gate.read(lambda conn: log_rows.entries_in_state(conn, EntryState.PENDING))
    assert row.attempts == 1
    for _ in range(times - 1):
        await late.gate.write(lambda conn: log_rows.bump_attempts(conn, [row.arrival]))


async def test_an_entry_that_ended_the_node_twice_is_tried_again_after_a_time_of_quiet() -> None:
    """A crash must not become a loop; nor may two power cuts cost a record."""
    async with World() as world:
        b, late, first = await with_one_waiting(world)
        await crashed_at(late, 2)
        late = await world.restart(late, crash=True)
        await take(late, first)
        assert late.engine.counters["ingest.suspect"] == 1
        assert await late.values() == {"memory/facts/r": {"x": 1}}

        await late.clock.advance(SUSPECT_MS + 1_000)

        assert late.engine.ingest.waiting() == 0
        assert await late.values() == await b.values()


async def test_an_entry_that_was_put_off_is_tried_by_the_store_as_it_is_then() -> None:
    """A store that was changed under the node has other heads; the old ones would write over it."""
    async with World() as world:
        b, late, first = await with_one_waiting(world)
        await crashed_at(late, 2)
        late = await world.restart(late, crash=True)
        before = late.engine.ingest

        async def nothing() -> None:
            """The store is loaded anew all the same."""

        await late.engine.rebuild(nothing)
        await take(late, first)
        await late.clock.advance(SUSPECT_MS + 1_000)

        assert late.engine.ingest is not before
        assert late.engine.ingest.waiting() == 0
        assert await late.values() == await b.values()


async def test_an_entry_that_ended_the_node_again_and_again_is_set_aside_for_good() -> None:
    """It must be seen, and must not be tried for ever."""
    async with World() as world:
        _, late, first = await with_one_waiting(world)
        await crashed_at(late, ATTEMPTS_MAX)
        late = await world.restart(late, crash=True)

        assert late.engine.counters["ingest.poison"] == 1
        assert late.engine.ingest.waiting() == 0
        (aside,) = await late.gate.read(
            lambda conn: log_rows.entries_in_state(conn, EntryState.QUARANTINED)
        )
        assert aside.why == f"handing it on ended the node {ATTEMPTS_MAX} times"
        await take(late, first)
        assert await late.values() == {"memory/facts/r": {"x": 1}}


@pytest.mark.parametrize("after", [1, 2, 3, 4])
async def test_being_closed_in_the_middle_is_no_fault_of_the_entry(after: int) -> None:
    """Who closes the laptop three times during a sync must not lose a record for good."""
    async with World() as world:
        b, late, first = await with_one_waiting(world)
        for _ in range(3):
            prepared = await late.engine.ingest.prepare(first)
            late.gate.hold_writes = True
            storing = asyncio.ensure_future(late.engine.ingest.store(prepared))
            for step in range(after):
                await settle()
                if step < after - 1:
                    late.gate.release()
            storing.cancel()
            await settle()
            late.gate.hold_writes = False
            late.gate.release()
            await settle()
            late = await world.restart(late)
        await take(late, first)

        assert late.engine.counters["ingest.poison"] == 0
        assert await late.values() == await b.values()


async def test_a_full_disk_in_the_middle_is_no_fault_of_the_entry() -> None:
    """Room can be made; a record set aside for good does not come back."""
    async with World() as world:
        b, late, first = await with_one_waiting(world)
        for allowed in (1, 2, 1, 2):
            prepared = await late.engine.ingest.prepare(first)
            if prepared.entries:
                late.gate.fail_after = allowed
                with suppress(StoreFullError):
                    await late.engine.ingest.store(prepared)
            else:
                late.gate.fail_after = allowed - 1
                await asyncio.gather(late.engine.ingest.retry_waiting(), return_exceptions=True)
            late.gate.fail_after = None
            late = await world.restart(late)
        await take(late, first)

        assert late.engine.counters["ingest.poison"] == 0
        assert await late.values() == await b.values()


async def test_a_batch_that_cannot_be_stored_is_taken_when_it_comes_again() -> None:
    """After the person has made room, sync must go on where it stopped."""
    async with World() as world:
        (a, *_), entries = await history(world)
        late = await newcomer(world, a)
        first, *others = entries
        second = next(e for e in others if e.runs[0].instance != first.runs[0].instance)
        third = next(
            e
            for e in others
            if e.runs[0].instance == first.runs[0].instance
            and e.runs[0].last_seq > first.runs[0].last_seq
        )
        prepared = [await late.engine.ingest.prepare(e) for e in (first, second, third)]
        late.gate.fail = FULL
        for one in prepared[:2]:
            with pytest.raises(StoreFullError):
                await late.engine.ingest.store(one)
        late.gate.fail = None
        with pytest.raises(StoreMovedError):
            await late.engine.ingest.store(prepared[2])
        for batch in entries:
            await take(late, batch)

        assert await late.values() == await a.values()


async def test_a_batch_for_a_scope_or_by_an_author_that_is_not_entitled_is_refused() -> None:
    """A limited device that writes private records is lying, whoever passes it on."""
    async with World() as world:
        a = await world.founder("a")
        stranger = await world.founder("stranger")
        await a.collection().put({"x": 1}, id="r")
        await stranger.collection().put({"x": 1}, id="r")
        limited = await world.member(a, "tablet", "limited")
        (foreign,) = [s.tag for s in stranger.engine.ledger.scopes()]
        (private,) = shared_scopes(a, a)
        batch = (await single_entries(stranger, foreign))[0]
        with pytest.raises(BatchRefusedError, match="unknown scope"):
            await a.engine.ingest.prepare(batch)

        with pytest.raises(BatchRefusedError, match="may not write"):
            await a.engine.ingest.prepare(Batch(private, batch.runs))
        assert not list(shared_scopes(a, limited))
        assert await a.values() == {"memory/facts/r": {"x": 1}}


async def test_a_device_that_left_its_mesh_of_one_brings_its_records() -> None:
    """What was written before pairing is not lost, and reaches the others."""
    async with World() as world:
        a = await world.founder("a")
        await a.collection().put({"a": 1}, id="r")
        b = await world.founder("b")
        await b.collection().put({"b": 1}, id="r")
        await b.collection("list").put({"b": 2}, id="q")
        await admit(a, b)
        await meet(a, b)

        assert await a.values() == await b.values()
        assert await a.collection().get("r") == {"a": 1, "b": 1}
