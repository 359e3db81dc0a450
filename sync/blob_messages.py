"""Blob messages: the frames by which members exchange chunks, beside the session (messages.py).

They may be sent where both hellos name the feature `blobs`, once the control digests have matched.
A *chunk* is binary; the others are canonical msgpack after their type byte. As in messages.py,
`encode_blob_message` and `decode_blob_message` are inverse, and nothing else is read.

Spec: docs/protocol.md, section 14. Scopes are 16 bytes, blob ids 32. Bits: chunk `i` is bit
`i % 8`, lowest first, of byte `i // 8`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from .errors import DecodeError
from .limits import BLOB_CHUNK_BYTES
from .packing import pack, unpack
from .session_limits import (
    BLOB_BITS_BYTES_MAX,
    BLOB_CHUNKS_IN_FLIGHT_MAX,
    BLOB_CHUNKS_MAX,
    BLOB_IDS_PER_ASK_MAX,
    ID_BYTES,
    TAG_BYTES,
)

FEATURE = "blobs"
ASK, HAVE, WANT, CHUNK, NONE = 0x10, 0x11, 0x12, 0x13, 0x14
BLOB_TYPES = frozenset((ASK, HAVE, WANT, CHUNK, NONE))
SEALED_BYTES_MAX = BLOB_CHUNK_BYTES + 16
SEALED_BYTES_MIN = 16
_INDEX_BYTES = 4
_CHUNK_HEAD_BYTES = 1 + ID_BYTES + _INDEX_BYTES


@dataclass(frozen=True, slots=True)
class BlobAsk:
    """Which chunks of these blobs does the peer have, to which records of this scope refer?"""

    scope: bytes
    ids: tuple[bytes, ...]
    """1 to 64, ascending."""


@dataclass(frozen=True, slots=True)
class BlobHave:
    """The sender has these chunks and gives them. It may be said again, when there are more."""

    id: bytes
    bits: bytes
    """Empty for none."""


@dataclass(frozen=True, slots=True)
class BlobWant:
    """Send these chunks."""

    id: bytes
    indices: tuple[int, ...]
    """1 to 4, ascending."""


@dataclass(frozen=True, slots=True)
class BlobChunk:
    """One chunk as it is sealed. Whether it is the right one shows by its hash alone."""

    id: bytes
    index: int
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class BlobNone:
    """A chunk that was wanted cannot be given, or not any more."""

    id: bytes
    index: int


BlobMessage = BlobAsk | BlobHave | BlobWant | BlobChunk | BlobNone


def bits_of(chunks: int, count: int) -> bytes:
    """The bits of a set of chunks, itself an integer with bit `i` for chunk `i`; of `count`."""
    return chunks.to_bytes(-(-count // 8), "little")


def chunks_of(bits: bytes, count: int) -> int:
    """The set of chunks in these bits.

    Raises: DecodeError if they are not those of `count` chunks, or empty for none.
    """
    chunks = int.from_bytes(bits, "little")
    if bits and (len(bits) != -(-count // 8) or chunks >> count):
        raise DecodeError(f"blob bits: {len(bits)} bytes are not those of {count} chunks")
    return chunks


def encode_blob_message(message: BlobMessage) -> bytes:
    """The frame of a message."""
    match message:
        case BlobAsk(scope, ids):
            return bytes((ASK,)) + pack((scope, ids))
        case BlobHave(id, bits):
            return bytes((HAVE,)) + pack((id, bits))
        case BlobWant(id, indices):
            return bytes((WANT,)) + pack((id, indices))
        case BlobChunk(id, index, sealed):
            return b"".join((bytes((CHUNK,)), id, index.to_bytes(_INDEX_BYTES, "big"), sealed))
        case BlobNone(id, index):
            return bytes((NONE,)) + pack((id, index))


def decode_blob_message(frame: bytes) -> BlobMessage:
    """The message in a frame.

    Raises: DecodeError if the frame is not exactly what `encode_blob_message` writes for one.
    """
    kind = frame[0] if frame else -1
    if kind == CHUNK:
        return _chunk(frame)
    if kind not in _DECODERS:
        raise DecodeError("blob frame: no such type")
    fields = unpack(frame[1:])
    if type(fields) is not list or len(fields) != 2:
        raise DecodeError("blob frame: not an array of two fields")
    return _DECODERS[kind](fields)


def _chunk(frame: bytes) -> BlobChunk:
    sealed = frame[_CHUNK_HEAD_BYTES:]
    if not SEALED_BYTES_MIN <= len(sealed) <= SEALED_BYTES_MAX:
        raise DecodeError(f"blob chunk: {len(frame)} bytes")
    index = int.from_bytes(frame[1 + ID_BYTES : _CHUNK_HEAD_BYTES], "big")
    return BlobChunk(frame[1 : 1 + ID_BYTES], _index(index), sealed)


def _ask(fields: list[Any]) -> BlobAsk:
    scope, ids = fields
    if type(ids) is not list or not 1 <= len(ids) <= BLOB_IDS_PER_ASK_MAX:
        raise DecodeError(f"blob ask: not an array of 1 to {BLOB_IDS_PER_ASK_MAX} ids")
    found = tuple(_bytes(id, ID_BYTES) for id in ids)
    _ascending(found)
    return BlobAsk(_bytes(scope, TAG_BYTES), found)


def _have(fields: list[Any]) -> BlobHave:
    id, bits = fields
    if type(bits) is not bytes or len(bits) > BLOB_BITS_BYTES_MAX or (bits and not any(bits)):
        raise DecodeError("blob have: no bits, or too many")
    return BlobHave(_bytes(id, ID_BYTES), bits)


def _want(fields: list[Any]) -> BlobWant:
    id, indices = fields
    if type(indices) is not list or not 1 <= len(indices) <= BLOB_CHUNKS_IN_FLIGHT_MAX:
        raise DecodeError(f"blob want: not an array of 1 to {BLOB_CHUNKS_IN_FLIGHT_MAX} chunks")
    found = tuple(_index(index) for index in indices)
    _ascending(found)
    return BlobWant(_bytes(id, ID_BYTES), found)


def _none(fields: list[Any]) -> BlobNone:
    return BlobNone(_bytes(fields[0], ID_BYTES), _index(fields[1]))


_DECODERS: dict[int, Callable[[list[Any]], BlobMessage]] = {
    ASK: _ask,
    HAVE: _have,
    WANT: _want,
    NONE: _none,
}


def _bytes(value: Any, size: int) -> bytes:
    if type(value) is not bytes or len(value) != size:
        raise DecodeError(f"blob frame: a field is not {size} bytes")
    return value


def _index(value: Any) -> int:
    if type(value) is not int or not 0 <= value < BLOB_CHUNKS_MAX:
        raise DecodeError("blob frame: no number of a chunk")
    return value


def _ascending(keys: Sequence[Any]) -> None:
    if not all(one < other for one, other in pairwise(keys)):
        raise DecodeError("blob frame: rows are out of order, or one comes twice")
