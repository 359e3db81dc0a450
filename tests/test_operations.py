"""Membership operations as bytes: one spelling of each, and kinds of the future are read too."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.sync.errors import DecodeError
from covey.sync.operations import Operation, decode_operation, encode_operation
from covey.sync.packing import pack

words = st.text(min_size=1, max_size=8)
ids = st.binary(min_size=32, max_size=32)
values = st.one_of(
    st.integers(0, 2**64 - 1), st.binary(max_size=40), words, st.booleans(), st.none()
)
operations = st.builds(
    Operation,
    words,
    st.sets(ids, max_size=4).map(lambda found: tuple(sorted(found))),
    st.integers(0, 2**64 - 1),
    st.dictionaries(words, st.one_of(values, st.lists(values, max_size=3)), max_size=4),
)


@given(operations)
def test_every_operation_comes_back_as_it_was(operation: Operation) -> None:
    """Its id is a hash over these bytes, for kinds of the future as well."""
    assert decode_operation(encode_operation(operation)) == operation


P = [bytes((i,)) * 32 for i in range(70)]


@pytest.mark.parametrize(
    "fields",
    [
        [],
        ["rename", [], 0],
        ["rename", [], 0, {}, 0],
        {"kind": "rename"},
        [b"rename", [], 0, {}],
        ["", [], 0, {}],
        ["x" * 33, [], 0, {}],
        ["rename", [P[1], P[0]], 0, {}],
        ["rename", [P[1], P[1]], 0, {}],
        ["rename", [b"short"], 0, {}],
        ["rename", P[:65], 0, {}],
        ["rename", [], -1, {}],
        ["rename", [], True, {}],
        ["rename", [], 0, []],
    ],
)
def test_operation_is_refused(fields: Any) -> None:
    """What cannot be read cannot be kept for later either."""
    with pytest.raises(DecodeError):
        decode_operation(pack(fields))


@given(st.binary(max_size=120))
def test_random_bytes_are_refused_or_are_an_operation(body: bytes) -> None:
    """The control key holds back strangers, not members with a bad intention."""
    try:
        operation = decode_operation(body)
    except DecodeError:
        return

    assert encode_operation(operation) == body
