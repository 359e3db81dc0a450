"""Self-test: refuse to run on cryptographic libraries that do not compute what they must.

`run_self_test` is called once at start, before any key is touched, and takes a few milliseconds at
most. It compares each primitive with a published answer, and checks that what must be refused is
refused. It is a guard against a broken or outdated installation, not a proof of correctness: that
is what the published vectors in tests/vectors are for.

PyNaCl up to 1.6.1 takes a point that is the sum of a proper one and one of order 2 for a proper one
(CVE-2025-69277). Certificates and pairing rely on that check, so such a version is refused by
what it does and not by its version number.

Sources: RFC 7693 (BLAKE2b), RFC 8032 (Ed25519), RFC 7748 (X25519), RFC 8439 (ChaCha20-Poly1305),
draft-irtf-cfrg-xchacha-03 (XChaCha20-Poly1305).
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from nacl import bindings
from nacl.exceptions import CryptoError as SodiumError

from .errors import SelfTestError

_MIXED_ORDER_SCALAR = (5).to_bytes(32, "little")
_ORDER_TWO_POINT = bytes.fromhex("ec" + "ff" * 30 + "7f")

_SUNSCREEN = (
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
    b"sunscreen would be it."
)
_AEAD_KEY = bytes(range(0x80, 0xA0))
_AEAD_AD = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
_XCHACHA_NONCE = bytes(range(0x40, 0x58))
_XCHACHA_TAG = bytes.fromhex("c0875924c1c7987947deafd8780acf49")
_CHACHA_NONCE = bytes.fromhex("070000004041424344454647")
_CHACHA_TAG = bytes.fromhex("1ae10b594f09e26a7e902ecbd0600691")

_ED25519_SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
_ED25519_PK = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
_ED25519_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
_ED25519_MESSAGE = b"\x72"

_X25519_SCALAR = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
_X25519_POINT = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
_X25519_RESULT = bytes.fromhex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552")

_BLAKE2B_ABC = bytes.fromhex(
    "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
    "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923"
)


def run_self_test() -> None:
    """Check every primitive once, in well under 5 ms.

    Raises: SelfTestError with one sentence that says what failed and what to do.
    """
    for what, is_good in _CHECKS:
        try:
            good = is_good()
        except SodiumError:  # a function that is missing, or an answer that does not open
            good = False
        if not good:
            raise SelfTestError(f"{what}: this PyNaCl or Python is unsafe, install pynacl>=1.6.2")


def _mixed_order_point_is_refused() -> bool:
    proper = bindings.crypto_scalarmult_ed25519_base_noclamp(_MIXED_ORDER_SCALAR)
    mixed = bindings.crypto_core_ed25519_add(proper, _ORDER_TWO_POINT)
    is_valid = bindings.crypto_core_ed25519_is_valid_point
    return is_valid(proper) and not is_valid(mixed)


def _xchacha_is_right() -> bool:
    encrypt = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt
    decrypt = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt
    ct = encrypt(_SUNSCREEN, _AEAD_AD, _XCHACHA_NONCE, _AEAD_KEY)
    return (
        ct.startswith(bytes.fromhex("bd6d179d3e83d43b"))
        and ct.endswith(_XCHACHA_TAG)
        and decrypt(ct, _AEAD_AD, _XCHACHA_NONCE, _AEAD_KEY) == _SUNSCREEN
        and _raises(lambda: decrypt(ct, _AEAD_AD[:-1], _XCHACHA_NONCE, _AEAD_KEY))
    )


def _chacha_is_right() -> bool:
    encrypt = bindings.crypto_aead_chacha20poly1305_ietf_encrypt
    decrypt = bindings.crypto_aead_chacha20poly1305_ietf_decrypt
    ct = encrypt(_SUNSCREEN, _AEAD_AD, _CHACHA_NONCE, _AEAD_KEY)
    return (
        ct.startswith(bytes.fromhex("d31a8d34648e60db"))
        and ct.endswith(_CHACHA_TAG)
        and decrypt(ct, _AEAD_AD, _CHACHA_NONCE, _AEAD_KEY) == _SUNSCREEN
        and _raises(lambda: decrypt(ct[:-1] + b"\0", _AEAD_AD, _CHACHA_NONCE, _AEAD_KEY))
    )


def _ed25519_is_right() -> bool:
    pk, sk = bindings.crypto_sign_seed_keypair(_ED25519_SEED)
    signed = bindings.crypto_sign(_ED25519_MESSAGE, sk)
    return (
        pk == _ED25519_PK
        and signed == _ED25519_SIGNATURE + _ED25519_MESSAGE
        and bindings.crypto_sign_open(signed, pk) == _ED25519_MESSAGE
        and _raises(lambda: bindings.crypto_sign_open(signed[:-1] + b"\x73", pk))
    )


def _x25519_is_right() -> bool:
    multiply = bindings.crypto_scalarmult
    return multiply(_X25519_SCALAR, _X25519_POINT) == _X25519_RESULT and _raises(
        lambda: multiply(_X25519_SCALAR, bytes(32))
    )


def _blake2b_is_right() -> bool:
    by_sodium = bindings.crypto_generichash_blake2b_salt_personal(
        b"abc", digest_size=32, key=_AEAD_KEY, salt=b"s" * 16, person=b"p" * 16
    )
    by_python = blake2b(b"abc", digest_size=32, key=_AEAD_KEY, salt=b"s" * 16, person=b"p" * 16)
    return blake2b(b"abc").digest() == _BLAKE2B_ABC and by_python.digest() == by_sodium


def _raises(call: Callable[[], object]) -> bool:
    """Say whether libsodium refuses."""
    try:
        call()
    except SodiumError:
        return True
    return False


_CHECKS: tuple[tuple[str, Callable[[], bool]], ...] = (
    ("PyNaCl accepts an Ed25519 point of mixed order", _mixed_order_point_is_refused),
    ("XChaCha20-Poly1305 does not give the published answer", _xchacha_is_right),
    ("ChaCha20-Poly1305 does not give the published answer", _chacha_is_right),
    ("Ed25519 does not give the published answer", _ed25519_is_right),
    ("X25519 does not give the published answer", _x25519_is_right),
    ("BLAKE2b does not give the published answer", _blake2b_is_right),
)
