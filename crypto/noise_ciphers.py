"""Noise ciphers: the two state objects of the Noise framework below the handshake.

`CipherState` is one direction of a channel: a key and a counter that never repeats.
`SymmetricState` is what a handshake mixes its keys and messages into; only `noise.py` uses it.

Neither knows whose keys these are, and neither does anything after a failure: a failed `decrypt`
leaves the state as it was, and the caller closes the channel.

Spec: The Noise Protocol Framework, revision 34, sections 4.3, 5.1 and 5.2. The nonce is 4 zero
bytes and the counter, little-endian. Sizes are bytes: keys 32, tags 16, messages at most 65,535.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from enum import Enum
from typing import Any

from nacl.bindings import (
    crypto_aead_chacha20poly1305_ietf_decrypt,
    crypto_aead_chacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError as SodiumError

from .errors import CryptoError, OpenError

KEY_BYTES = 32
TAG_BYTES = 16
MESSAGE_BYTES_MAX = 65_535
PLAINTEXT_BYTES_MAX = MESSAGE_BYTES_MAX - TAG_BYTES
NONCE_RESERVED = 2**64 - 1  # never used for a message


class HashFunction(Enum):
    """The value is the name inside a Noise protocol name."""

    BLAKE2S = "BLAKE2s"
    BLAKE2B = "BLAKE2b"
    SHA256 = "SHA256"


# Any: typeshed knows no common type of the three constructors.
_HASHES: dict[HashFunction, Callable[..., Any]] = {
    HashFunction.BLAKE2S: hashlib.blake2s,
    HashFunction.BLAKE2B: hashlib.blake2b,
    HashFunction.SHA256: hashlib.sha256,
}


class NonceExhaustedError(CryptoError):
    """A cipher has sent 2^64 - 1 messages. One more would repeat a nonce; connect again."""

    exit_code = 4


class CipherState:
    """One direction of a channel: messages in order, each under the next nonce, none twice."""

    __slots__ = ("_key", "_nonce")

    def __init__(self, key: bytes) -> None:
        assert len(key) == KEY_BYTES
        self._key = key
        self._nonce = 0

    def __repr__(self) -> str:
        return f"<CipherState after {self._nonce} messages>"

    def encrypt(self, ad: bytes, plaintext: bytes) -> bytes:
        """Return ciphertext and tag, 16 bytes more than the plaintext of at most 65,519.

        Raises: NonceExhaustedError.
        """
        assert len(plaintext) <= PLAINTEXT_BYTES_MAX
        nonce = self._nonce
        if nonce >= NONCE_RESERVED:
            raise NonceExhaustedError("the channel is used up: too many messages; connect again")
        ciphertext = crypto_aead_chacha20poly1305_ietf_encrypt(
            plaintext, ad, b"\0\0\0\0" + nonce.to_bytes(8, "little"), self._key
        )
        self._nonce = nonce + 1
        return ciphertext

    def decrypt(self, ad: bytes, ciphertext: bytes) -> bytes:
        """Return the plaintext of the next message. A failure leaves the state as it was.

        Raises: OpenError for anything but the next message, unchanged; NonceExhaustedError.
        """
        nonce = self._nonce
        if nonce >= NONCE_RESERVED:
            raise NonceExhaustedError("the channel is used up: too many messages; connect again")
        if not TAG_BYTES <= len(ciphertext) <= MESSAGE_BYTES_MAX:
            raise OpenError(
                f"a channel message has {len(ciphertext)} bytes,"
                f" {TAG_BYTES} to {MESSAGE_BYTES_MAX} allowed"
            )
        try:
            plaintext = crypto_aead_chacha20poly1305_ietf_decrypt(
                ciphertext, ad, b"\0\0\0\0" + nonce.to_bytes(8, "little"), self._key
            )
        except SodiumError:
            raise OpenError("a channel message does not open: changed, lost or repeated") from None
        self._nonce = nonce + 1
        return plaintext


class SymmetricState:
    """The symmetric state of revision 34, section 5.2: chaining key, hash and cipher."""

    __slots__ = ("_chaining_key", "_cipher", "_new_hash", "hash")

    def __init__(self, protocol_name: bytes, hash_function: HashFunction) -> None:
        self._new_hash = _HASHES[hash_function]
        size = self._new_hash().digest_size
        self.hash: bytes = (
            protocol_name.ljust(size, b"\0")
            if len(protocol_name) <= size
            else self._new_hash(protocol_name).digest()
        )
        self._chaining_key: bytes = self.hash
        self._cipher: CipherState | None = None

    @property
    def has_key(self) -> bool:
        return self._cipher is not None

    def mix_hash(self, data: bytes) -> None:
        self.hash = self._new_hash(self.hash + data).digest()

    def mix_key(self, material: bytes) -> None:
        self._chaining_key, key = self._expand(material, 2)
        self._cipher = CipherState(key[:KEY_BYTES])

    def mix_key_and_hash(self, material: bytes) -> None:
        self._chaining_key, mixed, key = self._expand(material, 3)
        self.mix_hash(mixed)
        self._cipher = CipherState(key[:KEY_BYTES])

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        data = plaintext if self._cipher is None else self._cipher.encrypt(self.hash, plaintext)
        self.mix_hash(data)
        return data

    def decrypt_and_hash(self, data: bytes) -> bytes:
        plaintext = data if self._cipher is None else self._cipher.decrypt(self.hash, data)
        self.mix_hash(data)
        return plaintext

    def split(self) -> tuple[CipherState, CipherState]:
        first, second = self._expand(b"", 2)
        self._chaining_key = b""
        self._cipher = None
        return CipherState(first[:KEY_BYTES]), CipherState(second[:KEY_BYTES])

    def _expand(self, material: bytes, outputs: int) -> list[bytes]:
        extracted = hmac.digest(self._chaining_key, material, self._new_hash)
        output, expanded = b"", []
        for number in range(1, outputs + 1):
            output = hmac.digest(extracted, output + bytes([number]), self._new_hash)
            expanded.append(output)
        return expanded
