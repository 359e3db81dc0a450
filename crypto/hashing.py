"""Hashing: the two functions H and K of the protocol, both BLAKE2b with 32-byte results.

Every use names a 16-byte label, which BLAKE2b takes as its personalisation: two uses can never
produce the same value from the same input. Labels are module constants beside their one use;
tests/test_crypto_labels.py checks that no two are equal.

BLAKE2b pads a short label, salt or context with zeros, which would make two spellings equal.
So labels are exactly 16 bytes and contexts 16 or none; a key has 16 to 64 bytes, never none.

Spec: docs/protocol.md, preamble and section 11; RFC 7693. Nothing here is slow on purpose:
passwords go through Argon2id in the vault, never through this module.
"""

from __future__ import annotations

from hashlib import blake2b

from nacl.bindings import sodium_memcmp

DIGEST_BYTES = 32
LABEL_BYTES = 16
CONTEXT_BYTES = 16
KEY_BYTES_MIN = 16
KEY_BYTES_MAX = 64


def digest(label: bytes, *parts: bytes) -> bytes:
    """Return `H(label, parts joined)`, 32 bytes.

    The parts are joined as they are: the caller makes the split unambiguous by fixed sizes or
    lengths.
    """
    assert len(label) == LABEL_BYTES, "a label is 16 bytes"
    return blake2b(b"".join(parts), digest_size=DIGEST_BYTES, person=label).digest()


def derive(key: bytes, label: bytes, context: bytes = b"") -> bytes:
    """Return the subkey `K(key, label, context)`, 32 bytes. `context` is empty or 16 bytes.

    An empty context and one of 16 zero bytes give the same key: one label uses one of the two.
    """
    assert KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX, "a key is 16 to 64 bytes"
    assert len(label) == LABEL_BYTES, "a label is 16 bytes"
    assert len(context) in (0, CONTEXT_BYTES), "a context is 16 bytes or none"
    return blake2b(digest_size=DIGEST_BYTES, key=key, person=label, salt=context).digest()


def mac(key: bytes, label: bytes, *parts: bytes) -> bytes:
    """Return `K(key, label, "")` computed over the joined parts, 32 bytes: a keyed hash."""
    assert KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX, "a key is 16 to 64 bytes"
    assert len(label) == LABEL_BYTES, "a label is 16 bytes"
    return blake2b(b"".join(parts), digest_size=DIGEST_BYTES, key=key, person=label).digest()


def equal(a: bytes, b: bytes) -> bool:
    """Compare two byte strings in time that depends on their lengths only."""
    return sodium_memcmp(a, b)
