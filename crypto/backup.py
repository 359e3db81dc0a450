"""Backup: the frame around a vault header and a copy of the store, as one file.

The file: `CVB1` (4) ‖ bytes of the vault header (2) ‖ bytes of the store (8) ‖ made at (8) ‖ vault
header ‖ store ‖ tag (32) ‖ checksum (32). The tag is BLAKE2b of all before under a key from the
vault key: nobody else made or changed the file. The checksum is BLAKE2b of all before, the tag
included, without a key: it tells an accident before anybody is asked for a key, so that a damaged
file is never taken for a wrong passphrase. The store is encrypted already; the vault header says
how the home it belongs to can be unlocked, and nothing more.

This module makes and reads the head and gives the two hashes, so that a file of any size is read
piece by piece. It opens no file (storage/backup_file.py).

Spec: docs/protocol.md, section 11. Integers are big-endian, sizes bytes, times milliseconds since
1970.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct
from typing import Protocol

from .errors import FormatError
from .hashing import DIGEST_BYTES
from .secret import Secret
from .vault import HEADER_BYTES_MAX

LABEL_TAG = b"cvy-backup-mac-1"
LABEL_CHECKSUM = b"cvy-backup-sum-1"

MAGIC = b"CVB1"
_FAMILY = MAGIC[:3]
_HEAD = Struct(">4sHQQ")
HEAD_BYTES = _HEAD.size
TAG_BYTES = DIGEST_BYTES
CHECKSUM_BYTES = DIGEST_BYTES
STORE_PAGE_BYTES = 4096
STORE_BYTES_MAX = 1 << 42


class Hashing(Protocol):
    """A hash over pieces."""

    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class BackupHead:
    """What stands at the beginning of a backup. The sizes are within their bounds."""

    vault_bytes: int
    store_bytes: int
    made_ms: int

    @property
    def file_bytes(self) -> int:
        """The size of the whole file, which has no other."""
        return HEAD_BYTES + self.vault_bytes + self.store_bytes + TAG_BYTES + CHECKSUM_BYTES


def encode_head(head: BackupHead) -> bytes:
    """Return the first 22 bytes of a backup."""
    assert _is_bounded(head)
    return _HEAD.pack(MAGIC, head.vault_bytes, head.store_bytes, head.made_ms)


def decode_head(data: bytes) -> BackupHead:
    """Read the beginning of a file that may be a backup.

    Raises: FormatError saying what is wrong.
    """
    if data[:3] != _FAMILY:
        raise FormatError("it does not begin as a backup of Covey does")
    if data[:4] != MAGIC:
        raise FormatError("another version of Covey made it, or its beginning is damaged")
    if len(data) < HEAD_BYTES:
        raise FormatError("it ends in its first line")
    head = BackupHead(*_HEAD.unpack(data[:HEAD_BYTES])[1:])
    if not _is_bounded(head):
        raise FormatError("the sizes at its beginning are impossible")
    return head


def start_tag(backup_key: Secret) -> Hashing:
    """Return the hash that makes the tag, for all bytes before it."""
    return blake2b(digest_size=TAG_BYTES, key=backup_key.reveal(), person=LABEL_TAG)


def start_checksum() -> Hashing:
    """Return the hash that makes the checksum, for all bytes before it."""
    return blake2b(digest_size=CHECKSUM_BYTES, person=LABEL_CHECKSUM)


def _is_bounded(head: BackupHead) -> bool:
    return (
        0 < head.vault_bytes <= HEADER_BYTES_MAX
        and 0 < head.store_bytes <= STORE_BYTES_MAX
        and head.store_bytes % STORE_PAGE_BYTES == 0
    )
