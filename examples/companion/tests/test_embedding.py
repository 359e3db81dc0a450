"""Which embedding is taken, and that none of them ever reaches for the network."""

import sys
import types
from pathlib import Path

import pytest

from companion.embedding import (
    DIMENSION,
    HashingEmbedding,
    WordLlamaEmbedding,
    best_embedding,
)


class Row(list):
    def tolist(self):
        return list(self)


@pytest.fixture
def loaded(monkeypatch, tmp_path):
    """A `wordllama` that notes how it was loaded, and knows two words."""
    told = {}

    class Model:
        def embed(self, texts, norm):
            assert norm
            return [Row([float("tea" in text)] + [0.0] * (DIMENSION - 1)) for text in texts]

    class WordLlama:
        @staticmethod
        def load(**settings):
            told.update(settings)
            return Model()

    module = types.ModuleType("wordllama")
    module.__file__ = str(tmp_path / "__init__.py")
    module.WordLlama = WordLlama
    monkeypatch.setitem(sys.modules, "wordllama", module)
    told["folder"] = tmp_path
    return told


def test_the_model_of_the_wheel_is_loaded_from_the_wheel_and_nothing_is_downloaded(loaded):
    embedding = best_embedding()

    assert isinstance(embedding, WordLlamaEmbedding) and embedding.is_of_meaning
    assert loaded["disable_download"] is True
    assert loaded["cache_dir"] == Path(loaded["folder"])


def test_a_text_without_a_word_that_says_something_is_like_nothing(loaded):
    tea, nothing = WordLlamaEmbedding().embed(["some TEA?", "what is it?"])

    assert tea[0] == 1.0 and len(tea) == DIMENSION
    assert nothing == [0.0] * DIMENSION


def test_without_the_extra_words_are_compared(monkeypatch):
    monkeypatch.setitem(sys.modules, "wordllama", None)
    embedding = best_embedding()

    assert isinstance(embedding, HashingEmbedding) and not embedding.is_of_meaning


def test_words_are_like_themselves_whatever_their_form_and_unlike_others():
    embedding = HashingEmbedding()
    lamp, lamps, again, boat = embedding.embed(["the lamp", "Lamps!", "lamp lamp LAMP", "a boat"])

    def like(one, other):
        return sum(a * b for a, b in zip(one, other, strict=True))

    assert like(lamp, again) == pytest.approx(1)
    assert like(lamp, lamps) > embedding.near > like(lamp, boat)
    assert embedding.embed(["the lamp"]) == [lamp]
