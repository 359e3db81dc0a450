"""SQL over many records: filling a table, taking in what changed, and grouping."""

import asyncio
import statistics
import time

import covey

from .budgets import Measure
from .homes import Home
from .memory import rss_kib
from .stage import Stage
from .workload import COLLECTION, DATABASE, fill, identified

CHANGES = 100
QUERIES = 10
KIB_PER_MIB = 1024
COUNT = f"SELECT count(*) FROM {DATABASE}.{COLLECTION}"
GROUPS = (
    f"SELECT thread, count(*) AS n, max(length(text)) FROM {DATABASE}.{COLLECTION}"
    " GROUP BY thread ORDER BY n DESC"
)


def measure_analytics(stage: Stage) -> list[Measure]:
    return asyncio.run(_measure(stage.homes("laptop")[0], stage.sizes.large))


async def _measure(home: Home, records: int) -> list[Measure]:
    await fill(home, records)
    async with covey.open(home.path, unlock=home.unlock) as node:
        messages = node.database(DATABASE).collection(COLLECTION)
        await node.sql("SELECT 1")
        before = rss_kib()
        filled = await _seconds(node, COUNT, records)
        memory = (rss_kib() - before) / KIB_PER_MIB
        grouped = statistics.median([await _seconds(node, GROUPS) for _ in range(QUERIES)])
        taken = []
        for turn in range(QUERIES):
            changed = [(identified(number)[0], {"turn": turn}) for number in range(CHANGES)]
            await messages.put_many(changed)
            taken.append(await _seconds(node, COUNT, records))
    note = f"{records:,} records"
    return [
        Measure("sql_filled", filled, f"{note}, {filled / records * 1e6:.0f} us each"),
        Measure("sql_memory", memory, f"{note}, of this process"),
        Measure("sql_grouped", grouped * 1e3, note),
        Measure("sql_followed", statistics.median(taken) * 1e3, f"{max(taken) * 1e3:.0f} worst"),
    ]


async def _seconds(node: covey.Node, query: str, counted: int | None = None) -> float:
    start = time.perf_counter()
    answer = await node.sql(query)
    took = time.perf_counter() - start
    if counted is not None and answer.rows != [(counted,)]:
        raise RuntimeError(f"{answer.rows} instead of {counted} records: not a measurement")
    return took
