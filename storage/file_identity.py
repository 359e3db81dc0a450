"""File identity: what tells one file from a copy of it, as far as the system says.

Device and inode tell two files apart that exist at the same time; the time of birth tells a file
from one that got its inode number after it was removed (measured on ext4: the next file gets it).
Python's `os.stat` does not show the time of birth on Linux, so `statx` of the C library is asked;
where there is none, it is 0 and the other two must do.
"""

import ctypes
import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_AT_FDCWD = -100
_STATX_BTIME = 0x800
# struct statx is 256 bytes; stx_mask at 0, stx_btime at 80 (s64 seconds, u32 nanoseconds).
_STATX_BYTES = 256
_BTIME_OFFSET = 80


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Numbers of the operating system; `birth_ns` is 0 where it does not tell."""

    device: int
    inode: int
    birth_ns: int

    def to_bytes(self) -> bytes:
        return b"".join(
            (number & (2**64 - 1)).to_bytes(8, "big")
            for number in (self.device, self.inode, self.birth_ns)
        )


def identify(path: Path) -> FileIdentity:
    """The identity of a file. Raises OSError."""
    found = os.stat(path)
    return FileIdentity(found.st_dev, found.st_ino, _birth_ns(path, found))


def _birth_ns(path: Path, found: os.stat_result) -> int:
    seconds = getattr(found, "st_birthtime", None)
    if seconds is not None:
        return int(seconds * 1_000_000_000)
    statx = _statx()
    if statx is None:
        return 0
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    if statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, buffer) != 0:
        return 0
    raw = buffer.raw
    if not int.from_bytes(raw[:4], sys.byteorder) & _STATX_BTIME:
        return 0
    start = _BTIME_OFFSET
    whole = int.from_bytes(raw[start : start + 8], sys.byteorder, signed=True)
    return whole * 1_000_000_000 + int.from_bytes(raw[start + 8 : start + 12], sys.byteorder)


@cache
def _statx() -> Any:
    try:
        return ctypes.CDLL(None).statx
    except (OSError, AttributeError):
        return None
