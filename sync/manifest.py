"""Manifest: what a record holds of a blob, as bytes of one spelling.

A manifest names the blob's chunks by the hashes of their ciphertext, carries the key that opens
them, and says what a person is shown: size, media type, file name. It may bring *variants*, small
stand-ins such as a thumbnail, each a manifest of its own without variants.

It stands in a record as `{"$blob": manifest}` and so travels sealed. Whoever has it can open the
blob: it goes into no log, no message and no JSON. The *blob id* names the content: it covers key,
size and chunks, and not what the blob is called, so two records may call one blob by two names.

A name in here was chosen by whoever wrote the record. It is shown, never used as a path.

Spec: docs/protocol.md, section 14. Sizes are bytes, integers big-endian.
"""

from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise

from .errors import DecodeError
from .limits import (
    BLOB_BYTES_MAX,
    BLOB_CHUNK_BYTES,
    BLOB_NAME_BYTES_MAX,
    BLOB_TYPE_BYTES_MAX,
    VARIANT_BYTES_MAX,
    VARIANT_NAME_BYTES_MAX,
    VARIANTS_MAX,
)

BLOB_ID_LABEL = b"cvy-blob-id---v1"
MAGIC = b"CVM1"
KEY_BYTES = 32
CID_BYTES = 32
_SIZE_BYTES = 8
_HEAD_BYTES = len(MAGIC) + KEY_BYTES + _SIZE_BYTES
_VARIANT_LENGTH_BYTES = 2


@dataclass(frozen=True, slots=True)
class Manifest:
    """See the module. Its `repr` shows neither key nor chunks."""

    key: bytes = field(repr=False)
    """The file key, 32 bytes; of this blob alone."""
    size: int
    """Of the content, without padding."""
    cids: bytes = field(repr=False)
    """The chunk ids in order, 32 bytes each, joined."""
    media_type: str = ""
    name: str = ""
    variants: tuple[tuple[str, "Manifest"], ...] = ()
    """Ascending by name."""


def chunk_count(size: int) -> int:
    """How many chunks a content of so many bytes has; an empty one has one."""
    return max(1, -(-size // BLOB_CHUNK_BYTES))


def blob_id(manifest: Manifest) -> bytes:
    """The 32 bytes that name the content, and commit to its key."""
    hashed = blake2b(digest_size=32, person=BLOB_ID_LABEL)
    hashed.update(manifest.key)
    hashed.update(manifest.size.to_bytes(_SIZE_BYTES, "big"))
    hashed.update(manifest.cids)
    return hashed.digest()


def encode_manifest(manifest: Manifest) -> bytes:
    """The one encoding. What breaks a limit is a fault of ours and fails an assertion."""
    parts = [MAGIC, manifest.key, manifest.size.to_bytes(_SIZE_BYTES, "big")]
    parts += [_short(manifest.media_type), _short(manifest.name)]
    parts.append(bytes((len(manifest.variants),)))
    for name, variant in manifest.variants:
        inner = encode_manifest(variant)
        parts += [_short(name), len(inner).to_bytes(_VARIANT_LENGTH_BYTES, "big"), inner]
    encoded = b"".join([*parts, manifest.cids])
    assert decode_manifest(encoded) == manifest, "a manifest of ours breaks the rules"
    return encoded


def decode_manifest(data: bytes) -> Manifest:
    """The manifest in these bytes.

    Raises: DecodeError for anything that `encode_manifest` would not write.
    """
    return _decode(data, BLOB_BYTES_MAX, VARIANTS_MAX)


def _decode(data: bytes, size_max: int, variants_max: int) -> Manifest:
    if len(data) < _HEAD_BYTES or not data.startswith(MAGIC):
        raise DecodeError("manifest: not the head of one")
    key = data[len(MAGIC) : len(MAGIC) + KEY_BYTES]
    size = int.from_bytes(data[_HEAD_BYTES - _SIZE_BYTES : _HEAD_BYTES], "big")
    if size > size_max:
        raise DecodeError(f"manifest: a blob of {size} bytes, {size_max} allowed")
    media_type, at = _read_text(data, _HEAD_BYTES, BLOB_TYPE_BYTES_MAX)
    name, at = _read_text(data, at, BLOB_NAME_BYTES_MAX)
    if not all("!" <= letter <= "~" for letter in media_type):
        raise DecodeError("manifest: a media type is printable ASCII")
    if any(letter < " " or letter in "/\x7f" for letter in name):
        raise DecodeError("manifest: a name has a slash or a control character")
    variants, at = _read_variants(data, at, variants_max)
    cids = data[at:]
    if len(cids) != CID_BYTES * chunk_count(size):
        raise DecodeError("manifest: the chunks are not those of its size")
    return Manifest(key, size, cids, media_type, name, variants)


def _read_variants(
    data: bytes, at: int, count_max: int
) -> tuple[tuple[tuple[str, Manifest], ...], int]:
    count, at = _take(data, at, 1)
    if count[0] > count_max:
        raise DecodeError(f"manifest: {count[0]} variants, {count_max} allowed")
    found = []
    for _ in range(count[0]):
        name, at = _read_text(data, at, VARIANT_NAME_BYTES_MAX)
        if not is_variant_name(name):
            raise DecodeError("manifest: a variant has a short name of small letters")
        length, at = _take(data, at, _VARIANT_LENGTH_BYTES)
        inner, at = _take(data, at, int.from_bytes(length, "big"))
        found.append((name, _decode(inner, VARIANT_BYTES_MAX, 0)))
    if not all(one[0] < other[0] for one, other in pairwise(found)):
        raise DecodeError("manifest: variants are out of order, or one comes twice")
    return tuple(found), at


def is_variant_name(name: str) -> bool:
    """Whether a variant may be called so: 1 to 32 of `a` to `z`, `0` to `9` and `-`."""
    allowed = "abcdefghijklmnopqrstuvwxyz0123456789-"
    return 1 <= len(name) <= VARIANT_NAME_BYTES_MAX and all(letter in allowed for letter in name)


def _short(text: str) -> bytes:
    encoded = text.encode()
    return bytes((len(encoded),)) + encoded


def _read_text(data: bytes, at: int, bytes_max: int) -> tuple[str, int]:
    length, at = _take(data, at, 1)
    if length[0] > bytes_max:
        raise DecodeError(f"manifest: a text of {length[0]} bytes, {bytes_max} allowed")
    taken, at = _take(data, at, length[0])
    try:
        return taken.decode(), at
    except UnicodeDecodeError:
        raise DecodeError("manifest: a text is not UTF-8") from None


def _take(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    taken = data[at : at + size]
    if len(taken) != size:
        raise DecodeError("manifest: it ends too early")
    return taken, at + size
