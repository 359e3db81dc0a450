"""Backup file: writes one so that it is whole when it has its name, and reads it with suspicion.

`write_backup` puts the file together beside its place, syncs it, reads it again from the disk and
only then gives it its name. `read_backup` believes nothing: the sizes must fit the file, and the
checksum all of it, before a key is asked for. `extract_store` copies the store out and compares the
tag; whoever calls it throws the copy away if that fails. Bytes: crypto/backup.py.

Files are read and written in pieces of 1 MiB, whatever their size. Everything is mode 0600.
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..crypto.backup import (
    CHECKSUM_BYTES,
    HEAD_BYTES,
    TAG_BYTES,
    BackupHead,
    Hashing,
    decode_head,
    encode_head,
    start_checksum,
    start_tag,
)
from ..crypto.errors import FormatError
from ..crypto.hashing import equal
from ..crypto.secret import Secret
from ..crypto.vault import VaultDamagedError, slots
from .errors import DiskFailedError, StorageError
from .home import translate_os_error
from .system_files import SYSTEM_FILES

PIECE_BYTES = 1 << 20


class BackupExistsError(StorageError):
    """There is a file of that name. It was left alone."""

    exit_code = 1

    def __init__(self, path: Path) -> None:
        super().__init__(path, "exists: give another name, or --force to replace it")


class BackupBusyError(StorageError):
    """Another process is writing this backup just now."""

    exit_code = 7

    def __init__(self, path: Path) -> None:
        super().__init__(path, "is being written by another process: wait, or give another name")


class BackupMissingError(StorageError):
    """There is no such file, or it may not be read."""

    exit_code = 1

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(path, f"cannot be read ({found}): give the path of a backup")


class NoSuchFolderError(StorageError):
    """The folder that a new file or home was to be in is not there. Nothing was made."""

    exit_code = 1

    def __init__(self, path: Path) -> None:
        super().__init__(path, "there is no such folder: make it, or choose another")


class BackupDamagedError(StorageError):
    """The file is not a backup as it was written: cut off, changed, or something else altogether.

    Nothing of it was used.
    """

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(path, f"not a whole backup ({found}): use another one")


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup whose checksum is right. Whether it is ours shows in `extract_store`."""

    path: Path
    head: BackupHead
    vault: bytes


@contextmanager
def new_backup(path: Path, force: bool) -> Iterator[Path]:
    """The place where a backup is put together, this process's alone while the block runs.

    Its name with `-store` may be used as well. Neither is left after the block, however it ends.

    Raises: BackupExistsError, BackupBusyError, StoreFullError, ReadOnlyHomeError, DiskFailedError.
    """
    if not force and os.path.lexists(path):
        raise BackupExistsError(path)
    partial = path.with_name(path.name + ".partial")
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(partial, flags, 0o600)
    except OSError as error:
        raise _target_error(error, path) from error
    try:
        if not _is_ours_alone(descriptor, partial):
            raise BackupBusyError(path)
        try:
            yield partial
        finally:
            for left in (store_beside(partial), partial):
                with suppress(OSError):
                    left.unlink()
    finally:
        os.close(descriptor)


def store_beside(partial: Path) -> Path:
    """Where the copy of the store lies until it is in the backup."""
    return partial.with_name(partial.name + "-store")


def write_backup(
    path: Path, partial: Path, vault: bytes, made_ms: int, backup_key: Secret, force: bool
) -> BackupHead:
    """Make a backup of `vault` and the store that lies beside `partial`, and give it its name.

    When it returns, the file is on the disk and was read back.

    Raises: BackupExistsError, StoreFullError, ReadOnlyHomeError, DiskFailedError.
    """
    store = store_beside(partial)
    try:
        head = BackupHead(len(vault), store.stat().st_size, made_ms)
        # Opened anew: the lock is on the file, whoever opens it.
        with open(partial, "r+b", buffering=0) as target, open(store, "rb", buffering=0) as source:
            target.truncate()
            _fill(target, source, head, vault, backup_key)
            os.fsync(target.fileno())
            _forget_cached(target)
        _verify_written(partial, path, backup_key)
        if not force and os.path.lexists(path):
            raise BackupExistsError(path)
        os.replace(partial, path)
        SYSTEM_FILES.sync_folder(path.parent)
    except OSError as error:
        raise _target_error(error, path) from error
    return head


def read_backup(path: Path) -> Backup:
    """Read a backup once, whole, and return what can be known of it without a key.

    Raises: BackupMissingError, BackupDamagedError.
    """
    with _opened(path) as file:
        head = _read_head(file, path)
        checksum, vault = start_checksum(), b""
        left = head.file_bytes - CHECKSUM_BYTES
        for piece in _pieces(file, path, left):
            checksum.update(piece)
            # The head and the longest vault fit the first piece.
            vault = vault or piece[HEAD_BYTES : HEAD_BYTES + head.vault_bytes]
        if not equal(checksum.digest(), _exactly(file, path, CHECKSUM_BYTES)):
            raise BackupDamagedError(path, "its checksum is wrong")
    try:
        slots(vault)
    except VaultDamagedError:
        raise BackupDamagedError(path, "the vault in it is damaged") from None
    return Backup(path, head, vault)


def extract_store(backup: Backup, backup_key: Secret, target: Path) -> None:
    """Copy the store out of a backup to a new file, on the disk when this returns.

    After an error `target` may be there, in part or whole, and must not be used.

    Raises: BackupDamagedError if not every byte is as it was written by whoever holds the key;
    StoreFullError, ReadOnlyHomeError, DiskFailedError for the target.
    """
    path, head = backup.path, backup.head
    with _opened(path) as file:
        if _read_head(file, path) != head:
            raise BackupDamagedError(path, "it was changed while it was read")
        tag = start_tag(backup_key)
        beginning = _exactly(file, path, HEAD_BYTES + head.vault_bytes)
        tag.update(beginning)
        if beginning[HEAD_BYTES:] != backup.vault:
            raise BackupDamagedError(path, "it was changed while it was read")
        try:
            _copy_out(_pieces(file, path, head.store_bytes), tag, target)
        except OSError as error:
            raise translate_os_error(error, target) from error
        if not equal(tag.digest(), _exactly(file, path, TAG_BYTES)):
            raise BackupDamagedError(path, "it was changed by someone who has not its key")


def _fill(
    target: BinaryIO, source: BinaryIO, head: BackupHead, vault: bytes, backup_key: Secret
) -> None:
    tag, checksum = start_tag(backup_key), start_checksum()

    def put(piece: bytes, *hashes: Hashing) -> None:
        for each in hashes:
            each.update(piece)
        rest = memoryview(piece)
        while rest:
            rest = rest[target.write(rest) :]

    put(encode_head(head) + vault, tag, checksum)
    copied = 0
    while piece := source.read(PIECE_BYTES):
        put(piece, tag, checksum)
        copied += len(piece)
    assert copied == head.store_bytes
    put(tag.digest(), checksum)
    put(checksum.digest())


def _verify_written(partial: Path, path: Path, backup_key: Secret) -> None:
    """Read what was written from the disk. The tag is over the pages that were checked before."""
    try:
        backup = read_backup(partial)
        tag = start_tag(backup_key)
        with _opened(partial) as file:
            for piece in _pieces(
                file, partial, backup.head.file_bytes - TAG_BYTES - CHECKSUM_BYTES
            ):
                tag.update(piece)
            same = equal(tag.digest(), _exactly(file, partial, TAG_BYTES))
    except StorageError:
        same = False
    if not same:
        raise DiskFailedError(path, "what was written cannot be read back")


def _copy_out(pieces: Iterator[bytes], tag: Hashing, target: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(target, flags, 0o600), "wb") as file:
        for piece in pieces:
            tag.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        # Not blocking, because a pipe in this place would wait for ever to be opened.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _source_error(error, path) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BackupDamagedError(path, "it is not a regular file")
    with open(descriptor, "rb") as file:
        yield file


def _read_head(file: BinaryIO, path: Path) -> BackupHead:
    """Read the head, hold it against the size of the file, and go back to the beginning."""
    try:
        head = decode_head(file.read(HEAD_BYTES))
        size = os.fstat(file.fileno()).st_size
        file.seek(0)
    except FormatError as error:
        raise BackupDamagedError(path, str(error)) from None
    except OSError as error:
        raise _source_error(error, path) from error
    if size != head.file_bytes:
        raise BackupDamagedError(path, f"it has {size} bytes, and should have {head.file_bytes}")
    return head


def _pieces(file: BinaryIO, path: Path, size: int) -> Iterator[bytes]:
    while size:
        piece = _exactly(file, path, min(size, PIECE_BYTES))
        size -= len(piece)
        yield piece


def _exactly(file: BinaryIO, path: Path, size: int) -> bytes:
    try:
        data = file.read(size)
    except OSError as error:
        raise _source_error(error, path) from error
    if len(data) != size:
        raise BackupDamagedError(path, "it ended while it was read")
    return data


def _forget_cached(file: BinaryIO) -> None:
    """Have the next reading come from the disk, where the system can be asked for that."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _is_ours_alone(descriptor: int, partial: Path) -> bool:
    """Lock a file that was just opened, and see that nobody has taken its name away meanwhile."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), os.stat(partial))
    except (BlockingIOError, FileNotFoundError):
        return False


def _source_error(error: OSError, path: Path) -> StorageError:
    found = error.strerror or "unknown error"
    if isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError):
        return BackupMissingError(path, found)
    return DiskFailedError(path, found)


def _target_error(error: OSError, path: Path) -> StorageError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NoSuchFolderError(path.parent)
    return translate_os_error(error, path)
