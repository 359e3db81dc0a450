"""Change sets: the plaintext of every entry, read by hand and therefore tested against msgpack."""

from contextlib import suppress
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.sync.changeset import ChangeSet, RecordChange, decode_change_set, encode_change_set
from covey.sync.errors import BadValueError, DecodeError

name_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=16)
numbers = st.integers(0, 2**64 - 1) | st.sampled_from(
    [edge + offset for edge in (2**7, 2**8, 2**16, 2**32) for offset in (-1, 0)]
)
pasts = st.dictionaries(st.binary(min_size=16, max_size=16), numbers.filter(bool), max_size=20).map(
    lambda past: tuple(sorted(past.items()))
)
tails = st.binary(max_size=40) | st.sampled_from([255, 256, 65_535, 65_536]).map(bytes)
fields = st.none() | st.sets(name_texts, max_size=20).map(lambda names: tuple(sorted(names)))
changes = st.builds(RecordChange, name_texts, name_texts, pasts, tails, fields)
change_sets = st.builds(ChangeSet, numbers, st.lists(changes, min_size=1, max_size=4).map(tuple))

ONE = RecordChange("messages", "m1", ((bytes(16), 3),), b"tail", ("a", "b"))


def packed(**parts: Any) -> bytes:
    """A change set with one change, some of whose parts are replaced."""
    row = {"collection": "c", "id": "i", "past": [], "tail": b"t"} | parts
    hlc = row.pop("hlc", 5)
    encoded: bytes = msgpack.packb([hlc, [list(row.values())]])
    return encoded


@given(change_sets)
def test_what_was_encoded_decodes_to_the_same(change_set: ChangeSet) -> None:
    """It is the only thing that carries what people wrote."""
    body = encode_change_set(*change_set)

    assert decode_change_set(body) == change_set


@given(change_sets)
def test_the_reader_agrees_with_msgpack(change_set: ChangeSet) -> None:
    """The hand-written reader is a shortcut, not a dialect."""
    hlc, rows = msgpack.unpackb(encode_change_set(*change_set), strict_map_key=True)

    assert hlc == change_set.hlc
    assert [row[:2] + row[3:4] for row in rows] == [
        [change.collection, change.id, change.tail] for change in change_set.changes
    ]


@given(change_sets, st.data())
def test_damage_is_refused_or_is_another_canonical_change_set(
    change_set: ChangeSet, data: Any
) -> None:
    """There is one encoding of everything, whatever reaches the decoder."""
    body = bytearray(encode_change_set(*change_set))
    at = data.draw(st.integers(0, min(len(body) - 1, 200)))
    body[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))

    with suppress(DecodeError):
        decoded = decode_change_set(bytes(body))
        assert encode_change_set(*decoded) == body


@given(st.binary(max_size=100))
def test_random_bytes_raise_decode_error_and_nothing_else(junk: bytes) -> None:
    """A member may seal anything."""
    for body in (junk, b"\x92\x05\x91\x94" + junk, b"\x92\x05\x91\x95\xa1c\xa1i" + junk):
        with suppress(DecodeError):
            decode_change_set(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x90",
        b"\x93\x05\x90\x90",
        b"\x92\x05\x90",
        b"\x92\x05\xdc\x00\x01" + packed()[3:],
        b"\x92\xcc\x05" + packed()[2:],
        b"\x92\xcf\x00\x00\x00\x00\xff\xff\xff\xff" + packed()[2:],
        packed() + b"\0",
        packed()[:-1],
        packed(hlc=-1),
        packed(hlc=1.5),
        packed(collection=""),
        packed(collection="c" * 65),
        packed(collection=b"c"),
        packed(id="i" * 257),
        packed(past=[bytes(16)]),
        packed(past=[bytes(15), 1]),
        packed(past=[bytes(16), 0]),
        packed(past=[bytes(16), 1, bytes(16), 2]),
        packed(past=[b"\1" * 16, 1, bytes(16), 2]),
        packed(past=[part for n in range(1025) for part in (n.to_bytes(16, "big"), 1)]),
        packed(tail="t"),
        packed(tail=None),
        packed(fields=["b", "a"]),
        packed(fields=["a", "a"]),
        packed(fields=[""]),
        packed(fields=[1]),
        packed(fields=None),
        packed(fields=[], more=1),
        packed().replace(b"\xa1c", b"\xd9\x01c"),
        packed().replace(b"\xc4\x01t", b"\xc5\x00\x01t"),
        packed().replace(b"\xa1c", b"\xa1\xff"),
        b"\x92\x05\xdd\xff\xff\xff\xff",
        bytes(1_048_577),
    ],
)
def test_what_is_not_a_change_set_in_its_one_form_is_refused(body: bytes) -> None:
    """Every one of these is well-formed msgpack, nearly right, or expensive."""
    with pytest.raises(DecodeError):
        decode_change_set(body)


def test_an_empty_list_of_fields_and_none_are_two_things() -> None:
    """None: look at the change. Empty: no root field was touched."""
    body = encode_change_set(1, [ONE._replace(fields=()), ONE._replace(fields=None)])

    assert [change.fields for change in decode_change_set(body).changes] == [(), None]


@pytest.mark.parametrize(
    "change",
    [
        ONE._replace(collection=""),
        ONE._replace(collection="é" * 33),
        ONE._replace(id="i" * 257),
        ONE._replace(id="\ud800"),
        ONE._replace(tail=bytes(1_032_188)),
    ],
)
def test_a_change_set_of_ours_that_nobody_would_take_is_not_made(change: RecordChange) -> None:
    """It must fail where the application can still do something about it."""
    with pytest.raises(BadValueError):
        encode_change_set(1, [change])


def test_a_transaction_without_changes_is_not_made() -> None:
    """An entry that says nothing would still cost everybody an entry."""
    with pytest.raises(BadValueError):
        encode_change_set(1, [])
