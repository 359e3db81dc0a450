"""Errors of the `storage` floor: what the disk, the key or another process can do to a home.

Every leaf is the world's fault: nothing that was acknowledged is lost when one is raised, and the
message is one line that says where, what, and what to do. A leaf exists only where the next step
of the reader differs. No message, attribute or repr holds a key or the content of a record.

What only we can get wrong (a broken statement, a violated constraint) is not translated: it stays
the database library's own exception, or an `assert`.

`exit_code` is what the command line ends with: 5 wrong key, 6 damaged, full or not ours to write,
7 owned by another process.
"""

from pathlib import Path

from .. import CoveyError


class StorageError(CoveyError):
    """The base of what the `storage` floor raises on purpose. `path` is the file or folder."""

    exit_code = 6

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path


class NotInitialisedError(StorageError):
    """There is no home, or no store in it. Nothing was created."""

    exit_code = 1

    def __init__(self, path: Path) -> None:
        super().__init__(path, "there is no Covey home here: run `covey init`")


class HomeExistsError(StorageError):
    """A new home was to be made where there is one. Nothing was changed."""

    exit_code = 1

    def __init__(self, path: Path) -> None:
        super().__init__(path, "there is a Covey home here already: use it, or choose another")


class WrongKeyError(StorageError):
    """The file may be a store, but this key does not open it. Nothing was changed.

    A wrong key and a damaged first page look the same to the cipher, so this is raised only
    when nothing else has vouched for the key; otherwise it is `StoreDamagedError`.
    """

    exit_code = 5

    def __init__(self, path: Path) -> None:
        super().__init__(path, "this key does not open the store: try the right key or passphrase")


class StoreDamagedError(StorageError):
    """Bytes of the store are not what was written, or the disk cannot read or write them."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(path, f"the store is damaged ({found}): restore a backup, or join anew")


class DiskFailedError(StorageError):
    """The operating system reported an input/output error. What was committed may be intact."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(path, f"the disk failed ({found}): check the disk, then start again")


class StoreFullError(StorageError):
    """The disk is full. The write was not done; everything acknowledged stays readable.

    Writing resumes by itself once there is room for the reserve again.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "the disk is full, nothing was written: free some space")


class StoreClosedError(StorageError):
    """The store was closed, by whoever owns it, before this call. Nothing was read or written."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "it was closed: open the node again")


class ReadOnlyHomeError(StorageError):
    """The home may not be written by this user, or its file system is mounted read-only."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "not writable: check owner, mode and mount of the home")


class HomeBusyError(StorageError):
    """Another process owns the home. Nothing was read or changed."""

    exit_code = 7

    def __init__(self, path: Path, owner: str) -> None:
        super().__init__(path, f"in use by {owner}: end it (`covey down`), or use another home")


class NewerStoreError(StorageError):
    """The store was migrated by a newer program. It was not changed; we never migrate down."""

    def __init__(self, path: Path, found: int, known: int) -> None:
        super().__init__(
            path, f"the store has schema {found}, this program knows {known}: update Covey"
        )


class ForeignSchemaError(StorageError):
    """A migration inside the store is not the one this program has under that number."""

    def __init__(self, path: Path, number: int) -> None:
        super().__init__(
            path, f"migration {number} differs from this program's: use the Covey that made it"
        )


class PlaintextStoreError(StorageError):
    """The store, or the library that would open it, does not encrypt. Nothing was opened."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(path, f"{found}: refused, a store is always encrypted; move it away")
