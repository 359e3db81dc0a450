"""The hello: the only bytes of ours that a stranger gets to see."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.node.hello import (
    HELLO_BYTES_MAX,
    Hello,
    Purpose,
    decode_hello,
    encode_hello,
    shared_version,
)
from covey.sync.errors import DecodeError

versions = st.sets(st.integers(0, 65_535), min_size=1, max_size=20).map(lambda v: tuple(sorted(v)))
names = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=16)
features = st.sets(names, max_size=8).map(lambda f: tuple(sorted(f)))
hellos = st.builds(Hello, st.sampled_from(Purpose), versions, features)


def test_the_bytes_are_those_of_the_protocol() -> None:
    """Another implementation reads docs/protocol.md, section 5, and not our code."""
    data = encode_hello(Hello(Purpose.PAIRING, (1, 0x0203), ("a", "bc")))

    assert data == b"CVH1\x01\x02\x00\x01\x02\x03\x02\x01a\x02bc"


@given(hellos)
def test_a_hello_is_read_as_it_was_written(hello: Hello) -> None:
    """The prologue is made of these bytes; both sides must mean the same by them."""
    data = encode_hello(hello)

    assert len(data) <= HELLO_BYTES_MAX
    assert decode_hello(data) == hello


@given(st.binary(max_size=40) | st.binary(max_size=30).map(lambda tail: b"CVH1\0\1\0\1" + tail))
def test_any_bytes_are_refused_or_are_the_one_encoding(data: bytes) -> None:
    """A second spelling would let someone in between change a hello unnoticed by its reader."""
    try:
        hello = decode_hello(data)
    except DecodeError:
        return

    assert encode_hello(hello) == data


@given(hellos, st.data())
def test_a_hello_cut_short_is_refused(hello: Hello, data: st.DataObject) -> None:
    """What is missing must never be read as absent."""
    encoded = encode_hello(hello)
    cut = data.draw(st.integers(0, len(encoded) - 1))

    with pytest.raises(DecodeError):
        decode_hello(encoded[:cut])


def test_the_highest_shared_version_is_used() -> None:
    """Two upgraded nodes leave the old version behind by themselves."""
    assert shared_version((1, 2, 3), (2, 3, 9)) == 3
    assert shared_version((1,), (2,)) is None
