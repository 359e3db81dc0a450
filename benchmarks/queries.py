"""Queries over a large collection: cold, warm and from what was kept, with and without an index.

One home with the records of `workload.py` is filled and asked through the Python API. Cold is
the first question after the store was opened, for which pages are read and decrypted; warm is the
same with other values; kept is one that was asked before.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import covey
from covey.node.api import Collection

from .budgets import Measure
from .homes import Home
from .stage import Stage
from .workload import COLLECTION, DATABASE, WORDS, identified

BATCH = 500
ROUNDS = 50
INDEXES = (("thread", "at"), ("author", "importance"))

Ask = Callable[[Collection, int], Awaitable[Any]]


def _recent(records: Collection, number: int) -> Awaitable[Any]:
    """The fifty newest messages of a thread."""
    return records.find({"thread": f"thread-{number % 97}"}, order="-at", limit=50)


def _important(records: Collection, number: int) -> Awaitable[Any]:
    """The twenty most important ones of an author, below a value."""
    where = {"author": "mara", "importance": {"<": 0.5 + number / 1000}}
    return records.find(where, order="-importance", limit=20)


def _words(records: Collection, number: int) -> Awaitable[Any]:
    return records.find(text=WORDS[200 + number], limit=20)


def measure_queries(stage: Stage) -> list[Measure]:
    count = stage.sizes.large
    (home,) = stage.homes("laptop")
    return asyncio.run(_measure(home, count))


async def _measure(home: Home, count: int) -> list[Measure]:
    async with covey.open(home.path, unlock=home.unlock) as node:
        records = node.database(DATABASE).collection(COLLECTION)
        for first in range(0, count, BATCH):
            await records.put_many([identified(n) for n in range(first, first + BATCH)])
        walked = [await _timed(_recent, records, number) for number in range(5)]
    before = home.store_bytes()
    async with covey.open(home.path, unlock=home.unlock) as node:
        records = node.database(DATABASE).collection(COLLECTION)
        started = time.perf_counter()
        for fields in INDEXES:
            await records.index(*fields)
        filled = time.perf_counter() - started
    grown = (home.store_bytes() - before) / before / len(INDEXES)
    measures = [
        Measure("query_walked", statistics.median(walked), f"{count:,} records, no index"),
        Measure("index_bytes", 100 * grown, "of the store, each of two indexes of two fields"),
        Measure("index_filled", filled / len(INDEXES), f"{count:,} records"),
    ]
    for name, ask in (("recent", _recent), ("filtered", _important), ("words", _words)):
        measures += await _asked(home, name, ask)
    return measures


async def _asked(home: Home, name: str, ask: Ask) -> list[Measure]:
    async with covey.open(home.path, unlock=home.unlock) as node:
        records = node.database(DATABASE).collection(COLLECTION)
        cold = await _timed(ask, records, 0)
        warm = [await _timed(ask, records, number) for number in range(1, ROUNDS)]
        kept = [await _timed(ask, records, number) for number in range(1, ROUNDS)]
    worst = f"worst {max(warm):.1f}"
    return [
        Measure(f"query_{name}_cold", cold),
        Measure(f"query_{name}", statistics.median(warm), worst),
        Measure(f"query_{name}_kept", statistics.median(kept)),
    ]


async def _timed(ask: Ask, records: Collection, number: int) -> float:
    """Milliseconds of one question, which must have an answer."""
    started = time.perf_counter()
    found = await ask(records, number)
    taken = (time.perf_counter() - started) * 1000
    if not found:
        raise RuntimeError("a question without an answer is not a measurement")
    return taken
