"""Analytics rows: what tables for analysis are filled from, as functions inside a job.

The records come by the feed of changes (`feed_rows.py`), and with each who wrote it last, and when.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

from .bulk import select_in
from .feed_rows import Page, changes, last_change
from .store import Conn


class Origin(NamedTuple):
    """Of a record's latest change: its stamp (`covey.sync.hlc`), and the device that wrote it."""

    hlc: int
    author: bytes


class Batch(NamedTuple):
    """One page of the feed for one collection.

    `privacy` is by number of collection, `origins` by number of record; `latest` is the store's
    last change, so that a reader knows when it has caught up.
    """

    page: Page
    origins: dict[int, Origin]
    privacy: dict[int, int]
    latest: int


def is_there(conn: Conn, names: tuple[str, str]) -> bool:
    """Whether there is such a (database, collection); one whose records are all deleted is."""
    return bool(_privacy(conn, *names))


def read_batch(conn: Conn, database: str, collection: str, after: int, limit: int) -> Batch:
    """The next changes of a collection after a number of the feed."""
    privacy = _privacy(conn, database, collection)
    page = changes(conn, after, list(privacy), limit)
    live = [mark.record_no for mark in page.marks if mark.value is not None]
    return Batch(page, _origins(conn, live), privacy, last_change(conn))


def _privacy(conn: Conn, database: str, collection: str) -> dict[int, int]:
    rows = conn.execute(
        "SELECT c.coll_no, s.privacy FROM scopes s"
        " CROSS JOIN collections c ON c.scope_no = s.scope_no"
        " WHERE s.database = ? AND c.name = ? ORDER BY c.coll_no",
        (database, collection),
    )
    return dict(rows.fetchall())


def _origins(conn: Conn, record_nos: Sequence[int]) -> dict[int, Origin]:
    rows = select_in(
        conn,
        "SELECT r.record_no, r.hlc, l.author FROM records r"
        " JOIN logs l ON l.log_no = r.log_no WHERE r.record_no",
        (),
        record_nos,
    )
    return {row[0]: Origin(*row[1:]) for row in cast(list[tuple[int, int, bytes]], rows)}
