"""What the store costs: a table of times and sizes, measured through its public functions.

    python benchmarks/store.py [--folder DIR] [--records N]

The folder must be on a real disk for the times to mean anything. Records are 300 bytes of JSON in
6 fields, entries have 400 bytes of ciphertext, each with an index text: what a small record of a
conversation costs. Times are medians and means in microseconds of wall time; nothing is asserted.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from covey.storage.conditions import Condition, Operand, Test
from covey.storage.database import Database, create_database, open_database
from covey.storage.finding import Query, find
from covey.storage.log_rows import (
    NewEntry,
    append_entries,
    ensure_heading,
    ensure_log,
    ensure_scope,
    logs,
    read_run,
)
from covey.storage.record_queries import counts, list_records
from covey.storage.record_rows import (
    NewRecord,
    RecordUpdate,
    ensure_collection,
    existing,
    get,
    insert_records,
    update_records,
)
from covey.storage.store import Conn

KEY = bytes(range(32))
RANDOM = random.Random(7)
WORDS = ["".join(RANDOM.choices("abcdefghijklmnopqrstuvwxyz", k=3 + i % 8)) for i in range(4000)]
# Frequencies as in a language: the n-th word is n times rarer than the first.
WEIGHTS = [1 / (n + 1) for n in range(len(WORDS))]


class Content:
    """Rows of one log and one collection, made before the clock runs."""

    def __init__(self, count: int) -> None:
        texts = [" ".join(RANDOM.choices(WORDS, WEIGHTS, k=28))[:150] for _ in range(count)]
        self.values = [_json(number, text) for number, text in enumerate(texts)]
        self.texts = [f"alice t-{n % 100:04d} {text} garden" for n, text in enumerate(texts)]
        self.ids = [f"{RANDOM.getrandbits(64):016x}" for _ in range(count)]
        self.blobs = [os.urandom(400) for _ in range(count)]


def _json(number: int, text: str) -> str:
    value = {
        "author": "alice" if number % 2 else "assistant",
        "thread": f"t-{number % 100:04d}",
        "text": text,
        "time": 1_700_000_000_000 + number,
        "topic": "garden",
        "importance": 0.5 + number % 10 / 100,
    }
    raw = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return raw[:-1] + ',"pad":"' + "x" * max(0, 300 - len(raw) - 9) + '"}'


def commit_job(content: Content, first: int, count: int, signed: bool) -> Callable[[Conn], None]:
    """One change set of `count` entries of one record each: log, records, full text."""
    span = range(first, first + count)
    entries = [
        NewEntry(n + 1, 1, bytes(8), content.blobs[n], content.blobs[n][:32],
                 content.blobs[n][:64] if signed or n == span[-1] else None, 0, 0)
        for n in span
    ]  # fmt: skip
    records = [
        NewRecord(1, content.ids[n], content.values[n], n << 16, 1, n + 1, 0, None, None,
                  content.texts[n])
        for n in span
    ]  # fmt: skip

    def job(conn: Conn) -> None:
        append_entries(conn, 1, entries)
        insert_records(conn, records)

    return job


def prepare(conn: Conn) -> None:
    scope = ensure_scope(conn, b"t" * 16, "memory", 1)
    ensure_log(conn, scope, b"i" * 16, b"a" * 32)
    ensure_heading(conn, 1, b"k" * 32, b"h" * 32)
    ensure_collection(conn, scope, "notes")


def show(name: str, value: float, unit: str, note: str = "") -> None:
    print(f"{name:58s} {value:10.1f} {unit:8s} {note}", flush=True)


async def timed(call: Callable[[], Any], times: int) -> list[float]:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        await call()
        taken.append((time.perf_counter() - start) * 1e6)
    return taken


def probe_disk(folder: Path) -> None:
    """The floor under every durable commit: one page written over an old one, made durable."""
    with open(folder / "probe", "w+b", buffering=0) as file:
        file.write(bytes(4096 * 400))
        os.fsync(file.fileno())
        taken = []
        for number in range(400):
            start = time.perf_counter()
            os.pwrite(file.fileno(), bytes(4096), 4096 * number)
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - start) * 1e6)
    show("disk: 4 KiB over old blocks + fdatasync", statistics.median(taken), "us")


async def singles(database: Database, content: Content, start: int) -> int:
    count = 3000
    jobs = [commit_job(content, start + n, 1, True) for n in range(count)]
    taken = []
    for job in jobs:
        begin = time.perf_counter()
        await database.write(job)
        taken.append((time.perf_counter() - begin) * 1e6)
    spread = f"mean {statistics.mean(taken):.0f}, p99 {sorted(taken)[-count // 100]:.0f}"
    show("write: one record a commit, one after the other", statistics.median(taken), "us", spread)
    return start + count


async def together(database: Database, content: Content, start: int) -> int:
    count = 3000
    jobs = [commit_job(content, start + n, 1, True) for n in range(count)]
    begin = time.perf_counter()
    for at in range(0, count, 100):
        await asyncio.gather(*[database.write(job) for job in jobs[at : at + 100]])
    taken = (time.perf_counter() - begin) / count * 1e6
    show("write: one record a job, 100 waiting at once", taken, "us/row")
    return start + count


async def bulk(database: Database, content: Content, start: int, count: int, name: str) -> int:
    jobs = [commit_job(content, start + at, 1000, False) for at in range(0, count, 1000)]
    taken = []
    for job in jobs:
        begin = time.perf_counter()
        await database.write(job)
        taken.append((time.perf_counter() - begin) * 1e3)
    note = f"mean {statistics.mean(taken):.1f}, worst commit {max(taken):.0f} ms"
    show(f"write: 1,000 records a commit{name}", statistics.median(taken), "us/row", note)
    return start + count


async def updates(database: Database, content: Content) -> None:
    ids = content.ids[:1000]
    old = await database.read(lambda conn: existing(conn, 1, ids))
    rows = [
        RecordUpdate(old[i].record_no, old[i].value, 1, 1, 1, 0, b"d" * 400, None, "other words")
        for i in ids
    ]
    taken = []
    for row in rows[:500]:
        begin = time.perf_counter()
        await database.write(partial(update_records, rows=[row]))
        taken.append((time.perf_counter() - begin) * 1e6)
    show("write: one update a commit", statistics.median(taken), "us")
    begin = time.perf_counter()
    await database.write(lambda conn: update_records(conn, rows))
    show("write: 1,000 updates a commit", (time.perf_counter() - begin) * 1e3, "us/row")


async def reads(database: Database, content: Content, count: int) -> None:
    ids = content.ids[:count]
    taken = await timed(
        lambda: database.read(lambda conn: get(conn, "memory", "notes", RANDOM.choice(ids))), 500
    )
    show("read: one record by id", statistics.median(taken), "us")
    taken = await timed(
        lambda: database.read(lambda conn: read_run(conn, 1, 1000, count, 256 << 10)), 30
    )
    show("read: a run of 256 KiB of entries (636)", statistics.median(taken) / 636, "us/entry")
    taken = await timed(
        lambda: database.read(lambda conn: existing(conn, 1, [f"n{i}" for i in range(1000)])), 30
    )
    show("read: 1,000 ids that do not exist", statistics.median(taken) / 1000, "us/id")
    taken = await timed(
        lambda: database.read(lambda conn: list_records(conn, "memory", "notes", None, 1000)), 10
    )
    show("read: a page of 1,000 records in order of id", statistics.median(taken) / 1000, "us/row")
    taken = await timed(lambda: database.read(counts), 5)
    show(f"read: counts per database at {count:,} records", statistics.median(taken) / 1e3, "ms")
    where = (Condition("thread", Test.EQUAL, (Operand("text", "t-0042"),)),)
    taken = await timed(
        lambda: database.read(
            lambda conn: find(conn, "memory", "notes", Query(where, limit=50_000))
        ),
        3,
    )
    show(f"find: field = value over {count:,} records", statistics.median(taken) / 1e3, "ms")


async def searches(database: Database, count: int) -> None:
    def query(words: str, order: str | None = None) -> Callable[[Conn], Any]:
        fields = () if order is None else ((order, False),)
        return lambda conn: find(conn, "memory", "notes", Query((), words, fields, limit=20))

    common, rare = WORDS[0], WORDS[3500]
    for name, words, order in (
        ("the commonest word", common, None),
        ("a rare word", rare, None),
        ("two common words", f"{WORDS[0]} {WORDS[1]}", None),
        ("a phrase of two", f'"{WORDS[2]} {WORDS[3]}"', None),
        ("a beginning of one letter", "a", None),
        ("the word of every record", "garden", None),
        ("a common word, ordered by a field", WORDS[5], "time"),
    ):
        job = query(words, order)
        taken = await timed(partial(database.read, job), 20)
        worst = f"worst {max(taken) / 1e3:.1f}"
        show(f"text: {name}, 20 of {count:,}", statistics.median(taken) / 1e3, "ms", worst)


async def opening(path: Path) -> None:
    taken = []
    for _ in range(7):
        begin = time.perf_counter()
        database = await open_database(path, KEY, 0, True)
        heads = await database.read(logs)
        taken.append((time.perf_counter() - begin) * 1e3)
        assert heads
        await database.close()
    show("open: until the heads of all logs are known", statistics.median(taken), "ms")


async def run(folder: Path, records: int) -> None:
    probe_disk(folder)
    content = Content(records)
    path = folder / "store.db"
    database = await create_database(path, KEY, 0)
    await database.write(prepare)
    done = await singles(database, content, 0)
    done = await together(database, content, done)
    done = await bulk(database, content, done, 20_000, "")
    stop = threading.Event()
    spinning = threading.Thread(target=_spin, args=(stop,))
    for interval_s in (0.005, 0.0005):
        sys.setswitchinterval(interval_s)
        stop.clear()
        spinning = threading.Thread(target=_spin, args=(stop,))
        spinning.start()
        name = f", beside a busy thread, switch {interval_s * 1e3:g} ms"
        done = await bulk(database, content, done, 2_000, name)
        stop.set()
        spinning.join()
    sys.setswitchinterval(0.005)
    done = await bulk(database, content, done, records - done, f", up to {records:,}")
    await database.close()
    show("disk: a record, its entry, index and full text", path.stat().st_size / done, "bytes")
    await opening(path)
    database = await open_database(path, KEY, 0, True)
    await reads(database, content, done)
    await searches(database, done)
    await updates(database, content)
    await database.close()


def _spin(stop: threading.Event) -> None:
    while not stop.is_set():
        sum(range(1000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--records", type=int, default=100_000)
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=chosen.folder))
    try:
        asyncio.run(run(folder, chosen.records))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
