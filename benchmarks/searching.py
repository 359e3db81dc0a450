"""Ranked search over many messages: what the best first costs, beside the newest first."""

import asyncio
import time

import covey

from .budgets import Measure
from .homes import Home
from .stage import Stage
from .workload import COLLECTION, DATABASE, WORDS, fill, queries

ASKED = 100


def measure_search(stage: Stage) -> list[Measure]:
    return asyncio.run(_measure(stage.homes("laptop")[0], stage.sizes.large))


async def _measure(home: Home, records: int) -> list[Measure]:
    await fill(home, records)
    async with covey.open(home.path, unlock=home.unlock) as node:
        database = node.database(DATABASE)
        messages = database.collection(COLLECTION)

        async def ask(text: str) -> float:
            start = time.perf_counter()
            hits = await messages.search(text)
            took = time.perf_counter() - start
            if any(not hit.snippet.marks for hit in hits):
                raise RuntimeError("a record was found and nothing in it: not a measurement")
            return took

        cold = await ask(WORDS[200])
        asked = sorted([await ask(text) for text in queries(ASKED)])
        common = await ask(WORDS[0])
    note = f"{records:,} records"
    return [
        Measure("ranked_cold", cold * 1e3, f"{note}, the first after opening"),
        Measure("ranked_p95", asked[ASKED * 95 // 100] * 1e3, f"{note}, one to three words"),
        Measure("ranked_common", common * 1e3, "the commonest word"),
    ]
