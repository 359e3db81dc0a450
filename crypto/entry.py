"""Entry: the sealed, chained, signed unit of every log, and its 252-byte header.

A writer calls `seal`, then `sign_entry`. A receiver, who may hold no key at all, calls `entry_id`,
which rebuilds the header from what travels and names the entry; `verify_entry` on the last entry of
a run then vouches for the whole chain. Who holds the scope key calls `open_sealed` with what
`entry_id` returned. The 252 bytes are never needed in one piece on those paths; `encode_header` and
`decode_header` exist for proofs of a fork, and for test vectors.

The entry id covers the hash of the ciphertext and not the signature, so a body may be dropped while
the chain still verifies. The key id in the header commits to the key, which the cipher does not.

Checked here: sizes, kinds, the position in the chain, the derived nonce, the padding. Not checked
here: whether the chain continues one that we hold, and whether its author may write.

Spec: docs/protocol.md, section 2. All numbers are big-endian; sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise

from .aead import TAG_BYTES, decrypt, encrypt
from .errors import BodyTooLargeError, FormatError
from .hashing import CONTEXT_BYTES, DIGEST_BYTES, derive, digest
from .identity import DeviceKeys, verify
from .padding import LENGTH_BYTES, PADDED_BYTES_MIN, pad, padme, unpad

LABEL_ENTRY_ID = b"covey-entry-id-1"
LABEL_CT_HASH = b"covey-ct-hash-v1"
LABEL_NONCE = b"covey-nonce-v1--"
LABEL_ENTRY_SIG = b"covey-entry-sig-v1\0"
LABEL_KEY_ID = b"covey-keyid-v1--"
LABEL_AUTH_REF = b"covey-auth-ref--"
LABEL_BUCKET_KEY = b"cvy-bucket-key-1"

MAGIC = b"CVE1"
KIND_CHANGE_SET = 1
KIND_MEMBERSHIP = 2

ID_BYTES = 32
TAG16_BYTES = 16
SALT_BYTES = 8
HEADER_BYTES = 252
AD_BYTES = 220
SEQ_MAX = 2**64 - 1
CT_BYTES_MAX = 1_048_576
BUCKET_BYTES = 4

ZERO_ID = bytes(ID_BYTES)
CONTROL_SCOPE = bytes(TAG16_BYTES)
"""The scope tag of the membership log. Membership operations live there, and nothing else does."""


def _padded_sizes() -> list[int]:
    """All plaintext sizes an entry can have, ascending."""
    sizes = [PADDED_BYTES_MIN]
    while (size := padme(sizes[-1] + 1)) <= CT_BYTES_MAX - TAG_BYTES:
        sizes.append(size)
    return sizes


CT_SIZES = frozenset(size + TAG_BYTES for size in _padded_sizes())
"""The lengths a ciphertext can have. Any other cannot open, which shows without a key."""
BODY_BYTES_MAX = max(CT_SIZES) - TAG_BYTES - LENGTH_BYTES

# Copying a fresh state is twice as fast as making one with its parameters.
_NONCE_HASH = blake2b(digest_size=16, person=LABEL_NONCE)
_CT_HASH = blake2b(digest_size=DIGEST_BYTES, person=LABEL_CT_HASH)
_ENTRY_HASH = blake2b(digest_size=DIGEST_BYTES, person=LABEL_ENTRY_ID)


@dataclass(frozen=True, slots=True)
class Heading:
    """What the entries of a segment have in common. Make one and use it for all of them.

    Sizes: mesh, scope and instance 16 bytes; author, auth_ref and key_id 32.

    Raises: FormatError for an unknown kind, and for a kind that does not belong in that scope.
    """

    kind: int
    mesh: bytes
    scope: bytes
    author: bytes
    instance: bytes
    auth_ref: bytes
    key_id: bytes
    front: bytes = field(init=False, repr=False, compare=False)  # header[0:88]
    middle: bytes = field(init=False, repr=False, compare=False)  # header[128:192]

    def __post_init__(self) -> None:
        if self.kind not in (KIND_CHANGE_SET, KIND_MEMBERSHIP):
            raise FormatError(f"entry: kind {self.kind} is unknown to this version")
        if (self.kind == KIND_MEMBERSHIP) != (self.scope == CONTROL_SCOPE):
            raise FormatError(
                f"entry: kind {self.kind} does not belong in scope {self.scope.hex()}"
            )
        assert len(self.mesh) == len(self.scope) == len(self.instance) == TAG16_BYTES
        assert len(self.author) == len(self.auth_ref) == len(self.key_id) == ID_BYTES
        start = MAGIC + bytes((self.kind, 0, 0, 0))
        front = start + self.mesh + self.scope + self.author + self.instance
        object.__setattr__(self, "front", front)
        object.__setattr__(self, "middle", self.auth_ref + self.key_id)


@dataclass(frozen=True, slots=True)
class Header:
    """A decoded header. `ct_hash` stands for the ciphertext, which may have been dropped."""

    heading: Heading
    seq: int
    prev: bytes
    salt: bytes
    ct_len: int
    ct_hash: bytes
    entry_id: bytes


def seal(
    heading: Heading,
    key: bytes,
    seq: int,
    prev: bytes,
    salt: bytes,
    body: bytes,
    bucket: int = 0,
) -> tuple[bytes, bytes]:
    """Seal `body` as entry `seq` after `prev`, and return its ciphertext and entry id.

    `key` is the 32-byte scope key that `heading.key_id` names, `salt` 8 fresh random bytes. In a
    time bucket it is sealed under what `bucket_key` makes of that key.

    Raises: BodyTooLargeError beyond `BODY_BYTES_MAX`.
    """
    if len(body) > BODY_BYTES_MAX:
        raise BodyTooLargeError(
            f"a change of {len(body)} bytes does not fit an entry, which holds {BODY_BYTES_MAX}: "
            "write it in smaller parts"
        )
    assert heading.key_id == key_id(key), "the heading names another key"
    plain = pad(body)
    front = _front(heading, seq, prev, salt, len(plain) + TAG_BYTES)
    ct = encrypt(bucket_key(key, bucket), front[192:216], plain, front)
    return ct, _identify(front, ct)


def entry_id(
    heading: Heading, seq: int, prev: bytes, salt: bytes, ct: bytes
) -> tuple[bytes, bytes, bytes]:
    """Compute, without any key, the entry id, the additional data and the nonce of an entry.

    Raises: FormatError if `ct` has a length that no entry has, or if `seq` and `prev` do not
    fit each other (entry 1, and no other, follows `ZERO_ID`).
    """
    front = _front(heading, seq, prev, salt, len(ct))
    return _identify(front, ct), front, front[192:216]


def open_sealed(key: bytes, ad: bytes, nonce: bytes, ct: bytes) -> bytes:
    """Return the body of an entry. `ad` and `nonce` are those that `entry_id` returned, `key` is
    the scope key, or that of the entry's time bucket (`bucket_key`).

    Raises: OpenError if the key or any byte of the header or the ciphertext is another one;
    FormatError if the author padded the body wrongly, which no key cures.
    """
    return unpad(decrypt(key, nonce, ct, ad))


def _front(heading: Heading, seq: int, prev: bytes, salt: bytes, ct_len: int) -> bytes:
    """Return `header[0:220]`, which is the additional data, with the derived nonce in it."""
    if ct_len not in CT_SIZES:
        raise FormatError(f"entry: no ciphertext has {ct_len} bytes")
    if not 1 <= seq <= SEQ_MAX or (seq == 1) != (prev == ZERO_ID):
        raise FormatError(f"entry: number {seq} cannot follow {prev.hex()}")
    assert len(prev) == ID_BYTES and len(salt) == SALT_BYTES
    place = heading.front + seq.to_bytes(8, "big") + prev + heading.middle + salt
    nonce_hash = _NONCE_HASH.copy()
    nonce_hash.update(place)
    return place + nonce_hash.digest() + ct_len.to_bytes(4, "big")


def _identify(front: bytes, ct: bytes) -> bytes:
    """Return the entry id for `header[0:220]` and a ciphertext."""
    ct_hashing = _CT_HASH.copy()
    ct_hashing.update(ct)
    hashing = _ENTRY_HASH.copy()
    hashing.update(front + ct_hashing.digest())
    return hashing.digest()


def sign_entry(keys: DeviceKeys, entry_id: bytes) -> bytes:
    """Return the author's signature of an entry id, 64 bytes. It vouches for all before it."""
    assert len(entry_id) == ID_BYTES
    return keys.sign(LABEL_ENTRY_SIG + entry_id)


def verify_entry(author: bytes, entry_id: bytes, signature: bytes) -> bool:
    """Say whether `author`, a 32-byte `sig` key, signed this entry id. Never raises."""
    return verify(author, LABEL_ENTRY_SIG + entry_id, signature)


def key_id(key: bytes) -> bytes:
    """Return the 32-byte id of a 32-byte scope key. It commits to the key and reveals nothing."""
    assert len(key) == 32, "a scope key is 32 bytes"
    return digest(LABEL_KEY_ID, key)


def bucket_key(key: bytes, bucket: int) -> bytes:
    """Return the key that entries of a time bucket are sealed under; of bucket 0 the scope key.

    Nobody grants it: who holds the scope key makes it. Who is given one bucket's key can make
    neither the scope key nor another bucket's.
    """
    if not bucket:
        return key
    context = bucket.to_bytes(BUCKET_BYTES, "big").ljust(CONTEXT_BYTES, b"\0")
    return derive(key, LABEL_BUCKET_KEY, context)


def auth_ref(heads: Sequence[bytes]) -> bytes:
    """Return the 32-byte reference to a set of membership heads, ids in ascending order.

    Raises: FormatError unless they ascend, which also rules out duplicates.
    """
    assert all(len(head) == ID_BYTES for head in heads)
    if not all(a < b for a, b in pairwise(heads)):
        raise FormatError("membership heads: not in ascending order, or twice the same")
    return digest(LABEL_AUTH_REF, *heads)


def ct_hash(ct: bytes) -> bytes:
    """Return the 32-byte hash of a ciphertext: what remains in the header if `ct` is dropped."""
    return digest(LABEL_CT_HASH, ct)


def encode_header(
    heading: Heading, seq: int, prev: bytes, salt: bytes, ct_len: int, ct_hash: bytes
) -> bytes:
    """Return the 252 bytes of a header. Inverse of `decode_header`.

    Raises: FormatError as `entry_id` does.
    """
    assert len(ct_hash) == DIGEST_BYTES
    return _front(heading, seq, prev, salt, ct_len) + ct_hash


def decode_header(data: bytes) -> Header:
    """Read a header that comes from outside, and compute its entry id.

    Raises: FormatError for everything that `encode_header` would not write, a nonce that
    is not derived from the rest included.
    """
    if len(data) != HEADER_BYTES:
        raise FormatError(f"entry header: {len(data)} bytes, must be {HEADER_BYTES}")
    if data[:4] != MAGIC:
        raise FormatError(f"entry header: starts with {data[:4].hex()}, not {MAGIC.hex()}")
    if data[5:8] != bytes(3):
        raise FormatError(f"entry header: flags {data[5:8].hex()} are unknown to this version")
    heading = Heading(
        kind=data[4],
        mesh=data[8:24],
        scope=data[24:40],
        author=data[40:72],
        instance=data[72:88],
        auth_ref=data[128:160],
        key_id=data[160:192],
    )
    seq, prev, salt = int.from_bytes(data[88:96], "big"), data[96:128], data[192:200]
    ct_len, ct_hash = int.from_bytes(data[216:220], "big"), data[220:252]
    if encode_header(heading, seq, prev, salt, ct_len, ct_hash) != data:
        raise FormatError("entry header: the nonce is not derived from its place")
    return Header(heading, seq, prev, salt, ct_len, ct_hash, digest(LABEL_ENTRY_ID, data))
