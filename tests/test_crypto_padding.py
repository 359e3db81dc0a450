"""Padding: one spelling, few sizes, little waste."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.crypto.errors import FormatError
from covey.crypto.padding import pad, padme, unpad


@settings(max_examples=200)
@given(st.integers(min_value=1, max_value=2**24))
def test_padme_rounds_up_to_a_size_that_stays(length: int) -> None:
    """A padded size that were padded again would say more than one size."""
    size = padme(length)

    assert length <= size == padme(size)
    assert padme(size + 1) > size
    assert size <= length * 1.12 + 1


def test_padme_of_all_small_lengths_ascends() -> None:
    """Longer bodies never have shorter ciphertexts."""
    sizes = [padme(n) for n in range(1, 5000)]

    assert sizes == sorted(sizes)


def test_padme_of_nothing_is_a_bug() -> None:
    """Padmé is not defined for 0, and we never ask: a body has its length in front."""
    with pytest.raises(AssertionError):
        padme(0)


@settings(max_examples=100)
@given(st.binary(max_size=2000))
def test_what_was_padded_comes_back(body: bytes) -> None:
    """Nobody may lose a byte, trailing zeros included."""
    plain = pad(body)

    assert unpad(plain) == body
    assert len(plain) == padme(max(256, 4 + len(body)))


@settings(max_examples=150)
@given(st.binary(max_size=700), st.data())
def test_a_changed_byte_means_another_body_or_a_refusal(body: bytes, data: st.DataObject) -> None:
    """There is one spelling: whatever is accepted is what `pad` would have written."""
    plain = bytearray(pad(body))
    at = data.draw(st.integers(0, len(plain) - 1))
    plain[at] ^= data.draw(st.integers(1, 255))
    try:
        other = unpad(bytes(plain))
    except FormatError:
        return

    assert other != body
    assert pad(other) == bytes(plain)


@settings(max_examples=100)
@given(st.binary(max_size=700) | st.binary(max_size=400).map(lambda b: b.ljust(512, b"\0")))
def test_random_bytes_are_refused_or_are_the_one_spelling(plain: bytes) -> None:
    """Decoders end in a value or a FormatError, nothing else."""
    try:
        body = unpad(plain)
    except FormatError:
        return

    assert pad(body) == plain
