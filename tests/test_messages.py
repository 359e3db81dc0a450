"""Frames between members: one spelling of everything, and nothing else gets in."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.sync.batch import (
    Batch,
    Run,
    Segment,
    decode_batch,
    decode_uleb,
    encode_batch,
    encode_uleb,
)
from covey.sync.errors import DecodeError
from covey.sync.messages import (
    Ack,
    Digests,
    Goodbye,
    Greeting,
    Have,
    Message,
    Reason,
    Root,
    VectorMessage,
    Want,
    decode,
    encode,
)
from covey.sync.packing import pack
from covey.sync.session_limits import FRAME_BYTES_MAX, SEQ_MAX

tag = st.binary(min_size=16, max_size=16)
id32 = st.binary(min_size=32, max_size=32)
seq = st.integers(1, SEQ_MAX)
salt = st.binary(min_size=8, max_size=8)
credit = st.integers(0, 2**32 - 1)


def rows(*columns: st.SearchStrategy[Any], size: int = 4) -> st.SearchStrategy[tuple[Any, ...]]:
    unique = st.lists(st.tuples(*columns), max_size=size, unique_by=lambda row: row[0])
    return unique.map(lambda found: tuple(sorted(found)))


@st.composite
def ranges(draw: st.DrawFn) -> tuple[tuple[bytes, int, int], ...]:
    found = []
    for instance in sorted(draw(st.sets(tag, min_size=1, max_size=3))):
        bounds = sorted(
            draw(st.sets(seq, min_size=2, max_size=4).filter(lambda s: len(s) % 2 == 0))
        )
        found += [(instance, *bounds[i : i + 2]) for i in range(0, len(bounds), 2)]
    return tuple(found)  # type: ignore[arg-type]


@st.composite
def segments(draw: st.DrawFn) -> tuple[Segment, ...]:
    keys = draw(st.lists(id32, min_size=1, max_size=3, unique=True))
    return tuple(
        Segment(
            draw(st.integers(0, 255)),
            key,
            tuple(sorted(draw(st.sets(id32, max_size=3)))),
            draw(st.lists(st.tuples(salt, st.binary(max_size=300)), min_size=1, max_size=4)),
        )
        for key in keys
    )


@st.composite
def runs(draw: st.DrawFn) -> Run:
    first = draw(st.one_of(st.just(1), st.integers(2, SEQ_MAX - 12)))
    prev_id = bytes(32) if first == 1 else draw(id32.filter(any))
    end = draw(st.binary(min_size=64, max_size=64))
    return Run(draw(id32), draw(tag), first, prev_id, draw(segments()), end)


batches = st.builds(Batch, tag, st.lists(runs(), min_size=1, max_size=3).map(tuple))
words = st.text(st.sampled_from("abcxyz-"), min_size=1, max_size=8)
messages = st.one_of(
    st.builds(
        Greeting,
        st.integers(0, 0xFFFF),
        st.sets(words, max_size=4).map(lambda found: tuple(sorted(found))),
        st.dictionaries(st.text(max_size=5), st.one_of(st.integers(0, 9), st.text(max_size=9))),
        credit,
        id32,
        id32,
    ),
    st.one_of(
        st.builds(Digests, st.just(0), st.just(b""), rows(tag, id32)),
        st.builds(Digests, st.just(1), tag, rows(tag, id32)),
    ),
    st.builds(VectorMessage, tag, rows(tag, id32, seq, id32)),
    st.builds(Want, tag, ranges()),
    batches,
    st.builds(Ack, tag, rows(tag, seq), credit),
    st.builds(Have, tag, tag, id32, seq, id32),
    st.builds(Root, id32, id32),
    st.builds(Goodbye, st.sampled_from([r for r in Reason if r.value < 200]), st.text(max_size=60)),
)


@given(messages)
@settings(max_examples=200)
def test_every_message_comes_back_as_it_was(message: Message) -> None:
    """What one node says the other must read, to the last byte."""
    assert decode(encode(message)) == message


@given(messages, st.data())
@settings(max_examples=200)
def test_changed_frame_is_refused_or_is_another_message(
    message: Message, data: st.DataObject
) -> None:
    """A second spelling of a message would let two nodes differ over what was said."""
    frame = bytearray(encode(message))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] ^= data.draw(st.integers(1, 255))
    try:
        other = decode(bytes(frame))
    except DecodeError:
        return

    unknown = isinstance(other, Goodbye) and other.reason is Reason.OTHER
    assert unknown or encode(other) == bytes(frame)


@given(messages, st.data())
def test_shortened_and_lengthened_frames_are_refused(message: Message, data: st.DataObject) -> None:
    """A frame that ends early must not be taken for a smaller one."""
    frame = encode(message)
    shorter = frame[: data.draw(st.integers(0, len(frame) - 1))]
    whole_runs = set()
    if isinstance(message, Batch):
        whole_runs = {
            len(encode_batch(message.scope, message.runs[:n])) for n in range(1, len(message.runs))
        }

    if len(shorter) not in whole_runs:
        with pytest.raises(DecodeError):
            decode(shorter)
    with pytest.raises(DecodeError):
        decode(frame + b"\x00")


@given(st.binary(max_size=200), st.integers(0, 10))
@settings(max_examples=300)
def test_random_bytes_are_refused_or_are_a_message(tail: bytes, kind: int) -> None:
    """Whatever a stranger to the rules sends costs a decode and nothing else."""
    frame = bytes((kind,)) + tail
    try:
        message = decode(frame)
    except DecodeError:
        return

    assert isinstance(message, Goodbye) or encode(message) == frame


A, B = b"a" * 16, b"b" * 16
ID = b"i" * 32
REFUSED: dict[str, bytes] = {
    "no frame at all": b"",
    "unknown type": b"\x0b" + pack([]),
    "hold with a tag twice": b"\x0a" + pack([bytes(16), bytes(16)]),
    "hold with a short tag": b"\x0a" + pack([bytes(15)]),
    "hold of too many databases": b"\x0a"
    + pack([number.to_bytes(16, "big") for number in range(1_025)]),
    "greeting with a field too many": b"\x01"
    + pack(
        {
            "control": ID,
            "credit": 1,
            "features": [],
            "more": 1,
            "root": ID,
            "state": {},
            "version": 1,
        }
    ),
    "greeting without state": b"\x01"
    + pack({"control": ID, "credit": 1, "features": [], "root": ID, "version": 1}),
    "features out of order": b"\x01"
    + pack(
        {"control": ID, "credit": 1, "features": ["b", "a"], "root": ID, "state": {}, "version": 1}
    ),
    "feature not ASCII": b"\x01"
    + pack({"control": ID, "credit": 1, "features": ["ä"], "root": ID, "state": {}, "version": 1}),
    "device state too large": b"\x01"
    + pack(
        {
            "control": ID,
            "credit": 1,
            "features": [],
            "root": ID,
            "state": {"x": "y" * 5000},
            "version": 1,
        }
    ),
    "digest level 2": b"\x02" + pack([2, A, []]),
    "digest level true": b"\x02" + pack([True, A, []]),
    "level 0 with a node": b"\x02" + pack([0, A, []]),
    "level 1 without a node": b"\x02" + pack([1, b"", []]),
    "digest rows twice": b"\x02" + pack([0, b"", [[A, ID], [A, ID]]]),
    "digest too short": b"\x02" + pack([0, b"", [[A, ID[:31]]]]),
    "vector out of order": b"\x03" + pack([A, [[B, ID, 1, ID], [A, ID, 1, ID]]]),
    "vector at number 0": b"\x03" + pack([A, [[A, ID, 0, ID]]]),
    "vector with a wide row": b"\x03" + pack([A, [[A, ID, 1, ID, 1]]]),
    "want of nothing": b"\x04" + pack([A, []]),
    "want that overlaps": b"\x04" + pack([A, [[A, 1, 5], [A, 5, 6]]]),
    "want backwards": b"\x04" + pack([A, [[A, 5, 4]]]),
    "want beyond 63 bits": b"\x04" + pack([A, [[A, 1, 2**63]]]),
    "ack with a negative credit": b"\x06" + pack([A, [], -1]),
    "ack of one log twice": b"\x06" + pack([A, [[A, 1], [A, 2]], 0]),
    "ack with a float": b"\x06" + pack([A, [], 1.0]),
    "have with text": b"\x07" + pack([A, A, ID, 1, "i" * 32]),
    "root of three": b"\x08" + pack([ID, ID, ID]),
    "goodbye with a long text": b"\x09" + pack([0, "x" * 257]),
    "goodbye with a large number": b"\x09" + pack([256, ""]),
    "msgpack with a tail": b"\x08" + pack([ID, ID]) + b"\xc0",
    "frame beyond 1 MiB": b"\x03" + bytes(FRAME_BYTES_MAX),
    "empty batch": b"\x05" + A,
}


@pytest.mark.parametrize("why", REFUSED)
def test_frame_is_refused(why: str) -> None:
    """Each of these has been, in some protocol, the first step of an attack."""
    with pytest.raises(DecodeError):
        decode(REFUSED[why])


def test_goodbye_with_an_unknown_number_is_understood_as_other() -> None:
    """A newer peer may have reasons of its own; its farewell is no offence."""
    assert decode(b"\x09" + pack([77, "later"])) == Goodbye(Reason.OTHER, "later")
    assert decode(b"\x09" + pack([200, ""])) == Goodbye(Reason.OTHER, "")


def run_of(first: int = 1, prev_id: bytes = bytes(32), **changes: Any) -> Run:
    segment = Segment(
        changes.get("kind", 1),
        ID,
        changes.get("heads", ()),
        changes.get("entries", [(b"saltsalt", b"c" * 300)]),
    )
    return Run(ID, A, first, prev_id, changes.get("segments", (segment,)), b"s" * 64)


BAD_RUNS = {
    "number 0": run_of(0),
    "entry 1 after another": run_of(1, ID),
    "entry 2 after nothing": run_of(2),
    "number beyond 63 bits": run_of(SEQ_MAX, ID, entries=[(b"saltsalt", b"")] * 2),
    "heads out of order": run_of(heads=(ID, bytes(32))),
    "one head twice": run_of(heads=(ID, ID)),
    "too many heads": run_of(heads=tuple(bytes((i,)) * 32 for i in range(65))),
    "no entries": run_of(entries=[]),
    "too many entries": run_of(entries=[(b"saltsalt", b"")] * 4097),
}


@pytest.mark.parametrize("why", BAD_RUNS)
def test_batch_is_refused(why: str) -> None:
    """Bounds and order of a batch are checked before anything is hashed or verified."""
    with pytest.raises(DecodeError):
        decode_batch(encode_batch(B, (BAD_RUNS[why],)))


def test_bounds_of_a_batch_hold_over_all_its_runs() -> None:
    """4,096 entries is the bound of a batch and not of each of its runs."""
    half = run_of(entries=[(b"saltsalt", b"c")] * 2048)

    assert len(decode_batch(encode_batch(B, (half, half))).runs) == 2
    with pytest.raises(DecodeError):
        decode_batch(encode_batch(B, (half, half, run_of())))


def test_neighbouring_segments_that_are_alike_are_written_as_one() -> None:
    """Two segments that say the same would be a second spelling of one."""
    one = Segment(1, ID, (), [(b"saltsalt", b"x")])
    other = Segment(1, ID, (), [(b"saltsalt", b"y")])
    frame = encode_batch(B, (run_of(segments=(one, other)),))

    (segment,) = decode_batch(frame).runs[0].segments
    assert list(segment.entries) == [(b"saltsalt", b"x"), (b"saltsalt", b"y")]
    doubled = frame.replace(encode_uleb(1) + b"\x01" + ID, encode_uleb(2) + b"\x01" + ID, 1)
    single = b"\x01" + ID + b"\x00\x01" + b"saltsalt\x01x"
    split = doubled.replace(
        b"\x01" + ID + b"\x00\x02" + b"saltsalt\x01x", single + b"\x01" + ID + b"\x00\x01"
    )
    with pytest.raises(DecodeError, match="alike"):
        decode_batch(split)


def test_last_number_of_a_run_counts_all_its_segments() -> None:
    """The receiver finds the end of a run by it."""
    segments = (Segment(1, ID, (), [(b"s" * 8, b"")] * 3), Segment(2, ID, (), [(b"s" * 8, b"")]))

    assert run_of(7, ID, segments=segments).last_seq == 10


@given(st.integers(0, 2**28 - 1))
def test_uleb_has_one_spelling(number: int) -> None:
    """A length in a longer spelling would change bytes without changing the meaning."""
    spelled = encode_uleb(number)

    assert decode_uleb(spelled, 0) == (number, len(spelled))
    if len(spelled) < 4:
        padded = spelled[:-1] + bytes((spelled[-1] | 0x80, 0))
        with pytest.raises(DecodeError):
            decode_uleb(padded, 0)


def test_uleb_of_five_bytes_is_refused() -> None:
    """Nothing in a batch is that long."""
    with pytest.raises(DecodeError):
        decode_uleb(b"\x80\x80\x80\x80\x01", 0)
