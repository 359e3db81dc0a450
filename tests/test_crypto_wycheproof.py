"""Published attacks and edge cases against the primitives we build on (Project Wycheproof).

The files in tests/vectors name their source, commit and licence. Each case is tried at the level
at which the crypto floor uses the binding; a valid case must be accepted with the exact result, an
invalid one refused.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from nacl.bindings import (
    crypto_aead_chacha20poly1305_ietf_decrypt,
    crypto_aead_chacha20poly1305_ietf_encrypt,
    crypto_scalarmult,
)
from nacl.exceptions import CryptoError as SodiumCryptoError
from nacl.exceptions import RuntimeError as SodiumRuntimeError
from nacl.exceptions import TypeError as SodiumTypeError

from covey.crypto import aead
from covey.crypto.errors import OpenError
from covey.crypto.identity import verify

VECTORS = Path(__file__).parent / "vectors"
ZERO_SECRET = bytes(32)


def groups(name: str) -> list[dict[str, Any]]:
    data = json.loads((VECTORS / f"wycheproof_{name}.json").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = data["testGroups"]
    return found


def test_ed25519_accepts_the_valid_and_refuses_the_invalid() -> None:
    """A malleable or sloppy verifier would let one entry have two signatures."""
    wrong, seen = [], Counter[str]()
    for group in groups("ed25519"):
        public = bytes.fromhex(group["publicKey"]["pk"])
        for case in group["tests"]:
            seen[case["result"]] += 1
            good = verify(public, bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
            if good != (case["result"] == "valid"):
                wrong.append(case["tcId"])

    assert wrong == []
    assert seen == {"valid": 88, "invalid": 63}


def test_x25519_gives_the_published_secret_or_refuses_zero() -> None:
    """An all-zero secret is known to everyone: a peer must not be able to force it."""
    wrong, refused = [], 0
    for group in groups("x25519"):
        for case in group["tests"]:
            shared = bytes.fromhex(case["shared"])
            private, public = bytes.fromhex(case["private"]), bytes.fromhex(case["public"])
            try:
                result = crypto_scalarmult(private, public)
            except SodiumRuntimeError:
                refused += 1
                result = ZERO_SECRET
            if result != shared or case["result"] == "invalid":
                wrong.append(case["tcId"])

    assert wrong == []
    assert refused == 31


def test_x25519_never_returns_the_zero_secret() -> None:
    """The refusal of zero is an exception, not a value that somebody could forget to compare."""
    cases = [case for group in groups("x25519") for case in group["tests"]]
    zero = [case for case in cases if bytes.fromhex(case["shared"]) == ZERO_SECRET]

    assert len(zero) == 31
    for case in zero:
        with pytest.raises(SodiumRuntimeError):
            crypto_scalarmult(bytes.fromhex(case["private"]), bytes.fromhex(case["public"]))


def test_xchacha20_poly1305_opens_the_valid_and_nothing_else() -> None:
    """Everything that is stored rests on this cipher."""
    wrong, seen = [], Counter[str]()
    for group in groups("xchacha20_poly1305"):
        for case in group["tests"]:
            seen[case["result"]] += 1
            key, nonce, ad, plain, sealed = parts(case)
            if group["ivSize"] != 192:
                # Our wrapper asserts on the size: a wrong nonce is a bug of ours, not an input.
                with pytest.raises(AssertionError):
                    aead.decrypt(key, nonce, sealed, ad)
                opened = None
            else:
                opened = opened_or_none(key, nonce, sealed, ad)
            if opened != (plain if case["result"] == "valid" else None):
                wrong.append(case["tcId"])
            if case["result"] == "valid" and aead.encrypt(key, nonce, plain, ad) != sealed:
                wrong.append(case["tcId"])

    assert wrong == []
    assert seen == {"valid": 246, "invalid": 69}


def test_chacha20_poly1305_opens_the_valid_and_nothing_else() -> None:
    """Everything on the wire rests on this cipher, at the level at which the channel calls it."""
    wrong, seen = [], Counter[str]()
    for group in groups("chacha20_poly1305"):
        for case in group["tests"]:
            seen[case["result"]] += 1
            key, nonce, ad, plain, sealed = parts(case)
            opened: bytes | None
            try:
                opened = crypto_aead_chacha20poly1305_ietf_decrypt(sealed, ad, nonce, key)
            except (SodiumCryptoError, SodiumTypeError):
                opened = None
            if opened != (plain if case["result"] == "valid" else None):
                wrong.append(case["tcId"])
            if case["result"] == "valid":
                again = crypto_aead_chacha20poly1305_ietf_encrypt(plain, ad, nonce, key)
                wrong += [case["tcId"]] if again != sealed else []

    assert wrong == []
    assert seen == {"valid": 256, "invalid": 69}


def parts(case: dict[str, Any]) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    key, nonce, ad, plain = (bytes.fromhex(case[name]) for name in ("key", "iv", "aad", "msg"))
    return key, nonce, ad, plain, bytes.fromhex(case["ct"] + case["tag"])


def opened_or_none(key: bytes, nonce: bytes, sealed: bytes, ad: bytes) -> bytes | None:
    try:
        opened: bytes = aead.decrypt(key, nonce, sealed, ad)
    except OpenError:
        return None
    return opened
