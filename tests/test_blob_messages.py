"""Blob messages: one spelling, and whatever else a peer sends is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.sync.blob_messages import (
    SEALED_BYTES_MAX,
    BlobAsk,
    BlobChunk,
    BlobHave,
    BlobMessage,
    BlobNone,
    BlobWant,
    bits_of,
    chunks_of,
    decode_blob_message,
    encode_blob_message,
)
from covey.sync.errors import DecodeError
from covey.sync.packing import pack
from covey.sync.session_limits import BLOB_CHUNKS_MAX

ID = bytes(range(32))
ids = st.binary(min_size=32, max_size=32)
indices = st.integers(0, BLOB_CHUNKS_MAX - 1)
messages: st.SearchStrategy[BlobMessage] = (
    st.builds(
        BlobAsk,
        st.binary(min_size=16, max_size=16),
        st.sets(ids, min_size=1, max_size=5).map(lambda found: tuple(sorted(found))),
    )
    | st.builds(BlobHave, ids, st.just(b"") | st.binary(min_size=1, max_size=9).filter(any))
    | st.builds(
        BlobWant,
        ids,
        st.sets(indices, min_size=1, max_size=4).map(lambda found: tuple(sorted(found))),
    )
    | st.builds(BlobChunk, ids, indices, st.binary(min_size=16, max_size=50))
    | st.builds(BlobNone, ids, indices)
)


@given(messages)
def test_a_message_reads_as_what_was_written(message: BlobMessage) -> None:
    """Both sides must mean the same chunk."""
    assert decode_blob_message(encode_blob_message(message)) == message


@settings(max_examples=300)
@given(st.integers(0x10, 0x14), st.binary(max_size=80))
def test_any_frame_is_a_message_or_refused(kind: int, rest: bytes) -> None:
    """A peer decides what it sends."""
    frame = bytes((kind,)) + rest
    try:
        found = decode_blob_message(frame)
    except DecodeError:
        return
    assert encode_blob_message(found) == frame


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x09" + pack((ID, 1)),
        b"\x10" + pack((bytes(16), ())),
        b"\x10" + pack((bytes(16), (ID, ID))),
        b"\x10" + pack((bytes(16), (ID, bytes(32)))),
        b"\x10" + pack((bytes(16), [bytes([i]) * 32 for i in range(65)])),
        b"\x10" + pack((bytes(15), (ID,))),
        b"\x10" + pack((bytes(16), (ID,), 1)),
        b"\x11" + pack((ID, b"\0\0")),
        b"\x11" + pack((ID, b"\x01" * 2049)),
        b"\x11" + pack((ID[:31], b"\x01")),
        b"\x12" + pack((ID, ())),
        b"\x12" + pack((ID, (0, 1, 2, 3, 4))),
        b"\x12" + pack((ID, (2, 1))),
        b"\x12" + pack((ID, (1, 1))),
        b"\x12" + pack((ID, (BLOB_CHUNKS_MAX,))),
        b"\x12" + pack((ID, (-1,))),
        b"\x12" + pack((ID, (True,))),
        b"\x13" + ID + b"\0\0\0\0" + bytes(15),
        b"\x13" + ID + b"\0\0\0\0" + bytes(SEALED_BYTES_MAX + 1),
        b"\x13" + ID + b"\0\0\x40\0" + bytes(16),
        b"\x13" + ID[:8],
        b"\x14" + pack((ID,)),
        b"\x14" + pack({"a": 1}),
        b"\x15" + pack((ID, 1)),
    ],
)
def test_what_no_message_may_be_is_refused(frame: bytes) -> None:
    """Each of these would cost memory, or mean two things."""
    with pytest.raises(DecodeError):
        decode_blob_message(frame)


@given(st.integers(1, 40), st.data())
def test_bits_are_the_chunks_they_stand_for(count: int, data: st.DataObject) -> None:
    """A chunk too many would be wanted and never come."""
    chunks = data.draw(st.integers(0, 2**count - 1))

    assert chunks_of(bits_of(chunks, count), count) == chunks


@pytest.mark.parametrize(("bits", "count"), [(b"\x02", 1), (b"\x01\x00", 8), (b"\x01", 9)])
def test_bits_of_another_count_are_refused(bits: bytes, count: int) -> None:
    """They are about another blob than the one that is meant."""
    with pytest.raises(DecodeError):
        chunks_of(bits, count)


def test_a_chunk_does_not_show_its_content() -> None:
    """A quarter of a MiB in a trace helps nobody."""
    assert len(repr(BlobChunk(ID, 0, bytes(1000)))) < 200
