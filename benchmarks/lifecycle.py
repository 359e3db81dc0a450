"""Lifecycle: what packing the documents of old records saves, and what reading them costs then."""

import asyncio
import time
from random import Random
from statistics import median

import covey
from covey.storage import lifecycle_rows

from .budgets import Measure
from .homes import Home
from .stage import Stage
from .workload import COLLECTION, DATABASE, PUTS_PER_TRANSACTION, WORDS, identified

EDITS = 3
"""Of every record: a memory whose importance and text were revised."""
READS = 300
NOTE = "{:,} records of 300 B, each edited {} times"


def measure_lifecycle(stage: Stage) -> list[Measure]:
    """One store, before and after all its documents became warm and then cold."""
    (home,) = stage.homes("laptop")
    return asyncio.run(_measure(home, stage.sizes.small))


async def _measure(home: Home, count: int) -> list[Measure]:
    note = NOTE.format(count, EDITS)
    async with covey.open(home.path, unlock=home.unlock) as node:
        await _fill(node, count)
        plain = await _documents(node)
        free_before, hot_ms = await _free(node), await _edit_ms(node, count)
        warm, _ = await _pack(node, warm_days=0, cold_days=30)
        cold, took_s = await _pack(node, warm_days=0, cold_days=0)
        freed = await _free(node) - free_before
        cold_ms = await _edit_ms(node, count)
    return [
        Measure("warm_saved", 100 * (1 - warm / plain), note),
        Measure("cold_saved", 100 * (1 - cold / plain), f"{note}; {plain / count:,.0f} B each"),
        Measure("cold_freed", freed / 2**20, "pages that the store uses again"),
        Measure("cold_rate", count / took_s, "from warm"),
        Measure("edit_hot", hot_ms, "not on the shelf"),
        Measure("edit_cold", cold_ms, "not on the shelf"),
    ]


async def _fill(node: covey.Node, count: int) -> None:
    records, random = node.database(DATABASE).collection(COLLECTION), Random(3)
    for edit in range(EDITS + 1):
        for start in range(0, count, PUTS_PER_TRANSACTION):
            values = []
            for number in range(start, min(count, start + PUTS_PER_TRANSACTION)):
                id, value = identified(number)
                if edit:
                    text = f"{value['text'][:150]} {' '.join(random.choices(WORDS, k=6))}"
                    value = {"importance": round(random.random(), 3), "text": text}
                values.append((id, value))
            await records.put_many(values)


async def _documents(node: covey.Node) -> int:
    """Bytes of all documents, packed or not."""
    sizes = await node.engine.database.read(lifecycle_rows.collection_sizes)
    dictionaries = (await node.engine.database.read(lifecycle_rows.store_size)).dictionaries
    return sum(each.hot + each.packed for each in sizes) + dictionaries


async def _free(node: covey.Node) -> int:
    return (await node.engine.database.read(lifecycle_rows.store_size)).free


async def _pack(node: covey.Node, *, warm_days: int, cold_days: int) -> tuple[int, float]:
    """What documents take after it, and the seconds that packing took."""
    lifecycle = node.engine.lifecycle
    await lifecycle.declare(DATABASE, COLLECTION, warm_days=warm_days, cold_days=cold_days)
    started = time.perf_counter()
    await lifecycle.sweep()
    return await _documents(node), time.perf_counter() - started


async def _edit_ms(node: covey.Node, count: int) -> float:
    """The median time to load the state of a record that is to be changed."""
    scopes = [scope.number for scope in node.engine.ledger.scopes_of(DATABASE)]
    shelf, took = node.engine.shelf, []
    for number in Random(5).sample(range(count), min(READS, count)):
        name = (COLLECTION, identified(number)[0])
        shelf.drop([(scope, *name) for scope in scopes])
        started = time.perf_counter()
        with await shelf.load(scopes, [name]):
            took.append(time.perf_counter() - started)
    return median(took) * 1000
