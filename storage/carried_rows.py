"""Carried rows: records on their way from one mesh, or one instance, to another.

When a device changes meshes, everything sealed for the old one goes, and the records' values wait
here to be written again. When it takes a branch of a log out, so do the records that this branch
changed, those that are deleted too, with their documents: these tell what the branch knew. The rows
are encrypted at rest like everything else in the store.
"""

from typing import NamedTuple

from ..sync.errors import DecodeError
from ..sync.record_state import decode_meta
from .bulk import execute_rows
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
    """`null` if it is deleted."""
    privacy: int
    bucket: int
    doc: bytes | None
    """As `records` had it; None also where only the value goes on."""
    meta: bytes | None


def carry_all(conn: Conn) -> None:
    """Line up every live record of the store."""
    conn.execute(
        "INSERT INTO carried (database, collection, id, value, privacy, bucket)"
        " SELECT s.database, c.name, r.id, r.value, s.privacy, s.bucket FROM scopes s"
        " CROSS JOIN collections c ON c.scope_no = s.scope_no"
        " CROSS JOIN records r ON r.coll_no = c.coll_no WHERE r.value IS NOT NULL"
    )


def carry_of_log(conn: Conn, log_no: int, from_seq: int) -> None:
    """Line up the records that a log has changed from a place on, deleted ones too.

    Also those that others changed since. One that was made there and deleted is passed over.
    """
    after = 0
    while True:
        rows = conn.execute(
            "SELECT r.record_no, s.database, c.name, r.id, ifnull(r.value, 'null'), s.privacy,"
            " s.bucket, r.doc, r.meta, r.log_no = l.log_no AND r.seq >= ?, l.instance"
            " FROM records r CROSS JOIN logs l ON l.log_no = ?"
            " CROSS JOIN scopes s ON s.scope_no = l.scope_no"
            " CROSS JOIN collections c ON c.coll_no = r.coll_no AND c.scope_no = l.scope_no"
            " WHERE r.record_no > ? ORDER BY r.record_no LIMIT ?",
            (from_seq, log_no, after, READ_AT_ONCE),
        ).fetchall()
        packs = unpacked(conn, [row[0] for row in rows if row[7] == b""])
        lined_up = []
        for number, *name, value, privacy, bucket, doc, meta, is_last, instance in rows:
            if doc == b"":
                doc, meta = packs[number]
            made_there = doc is None and value == "null"
            if not made_there and (is_last or _wrote(instance, from_seq, meta)):
                lined_up.append((*name, value, privacy, bucket, doc, meta))
        execute_rows(
            conn,
            "INSERT INTO carried (database, collection, id, value, privacy, bucket, doc, meta)",
            8,
            lined_up,
        )
        if len(rows) < READ_AT_ONCE:
            return
        after = rows[-1][0]


def _wrote(instance: bytes, from_seq: int, meta: bytes | None) -> bool:
    """Whether changes of an instance from a place on are in a record, by what stands beside it."""
    if meta is None:
        return False  # One change made it, which is its latest.
    try:
        return decode_meta(meta).past.get(instance, 0) >= from_seq
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
        "SELECT carried_no, database, collection, id, value, privacy, bucket, doc, meta"
        " FROM carried ORDER BY carried_no LIMIT ?",
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
