"""Past rows: queries over records as they were, as functions inside a job.

What records were is made from their histories, by the caller. Here they are put where a query can
be asked of them: into a table in memory, of this connection alone and only until the job has its
answer. So one evaluator judges what is and what was (`finding.py`).
"""

from collections.abc import Sequence
from typing import NamedTuple

from .bulk import execute_rows
from .finding import Page, Query, find_in
from .store import Conn


class Was(NamedTuple):
    """A record as it was. `hlc` and `log_no` are those of its last change until then."""

    record_no: int
    coll_no: int
    id: str
    value: str
    hlc: int
    log_no: int
    seq: int


class Standing(NamedTuple):
    """A record as it is now, `value` None if it is deleted, and what there is of its past.

    `meta` is None of a packed one, and of one with a single change, which `is_first` says.
    `history_bytes` is how much is to be read of it.
    """

    record_no: int
    coll_no: int
    id: str
    value: str | None
    hlc: int
    log_no: int
    seq: int
    meta: bytes | None
    is_first: bool
    history_bytes: int

    def as_it_is(self) -> Was | None:
        """The record if it was then what it is now; None if it is deleted."""
        if self.value is None:
            return None
        return Was(*self[:3], self.value, *self[4:7])


def standing(conn: Conn, coll_no: int, after: str, limit: int) -> list[Standing]:
    """The next records of a collection in one scope, in order of id, at most `limit`."""
    rows = conn.execute(
        "SELECT r.record_no, r.coll_no, r.id, r.value, r.hlc, r.log_no, r.seq, r.meta,"
        " r.doc IS NULL AND r.meta IS NULL, ifnull(length(r.doc), 0)"
        " + ifnull((SELECT p.plain_bytes FROM record_packs p WHERE p.record_no = r.record_no), 0)"
        " FROM records r WHERE r.coll_no = ? AND r.id > ? ORDER BY r.id LIMIT ?",
        (coll_no, after, limit),
    )
    return [Standing(*row) for row in rows.fetchall()]


def find_among(conn: Conn, database: str, query: Query, records: Sequence[Was]) -> Page:
    """A page of those that pass, as `finding.find` would find them. Raises: BadFieldError."""
    conn.execute(
        "CREATE TEMP TABLE past_records (record_no INTEGER PRIMARY KEY, coll_no INTEGER, id TEXT,"
        " value TEXT, hlc INTEGER, log_no INTEGER, seq INTEGER)"
    )
    try:
        head = "INSERT INTO temp.past_records (record_no, coll_no, id, value, hlc, log_no, seq)"
        execute_rows(conn, head, 7, records)
        return find_in(conn, "temp.past_records", database, query)
    finally:
        conn.execute("DROP TABLE temp.past_records")
