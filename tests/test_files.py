"""Files: what every call on small files promises, and the steps that make one of them durable."""

import os
import threading
from pathlib import Path

import pytest

from covey.storage.errors import DiskFailedError, StoreFullError
from covey.storage.file_identity import identify
from covey.storage.files import Files
from covey.storage.home import write_durably
from covey.storage.instance_rule import TOKEN_BYTES, read_token, write_token
from covey.storage.system_files import SYSTEM_FILES


class RecordedFiles:
    """The system's files; every call is written down, and one of them fails."""

    def __init__(self, fails_at: int = 0, error: OSError | None = None) -> None:
        self.calls: list[tuple[str, str]] = []
        self._fails_at = fails_at
        self._error = error or OSError(5, "input/output error")

    def read(self, path: Path, bytes_max: int) -> bytes:
        self._call("read", path)
        return SYSTEM_FILES.read(path, bytes_max)

    def write(self, path: Path, content: bytes) -> None:
        self._call("write", path)
        SYSTEM_FILES.write(path, content)

    def sync(self, path: Path) -> None:
        self._call("sync", path)
        SYSTEM_FILES.sync(path)

    def replace(self, source: Path, target: Path) -> None:
        self._call("replace", target)
        SYSTEM_FILES.replace(source, target)

    def sync_folder(self, folder: Path) -> None:
        self._call("sync_folder", folder)
        SYSTEM_FILES.sync_folder(folder)

    def make_folder(self, folder: Path) -> None:
        self._call("make_folder", folder)
        SYSTEM_FILES.make_folder(folder)

    def remove(self, path: Path) -> None:
        self._call("remove", path)
        SYSTEM_FILES.remove(path)

    def identity(self, path: Path) -> bytes:
        self._call("identity", path)
        return SYSTEM_FILES.identity(path)

    def _call(self, what: str, path: Path) -> None:
        self.calls.append((what, path.name))
        if len(self.calls) == self._fails_at:
            raise self._error


def test_what_is_written_is_read_up_to_the_limit(tmp_path: Path) -> None:
    """A file that grew without end must not be taken into memory."""
    SYSTEM_FILES.write(tmp_path / "a", b"0123456789")

    assert SYSTEM_FILES.read(tmp_path / "a", 100) == b"0123456789"
    assert SYSTEM_FILES.read(tmp_path / "a", 4) == b"0123"


def test_writing_empties_a_longer_file_and_keeps_it_private(tmp_path: Path) -> None:
    """The end of an old vault behind a new one would be neither."""
    before = os.umask(0)
    try:
        SYSTEM_FILES.write(tmp_path / "a", b"0123456789")
        SYSTEM_FILES.write(tmp_path / "a", b"abc")
    finally:
        os.umask(before)

    assert (tmp_path / "a").read_bytes() == b"abc"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_a_system_that_takes_and_gives_only_parts_costs_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is nearly full can take a part of a write and call it a success."""
    write, read = os.write, os.read
    monkeypatch.setattr(os, "write", lambda to, content: write(to, content[:3]))
    monkeypatch.setattr(os, "read", lambda source, size: read(source, min(size, 3)))

    SYSTEM_FILES.write(tmp_path / "a", b"0123456789")

    assert SYSTEM_FILES.read(tmp_path / "a", 100) == b"0123456789"


def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Whoever can write into the folder could stop the node from starting, without a word."""
    os.mkfifo(tmp_path / "a")
    found: list[bytes] = []
    reading = threading.Thread(
        target=lambda: found.append(SYSTEM_FILES.read(tmp_path / "a", 4)), daemon=True
    )

    reading.start()
    reading.join(30)

    assert found == [b""]


def test_the_identity_is_that_of_the_file(tmp_path: Path) -> None:
    """A copy beside it has another."""
    SYSTEM_FILES.write(tmp_path / "a", b"x")
    SYSTEM_FILES.write(tmp_path / "b", b"x")

    assert SYSTEM_FILES.identity(tmp_path / "a") == identify(tmp_path / "a").to_bytes()
    assert SYSTEM_FILES.identity(tmp_path / "a") != SYSTEM_FILES.identity(tmp_path / "b")


def test_a_durable_write_syncs_the_content_before_the_name_and_the_name_at_the_end(
    tmp_path: Path,
) -> None:
    """In any other order there is a moment at which a loss of power leaves an empty file."""
    files = RecordedFiles()

    write_durably(tmp_path / "a", b"x", files)

    assert files.calls == [
        ("write", "a.new"),
        ("sync", "a.new"),
        ("replace", "a"),
        ("sync_folder", tmp_path.name),
    ]


@pytest.mark.parametrize("fails_at", [1, 2, 3, 4])
def test_a_durable_write_that_fails_anywhere_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, fails_at: int
) -> None:
    """Half a vault opens for nobody."""
    write_durably(tmp_path / "a", b"old")

    with pytest.raises(DiskFailedError):
        write_durably(tmp_path / "a", b"new", RecordedFiles(fails_at))

    assert (tmp_path / "a").read_bytes() == (b"new" if fails_at == 4 else b"old")


def test_a_full_disk_is_named_as_such(tmp_path: Path) -> None:
    """The cure is to free some space, and not to buy a disk."""
    with pytest.raises(StoreFullError):
        write_durably(tmp_path / "a", b"x", RecordedFiles(1, OSError(28, "no space left")))


@pytest.mark.parametrize("content", [None, b"", b"short", b"x" * (TOKEN_BYTES + 1)])
def test_what_is_no_token_reads_as_none(tmp_path: Path, content: bytes | None) -> None:
    """A damaged token costs an instance, and must not stop a start."""
    if content is not None:
        (tmp_path / "token").write_bytes(content)

    assert read_token(tmp_path / "token") == b""


def test_a_token_goes_through_the_files_that_are_handed_in(tmp_path: Path) -> None:
    """The simulator can only break what passes its hands."""
    recorded = RecordedFiles()
    files: Files = recorded
    write_token(tmp_path / "token", b"t" * TOKEN_BYTES, files)

    assert read_token(tmp_path / "token", files) == b"t" * TOKEN_BYTES
    assert [what for what, _ in recorded.calls] == [
        "write",
        "sync",
        "replace",
        "sync_folder",
        "read",
    ]
