"""Blob files: sealed chunks on the disk, a file each, through the calls of the Files port.

A chunk is written beside its name, synced and then renamed, so a name is never on half a chunk;
only after the folder is synced may its bit be set (`blob_rows`). The names are those of
`crypto.blob.chunk_file_name`, in folders by their first byte; files have mode 0600. What is read is
as the disk gives it: whoever opens a chunk finds out whether it is whole.

Nothing here awaits: the engine runs these calls beside its loop.
"""

import errno
from pathlib import Path

from ..crypto.blob import SEALED_BYTES_MAX, chunk_file_name
from .files import Files
from .home import translate_os_error, write_durably

FOLDER = "blobs"


class BlobFiles:
    """The chunk files of one home."""

    def __init__(self, home: Path, files: Files) -> None:
        self.root = home / FOLDER
        self._files = files

    def path(self, place: bytes, index: int) -> Path:
        """Where a chunk lies, if it is here."""
        name = chunk_file_name(place, index)
        return self.root / name[:2] / name

    def write(self, place: bytes, index: int, sealed: bytes) -> None:
        """Store a chunk. When this returns, it is on the disk.

        Raises: StoreFullError, ReadOnlyHomeError, DiskFailedError.
        """
        path = self.path(place, index)
        try:
            self._files.make_folder(self.root)
            self._files.make_folder(path.parent)
        except OSError as error:
            raise translate_os_error(error, path) from error
        write_durably(path, sealed, self._files)

    def read(self, place: bytes, index: int) -> bytes | None:
        """A chunk as the disk has it; None if there is none.

        Raises: ReadOnlyHomeError, DiskFailedError.
        """
        path = self.path(place, index)
        try:
            return self._files.read(path, SEALED_BYTES_MAX + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise translate_os_error(error, path) from error

    def remove(self, place: bytes, index: int) -> bool:
        """Take a chunk away; whether there was one, or what a crash left of one.

        Raises: ReadOnlyHomeError, DiskFailedError.
        """
        path = self.path(place, index)
        found = False
        for each in (path, path.with_name(path.name + ".new")):
            try:
                self._files.remove(each)
                found = True
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                    raise translate_os_error(error, each) from error
        return found
