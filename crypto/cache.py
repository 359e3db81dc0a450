"""Cache: what an application keeps for a while on one device, under hashed keys and sealed.

The keys of a cache are derived from the home's cache key (`vault.cache_key`) and 16 random bytes
that are drawn when the cache is made, so that two lives of a cache have nothing in common: neither
a hash nor a key. A *group* is what a cache of one name is called on the disk, a *place* what one of
its values is: keyed hashes, which nobody can tell or guess a name from without the key.

A value is padded to its Padmé size and sealed with XChaCha20-Poly1305 under a random nonce. The
associated data binds it to its place and to the time when it expires, so values can be neither
swapped nor kept alive. What it does not prevent: an older value of the same place, put back.

Sealed: nonce (24) ‖ ciphertext and tag. Times are milliseconds since 1970. These bytes never leave
the device. Labels: docs/protocol.md, section 11.
"""

from __future__ import annotations

from .aead import NONCE_BYTES, TAG_BYTES, decrypt, encrypt
from .errors import OpenError
from .hashing import CONTEXT_BYTES, DIGEST_BYTES, derive, mac
from .padding import PADDED_BYTES_MIN, pad, unpad
from .secret import Secret

LABEL_HASH_KEY = b"cvy-cache-hashk1"
LABEL_SEAL_KEY = b"cvy-cache-sealk1"
LABEL_GROUP = b"cvy-cache-group1"
LABEL_PLACE = b"cvy-cache-place1"
LABEL_VALUE = b"cvy-cache-value1"
LABEL_NAME = b"cvy-cache-name-1"

SALT_BYTES = CONTEXT_BYTES
GROUP_BYTES = 16
PLACE_BYTES = GROUP_BYTES + DIGEST_BYTES
SEALED_BYTES_MIN = NONCE_BYTES + PADDED_BYTES_MIN + TAG_BYTES
_LENGTH_BYTES = 4
_TIME_BYTES = 8


class CacheKeys:
    """The two keys of one life of a cache."""

    __slots__ = ("_hash", "_seal")

    def __init__(self, cache_key: Secret, salt: bytes) -> None:
        assert len(salt) == SALT_BYTES
        self._hash = Secret(derive(cache_key.reveal(), LABEL_HASH_KEY, salt))
        self._seal = Secret(derive(cache_key.reveal(), LABEL_SEAL_KEY, salt))

    def group(self, name: bytes) -> bytes:
        """What the cache of this name is called on the disk, 16 bytes."""
        return mac(self._hash.reveal(), LABEL_GROUP, name)[:GROUP_BYTES]

    def place(self, name: bytes, key: bytes) -> bytes:
        """What a value is called on the disk, 48 bytes: its group, and a hash of name and key."""
        length = len(name).to_bytes(_LENGTH_BYTES, "big")
        return self.group(name) + mac(self._hash.reveal(), LABEL_PLACE, length, name, key)

    def seal_value(self, nonce: bytes, place: bytes, expires_ms: int, value: bytes) -> bytes:
        """A value as it is kept. Never use a nonce twice."""
        return self._sealed(nonce, value, _bound(place, expires_ms))

    def open_value(self, place: bytes, expires_ms: int, sealed: bytes) -> bytes:
        """Raises: OpenError, FormatError if it is not what was sealed for this place and time."""
        return self._opened(sealed, _bound(place, expires_ms))

    def seal_name(self, nonce: bytes, group: bytes, name: bytes) -> bytes:
        """The name of a cache, for people who ask what is in it."""
        return self._sealed(nonce, name, LABEL_NAME + group)

    def open_name(self, group: bytes, sealed: bytes) -> bytes:
        """Raises: OpenError, FormatError."""
        return self._opened(sealed, LABEL_NAME + group)

    def _sealed(self, nonce: bytes, content: bytes, bound: bytes) -> bytes:
        return nonce + encrypt(self._seal.reveal(), nonce, pad(content), bound)

    def _opened(self, sealed: bytes, bound: bytes) -> bytes:
        if len(sealed) < SEALED_BYTES_MIN:
            raise OpenError(f"sealed value: {len(sealed)} bytes, the least is {SEALED_BYTES_MIN}")
        nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        return unpad(decrypt(self._seal.reveal(), nonce, ciphertext, bound))


def _bound(place: bytes, expires_ms: int) -> bytes:
    assert len(place) == PLACE_BYTES
    return LABEL_VALUE + place + expires_ms.to_bytes(_TIME_BYTES, "big")
