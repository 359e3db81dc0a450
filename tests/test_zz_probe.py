import asyncio
from datetime import datetime, timezone
import pytest
from covey import CoveyError
from covey.sync.values import Counter, Text, Vector
from covey.storage.errors import StoreFullError
from covey.sync.hlc import wall_ms_of
from .memory_world import *

async def test_basic():
    async with World() as w:
        a = await w.founder("a"); b = await w.member(a, "b")
        await a.collection().put({"x": 1}, id="r")
        await carry(a, b)
        assert await b.values() == {"memory/facts/r": {"x": 1}}
        await b.collection().put({"y": 2}, id="r")
        await a.collection().put({"z": 2}, id="r")
        await meet(a, b)
        assert await b.values() == await a.values() == {"memory/facts/r": {"x": 1,"y":2,"z":2}}

async def test_limited_writes_family_in_db_with_private():
    async with World() as w:
        a = await w.founder("a")
        await a.collection().put({"x": 1}, id="r")
        b = await w.member(a, "b", "limited")
        await a.collection().put({"x": 1}, id="f", privacy="family")
        await carry(a, b)
        await b.collection().put({"x": 2}, id="g", privacy="family")
        await b.collection().put({"x": 2}, id="f")

async def test_limited_joins_with_records():
    async with World() as w:
        a = await w.founder("a")
        await a.collection().put({"x": 1}, id="r")
        b = await w.founder("b")
        await b.collection().put({"mine": 1}, id="q")
        await admit(a, b, "limited")
        assert "memory/facts/q" in await b.values()

async def test_hlc_drift():
    async with World() as w:
        a = await w.founder("a")
        for i in range(40):
            await a.collection().put({"x": i}, id="r")
            a = await w.restart(a)
            w.clock.now_ms += 100
        found = await a.engine.reader.get("memory", "facts", "r")
        assert wall_ms_of(found.hlc) - w.clock.wall_ms() < 10_000

async def test_alias():
    async with World() as w:
        a = await w.founder("a")
        v = {"tags": ["a"]}
        await a.collection().put(v, id="r")
        v["tags"].append("b")
        r = await a.collection().put(v, id="r")
        assert r.changed
        assert (await a.collection().get("r")) == {"tags": ["a", "b"]}

async def test_watch_alias():
    async with World() as w:
        a = await w.founder("a"); b = await w.member(a, "b")
        async with a.collection().watch() as wa, b.collection().watch() as wb:
            await a.collection().put({"tags": ["a"]}, id="r")
            await a.collection().put({"n": 1}, id="r")
            await carry(a, b)
            for wx in (wa, wb):
                n = 0
                async for c in wx:
                    c.record["tags"].append("evil"); c.record["evil"] = 1
                    n += 1
                    if n == 2: break
        for d in (a, b):
            await d.collection().put({"tags": ["a"]}, id="r")
            await d.collection().put({"o": 1}, id="r")
            assert (await d.collection().get("r")) == {"tags": ["a"], "n": 1, "o": 1}

async def test_two_levels_delete():
    async with World() as w:
        a = await w.founder("a"); b = await w.member(a, "b")
        await a.collection().put({"p": 1}, id="r")
        await b.collection().put({"f": 1}, id="r", privacy="family")
        await meet(a, b)
        assert await a.collection().delete("r")
        assert await a.collection().get("r") == {"f": 1}
        assert await a.collection().delete("r")
        assert await a.collection().get("r") is None

async def test_failed_commit_then_other_pinned():
    async with World() as w:
        a = await w.founder("a"); b = await w.member(a, "b")
        await a.collection().put({"x": 1}, id="r")
        await a.collection().put({"y": 1}, id="s")
        a = await w.restart(a)
        await a.collection().put({"x": 2}, id="r")  # on shelf
        a.gate.hold_writes = True
        t1 = asyncio.ensure_future(a.collection().put({"x": 3}, id="r"))
        for _ in range(20): await asyncio.sleep(0)
        a.gate.hold_reads = True
        t2 = asyncio.ensure_future(a.collection().put_many([("r", {"k": 1}), ("s", {"k": 1})]))
        for _ in range(20): await asyncio.sleep(0)
        assert len(a.gate.held) == 2
        a.gate.fail = StoreFullError(Path("memory"))
        a.gate.release(1)
        for _ in range(20): await asyncio.sleep(0)
        a.gate.fail = None; a.gate.hold_reads = a.gate.hold_writes = False
        a.gate.release()
        with pytest.raises(StoreFullError): await t1
        await t2
        assert await a.collection().get("r") == {"x": 2, "k": 1}
        await carry(a, b)
        assert await b.values() == await a.values()

async def test_error_not_covey():
    async with World() as w:
        a = await w.founder("a"); b = await w.member(a, "b")
        await a.collection().put({"x": 1}, id="r")
        a.gate.fail = RuntimeError("odd")
        with pytest.raises(RuntimeError):
            async with asyncio.timeout(2):
                await a.collection().put({"x": 2}, id="r")
        a.gate.fail = None
        await a.collection().put({"x": 4}, id="r")
        await carry(a, b)
        assert await b.values() == await a.values()

async def test_member_op_fails_while_other_prepares():
    async with World() as w:
        a = await w.founder("a"); b = await w.member(a, "b")
        await a.collection().put({"x": 1}, id="r")
        a = await w.restart(a)
        a.gate.hold_writes = True
        t1 = asyncio.ensure_future(a.engine.rename(a.id, "new"))
        for _ in range(20): await asyncio.sleep(0)
        a.gate.hold_reads = True
        t2 = asyncio.ensure_future(a.collection().put({"x": 2}, id="r"))
        for _ in range(20): await asyncio.sleep(0)
        n = len(a.gate.held)
        a.gate.fail = StoreFullError(Path("memory"))
        a.gate.release(1)
        for _ in range(20): await asyncio.sleep(0)
        a.gate.fail = None; a.gate.hold_reads = a.gate.hold_writes = False
        a.gate.release()
        with pytest.raises(StoreFullError): await t1
        await t2
        await carry(a, b)
        assert await b.values() == await a.values()
        assert n == 2

async def test_close_while_retrying_does_not_poison():
    async with World() as w:
        a = await w.founder("a"); b = await w.member(a, "b")
        await a.collection().put({"x": 1}, id="r")
        await carry(a, b)
        await b.collection().put({"y": 1}, id="r")
        c = await w.member(a, "c")
        # c gets b's change first: its past is missing
        for batch in await batches(a, c, CONTROL_SCOPE): await take(c, batch)
        (scope,) = shared_scopes(a, c)
        es = await single_entries(b, scope)
        for e in es:
            if e.runs[0].author == b.id: await take(c, e)
        assert c.engine.ingest.waiting() == 1
        c = await w.restart(c)
        for e in es:
            if e.runs[0].author == a.id: await take(c, e)
        assert await c.values() == await b.values()

async def test_same_record_twice():
    async with World() as w:
        a = await w.founder("a"); b = await w.member(a, "b")
        async with a.node.database("memory").transaction() as tx:
            tx.put("facts", {"x": 1}, "r"); tx.put("facts", {"y": 1}, "r"); tx.delete("facts", "r"); tx.put("facts", {"z": 1}, "r")
            tx.put("facts", {"z": 1}, "q"); tx.delete("facts", "q")
        await carry(a, b)
        assert await b.values() == await a.values() == {"memory/facts/r": {"z": 1}}
        a = await w.restart(a)
        await a.collection().put({"k": 1}, id="r")
        await a.collection().put({"k": 1}, id="q")
        await carry(a, b)
        assert await b.values() == await a.values() == {"memory/facts/r": {"z": 1, "k": 1}, "memory/facts/q": {"k": 1}}

@pytest.mark.parametrize("bad", [dict(id=5), dict(id=""), dict(id="\ud800"), dict(id="a\nb"), dict(id="é"*129), dict(value=5), dict(value={"$x": 1}), dict(value={"x": float("nan")}), dict(value={1: 2}), dict(value={"x": object()}), dict(value={"x": "\ud800"}), dict(privacy="secret"), dict(privacy=3), dict(value=None), dict(value={"x":2**63})])
async def test_bad(bad):
    async with World() as w:
        a = await w.founder("a")
        kw = {"value": {"x": 1}, "id": "r", **bad}
        with pytest.raises(CoveyError):
            await a.collection().put(**kw)

@pytest.mark.parametrize("stop_at", [1,2,3,4])
async def test_cancel_apply_not_poison(stop_at):
    async with World() as w:
        a = await w.founder("a"); b = await w.member(a, "b")
        await a.collection().put({"x": 1}, id="r")
        await carry(a, b)
        await b.collection().put({"y": 1}, id="r")
        c = await w.member(a, "c")
        for batch in await batches(a, c, CONTROL_SCOPE): await take(c, batch)
        (scope,) = shared_scopes(a, c)
        es = await single_entries(b, scope)
        for e in es:
            if e.runs[0].author == b.id: await take(c, e)
        assert c.engine.ingest.waiting() == 1
        for _ in range(3):
            p = [await c.engine.ingest.prepare(e) for e in es if e.runs[0].author == a.id][0]
            c.gate.hold_writes = True
            t = asyncio.ensure_future(c.engine.ingest.store(p))
            for k in range(stop_at):
                for _ in range(20): await asyncio.sleep(0)
                if k < stop_at - 1: c.gate.release()
            t.cancel()
            for _ in range(20): await asyncio.sleep(0)
            c.gate.hold_writes = False
            c.gate.release()
            for _ in range(20): await asyncio.sleep(0)
            c = await w.restart(c)
        for e in es:
            await take(c, e)
        assert c.engine.counters["ingest.poison"] == 0
        assert await c.values() == await b.values()

async def test_enroll_while_db_made():
    async with World() as w:
        a = await w.founder("a"); b = await w.member(a, "b")
        c = await w.founder("c")
        await admit(a, c)                     # b does not know c
        await b.collection().put({"x": 1}, id="r")   # makes db "memory": c is not granted
        await meet(a, b, c)
        await meet(a, b, c)
        assert await c.values() == {"memory/facts/r": {"x": 1}}

async def test_concurrent_open():
    async with World() as w:
        a = await w.founder("a"); b = await w.member(a, "b")
        await asyncio.gather(*(d.collection().put({"x": 1}, id=n+str(i)) for d, n in ((a, "a"), (b, "b")) for i in range(5)))
        await a.collection().put({"x": 1}, id="both")
        await b.collection().put({"y": 1}, id="both")
        await meet(a, b); await meet(a, b)
        assert await a.values() == await b.values()
        assert len(await a.values()) == 11
        (s,) = [s.tag for s in a.engine.ledger.scopes()]
        ka, kb = (d.engine.mesh.outlet_now(d.engine.ledger.scope(s)).heading.key_id for d in (a, b))
        assert ka == kb
        c = await w.member(b if False else a, "c")
        await meet(a, b, c)
        assert await c.values() == await b.values()

async def test_cancelled_open():
    async with World() as w:
        a = await w.founder("a"); b = await w.member(a, "b")
        a.gate.hold_writes = True
        t = asyncio.ensure_future(a.collection().put({"x": 1}, id="r"))
        for i in range(4):
            for _ in range(20): await asyncio.sleep(0)
            if i == 1: t.cancel()
            a.gate.release()
        for _ in range(20): await asyncio.sleep(0)
        a.gate.hold_writes = False; a.gate.release()
        for _ in range(20): await asyncio.sleep(0)
        await a.collection().put({"x": 2}, id="q")
        await meet(a, b)
        assert await a.values() == await b.values()
        reg = a.engine.mesh.registry.heads
        assert reg == b.engine.mesh.registry.heads
        a = await w.restart(a)
        assert reg == a.engine.mesh.registry.heads
