"""The local socket: where a home's node listens, and who is at the other end of a connection.

The socket is `node.sock` in the home. A name in `sockaddr_un` holds about a hundred bytes,
fewer than many homes have; `short_name` gives a name that always fits on Linux. Both ends ask the
kernel for the other's user id, which no process can forge.

Imports nothing slow, because every command of the command line passes through here. The server is
`local_api.py`. Spec: docs/cli.md, "A running node".
"""

import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from .. import CoveyError

SOCKET_NAME = "node.sock"
NAME_BYTES_MAX = 103
"""macOS has 104 bytes with the final zero, Linux 108: the smaller holds everywhere."""
BODY_BYTES_MAX = 8 * 1024 * 1024
"""The largest request body that the node reads."""
_UCRED = struct.Struct("3i")
_MACOS_SOL_LOCAL, _MACOS_PEERCRED, _MACOS_PEERPID = 0, 1, 2
_MACOS_XUCRED = struct.Struct("IIh16I")


class LocalSocketError(CoveyError):
    """The socket's place is not ours alone, or its name too long. Nothing was opened."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who is at the other end, as the kernel says. `pid` is 0 where it does not say."""

    uid: int
    pid: int


def socket_path(home: str | os.PathLike[str]) -> str:
    """Where the node of `home` listens."""
    return os.path.join(home, SOCKET_NAME)


@contextmanager
def short_name(path: str) -> Iterator[str]:
    """A name for `path` that fits into `sockaddr_un` while the block runs.

    Raises LocalSocketError, or OSError if the directory of `path` is missing.
    """
    if len(os.fsencode(path)) <= NAME_BYTES_MAX:
        yield path
        return
    if not sys.platform.startswith("linux"):
        raise LocalSocketError(f"{path}: too long for a socket's name; use a shorter --home")
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{os.path.basename(path)}"
    finally:
        os.close(directory)


def require_private_directory(path: str) -> None:
    """Make `path` a directory of mode 0700 that is ours, or raise LocalSocketError."""
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    found = os.stat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise LocalSocketError(f"{path}: not a directory of this user; move it away and try again")
    os.chmod(path, 0o700)


def peer_credentials(connection: socket.socket) -> Credentials | None:
    """Who opened the other end of a Unix socket, or None if the system does not tell."""
    try:
        if sys.platform == "darwin":
            size = _MACOS_XUCRED.size
            raw = connection.getsockopt(_MACOS_SOL_LOCAL, _MACOS_PEERCRED, size)
            pid = connection.getsockopt(_MACOS_SOL_LOCAL, _MACOS_PEERPID)
            return Credentials(uid=_MACOS_XUCRED.unpack(raw)[1], pid=pid)
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    except (OSError, AttributeError, struct.error):
        return None
    pid, uid, _gid = _UCRED.unpack(raw)
    return Credentials(uid=uid, pid=pid)
