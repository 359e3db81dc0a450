"""Value order: keys of views sort as the values do, or ranges and counts would be wrong."""

import math
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.storage.value_order import END, beginning, key_of, row_of
from covey.sync.errors import BadValueError

NUMBERS = st.one_of(
    st.integers(-(2**63 - 1), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([2**53, 2**53 + 1, float(2**53), 2**63 - 1, float(2**63), 5e-324, -5e-324]),
)
TIMES = st.integers(-(10**12), 10**12).map(lambda s: datetime.fromtimestamp(s / 1000, UTC))
VALUES = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(), st.binary(), TIMES)
ROWS = st.lists(VALUES, max_size=4).map(tuple)


def place(value: Any) -> tuple[int, Any]:
    """Where a value stands, told in Python's own terms: its kind, then the value."""
    match value:
        case None:
            return 0, 0
        case bool():
            return 1, value
        case int() | float():
            return 2, Fraction(value)
        case str():
            return 3, [ord(c) for c in value]
        case bytes():
            return 4, value
    return 5, (value - datetime(1970, 1, 1, tzinfo=UTC)) // (datetime.resolution * 1000)


@given(ROWS, ROWS)
def test_keys_sort_as_rows_do(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    """All reading by a range of keys stands on this."""
    places = [place(value) for value in one], [place(value) for value in other]

    assert (key_of(one) < key_of(other)) == (places[0] < places[1])
    assert (key_of(one) == key_of(other)) == (places[0] == places[1])


@given(NUMBERS, NUMBERS)
def test_numbers_sort_exactly(one: float, other: float) -> None:
    """2^53 and 2^53 + 1 are two numbers, though they are one double."""
    assert (key_of([one]) < key_of([other])) == (Fraction(one) < Fraction(other))


@given(ROWS)
def test_a_row_is_read_back(row: tuple[Any, ...]) -> None:
    """Whoever reads a view sees values and not bytes."""
    assert [place(value) for value in row_of(key_of(row))] == [place(value) for value in row]


@given(ROWS, ROWS)
def test_rows_that_begin_alike_lie_together(row: tuple[Any, ...], more: tuple[Any, ...]) -> None:
    """The rows of a thread are found as one range, and nothing of another thread is in it."""
    key = key_of(row)

    assert key <= key_of(row + more) < key + END
    longer = key_of(more)
    assert (key <= longer < key + END) == ([*map(place, more[: len(row)])] == [*map(place, row)])


@given(ROWS, st.integers(0, 5))
def test_the_beginning_of_a_key_is_that_of_its_row(row: tuple[Any, ...], count: int) -> None:
    """Groups are told apart by it."""
    assert beginning(key_of(row), count) == (key_of(row[:count]) if count <= len(row) else None)


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, 2**64, -(2**64), [1], {"a": 1}, "\ud800", datetime(2024, 1, 1)],
)
def test_what_has_no_place_is_refused(value: Any) -> None:
    """A key that sorted somewhere by chance would be found by chance."""
    with pytest.raises(BadValueError):
        key_of([value])
