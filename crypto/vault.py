"""Vault: the file header that wraps the one key of a home, once for each way of unlocking it.

A vault key is 32 random bytes, never changed. A slot wraps it under a passphrase (Argon2id), a key
file or a key kept in the system's keyring. Slots come and go without touching what the vault key
protects. The whole header is authenticated under the vault key, so slots cannot be swapped,
weakened or added by someone who cannot open it; a checksum tells an accident from a wrong
passphrase before anything slow is done.

This module makes and reads the bytes. It opens no file (storage/vault_file.py), asks nobody for a
passphrase (node/unlock.py) and cannot take back a copy of an old header with a removed slot.

Header: `CVV1` (4) ‖ vault id (16) ‖ number of slots, 1 to 16 (1) ‖ slots (92 each) ‖ BLAKE2b of all
before, under the vault key (32) ‖ CRC-32 of all before (4). Slot: kind (1) ‖ Argon2id passes (1) ‖
Argon2id memory (2), both 0 for other kinds ‖ salt (16) ‖ nonce (24) ‖ vault key under
XChaCha20-Poly1305 with vault id and the first 20 bytes of the slot as associated data (48).

Spec: docs/protocol.md, section 11, for the labels; RFC 9106 for Argon2id. Integers are big-endian,
sizes bytes, memory MiB.
"""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from struct import Struct
from typing import assert_never

from nacl.bindings import crypto_pwhash_alg, crypto_pwhash_ALG_ARGON2ID13
from nacl.exceptions import RuntimeError as SodiumRuntimeError

from .aead import decrypt, encrypt
from .errors import CryptoError, OpenError
from .hashing import derive, equal, mac
from .secret import Secret

LABEL_HEADER = b"cvy-vault-hdr-v1"
LABEL_SLOT = b"cvy-vault-slot-1"
LABEL_STORE = b"cvy-sqlcipher-v1"
LABEL_BLOBS = b"cvy-blobstore-v1"
LABEL_SNAPSHOT = b"cvy-snapshot--v1"
LABEL_LOCAL_API = b"cvy-localapi--v1"

MAGIC = b"CVV1"
KEY_BYTES = 32
VAULT_ID_BYTES = 16
SLOTS_MAX = 16
PASSPHRASE_BYTES_MAX = 1024
_HEAD_BYTES = len(MAGIC) + VAULT_ID_BYTES + 1
_SLOT_BYTES = 92
_TAIL_BYTES = 32 + 4
HEADER_BYTES_MAX = _HEAD_BYTES + SLOTS_MAX * _SLOT_BYTES + _TAIL_BYTES

_SLOT = Struct(">BBH16s24s48s")
_SLOT_AD_BYTES = 20
_MIB = 1 << 20

Draw = Callable[[int], bytes]


class VaultDamagedError(CryptoError):
    """The header is not what was written: an accident, or somebody's change. Nothing was opened.

    The cure is the copy beside the file, or a backup of the home.
    """

    exit_code = 6


class WrongKeyError(CryptoError):
    """The vault is whole, but this passphrase or key does not open it. Try the right one."""

    exit_code = 5


class NoSuchSlotError(CryptoError):
    """The vault has no slot of the kind asked for. Unlock it in another way."""

    exit_code = 5


class SlotLimitError(CryptoError):
    """A vault has 1 to 16 slots. The header was not changed."""

    exit_code = 3


class VaultMemoryError(CryptoError):
    """Argon2id needs more memory than the system gives. Free some, or use another way."""

    exit_code = 5


class SlotKind(Enum):
    """The value is what stands in the header. A recovery slot is reserved and not opened here."""

    PASSPHRASE = 1
    KEY_FILE = 2
    KEYRING = 3
    RECOVERY = 4


_NAMES = {
    SlotKind.PASSPHRASE: "passphrase",
    SlotKind.KEY_FILE: "key file",
    SlotKind.KEYRING: "keyring",
    SlotKind.RECOVERY: "recovery",
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


UnlockKey = PassphraseKey | FileKey | KeyringKey


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


def create_vault(
    vault_id: bytes, keys: Sequence[UnlockKey], draw: Draw, cost: Argon2Cost = COST_DEFAULT
) -> tuple[bytes, Secret]:
    """Return the header of a new vault with one slot for each key, and its vault key.

    `vault_id` is 16 random bytes; it names the vault in the keyring.

    Raises: SlotLimitError for no key or more than 16; VaultMemoryError.
    """
    assert len(vault_id) == VAULT_ID_BYTES
    _check_count(len(keys))
    vault_key = Secret(draw(KEY_BYTES))
    made = [_make_slot(vault_id, vault_key, key, draw, cost) for key in keys]
    return _encode(vault_id, made, vault_key), vault_key


def open_vault(header: bytes, key: UnlockKey) -> Secret:
    """Return the vault key. Tries every slot of the kind of `key`.

    Raises: WrongKeyError, NoSuchSlotError, VaultDamagedError, VaultMemoryError.
    """
    vault_id, found = _decode(header)
    kind = _kind(key)
    candidates = [slot for slot in found if slot.kind is kind]
    if not candidates:
        has = ", ".join(sorted({_NAMES[slot.kind] for slot in found}))
        raise NoSuchSlotError(f"the vault has no {_NAMES[kind]} slot; it is unlocked by: {has}")
    for slot in candidates:
        vault_key = _unwrap(vault_id, slot, key)
        if vault_key is not None:
            _authenticate(header, vault_key)
            return vault_key
    if kind is SlotKind.PASSPHRASE:
        raise WrongKeyError("the passphrase is wrong: try again")
    raise WrongKeyError(f"this {_NAMES[kind]} does not hold the key of this vault: use another")


def add_slot(
    header: bytes, vault_key: Secret, key: UnlockKey, draw: Draw, cost: Argon2Cost = COST_DEFAULT
) -> bytes:
    """Return the header with one more slot at the end. The old header stays valid.

    Raises: SlotLimitError if there are 16; VaultDamagedError; VaultMemoryError.
    """
    vault_id, found = _decode(header)
    _authenticate(header, vault_key)
    _check_count(len(found) + 1)
    return _encode(vault_id, [*found, _make_slot(vault_id, vault_key, key, draw, cost)], vault_key)


def remove_slot(header: bytes, vault_key: Secret, index: int) -> bytes:
    """Return the header without the slot at `index` of `slots(header)`.

    Whoever kept a copy of the old header still opens it in the old way: the vault key is the same.

    Raises: SlotLimitError for the last slot; VaultDamagedError.
    """
    vault_id, found = _decode(header)
    _authenticate(header, vault_key)
    assert 0 <= index < len(found)
    return _encode(vault_id, found[:index] + found[index + 1 :], vault_key)


def slots(header: bytes) -> tuple[Slot, ...]:
    """Return the slots, in order, without opening anything: not yet proved to be ours.

    Raises: VaultDamagedError unless the header is well-formed and its checksum right.
    """
    return tuple(_decode(header)[1])


def vault_id(header: bytes) -> bytes:
    """Return the 16 bytes that name the vault. Raises: VaultDamagedError."""
    return _decode(header)[0]


def store_key(vault_key: Secret) -> Secret:
    """Return the key of the SQLCipher store, 32 bytes."""
    return Secret(derive(vault_key.reveal(), LABEL_STORE))


def blob_key(vault_key: Secret) -> Secret:
    """Return the key of the blob files, 32 bytes."""
    return Secret(derive(vault_key.reveal(), LABEL_BLOBS))


def snapshot_key(vault_key: Secret) -> Secret:
    """Return the key of snapshots of derived indexes, 32 bytes."""
    return Secret(derive(vault_key.reveal(), LABEL_SNAPSHOT))


def local_api_key(vault_key: Secret) -> Secret:
    """Return the key behind the tokens of the local API, 32 bytes."""
    return Secret(derive(vault_key.reveal(), LABEL_LOCAL_API))


def _kind(key: UnlockKey) -> SlotKind:
    match key:
        case PassphraseKey():
            return SlotKind.PASSPHRASE
        case FileKey():
            return SlotKind.KEY_FILE
        case KeyringKey():
            return SlotKind.KEYRING
        case _:
            assert_never(key)


def _make_slot(
    vault_id: bytes, vault_key: Secret, key: UnlockKey, draw: Draw, cost: Argon2Cost
) -> Slot:
    kind = _kind(key)
    used = cost if kind is SlotKind.PASSPHRASE else None
    salt, nonce = draw(16), draw(24)
    slot_key = _slot_key(key, used, salt)
    ad = vault_id + _public_part(kind, used, salt)
    return Slot(kind, used, salt, nonce, encrypt(slot_key, nonce, vault_key.reveal(), ad))


def _unwrap(vault_id: bytes, slot: Slot, key: UnlockKey) -> Secret | None:
    ad = vault_id + _public_part(slot.kind, slot.cost, slot.salt)
    try:
        return Secret(decrypt(_slot_key(key, slot.cost, slot.salt), slot.nonce, slot.wrapped, ad))
    except OpenError:
        return None


def _slot_key(key: UnlockKey, cost: Argon2Cost | None, salt: bytes) -> bytes:
    """One label for all kinds, since what it is applied to is never of two kinds."""
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


def _encode(vault_id: bytes, found: Sequence[Slot], vault_key: Secret) -> bytes:
    _check_count(len(found))
    head = MAGIC + vault_id + bytes([len(found)])
    body = head + b"".join(
        _public_part(slot.kind, slot.cost, slot.salt) + slot.nonce + slot.wrapped for slot in found
    )
    authenticated = body + mac(vault_key.reveal(), LABEL_HEADER, body)
    return authenticated + zlib.crc32(authenticated).to_bytes(4, "big")


def _decode(header: bytes) -> tuple[bytes, list[Slot]]:
    if len(header) < _HEAD_BYTES or header[:4] != MAGIC:
        raise _damaged("it does not begin as a vault of this version does")
    count = header[20]
    size = _HEAD_BYTES + count * _SLOT_BYTES + _TAIL_BYTES
    if not 1 <= count <= SLOTS_MAX or len(header) != size:
        raise _damaged(f"{len(header)} bytes and {count} slots do not fit together")
    if zlib.crc32(header[:-4]).to_bytes(4, "big") != header[-4:]:
        raise _damaged("its checksum is wrong")
    ends = range(_HEAD_BYTES, size - _TAIL_BYTES, _SLOT_BYTES)
    return header[4:20], [_decode_slot(header[at : at + _SLOT_BYTES]) for at in ends]


def _decode_slot(data: bytes) -> Slot:
    kind_number, passes, memory_mib, salt, nonce, wrapped = _SLOT.unpack(data)
    try:
        kind = SlotKind(kind_number)
    except ValueError:
        raise _damaged(f"{kind_number} is no kind of slot") from None
    if kind is not SlotKind.PASSPHRASE:
        if passes or memory_mib:
            raise _damaged(f"a {_NAMES[kind]} slot has a cost")
        return Slot(kind, None, salt, nonce, wrapped)
    cost = Argon2Cost(passes, memory_mib)
    if not cost.allowed:
        raise _damaged(
            f"Argon2id with {passes} passes and {memory_mib} MiB, allowed are"
            f" {COST_FLOOR.passes} to {COST_CAP.passes} and"
            f" {COST_FLOOR.memory_mib} to {COST_CAP.memory_mib} MiB"
        )
    return Slot(kind, cost, salt, nonce, wrapped)


def _authenticate(header: bytes, vault_key: Secret) -> None:
    body, tag = header[:-_TAIL_BYTES], header[-_TAIL_BYTES:-4]
    if not equal(mac(vault_key.reveal(), LABEL_HEADER, body), tag):
        raise _damaged("its slots were changed by someone who could not open it")


def _check_count(count: int) -> None:
    if not 1 <= count <= SLOTS_MAX:
        raise SlotLimitError(
            f"a vault has 1 to {SLOTS_MAX} ways of unlocking, this would be {count}"
        )


def _damaged(found: str) -> VaultDamagedError:
    return VaultDamagedError(f"the vault is damaged: {found}; restore a backup of the home")
