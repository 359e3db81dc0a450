"""Vault slots: one way of unlocking a home each, as 92 bytes of the vault's header.

A slot wraps the vault key under a passphrase (Argon2id), under 32 bytes from a key file or from the
system's keyring, or to the paper key. `make_slot` makes one, `unwrap` opens it. The bounds of
Argon2id hold on making and on opening, because a header may come from somebody else.

Slot: kind (1) ‖ Argon2id passes (1) ‖ Argon2id memory (2), both 0 for other kinds ‖ salt (16) ‖
nonce (24) ‖ vault key under XChaCha20-Poly1305 with vault id and the first 20 bytes of the slot as
associated data (48). For the paper key the last three are: which paper key (8) ‖ sealed box (80),
whose nonce covers vault id, kind and which paper key.

Spec: docs/protocol.md, section 11; RFC 9106 for Argon2id. Integers are big-endian, sizes bytes,
memory MiB.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from struct import Struct
from typing import assert_never

from nacl.bindings import crypto_pwhash_alg, crypto_pwhash_ALG_ARGON2ID13
from nacl.exceptions import RuntimeError as SodiumRuntimeError

from .aead import decrypt, encrypt
from .errors import CryptoError, OpenError
from .hashing import derive
from .recovery import HINT_BYTES, RecoveryKeys, paper_hint, unwrap_vault_key, wrap_vault_key
from .secret import Secret

LABEL_SLOT = b"cvy-vault-slot-1"

KEY_BYTES = 32
PASSPHRASE_BYTES_MAX = 1024
SLOT_BYTES = 92

_SLOT = Struct(">BBH16s24s48s")
_SLOT_AD_BYTES = 20
_MIB = 1 << 20

Draw = Callable[[int], bytes]


class VaultDamagedError(CryptoError):
    """The header is not what was written: an accident, or somebody's change. Nothing was opened.

    The cure is the copy beside the file, or a backup of the home.
    """

    exit_code = 6


class VaultMemoryError(CryptoError):
    """Argon2id needs more memory than the system gives. Free some, or use another way."""

    exit_code = 5


class SlotKind(Enum):
    """The value is what stands in the header."""

    PASSPHRASE = 1
    KEY_FILE = 2
    KEYRING = 3
    RECOVERY = 4


SLOT_NAMES = {
    SlotKind.PASSPHRASE: "passphrase",
    SlotKind.KEY_FILE: "key file",
    SlotKind.KEYRING: "keyring",
    SlotKind.RECOVERY: "paper key",
}


@dataclass(frozen=True, slots=True)
class PassphraseKey:
    """A passphrase, 1 to 1,024 bytes of UTF-8. Two spellings of one text (NFC) are the same."""

    passphrase: Secret

    def __post_init__(self) -> None:
        assert 0 < len(self.passphrase.reveal()) <= PASSPHRASE_BYTES_MAX


@dataclass(frozen=True, slots=True)
class FileKey:
    """The 32 bytes of a key file."""

    key: Secret


@dataclass(frozen=True, slots=True)
class KeyringKey:
    """The 32 bytes that the system's keyring keeps for one vault."""

    key: Secret


@dataclass(frozen=True, slots=True, eq=False)
class PaperKey:
    """The paper key itself, which opens every slot that was made for it."""

    keys: RecoveryKeys


@dataclass(frozen=True, slots=True)
class PaperLock:
    """The sealing key of a paper key: enough to make a slot for it, and to open none."""

    seal_pk: bytes


_SymmetricKey = PassphraseKey | FileKey | KeyringKey
UnlockKey = _SymmetricKey | PaperKey
"""What opens a slot."""
LockKey = UnlockKey | PaperLock
"""What a slot can be made for."""


@dataclass(frozen=True, slots=True)
class Argon2Cost:
    """Passes and memory of Argon2id. The bounds hold on making and on opening.

    The floor keeps guessing dear. The cap is there because the numbers come from a file that
    somebody else may have written, and must not take the machine down.
    """

    passes: int
    memory_mib: int

    @property
    def allowed(self) -> bool:
        """Whether both numbers are between floor and cap."""
        return (
            COST_FLOOR.passes <= self.passes <= COST_CAP.passes
            and COST_FLOOR.memory_mib <= self.memory_mib <= COST_CAP.memory_mib
        )


COST_FLOOR = Argon2Cost(3, 64)
COST_DEFAULT = Argon2Cost(3, 256)
COST_CAP = Argon2Cost(10, 1024)


@dataclass(frozen=True, slots=True)
class Slot:
    """One way of unlocking, as the header tells it to anyone. `cost` is set for passphrases."""

    kind: SlotKind
    cost: Argon2Cost | None
    salt: bytes
    nonce: bytes
    wrapped: bytes

    def is_for_paper(self, seal_pk: bytes) -> bool:
        """Whether this is a slot for the paper key with that sealing key."""
        return self.kind is SlotKind.RECOVERY and self.salt[:HINT_BYTES] == paper_hint(seal_pk)


def kind_of(key: LockKey) -> SlotKind:
    """Return the kind of slot that a key opens or is to open."""
    match key:
        case PassphraseKey():
            return SlotKind.PASSPHRASE
        case FileKey():
            return SlotKind.KEY_FILE
        case KeyringKey():
            return SlotKind.KEYRING
        case PaperKey() | PaperLock():
            return SlotKind.RECOVERY
        case _:
            assert_never(key)


def make_slot(
    vault_id: bytes, vault_key: Secret, key: LockKey, draw: Draw, cost: Argon2Cost
) -> Slot:
    """Return a slot that wraps the vault key for `key`. Raises: VaultMemoryError, FormatError."""
    if isinstance(key, PaperKey | PaperLock):
        seal_pk = key.seal_pk if isinstance(key, PaperLock) else key.keys.seal_pk
        return _make_paper_slot(vault_id, vault_key, seal_pk, draw)
    kind = kind_of(key)
    used = cost if kind is SlotKind.PASSPHRASE else None
    salt, nonce = draw(16), draw(24)
    slot_key = _slot_key(key, used, salt)
    ad = vault_id + _public_part(kind, used, salt)
    return Slot(kind, used, salt, nonce, encrypt(slot_key, nonce, vault_key.reveal(), ad))


def _make_paper_slot(vault_id: bytes, vault_key: Secret, seal_pk: bytes, draw: Draw) -> Slot:
    hint = paper_hint(seal_pk)
    sealed = wrap_vault_key(vault_key, _paper_context(vault_id, hint), seal_pk, draw)
    placed = hint + sealed
    return Slot(SlotKind.RECOVERY, None, placed[:16], placed[16:40], placed[40:])


def _paper_context(vault_id: bytes, hint: bytes) -> bytes:
    return vault_id + bytes((SlotKind.RECOVERY.value,)) + hint


def unwrap(vault_id: bytes, slot: Slot, key: UnlockKey) -> Secret | None:
    """Return the vault key if `key` opens the slot, which is of its kind; None if it does not.

    Raises: VaultMemoryError.
    """
    if isinstance(key, PaperKey):
        hint, sealed = slot.salt[:HINT_BYTES], slot.salt[HINT_BYTES:] + slot.nonce + slot.wrapped
        return unwrap_vault_key(sealed, _paper_context(vault_id, hint), key.keys)
    ad = vault_id + _public_part(slot.kind, slot.cost, slot.salt)
    try:
        return Secret(decrypt(_slot_key(key, slot.cost, slot.salt), slot.nonce, slot.wrapped, ad))
    except OpenError:
        return None


def _slot_key(key: _SymmetricKey, cost: Argon2Cost | None, salt: bytes) -> bytes:
    """One label for all of these, since what it is applied to is never of two kinds."""
    match key:
        case PassphraseKey(passphrase):
            assert cost is not None
            secret = _argon2id(passphrase, cost, salt)
        case FileKey(held) | KeyringKey(held):
            secret = held.reveal()
            assert len(secret) == KEY_BYTES
        case _:
            assert_never(key)
    return derive(secret, LABEL_SLOT, salt)


def _argon2id(passphrase: Secret, cost: Argon2Cost, salt: bytes) -> bytes:
    assert cost.allowed
    text = unicodedata.normalize("NFC", passphrase.reveal().decode()).encode()
    try:
        return crypto_pwhash_alg(
            KEY_BYTES, text, salt, cost.passes, cost.memory_mib * _MIB, crypto_pwhash_ALG_ARGON2ID13
        )
    except (SodiumRuntimeError, MemoryError):
        raise VaultMemoryError(
            f"unlocking needs {cost.memory_mib} MiB of memory, which the system refused:"
            " end other programs and try again"
        ) from None


def _public_part(kind: SlotKind, cost: Argon2Cost | None, salt: bytes) -> bytes:
    passes, memory_mib = (cost.passes, cost.memory_mib) if cost else (0, 0)
    return _SLOT.pack(kind.value, passes, memory_mib, salt, b"", b"")[:_SLOT_AD_BYTES]


def encode_slot(slot: Slot) -> bytes:
    """Return the 92 bytes of a slot."""
    return _public_part(slot.kind, slot.cost, slot.salt) + slot.nonce + slot.wrapped


def decode_slot(data: bytes) -> Slot:
    """Read the 92 bytes of a slot. Raises: VaultDamagedError for what no slot can say."""
    kind_number, passes, memory_mib, salt, nonce, wrapped = _SLOT.unpack(data)
    try:
        kind = SlotKind(kind_number)
    except ValueError:
        raise damaged(f"{kind_number} is no kind of slot") from None
    if kind is not SlotKind.PASSPHRASE:
        if passes or memory_mib:
            raise damaged(f"a {SLOT_NAMES[kind]} slot has a cost")
        return Slot(kind, None, salt, nonce, wrapped)
    cost = Argon2Cost(passes, memory_mib)
    if not cost.allowed:
        raise damaged(
            f"Argon2id with {passes} passes and {memory_mib} MiB, allowed are"
            f" {COST_FLOOR.passes} to {COST_CAP.passes} and"
            f" {COST_FLOOR.memory_mib} to {COST_CAP.memory_mib} MiB"
        )
    return Slot(kind, cost, salt, nonce, wrapped)


def damaged(found: str) -> VaultDamagedError:
    """The error for a header of which this was found."""
    return VaultDamagedError(f"the vault is damaged: {found}; restore a backup of the home")
