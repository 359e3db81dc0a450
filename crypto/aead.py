"""AEAD: XChaCha20-Poly1305-IETF, the one cipher for everything that is stored.

A nonce of 24 bytes is long enough to be drawn at random, or derived with a random part, after any
restore of a backup. The cipher does not commit to its key: what needs that names the key by its
key id (entry.py). The channel uses another cipher and its own module.

Sizes: key 32, nonce 24, tag 16 bytes at the end of the ciphertext. Everything is `bytes`: the
binding takes no view and no bytearray.

Spec: docs/protocol.md, section 2; draft-irtf-cfrg-xchacha-03.
"""

from __future__ import annotations

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError as _SodiumError

from .errors import OpenError

KEY_BYTES = 32
NONCE_BYTES = 24
TAG_BYTES = 16


def encrypt(key: bytes, nonce: bytes, plaintext: bytes, ad: bytes) -> bytes:
    """Return ciphertext and tag, `len(plaintext) + 16` bytes. Never use a nonce twice."""
    assert len(key) == KEY_BYTES and len(nonce) == NONCE_BYTES
    return crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, ad, nonce, key)


def decrypt(key: bytes, nonce: bytes, ciphertext: bytes, ad: bytes) -> bytes:
    """Return the plaintext that was encrypted under exactly this key, nonce and `ad`.

    Raises: OpenError if anything differs, a ciphertext shorter than its tag included.
    """
    assert len(key) == KEY_BYTES and len(nonce) == NONCE_BYTES
    if len(ciphertext) < TAG_BYTES:  # the binding would raise a ValueError about an array
        raise OpenError(f"ciphertext does not open: {len(ciphertext)} bytes hold no tag")
    try:
        return crypto_aead_xchacha20poly1305_ietf_decrypt(ciphertext, ad, nonce, key)
    except _SodiumError:
        raise OpenError("ciphertext does not open: wrong key, or changed on its way") from None
