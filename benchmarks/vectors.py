"""Search by meaning on many vectors: how much is found, how fast, and what it takes.

`python -m benchmarks.vectors HOME KEY_FILE COUNT` fills a home, searches it, and prints one line of
JSON; it is a process of its own, so that what it holds in memory is the node's.

Vectors are made as models make them: around a few hundred subjects, and with few degrees of
freedom. Those that are asked for are made the same way, and none of them is a record.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import covey
from covey.node.api import Collection
from covey.node.data.vectors import Nearest
from covey.storage.store import Conn

from .budgets import Measure
from .memory import rss_kib
from .stage import Stage

DIMENSION = 384
SUBJECTS = 300
FREEDOM = 24
QUERIES = 100
FOUND = 10
BATCH = 500
FILTERS = {"half": {"half": True}, "one of 20": {"twentieth": 7}, "one of 1,000": {"thousandth": 7}}
KIB = 1024


def measure_vectors(stage: Stage) -> list[Measure]:
    """All of them on one home."""
    count = stage.sizes.vectors
    (home,) = stage.homes("laptop")
    command = [sys.executable, "-m", "benchmarks.vectors", str(home.path), str(home.key_file)]
    done = subprocess.run([*command, str(count)], check=True, stdout=subprocess.PIPE, text=True)
    told: dict[str, Any] = json.loads(done.stdout)
    note = f"{count:,} vectors of {DIMENSION}"
    return [
        Measure(
            "vectors_recall", told["recall"], f"{note}; worst query {told['recall_worst']:.1f}"
        ),
        Measure("vectors_taken", told["taken_s"] / count * 1e6, note),
        Measure("vectors_disk", told["disk_kib"] / count, f"{note}; numbers are 1.5 KiB"),
        Measure("vectors_warm", told["warm_s"], note),
        Measure("vectors_memory", told["grown_kib"] / count, f"{note}; rows are 1.5 KiB"),
        Measure("vectors_cold", told["cold_ms"], f"{note}, by sketches"),
        Measure(
            "vectors_cold_filtered", told["cold_filtered_ms"], f"{note}, every row that passes"
        ),
        Measure(
            "vectors_found", told["found_ms"], f"{note}, worst {told['found_worst_ms']:.0f} ms"
        ),
        Measure("vectors_filtered", max(told["filtered_ms"].values()), _each(told["filtered_ms"])),
    ]


def _each(taken: dict[str, float]) -> str:
    return "medians: " + ", ".join(f"{name} {ms:.0f} ms" for name, ms in taken.items())


def vectors(count: int, seed: int) -> Any:
    """`count` vectors of float32, as embeddings are distributed."""
    import numpy as np

    shape, random = np.random.default_rng(1), np.random.default_rng(seed)
    subjects = shape.standard_normal((SUBJECTS, DIMENSION))
    ways = shape.standard_normal((FREEDOM, DIMENSION))
    made = 0.7 * subjects[random.integers(0, SUBJECTS, count)]
    made += 0.35 * random.standard_normal((count, FREEDOM)) @ ways
    made += 0.15 * random.standard_normal((count, DIMENSION))
    return made.astype("<f4")


async def _fill(facts: Collection, held: Any) -> None:
    for first in range(0, len(held), BATCH):
        await facts.put_many(
            [
                (
                    f"r{n}",
                    {
                        "text": f"what was said at {n}",
                        "half": n % 2 == 0,
                        "twentieth": n % 20,
                        "thousandth": n % 1_000,
                        "embedding": covey.embedding("bench", "1", held[n].tobytes()),
                    },
                )
                for n in range(first, min(first + BATCH, len(held)))
            ]
        )


async def _asked(
    facts: Collection, asked: Any, **options: Any
) -> tuple[list[float], list[Nearest]]:
    taken, found = [], []
    for row in asked:
        started = time.perf_counter()
        found.append(await facts.nearest(row.tolist(), k=FOUND, **options))
        taken.append((time.perf_counter() - started) * 1e3)
    return taken, found


def _recall(held: Any, asked: Any, found: list[Nearest]) -> list[float]:
    """Of each query: how many of the really nearest were found, from 0 to 1."""
    import numpy as np

    rows = held / np.linalg.norm(held, axis=1, keepdims=True)
    shares = []
    for row, answer in zip(asked, found, strict=True):
        exact = {f"r{n}" for n in np.argsort(-(rows @ row))[:FOUND].tolist()}
        shares.append(len(exact & {hit.id for hit in answer}) / FOUND)
    return shares


def _store_bytes(conn: Conn) -> int:
    pages, size, free = (
        int(conn.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "page_size", "freelist_count")
    )
    return (pages - free) * size


async def _measure(home: Path, key: Path, count: int) -> dict[str, Any]:
    held, asked = vectors(count, 2), vectors(QUERIES, 3)
    told: dict[str, Any] = {}
    async with covey.open(home, unlock=covey.KeyFile(key)) as node:
        await _fill(node.database("bench").collection("facts"), held)
    async with covey.open(home, unlock=covey.KeyFile(key)) as node:
        facts = node.database("bench").collection("facts")
        node.engine.vectors.open_index, open_index = None, node.engine.vectors.open_index
        await facts.vectors("embedding", model="bench", version="1", dimension=DIMENSION)
        size = await node.engine.database.read(_store_bytes)
        started = time.perf_counter()
        await node.engine.vectors.settle()
        told["taken_s"] = time.perf_counter() - started
        told["disk_kib"] = (await node.engine.database.read(_store_bytes) - size) / KIB
        cold, _ = await _asked(facts, asked[:10])
        told["cold_ms"] = statistics.median(cold)
        filtered, _ = await _asked(facts, asked[:10], where=FILTERS["one of 20"])
        told["cold_filtered_ms"] = statistics.median(filtered)
        import chromadb  # noqa: F401 - what the library itself takes is no cost of a vector

        before = rss_kib()
        node.engine.vectors.open_index = open_index
        started = time.perf_counter()
        await node.engine.vectors.settle()
        told["warm_s"] = time.perf_counter() - started
        told["grown_kib"] = rss_kib() - before
        taken, found = await _asked(facts, asked)
        if any(answer.is_exact for answer in found):
            raise RuntimeError(f"not by the index ({found[0].index_failure}): not a measurement")
        told["found_ms"], told["found_worst_ms"] = statistics.median(taken), max(taken)
        shares = _recall(held, asked, found)
        told["recall"], told["recall_worst"] = statistics.mean(shares), min(shares)
        told["filtered_ms"] = {
            name: statistics.median((await _asked(facts, asked[:10], where=where))[0])
            for name, where in FILTERS.items()
        }
    return told


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measure(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))))
