"""Vault file: the header of the vault on disk, twice, so that one bad sector does not lose a home.

`vault.covey` and, beside it, `vault.covey.bak` hold the same header. Each is replaced as a whole
and synced; the copy comes first, so at every moment one of them is whole, and the file itself is
what says that a change was made. The copy is never left at an older header: a slot that was
removed would still open it.

What the bytes mean is not known here but for one question: is this a whole header
(crypto/vault.py)? Whether it is ours shows only when it is opened.

Both files have mode 0600 and at most `HEADER_BYTES_MAX` bytes. The caller owns the home.
"""

from dataclasses import dataclass
from pathlib import Path

from ..crypto.vault import HEADER_BYTES_MAX, VaultDamagedError, slots
from .errors import DiskFailedError, NotInitialisedError, StorageError
from .files import Files
from .home import translate_os_error, write_durably
from .system_files import SYSTEM_FILES


class VaultFileDamagedError(StorageError):
    """Neither the vault nor its copy is whole. Without it, nobody can read the home."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path, "the vault and its copy .bak are damaged: put back a backup of this file"
        )


@dataclass(frozen=True, slots=True)
class StoredVault:
    """A whole header. `from_copy` tells that only the copy was usable, as a person should know.

    `write_vault` with the same header makes the file whole again.
    """

    header: bytes
    from_copy: bool


def copy_path(path: Path) -> Path:
    """Where the copy of a vault file lies."""
    return path.with_name(path.name + ".bak")


def write_vault(path: Path, header: bytes, files: Files = SYSTEM_FILES) -> None:
    """Replace the vault file and its copy. When it returns, both are on the disk.

    After an error the old header or the new one is there, whole.

    Raises: StoreFullError, ReadOnlyHomeError, DiskFailedError, NotInitialisedError.
    """
    # A header that is not whole is a defect of ours and must not replace one that is.
    slots(header)
    for target in (copy_path(path), path):
        write_durably(target, header, files)
        if _read(target, files) != header:
            raise DiskFailedError(target, "what was written cannot be read back")


def read_vault(path: Path, files: Files = SYSTEM_FILES) -> StoredVault:
    """Return the header from the file or, if that is gone or damaged, from its copy.

    Raises: NotInitialisedError if there is neither; VaultFileDamagedError if neither is whole;
    ReadOnlyHomeError or DiskFailedError if the system refuses to read.
    """
    problems: list[StorageError | VaultDamagedError] = []
    for candidate in (path, copy_path(path)):
        try:
            header = _read(candidate, files)
            slots(header)
        except (StorageError, VaultDamagedError) as problem:
            problems.append(problem)
        else:
            return StoredVault(header, from_copy=candidate != path)
    if all(isinstance(found, NotInitialisedError) for found in problems):
        raise NotInitialisedError(path.parent)
    for found in problems:
        if not isinstance(found, NotInitialisedError | VaultDamagedError):
            raise found
    raise VaultFileDamagedError(path)


def _read(path: Path, files: Files) -> bytes:
    try:
        return files.read(path, HEADER_BYTES_MAX + 1)
    except OSError as error:
        raise translate_os_error(error, path) from error
