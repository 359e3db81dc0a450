"""Shares of the paper key: any two of three give it back, and nothing else gives anything."""

from __future__ import annotations

import json
import sys
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import shamir_mnemonic

from covey.crypto.recovery import WordsError
from covey.crypto.secret import Secret
from covey.node.paper_shares import SharesMissingError, combine_shares, split_seed

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent / "vectors" / "covey_paper.json").read_text(encoding="utf-8")
)
SEED = Secret(bytes.fromhex(VECTORS["paper"]["seed"]))
SHARES: list[str] = VECTORS["paper"]["shares"]


@pytest.mark.parametrize(("shares", "secret"), VECTORS["slip39"])
def test_the_library_keeps_to_the_published_vectors(shares: list[str], secret: str) -> None:
    """The shares may have to be read by another program, in another decade."""
    if secret:
        assert shamir_mnemonic.combine_mnemonics(shares, b"TREZOR").hex() == secret
        return
    with pytest.raises(shamir_mnemonic.MnemonicError):
        shamir_mnemonic.combine_mnemonics(shares, b"TREZOR")
    with pytest.raises(WordsError):
        combine_shares(shares)


@pytest.mark.parametrize("count", [2, 3])
def test_any_two_of_the_frozen_shares_give_the_seed(count: int) -> None:
    """Three people hold one each; one of them has moved away."""
    assert [combine_shares(some) for some in permutations(SHARES, count)] == [SEED] * 6


def test_new_shares_are_others_and_give_the_same_seed() -> None:
    """Shares of two days must not be put together, so they must not look alike."""
    made = split_seed(SEED)

    assert set(made).isdisjoint(SHARES)
    assert len(made) == 3 and {len(share.split()) for share in made} == {33}
    assert combine_shares(made[1:]) == SEED


def test_shares_are_typed_as_forgivingly_as_words() -> None:
    """They are read from paper as well."""
    first = "\n".join(f"{n}. {word[:4].upper()}" for n, word in enumerate(SHARES[0].split(), 1))

    assert combine_shares([first, SHARES[2]]) == SEED


def changed(share: str, at: int, word: str) -> str:
    words = share.split()
    words[at] = word
    return " ".join(words)


FAULTS = {
    "one alone": (SHARES[:1], "2 shares are needed, this is 1"),
    "none": ([], "2 shares are needed, this is 0"),
    "one twice": ([SHARES[0], SHARES[0]], "share 2 is one that was given before"),
    "a word that is none": ([SHARES[0], changed(SHARES[1], 8, "zoo")], "share 2: word 9 is not"),
    "another word": ([changed(SHARES[0], 20, "academic"), SHARES[1]], "share 1: the words are all"),
    "a word missing": ([SHARES[0], " ".join(SHARES[1].split()[1:])], "share 2: a share has 33"),
    "two sets": ([SHARES[0], split_seed(SEED)[1]], "these shares are of different paper keys"),
    "the paper key itself": ([VECTORS["paper"]["words"], SHARES[1]], "share 1: word"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_shares_with_a_fault_are_refused_for_it(fault: str) -> None:
    """Each has another cure; and no share may end up in a log."""
    shares, why = FAULTS[fault]
    with pytest.raises(WordsError) as refused:
        combine_shares(shares)

    told = str(refused.value)
    assert told.startswith(why), told
    assert refused.value.exit_code == 5
    assert refused.value.__cause__ is None
    assert not set(told.split()) & (set(" ".join(SHARES).split()) - {"that"})


def test_shares_of_something_else_are_refused() -> None:
    """The shares of a wallet lie in the same drawer."""
    (wallet,) = shamir_mnemonic.generate_mnemonics(1, [(3, 5)], bytes(32))

    with pytest.raises(WordsError, match="was not made by Covey"):
        combine_shares(wallet[:2])


def test_without_the_package_one_sentence_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is optional, and few people will want it."""
    monkeypatch.setitem(sys.modules, "shamir_mnemonic", None)
    for attempt in (lambda: split_seed(SEED), lambda: combine_shares(SHARES)):
        with pytest.raises(SharesMissingError, match=r"pip install 'covey\[shares\]'"):
            attempt()
