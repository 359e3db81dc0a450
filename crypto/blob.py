"""Blob chunks: a large content sealed piece by piece under a key that nothing else uses.

Chunk `i` of a content is bytes `i * CHUNK_BYTES` and on. The last is padded with zeros to the Padmé
size of at least `PADDED_BYTES_MIN`; all others are full. A chunk is sealed with XChaCha20-Poly1305
under the blob's file key. Its nonce is its number, because a file key is drawn at random for one
content and seals each number once; the associated data says whether it is the last, so that nobody
can cut a blob short. Equal contents under two keys have nothing in common: there is no convergent
encryption, which would confirm to a mailbox that somebody holds a known file.

A chunk is named by the hash of its ciphertext (`chunk_id`), so that whoever holds a manifest can
tell a right chunk from a wrong one before it is stored, and who holds none learns nothing.

Sizes are bytes. Spec: docs/protocol.md, section 14.
"""

from __future__ import annotations

from .aead import NONCE_BYTES, TAG_BYTES, decrypt, encrypt
from .errors import FormatError
from .hashing import digest, mac
from .padding import padme
from .secret import Secret

CHUNK_LABEL = b"cvy-blob-chunk-1"
CHUNK_ID_LABEL = b"cvy-blob-cid--v1"
FILE_NAME_LABEL = b"cvy-blob-name-v1"

CHUNK_BYTES = 262_144
PADDED_BYTES_MIN = 1_024
SEALED_BYTES_MAX = CHUNK_BYTES + TAG_BYTES
FILE_KEY_BYTES = 32
PLACE_BYTES = 32
_INDEX_BYTES = 8


def seal_chunk(key: Secret, index: int, content: bytes, *, last: bool) -> bytes:
    """Chunk number `index` as it is stored and travels. Never seal two contents under one key."""
    if last:
        assert len(content) <= CHUNK_BYTES, "a chunk has at most CHUNK_BYTES"
        content = content.ljust(padme(max(PADDED_BYTES_MIN, len(content))), b"\0")
    else:
        assert len(content) == CHUNK_BYTES, "only the last chunk is shorter"
    return encrypt(key.reveal(), _nonce(index), content, _associated(index, last))


def open_chunk(key: Secret, index: int, sealed: bytes, content_bytes: int, *, last: bool) -> bytes:
    """The content of a chunk, `content_bytes` of it.

    Raises: OpenError if it is not what was sealed as this chunk; FormatError if it was sealed in
    another form than `seal_chunk` does.
    """
    padded = decrypt(key.reveal(), _nonce(index), sealed, _associated(index, last))
    size = padme(max(PADDED_BYTES_MIN, content_bytes)) if last else CHUNK_BYTES
    if len(padded) != size:
        raise FormatError(f"chunk {index}: {len(padded)} bytes, {size} expected")
    if padded.count(0, content_bytes) != size - content_bytes:
        raise FormatError(f"chunk {index}: the filling is not all zeros")
    return padded[:content_bytes]


def sealed_bytes(content_bytes: int, *, last: bool) -> int:
    """How long a chunk is once sealed."""
    size = padme(max(PADDED_BYTES_MIN, content_bytes)) if last else CHUNK_BYTES
    return size + TAG_BYTES


def chunk_id(sealed: bytes) -> bytes:
    """The 32 bytes that name a chunk."""
    return digest(CHUNK_ID_LABEL, sealed)


def chunk_file_name(place: bytes, index: int) -> str:
    """The name of a chunk's file on one device, 64 hexadecimal digits.

    `place` is 32 random bytes that this device drew for its copy of the blob. So a name tells
    nothing, and no other blob can ever mean the same file, whatever chunks its manifest lists.
    """
    return mac(place, FILE_NAME_LABEL, index.to_bytes(_INDEX_BYTES, "big")).hex()


def _nonce(index: int) -> bytes:
    return index.to_bytes(NONCE_BYTES, "little")


def _associated(index: int, last: bool) -> bytes:
    return CHUNK_LABEL + index.to_bytes(_INDEX_BYTES, "big") + bytes((last,))
