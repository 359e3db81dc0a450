"""Hashing: what separates one use of BLAKE2b from another."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_generichash_blake2b_salt_personal

from covey.crypto.hashing import derive, digest, equal, mac

LABEL = b"covey-test-label"
OTHER = b"covey-test-lab-2"
KEY = bytes(range(32))
CONTEXT = b"c" * 16


@settings(max_examples=50)
@given(st.binary(max_size=300), st.binary(min_size=16, max_size=64), st.binary(max_size=16))
def test_hashlib_and_libsodium_agree(data: bytes, key: bytes, context: bytes) -> None:
    """Two implementations that agree are not wrong in the same way."""
    sodium: Any = crypto_generichash_blake2b_salt_personal

    assert digest(LABEL, data) == sodium(data, digest_size=32, person=LABEL)
    assert mac(key, LABEL, data) == sodium(data, digest_size=32, key=key, person=LABEL)
    if len(context) == 16:
        keyed = sodium(b"", digest_size=32, key=key, salt=context, person=LABEL)
        assert derive(key, LABEL, context) == keyed


def test_label_key_and_context_each_change_the_result() -> None:
    """A value of one use must not be valid in another."""
    results = {
        digest(LABEL, b"x"),
        digest(OTHER, b"x"),
        mac(KEY, LABEL, b"x"),
        derive(KEY, LABEL),
        derive(KEY, OTHER),
        derive(KEY[::-1], LABEL),
        derive(KEY, LABEL, CONTEXT),
    }

    assert len(results) == 7
    assert {len(r) for r in results} == {32}


def test_parts_are_joined() -> None:
    """H is defined over the joined bytes: the split is the caller's and not hashed."""
    assert digest(LABEL, b"ab", b"", b"c") == digest(LABEL, b"abc")
    assert mac(KEY, LABEL, b"ab", b"c") == mac(KEY, LABEL, b"abc")


def test_empty_context_and_sixteen_zeros_are_the_same_key() -> None:
    """BLAKE2b pads its salt with zeros: the docstring warns, and this says that it is true."""
    assert derive(KEY, LABEL) == derive(KEY, LABEL, bytes(16))


@pytest.mark.parametrize("label", [b"", b"short", LABEL + b"x"])
def test_label_of_another_size_is_a_bug(label: bytes) -> None:
    """BLAKE2b would pad a short label, and two labels could become one."""
    with pytest.raises(AssertionError):
        digest(label)
    with pytest.raises(AssertionError):
        derive(KEY, label)
    with pytest.raises(AssertionError):
        mac(KEY, label)


@pytest.mark.parametrize("key", [b"", b"short", bytes(65)])
def test_empty_short_or_long_key_is_a_bug(key: bytes) -> None:
    """With an empty key BLAKE2b silently computes a hash that anybody can compute."""
    with pytest.raises(AssertionError):
        derive(key, LABEL)
    with pytest.raises(AssertionError):
        mac(key, LABEL, b"x")


def test_short_context_is_a_bug() -> None:
    """It would be padded, and two contexts could become one."""
    with pytest.raises(AssertionError):
        derive(KEY, LABEL, b"abc")


def test_equal_compares_content_and_length() -> None:
    """The constant-time comparison must still be a comparison."""
    assert equal(b"", b"") and equal(KEY, bytes(KEY))
    assert not equal(KEY, KEY[:-1]) and not equal(KEY, KEY + b"\0") and not equal(KEY, bytes(32))
