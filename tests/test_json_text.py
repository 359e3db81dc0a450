"""JSON that people type: what is no JSON, or no number that can be kept, is told in words."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.cli.json_text import read_json

from .processes import homes

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_json_is_read_as_it_was_written(value: object) -> None:
    assert read_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("NaN", "NaN is not in JSON"),
        ("[-Infinity]", "-Infinity is not in JSON"),
        ("1e999", "a number in it is too large"),
        ('{"a": -1e400}', "a number in it is too large"),
        ("9" * 5_000, "a number in it is too large"),
        ("[" * 100_000, "it is nested too deep"),
        ('{"a": "secret', "Unterminated string starting at at line 1, column 7"),
        ("", "Expecting value at line 1, column 1"),
    ],
    ids=["nan", "infinity", "exponent", "inside", "digits", "deep", "open", "empty"],
)
def test_what_is_wrong_is_told_without_the_content_and_without_python(text: str, said: str) -> None:
    """Python advises to call a function of its own, and names what it was decoding."""
    with pytest.raises(ValueError, match=f"^{said}$"):
        read_json(text)


def test_a_large_but_finite_number_is_read() -> None:
    assert read_json("1e308") == 1e308
    assert math.isclose(read_json("1" * 300), float("1" * 300))


def test_a_number_that_json_cannot_say_is_told_by_every_command(tmp_path: Path) -> None:
    """The node was sent what is no JSON, and said only that."""
    with homes(tmp_path, "laptop") as (laptop,):
        laptop.init()
        put = laptop.attempt("put", "memory", "facts", "r", '{"n": 1e999}')
        asked = laptop.attempt("find", "memory", "facts", "n<1e999")

        assert put.returncode == 2
        assert "the record is not JSON: a number in it is too large" in put.stderr
        assert (asked.returncode, asked.stderr) == (0, "no records\n")  # It is a text.
