"""Ranking: how well a text answers what a person typed, and the piece of it that shows why.

Pure. The score is BM25 (Robertson and Zaragoza 2009, with k1 = 1.2 and b = 0.75); what the index
says of a part comes in as `rarity`. Words are those of the index (`unicode61` of FTS5 with
`remove_diacritics 2`): letters and digits alone, without case, Latin letters without diacritics.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import log

from ...storage.text_rows import Typed

SNIPPET_CHARACTERS = 160
BEFORE_CHARACTERS = 40
USUAL_WORDS = 50
"""A text of this length is neither long nor short."""
COUNTED_MAX = 10_000
"""Occurrences in the index are counted up to here; a part that has as many says little."""

_K1, _B = 1.2, 0.75
_MARKS = "\u0300-\u0304\u0306-\u030c\u030f\u0311\u031b\u0323-\u0328\u032d\u032e\u0330\u0331"
"""What the index drops after a letter; any other mark ends a word."""
_WORD = re.compile(rf"[^\W_]+(?:[{_MARKS}]+[^\W_]*)*")
_MARK = re.compile(f"[{_MARKS}]")
_SIGMA, _FINAL_SIGMA = "\N{GREEK SMALL LETTER SIGMA}", "\N{GREEK SMALL LETTER FINAL SIGMA}"
_Word = tuple[str, int, int]
"""Folded, from where, to where."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of a text, on one line. `marks` are the first and the end of each hit in it."""

    text: str
    marks: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A part of what was typed, as words; and how rare it is, from 0."""

    words: tuple[str, ...]
    begins: bool
    rarity: float


def wanted(part: Typed, occurrences: int) -> Wanted:
    """A part that occurs so often in the index."""
    words = tuple(folded for folded, _, _ in words_of(part.text))
    known = min(occurrences, COUNTED_MAX)
    return Wanted(words, part.begins, log(1 + (COUNTED_MAX - known + 0.5) / (known + 0.5)))


def score(text: str, parts: Sequence[Wanted]) -> tuple[float, Snippet]:
    """How well a text answers, and a piece around its first hit: its beginning if there is none."""
    words = words_of(text)
    longer = 1 - _B + _B * len(words) / USUAL_WORDS
    total, hits = 0.0, []
    for part in parts:
        found = _hits(words, part)
        total += part.rarity * len(found) * (_K1 + 1) / (len(found) + _K1 * longer)
        hits += found
    return total, _snippet(text, sorted(hits))


def _hits(words: Sequence[_Word], part: Wanted) -> list[tuple[int, int]]:
    """From where to where a part stands in a text, each time."""
    if not part.words:
        return []
    *before, last = part.words
    size = len(before)
    # Most words are not the last one, so that is looked at before the others are.
    if part.begins:
        ends = [at for at, word in enumerate(words) if word[0].startswith(last)]
    else:
        ends = [at for at, word in enumerate(words) if word[0] == last]
    return [
        (words[at - size][1], words[at][2])
        for at in ends
        if at >= size and [word[0] for word in words[at - size : at]] == before
    ]


def words_of(text: str) -> list[_Word]:
    """The words of a text as the index has them, and where they stand.

    Letters and signs that are newer than the index's tables (Unicode 6.1) may differ.
    """
    return [(_folded(m[0]), m.start(), m.end()) for m in _WORD.finditer(text)]


def _folded(word: str) -> str:
    return word.lower() if word.isascii() else "".join(map(_letter, word))


@lru_cache(maxsize=4096)
def _letter(letter: str) -> str:
    if _MARK.match(letter):
        return ""
    lower = letter.lower()  # Of one letter: a word would end in another sigma.
    base = unicodedata.normalize("NFD", lower)[0]
    return base if base.isascii() else lower.replace(_FINAL_SIGMA, _SIGMA)


def _snippet(text: str, hits: Sequence[tuple[int, int]]) -> Snippet:
    first = hits[0][0] if hits else 0
    start = max(first - BEFORE_CHARACTERS, 0)
    if start:  # Begin with a whole word.
        start = min(text.find(" ", start, first) + 1 or start, first)
    end = min(start + SNIPPET_CHARACTERS, len(text))
    before, after = "…" if start else "", "…" if end < len(text) else ""
    piece = re.sub(r"\s", " ", text[start:end])
    by = len(before) - start
    marks = tuple((a + by, b + by) for a, b in hits if a >= start and b <= end)
    return Snippet(before + piece + after, marks)
