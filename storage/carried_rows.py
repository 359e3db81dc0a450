"""Carried rows: records on their way from one mesh, or one instance, to another.

When a device changes meshes, everything sealed for the old one goes, and the records' values wait
here to be written again. The rows are encrypted at rest like everything else in the store.
"""

import json
from typing import NamedTuple

from ..sync.errors import DecodeError
from ..sync.record_state import decode_meta
from .pack_rows import unpacked
from .record_rows import wipe_projection
from .store import Conn

READ_AT_ONCE = 500


class Carried(NamedTuple):
    """`value` is the record's JSON; `privacy` and `bucket` are those it was born with."""

    carried_no: int
    database: str
    collection: str
    id: str
    value: str
    privacy: int
    bucket: int


_LIVE = (
    "INSERT INTO carried (database, collection, id, value, privacy, bucket)"
    " SELECT s.database, c.name, r.id, r.value, s.privacy, s.bucket FROM scopes s"
    " CROSS JOIN collections c ON c.scope_no = s.scope_no"
    " CROSS JOIN records r ON r.coll_no = c.coll_no WHERE r.value IS NOT NULL"
)


def carry_all(conn: Conn) -> None:
    """Line up every live record of the store."""
    conn.execute(_LIVE)


def carry_of_log(conn: Conn, log_no: int) -> None:
    """Line up the live records that a log has written to, also those that others changed since."""
    conn.execute(f"{_LIVE} AND r.log_no = ?", (log_no,))
    after = 0
    while True:
        rows = conn.execute(
            "SELECT r.record_no, r.meta, r.doc, l.instance FROM records r"
            " CROSS JOIN logs l ON l.log_no = ?"
            " CROSS JOIN collections c ON c.coll_no = r.coll_no AND c.scope_no = l.scope_no"
            " WHERE r.record_no > ? AND r.log_no != l.log_no AND r.value IS NOT NULL"
            " AND r.doc IS NOT NULL ORDER BY r.record_no LIMIT ?",
            (log_no, after, READ_AT_ONCE),
        ).fetchall()
        packs = unpacked(conn, [number for number, _, doc, _ in rows if doc == b""])
        wrote = [
            number
            for number, meta, doc, instance in rows
            if _wrote(instance, meta if doc else packs[number][1])
        ]
        conn.execute(
            f"{_LIVE} AND r.record_no IN (SELECT value FROM json_each(?))", (json.dumps(wrote),)
        )
        if len(rows) < READ_AT_ONCE:
            return
        after = rows[-1][0]


def _wrote(instance: bytes, meta: bytes | None) -> bool:
    """Whether changes of an instance are in a record, by what stands beside its document."""
    if meta is None:
        return False  # One change made it, which is its latest.
    try:
        return instance in decode_meta(meta).actors
    except DecodeError:
        return True  # Writing it again writes nothing that is there.


def apply_again(conn: Conn, scope_no: int) -> None:
    """Mark every applied entry of a scope as pending: the next load builds its records anew."""
    conn.execute(
        "UPDATE entries SET state = 1, attempts = 0 WHERE state = 0"
        " AND log_no IN (SELECT log_no FROM logs WHERE scope_no = ?)",
        (scope_no,),
    )


def next_carried(conn: Conn, limit: int) -> list[Carried]:
    """The first rows of the line."""
    rows = conn.execute(
        "SELECT carried_no, database, collection, id, value, privacy, bucket FROM carried"
        " ORDER BY carried_no LIMIT ?",
        (limit,),
    )
    return [Carried(*row) for row in rows.fetchall()]


def drop_carried(conn: Conn, up_to: int) -> None:
    """These rows have been written again."""
    conn.execute("DELETE FROM carried WHERE carried_no <= ?", (up_to,))


def forget_mesh(conn: Conn) -> None:
    """Remove everything that belongs to the mesh: logs, records, membership, keys, peers."""
    for (scope_no,) in conn.execute("SELECT scope_no FROM scopes").fetchall():
        wipe_projection(conn, scope_no)
    for table in (
        "entries",
        "collections",
        "headings",
        "logs",
        "scopes",
        "operations",
        "scope_keys",
        "peers",
        "addresses",
        "blob_holders",
    ):
        conn.execute(f"DELETE FROM {table}")
