"""Paper shares: the seed of a paper key as three shares of 33 words, any two of which give it back.

The shares are those of SLIP-39 (one group, 2 of 3, no passphrase), made by the package
`shamir-mnemonic`. It is optional, imported when shares are made or read, and draws its own random
numbers; so this module is an adapter. One share alone tells nothing of the seed.

What a person typed is read as for the paper key (crypto/recovery.py); no error repeats a word.
"""

from collections.abc import Sequence
from typing import Any

from .. import CoveyError
from ..crypto.recovery import SEED_BYTES, WordsError, find_words, read_words, split_typed
from ..crypto.secret import Secret

SHARES = 3
NEEDED = 2
SHARE_WORDS = 33


class SharesMissingError(CoveyError):
    """The package that makes and reads shares is not installed. The paper key needs none."""

    exit_code = 2


def split_seed(seed: Secret) -> tuple[str, ...]:
    """Return three shares of 33 words each, in order. Each call gives others.

    Raises: SharesMissingError.
    """
    held = seed.reveal()
    assert len(held) == SEED_BYTES
    (shares,) = _library().generate_mnemonics(1, [(NEEDED, SHARES)], held)
    return tuple(shares)


def combine_shares(typed: Sequence[str]) -> Secret:
    """Return the seed for two or three shares of one set, in any order.

    Raises: WordsError saying which share has what fault; SharesMissingError.
    """
    library = _library()
    found = {}
    for place, text in enumerate(typed, start=1):
        share = _read_share(library, text, place)
        if share.index in found:
            raise WordsError(f"share {place} is one that was given before: give another one")
        found[share.index] = share
    if len(found) < NEEDED:
        raise WordsError(f"{NEEDED} shares are needed, this is {len(found)}: give another one")
    shares = [found[index] for index in sorted(found)]
    if len({share.group_parameters() for share in shares}) > 1:
        raise WordsError("these shares are of different paper keys: give two of one set")
    seeds = [_combined(library, [shares[0], other]) for other in shares[1:]]
    if any(seed != seeds[0] for seed in seeds):
        raise WordsError("these shares do not fit together: give two of them")
    return seeds[0]


def read_paper(text: str) -> Secret:
    """Return the seed for what a person typed: a paper key, or two or three shares of it.

    Raises: WordsError, SharesMissingError.
    """
    typed = split_typed(text)
    count, rest = divmod(len(typed), SHARE_WORDS)
    if rest or count < NEEDED:
        return read_words(text)
    ends = range(SHARE_WORDS, len(typed) + 1, SHARE_WORDS)
    return combine_shares([" ".join(typed[end - SHARE_WORDS : end]) for end in ends])


def _read_share(library: Any, text: str, place: int) -> Any:
    from shamir_mnemonic.wordlist import WORDLIST

    try:
        words = find_words(text, WORDLIST)
    except WordsError as error:
        raise WordsError(f"share {place}: {error}") from None
    if len(words) != SHARE_WORDS:
        raise WordsError(
            f"share {place}: a share has {SHARE_WORDS} words, these are {len(words)}: look again"
        )
    try:
        share = library.Share.from_mnemonic(" ".join(words))
    except library.MnemonicError:
        raise WordsError(
            f"share {place}: the words are all in the list, but do not fit together:"
            " one is another word, or two changed places"
        ) from None
    if (share.group_count, share.member_threshold) != (1, NEEDED):
        raise WordsError(f"share {place}: was not made by Covey: two of three are needed there")
    return share


def _combined(library: Any, shares: Sequence[Any]) -> Secret:
    try:
        seed = library.combine_mnemonics([share.mnemonic() for share in shares])
    except library.MnemonicError:
        raise WordsError("these shares do not fit together: give two of one set") from None
    if len(seed) != SEED_BYTES:
        raise WordsError("these shares are not of a paper key")
    return Secret(seed)


def _library() -> Any:
    try:
        import shamir_mnemonic
    except ImportError:
        raise SharesMissingError(
            "shares need the package shamir-mnemonic: pip install 'covey[shares]'"
        ) from None
    return shamir_mnemonic
