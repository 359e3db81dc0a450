"""Lifecycle rows: rules for the age of records, and what takes room, as functions inside a job.

Rules are this device's own. What they mean is decided in `covey.node.data.lifecycle`; how documents
are packed is in `pack_rows.py`. Sizes are bytes of content; the pages that hold them, indexes and
what a page leaves free are counted as a whole, because this SQLite has no `dbstat`.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

from .log_rows import ENTRY_OVERHEAD_BYTES
from .store import Conn


class RuleRow(NamedTuple):
    """What was said of one collection. None: nothing expires by that."""

    database: str
    collection: str
    expires_field: str | None
    keep_days: int | None
    warm_days: int
    cold_days: int


class Living(NamedTuple):
    """A record that may expire. (log_no, seq) is its latest change; `value` its JSON."""

    record_no: int
    coll_no: int
    id: str
    value: str
    hlc: int
    log_no: int


class CollectionSize(NamedTuple):
    """What one collection of one scope takes. `packed` and `unpacked` are of cold and warm ones."""

    database: str
    collection: str
    records: int
    deleted: int
    values: int
    hot: int
    """Documents that are not packed."""
    warm_records: int
    cold_records: int
    packed: int
    plain: int
    """What the packed ones would take."""


class StoreSize(NamedTuple):
    """The file as a whole. `text` is the index of full text, `free` pages that hold nothing."""

    total: int
    free: int
    text: int
    dictionaries: int


_RULE = "database, collection, expires_field, keep_days, warm_days, cold_days"


def rules(conn: Conn) -> list[RuleRow]:
    """All rules, in order of their names."""
    rows = conn.execute(f"SELECT {_RULE} FROM lifecycle_rules ORDER BY database, collection")
    return [RuleRow(*row) for row in rows.fetchall()]


def set_rule(conn: Conn, rule: RuleRow) -> None:
    """Keep a rule in the place of the one before."""
    conn.execute(f"INSERT OR REPLACE INTO lifecycle_rules ({_RULE}) VALUES (?,?,?,?,?,?)", rule)


def drop_rule(conn: Conn, database: str, collection: str) -> bool:
    """Forget a rule; False if there was none."""
    done = conn.execute(
        "DELETE FROM lifecycle_rules WHERE database = ? AND collection = ?", (database, collection)
    )
    return done.rowcount > 0


def living(conn: Conn, coll_nos: Sequence[int], after: int, limit: int) -> list[Living]:
    """The next live records of these collections after a number, in the order of the table."""
    rows = conn.execute(
        "SELECT record_no, coll_no, id, value, hlc, log_no FROM records WHERE record_no > ?"
        " AND value NOTNULL AND coll_no IN (SELECT value FROM json_each(?))"
        " ORDER BY record_no LIMIT ?",
        (after, json.dumps(list(coll_nos)), limit),
    )
    return [Living(*row) for row in rows.fetchall()]


def collection_sizes(conn: Conn) -> list[CollectionSize]:
    """What each collection takes, its scopes together. Walks all records."""
    rows = conn.execute(
        "SELECT s.database, c.name, count(r.value), count(*) - count(r.value),"
        " ifnull(sum(length(CAST(r.value AS BLOB))), 0),"
        " ifnull(sum(length(r.doc)), 0) + ifnull(sum(length(r.meta)), 0),"
        " ifnull(sum(p.tier = 1), 0), ifnull(sum(p.tier = 2), 0),"
        " ifnull(sum(length(p.body)), 0), ifnull(sum(p.plain_bytes), 0)"
        " FROM records r JOIN collections c ON c.coll_no = r.coll_no"
        " JOIN scopes s ON s.scope_no = c.scope_no"
        " LEFT JOIN record_packs p ON p.record_no = r.record_no"
        " GROUP BY s.database, c.name ORDER BY s.database, c.name"
    )
    return [CollectionSize(*row) for row in rows.fetchall()]


def history_sizes(conn: Conn) -> dict[str, tuple[int, int]]:
    """Database -> (entries, bytes) of the logs: what peers are given. Sealed, so never packed."""
    rows = conn.execute(
        "SELECT s.database, count(*), sum(length(e.ct) + ?) FROM entries e"
        " JOIN logs l ON l.log_no = e.log_no JOIN scopes s ON s.scope_no = l.scope_no"
        " GROUP BY s.database ORDER BY s.database",
        (ENTRY_OVERHEAD_BYTES,),
    )
    return {database: (count, size) for database, count, size in rows.fetchall()}


def store_size(conn: Conn) -> StoreSize:
    """What the file takes, and of it what no collection is counted for."""
    pages, page_bytes, free = (
        int(conn.execute(f"PRAGMA {name}").fetchone()[0])  # SQLCipher gives one of them as a text.
        for name in ("page_count", "page_size", "freelist_count")
    )
    return StoreSize(
        pages * page_bytes,
        free * page_bytes,
        _sum(conn, "record_text_data", "block"),
        _sum(conn, "pack_dictionaries", "body"),
    )


def _sum(conn: Conn, table: str, column: str) -> int:
    (size,) = conn.execute(f"SELECT ifnull(sum(length({column})), 0) FROM {table}").fetchone()
    return int(size)
