"""The folder of a home: modes, the lock, the socket path, the reserve."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from covey.storage.errors import (
    DiskFailedError,
    HomeBusyError,
    NotInitialisedError,
    ReadOnlyHomeError,
    StoreFullError,
)
from covey.storage.home import Home, translate_os_error, write_durably
from covey.storage.reserve import Reserve


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    return made


def test_a_home_is_for_its_owner_only(home: Home) -> None:
    """Names and sizes of files are nobody else's business."""
    assert home.path.stat().st_mode & 0o777 == 0o700


def test_creating_closes_a_folder_that_stood_open(tmp_path: Path) -> None:
    """A folder made by hand is usually readable by all."""
    tmp_path.chmod(0o755)

    Home(tmp_path).create()

    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_a_home_exists_once_it_has_a_vault_or_a_store(home: Home) -> None:
    """`init` must not run over a home that was set up halfway."""
    before = home.exists
    home.vault.touch()

    assert (before, home.exists) == (False, True)


def test_naming_a_home_touches_nothing(tmp_path: Path) -> None:
    """`covey --help` with a mistyped home must leave no folder behind."""
    Home(tmp_path / "typo")

    assert not (tmp_path / "typo").exists()


def test_the_lock_refuses_a_second_owner_and_names_the_first(home: Home) -> None:
    """Two processes on one store would fork its logs."""
    with home.lock(), pytest.raises(HomeBusyError, match=f"process {os.getpid()}") as caught:
        home.lock()

    assert caught.value.exit_code == 7
    home.lock().release()


def test_the_lock_dies_with_its_process(home: Home) -> None:
    """After kill -9 nobody should have to remove a file by hand."""
    program = (
        "import sys, time; from covey.storage.home import Home\n"
        f"lock = Home({str(home.path)!r}).lock(); print('locked', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    with pytest.raises(HomeBusyError, match=f"process {other.pid}"):
        home.lock()
    other.kill()
    other.wait()
    other.stdout.close()

    home.lock().release()


def test_locking_a_home_that_is_not_there_says_how_to_begin(tmp_path: Path) -> None:
    """The commonest mistake of a first minute."""
    with pytest.raises(NotInitialisedError, match="covey init"):
        Home(tmp_path / "none").lock()


def test_a_small_file_is_replaced_as_a_whole(home: Home) -> None:
    """A crash in the middle of writing must leave the old file or the new one."""
    write_durably(home.token, b"old")
    write_durably(home.token, b"new")

    assert home.token.read_bytes() == b"new"
    assert home.token.stat().st_mode & 0o777 == 0o600
    assert not home.token.with_name("instance.token.new").exists()


def test_errors_of_the_system_become_what_a_person_can_act_on(tmp_path: Path) -> None:
    """ENOSPC means nothing to the reader; "free some space" does."""
    kinds = [
        type(translate_os_error(OSError(code, os.strerror(code)), tmp_path))
        for code in (28, 122, 30, 13, 2, 5)
    ]

    assert kinds == [
        StoreFullError,
        StoreFullError,
        ReadOnlyHomeError,
        ReadOnlyHomeError,
        NotInitialisedError,
        DiskFailedError,
    ]


def test_the_reserve_holds_real_blocks_and_gives_them_back(tmp_path: Path) -> None:
    """A sparse file would reserve nothing."""
    reserve = Reserve(tmp_path / "reserve")

    size = reserve.regain()
    blocks = reserve.path.stat().st_blocks * 512
    reserve.release()
    reserve.release()

    assert 1 << 20 <= size <= 32 << 20
    assert blocks >= size
    assert reserve.held_bytes == 0


def test_the_reserve_is_smaller_on_a_small_disk_and_absent_on_a_tiny_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reserve must never be what fills the disk."""
    reserve = Reserve(tmp_path / "reserve")
    found = os.statvfs(tmp_path)
    sizes = []
    for free in (100 << 20, 5 << 20):
        values = [*found[:4], free // found.f_frsize, *found[5:]]
        monkeypatch.setattr("os.statvfs", lambda _, values=values: os.statvfs_result(values))
        sizes.append(reserve.regain())
        reserve.release()

    assert sizes == [(100 << 20) // 10, 0]


def test_the_reserve_is_taken_once(tmp_path: Path) -> None:
    """Every start asks for it; only the first one pays."""
    reserve = Reserve(tmp_path / "reserve")
    reserve.regain()
    before = reserve.path.stat().st_mtime_ns

    assert reserve.regain() == reserve.held_bytes
    assert reserve.path.stat().st_mtime_ns == before
