"""Membership rows: decrypted operations of the membership log, and scope keys.

The entries of the control scope are the truth (docs/protocol.md, section 4); the operations here
are their opened bodies, so that the registry can be folded at a start without opening them again.
Keys are kept for ever: a key that some data still needs is never dropped. Both rest on the
encryption of the store; no function logs or formats a key.
"""

from collections.abc import Sequence
from typing import NamedTuple

from .bulk import execute_rows
from .store import Conn


class Operation(NamedTuple):
    """`op_id` is the entry id; `body` is canonical msgpack."""

    op_id: bytes
    author: bytes
    body: bytes


class ScopeKey(NamedTuple):
    """A key of a scope. `key` is 32 secret bytes and never shown."""

    scope_tag: bytes
    epoch: int
    key_id: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"ScopeKey(scope={self.scope_tag.hex()}, epoch={self.epoch}, key=<secret>)"


def add_operations(conn: Conn, operations: Sequence[Operation]) -> None:
    """Keep operations, in order; one that is here already is left alone."""
    execute_rows(
        conn,
        "INSERT INTO operations (op_id, author, body)",
        3,
        operations,
        "ON CONFLICT (op_id) DO NOTHING",
    )


def operations(conn: Conn) -> list[Operation]:
    """All operations in the order in which they were added."""
    rows = conn.execute("SELECT op_id, author, body FROM operations ORDER BY operation_no")
    return [Operation(*row) for row in rows.fetchall()]


def remove_operations(conn: Conn, op_ids: Sequence[bytes]) -> None:
    """Forget operations whose entries were cut off (forks)."""
    conn.executemany("DELETE FROM operations WHERE op_id = ?", [(op_id,) for op_id in op_ids])


def add_scope_key(conn: Conn, scope_key: ScopeKey) -> bool:
    """Keep a key; False if it is here already."""
    cursor = conn.execute(
        "INSERT INTO scope_keys (scope_tag, epoch, key_id, key) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (key_id) DO NOTHING",
        scope_key,
    )
    return cursor.rowcount > 0


def scope_keys(conn: Conn) -> list[ScopeKey]:
    """All keys, by scope, epoch and key id."""
    rows = conn.execute(
        "SELECT scope_tag, epoch, key_id, key FROM scope_keys ORDER BY scope_tag, epoch, key_id"
    )
    return [ScopeKey(*row) for row in rows.fetchall()]
