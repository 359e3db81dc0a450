"""Record rows: collections and the current state of records, as functions inside a job.

A record is one row: its JSON as the last applied change left it (NULL when deleted), the position
of that change (log, seq, item), and two blobs whose meaning is the caller's (`doc`, `meta`). The
same id may stand in several scopes of a database; the more private one is seen first, then the one
in the newer time bucket, those in none last. The text that
makes a record findable is given by the caller with every write and kept in step here.

This module does not read the JSON. Queries over it are in `record_queries.py`.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from .blob_rows import forget_records
from .bulk import ROWS_PER_STATEMENT, ensure_row, execute_rows, marks, select_in
from .conflict_rows import forget_conflicts
from .fields import is_text
from .pack_rows import unpacked
from .store import Conn
from .text_rows import add_texts, change_texts, remove_texts


class Collection(NamedTuple):
    coll_no: int
    scope_no: int
    name: str


class Record(NamedTuple):
    """A whole row. `value` is None when the record is deleted."""

    record_no: int
    coll_no: int
    id: str
    value: str | None
    hlc: int
    log_no: int
    seq: int
    item: int
    doc: bytes | None
    meta: bytes | None


class NewRecord(NamedTuple):
    """A row to insert. `text` is what full text finds it by; unused when `value` is None."""

    coll_no: int
    id: str
    value: str | None
    hlc: int
    log_no: int
    seq: int
    item: int
    doc: bytes | None
    meta: bytes | None
    text: str


class RecordUpdate(NamedTuple):
    """A row to replace, all of it."""

    record_no: int
    value: str | None
    hlc: int
    log_no: int
    seq: int
    item: int
    doc: bytes | None
    meta: bytes | None
    text: str


_COLUMNS = "record_no, coll_no, id, value, hlc, log_no, seq, item, doc, meta"
_UPDATE = (
    "UPDATE records SET value = v.column2, hlc = v.column3, log_no = v.column4, seq = v.column5,"
    " item = v.column6, doc = v.column7, meta = v.column8 FROM ("
)


def ensure_collection(conn: Conn, scope_no: int, name: str) -> int:
    """The number of a collection in a scope, made if it is new."""
    values = (scope_no, name)
    return ensure_row(
        conn,
        ("SELECT coll_no FROM collections WHERE scope_no = ? AND name = ?", values),
        ("INSERT INTO collections (scope_no, name) VALUES (?, ?)", values),
    )


def collections(conn: Conn) -> list[Collection]:
    """All collections of all scopes, by number."""
    rows = conn.execute("SELECT coll_no, scope_no, name FROM collections ORDER BY coll_no")
    return [Collection(*row) for row in rows.fetchall()]


def places_of(conn: Conn) -> dict[int, tuple[str, str]]:
    """Number of each collection in each scope -> (database, collection)."""
    rows = conn.execute(
        "SELECT c.coll_no, s.database, c.name FROM collections c"
        " CROSS JOIN scopes s ON s.scope_no = c.scope_no"
    )
    return {number: (database, name) for number, database, name in rows.fetchall()}


def existing(conn: Conn, coll_no: int, ids: Sequence[str]) -> dict[str, Record]:
    """The records of one collection that have these ids, deleted ones included."""
    if len(ids) == 1:
        # The commonest case, without the detour of making a list of marks.
        row = conn.execute(
            f"SELECT {_COLUMNS} FROM records WHERE coll_no = ? AND id = ?", (coll_no, ids[0])
        ).fetchone()
        return {} if row is None else {row[2]: _whole(conn, [row])[0]}
    rows = select_in(
        conn, f"SELECT {_COLUMNS} FROM records WHERE coll_no = ? AND id", (coll_no,), ids
    )
    return {record.id: record for record in _whole(conn, rows)}


def existing_in(conn: Conn, coll_nos: Sequence[int], ids: Sequence[str]) -> list[Record]:
    """The records of any of these collections that have these ids, deleted ones included.

    One statement for many collections: a database in time buckets has one in each of them.
    """
    if len(coll_nos) == 1:
        return list(existing(conn, coll_nos[0], ids).values())
    found: list[Record] = []
    for start in range(0, len(coll_nos), ROWS_PER_STATEMENT):
        chunk = coll_nos[start : start + ROWS_PER_STATEMENT]
        head = f"SELECT {_COLUMNS} FROM records WHERE coll_no IN ({marks(len(chunk))}) AND id"
        rows = select_in(conn, head, chunk, ids)
        found += _whole(conn, rows)
    return found


def locate(conn: Conn, database: str, collection: str, record_id: str) -> list[Record]:
    """The records with this id in all scopes of a database, deleted too: the most private first,
    of one privacy the newest bucket, then the one in none.
    """
    if not all(map(is_text, (database, collection, record_id))):
        return []  # SQLite takes no such text, so no record has it.
    rows = conn.execute(
        f"SELECT {', '.join('r.' + name for name in _COLUMNS.split(', '))} FROM scopes s"
        " CROSS JOIN collections c ON c.scope_no = s.scope_no AND c.name = ?"
        " CROSS JOIN records r ON r.coll_no = c.coll_no AND r.id = ?"
        " WHERE s.database = ? ORDER BY s.privacy, s.bucket DESC",
        (collection, record_id, database),
    )
    return _whole(conn, rows.fetchall())


def _whole(conn: Conn, rows: Sequence[Sequence[Any]]) -> list[Record]:
    """The rows as records, their documents unpacked (`pack_rows`)."""
    records = [Record(*row) for row in rows]
    packed = [record.record_no for record in records if record.doc == b""]
    if not packed:
        return records
    plain = unpacked(conn, packed)
    return [
        record._replace(doc=plain[record.record_no][0], meta=plain[record.record_no][1])
        if record.doc == b""
        else record
        for record in records
    ]


def get(conn: Conn, database: str, collection: str, record_id: str) -> Record | None:
    """The live record with this id in a database that `locate` finds first, or None."""
    for record in locate(conn, database, collection, record_id):
        if record.value is not None:
            return record
    return None


def insert_records(conn: Conn, rows: Sequence[NewRecord]) -> list[int]:
    """Insert records that do not exist yet; their new numbers, in order.

    An id that exists in its collection is an IntegrityError of the library.
    """
    (first,) = conn.execute("SELECT ifnull(max(record_no), 0) + 1 FROM records").fetchone()
    numbers = list(range(first, first + len(rows)))
    execute_rows(
        conn,
        f"INSERT INTO records ({_COLUMNS})",
        10,
        [(number, *row[:9]) for number, row in zip(numbers, rows, strict=True)],
    )
    add_texts(
        conn,
        [
            (number, row.text)
            for number, row in zip(numbers, rows, strict=True)
            if row.value is not None and row.text
        ],
    )
    return numbers


def update_records(conn: Conn, rows: Sequence[RecordUpdate]) -> None:
    """Replace records that exist, by number. A record occurs once."""
    execute_rows(conn, _UPDATE, 8, [row[:8] for row in rows], ") AS v WHERE record_no = v.column1")
    change_texts(
        conn, [(row.record_no, row.text if row.value is not None else None) for row in rows]
    )


def remove_records(conn: Conn, coll_no: int, record_ids: Sequence[str]) -> None:
    """Forget these records, to build them again from their entries; those not there are no fault.

    To delete a record for people is another thing: then its row stays, without a value.
    """
    numbers = [record.record_no for record in existing(conn, coll_no, record_ids).values()]
    remove_texts(conn, numbers)
    forget_conflicts(conn, numbers)
    forget_records(conn, numbers)
    conn.execute(
        "DELETE FROM records WHERE record_no IN (SELECT value FROM json_each(?))",
        (json.dumps(numbers),),
    )


def wipe_projection(conn: Conn, scope_no: int) -> None:
    """Forget all records of a scope, to build them again from its entries. Collections stay."""
    numbers: list[int] = [
        row[0]
        for row in conn.execute(
            "SELECT r.record_no FROM collections c CROSS JOIN records r ON r.coll_no = c.coll_no"
            " WHERE c.scope_no = ?",
            (scope_no,),
        ).fetchall()
    ]
    remove_texts(conn, numbers)
    forget_conflicts(conn, numbers)
    forget_records(conn, numbers)
    conn.execute(
        "DELETE FROM records WHERE coll_no IN (SELECT coll_no FROM collections WHERE scope_no = ?)",
        (scope_no,),
    )
