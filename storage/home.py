"""Home: the folder of one device, its files, its lock.

| file | what |
|---|---|
| `vault.covey` | key slots; written by the vault, not here |
| `store.db` | the encrypted store, with `-wal` and `-shm` beside it |
| `instance.token` | 16 random bytes, renewed at every start (docs/protocol.md, section 2) |
| `node.lock` | locked (flock) by the one process that owns the home; its pid as text |
| `node.sock` | the local API of a running node |
| `cache` | a folder with what applications keep for a while, sealed (`cache_store.py`) |
| `reserve` | empty space kept for a full disk (`reserve.py`) |

Everything is mode 0700 or 0600. The lock is advisory and dies with its process, however it dies;
the pid inside is for people. This module reads and writes no content of any other file.
"""

import errno
import fcntl
import os
import stat
from pathlib import Path
from types import TracebackType

from .errors import (
    DiskFailedError,
    HomeBusyError,
    NotInitialisedError,
    ReadOnlyHomeError,
    StorageError,
    StoreFullError,
)
from .files import Files
from .reserve import Reserve
from .stores import StoreKind, Stores
from .system_files import SYSTEM_FILES


def translate_os_error(error: OSError, path: Path) -> StorageError:
    """The leaf that tells a person what an error of the operating system means for a home."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return StoreFullError(path)
        case errno.EROFS | errno.EACCES | errno.EPERM:
            return ReadOnlyHomeError(path)
        case errno.ENOENT | errno.ENOTDIR:
            return NotInitialisedError(path)
        case _:
            return DiskFailedError(path, error.strerror or "unknown error")


class HomeLock:
    """The right to use a home, held until `release` or the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let go. Releasing twice is harmless."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> "HomeLock":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class Home:
    """Names the files of one home. Making one touches nothing on disk."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser().absolute()
        self.vault = self.path / "vault.covey"
        self.store = self.path / "store.db"
        self.token = self.path / "instance.token"
        self.cache = self.path / "cache"
        self.reserve = Reserve(self.path / "reserve")

    def register_stores(self, stores: Stores) -> None:
        """Say of what kind the files of every home are. Those of the token are random, and those
        of the reserve empty. `node.lock` and `node.sock` are none: they hold nothing of anybody.

        Raises: StoreKindError.
        """
        stores.register("records", StoreKind.SQLCIPHER, self.store)
        stores.register("vault", StoreKind.CIPHERTEXT_FILE, self.vault)
        stores.register("instance token", StoreKind.CIPHERTEXT_FILE, self.token)
        stores.register("cache", StoreKind.CIPHERTEXT_FILE, self.cache)
        stores.register("reserve", StoreKind.CIPHERTEXT_FILE, self.reserve.path)

    @property
    def exists(self) -> bool:
        """True if a device was set up here, even halfway: there is a vault or a store."""
        return self.vault.exists() or self.store.exists()

    def create(self) -> None:
        """Make the folder, readable by its owner only, and the reserve. Harmless if it is there.

        Raises: ReadOnlyHomeError, StoreFullError, DiskFailedError.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise translate_os_error(error, self.path) from error
        _make_private(self.path)
        self.reserve.regain()

    def lock(self) -> HomeLock:
        """Become the one process that uses this home.

        Raises: HomeBusyError naming the other process, NotInitialisedError without a folder,
        ReadOnlyHomeError.
        """
        path = self.path / "node.lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise translate_os_error(error, self.path) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            pid = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            os.close(descriptor)
            owner = f"process {pid}" if pid.isdigit() else "another process"
            raise HomeBusyError(self.path, owner) from None
        except OSError as error:
            # A full disk cannot take the pid; the lock itself is held and is what counts.
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                os.close(descriptor)
                raise translate_os_error(error, self.path) from error
        return HomeLock(descriptor)

    def free_bytes(self) -> int:
        """Room left for this user on the file system of the home, without the reserve."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize


def _make_private(folder: Path) -> None:
    """Make `folder`, or close an existing one of ours to others."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = os.stat(folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise ReadOnlyHomeError(folder)
        if stat.S_IMODE(found.st_mode) & 0o077:
            os.chmod(folder, 0o700)
    except OSError as error:
        raise translate_os_error(error, folder) from error


def write_durably(path: Path, content: bytes, files: Files = SYSTEM_FILES) -> None:
    """Replace a small file of mode 0600 as a whole: after a crash it is the old or the new one.

    Raises: StoreFullError, ReadOnlyHomeError, DiskFailedError, NotInitialisedError.
    """
    beside = path.with_name(path.name + ".new")
    try:
        files.write(beside, content)
        # Before it gets the name: else a crash may leave the name on an empty file.
        files.sync(beside)
        files.replace(beside, path)
        files.sync_folder(path.parent)
    except OSError as error:
        raise translate_os_error(error, path) from error
