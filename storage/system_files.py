"""System files: the Files port on the file system of this machine.

Nothing is kept open between two calls. `sync` may therefore open the file anew: the system flushes
a file, whoever wrote it.
"""

import os
from pathlib import Path

from .file_identity import identify
from .files import Files


class SystemFiles:
    """Implements `Files`."""

    def read(self, path: Path, bytes_max: int) -> bytes:
        # Without O_NONBLOCK, whoever lays a pipe in the place of the file makes us wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            content = b""
            while len(content) < bytes_max:
                part = os.read(descriptor, bytes_max - len(content))
                if not part:
                    break
                content += part
            return content
        finally:
            os.close(descriptor)

    def write(self, path: Path, content: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            rest = memoryview(content)
            while rest:
                # A call may take only a part and call that a success, as on a disk nearly full.
                rest = rest[os.write(descriptor, rest) :]
        finally:
            os.close(descriptor)

    def sync(self, path: Path) -> None:
        _sync(path, os.O_WRONLY)

    def replace(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def sync_folder(self, folder: Path) -> None:
        _sync(folder, os.O_RDONLY)

    def make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)
            # Else a crash may lose the folder with everything that was synced in it.
            _sync(folder.parent, os.O_RDONLY)

    def remove(self, path: Path) -> None:
        os.unlink(path)

    def identity(self, path: Path) -> bytes:
        return identify(path).to_bytes()


SYSTEM_FILES: Files = SystemFiles()


def _sync(path: Path, access: int) -> None:
    descriptor = os.open(path, access | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
