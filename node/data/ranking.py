"""Ranking: how well a text answers what a person typed, and the piece of it that shows why.

Pure. The score is BM25 (Robertson and Zaragoza 2009, with k1 = 1.2 and b = 0.75); what the index
says of a part comes in as `rarity`. Words are compared as the index folds them: without case and
without diacritics, letters and digits alone.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from ...storage.text_rows import Typed

SNIPPET_CHARACTERS = 160
BEFORE_CHARACTERS = 40
USUAL_WORDS = 50
"""A text of this length is neither long nor short."""
COUNTED_MAX = 10_000
"""Occurrences in the index are counted up to here; a part that has as many says little."""

_K1, _B = 1.2, 0.75
_WORD = re.compile(r"[^\W_][^\W_\u0300-\u036f]*(?:[\u0300-\u036f]+[^\W_]*)*")
"""Letters and digits, and the marks on them that no letter has in itself."""
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
    words = tuple(folded for folded, _, _ in _words(unicodedata.normalize("NFC", part.text)))
    known = min(occurrences, COUNTED_MAX)
    return Wanted(words, part.begins, log(1 + (COUNTED_MAX - known + 0.5) / (known + 0.5)))


def score(text: str, parts: Sequence[Wanted]) -> tuple[float, Snippet]:
    """How well a text answers, and a piece around its first hit: its beginning if there is none."""
    text = unicodedata.normalize("NFC", text)
    words = _words(text)
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


def _words(text: str) -> list[_Word]:
    return [(_folded(m[0]), m.start(), m.end()) for m in _WORD.finditer(text)]


def _folded(word: str) -> str:
    if word.isascii():
        return word.lower()
    apart = unicodedata.normalize("NFD", word.lower())
    return "".join(mark for mark in apart if not unicodedata.combining(mark))


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
