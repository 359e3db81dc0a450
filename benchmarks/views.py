"""Views and links over many messages: what making them costs, and what reading them does.

All messages are a tree in which each links to ten, so that three steps from
the root reach 1,110 records.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import covey
from covey.node.data.message_views import message_views

from .budgets import Measure
from .homes import Home
from .stage import Stage
from .workload import COLLECTION, DATABASE, fill, identified

FAN_OUT = 10
NEWEST = 50
READS = 30


def measure_views(stage: Stage) -> list[Measure]:
    return asyncio.run(_measure(stage.homes("laptop")[0], stage.sizes.large))


async def _measure(home: Home, records: int) -> list[Measure]:
    await fill(home, records, lambda number: _linked(number, records))
    return [*await _views(home, records), *await _links(home, records)]


async def _views(home: Home, records: int) -> list[Measure]:
    before = home.store_bytes()
    async with covey.open(home.path, unlock=home.unlock) as node:
        views = message_views(node.engine, DATABASE, COLLECTION, reader="mara")
        made = await _seconds(views.threads.count)
        rebuilt = []

        async def rebuild() -> None:
            rebuilt.append(await views.threads.rebuild())

        again = await _seconds(rebuild)
        if rebuilt[0].before != rebuilt[0].after:
            raise RuntimeError("a replay gave other rows: not a measurement")
        await views.unread.count()
    size = (home.store_bytes() - before) / before * 100
    async with covey.open(home.path, unlock=home.unlock) as node:
        views = message_views(node.engine, DATABASE, COLLECTION, reader="mara")
        messages = node.database(DATABASE).collection(COLLECTION)

        async def newest() -> None:
            found = await views.threads.rows(["thread-5"], descending=True, limit=NEWEST)
            assert len(found) == min(NEWEST, await views.threads.count(["thread-5"]))

        cold = await _seconds(newest)
        warm = statistics.median([await _seconds(newest) for _ in range(READS)])
        unread = statistics.median(
            [await _seconds(lambda: views.unread.groups(1)) for _ in range(5)]
        )
        followed = []
        for number in range(READS):
            await messages.put({"read": True}, id=f"m{number:07d}")
            followed.append(await _seconds(views.unread.count))
    note = f"{records:,} records"
    each = f"{note}, {made / records * 1e6:.0f} us each"
    return [
        Measure("view_made", made, each),
        Measure("view_replayed", again, "the same bytes"),
        Measure("view_newest_cold", cold * 1e3, f"{note}, the first after opening"),
        Measure("view_newest", warm * 1e3, note),
        Measure("view_unread", unread * 1e3, f"{note}, 97 threads"),
        Measure(
            "view_followed", statistics.median(followed) * 1e3, f"{max(followed) * 1e3:.0f} worst"
        ),
        Measure("view_store", size, "of the store without them, two views"),
    ]


async def _links(home: Home, records: int) -> list[Measure]:
    async with covey.open(home.path, unlock=home.unlock) as node:
        reached: list[int] = []

        async def walk(depth: int = 3, back: bool = False, start: int = 0) -> None:
            place = (DATABASE, COLLECTION, f"m{start:07d}")
            found = await node.traverse(place, depth=depth, back=back, limit=100_000)
            reached.append(len(found.found) - 1)

        cold = await _seconds(walk)
        warm = statistics.median([await _seconds(walk) for _ in range(5)])
        first = await _seconds(lambda: walk(1, True, 1_000))
        later = statistics.median(
            [await _seconds(lambda: walk(3, True, 1_000)) for _ in range(READS)]
        )
    note = f"{reached[0]:,} of {records:,} records"
    return [
        Measure("walk_cold", cold, f"{note}, the first after opening"),
        Measure("walk", warm, note),
        Measure("walk_back_first", first, f"{records:,} records are read for it"),
        Measure("walk_back", later * 1e3, f"{reached[-1]} reached"),
    ]


def _linked(number: int, records: int) -> tuple[str, dict[str, Any]]:
    """A message as elsewhere, and links to its children in a tree of all messages."""
    id, fields = identified(number)
    children = range(number * FAN_OUT + 1, min(number * FAN_OUT + FAN_OUT + 1, records))
    if children:
        fields["about"] = [covey.link_to(COLLECTION, f"m{child:07d}") for child in children]
    return id, fields


async def _seconds(ask: Callable[[], Awaitable[Any]]) -> float:
    start = time.perf_counter()
    await ask()
    return time.perf_counter() - start
