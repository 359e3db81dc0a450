"""A cache: putting, getting and missing small values, and the room that a full one takes."""

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable

import covey

from .budgets import Measure
from .homes import Home
from .stage import Stage

VALUE_BYTES = 1_000
VALUES = 5_000
LARGE_BYTES = 200_000
BOUND_MIB = 64
TIMES_OVER = 3
"""How often as much as the bound is put."""
MIB = 1 << 20


def measure_cache(stage: Stage) -> list[Measure]:
    return asyncio.run(_measure(stage.homes("laptop")[0]))


async def _measure(home: Home) -> list[Measure]:
    dice = random.Random(1)
    value = {"text": "x" * VALUE_BYTES}
    async with covey.open(home.path, unlock=home.unlock) as node:
        cache = node.cache("answers")
        await cache.put("first", value)
        put = await _each_us(lambda key: cache.put(key, value))
        hit = await _each_us(cache.get)
        missed = await _each_us(lambda key: cache.get("no" + key))
        if await cache.stats() != (VALUES + 1, (await cache.stats()).bytes, VALUES, VALUES):
            raise RuntimeError(f"{await cache.stats()}: not a measurement")
        await node.engine.scheduling.change_settings({"cache_mib": BOUND_MIB})
        most, slowest = 0, 0.0
        count = BOUND_MIB * MIB // LARGE_BYTES * TIMES_OVER
        start = time.perf_counter()
        for number in range(count):
            large, begun = dice.randbytes(LARGE_BYTES), time.perf_counter()
            await cache.put(f"large {number}", large)
            slowest = max(slowest, time.perf_counter() - begun)
            if number % 20 == 0:
                most = max(most, await node.engine.caches.disk_bytes())
        took = time.perf_counter() - start
    start = time.perf_counter()
    async with covey.open(home.path, unlock=home.unlock) as node:
        opened = time.perf_counter()
        values = (await node.cache("answers").stats()).values
        first = time.perf_counter() - opened
    note = f"{VALUES:,} values of {VALUE_BYTES:,} bytes"
    return [
        Measure("cache_put", put, note),
        Measure("cache_hit", hit, note),
        Measure("cache_miss", missed, note),
        Measure("cache_full", count * LARGE_BYTES / MIB / took, f"slowest {slowest * 1e3:.0f} ms"),
        Measure("cache_room", most / (BOUND_MIB * MIB), f"at most, of {BOUND_MIB} MiB"),
        Measure("cache_open", first * 1e3, f"{values:,} values"),
    ]


async def _each_us(call: Callable[[str], Awaitable[object]]) -> float:
    taken = []
    for number in range(VALUES):
        start = time.perf_counter()
        await call(f"{number}")
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1e6
