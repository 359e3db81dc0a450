"""Self-test: it passes here, and each thing it guards against makes it fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from nacl import bindings
from nacl.exceptions import UnavailableError

from covey.crypto.errors import SelfTestError
from covey.crypto.selftest import run_self_test


def test_it_passes_with_the_libraries_we_require() -> None:
    """The floor in pyproject.toml and the self-test must agree."""
    run_self_test()


BROKEN: list[tuple[str, str, Callable[..., Any]]] = [
    ("crypto_core_ed25519_is_valid_point", "mixed order", lambda point: True),
    ("crypto_core_ed25519_is_valid_point", "mixed order", lambda point: False),
    ("crypto_aead_xchacha20poly1305_ietf_encrypt", "XChaCha20", lambda m, ad, n, k: m + bytes(16)),
    ("crypto_aead_xchacha20poly1305_ietf_decrypt", "XChaCha20", lambda c, ad, n, k: c[:-16]),
    ("crypto_aead_chacha20poly1305_ietf_encrypt", "ChaCha20", lambda m, ad, n, k: m + bytes(16)),
    ("crypto_aead_chacha20poly1305_ietf_decrypt", "ChaCha20", lambda c, ad, n, k: c[:-16]),
    ("crypto_sign", "Ed25519", lambda m, sk: bytes(64) + m),
    ("crypto_sign_open", "Ed25519", lambda signed, pk: signed[64:]),
    ("crypto_scalarmult", "X25519", lambda n, p: bytes(32)),
    ("crypto_generichash_blake2b_salt_personal", "BLAKE2b", lambda *a, **k: bytes(32)),
]


@pytest.mark.parametrize(("name", "word", "broken"), BROKEN)
def test_it_names_the_primitive_that_is_broken(
    monkeypatch: pytest.MonkeyPatch, name: str, word: str, broken: Callable[..., Any]
) -> None:
    """CVE-2025-69277 is the first case: such a PyNaCl takes a mixed-order point for a good one."""
    monkeypatch.setattr(bindings, name, broken)

    with pytest.raises(SelfTestError) as caught:
        run_self_test()

    assert word in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.exit_code == 6


def test_it_fails_if_a_decryption_takes_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cipher that gives the right answers but checks no tag is broken all the same."""
    right = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt

    def decrypt_unchecked(ct: bytes, ad: bytes, nonce: bytes, key: bytes) -> bytes:
        # The stream cipher is its own inverse.
        plain: bytes = right(ct[:-16], ad, nonce, key)[:-16]
        return plain

    name = "crypto_aead_xchacha20poly1305_ietf_decrypt"
    monkeypatch.setattr(bindings, name, decrypt_unchecked)

    with pytest.raises(SelfTestError):
        run_self_test()


def test_it_fails_if_a_function_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minimal build of libsodium has no edwards25519 arithmetic, and says so by raising."""

    def missing(*arguments: object) -> bytes:
        raise UnavailableError("not in this build")

    monkeypatch.setattr(bindings, "crypto_core_ed25519_add", missing)

    with pytest.raises(SelfTestError):
        run_self_test()
