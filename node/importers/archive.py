"""Archive: an export as it was downloaded, a .zip or the .json file of it.

Nothing is ever unpacked to a path: a name in the archive is only compared, and a file in it is read
as a stream. What a stream gives is counted against `INFLATED_BYTES_MAX` and, beyond a few MiB,
against the size that it has in the archive, so a bomb ends early and never fills memory or disk.
Files are stored or deflated, as services pack them: the library inflates bzip2 and LZMA without a
bound (1,200 bytes became 2.9 GiB of memory in one `read`).

Sizes in bytes.
"""

import errno
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ... import CoveyError

MEMBERS_MAX = 200_000
DIRECTORY_BYTES_MAX = 64 * 1024 * 1024
INFLATED_BYTES_MAX = 16 * 1024 * 1024 * 1024
"""Of all that is read from one archive."""
RATIO_MAX = 200
RATIO_FREE_BYTES = 16 * 1024 * 1024
"""Up to here a file may have any ratio: short repetitions compress well and harm nobody."""

_CONVERSATIONS = re.compile(r"conversations(-\d{1,6})?\.json")
_FILE_ID = re.compile(r"(file[-_][A-Za-z0-9]+)")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_END_OF_DIRECTORY = b"PK\x05\x06"
_END_BYTES = 22
_COMMENT_BYTES_MAX = 65_535
_SIZE_ELSEWHERE = 0xFFFFFFFF
_PACKED_BY = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError),
    *(ValueError, KeyError, IndexError, NotImplementedError, RuntimeError),
)
"""What the library raises at archives that are damaged or forged. RuntimeError: one is encrypted,
and the library asks for a password.
"""


class ExportFileError(CoveyError):
    """A file is no export of the service that was named, or harms whoever reads it.

    What was found before is imported; nothing else was changed. Another download may help.
    """

    exit_code = 2

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")


class Member(NamedTuple):
    """A file in an archive, by the name it has there; `size` is what the archive says."""

    name: str
    size: int

    @property
    def file_name(self) -> str:
        """The last part of the name, for people. It is never a path of ours."""
        return self.name.replace("\\", "/").rsplit("/", 1)[-1]


class Archive:
    """An export that is open for reading. Close it. Raises ExportFileError."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._inflated = 0
        self._zip: zipfile.ZipFile | None = None
        self._members: dict[str, Member] = {}
        self._file: BinaryIO = _opened(self.path)
        try:
            if self._file.read(4) == b"PK\x03\x04":
                self._open_zip()
            self._file.seek(0)
        except BaseException:
            self.close()
            raise

    def _open_zip(self) -> None:
        self._check_directory()
        try:
            self._zip = zipfile.ZipFile(self._file)
        except _DAMAGE as error:
            raise ExportFileError(self.path, "a damaged .zip file: download it again") from error
        infos = self._zip.infolist()
        if len(infos) > MEMBERS_MAX:
            raise ExportFileError(self.path, f"{len(infos)} files in it, {MEMBERS_MAX} allowed")
        for info in infos:
            if info.filename and not info.is_dir():
                member = Member(info.filename, info.file_size)
                for key in _keys(member.file_name):
                    self._members.setdefault(key, member)

    def _check_directory(self) -> None:
        """Before the library reads the list of files, which it does all at once."""
        size = self._file.seek(0, 2)
        self._file.seek(max(0, size - _END_BYTES - _COMMENT_BYTES_MAX))
        tail = self._file.read()
        at = tail.rfind(_END_OF_DIRECTORY)
        if at < 0 or len(tail) - at < _END_BYTES:
            raise ExportFileError(self.path, "a .zip file without its end: download it again")
        listed = int.from_bytes(tail[at + 12 : at + 16], "little")
        if listed > DIRECTORY_BYTES_MAX and listed != _SIZE_ELSEWHERE:
            raise ExportFileError(self.path, "the list of its files is too long to be an export")

    def conversations(self) -> Iterator[tuple[str, "Stream"]]:
        """The files with conversations, by name: one, or several that are numbered."""
        if self._zip is None:
            yield self.path.name, Stream(self, self._file, _size(self._file))
            return
        infos = [info for info in self._zip.infolist() if _is_conversations(info.filename)]
        if not infos:
            raise ExportFileError(self.path, "there is no conversations.json in it")
        for info in sorted(infos, key=lambda each: each.filename):
            with self.open(Member(info.filename, info.file_size)) as stream:
                yield info.filename, stream

    def find(self, file_id: str) -> Member | None:
        """The file that a message calls by this id, if it is in the archive."""
        return self._members.get(file_id)

    def open(self, member: Member) -> "Stream":
        """A file of the archive as a stream."""
        assert self._zip is not None, "only an archive has members"
        try:
            info = self._zip.getinfo(member.name)
            if info.compress_type not in _PACKED_BY:
                raise NotImplementedError
            return Stream(self, self._zip.open(info), info.compress_size)  # type: ignore[arg-type]
        except _DAMAGE as error:
            raise ExportFileError(self.path, f"{member.file_name[:80]!r} cannot be read") from error

    def count(self, size: int) -> None:
        """So many bytes more were read. Raises ExportFileError."""
        self._inflated += size
        if self._inflated > INFLATED_BYTES_MAX:
            allowed = INFLATED_BYTES_MAX >> 30
            raise ExportFileError(
                self.path, f"more than {allowed} GiB in it: no export is so large"
            )

    def close(self) -> None:
        if self._zip is not None:
            self._zip.close()
        self._file.close()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Stream:
    """A file being read, and counted. `packed` is how many bytes it takes in the archive."""

    def __init__(self, archive: Archive, file: BinaryIO, packed: int) -> None:
        self._archive = archive
        self._file = file
        self._packed = packed
        self.done = 0
        """Bytes that were read."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, none at the end. Raises ExportFileError."""
        try:
            piece = self._file.read(size)
        except _DAMAGE as error:
            raise ExportFileError(self._archive.path, "it is damaged: download it again") from error
        self.done += len(piece)
        if self.done > max(RATIO_FREE_BYTES, self._packed * RATIO_MAX):
            raise ExportFileError(
                self._archive.path,
                f"a file in it grows more than {RATIO_MAX} times: no export does",
            )
        self._archive.count(len(piece))
        return piece

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _opened(path: Path) -> BinaryIO:
    """A regular file, open for reading. Raises ExportFileError."""
    try:
        # Without O_NONBLOCK, a pipe in the place of the file would stop a thread for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "cannot be read"
        raise ExportFileError(path, why) from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        why = os.strerror(errno.EISDIR) if stat.S_ISDIR(mode) else "an export is a regular file"
        raise ExportFileError(path, why)
    return os.fdopen(descriptor, "rb")


def _keys(file_name: str) -> Iterator[str]:
    """What a message may call a file of this name."""
    lowered = file_name.lower()
    if match := _FILE_ID.match(file_name):
        yield match[1]
    if match := _UUID.match(lowered):
        yield match[0]


def _is_conversations(name: str) -> bool:
    """macOS adds shadows of all files when it packs a folder again."""
    *folders, file_name = name.replace("\\", "/").split("/")
    return _CONVERSATIONS.fullmatch(file_name) is not None and "__MACOSX" not in folders


def _size(file: BinaryIO) -> int:
    size = file.seek(0, 2)
    file.seek(0)
    return size
