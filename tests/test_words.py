"""Words: the list keeps its rules, and a code is read however a person types it."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.crypto.errors import FormatError
from covey.crypto.words import WORDS, complete_word, make_code, normalise_code

words = st.sampled_from(WORDS)


def test_the_list_keeps_its_rules() -> None:
    """1,024 words are 10 bits each; four letters are enough to complete one."""
    assert len(WORDS) == 1024
    assert list(WORDS) == sorted(WORDS)
    assert all(3 <= len(word) <= 8 and word.isascii() and word.islower() for word in WORDS)
    assert all(word.isalpha() for word in WORDS)
    assert len({word[:4] for word in WORDS}) == 1024


def test_no_word_begins_another() -> None:
    """Otherwise a person could not tell by ear or by Tab whether a word is complete."""
    assert all(len(complete_word(word)) == 1 for word in WORDS)


def test_every_value_of_thirty_bits_gives_another_code_and_every_word_comes_equally_often() -> None:
    """A bias would make the one guess of an attacker worth more than 10^-9."""
    places: list[Counter[str]] = [Counter(), Counter(), Counter()]
    for shift, counter in zip((0, 10, 20), places, strict=True):
        for value in range(1024):
            code = make_code(partial(_first_of, (value << shift).to_bytes(4, "big")))
            counter[code.split("-")[shift // 10]] += 1

    assert all(set(counter.values()) == {1} and len(counter) == 1024 for counter in places)


def test_a_code_draws_fresh_randomness_once() -> None:
    """Fewer bytes would be fewer bits; the two spare bits are dropped."""
    sizes: list[int] = []

    def draw(size: int) -> bytes:
        sizes.append(size)
        return b"\xff" * size

    assert make_code(draw) == "zoom-zoom-zoom"
    assert sizes == [4]


@given(st.tuples(words, words, words), st.sampled_from(["-", " ", "  ", " - ", "\u2013", "\u2011"]))
def test_case_spaces_and_dashes_do_not_matter(code: tuple[str, str, str], between: str) -> None:
    """Phones capitalise the first word and make a dash of two hyphens."""
    normal = "-".join(code)
    typed = f" {between.join(code).title()}\n"

    assert normalise_code(typed) == normalise_code(typed.upper()) == normal
    assert normalise_code(normal) == normal


@given(st.tuples(words, words, words), st.integers(4, 8))
def test_four_letters_of_a_word_are_enough(code: tuple[str, str, str], letters: int) -> None:
    """Less to type on the device that is hardest to type on."""
    assert normalise_code(" ".join(word[:letters] for word in code)) == "-".join(code)


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("amber clokc river", "clokc is not a word of pairing codes; did you mean clock?"),
        ("amber-clocks-river", "clocks is not a word of pairing codes; did you mean clock?"),
        ("rivver amber clock", "rivver is not a word of pairing codes; did you mean river?"),
        ("amb clock river", "amb is not a word of pairing codes; did you mean amber?"),
        ("amber\x1b[2J clock river", "'amber\\x1b[2j' is not a word"),
        ("ambér clock river", "'amb\\xe9r' is not a word"),
    ],
)
def test_a_word_outside_the_list_is_named_with_the_nearest(typed: str, named: str) -> None:
    """A slip of the keyboard is found here, where it does not burn the code."""
    with pytest.raises(FormatError) as refused:
        normalise_code(typed)

    assert named in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("typed", ["", " - ", "amber", "amber-clock", "amber-clock-river-amber"])
def test_a_code_has_three_words(typed: str) -> None:
    """Fewer words are fewer bits, and a fourth was meant for something else."""
    with pytest.raises(FormatError, match="3 words, got"):
        normalise_code(typed)


def test_an_endless_text_is_refused_at_once() -> None:
    """It may come from a pipe or the local API."""
    with pytest.raises(FormatError, match="100 allowed"):
        normalise_code("amber " * 1_000_000)


@given(st.text(max_size=120))
def test_any_text_is_a_code_or_a_format_error(text: str) -> None:
    """Nothing that can be typed is a defect of ours, and what passes is in the one normal form."""
    try:
        code = normalise_code(text)
    except FormatError as refused:
        assert str(refused).isprintable()
    else:
        assert all(word in WORDS for word in code.split("-"))


def test_completion_lists_what_begins_so() -> None:
    """For the Tab key."""
    assert complete_word("CLO") == ["clock", "clover"]
    assert complete_word("clock") == ["clock"]
    assert complete_word("xq") == []
    assert complete_word("") == list(WORDS)


def _first_of(drawn: bytes, size: int) -> bytes:
    return drawn[:size]
