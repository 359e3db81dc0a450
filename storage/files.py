"""Files: the calls by which storage keeps its small durable files.

The vault, the instance token and the chunks of blobs are replaced as a whole and must survive a
crash at any moment. A method here is one step of that, and a crash may come between any two: a
simulator that implements this port can stop, refuse or lose each of them. `system_files.py` is the
real one; `home.write_durably` is the order in which the steps make a durable file.

Every method raises OSError and translates nothing. The store itself does not go through here:
SQLite opens its files by itself.
"""

from pathlib import Path
from typing import Protocol


class Files(Protocol):
    """See the module. What `write` and `replace` did is durable only after the matching sync."""

    def read(self, path: Path, bytes_max: int) -> bytes:
        """The first `bytes_max` bytes of a file, or all of it if it is shorter."""

    def write(self, path: Path, content: bytes) -> None:
        """Create a file of mode 0600, or empty the one that is there, and write all of `content`.

        After an error any part of `content` may be in the file.
        """

    def sync(self, path: Path) -> None:
        """Return when the content of a file is on the disk."""

    def replace(self, source: Path, target: Path) -> None:
        """Give `source` the name `target`, in place of the file that had it."""

    def sync_folder(self, folder: Path) -> None:
        """Return when the names in a folder are on the disk."""

    def make_folder(self, folder: Path) -> None:
        """Make a folder of mode 0700; harmless if it is there."""

    def remove(self, path: Path) -> None:
        """Take a file away. After a crash it may be there again, until its folder is synced."""

    def identity(self, path: Path) -> bytes:
        """What tells a file from a copy of it (`file_identity.py`)."""
