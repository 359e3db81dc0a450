"""Carried rows: records on their way from one mesh, or one instance, to another.

When a device changes meshes, everything sealed for the old one goes, and the records' values wait
here to be written again. When it takes a branch of a log of its own out, so do the records that
this branch changed, those that are deleted too, with their documents: these tell what the branch
knew. When the branch was somebody else's, so do all records of the scope that others than its
author have changed: whatever rested on the branch is gone with it, and that shows afterwards. The
rows are encrypted at rest like everything else in the store.
"""

from collections.abc import Iterator, Mapping, Sequence
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
    spared: bytes | None
    """Instances, joined, whose changes are not ours to write again; None: all that is here is."""
    maker: bytes | None
    """Whose single change made the record, if that has no document and is to be told."""


_CARRY = (
    "INSERT INTO carried"
    " (database, collection, id, value, privacy, bucket, doc, meta, spared, maker)"
)


class _Row(NamedTuple):
    """A record of a scope, with the log of its last change."""

    record_no: int
    database: str
    collection: str
    id: str
    value: str
    privacy: int
    bucket: int
    doc: bytes | None
    meta: bytes | None
    instance: bytes
    seq: int


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
    scope_no, instance = conn.execute(
        "SELECT scope_no, instance FROM logs WHERE log_no = ?", (log_no,)
    ).fetchone()
    for rows in _records(conn, scope_no):
        lined_up = [
            (*row[1:9], None, None)
            for row in rows
            if not _made_there(row)
            and (
                (row.instance == instance and row.seq >= from_seq)
                or _wrote(instance, from_seq, row.meta)
            )
        ]
        execute_rows(conn, _CARRY, 10, lined_up)


def carry_of_scope(conn: Conn, scope_no: int, told: Mapping[bytes, int], ours: bytes) -> bool:
    """Line up the records of a scope that others have changed than the authors of some logs.

    `told` maps the instances of these logs to the last place up to which their author writes again
    what goes. True if the instance `ours` has changed one of the records.
    """
    are_ours = False
    for rows in _records(conn, scope_no):
        lined_up = []
        for row in rows:
            past = {row.instance: row.seq} if row.doc is None else _past(row.meta)
            spared = {each for each, last in told.items() if past.get(each, 0) <= last}
            if _made_there(row) or past.keys() <= spared:
                continue
            are_ours = are_ours or ours in past
            maker = row.instance if row.doc is None else None
            lined_up.append((*row[1:9], b"".join(sorted(spared)), maker))
        execute_rows(conn, _CARRY, 10, lined_up)
    return are_ours


def _records(conn: Conn, scope_no: int) -> Iterator[Sequence[_Row]]:
    """The records of a scope, a page at a time, their documents unpacked."""
    after = 0
    while True:
        found = conn.execute(
            "SELECT r.record_no, s.database, c.name, r.id, ifnull(r.value, 'null'), s.privacy,"
            " s.bucket, r.doc, r.meta, l.instance, r.seq"
            " FROM records r CROSS JOIN collections c ON c.coll_no = r.coll_no AND c.scope_no = ?"
            " CROSS JOIN scopes s ON s.scope_no = c.scope_no"
            " CROSS JOIN logs l ON l.log_no = r.log_no"
            " WHERE r.record_no > ? ORDER BY r.record_no LIMIT ?",
            (scope_no, after, READ_AT_ONCE),
        ).fetchall()
        rows = [_Row(*row) for row in found]
        packs = unpacked(conn, [row.record_no for row in rows if row.doc == b""])
        yield [
            row._replace(doc=packs[row.record_no][0], meta=packs[row.record_no][1])
            if row.doc == b""
            else row
            for row in rows
        ]
        if len(rows) < READ_AT_ONCE:
            return
        after = rows[-1].record_no


def _made_there(row: _Row) -> bool:
    """Whether it was made and deleted by one change."""
    return row.doc is None and row.value == "null"


def _wrote(instance: bytes, from_seq: int, meta: bytes | None) -> bool:
    """Whether changes of an instance from a place on are in a record, by what stands beside it."""
    if meta is None:
        return False  # One change made it, which is its latest.
    try:
        return decode_meta(meta).past.get(instance, 0) >= from_seq
    except DecodeError:
        return True  # Writing it again writes nothing that is there.


def _past(meta: bytes | None) -> dict[bytes, int]:
    """The last place of each instance in a record; nobody's if it is damaged."""
    try:
        return {b"": 0} if meta is None else dict(decode_meta(meta).past)
    except DecodeError:
        return {b"": 0}


def apply_again(conn: Conn, scope_no: int) -> None:
    """Mark every applied entry of a scope as pending: the next load builds its records anew."""
    conn.execute(
        "UPDATE entries SET state = 1, attempts = 0 WHERE state = 0"
        " AND log_no IN (SELECT log_no FROM logs WHERE scope_no = ?)",
        (scope_no,),
    )


def drop_unchanged(conn: Conn) -> None:
    """Forget records of somebody else's branch that were built again as they had been."""
    conn.execute(
        "DELETE FROM carried WHERE spared IS NOT NULL AND EXISTS (SELECT 1 FROM scopes s"
        " JOIN collections c ON c.scope_no = s.scope_no AND c.name = carried.collection"
        " JOIN records r ON r.coll_no = c.coll_no AND r.id = carried.id"
        " JOIN logs l ON l.log_no = r.log_no"
        " WHERE s.database = carried.database AND s.privacy = carried.privacy"
        " AND s.bucket = carried.bucket AND r.meta IS carried.meta"
        " AND (carried.meta IS NOT NULL OR (r.doc IS NULL AND l.instance = carried.maker)))"
    )


def next_carried(conn: Conn, limit: int) -> list[Carried]:
    """The first rows of the line."""
    rows = conn.execute(
        "SELECT carried_no, database, collection, id, value, privacy, bucket, doc, meta, spared,"
        " maker FROM carried ORDER BY carried_no LIMIT ?",
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
        "rulings",
    ):
        conn.execute(f"DELETE FROM {table}")
