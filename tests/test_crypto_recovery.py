"""The paper key: words stand for one seed; mistakes in typing are forgiven, or named."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.crypto import recovery
from covey.crypto.errors import FormatError
from covey.crypto.identity import verify
from covey.crypto.recovery import (
    RecoveryKeys,
    WordsError,
    find_word,
    paper_hint,
    read_words,
    unwrap_vault_key,
    word_list,
    words_of,
    wrap_vault_key,
)
from covey.crypto.secret import Secret

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent / "vectors" / "covey_paper.json").read_text(encoding="utf-8")
)
PAPER: dict[str, Any] = VECTORS["paper"]
WORDS: list[str] = PAPER["words"].split()
SEED = Secret(bytes.fromhex(PAPER["seed"]))
KEYS = RecoveryKeys.from_seed(SEED)


@pytest.mark.parametrize(("entropy", "words"), VECTORS["bip39"])
def test_published_words_stand_for_the_published_seed(entropy: str, words: str) -> None:
    """A person may check the paper with any other program that knows BIP-39."""
    seed = Secret(bytes.fromhex(entropy))

    assert " ".join(words_of(seed)) == words
    assert read_words(words) == seed


def test_the_frozen_words_give_the_frozen_keys() -> None:
    """What is on paper cannot be updated."""
    keys = RecoveryKeys.from_seed(read_words(PAPER["words"]))

    assert keys.sig_pk.hex() == PAPER["sig_pk"]
    assert keys.seal_pk.hex() == PAPER["seal_pk"]
    assert keys.seal_secret().reveal().hex() == PAPER["seal_secret"]
    assert keys.public == (keys.sig_pk, keys.seal_pk)
    assert paper_hint(keys.seal_pk).hex() == PAPER["hint"]
    assert verify(keys.sig_pk, b"text", keys.sign(b"text"))


@settings(max_examples=100, deadline=None)
@given(seed=st.binary(min_size=32, max_size=32))
def test_every_seed_comes_back_from_its_words(seed: bytes) -> None:
    """One that does not would be noticed on the worst day."""
    words = words_of(Secret(seed))

    assert len(words) == 24
    assert read_words(" ".join(words)).reveal() == seed


FORMS = {
    "as it stands": " ".join(WORDS),
    "capitals": " ".join(WORDS).upper(),
    "a line for each": "\n".join(WORDS) + "\n",
    "numbered lines": "\n".join(f"{n}. {word}" for n, word in enumerate(WORDS, 1)),
    "numbers that touch": " ".join(f"{n}.{word}" for n, word in enumerate(WORDS, 1)),
    "numbers in brackets": " ".join(f"({n}) {word}" for n, word in enumerate(WORDS, 1)),
    "bare numbers": "  ".join(f"{n:02} {word}" for n, word in enumerate(WORDS, 1)),
    "commas": ", ".join(WORDS),
    "four letters": " ".join(word[:4] for word in WORDS),
    "five letters": " ".join(word[:5] for word in WORDS),
    "odd spaces": "\t" + "\u00a0 ".join(WORDS) + "\r\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_typing_is_forgiven(form: str) -> None:
    """It is typed from paper, once, by somebody who has just lost a device."""
    assert read_words(FORMS[form]) == SEED


def test_four_letters_name_a_word_and_three_do_not() -> None:
    """`act` is a word and the beginning of others; a guess could be the wrong one."""
    known = word_list()

    assert find_word("act", known) == "act"
    assert find_word("acti", known) == "action"
    assert find_word("aba", known) is None
    assert find_word("abandonn", known) is None
    assert len({word[:4] for word in known}) == len(known) == 2048


def refusal(text: str) -> str:
    with pytest.raises(WordsError) as refused:
        read_words(text)
    assert refused.value.exit_code == 5
    assert refused.value.__cause__ is None
    return str(refused.value)


@pytest.mark.parametrize("wrong", ["qwertz", "abandonn", "zo", "w\u00f6rter", "1st", "\x1b[2J"])
def test_a_word_that_is_none_is_named_by_its_place(wrong: str) -> None:
    """Whoever knows which word looks at the paper again; the text itself ends up in logs."""
    told = None
    try:
        read_words(" ".join([*WORDS[:6], wrong, *WORDS[7:]]))
    except WordsError as error:
        told = str(error)

    assert told == "word 7 is not in the list of words: look how it is spelt"


@pytest.mark.parametrize("count", [0, 1, 12, 23, 25])
def test_another_number_of_words_is_told(count: int) -> None:
    """A page that was cut off, or a word that was skipped."""
    assert refusal(" ".join((WORDS * 2)[:count])).startswith(
        f"a paper key has 24 words, these are {count}"
    )


def test_words_that_do_not_fit_together_are_told_and_not_repeated() -> None:
    """Two that changed places, or one read as another: no single word is at fault."""
    swapped = [WORDS[1], WORDS[0], *WORDS[2:]]
    told = refusal(" ".join(swapped))

    assert "do not fit together" in told
    assert not set(told.split()) & set(WORDS)


def test_a_wrong_file_is_refused_before_it_is_searched() -> None:
    """Somebody piped the database."""
    assert refusal("zoo " * 10_000).startswith("40000 characters are too many")


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=300))
def test_no_text_ends_in_anything_but_a_seed_or_a_sentence(text: str) -> None:
    """Nor is a part of it in the sentence."""
    try:
        read_words(text)
    except WordsError as error:
        assert str(error).isprintable()


def test_no_representation_shows_a_secret() -> None:
    """They end up in logs and tracebacks."""
    shown = repr(KEYS) + str(KEYS) + repr([SEED, KEYS.seal_secret()])

    assert shown.startswith("<RecoveryKeys of ")
    assert not any(word in shown for word in (*WORDS, PAPER["seed"], PAPER["seal_secret"]))
    for attempt in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(KEYS)


def draw(size: int) -> bytes:
    return bytes(range(size))


def test_a_wrapped_key_opens_for_its_paper_key_and_its_use_alone() -> None:
    """A slot that is moved to another vault must not open there."""
    other = RecoveryKeys.from_seed(Secret(bytes(32)))
    sealed = wrap_vault_key(Secret(b"v" * 32), b"this vault", KEYS.seal_pk, draw)

    assert unwrap_vault_key(sealed, b"this vault", KEYS) == Secret(b"v" * 32)
    assert unwrap_vault_key(sealed, b"that vault", KEYS) is None
    assert unwrap_vault_key(sealed, b"this vault", other) is None
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 0x81
        assert unwrap_vault_key(bytes(changed), b"this vault", KEYS) is None


def test_nothing_is_wrapped_for_a_key_of_small_order() -> None:
    """Everybody could open it."""
    with pytest.raises(FormatError, match="small order"):
        wrap_vault_key(Secret(b"v" * 32), b"", bytes(32), draw)


def test_the_list_of_words_is_read_when_it_is_needed() -> None:
    """Every command imports this module, by way of the vault."""
    assert not hasattr(recovery, "Mnemonic")
