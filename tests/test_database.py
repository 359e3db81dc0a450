"""The encrypted store on disk: what survives, what is refused, and what it costs in commits."""

import asyncio
import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from covey.storage import commit_queue, connector, database
from covey.storage.database import Database, create_database, open_database
from covey.storage.errors import (
    HomeBusyError,
    HomeExistsError,
    NotInitialisedError,
    PlaintextStoreError,
    ReadOnlyHomeError,
    StorageError,
    StoreDamagedError,
    StoreFullError,
    WrongKeyError,
)
from covey.storage.reserve import Reserve
from covey.storage.store import Conn

from .store_rows import KEY, a_collection, find, new_store, put, reopened, setting, value_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Database]:
    async with await new_store(path) as opened:
        yield opened


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs the rights of root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def filler(number: int) -> Callable[[Conn], None]:
    return setting(f"filler-{number}", os.urandom(400_000))


def noting(order: list[int], number: int) -> Callable[[Conn], None]:
    return lambda conn: order.append(number)


async def fill(store: Database) -> int:
    """Write until the disk is full; how many writes were acknowledged."""
    for number in range(1000):
        try:
            await store.write(filler(number))
        except StoreFullError:
            return number
    raise AssertionError("the disk never became full")


async def traced(store: Database) -> list[str]:
    """The statements that the writer runs from now on."""
    statements: list[str] = []

    def job(conn: Any) -> None:
        conn.set_trace_callback(statements.append)

    await store.write(job)
    await store.read(lambda conn: None)
    statements.clear()
    return statements


async def test_a_write_is_acknowledged_only_after_its_commit(store: Database) -> None:
    """An acknowledgement that comes first is a lie on the day the power fails."""
    statements = await traced(store)
    seen: list[list[str]] = []
    future = store.write(setting("a"))
    future.add_done_callback(lambda _: seen.append(list(statements)))

    await future
    await asyncio.sleep(0)

    assert [name for name in seen[0] if name in ("BEGIN IMMEDIATE", "COMMIT")] == [
        "BEGIN IMMEDIATE",
        "COMMIT",
    ]


async def test_every_commit_waits_for_the_disk(store: Database) -> None:
    """In any other mode a commit can be lost with the power, and nobody was told."""

    def settings(conn: Conn) -> list[Any]:
        names = ("synchronous", "journal_mode", "secure_delete", "temp_store", "trusted_schema")
        return [conn.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert await store.write(settings) == [2, "wal", 1, 2, 0]


async def test_writes_that_wait_together_share_one_commit(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait for the disk costs ten times what the work does."""
    monkeypatch.setattr("covey.storage.group_commit.GROUP_MS_MAX", 60_000)
    statements = await traced(store)
    jobs = [store.write(setting(str(n))) for n in range(100)]

    await asyncio.gather(*jobs)

    assert statements.count("COMMIT") == 1


async def test_a_lone_write_makes_no_savepoint(store: Database) -> None:
    """The commonest case pays for nothing it does not need."""
    statements = await traced(store)

    await store.write(setting("a"))

    assert "SAVEPOINT job" not in statements


async def test_a_large_group_is_split_into_several_commits(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of ten thousand callers must not wait for the last one's work."""
    monkeypatch.setattr(commit_queue, "GROUP_JOBS_MAX", 10)
    monkeypatch.setattr("covey.storage.group_commit.GROUP_MS_MAX", 60_000)
    statements = await traced(store)
    order: list[int] = []
    jobs = [store.write(noting(order, n)) for n in range(25)]

    await asyncio.gather(*jobs)

    assert statements.count("COMMIT") == 3
    assert order == list(range(25))


async def test_a_slow_group_ends_early_and_the_rest_keeps_its_order(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One heavy job must not hold back the acknowledgement of those before it."""
    monkeypatch.setattr("covey.storage.group_commit.GROUP_MS_MAX", 0)
    monkeypatch.setattr(commit_queue, "GROUP_JOBS_MAX", 3)
    statements = await traced(store)
    order: list[int] = []
    jobs = [store.write(noting(order, n)) for n in range(8)]

    await asyncio.gather(*jobs)

    assert statements.count("COMMIT") == 8
    assert order == list(range(8))


async def test_a_group_that_breaks_as_a_whole_leaves_no_caller_waiting(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect must be seen as an error, and not as a program that hangs."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(database, "run_group", broken)
        jobs = [store.write(setting(str(n))) for n in range(3)]
        outcomes = await asyncio.wait_for(asyncio.gather(*jobs, return_exceptions=True), 30)
    await store.write(setting("after"))

    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 3


async def test_a_job_runs_though_its_caller_stopped_waiting(store: Database) -> None:
    """Its place in a log is taken already: left out, all that follow would hang in the air."""
    jobs = [store.write(setting(str(n))) for n in range(3)]
    jobs[1].cancel()

    await asyncio.gather(*jobs, return_exceptions=True)

    assert await store.read(value_of("1")) == b"1"


async def test_closing_finishes_what_is_queued_and_leaves_no_thread_and_no_log(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that cannot end, or a change that waits in memory, is found too late."""
    monkeypatch.setattr(commit_queue, "GROUP_JOBS_MAX", 1)
    before = threading.active_count()
    store = await new_store(path)
    queued = [store.write(setting(str(n))) for n in range(5)]

    await store.close()
    await store.close()

    assert [job.done() and job.exception() for job in queued] == [None] * 5
    assert threading.active_count() == before
    assert [found.name for found in path.parent.iterdir()] == ["store.db"]


LEAKING = """
import asyncio, sys
from pathlib import Path
from covey.storage.database import open_database
from covey.storage.meta_rows import set_meta

async def main(path):
    store = await open_database(path, bytes(range(32)), 0, True)
    await store.write(lambda conn: set_meta(conn, "a", b"1"))
    raise SystemExit(3)

asyncio.run(main(Path(sys.argv[1])))
"""


async def test_a_process_that_never_closes_its_store_still_ends(path: Path) -> None:
    """A command that fails halfway must give the prompt back, and lose nothing."""
    await (await new_store(path)).close()

    ended = subprocess.run([sys.executable, "-c", LEAKING, str(path)], timeout=60, check=False)

    assert ended.returncode == 3
    async with await reopened(path) as store:
        assert await store.read(value_of("a")) == b"1"


async def test_what_was_written_is_there_after_reopening(path: Path) -> None:
    """The least a store must do."""
    async with await new_store(path) as store:
        await store.write(setting("a"))

    async with await reopened(path) as store:
        assert await store.read(value_of("a")) == b"1"


async def test_a_job_crosses_into_the_thread_of_the_library_once(store: Database) -> None:
    """Pins the private queue of aiosqlite that this rests on; a new release must show it here."""
    threads: list[str] = []
    writer = store._writer
    assert isinstance(writer, aiosqlite.Connection)

    await store.write(lambda conn: threads.append(threading.current_thread().name))

    assert threads == [writer._thread.name]
    assert writer._tx.qsize() == 0


async def test_the_library_logs_no_argument_of_a_job(
    store: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """At level DEBUG aiosqlite logs each function it runs; records and keys are arguments."""
    caplog.set_level(logging.DEBUG)
    secret = b"canary-in-a-closure"

    await store.write(setting("canary-name", secret))

    assert "canary" not in caplog.text
    assert KEY.hex() not in caplog.text


async def test_files_are_readable_by_their_owner_only(path: Path, store: Database) -> None:
    """Another user of the machine learns not even the sizes of pages."""
    await store.write(setting("a"))

    modes = {found.name: found.stat().st_mode & 0o777 for found in path.parent.iterdir()}

    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}


async def test_no_file_holds_plaintext_while_the_store_is_open(path: Path, store: Database) -> None:
    """The write-ahead log and temporary files must be as unreadable as the store."""

    def job(conn: Conn) -> None:
        coll_no = a_collection(conn, "canary-collection", "canary-database")
        for n in range(200):
            put(conn, coll_no, f"canary-id-{n}", '{"f":"canary-value"}', "canary-text word")

    await store.write(job)
    args = ("canary-database", "canary-collection", {"f": "canary-value"}, "canary-text", "f")
    found = await store.read(lambda conn: find(conn, *args, False, 1000))
    raw = b"".join(file.read_bytes() for file in path.parent.iterdir())

    assert len(found) == 200
    assert len(raw) > 100_000
    assert b"canary" not in raw
    assert b"CREATE TABLE" not in raw


async def test_a_wrong_key_is_told_from_damage_by_who_vouches_for_the_key(path: Path) -> None:
    """Both look alike to the cipher, and the cures are opposite."""
    await (await new_store(path)).close()

    with pytest.raises(WrongKeyError):
        await open_database(path, b"x" * 32, 0, key_checked=False)
    with pytest.raises(StoreDamagedError):
        await open_database(path, b"x" * 32, 0, key_checked=True)


async def test_a_refused_key_changes_nothing_and_is_not_repeated(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Trying a passphrase must be harmless, and its key must stand in no message."""
    await (await new_store(path)).close()
    before = path.read_bytes()
    wrong = b"\xab" * 32

    with pytest.raises(WrongKeyError) as caught:
        await open_database(path, wrong, 0, key_checked=False)

    assert path.read_bytes() == before
    assert wrong.hex() not in repr(caught.value) + str(caught.value)
    assert capfd.readouterr() == ("", "")


async def test_opening_nothing_says_how_to_begin_and_makes_no_file(path: Path) -> None:
    """An empty store made by mistake looks as if everything was lost."""
    with pytest.raises(NotInitialisedError, match="covey init"):
        await reopened(path)

    assert not path.exists()


async def test_a_store_is_never_made_over_another(path: Path) -> None:
    """`init` in the wrong folder must not cost a home."""
    await (await new_store(path)).close()

    with pytest.raises(HomeExistsError):
        await create_database(path, KEY, 0)


async def test_a_store_in_the_clear_is_refused(path: Path) -> None:
    """Failing open would be worse than failing."""
    path.write_bytes(b"SQLite format 3\0" + bytes(4080))

    with pytest.raises(PlaintextStoreError):
        await reopened(path)


async def test_a_library_that_cannot_encrypt_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain SQLite would ignore the key and write everything in the clear."""
    monkeypatch.setattr("sqlcipher3.dbapi2.connect", sqlite3.connect)

    with pytest.raises(PlaintextStoreError):
        await create_database(path, KEY, 0)

    assert path.read_bytes() == b""


async def filled(path: Path) -> bytes:
    async with await new_store(path) as store:
        await store.write(lambda conn: [filler(number)(conn) for number in range(3)])
    return path.read_bytes()


@pytest.mark.parametrize("size", [0, 100, 4096, 200_000, 1_000_077])
async def test_a_truncated_store_is_called_damaged(path: Path, size: int) -> None:
    """Half a file must not pass for a small one."""
    whole = await filled(path)
    path.write_bytes(whole[:size])

    with pytest.raises(StoreDamagedError):
        await reopened(path)


async def test_a_flipped_bit_is_found_where_it_is_read_and_nothing_else_is_lost(
    path: Path,
) -> None:
    """A disk that lies must be heard of, and the rest of the store must stay usable."""
    damaged = bytearray(await filled(path))
    damaged[len(damaged) - 40 * 4096 + 99] ^= 1
    path.write_bytes(damaged)

    async with await reopened(path) as store:
        with pytest.raises(StoreDamagedError):
            await store.read(value_of("filler-2"))
        assert await store.read(value_of("filler-0")) is not None
        with pytest.raises(StoreDamagedError):
            await store.write(value_of("filler-2"))
        await store.write(setting("after"))
        assert await store.read(value_of("after")) == b"1"


async def test_a_flipped_bit_in_the_first_page_is_called_damage(path: Path) -> None:
    """With a key that the vault vouches for, nothing but damage can be the cause."""
    damaged = bytearray(await filled(path))
    damaged[99] ^= 1
    path.write_bytes(damaged)

    with pytest.raises(StoreDamagedError):
        await reopened(path)


async def test_a_store_locked_by_another_program_is_busy(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person with a database tool open must read what to do, not a trace."""
    monkeypatch.setattr(connector, "BUSY_TIMEOUT_S", 0.01)
    async with await new_store(path) as store:
        other = connector.writer_connector(path, KEY, True)()
        other.execute("BEGIN IMMEDIATE")
        try:
            with pytest.raises(HomeBusyError):
                await store.write(setting("a"))
        finally:
            other.close()


async def test_on_a_full_disk_nothing_is_acknowledged_and_reading_and_closing_work(
    small_disk: Path,
) -> None:
    """A full disk is an inconvenience; a store that is lost to it is a disaster."""
    path, reserve = small_disk / "store.db", Reserve(small_disk / "reserve")
    assert reserve.regain() > 0
    store = await create_database(path, KEY, 0, reserve)
    acknowledged = await fill(store)
    held = [await store.read(value_of(f"filler-{n}")) for n in range(acknowledged + 1)]
    await store.close()

    async with await reopened(path) as store:
        check = await store.read(lambda conn: conn.execute("PRAGMA integrity_check").fetchone())
        kept = await store.read(lambda conn: conn.execute("SELECT count(*) FROM meta").fetchone())

    assert acknowledged > 5
    assert [value is not None for value in held] == [True] * acknowledged + [False]
    assert (check, kept) == (("ok",), (acknowledged,))


async def test_writing_resumes_when_there_is_room_for_the_reserve_again(small_disk: Path) -> None:
    """A person who freed some space should not have to restart anything."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(16 << 20))
    reserve = Reserve(small_disk / "reserve")
    reserve.path.write_bytes(bytes(1 << 20))
    async with await create_database(small_disk / "store.db", KEY, 0, reserve) as store:
        await fill(store)
        with pytest.raises(StoreFullError):
            await store.write(setting("small"))
        refused_with = reserve.held_bytes
        ballast.unlink()

        await store.write(setting("small"))

        assert refused_with == 0
        assert reserve.held_bytes > 0


async def test_a_store_on_a_read_only_disk_says_so(small_disk: Path) -> None:
    """A USB stick with its switch on "lock" is no reason for a trace."""
    path = small_disk / "store.db"
    await (await new_store(path)).close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    with pytest.raises(ReadOnlyHomeError):
        await reopened(path)


async def test_errors_are_one_line_that_names_the_file(path: Path) -> None:
    """The command line prints them as they are."""
    leaves: list[StorageError] = [
        NotInitialisedError(path),
        HomeExistsError(path),
        WrongKeyError(path),
        StoreDamagedError(path, "x"),
        StoreFullError(path),
        ReadOnlyHomeError(path),
        HomeBusyError(path, "process 1"),
        PlaintextStoreError(path, "x"),
    ]

    assert all(str(path) in str(leaf) and "\n" not in str(leaf) for leaf in leaves)
    assert [leaf.exit_code for leaf in leaves] == [1, 1, 5, 6, 6, 6, 7, 6]


WRITER = """
import asyncio, sys
from pathlib import Path
from covey.storage.database import open_database
from covey.storage.meta_rows import set_meta

async def main(path, first):
    store = await open_database(path, bytes(range(32)), 0, True)
    number = first
    while True:
        # Some alone and some in groups: both must hold their promise.
        count = 1 + number % 3
        jobs = [store.write(lambda conn, n=n: set_meta(conn, f"{n:08d}", b"x" * 3000))
                for n in range(number, number + count)]
        for job in jobs:
            await job
            sys.stdout.write(f"{number}\\n")
            sys.stdout.flush()
            number += 1

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


async def test_no_acknowledged_write_is_lost_to_kill_9(path: Path) -> None:
    """The promise of the whole store, tried 30 times: what it said is durable is there."""
    chance = random.Random(1)
    await (await new_store(path)).close()
    count = 0
    for _ in range(30):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(count)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for _ in range(chance.randrange(1, 40)):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        heard = [line for line in writer.stdout.read().splitlines(keepends=True) if "\n" in line]
        writer.wait()
        writer.stdout.close()
        async with await reopened(path) as store:
            keys = await store.read(
                lambda conn: conn.execute("SELECT key FROM meta ORDER BY key").fetchall()
            )
        numbers = [int(key) for (key,) in keys]

        assert numbers == list(range(len(numbers)))
        assert not heard or numbers[-1] >= int(heard[-1])
        count = len(numbers)
    async with await reopened(path) as store:
        check = await store.read(lambda conn: conn.execute("PRAGMA integrity_check").fetchone())
    assert check == ("ok",)
