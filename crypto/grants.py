"""Grants: a scope key sealed to one device, and what is derived from the control key.

A grant operation of the membership log carries one box per recipient. `seal_key` makes a box and
`open_key` opens it; the plaintext repeats mesh, scope, epoch and recipient, so that a box that is
replayed elsewhere is refused. A box does not say who made it: the signed entry around it does, and
whether that author may grant is decided by the membership log, not here.

The box is libsodium's `crypto_box_seal`, built from its parts so that its one random number is an
argument (tests open it with libsodium's own function).

Tags name databases and scopes to peers without naming them to anybody who lacks the control key.
Discovery hints let members recognise members on a local network.

Spec: docs/protocol.md, sections 1, 2, 4 and 10. Sizes are bytes; an epoch counts from 1.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b

from nacl.bindings import (
    crypto_box,
    crypto_box_NONCEBYTES,
    crypto_box_seal_open,
    crypto_scalarmult_base,
)
from nacl.exceptions import CryptoError as SodiumCryptoError

from .entry import BUCKET_BYTES
from .entry import CONTROL_SCOPE as CONTROL_SCOPE
from .entry import key_id as compute_key_id
from .errors import FormatError, OpenError
from .hashing import derive, digest, equal, mac
from .identity import DeviceKeys

LABEL_GRANT = b"covey-grant-v1--"
LABEL_MESH_ID = b"covey-mesh-id-v1"
LABEL_TAG_KEY = b"covey-tag-key-v1"
LABEL_SCOPE_TAG = b"covey-scope-tag1"
LABEL_DATABASE_TAG = b"covey-db-tag-v1-"
LABEL_DISCOVERY_KEY = b"covey-disc-key-1"

BOX_BYTES = 164
EPOCH_MAX = 2**32 - 1
DATABASE_BYTES_MAX = 255
PRIVACY_MAX = 3
HINT_BYTES = 16
_N8_BYTES = 8
_TAG_BYTES = 16


def seal_key(
    key: bytes,
    mesh: bytes,
    scope: bytes,
    epoch: int,
    recipient_sig_pk: bytes,
    recipient_seal_pk: bytes,
    draw: Callable[[int], bytes],
) -> bytes:
    """Return the 164-byte box with a 32-byte key that only the recipient opens.

    `draw(32)` gives the ephemeral private key.

    Raises: FormatError for a `seal` key of small order, which `check_public_keys` refuses
    when a device is enrolled.
    """
    assert len(key) == len(recipient_sig_pk) == len(recipient_seal_pk) == 32
    plain = _context(mesh, scope, epoch, recipient_sig_pk) + key
    ephemeral = draw(32)
    ephemeral_pk = crypto_scalarmult_base(ephemeral)
    nonce = blake2b(ephemeral_pk + recipient_seal_pk, digest_size=crypto_box_NONCEBYTES).digest()
    try:
        return ephemeral_pk + crypto_box(plain, nonce, recipient_seal_pk, ephemeral)
    except SodiumCryptoError:
        raise FormatError("sealed key: the seal key of the recipient is of small order") from None


def open_key(
    box: bytes, keys: DeviceKeys, mesh: bytes, scope: bytes, epoch: int, key_id: bytes
) -> bytes:
    """Return the 32-byte key in a box that was sealed to us for exactly this use.

    Raises: OpenError if it does not open with a `seal` key of ours, was made for another mesh,
    scope, epoch or device, or holds another key than `key_id` names.
    """
    if len(box) != BOX_BYTES or not 1 <= epoch <= EPOCH_MAX:
        raise OpenError(f"sealed key: {len(box)} bytes for epoch {epoch} is not a sealed key")
    plain = b""
    for seal in keys.seal_secrets():
        held = seal.reveal()
        with suppress(SodiumCryptoError):
            plain = crypto_box_seal_open(box, crypto_scalarmult_base(held), held)
            break
    else:
        raise OpenError("sealed key: does not open with the key of this device")
    if plain[:84] != _context(mesh, scope, epoch, keys.sig_pk):
        raise OpenError("sealed key: was made for another mesh, scope, epoch or device")
    key = plain[84:]
    if not equal(compute_key_id(key), key_id):
        raise OpenError(f"sealed key: holds another key than {key_id.hex()[:16]}")
    return key


def _context(mesh: bytes, scope: bytes, epoch: int, recipient_sig_pk: bytes) -> bytes:
    """Return the 84 bytes that stand before the key in the plaintext of a box."""
    assert len(mesh) == len(scope) == 16 and 1 <= epoch <= EPOCH_MAX
    return LABEL_GRANT + mesh + scope + epoch.to_bytes(4, "big") + recipient_sig_pk


def mesh_id(genesis_body: bytes) -> bytes:
    """Return the 16-byte mesh id that the body of a genesis operation defines."""
    return digest(LABEL_MESH_ID, genesis_body)[:16]


def tag_key(control_key: bytes) -> bytes:
    """Return the 32-byte key of all tags of a mesh. `control_key` is the one of epoch 1."""
    return derive(control_key, LABEL_TAG_KEY)


def scope_tag(tag_key: bytes, database: str, privacy: int, bucket: int = 0) -> bytes:
    """Return the 16-byte tag of a scope: a database at one privacy level (0 to 3), in a bucket.

    Bucket 0 is none, and stands in no tag: scopes are named as they were before there were buckets.

    Raises: FormatError for a database name that is not 1 to 255 bytes of UTF-8.
    """
    assert 0 <= privacy <= PRIVACY_MAX
    name = _database_bytes(database)
    scope = bytes((len(name),)) + name + bytes((privacy,))
    if bucket:
        scope += bucket.to_bytes(BUCKET_BYTES, "big")
    return mac(tag_key, LABEL_SCOPE_TAG, scope)[:_TAG_BYTES]


def database_tag(tag_key: bytes, database: str) -> bytes:
    """Return the 16-byte tag of a database, under which its scopes are compared.

    Raises: FormatError as `scope_tag` does.
    """
    return mac(tag_key, LABEL_DATABASE_TAG, _database_bytes(database))[:_TAG_BYTES]


def _database_bytes(database: str) -> bytes:
    try:
        name = database.encode("utf-8")
    except UnicodeEncodeError:
        raise FormatError("database name: holds half of a surrogate pair") from None
    if not 1 <= len(name) <= DATABASE_BYTES_MAX:
        raise FormatError(f"database name: {len(name)} bytes, must be 1 to {DATABASE_BYTES_MAX}")
    return name


def discovery_key(control_key: bytes) -> bytes:
    """Return the 32-byte key of discovery hints. `control_key` is the newest one."""
    return derive(control_key, LABEL_DISCOVERY_KEY)


def discovery_hint(disc_key: bytes, n8: bytes) -> bytes:
    """Return the 16-byte hint for 8 fresh random bytes. Unlinkable without the key."""
    assert len(n8) == _N8_BYTES
    return n8 + blake2b(n8, digest_size=HINT_BYTES - _N8_BYTES, key=disc_key).digest()


def matches_hint(disc_key: bytes, hint: bytes) -> bool:
    """Say whether a hint was made with this key. Anything that is no hint is not. Never raises."""
    return len(hint) == HINT_BYTES and equal(discovery_hint(disc_key, hint[:_N8_BYTES]), hint)
