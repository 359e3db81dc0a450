"""Blob files: a chunk is on the disk whole, or it is not there."""

import os
import stat
from pathlib import Path

import pytest

from covey.storage.blob_files import BlobFiles
from covey.storage.errors import DiskFailedError, StorageError, StoreFullError
from covey.storage.system_files import SYSTEM_FILES

from .test_files import RecordedFiles

PLACE = bytes(range(32))
STEPS = 6
"""Calls of a first write: two folders, and the four of a durable file."""


def files_in(home: Path) -> list[Path]:
    return sorted(path for path in home.rglob("*") if path.is_file())


def test_a_chunk_is_read_as_it_was_written(tmp_path: Path) -> None:
    """And what is not there is not there."""
    files = BlobFiles(tmp_path, SYSTEM_FILES)
    files.write(PLACE, 0, b"sealed")

    assert files.read(PLACE, 0) == b"sealed"
    assert files.read(PLACE, 1) is None


def test_chunks_are_for_their_owner_alone(tmp_path: Path) -> None:
    """They are ciphertext; how many there are is nobody's business either."""
    BlobFiles(tmp_path, SYSTEM_FILES).write(PLACE, 0, b"sealed")
    (path,) = files_in(tmp_path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_write_that_fails_at_any_step_leaves_no_half_chunk(tmp_path: Path, step: int) -> None:
    """A name stands on a whole chunk, or on none; and what is left behind can be removed."""
    files = BlobFiles(tmp_path, RecordedFiles(step))
    with pytest.raises(StorageError):
        files.write(PLACE, 0, b"sealed")
    after = BlobFiles(tmp_path, SYSTEM_FILES)

    assert after.read(PLACE, 0) in (None, b"sealed")
    after.remove(PLACE, 0)
    assert files_in(tmp_path) == []


def test_a_first_write_takes_the_steps_that_are_counted_here(tmp_path: Path) -> None:
    """Else the test above would leave some out."""
    recorded = RecordedFiles()
    BlobFiles(tmp_path, recorded).write(PLACE, 0, b"sealed")

    assert [call for call, _ in recorded.calls] == [
        "make_folder",
        "make_folder",
        "write",
        "sync",
        "replace",
        "sync_folder",
    ]
    assert len(recorded.calls) == STEPS


def test_a_full_disk_is_said_to_be_full(tmp_path: Path) -> None:
    """The cure for a full disk is another one than for a broken one."""
    files = BlobFiles(tmp_path, RecordedFiles(3, OSError(28, os.strerror(28))))

    with pytest.raises(StoreFullError):
        files.write(PLACE, 0, b"sealed")


def test_removing_tells_whether_there_was_one(tmp_path: Path) -> None:
    """So whoever does not know how many there are finds the end."""
    files = BlobFiles(tmp_path, SYSTEM_FILES)
    files.write(PLACE, 0, b"sealed")

    assert files.remove(PLACE, 0)
    assert not files.remove(PLACE, 0)
    assert files.read(PLACE, 0) is None


def test_a_disk_that_fails_is_not_an_absent_chunk(tmp_path: Path) -> None:
    """To fetch it again would hide the fault."""
    with pytest.raises(DiskFailedError):
        BlobFiles(tmp_path, RecordedFiles(1)).read(PLACE, 0)
