"""Recovery: the paper key, 24 words for a seed of 32 bytes, and the keys that are derived from it.

The words are those of BIP-39: its English list, and a checksum of 8 bits in the last word. Only the
encoding is taken from there. What stands on the paper *is* the seed; no password is mixed in.
`read_words` takes what a person typed: any case, spaces or lines, numbers before the words, words
cut down to their first four letters. An error tells which word is wrong and never the words.

`RecoveryKeys` signs operations of the membership log, and is sealed to like a device. The vault
key is wrapped for it with its public half alone (`wrap_vault_key`), so that any device can make
such a slot, and only the words open it.

The list is read from the package `mnemonic` when it is first needed. Nothing here draws randomness.

Spec: docs/protocol.md, section 11; BIP-39. Sizes are bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Self

from nacl.bindings import crypto_box, crypto_box_NONCEBYTES, crypto_box_open, crypto_scalarmult_base
from nacl.exceptions import CryptoError as SodiumCryptoError

from .errors import CryptoError, FormatError
from .hashing import derive, digest
from .identity import DeviceKeys, short_id
from .secret import Secret

if TYPE_CHECKING:
    from mnemonic import Mnemonic

LABEL_SIGN = b"cvy-paper-sig-v1"
LABEL_DH = b"cvy-paper-dh--v1"
LABEL_SEAL = b"cvy-paper-seal-1"
LABEL_HINT = b"cvy-paper-hint-1"
LABEL_WRAP = b"cvy-paper-wrap-1"

SEED_BYTES = 32
WORDS = 24
PREFIX_LETTERS = 4
TYPED_CHARACTERS_MAX = 4096
"""As typed: no paper key or share comes near it, and a wrong file is not searched for words."""
HINT_BYTES = 8
SEALED_BYTES = 80  # ephemeral public key 32, key 32, tag 16

_BETWEEN = re.compile(r"[\s,;]+")
_NUMBERING = re.compile(r"^\(?\d+(?:[.):\-]+|$)")


class WordsError(CryptoError):
    """These are not the words of a paper key or share, as typed. The paper says the right ones."""

    exit_code = 5


class RecoveryKeys(DeviceKeys):
    """The keys of the paper key: it signs and is sealed to as a device is. Shows no secret.

    The `dh` pair is there because every device has one; nobody connects with it.
    """

    __slots__ = ()

    @classmethod
    def from_seed(cls, seed: Secret) -> Self:
        """Derive the keys from the 32 bytes that the words stand for."""
        held = seed.reveal()
        assert len(held) == SEED_BYTES
        parts = [derive(held, label) for label in (LABEL_SIGN, LABEL_DH, LABEL_SEAL)]
        keys = cls.decode(b"".join(parts))
        assert isinstance(keys, cls)
        return keys

    @property
    def public(self) -> tuple[bytes, bytes]:
        """What the membership log says of it: signing and sealing key."""
        return self.sig_pk, self.seal_pk

    def __repr__(self) -> str:
        return f"<RecoveryKeys of {short_id(self.sig_pk)}>"


def words_of(seed: Secret) -> tuple[str, ...]:
    """Return the 24 words that stand for a seed of 32 bytes."""
    held = seed.reveal()
    assert len(held) == SEED_BYTES
    return tuple(_encoder().to_mnemonic(held).split(" "))


def read_words(text: str) -> Secret:
    """Return the seed for 24 words that a person typed.

    Raises: WordsError saying which word is not in the list, how many there are, or that they do
    not fit together; it never repeats a word.
    """
    words = find_words(text, word_list())
    if len(words) != WORDS:
        raise WordsError(f"a paper key has {WORDS} words, these are {len(words)}: look again")
    try:
        return Secret(bytes(_encoder().to_entropy(words)))
    except ValueError:
        raise WordsError(
            "the words are all in the list, but do not fit together: one is another word,"
            " or two changed places"
        ) from None


def find_words(text: str, known: Sequence[str]) -> list[str]:
    """Return the words of `known` that a person typed, in full. `known` is sorted.

    Raises: WordsError with the place of the first that is none of them.
    """
    found = []
    for place, part in enumerate(split_typed(text), start=1):
        word = find_word(part, known)
        if word is None:
            raise WordsError(f"word {place} is not in the list of words: look how it is spelt")
        found.append(word)
    return found


def split_typed(text: str) -> list[str]:
    """Return what a person typed word by word, in lower case, without numbers before the words.

    Raises: WordsError if it is much longer than what stands on any paper.
    """
    if len(text) > TYPED_CHARACTERS_MAX:
        raise WordsError(f"{len(text)} characters are too many for words from a paper key")
    typed = (_NUMBERING.sub("", part.lower()) for part in _BETWEEN.split(text))
    return [part for part in typed if part]


def find_word(typed: str, known: Sequence[str]) -> str | None:
    """Return the word of a list that a person typed, in full or by its first four letters."""
    if typed in known:
        return typed
    if len(typed) < PREFIX_LETTERS:
        return None
    begun = [word for word in known if word.startswith(typed)]
    return begun[0] if len(begun) == 1 else None


@cache
def word_list() -> tuple[str, ...]:
    """Return the 2,048 words, sorted. No two begin with the same four letters."""
    return tuple(_encoder().wordlist)


def wrap_vault_key(
    vault_key: Secret, context: bytes, seal_pk: bytes, draw: Callable[[int], bytes]
) -> bytes:
    """Return the 80 bytes that only the paper key with this sealing key opens.

    A sealed box whose nonce also covers `context`, what the box is for. `draw(32)` gives the
    ephemeral private key.

    Raises: FormatError for a sealing key of small order.
    """
    ephemeral = draw(32)
    ephemeral_pk = crypto_scalarmult_base(ephemeral)
    nonce = _wrap_nonce(context, ephemeral_pk, seal_pk)
    try:
        return ephemeral_pk + crypto_box(vault_key.reveal(), nonce, seal_pk, ephemeral)
    except SodiumCryptoError:
        raise FormatError("paper key: its sealing key is of small order") from None


def unwrap_vault_key(sealed: bytes, context: bytes, keys: RecoveryKeys) -> Secret | None:
    """Return the vault key, or None if it was sealed to another paper key or for another use."""
    assert len(sealed) == SEALED_BYTES
    ephemeral_pk, box = sealed[:32], sealed[32:]
    nonce = _wrap_nonce(context, ephemeral_pk, keys.seal_pk)
    try:
        return Secret(crypto_box_open(box, nonce, ephemeral_pk, keys.seal_secret().reveal()))
    except SodiumCryptoError:
        return None


def paper_hint(seal_pk: bytes) -> bytes:
    """Return the 8 bytes by which a slot tells which paper key it is for."""
    assert len(seal_pk) == 32
    return digest(LABEL_HINT, seal_pk)[:HINT_BYTES]


def _wrap_nonce(context: bytes, ephemeral_pk: bytes, seal_pk: bytes) -> bytes:
    return digest(LABEL_WRAP, ephemeral_pk, seal_pk, context)[:crypto_box_NONCEBYTES]


@cache
def _encoder() -> Mnemonic:
    # Imported late: few commands need the words, and the list is read from a file.
    from mnemonic import Mnemonic

    return Mnemonic("english")
