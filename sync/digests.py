"""Digests: 32 bytes that stand for everything two nodes hold, so that equality costs one message.

Three levels: a scope's digest covers its version vector, a database's digest the digests of its
scopes, the root those of the databases. Because entry ids chain, equal scope digests mean equal
logs, entry by entry. Every level sorts what it covers, so the order of arrival cannot matter.

What is empty is left out one level above; that is the caller's part (vectors.py).

Spec: docs/protocol.md, section 7, "Digests", and section 11 for the labels.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import NamedTuple

LABEL_SCOPE = b"covey-vv-digest1"
LABEL_DATABASE = b"covey-db-digest1"
LABEL_ROOT = b"covey-root-dig-1"

_DIGEST_BYTES = 32


class LogHead(NamedTuple):
    """The last entry of a log. `entry_id` is empty where only the number is known."""

    author: bytes
    seq: int
    entry_id: bytes


def vector_digest(heads: Mapping[bytes, LogHead]) -> bytes:
    """The digest of a version vector: instance (16 bytes) to head, all entry ids known."""
    rows = sorted(
        [instance + head[1].to_bytes(8, "big") + head[2] for instance, head in heads.items()]
    )
    return blake2b(b"".join(rows), digest_size=_DIGEST_BYTES, person=LABEL_SCOPE).digest()


def database_digest(scopes: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The digest of a database from (scope tag, digest) of its scopes that have entries."""
    return _rows_digest(LABEL_DATABASE, scopes)


def root_digest(databases: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The root digest from (database tag, digest) of the databases that have entries."""
    return _rows_digest(LABEL_ROOT, databases)


def _rows_digest(label: bytes, rows: Iterable[tuple[bytes, bytes]]) -> bytes:
    joined = b"".join(sorted(tag + digest for tag, digest in rows))
    return blake2b(joined, digest_size=_DIGEST_BYTES, person=label).digest()
