"""Reserve: empty space kept on the disk, so that a full disk is an inconvenience, not a disaster.

On a full disk even deleting needs room (measured: `DELETE` fails while reading works). The reserve
is a file of real, empty blocks. When a write fails for want of space it is given back, so that
what runs can read, check-point and shut down. Writing resumes after the reserve could be
taken again; until then nothing is acknowledged.

It is 32 MiB, less on a small disk (a tenth of what is free), and none below 1 MiB: `regain`
returns what it got.
"""

import os
from pathlib import Path

RESERVE_BYTES = 32 << 20
RESERVE_BYTES_MIN = 1 << 20
FREE_SHARE = 10
"""The reserve takes at most this part of the free space."""


class Reserve:
    """One reserve file. Making the object touches nothing on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def held_bytes(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def release(self) -> None:
        """Give the space back. Never raises; releasing twice is harmless."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError:
            # A folder that cannot be changed cannot be helped; the caller has an error already.
            return

    def regain(self) -> int:
        """Take the reserve unless it is held already; the bytes now held, 0 if there is no room."""
        held = self.held_bytes
        if held:
            return held
        try:
            found = os.statvfs(self.path.parent)
            size = min(RESERVE_BYTES, found.f_bavail * found.f_frsize // FREE_SHARE)
            if size < RESERVE_BYTES_MIN:
                return 0
            _allocate(self.path, size)
        except OSError:
            self.release()
            return 0
        return size


def _allocate(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:
            # macOS has no such call, and a file that is only made longer reserves nothing.
            for _ in range(size // RESERVE_BYTES_MIN):
                os.write(descriptor, bytes(RESERVE_BYTES_MIN))
    finally:
        os.close(descriptor)
