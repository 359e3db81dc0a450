"""How near two vectors are: as exact arithmetic says, whatever their lengths."""

import math
from struct import pack, unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.node.data.nearness import Scored, best, score, unit_rows

numbers = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, 1.0, -1.0, 3e38, -3e38, 1e-45, 1e-30]),
)
vectors = st.lists(numbers, min_size=4, max_size=4).filter(any)


def data(vector: list[float]) -> bytes:
    return pack("<4f", *vector)


def cosine(one: list[float], other: list[float]) -> float:
    """With each of them scaled first, so that no double overflows either."""
    rounded = [unpack("<4f", data(vector)) for vector in (one, other)]
    a, b = ([x / max(map(abs, vector)) for x in vector] for vector in rounded)
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


@given(st.lists(vectors, min_size=1, max_size=5), vectors, st.integers(1, 6))
def test_scores_are_cosines_and_the_best_come_first(
    held: list[list[float]], asked: list[float], count: int
) -> None:
    """Sums of squares of such numbers overflow, or vanish, in float32."""
    rows = unit_rows([data(vector) for vector in held], 4)
    (row,) = unit_rows([data(asked)], 4)

    found = score(range(len(held)), rows, row, count)

    expected = sorted((cosine(vector, asked) for vector in held), reverse=True)[:count]
    assert [one.score for one in found] == pytest.approx(expected, abs=1e-5)
    for one in found:
        assert one.score == pytest.approx(cosine(held[one.record_no], asked), abs=1e-5)


def test_of_equal_ones_the_older_come_first_and_the_asked_one_is_left_out() -> None:
    """Else the same search would give others each time."""
    rows = unit_rows([data([1.0, 0.0, 0.0, 0.0])] * 6, 4)

    found = score([9, 5, 7, 3, 8, 6], rows, rows[0], 3, but=5)

    assert found == [Scored(1.0, number) for number in (3, 6, 7)]
    assert best([], 3) == [] and score([], rows[:0], rows[0], 3) == []
