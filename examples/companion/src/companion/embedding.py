"""Embeddings: texts as vectors, of which those of like meaning are near each other. Offline.

`wordllama` (the extra `companion[meaning]`) brings a small table of word meanings in its wheel.
Without it `HashingEmbedding` needs nothing: it knows which words and parts of words two texts
share, and nothing of what they mean. Vectors have length 1. Those of two models are never compared.
"""

import hashlib
import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

Vector = Sequence[float]

DIMENSION = 256
PIECE = 4
_COMMON = """
a about am an and any are as at be by can did do does for from had has have he her his how i in is
it its me my of on or our she so that the their them then there they this to us was we were what
when where which who why will with would you your
"""
COMMON = frozenset(_COMMON.split())
"""Words that say nothing of what a sentence is about."""


class Embedding(Protocol):
    model: str
    """Name and version, as `name@version`."""
    near: float
    """From which likeness on two texts have to do with each other."""
    is_of_meaning: bool
    """False if only words are compared."""

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        """A vector of length 1 for each text; of length 0 for one without a word."""
        ...


class HashingEmbedding:
    """Words, and pieces of words, each at a place that its hash says. Needs nothing."""

    model = "hashing@1"
    near = 0.25
    is_of_meaning = False

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        return [self._embed(text) for text in texts]

    def _embed(self, text: str) -> Vector:
        numbers = [0.0] * DIMENSION
        for word in dict.fromkeys(_words(text)):  # Each once: saying it again says no more.
            if word in COMMON:
                continue
            padded = f"^{word}$"
            pieces = {padded[at : at + PIECE] for at in range(max(len(padded) - PIECE + 1, 1))}
            self._add(numbers, word, 1.0)
            for piece in sorted(pieces):
                self._add(numbers, "-" + piece, 1 / math.sqrt(len(pieces)))
        length = math.sqrt(sum(number * number for number in numbers))
        return [number / length for number in numbers] if length else numbers

    @staticmethod
    def _add(numbers: list[float], feature: str, weight: float) -> None:
        digest = hashlib.blake2b(feature.encode("utf-8", "replace"), digest_size=8).digest()
        place = int.from_bytes(digest[:4], "big") % DIMENSION
        numbers[place] += weight if digest[4] & 1 else -weight


class WordLlamaEmbedding:
    """Word meanings that were learned by a language model; the wheel of `wordllama` has them.

    Raises ImportError where the extra is not installed.
    """

    near = 0.2
    is_of_meaning = True

    def __init__(self) -> None:
        import wordllama

        # Its own folder as the cache: both files are in the wheel, and nothing is downloaded.
        self._model: Any = wordllama.WordLlama.load(
            cache_dir=Path(wordllama.__file__).parent, disable_download=True
        )
        self.model = "wordllama-l2-supercat@1"

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        plain = [" ".join(word for word in _words(text) if word not in COMMON) for text in texts]
        vectors = self._model.embed([text or "." for text in plain], norm=True)
        pairs = zip(plain, vectors, strict=True)
        return [row.tolist() if text else [0.0] * DIMENSION for text, row in pairs]


def best_embedding() -> Embedding:
    """The one of meaning if its extra is installed, else the plain one."""
    try:
        return WordLlamaEmbedding()
    except ImportError:
        return HashingEmbedding()


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c if c.isalnum() else " " for c in plain).split()
