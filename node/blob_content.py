"""Blob content: one blob of this store with what it takes to open it, and chunks in and out.

`Content` is a manifest as the node works with it: the key is a `Secret`, chunks have numbers. What
reads or writes files is run beside the event loop by the caller; nothing in here awaits.

Sizes are bytes. Spec: docs/protocol.md, section 14.
"""

import io
from dataclasses import dataclass, field

from .. import CoveyError
from ..crypto.blob import CHUNK_BYTES, chunk_id, open_chunk, sealed_bytes
from ..crypto.errors import CryptoError
from ..crypto.secret import Secret
from ..storage import blob_rows
from ..storage.blob_files import BlobFiles
from ..storage.store import Conn
from ..sync.blob_messages import chunks_of
from ..sync.manifest import CID_BYTES, chunk_count, decode_manifest


class ChunkDamagedError(CoveyError):
    """A chunk is not on the disk, or not as it was written. Others may have it whole."""

    exit_code = 6

    def __init__(self, index: int) -> None:
        super().__init__(f"chunk {index} of a blob is missing here, or damaged")
        self.index = index


@dataclass(frozen=True, slots=True)
class Content:
    """What this node knows of one blob."""

    number: int
    """Of its row (storage/blob_rows.py)."""
    id: bytes
    size: int
    key: Secret
    cids: bytes = field(repr=False)
    place: bytes | None = field(default=None, repr=False)
    """Names its files; None as long as it has none."""

    @property
    def count(self) -> int:
        """How many chunks it has."""
        return chunk_count(self.size)

    @property
    def all(self) -> int:
        """The set of all its chunks: an integer with bit `i` for chunk `i`."""
        return (1 << self.count) - 1

    def cid(self, index: int) -> bytes:
        return self.cids[index * CID_BYTES : (index + 1) * CID_BYTES]

    def plain_bytes(self, index: int) -> int:
        """How much of the content is in a chunk."""
        return min(CHUNK_BYTES, self.size - index * CHUNK_BYTES)

    def is_right(self, index: int, sealed: bytes) -> bool:
        """Whether these bytes are this chunk, by length and hash."""
        if not 0 <= index < self.count:
            return False
        size = sealed_bytes(self.plain_bytes(index), last=index == self.count - 1)
        return len(sealed) == size and chunk_id(sealed) == self.cid(index)

    def open(self, index: int, sealed: bytes) -> bytes:
        """The content of a chunk. Raises CryptoError if it was sealed wrongly by its author."""
        last = index == self.count - 1
        return open_chunk(self.key, index, sealed, self.plain_bytes(index), last=last)


def load(conn: Conn, number: int) -> tuple[Content, int] | None:
    """A blob and the set of its chunks that are here; None if its manifest is not known."""
    row, manifest = blob_rows.get(conn, number), blob_rows.manifest(conn, number)
    if row is None or manifest is None:
        return None
    found = decode_manifest(manifest)
    content = Content(number, row.id, found.size, Secret(found.key), found.cids, row.place)
    return content, chunks_of(row.bits, content.count)


def read_chunk(files: BlobFiles, content: Content, index: int) -> bytes:
    """A chunk from the disk, opened. Raises ChunkDamagedError, StorageError."""
    sealed = None if content.place is None else files.read(content.place, index)
    if sealed is None or not content.is_right(index, sealed):
        raise ChunkDamagedError(index)
    try:
        return content.open(index, sealed)
    except CryptoError:
        # The bytes are those that its author named, so no other copy is any better.
        raise ChunkDamagedError(index) from None


def find_on_disk(files: BlobFiles, content: Content, missing: int) -> int:
    """Which of these chunks are on the disk, and right: a crash may have come before their bit."""
    found = 0
    if content.place is None:
        return found
    for index in range(content.count):
        if missing >> index & 1:
            sealed = files.read(content.place, index)
            if sealed is not None and content.is_right(index, sealed):
                found |= 1 << index
    return found


class ContentReader(io.RawIOBase):
    """A blob that is whole here, as a file object that is read and sought in.

    For callbacks of applications, which run beside the loop. Raises ChunkDamagedError.
    """

    def __init__(self, files: BlobFiles, content: Content) -> None:
        super().__init__()
        self._files = files
        self._content = content
        self._at = 0
        self._chunk: tuple[int, bytes] = (-1, b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._content.size}[whence]
        if base + offset < 0:
            raise ValueError("before the beginning")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill the buffer as far as one chunk reaches."""
        if self._at >= self._content.size or not len(buffer):
            return 0
        index, start = divmod(self._at, CHUNK_BYTES)
        if self._chunk[0] != index:
            self._chunk = (index, read_chunk(self._files, self._content, index))
        piece = self._chunk[1][start : start + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
