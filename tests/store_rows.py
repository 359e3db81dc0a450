"""Rows and stores for the tests of the storage floor: a filled store, and what its queries plan."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from covey.node.data.asking import Query, prepared
from covey.storage import finding
from covey.storage.database import Database, create_database, open_database
from covey.storage.log_rows import (
    EntryState,
    NewEntry,
    append_entries,
    ensure_heading,
    ensure_log,
    ensure_scope,
)
from covey.storage.meta_rows import get_meta, set_meta
from covey.storage.migrations import migrate
from covey.storage.record_queries import Found
from covey.storage.record_rows import NewRecord, ensure_collection, insert_records
from covey.storage.store import Conn, Cursor, Value

KEY = bytes(range(32))
DEVICE, PRIVATE, FAMILY, PUBLIC = range(4)


async def new_store(path: Path) -> Database:
    return await create_database(path, KEY, applied_ms=0)


async def reopened(path: Path) -> Database:
    return await open_database(path, KEY, applied_ms=0, key_checked=True)


def memory_conn() -> sqlite3.Connection:
    """A bare connection with the schema, for row functions that need no store around them."""
    conn = sqlite3.connect(":memory:", isolation_level=None)
    conn.execute("PRAGMA foreign_keys=ON")
    modern = sqlite3.sqlite_version_info >= (3, 43)
    migrate(conn, Path(":memory:"), 0, contentless_delete=modern)
    return conn


def setting(key: str, value: bytes = b"1") -> Callable[[Conn], None]:
    """A write job: set one value."""
    return lambda conn: set_meta(conn, key, value)


def value_of(key: str) -> Callable[[Conn], bytes | None]:
    """A read job: one value."""
    return lambda conn: get_meta(conn, key)


def a_scope(conn: Conn, database: str = "memory", privacy: int = PRIVATE, bucket: int = 0) -> int:
    tag = f"{database}{privacy}/{bucket}".encode().ljust(16, b".")
    return ensure_scope(conn, tag, database, privacy, bucket)


def a_collection(
    conn: Conn,
    name: str = "notes",
    database: str = "memory",
    privacy: int = PRIVATE,
    bucket: int = 0,
) -> int:
    return ensure_collection(conn, a_scope(conn, database, privacy, bucket), name)


def a_log(conn: Conn, instance: bytes = b"i" * 16, database: str = "memory") -> int:
    return ensure_log(conn, a_scope(conn, database), instance, b"a" * 32)


def a_heading(conn: Conn) -> int:
    return ensure_heading(conn, 1, b"k" * 32, b"h" * 32)


def entry(
    seq: int,
    heading_no: int,
    signed: bool = True,
    size: int = 100,
    state: EntryState = EntryState.APPLIED,
) -> NewEntry:
    ct = bytes([seq % 256]) * size
    signature = b"s" * 64 if signed else None
    entry_id = seq.to_bytes(32, "big")
    return NewEntry(seq, heading_no, b"saltsalt", ct, entry_id, signature, state, 0)


def append(
    conn: Conn, log_no: int, sequence: Iterable[int], signed: Sequence[int] | None = None
) -> None:
    heading_no = a_heading(conn)
    rows = [entry(seq, heading_no, signed is None or seq in signed) for seq in sequence]
    append_entries(conn, log_no, rows)


def record(
    coll_no: int, record_id: str, value: str | None = "{}", text: str = "", hlc: int = 1
) -> NewRecord:
    return NewRecord(coll_no, record_id, value, hlc, 1, 1, 0, None, None, text)


def find(
    conn: Conn,
    database: str,
    collection: str,
    where: Mapping[str, Any],
    text: str | None,
    order: str | None,
    descending: bool,
    limit: int,
) -> list[Found]:
    """The records of one page, for a query as an application writes it."""
    query = Query(where, text, order, descending, limit)
    return finding.find(conn, database, collection, prepared(query)).records


def put(conn: Conn, coll_no: int, record_id: str, value: str | None = "{}", text: str = "") -> int:
    (number,) = insert_records(conn, [record(coll_no, record_id, value, text)])
    return number


class Recorder:
    """A connection that notes how SQLite would carry out each statement it is given."""

    def __init__(self, conn: Any) -> None:
        self._conn = conn
        self.steps: list[str] = []

    def execute(self, sql: str, parameters: Sequence[Value] = (), /) -> Cursor:
        if sql.split(None, 1)[0] in {"SELECT", "UPDATE", "DELETE", "INSERT", "WITH"}:
            plan = self._conn.execute("EXPLAIN QUERY PLAN " + sql, parameters).fetchall()
            self.steps += [str(step[3]) for step in plan]
        cursor: Cursor = self._conn.execute(sql, parameters)
        return cursor

    def executemany(self, sql: str, parameters: Iterable[Sequence[Value]], /) -> Cursor:
        cursor: Cursor = self._conn.executemany(sql, parameters)
        return cursor

    def scans_of(self, *tables: str) -> list[str]:
        """Steps that walk one of these tables, or an index of it, from end to end.

        A subquery that bears the name of a table is none.
        """
        kinds = ("CO-ROUTINE ", "MATERIALIZE ")
        subqueries = {step.removeprefix(kind) for step in self.steps for kind in kinds}
        return [
            step
            for step in self.steps
            if step.startswith("SCAN")
            and any(f" {name} " in f"{step} " and name not in subqueries for name in tables)
        ]
