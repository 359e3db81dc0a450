"""Amounts: how many records and entries a scope holds, log by log, as functions inside a job.

For people who want to know what a change of policy would be about. Sizes are bytes of ciphertext.
"""

from typing import NamedTuple

from .store import Conn


class LogAmount(NamedTuple):
    """What lies in one log. A record counts for the log of its latest change."""

    log_no: int
    records: int
    entries: int
    size: int


def amounts_of_scope(conn: Conn, scope_no: int) -> list[LogAmount]:
    """The logs of a scope that hold something, by number; deleted records do not count."""
    records = dict(
        conn.execute(
            "SELECT r.log_no, count(*) FROM collections c CROSS JOIN records r"
            " ON r.coll_no = c.coll_no WHERE c.scope_no = ? AND r.value IS NOT NULL"
            " GROUP BY r.log_no",
            (scope_no,),
        ).fetchall()
    )
    rows = conn.execute(
        "SELECT l.log_no, count(*), sum(length(e.ct)) FROM logs l CROSS JOIN entries e"
        " ON e.log_no = l.log_no WHERE l.scope_no = ? GROUP BY l.log_no ORDER BY l.log_no",
        (scope_no,),
    )
    return [LogAmount(log, records.get(log, 0), count, size) for log, count, size in rows]
