"""Canonical msgpack: one spelling of everything, and no input that costs more than its caps."""

from contextlib import suppress
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.sync.errors import DecodeError
from covey.sync.packing import pack, unpack

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
    | st.binary(max_size=300)
)
bodies = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=20)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=20)
    ),
    max_leaves=20,
)


def nested(depth: int) -> bytes:
    return b"\x91" * depth + b"\x00"


@given(bodies)
def test_what_was_packed_unpacks_to_the_same(body: Any) -> None:
    """Session frames and membership operations are nothing but this."""
    assert unpack(pack(body), depth_max=100) == body


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), leaves, max_size=30))
def test_the_order_in_which_a_map_was_built_does_not_show(body: dict[str, Any]) -> None:
    """Two devices that say the same must produce the same bytes, because hashes cover them."""
    backwards = dict(reversed(body.items()))

    assert pack(backwards) == pack(body)


@given(st.binary(max_size=60))
def test_random_bytes_are_refused_or_are_the_one_encoding_of_what_they_mean(data: bytes) -> None:
    """A second spelling of one value would have a second id."""
    try:
        body = unpack(data)
    except DecodeError:
        return

    assert pack(body) == data


@given(bodies, st.data())
def test_a_damaged_body_raises_decode_error_and_nothing_else(body: Any, data: Any) -> None:
    """Whatever a peer sends ends its connection, not the node."""
    packed = bytearray(pack(body))
    position = data.draw(st.integers(0, len(packed) - 1))
    packed[position] ^= data.draw(st.integers(1, 255))

    with suppress(DecodeError):
        unpack(bytes(packed))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "nothing"),
        (b"\xc0\xc0", "two values"),
        (b"\xcc\x01", "an integer in two bytes for one"),
        (b"\xd0\x05", "a signed byte for a positive integer"),
        (b"\xd9\x01a", "a string with a length byte it does not need"),
        (b"\xdc\x00\x01\xc0", "an array of 16 bits for one element"),
        (b"\x82\xa1b\x01\xa1a\x02", "keys out of order"),
        (b"\x82\xa1a\x01\xa1a\x02", "a key twice"),
        (b"\x81\x01\x02", "a key that is no string"),
        (b"\x81\xc4\x01a\x02", "a key of bytes"),
        (b"\xca\x00\x00\x00\x00", "a float of 32 bits"),
        (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "NaN"),
        (b"\xcb\xff\xf0\x00\x00\x00\x00\x00\x01", "a signalling NaN"),
        (b"\xd4\x01\x00", "an extension"),
        (b"\xc7\x01\x01\x00", "a long extension"),
        (b"\xc1", "the reserved byte"),
        (b"\xa2\xc3\x28", "broken UTF-8"),
        (b"\xa3\xed\xa0\x80", "half a surrogate pair"),
        (b"\xdd\xff\xff\xff\xff", "an array of four billion"),
        (b"\xdf\xff\xff\xff\xff", "a map of four billion"),
        (b"\xc6\xff\xff\xff\xff", "bytes beyond the end"),
        (b"\xc4", "bytes without a length"),
        (b"\xc4\x02a", "bytes cut short"),
        (b"\xcb\x00", "a float cut short"),
        (nested(9), "nine arrays deep"),
    ],
)
def test_every_form_that_is_not_canonical_is_refused(data: bytes, what: str) -> None:
    """Each of these has another spelling, or none at all, in the protocol."""
    with pytest.raises(DecodeError):
        unpack(data)


def test_eight_levels_are_allowed() -> None:
    """The cap is what the protocol says and not one less."""
    assert unpack(nested(8)) == [[[[[[[[0]]]]]]]]


def test_caps_on_bytes_and_tokens_hold() -> None:
    """A megabyte of empty maps costs msgpack over a second, so it must not get that far."""
    with pytest.raises(DecodeError):
        unpack(b"\xdc\xff\xff" + b"\x80" * 65_535, bytes_max=100_000)
    with pytest.raises(DecodeError):
        unpack(bytes(2), bytes_max=1)


@given(bodies)
def test_our_encoding_is_what_msgpack_makes_of_a_sorted_value(body: Any) -> None:
    """Another implementation, in another language, must be able to read it."""
    assert msgpack.unpackb(pack(body), strict_map_key=True) == body
