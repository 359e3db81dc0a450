"""Vault: the file header that wraps the one key of a home, once for each way of unlocking it.

A vault key is 32 random bytes, never changed. A slot wraps it under a passphrase (Argon2id), a key
file, a key kept in the system's keyring, or for the paper key. Slots come and go without touching
what the vault key protects. The whole header is authenticated under the vault key, so slots cannot
be swapped, weakened or added by someone who cannot open it; a checksum tells an accident from a
wrong passphrase before anything slow is done.

This module makes and reads the bytes. It opens no file (storage/vault_file.py), asks nobody for a
passphrase (node/unlock.py) and cannot take back a copy of an old header with a removed slot.

Header: `CVV1` (4) ‖ vault id (16) ‖ number of slots, 1 to 16 (1) ‖ slots (92 each) ‖ BLAKE2b of all
before, under the vault key (32) ‖ CRC-32 of all before (4). A slot: crypto/vault_slots.py.

Spec: docs/protocol.md, section 11. Integers are big-endian, sizes bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from .errors import CryptoError
from .hashing import derive, equal, mac
from .secret import Secret
from .vault_slots import (
    COST_CAP,
    COST_DEFAULT,
    COST_FLOOR,
    KEY_BYTES,
    PASSPHRASE_BYTES_MAX,
    SLOT_BYTES,
    SLOT_NAMES,
    Argon2Cost,
    Draw,
    FileKey,
    KeyringKey,
    LockKey,
    PaperKey,
    PaperLock,
    PassphraseKey,
    Slot,
    SlotKind,
    UnlockKey,
    VaultDamagedError,
    VaultMemoryError,
    damaged,
    decode_slot,
    encode_slot,
    kind_of,
    make_slot,
    unwrap,
)

__all__ = [
    "COST_CAP",
    "COST_DEFAULT",
    "COST_FLOOR",
    "HEADER_BYTES_MAX",
    "KEY_BYTES",
    "PASSPHRASE_BYTES_MAX",
    "SLOTS_MAX",
    "Argon2Cost",
    "FileKey",
    "KeyringKey",
    "LockKey",
    "NoSuchSlotError",
    "PaperKey",
    "PaperLock",
    "PassphraseKey",
    "Slot",
    "SlotKind",
    "SlotLimitError",
    "UnlockKey",
    "VaultDamagedError",
    "VaultMemoryError",
    "WrongKeyError",
    "add_slot",
    "backup_key",
    "blob_key",
    "cache_key",
    "create_vault",
    "local_api_key",
    "open_slot",
    "open_vault",
    "remove_slot",
    "slots",
    "snapshot_key",
    "store_key",
    "vault_id",
]

LABEL_HEADER = b"cvy-vault-hdr-v1"
LABEL_STORE = b"cvy-sqlcipher-v1"
LABEL_BLOBS = b"cvy-blobstore-v1"
LABEL_SNAPSHOT = b"cvy-snapshot--v1"
LABEL_LOCAL_API = b"cvy-localapi--v1"
LABEL_BACKUP = b"cvy-backup-key-1"
LABEL_CACHE = b"cvy-cachekey--v1"

MAGIC = b"CVV1"
VAULT_ID_BYTES = 16
SLOTS_MAX = 16
_HEAD_BYTES = len(MAGIC) + VAULT_ID_BYTES + 1
_TAIL_BYTES = 32 + 4
HEADER_BYTES_MAX = _HEAD_BYTES + SLOTS_MAX * SLOT_BYTES + _TAIL_BYTES


class WrongKeyError(CryptoError):
    """The vault is whole, but this passphrase or key does not open it. Try the right one."""

    exit_code = 5


class NoSuchSlotError(CryptoError):
    """The vault has no slot of the kind asked for. Unlock it in another way."""

    exit_code = 5


class SlotLimitError(CryptoError):
    """A vault has 1 to 16 slots. The header was not changed."""

    exit_code = 3


def create_vault(
    vault_id: bytes, keys: Sequence[LockKey], draw: Draw, cost: Argon2Cost = COST_DEFAULT
) -> tuple[bytes, Secret]:
    """Return the header of a new vault with one slot for each key, and its vault key.

    `vault_id` is 16 random bytes; it names the vault in the keyring.

    Raises: SlotLimitError for no key or more than 16; VaultMemoryError.
    """
    assert len(vault_id) == VAULT_ID_BYTES
    _check_count(len(keys))
    vault_key = Secret(draw(KEY_BYTES))
    made = [make_slot(vault_id, vault_key, key, draw, cost) for key in keys]
    return _encode(vault_id, made, vault_key), vault_key


def open_vault(header: bytes, key: UnlockKey) -> Secret:
    """Return the vault key. Tries every slot of the kind of `key`.

    Raises: WrongKeyError, NoSuchSlotError, VaultDamagedError, VaultMemoryError.
    """
    return open_slot(header, key)[1]


def open_slot(header: bytes, key: UnlockKey) -> tuple[int, Secret]:
    """Return which slot of `slots(header)` a key opens, and the vault key. As `open_vault`."""
    vault_id, found = _decode(header)
    kind = kind_of(key)
    candidates = [(index, slot) for index, slot in enumerate(found) if slot.kind is kind]
    if not candidates:
        has = ", ".join(sorted({SLOT_NAMES[slot.kind] for slot in found}))
        raise NoSuchSlotError(f"the vault has no {SLOT_NAMES[kind]} slot; it is unlocked by: {has}")
    for index, slot in candidates:
        vault_key = unwrap(vault_id, slot, key)
        if vault_key is not None:
            _authenticate(header, vault_key)
            return index, vault_key
    if kind is SlotKind.PASSPHRASE:
        raise WrongKeyError("the passphrase is wrong: try again")
    if kind is SlotKind.RECOVERY:
        raise WrongKeyError("these are the words of another paper key: use those for this home")
    raise WrongKeyError(f"this {SLOT_NAMES[kind]} does not hold the key of this vault: use another")


def add_slot(
    header: bytes, vault_key: Secret, key: LockKey, draw: Draw, cost: Argon2Cost = COST_DEFAULT
) -> bytes:
    """Return the header with one more slot at the end. The old header stays valid.

    Raises: SlotLimitError if there are 16; VaultDamagedError; VaultMemoryError.
    """
    vault_id, found = _decode(header)
    _authenticate(header, vault_key)
    _check_count(len(found) + 1)
    return _encode(vault_id, [*found, make_slot(vault_id, vault_key, key, draw, cost)], vault_key)


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


def backup_key(vault_key: Secret) -> Secret:
    """Return the key that authenticates backups of the home, 32 bytes."""
    return Secret(derive(vault_key.reveal(), LABEL_BACKUP))


def cache_key(vault_key: Secret) -> Secret:
    """Return the key from which those of the cache are derived (crypto/cache.py), 32 bytes."""
    return Secret(derive(vault_key.reveal(), LABEL_CACHE))


def _encode(vault_id: bytes, found: Sequence[Slot], vault_key: Secret) -> bytes:
    _check_count(len(found))
    head = MAGIC + vault_id + bytes([len(found)])
    body = head + b"".join(encode_slot(slot) for slot in found)
    authenticated = body + mac(vault_key.reveal(), LABEL_HEADER, body)
    return authenticated + zlib.crc32(authenticated).to_bytes(4, "big")


def _decode(header: bytes) -> tuple[bytes, list[Slot]]:
    if len(header) < _HEAD_BYTES or header[:4] != MAGIC:
        raise damaged("it does not begin as a vault of this version does")
    count = header[20]
    size = _HEAD_BYTES + count * SLOT_BYTES + _TAIL_BYTES
    if not 1 <= count <= SLOTS_MAX or len(header) != size:
        raise damaged(f"{len(header)} bytes and {count} slots do not fit together")
    if zlib.crc32(header[:-4]).to_bytes(4, "big") != header[-4:]:
        raise damaged("its checksum is wrong")
    ends = range(_HEAD_BYTES, size - _TAIL_BYTES, SLOT_BYTES)
    return header[4:20], [decode_slot(header[at : at + SLOT_BYTES]) for at in ends]


def _authenticate(header: bytes, vault_key: Secret) -> None:
    body, tag = header[:-_TAIL_BYTES], header[-_TAIL_BYTES:-4]
    if not equal(mac(vault_key.reveal(), LABEL_HEADER, body), tag):
        raise damaged("its slots were changed by someone who could not open it")


def _check_count(count: int) -> None:
    if not 1 <= count <= SLOTS_MAX:
        raise SlotLimitError(
            f"a vault has 1 to {SLOTS_MAX} ways of unlocking, this would be {count}"
        )
