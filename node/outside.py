"""Outside: files of the person, read and written for them by the running node.

A command names an absolute path; the node, which runs as the same user, reads the file in pieces or
makes a new one. Nothing is ever replaced: a new file is one that was not there, and no link is
followed to it. What failed half-way is taken away again. Every call runs beside the event loop.
"""

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from .. import CoveyError
from .blob_names import safe_name

PIECE_BYTES = 262_144


class OutsideError(CoveyError):
    """A file that a person named cannot be read or made. Nothing was changed."""

    exit_code = 2

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")


class Outside:
    """Reads and makes files where a person says."""

    async def read(self, path: Path) -> AsyncIterator[bytes]:
        """The content of a regular file, in pieces. Raises OutsideError."""
        descriptor = await asyncio.to_thread(_open_to_read, path)
        try:
            while piece := await asyncio.to_thread(_read, descriptor, path):
                yield piece
        finally:
            os.close(descriptor)

    async def write(self, path: Path, content: AsyncIterator[bytes]) -> int:
        """Make a new file of mode 0600 with this content; its bytes.

        Raises OutsideError, and what `content` raises; then there is no file.
        """
        if not path.name or safe_name(path.name.lstrip(".-") or path.name) is None:
            raise OutsideError(path, "this is no name for a file")
        descriptor = await asyncio.to_thread(_open_to_write, path)
        size = 0
        try:
            async for piece in content:
                await asyncio.to_thread(_write, descriptor, path, piece)
                size += len(piece)
        except BaseException:
            os.close(descriptor)
            with suppress(OSError):
                os.unlink(path)
            raise
        os.close(descriptor)
        return size


def _open_to_read(path: Path) -> int:
    try:
        # Without O_NONBLOCK, a pipe in the place of the file would stop a thread for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise OutsideError(path, error.strerror or "cannot be read") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OutsideError(path, "only a regular file can be put")
    return descriptor


def _open_to_write(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileExistsError:
        raise OutsideError(path, "there is something already: choose another name") from None
    except OSError as error:
        raise OutsideError(path, error.strerror or "cannot be made") from error


def _read(descriptor: int, path: Path) -> bytes:
    try:
        return os.read(descriptor, PIECE_BYTES)
    except OSError as error:
        raise OutsideError(path, error.strerror or "cannot be read") from error


def _write(descriptor: int, path: Path, piece: bytes) -> None:
    rest = memoryview(piece)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        raise OutsideError(path, why or "cannot be written") from error
