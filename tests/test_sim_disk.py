"""The simulated disk: what was synced stays, what was not may be gone, each call has its fate."""

import asyncio
import errno
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from covey.simulations import sim_store
from covey.simulations.dice import Dice
from covey.simulations.sim_disk import (
    HOME,
    IMAGES_KEPT,
    SECTOR_BYTES,
    STORE_PATH,
    TOKEN_PATH,
    Fate,
    ProcessDied,
    SimDisk,
    SimFiles,
)
from covey.simulations.sim_store import SimStore
from covey.storage.connector import settings
from covey.storage.errors import DiskFailedError, StoreDamagedError, StoreFullError
from covey.storage.home import write_durably
from covey.storage.store import Conn
from covey.storage.text_rows import remove_texts

from .simulated import a_disk, a_process, now_ms, virtually, wait_ms
from .store_rows import setting, value_of

T = TypeVar("T")
OLD, NEW = b"o" * 16, b"n" * 16
BESIDE = HOME / "instance.token.new"
SEEDS = range(60)


# Small files -----------------------------------------------------------------------------------


def files_on(disk: SimDisk) -> SimFiles:
    return SimFiles(disk, lambda: None)


def token_on(disk: SimDisk) -> bytes | None:
    """What stands in the token file; None if there is none."""
    try:
        return files_on(disk).read(TOKEN_PATH, 10_000)
    except FileNotFoundError:
        return None


def with_token(seed: int = 1) -> SimDisk:
    """A disk on which the old token is safe."""
    disk = a_disk(seed=seed)
    write_durably(TOKEN_PATH, OLD, files_on(disk))
    disk.lose_power()
    return disk


def test_what_was_written_is_read_up_to_a_length() -> None:
    """A huge file in place of a small one must not fill the memory."""
    files = files_on(a_disk())
    files.write(TOKEN_PATH, b"0123456789")

    assert files.read(TOKEN_PATH, 4) == b"0123"
    assert files.read(TOKEN_PATH, 100) == b"0123456789"


@pytest.mark.parametrize(
    "call",
    [
        lambda files: files.read(TOKEN_PATH, 1),
        lambda files: files.sync(TOKEN_PATH),
        lambda files: files.replace(BESIDE, TOKEN_PATH),
    ],
    ids=["read", "sync", "replace"],
)
def test_a_file_that_is_not_there_is_missing_as_on_a_real_disk(
    call: Callable[[SimFiles], object],
) -> None:
    """Storage translates errors of the system, and no others."""
    with pytest.raises(FileNotFoundError):
        call(files_on(a_disk()))


def test_a_process_that_is_killed_loses_nothing_of_its_files() -> None:
    """What the kernel has it keeps; only the power takes it away."""
    disk = a_disk()
    files_on(disk).write(TOKEN_PATH, NEW)

    assert token_on(disk) == NEW


def after_power_cut(act: Callable[[SimFiles], None]) -> set[bytes | None]:
    """All that the token file is found to hold when the power goes right after some calls."""
    found = set()
    for seed in SEEDS:
        disk = with_token(seed)
        act(files_on(disk))
        disk.lose_power()
        found.add(token_on(disk))
    return found


def test_what_was_written_in_place_and_not_synced_is_old_or_new() -> None:
    """Nobody can say which, so nobody may rely on either."""
    assert after_power_cut(lambda files: files.write(TOKEN_PATH, NEW)) == {OLD, NEW}


def test_what_was_synced_stays() -> None:
    """That is what a sync is for."""

    def act(files: SimFiles) -> None:
        files.write(TOKEN_PATH, NEW)
        files.sync(TOKEN_PATH)

    assert after_power_cut(act) == {NEW}


def test_a_long_file_that_was_not_synced_is_torn_at_sectors() -> None:
    """Half a file is the worst of all: it may be read as a whole one."""
    long_old, long_new = b"o" * 4 * SECTOR_BYTES, b"n" * 4 * SECTOR_BYTES

    def act(files: SimFiles) -> None:
        files.write(TOKEN_PATH, long_old)
        files.sync(TOKEN_PATH)
        files.write(TOKEN_PATH, long_new)

    found = after_power_cut(act)

    torn = {long_new[:cut] + long_old[cut:] for cut in range(0, 5 * SECTOR_BYTES, SECTOR_BYTES)}
    assert found == torn


def test_a_file_that_was_made_and_not_synced_may_be_there_empty_or_gone() -> None:
    """A name and a content reach the disk each by itself."""
    found = set()
    for seed in SEEDS:
        disk = a_disk(seed=seed)
        files_on(disk).write(TOKEN_PATH, NEW)
        disk.lose_power()
        found.add(token_on(disk))

    assert found == {None, b"", NEW}


def replace(files: SimFiles, *, sync: bool, sync_folder: bool) -> None:
    """`write_durably`, with or without its two syncs."""
    files.write(BESIDE, NEW)
    if sync:
        files.sync(BESIDE)
    files.replace(BESIDE, TOKEN_PATH)
    if sync_folder:
        files.sync_folder(HOME)


def test_a_rename_without_a_sync_of_the_folder_is_done_or_not() -> None:
    """It is atomic, and it is not durable."""
    found = after_power_cut(lambda files: replace(files, sync=True, sync_folder=False))

    assert found == {OLD, NEW}


def test_a_rename_of_a_file_that_was_not_synced_leaves_an_empty_one() -> None:
    """The classic: the new name is on the disk, and its content is not."""
    found = after_power_cut(lambda files: replace(files, sync=False, sync_folder=True))

    assert found == {b"", NEW}


def test_a_rename_with_both_syncs_stays() -> None:
    """The order in which storage does it."""
    found = after_power_cut(lambda files: write_durably(TOKEN_PATH, NEW, files))

    assert found == {NEW}


def test_what_a_power_cut_left_is_what_the_next_one_leaves() -> None:
    """The coin is tossed once: after that it is on the disk."""
    for seed in SEEDS:
        disk = with_token(seed)
        files_on(disk).write(TOKEN_PATH, NEW)
        disk.lose_power()
        left = token_on(disk)
        disk.lose_power()

        assert token_on(disk) == left


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("fate", [Fate.DIES_BEFORE, Fate.DIES_AFTER])
@pytest.mark.parametrize("ahead", [1, 2, 3, 4])
def test_a_durable_write_that_dies_anywhere_leaves_the_old_file_or_the_new_one(
    ahead: int, fate: Fate, power: bool
) -> None:
    """The promise of `write_durably`, at each of its four calls."""
    for seed in SEEDS:
        disk, died = with_token(seed), list[bool]()
        disk.doom_call(ahead, fate)
        with pytest.raises(ProcessDied):
            write_durably(TOKEN_PATH, NEW, SimFiles(disk, lambda: died.append(True)))  # noqa: B023
        if power:
            disk.lose_power()

        assert died == [True]
        assert token_on(disk) in (OLD, NEW)


def test_a_call_that_dies_before_has_no_effect_and_one_that_dies_after_has_it() -> None:
    """Both sides of every call are places where a crash may come."""
    found = {}
    for fate in (Fate.DIES_BEFORE, Fate.DIES_AFTER):
        disk = with_token()
        disk.doom_call(1, fate)
        with pytest.raises(ProcessDied):
            files_on(disk).write(TOKEN_PATH, NEW)
        found[fate] = token_on(disk)

    assert found == {Fate.DIES_BEFORE: OLD, Fate.DIES_AFTER: NEW}


@pytest.mark.parametrize(
    ("fate", "number"),
    [(Fate.FULL, errno.ENOSPC), (Fate.FAILS, errno.EIO), (Fate.UNSURE, errno.EIO)],
)
def test_a_call_that_fails_says_why_in_the_words_of_the_system(fate: Fate, number: int) -> None:
    """A person is told to make room, or to replace the disk."""
    disk = with_token()
    disk.doom_call(1, fate)

    with pytest.raises(OSError) as failed:
        files_on(disk).sync_folder(HOME)
    assert failed.value.errno == number


def test_after_a_write_that_failed_any_part_may_be_in_the_file() -> None:
    """The port says so, and whoever reads such a file must not take it for whole."""
    found = set()
    for seed in SEEDS:
        disk = with_token(seed)
        disk.doom_call(1, Fate.FAILS)
        with pytest.raises(OSError):
            files_on(disk).write(TOKEN_PATH, NEW)
        found.add(token_on(disk))

    assert all(part is not None and NEW.startswith(part) for part in found)
    assert len(found) > 8


def test_a_rename_of_which_nobody_is_sure_has_happened() -> None:
    """The error came on the way back."""
    disk = with_token()
    files_on(disk).write(BESIDE, NEW)
    disk.doom_call(1, Fate.UNSURE)

    with pytest.raises(OSError):
        files_on(disk).replace(BESIDE, TOKEN_PATH)
    assert token_on(disk) == NEW


@pytest.mark.parametrize("fate", [Fate.FULL, Fate.FAILS, Fate.UNSURE])
@pytest.mark.parametrize("ahead", [1, 2, 3, 4])
def test_a_durable_write_that_fails_anywhere_leaves_the_old_file_or_the_new_one(
    ahead: int, fate: Fate
) -> None:
    """Also if the power goes right after."""
    for seed in SEEDS:
        disk = with_token(seed)
        disk.doom_call(ahead, fate)
        with pytest.raises((StoreFullError, DiskFailedError)):
            write_durably(TOKEN_PATH, NEW, files_on(disk))
        before_power_cut = token_on(disk)
        disk.lose_power()

        assert before_power_cut in (OLD, NEW)
        assert token_on(disk) in (OLD, NEW)


def test_a_disk_that_is_full_refuses_writes_until_there_is_room() -> None:
    """Reading goes on, and so does everything when somebody has made room."""
    disk = with_token()
    disk.is_full = True
    with pytest.raises(StoreFullError):
        write_durably(TOKEN_PATH, NEW, files_on(disk))
    read_meanwhile = token_on(disk)
    disk.is_full = False
    write_durably(TOKEN_PATH, NEW, files_on(disk))

    assert read_meanwhile == OLD
    assert token_on(disk) == NEW


def test_a_fate_is_of_one_call_and_calls_are_counted() -> None:
    """A plan says which call from now; the ones before and after work."""
    disk = with_token()
    disk.doom_call(3, Fate.FAILS)
    outcomes = []
    for _ in range(5):
        try:
            files_on(disk).sync(TOKEN_PATH)
            outcomes.append(True)
        except OSError:
            outcomes.append(False)

    assert outcomes == [True, True, False, True, True]


def test_a_disk_that_healed_has_no_fate_ahead() -> None:
    """After a plan is over nothing goes wrong any more."""
    disk = with_token()
    disk.doom_call(1, Fate.FAILS)
    disk.doom_commit(1, Fate.FULL)
    disk.is_full = True
    disk.heal()
    write_durably(TOKEN_PATH, NEW, files_on(disk))

    assert disk.next_commit() is Fate.WORKS


def test_rot_flips_one_bit_for_good() -> None:
    """A token with a wrong bit must not be taken for the right one."""
    disk = with_token()
    disk.rot("instance.token")
    rotten = token_on(disk) or b""
    disk.lose_power()

    assert sum((x ^ y).bit_count() for x, y in zip(rotten, OLD, strict=True)) == 1
    assert token_on(disk) == rotten
    assert not disk.is_rotten


def test_flips_are_counted_in_copies_too() -> None:
    """What was lost by a flip is nobody's fault, wherever the disk has gone."""
    disk = with_token()
    disk.rot("instance.token")
    disk.rot("store.db")

    assert (disk.flips, disk.copy("b", 2).flips, with_token().flips) == (1, 1, 0)


def test_a_copy_of_a_disk_is_another_disk() -> None:
    """A clone that wrote into the disk of its original would be no clone."""
    disk = with_token()
    files_on(disk).write(BESIDE, b"not synced")
    copy = disk.copy("b", 2)
    write_durably(TOKEN_PATH, NEW, files_on(copy))
    files_on(disk).write(BESIDE, b"another")

    assert (token_on(disk), token_on(copy)) == (OLD, NEW)
    assert files_on(copy).identity(STORE_PATH) != files_on(disk).identity(STORE_PATH)
    assert copy.name == "b"


# The store -------------------------------------------------------------------------------------


class Running:
    """A process with an open store; `die` is what a fate calls."""

    def __init__(self, disk: SimDisk) -> None:
        self.disk = disk
        self.process = a_process()
        self.store = SimStore(disk, self.process, self.die, 0)

    def die(self) -> None:
        self.store.save()
        self.process.kill()

    def cut_power(self) -> None:
        self.die()
        self.disk.lose_power()

    def ask(self, key: str) -> bytes | None:
        return self.store.look(value_of(key))


def after(disk: SimDisk, act: Callable[[Running], Coroutine[Any, Any, None]]) -> bytes | None:
    """What stands under `a` in the store after it was used, and opened again."""

    async def run() -> bytes | None:
        await act(Running(disk))
        await wait_ms(1_000)
        return Running(disk).ask("a")

    return virtually(run())


async def write_and_leave(running: Running) -> None:
    """Ask for a write; nobody waits for it."""
    running.store.write(setting("a", b"new"))
    await wait_ms(100)


def over_seeds(
    act: Callable[[Running], Coroutine[Any, Any, None]],
    disk: Callable[[int], SimDisk] | None = None,
) -> set[bytes | None]:
    """All that may stand there, over the seeds."""
    make = disk or (lambda seed: a_disk(seed=seed))
    return {after(make(seed), act) for seed in SEEDS}


@pytest.mark.parametrize("power", [False, True])
def test_what_was_acknowledged_survives_the_process_and_the_power(power: bool) -> None:
    """This is the promise that everything else rests on."""

    async def act(running: Running) -> None:
        await running.store.write(setting("a", b"new"))
        if power:
            running.cut_power()
        else:
            running.die()

    assert over_seeds(act) == {b"new"}


@pytest.mark.parametrize(("fate", "left"), [(Fate.DIES_BEFORE, None), (Fate.DIES_AFTER, b"new")])
def test_a_process_dies_before_a_commit_or_after_it(fate: Fate, left: bytes | None) -> None:
    """In both cases its caller hears nothing."""
    disk, told = a_disk(), list[object]()
    disk.doom_commit(1, fate)

    async def act(running: Running) -> None:
        future = running.store.write(setting("a", b"new"))
        future.add_done_callback(told.append)
        await wait_ms(100)
        assert not running.process.alive

    assert after(disk, act) == left
    assert told == []


def test_a_commit_takes_a_moment_and_is_told_a_moment_later() -> None:
    """A crash in the first half loses it; in the second it is durable and nobody was told."""

    async def run() -> list[tuple[int, bytes | None]]:
        running = Running(SimDisk("a", Dice(1), commit_ms_max=10_000))
        moments: list[tuple[int, bytes | None]] = []
        writing = running.store.write(setting("a", b"new"))
        while not writing.done():
            if [value for _, value in moments][-1:] != [running.ask("a")]:
                moments.append((now_ms(), running.ask("a")))
            await wait_ms(1)
        return [*moments, (now_ms(), b"told")]

    (_, before), (durable_ms, durable), (told_ms, _) = virtually(run())

    assert (before, durable) == (None, b"new")
    assert durable_ms == pytest.approx(told_ms / 2, abs=2)


def test_a_job_runs_though_its_caller_has_stopped_waiting() -> None:
    """The next entry of the log builds on it."""

    async def act(running: Running) -> None:
        running.store.write(setting("a", b"new")).cancel()
        await wait_ms(100)

    disk = a_disk()
    assert after(disk, act) is None
    assert disk.image is None

    async def act_and_close(running: Running) -> None:
        await act(running)
        await running.store.close()

    assert after(disk, act_and_close) == b"new"


@pytest.mark.parametrize(
    ("fate", "error"),
    [(Fate.FULL, StoreFullError), (Fate.FAILS, DiskFailedError), (Fate.UNSURE, DiskFailedError)],
)
def test_a_commit_that_fails_tells_everybody_who_waited(fate: Fate, error: type[Exception]) -> None:
    """A group lives and dies together."""

    async def run() -> tuple[list[object], list[bytes | None], bytes | None]:
        running = Running(a_disk())
        running.disk.doom_commit(1, fate)
        jobs: list[asyncio.Future[Any]] = [running.store.write(setting(key)) for key in "ab"]
        told = await asyncio.gather(*jobs, return_exceptions=True)
        left = [running.ask(key) for key in "ab"]
        await running.store.write(setting("c"))
        return [type(each) for each in told], left, running.ask("c")

    assert virtually(run()) == ([error, error], [None, None], b"1")


def test_a_full_disk_refuses_until_there_is_room_and_is_read_meanwhile() -> None:
    """A full disk must not lock anybody out."""

    async def run() -> tuple[bytes | None, bytes | None]:
        running = Running(a_disk())
        await running.store.write(setting("a", b"old"))
        running.disk.is_full = True
        for _ in range(3):
            with pytest.raises(StoreFullError):
                await running.store.write(setting("a", b"new"))
        meanwhile = await running.store.read(value_of("a"))
        running.disk.is_full = False
        await running.store.write(setting("a", b"new"))
        return meanwhile, await running.store.read(value_of("a"))

    assert virtually(run()) == (b"old", b"new")


async def commit_unsurely(running: Running) -> None:
    await running.store.write(setting("a", b"old"))
    running.disk.doom_commit(1, Fate.UNSURE)
    with pytest.raises(DiskFailedError):
        await running.store.write(setting("a", b"new"))
    assert running.ask("a") == b"old"


def test_whatever_changes_what_a_store_holds_changes_its_number() -> None:
    """A checker that found nothing looks again only if something has changed since."""

    async def run() -> list[int]:
        running = Running(a_disk())
        seen = [running.store.changes]
        await running.store.write(setting("a"))
        seen.append(running.store.changes)
        await commit_unsurely(running)
        seen.append(running.store.changes)
        await running.store.read(value_of("a"))
        return [*seen, running.store.changes]

    first, written, unsure, read = virtually(run())
    assert first < written < unsure == read


@pytest.mark.parametrize("power", [False, True])
def test_a_commit_of_which_nobody_is_sure_may_be_found_after_a_crash(power: bool) -> None:
    """The commit is in the log, and the error came after it: recovery takes it for whole."""

    async def act(running: Running) -> None:
        await commit_unsurely(running)
        if power:
            running.cut_power()
        else:
            running.die()

    assert over_seeds(act) == {b"old", b"new"}


def test_the_next_commit_writes_over_the_one_of_which_nobody_was_sure() -> None:
    """Then it has not happened, for good."""

    async def act(running: Running) -> None:
        await commit_unsurely(running)
        await running.store.write(setting("b"))
        running.cut_power()

    assert over_seeds(act) == {b"old"}


def test_a_store_that_is_closed_in_order_leaves_nothing_unsure() -> None:
    """The last connection removes the log."""

    async def act(running: Running) -> None:
        await commit_unsurely(running)
        await running.store.close()

    assert over_seeds(act) == {b"old"}


def lazily(mode: str, cache: str) -> tuple[str, ...]:
    """The settings of a store that does not wait for its disk."""
    return tuple(each.replace("=FULL", "=NORMAL") for each in settings(mode, cache))


@pytest.mark.parametrize("power", [False, True])
def test_a_store_that_does_not_wait_for_its_disk_loses_what_it_told_when_the_power_goes(
    power: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting is read back from SQLite, so a wrong one is found. A mere crash costs nothing."""
    monkeypatch.setattr(sim_store, "settings", lazily)

    async def act(running: Running) -> None:
        for value in (b"1", b"2", b"3"):
            await running.store.write(setting("a", value))
        if power:
            running.cut_power()
        else:
            running.die()

    assert over_seeds(act) == ({None, b"1", b"2", b"3"} if power else {b"3"})


def test_a_lazy_store_loses_no_more_than_the_last_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel writes back by itself after some seconds."""
    monkeypatch.setattr(sim_store, "settings", lazily)

    async def act(running: Running) -> None:
        for n in range(20):
            await running.store.write(setting("a", str(n).encode()))
        running.cut_power()

    assert over_seeds(act) == {str(n).encode() for n in range(19 - IMAGES_KEPT, 20)}


def _pragmas(names: Sequence[str], conn: Conn) -> list[Any]:
    return [conn.execute(f"PRAGMA {name}").fetchone() for name in names]


def test_the_settings_are_those_of_the_real_store() -> None:
    """A setting that is wrong there has to lose data here."""

    async def run() -> list[object]:
        asked = ("synchronous", "foreign_keys", "secure_delete", "trusted_schema")
        store = Running(a_disk()).store
        return [value for (value,) in store.look(partial(_pragmas, asked))]

    assert virtually(run()) == [2, 1, 1, 0]


def test_foreign_keys_still_hold_after_a_commit_that_was_undone() -> None:
    """The image is put back under an open connection, whose settings must outlive that."""

    async def run() -> None:
        running = Running(a_disk())
        await commit_unsurely(running)
        with pytest.raises(sqlite3.IntegrityError):
            await running.store.write(
                lambda conn: conn.execute("INSERT INTO logs VALUES (1, 99, x'00', x'00')")
            )

    virtually(run())


def test_the_full_text_index_goes_on_after_a_commit_that_was_undone() -> None:
    """It keeps in memory what it has read: with another image under it a deletion ended Python."""

    async def run() -> int:
        running = Running(a_disk())
        running.disk.doom_commit(1, Fate.UNSURE)
        with pytest.raises(DiskFailedError):
            await running.store.write(texts_of(range(3)))
        await running.store.write(texts_of(range(50)))
        await running.store.write(lambda conn: remove_texts(conn, list(range(50))))
        return await running.store.read(texts_found)

    assert virtually(run()) == 0


def texts_of(numbers: Sequence[int]) -> Callable[[Conn], None]:
    def insert(conn: Conn) -> None:
        for number in numbers:
            body = f"tea {number}"
            conn.execute("INSERT INTO record_text (rowid, body) VALUES (?, ?)", (number, body))

    return insert


def texts_found(conn: Conn) -> int:
    (count,) = conn.execute(
        "SELECT count(*) FROM record_text WHERE record_text MATCH 'tea'"
    ).fetchone()
    return int(count)


def test_a_store_that_rots_is_damaged_now_and_then_and_never_wrong() -> None:
    """Some pages are good; what is read from them is what was written."""

    async def run() -> set[object]:
        running = Running(a_disk())
        await running.store.write(setting("a", b"old"))
        running.disk.rot("store.db")
        found: set[object] = set()
        for _ in range(60):
            for job in (running.store.read(value_of("a")), running.store.write(value_of("a"))):
                try:
                    found.add(await job)
                except StoreDamagedError:
                    found.add(StoreDamagedError)
        return found

    assert virtually(run()) == {b"old", StoreDamagedError}


def test_a_rotten_store_may_not_even_open() -> None:
    """The page that is spoiled may be the first."""
    opened = set()
    for seed in SEEDS:
        disk = a_disk(seed=seed)
        disk.rot("store.db")
        try:
            virtually(open_on(disk))
            opened.add(True)
        except StoreDamagedError:
            opened.add(False)

    assert opened == {True, False}


async def open_on(disk: SimDisk) -> None:
    Running(disk)


# Reading, and processes that sleep or are dead -------------------------------------------------


def test_reads_are_answered_late_and_in_the_order_of_the_calls() -> None:
    """The real store has one reader."""

    async def run() -> tuple[list[int], int]:
        running, order = Running(SimDisk("a", Dice(1), read_ms_max=10)), list[int]()
        reads = [running.store.read(lambda conn, n=n: n) for n in range(50)]  # type: ignore[misc]
        for read in reads:
            read.add_done_callback(lambda done: order.append(done.result()))
        assert not any(read.done() for read in reads)
        await asyncio.gather(*reads)
        await asyncio.sleep(0)
        return order, now_ms()

    order, took_ms = virtually(run())

    assert order == list(range(50))
    assert 5 <= took_ms <= 11


def test_a_read_sees_what_is_durable_though_nobody_was_told_yet() -> None:
    """The real reader is a connection of its own: what is in memory may be older than the disk."""

    async def run() -> tuple[bytes | None, bool]:
        running = Running(SimDisk("a", Dice(1), commit_ms_max=10_000, read_ms_max=0))
        writing = running.store.write(setting("a", b"new"))
        while running.ask("a") is None:
            await wait_ms(1)
        return await running.store.read(value_of("a")), writing.done()

    assert virtually(run()) == (b"new", False)


@pytest.mark.parametrize("ask", ["read", "write"])
def test_nobody_in_a_dead_process_gets_an_answer(ask: str) -> None:
    """Its tasks end where they wait next."""

    async def run() -> tuple[bool, bool]:
        running = Running(SimDisk("a", Dice(1)))
        before = getattr(running.store, ask)(value_of("a"))
        running.die()
        afterwards = getattr(running.store, ask)(value_of("a"))
        await wait_ms(1_000)
        return before.done(), afterwards.cancelled()

    assert virtually(run()) == (False, True)


def test_a_dead_process_closes_nothing() -> None:
    """What it would still write is not on the disk."""

    async def run() -> bytes | None:
        running = Running(SimDisk("a", Dice(1)))
        running.store.write(setting("a", b"new"))
        running.die()
        await running.store.close()
        return Running(running.disk).ask("a")

    assert virtually(run()) is None


def test_a_commit_that_was_under_way_at_the_closing_of_the_lid_goes_on_at_its_opening() -> None:
    """A machine that sleeps neither commits nor tells."""

    async def run() -> tuple[bytes | None, int]:
        running = Running(SimDisk("a", Dice(1)))
        writing = running.store.write(setting("a", b"new"))
        await asyncio.sleep(0)
        running.process.freeze()
        await wait_ms(60_000)
        asleep = running.ask("a")
        running.process.thaw()
        await writing
        return asleep, now_ms()

    asleep, told_ms = virtually(run())

    assert asleep is None
    assert 60_000 <= told_ms < 60_010


def test_closing_waits_for_what_is_under_way_and_answers_it() -> None:
    """Nobody may wait for ever for a store that was closed."""

    async def run() -> list[object]:
        running = Running(SimDisk("a", Dice(1), commit_ms_max=100, read_ms_max=100))
        jobs: list[asyncio.Future[Any]] = [
            running.store.write(setting("a", b"new")),
            running.store.read(lambda conn: 7),
        ]
        await running.store.close()
        return [job.done() and job.result() for job in jobs]

    assert virtually(run()) == [None, 7]


def test_what_is_durable_is_told_to_whoever_watches_commits() -> None:
    """A checker looks at the heads right then."""

    async def run() -> int:
        running, told = Running(a_disk()), list[int]()
        running.store.committed = lambda: told.append(1)
        await running.store.write(setting("a"))
        await running.store.write(setting("a"))
        return len(told)

    assert virtually(run()) == 2


def test_a_store_opens_with_what_an_earlier_program_left(tmp_path: Path) -> None:
    """An image is a database like any other."""

    async def act(running: Running) -> None:
        await write_and_leave(running)
        await running.store.close()

    disk = a_disk()
    assert after(disk, act) == b"new"

    assert disk.image is not None
    (tmp_path / "store.db").write_bytes(disk.image)
    conn = sqlite3.connect(tmp_path / "store.db")
    assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    conn.close()
