"""JSON items: cut anywhere, the array gives the same; what is broken costs itself alone."""

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.node.importers import json_items
from covey.node.importers.json_items import Item, read_items

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


class Dribble:
    """A source that gives pieces of the given sizes, over and over."""

    def __init__(self, text: bytes, sizes: list[int]) -> None:
        self._rest = io.BytesIO(text)
        self._sizes = sizes
        self._turn = 0

    def read(self, size: int, /) -> bytes:
        self._turn += 1
        return self._rest.read(min(size, self._sizes[self._turn % len(self._sizes)]))


def items(text: bytes | str, sizes: list[int] | None = None) -> list[Item]:
    raw = text.encode() if isinstance(text, str) else text
    return list(read_items(Dribble(raw, sizes or [1 << 20])))


@given(st.lists(JSON, max_size=5), st.lists(st.integers(1, 9), min_size=1), st.booleans())
def test_wherever_it_is_cut_the_array_gives_its_items(
    values: list[Any], sizes: list[int], as_ascii: bool
) -> None:
    """A file comes in pieces, which end within texts, escapes and letters of several bytes."""
    text = json.dumps(values, ensure_ascii=as_ascii, indent=1)

    assert [item.value for item in items(text, sizes)] == values


@given(st.binary(max_size=60), st.lists(st.integers(1, 9), min_size=1))
def test_any_bytes_end_in_items_and_the_same_however_they_are_cut(
    text: bytes, sizes: list[int]
) -> None:
    """An importer never crashes, and a fault does not depend on the size of a buffer."""
    whole = items(b"[" + text)

    assert items(b"[" + text, sizes) == whole
    assert all((item.fault is None) or item.value is None for item in whole)


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        ('{"a": NaN}', "number that JSON has not"),
        ('{"a": Infinity}', "number that JSON has not"),
        ('{"a" 1}', "not JSON at character 7"),
        ("", "not JSON"),
        ('{"n": ' + "9" * 5000 + "}", "number that JSON has not"),
        ("[" * 70 + "]" * 70, "nested deeper than 64"),
        ("[" * 100_000 + "]" * 100_000, "nested deeper than 64"),
    ],
    ids=range(7),
)
def test_a_broken_item_is_named_by_its_number_and_the_rest_is_read(broken: str, fault: str) -> None:
    """One bad conversation of thousands must not cost the others."""
    first, second, third = items(f'[{{"n": 1}}, {broken}, {{"n": 3}}]', [7])

    assert (first.value, third.value) == ({"n": 1}, {"n": 3})
    assert second.number == 2 and fault in (second.fault or "")


def test_letters_that_are_none_break_their_item_alone() -> None:
    """Exports were written by many programs."""
    first, second = items(b'["\xff", "sound"]')

    assert (first.fault, second.value) == ("not UTF-8 text", "sound")


def test_an_item_beyond_the_limits_is_skipped_without_being_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Memory is bounded by the largest item that is allowed, not by the file."""
    monkeypatch.setattr(json_items, "ITEM_BYTES_MAX", 1_000)
    monkeypatch.setattr(json_items, "ITEM_TOKENS_MAX", 50)
    large, many = "x" * 5_000, ["t"] * 60
    found = items(json.dumps([large, many, "small"]), [100])

    assert [item.fault for item in found] == [
        "larger than 0 MiB",
        "more than 50 parts",
        None,
    ]
    assert found[2].value == "small"


@pytest.mark.parametrize("text", ["", "   ", "[", '[{"a": 1', '["a', '{"a": '])
def test_a_file_that_ends_too_early_says_so(text: str) -> None:
    """Half a download must not look like a whole export."""
    *_, last = items(text)

    assert last.fault == "the file ends in the middle of it"


def test_an_object_is_one_item_and_anything_else_none() -> None:
    """One conversation may have been saved by itself."""
    assert [item.value for item in items('\ufeff {"a": [1, 2]} ')] == [{"a": [1, 2]}]
    assert items(" []") == []
    assert items("hello")[0].fault == "no JSON array or object begins here"
