"""Field sealing: one value inside of a record, for devices that have the keys of another scope.

`"CVF1" ‖ key id (32) ‖ nonce (24) ‖ ciphertext`. The key is derived from a scope key, which the
key id names (entry.py), so it changes with the epoch; the nonce is drawn at random for each value.
Database and collection are authenticated; the place inside the collection is not, so that a record
may be moved and a field renamed.

Spec: docs/protocol.md, section 15. Sizes are bytes.
"""

from __future__ import annotations

from .aead import NONCE_BYTES, TAG_BYTES, decrypt, encrypt
from .entry import key_id
from .errors import OpenError
from .hashing import DIGEST_BYTES, derive

MAGIC = b"CVF1"
LABEL_FIELD_KEY = b"cvy-field-key-v1"
_HEAD_BYTES = len(MAGIC) + DIGEST_BYTES + NONCE_BYTES


def seal_field(scope_key: bytes, nonce: bytes, place: bytes, plaintext: bytes) -> bytes:
    """The sealed form of a value. `nonce` is 24 random bytes; `place` says where it belongs."""
    head = MAGIC + key_id(scope_key) + nonce
    key = derive(scope_key, LABEL_FIELD_KEY)
    return head + encrypt(key, nonce, plaintext, head + place)


def field_key_id(sealed: object) -> bytes | None:
    """The id of the scope key that opens a value; None for what is no sealed value."""
    if type(sealed) is not bytes or sealed[: len(MAGIC)] != MAGIC:
        return None
    return sealed[len(MAGIC) :][:DIGEST_BYTES] if len(sealed) >= _HEAD_BYTES + TAG_BYTES else None


def open_field(scope_key: bytes, place: bytes, sealed: bytes) -> bytes:
    """The plaintext of a sealed value. Raises OpenError if anything differs."""
    if field_key_id(sealed) != key_id(scope_key):
        raise OpenError("sealed field: not one, or under another key")
    head, ciphertext = sealed[:_HEAD_BYTES], sealed[_HEAD_BYTES:]
    key = derive(scope_key, LABEL_FIELD_KEY)
    return decrypt(key, head[-NONCE_BYTES:], ciphertext, head + place)
