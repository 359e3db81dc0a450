"""Vault file: two copies on disk, one of them whole at every moment."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from covey.crypto.secret import Secret
from covey.crypto.vault import FileKey, VaultDamagedError, create_vault, open_vault, remove_slot
from covey.storage import vault_file
from covey.storage.errors import DiskFailedError, NotInitialisedError, ReadOnlyHomeError
from covey.storage.files import Files
from covey.storage.home import write_durably
from covey.storage.vault_file import (
    StoredVault,
    VaultFileDamagedError,
    copy_path,
    read_vault,
    write_vault,
)

FIRST_KEY, SECOND_KEY = FileKey(Secret(b"1" * 32)), FileKey(Secret(b"2" * 32))
HEADER, VAULT_KEY = create_vault(b"i" * 16, [FIRST_KEY, SECOND_KEY], lambda size: b"d" * size)
NEWER = remove_slot(HEADER, VAULT_KEY, 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vault.covey"


def test_what_was_written_is_read(path: Path) -> None:
    """The plain case, and it comes from the file itself."""
    write_vault(path, HEADER)

    assert read_vault(path) == StoredVault(HEADER, from_copy=False)


def test_both_files_belong_to_the_owner_alone(path: Path) -> None:
    """Whoever reads the header can guess passphrases at home."""
    before = os.umask(0)
    try:
        write_vault(path, HEADER)
    finally:
        os.umask(before)

    for file in (path, copy_path(path)):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_nothing_else_is_left_in_the_folder(path: Path) -> None:
    """A forgotten temporary file would be a third vault, with slots long removed."""
    write_vault(path, HEADER)
    write_vault(path, NEWER)

    assert sorted(file.name for file in path.parent.iterdir()) == ["vault.covey", "vault.covey.bak"]


@pytest.mark.parametrize("damage", [b"", HEADER[:100], HEADER[:-1] + b"\0", b"x" * 100_000, None])
def test_a_damaged_or_lost_file_is_read_from_the_copy_and_said(
    path: Path, damage: bytes | None
) -> None:
    """One bad sector must not lose a home, and must not stay unnoticed either."""
    write_vault(path, HEADER)
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)

    assert read_vault(path) == StoredVault(HEADER, from_copy=True)


def test_a_damaged_copy_does_not_matter(path: Path) -> None:
    """It is made again by the next write."""
    write_vault(path, HEADER)
    copy_path(path).write_bytes(b"")
    assert read_vault(path) == StoredVault(HEADER, from_copy=False)
    write_vault(path, HEADER)

    assert copy_path(path).read_bytes() == HEADER


def test_a_removed_slot_is_gone_from_the_copy_as_well(path: Path) -> None:
    """A copy of the older header would open with the key that was thought worthless."""
    write_vault(path, HEADER)
    write_vault(path, NEWER)
    path.unlink()

    assert read_vault(path).header == NEWER


def test_without_file_and_copy_there_is_no_home(path: Path) -> None:
    """The one cure is `covey init`."""
    with pytest.raises(NotInitialisedError, match="covey init") as refused:
        read_vault(path)

    assert refused.value.exit_code == 1


def test_two_damaged_files_are_reported_as_damage(path: Path) -> None:
    """Not as a wrong passphrase, and not as a home that is not there."""
    write_vault(path, HEADER)
    path.write_bytes(HEADER[:50])
    copy_path(path).unlink()
    with pytest.raises(VaultFileDamagedError, match="damaged") as refused:
        read_vault(path)

    assert refused.value.exit_code == 6
    assert str(refused.value).isprintable()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_named_as_such(path: Path) -> None:
    """The cure is its mode, not a backup."""
    write_vault(path, HEADER)
    path.chmod(0)
    copy_path(path).chmod(0)

    with pytest.raises(ReadOnlyHomeError):
        read_vault(path)


def test_a_folder_in_the_place_of_the_vault_is_one_line(path: Path) -> None:
    """Whatever lies there, a person gets a sentence and no traceback."""
    path.mkdir()

    with pytest.raises(DiskFailedError) as refused:
        read_vault(path)
    assert str(refused.value).isprintable()


def test_what_is_no_whole_header_is_never_written(path: Path) -> None:
    """A defect of ours must not replace the only way into a home."""
    write_vault(path, HEADER)
    with pytest.raises(VaultDamagedError):
        write_vault(path, HEADER[:-1])

    assert read_vault(path) == StoredVault(HEADER, from_copy=False)


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_crash_between_the_two_writes_leaves_a_whole_header(
    path: Path, fails_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the second write the old header still counts, and the old way in still works."""
    write_vault(path, HEADER)
    real, calls = write_durably, 0

    def crash(target: Path, content: bytes, files: Files) -> None:
        nonlocal calls
        calls += 1
        if calls == fails_at:
            raise DiskFailedError(target, "power cut")
        real(target, content, files)

    monkeypatch.setattr(vault_file, "write_durably", crash)
    with pytest.raises(DiskFailedError):
        write_vault(path, NEWER)

    assert read_vault(path) == StoredVault(HEADER, from_copy=False)
    assert open_vault(read_vault(path).header, SECOND_KEY) == VAULT_KEY


def test_a_short_write_is_noticed_before_the_file_itself_is_touched(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is nearly full can take a part of a write and call it a success."""
    write_vault(path, HEADER)

    def short(target: Path, content: bytes, files: Files) -> None:
        target.write_bytes(content[:10])

    monkeypatch.setattr(vault_file, "write_durably", short)
    with pytest.raises(DiskFailedError, match="cannot be read back"):
        write_vault(path, NEWER)

    assert read_vault(path) == StoredVault(HEADER, from_copy=False)
