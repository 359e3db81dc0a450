"""What a cache writes down: hashes that tell nothing, and values that open in one place only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.crypto.cache import GROUP_BYTES, PLACE_BYTES, SALT_BYTES, CacheKeys
from covey.crypto.errors import CryptoError
from covey.crypto.secret import Secret

KEY = Secret(b"k" * 32)
NONCE = b"n" * 24
KEYS = CacheKeys(KEY, b"s" * SALT_BYTES)
PLACE = KEYS.place(b"answers", b"tea")


@given(st.binary(max_size=2_000), st.integers(0, 2**63), st.binary(min_size=24, max_size=24))
def test_what_is_sealed_opens_as_it_was(value: bytes, expires_ms: int, nonce: bytes) -> None:
    """Lengths at the edges of the padding included."""
    sealed = KEYS.seal_value(nonce, PLACE, expires_ms, value)

    assert KEYS.open_value(PLACE, expires_ms, sealed) == value
    assert len(value) < 8 or value not in sealed[len(nonce) :]


def test_a_value_opens_at_no_other_place_and_time_and_under_no_other_key() -> None:
    """Whoever can write to the disk could move it, or keep it alive."""
    sealed = KEYS.seal_value(NONCE, PLACE, 5, b"green")
    others = (
        (KEYS, KEYS.place(b"answers", b"cup"), 5, sealed),
        (KEYS, KEYS.place(b"other", b"tea"), 5, sealed),
        (KEYS, PLACE, 6, sealed),
        (CacheKeys(KEY, b"t" * SALT_BYTES), PLACE, 5, sealed),
        (CacheKeys(Secret(b"l" * 32), b"s" * SALT_BYTES), PLACE, 5, sealed),
        (KEYS, PLACE, 5, KEYS.seal_name(NONCE, PLACE[:GROUP_BYTES], b"green")),
    )

    for keys, place, expires_ms, content in others:
        with pytest.raises(CryptoError):
            keys.open_value(place, expires_ms, content)


def test_no_bit_of_a_sealed_value_can_be_another_and_none_can_be_missing() -> None:
    """A disk that rots must give nothing rather than something else."""
    sealed = KEYS.seal_value(NONCE, PLACE, 5, b"green")

    for at in range(len(sealed)):
        flipped = sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :]
        for content in (flipped, sealed[:at]):
            with pytest.raises(CryptoError):
                KEYS.open_value(PLACE, 5, content)


def test_names_and_keys_do_not_run_into_each_other() -> None:
    """`ab` and `c` would otherwise be the place of `a` and `bc`."""
    places = {
        KEYS.place(name, key)
        for name, key in ((b"ab", b"c"), (b"a", b"bc"), (b"abc", b""), (b"", b"abc"))
    }

    assert len(places) == 4
    assert {len(place) for place in places} == {PLACE_BYTES}
    assert KEYS.place(b"a", b"x")[:GROUP_BYTES] == KEYS.place(b"a", b"y")[:GROUP_BYTES]
    assert KEYS.group(b"a") != KEYS.group(b"b")


def test_two_lives_of_a_cache_have_no_hash_in_common() -> None:
    """Or an old copy of the disk would tell which keys are used again."""
    other = CacheKeys(KEY, b"t" * SALT_BYTES)

    assert other.group(b"answers") != KEYS.group(b"answers")
    assert other.place(b"answers", b"tea")[GROUP_BYTES:] != PLACE[GROUP_BYTES:]


def test_lengths_of_values_are_rounded_up() -> None:
    """A length can tell an answer from another."""
    assert {len(KEYS.seal_value(NONCE, PLACE, 5, b"x" * size)) for size in range(250)} == {296}
    assert "kkkk" not in repr(KEYS)
