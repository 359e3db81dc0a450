"""Sodium: pure functions of libsodium, computed once for all devices of this process.

In a simulation both ends of a channel and every reader of an entry are in one process, so each
exchange of keys is computed twice, and each signature verified by every device. All of these are
functions of their arguments alone: whoever asks again with the very same bytes gets the same bytes.
Whatever differs in one bit is computed anew, and so is all that fails.

Three answers are known before they were ever computed: what a signature was made of is what it
proves; what was encrypted is what decrypts to it; and of two ends of an exchange the second gets
what the first got.

`remembered` puts this between `covey.crypto` and its binding while a world stands. The program is
not told, and asks as often as ever.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nacl import bindings

from ..crypto import aead, grants, identity, noise, noise_ciphers

ANSWERS_BYTES_MAX = 16 * 1024 * 1024
"""Of each kind, with their questions; then all of them are forgotten. A run needs less."""


class _Answers(dict[tuple[bytes, ...], bytes]):
    """Question to answer, and how much memory they take, about."""

    size = 0

    def keep(self, question: tuple[bytes, ...], answer: bytes) -> bytes:
        taken = len(answer) + sum(map(len, question))
        if self.size + taken > ANSWERS_BYTES_MAX:
            self.forget()
        self.size += taken
        self[question] = answer
        return answer

    def forget(self) -> None:
        self.clear()
        self.size = 0


class _Exchange:
    """X25519."""

    def __init__(self) -> None:
        self.publics = _Answers()
        self.shared = _Answers()

    def multiply_base(self, private: bytes) -> bytes:
        public = self.publics.get((private,))
        if public is None:
            public = bindings.crypto_scalarmult_base(private)
            self.publics.keep((private,), public)
        return public

    def multiply(self, private: bytes, public: bytes) -> bytes:
        ours = self.multiply_base(private)
        shared = self.shared.get((ours, public))
        if shared is None:
            shared = bindings.crypto_scalarmult(private, public)
            self.shared.keep((ours, public), shared)
            self.shared[public, ours] = shared
        return shared


class _Signatures:
    """Ed25519."""

    def __init__(self) -> None:
        self.opened = _Answers()

    def sign(self, message: bytes, secret: bytes) -> bytes:
        signed = bindings.crypto_sign(message, secret)
        self.opened.keep((signed, secret[32:]), message)
        return signed

    def open(self, signed: bytes, public: bytes) -> bytes:
        message = self.opened.get((signed, public))
        if message is None:
            message = bindings.crypto_sign_open(signed, public)
            self.opened.keep((signed, public), message)
        return message


class _Ciphers:
    """One authenticated cipher."""

    def __init__(self, encrypt: Callable[..., bytes], decrypt: Callable[..., bytes]) -> None:
        self._encrypt = encrypt
        self._decrypt = decrypt
        self.opened = _Answers()

    def encrypt(self, message: bytes, aad: bytes, nonce: bytes, key: bytes) -> bytes:
        ciphertext = self._encrypt(message, aad, nonce, key)
        self.opened.keep((ciphertext, aad, nonce, key), message)
        return ciphertext

    def decrypt(self, ciphertext: bytes, aad: bytes, nonce: bytes, key: bytes) -> bytes:
        message = self.opened.get((ciphertext, aad, nonce, key))
        if message is None:
            message = self._decrypt(ciphertext, aad, nonce, key)
            self.opened.keep((ciphertext, aad, nonce, key), message)
        return message


_EXCHANGE = _Exchange()
_SIGNATURES = _Signatures()
_CHANNELS = _Ciphers(
    bindings.crypto_aead_chacha20poly1305_ietf_encrypt,
    bindings.crypto_aead_chacha20poly1305_ietf_decrypt,
)
_ENTRIES = _Ciphers(
    bindings.crypto_aead_xchacha20poly1305_ietf_encrypt,
    bindings.crypto_aead_xchacha20poly1305_ietf_decrypt,
)

_ALL = (
    *(_EXCHANGE.publics, _EXCHANGE.shared, _SIGNATURES.opened),
    *(_CHANNELS.opened, _ENTRIES.opened),
)

_STAND_INS: dict[str, Callable[..., Any]] = {
    "crypto_scalarmult": _EXCHANGE.multiply,
    "crypto_scalarmult_base": _EXCHANGE.multiply_base,
    "crypto_sign": _SIGNATURES.sign,
    "crypto_sign_open": _SIGNATURES.open,
    "crypto_aead_chacha20poly1305_ietf_encrypt": _CHANNELS.encrypt,
    "crypto_aead_chacha20poly1305_ietf_decrypt": _CHANNELS.decrypt,
    "crypto_aead_xchacha20poly1305_ietf_encrypt": _ENTRIES.encrypt,
    "crypto_aead_xchacha20poly1305_ietf_decrypt": _ENTRIES.decrypt,
}
_ASKING = (aead, grants, identity, noise, noise_ciphers)
"""The modules that ask for one of them."""


@contextmanager
def remembered() -> Iterator[None]:
    """Within, nothing is computed twice. Worlds within worlds change nothing."""
    before = [
        (module, name, getattr(module, name))
        for module in _ASKING
        for name in _STAND_INS
        if hasattr(module, name)
    ]
    for module, name, _ in before:
        setattr(module, name, _STAND_INS[name])
    try:
        yield
    finally:
        for module, name, function in before:
            setattr(module, name, function)
        # What one run was told is of no use to the next, and must not make it another.
        for answers in _ALL:
            answers.forget()
