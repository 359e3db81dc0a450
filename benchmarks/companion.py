"""The companion of `examples/` with a life behind it: what a person waits for.

`measure_companion` fills a home with the records of all eight domains; a process of its own, this
module run as a program, opens it and asks. It uses the example as it is: what it measures is the
store with repositories, codecs and vectors on top. Vectors have 256 numbers.

    python -m benchmarks.companion HOME KEY_FILE SEED ROUNDS
"""

import asyncio
import importlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import covey

from .budgets import Measure
from .homes import Home
from .stage import Stage
from .workload import WORDS

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "companion" / "src"
NOW_MS = 1_773_000_000_000
CONVERSATION_MESSAGES = 200
DOCUMENT_CHUNKS = 150
PERSONAS = 200
PERSONAS_ACTIVE = 3
LINKS_EACH = 3
WORDS_SAID = 15
WRITES_MAX = 500
"""In one change set, which holds about a megabyte."""

Item = tuple[str, str, Any]
"""Domain, collection, and an object of the example."""


def example(module: str) -> Any:
    """A module of the example project, which is not installed."""
    if str(EXAMPLE) not in sys.path:
        sys.path.insert(0, str(EXAMPLE))
    return importlib.import_module(f"companion.{module}")


def measure_companion(stage: Stage) -> list[Measure]:
    """Everything that V6 and L7 name, on `large` records."""
    (home,) = stage.homes("laptop")
    written = asyncio.run(_fill(home, stage.sizes.large))
    told = [_told_by_process(home, seed, stage.sizes.rounds * 3) for seed in (1, 2, 3)]
    measures = []
    for name in told[0]["ms"]:
        cold = [each["cold_ms"][name] for each in told]
        warm = [ms for each in told for ms in each["ms"][name]]
        note = f"first {max(cold):.1f}, worst {max(warm):.1f}; {written:,} records"
        measures.append(Measure(f"companion_{name}", statistics.median(warm), note))
    started = [each["start_ms"] for each in told]
    note = f"worst {max(started):.0f} ms; from the call of open to the first context"
    return [*measures, Measure("companion_start", statistics.median(started) / 1e3, note)]


def _told_by_process(home: Home, seed: int, rounds: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.companion", home.path, home.key_file, seed, rounds]
    done = subprocess.run([str(each) for each in command], stdout=subprocess.PIPE, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


# The life ---------------------------------------------------------------------------------------


def items(count: int) -> Iterator[Item]:
    """At least `count` records of all domains; two thirds are messages. The same every time."""
    domains, random = example("domains"), Random(5)
    embedding = example("embedding").HashingEmbedding()

    def said() -> tuple[str, dict[str, Any]]:
        text = " ".join(random.choices(WORDS, k=WORDS_SAID))
        (vector,) = embedding.embed([text])
        return text, {embedding.model: covey.Vector(vector)}

    for number in range(PERSONAS):
        active = number < PERSONAS_ACTIVE
        yield "persona", "personas", domains.Persona(f"p{number}", active, id=str(number))
    yield from _rest(domains, count // 50)
    for number in range(count * 2 // 3 // CONVERSATION_MESSAGES):
        talk = f"c{number:06d}"
        at_ms = NOW_MS + number * 1_000_000
        yield "conversation", "conversations", domains.Conversation("talk", at_ms, id=talk)
        for each in range(CONVERSATION_MESSAGES):
            text, vectors = said()
            author = ("you", "companion")[each % 2]
            message = domains.Message(
                talk, author, text, at_ms + each, embedding=vectors, id=f"{talk}-{each}"
            )
            yield "conversation", "messages", message
    for number in range(count // 10 // DOCUMENT_CHUNKS + 1):
        document = f"d{number:06d}"
        yield "knowledge", "documents", domains.Document("book", NOW_MS, id=document)
        for each in range(DOCUMENT_CHUNKS):
            text, vectors = said()
            chunk = domains.Chunk(document, each, text, vectors, id=f"{document}-{each}")
            yield "knowledge", "chunks", chunk
    yield from _memories(domains, said, count // 10)


def _rest(domains: Any, count: int) -> Iterator[Item]:
    for number in range(count // 5):
        id = str(number)
        yield "identity", "people", domains.Person(f"person {number}", id=id)
        yield "cognition", "tasks", domains.Task(f"task {number}", id=id)
        yield "provenance", "sources", domains.Source("document", "d000000", NOW_MS, id=id)
        yield "system", "settings", domains.Setting("on", id=id)
        yield "system", "metrics", domains.Metric("messages", number, NOW_MS, id=id)


def _memories(domains: Any, said: Callable[[], Any], count: int) -> Iterator[Item]:
    """Each is linked to three others of its kind: depth 3 reaches 39."""
    link, kinds = example("links").link, ("semantic", "episodic", "procedural", "working")
    for number in range(count // 2):
        kind = kinds[number % 4]
        text, vectors = said()
        make = domains.Skill if kind == "procedural" else domains.Memory
        memory = make(text, NOW_MS, embedding=vectors, id=str(number))
        yield "memory", kind, memory
        for each in range(1, LINKS_EACH + 1):
            target = (number * LINKS_EACH + each) * 4 + number % 4
            place = f"memory/{kind}/{target % (count // 2)}"
            yield "memory", "links", link(f"memory/{kind}/{number}", "like", place)


async def _fill(home: Home, count: int) -> int:
    written = 0
    async with covey.open(home.path, unlock=home.unlock) as node:
        records = example("records").Records.of_node(node)
        await records.install(node)  # Its indexes are declared by its schemas.
        coming = items(count)
        while batch := list(islice(coming, WRITES_MAX)):
            for domain in dict.fromkeys(domain for domain, _, _ in batch):
                mine = [(name, item) for each, name, item in batch if each == domain]
                repositories = {name: records.of(domain, name) for name, _ in mine}
                async with covey.UnitOfWork(*repositories.values()) as work:
                    for name, item in mine:
                        work.put(repositories[name], item)
            written += len(batch)
    return written


# Asking -----------------------------------------------------------------------------------------


async def _ask(home: str, key_file: str, seed: int, rounds: int) -> dict[str, Any]:
    random, began = Random(seed), time.perf_counter()
    async with covey.open(home, unlock=covey.KeyFile(key_file)) as node:
        records = example("records").Records.of_node(node)
        embedding = example("embedding").HashingEmbedding()
        await records.install(node)
        await records.declare(node, embedding)
        talks = example("conversations").Conversations(records, embedding)
        library = example("library").Library(records, embedding)
        memories = example("memories").Memories(records, embedding)
        (newest,) = await talks.care.newest(1)
        await talks.context(newest.id)
        start_ms = (time.perf_counter() - began) * 1e3
        count = int(newest.id[1:]) + 1

        def talk() -> str:
            return f"c{random.randrange(count):06d}"

        def words() -> str:
            return " ".join(random.choices(WORDS, k=3))

        async def recall() -> Any:
            return await library.search(
                words(), chunks={"document": "d000000"}, messages={"conversation": talk()}
            )

        works: dict[str, Callable[[], Awaitable[Any]]] = {
            "context": lambda: talks.context(talk()),
            "recent": lambda: talks.context(talk(), 50),
            "personas": lambda: records.of("persona", "personas").find({"active": True}),
            "text": lambda: talks.messages.repository.find(text=random.choice(WORDS), limit=20),
            "recall": recall,
            "question": lambda: memories.recall(words(), NOW_MS),
            "walk": lambda: records.traverse(f"memory/semantic/{random.randrange(30) * 4}", 3),
        }
        told = {name: [await _timed(work) for _ in range(rounds)] for name, work in works.items()}
        bus = covey.Bus()
        talks.follow(bus)
        async with bus:
            told["hot"] = [await _timed(lambda: talks.context(newest.id)) for _ in range(rounds)]
    cold = {name: taken.pop(0) for name, taken in told.items()}
    return {"start_ms": start_ms, "cold_ms": cold, "ms": told}


async def _timed(work: Callable[[], Awaitable[Any]]) -> float:
    """Milliseconds. An empty answer is not one that was measured."""
    began = time.perf_counter()
    answer = await work()
    taken = (time.perf_counter() - began) * 1e3
    if not isinstance(answer, list):
        raise RuntimeError(f"no answer but {answer!r:.60}")
    return taken


if __name__ == "__main__":
    home_path, key, seed_said, rounds_said = sys.argv[1:]
    print(json.dumps(asyncio.run(_ask(home_path, key, int(seed_said), int(rounds_said)))))
