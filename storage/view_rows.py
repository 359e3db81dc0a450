"""View rows: what functions of an application made of the records, as functions inside a job.

The functions do not run in jobs: `pending` gives the next changed records of a view, and `apply`
takes what was made of them, if nobody was faster. A record of which nothing could be made is noted
with the kind of error. Rows of deleted and removed records go at once, by triggers.

Rows are in order of key, id, privacy, bucket and part; that order, the keys and the values depend
on the records alone, so `digest` is the same on every device that holds the same.
"""

import json
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from math import fsum
from typing import Any, NamedTuple

from ..sync.errors import BadValueError
from .feed_rows import changes, last_change
from .record_queries import parts_of
from .store import Conn
from .value_order import END, beginning

VIEWS_MAX = 100
ROWS_PER_JOB = 10_000
"""Some 0.1 s, in which no record can be written; a record may give 1,000 rows."""
_LABEL = b"covey view rows 1"
_AFTER_SHORT_KEY = b"\0"
"""Less than what any value begins with: after a key comes nothing that is not longer."""


class Stored(NamedTuple):
    """A view as the store knows it."""

    view_no: int
    name: str
    version: int
    database: str
    collection: str
    reached: int


class Place(NamedTuple):
    """Which record, in terms that all devices share."""

    id: str
    privacy: int
    bucket: int


class Item(NamedTuple):
    """A record to make rows of."""

    record_no: int
    place: Place
    value: str


class Pending(NamedTuple):
    """Changes to take: `items` live, `touched` all records whose rows are to be replaced, and
    `change_nos` by what change each.
    """

    start: int
    reached: int
    items: list[Item]
    touched: list[int]
    change_nos: list[int]
    more: bool


class Made(NamedTuple):
    """What was made of a record: rows of key and canonical JSON, or the kind of error."""

    item: Item
    rows: list[tuple[bytes, str]]
    error: str | None


class Row(NamedTuple):
    key: bytes
    id: str
    privacy: int
    bucket: int
    part: int
    value: str


_ROW = "key, id, privacy, bucket, part, value"


def open_view(conn: Conn, name: str, version: int, database: str, collection: str) -> Stored:
    """The view of this name; empty if it is new, or was of another version or collection.

    Raises BadValueError if there are too many.
    """
    stored = find_view(conn, name)
    if stored is None:
        (count,) = conn.execute("SELECT count(*) FROM views").fetchone()
        if count >= VIEWS_MAX:
            raise BadValueError(f"there are {count} views, the most there may be: drop one first")
    elif stored[2:5] == (version, database, collection):
        return stored
    else:
        drop(conn, name)
    conn.execute(
        "INSERT INTO views (name, version, database, collection, reached) VALUES (?, ?, ?, ?, 0)",
        (name, version, database, collection),
    )
    made = find_view(conn, name)
    assert made is not None
    return made


def find_view(conn: Conn, name: str) -> Stored | None:
    rows = conn.execute(
        "SELECT view_no, name, version, database, collection, reached FROM views WHERE name = ?",
        (name,),
    ).fetchall()
    return Stored(*rows[0]) if rows else None


def is_there(conn: Conn, view: Stored) -> bool:
    """Whether a view is what it was when it was opened: its number may be another one's by now."""
    return _now(conn, view) is not None


def _now(conn: Conn, view: Stored) -> Stored | None:
    """The view with what it has taken since; None if it was dropped, or is of another version."""
    stored = find_view(conn, view.name)
    return stored if stored is not None and stored[:5] == view[:5] else None


def stored_views(conn: Conn) -> list[tuple[Stored, int, int, int]]:
    """All views by name, each with its rows, skipped records, and changes that it has not taken."""
    found = []
    for (name,) in conn.execute("SELECT name FROM views ORDER BY name").fetchall():
        stored = find_view(conn, name)
        assert stored is not None
        counts = [
            conn.execute(
                f"SELECT count(*) FROM {table} WHERE view_no = ?", (stored.view_no,)
            ).fetchone()[0]
            for table in ("view_rows", "view_skips")
        ]
        (behind,) = conn.execute(
            "SELECT count(*) FROM record_marks WHERE change_no > ?", (stored.reached,)
        ).fetchone()
        found.append((stored, counts[0], counts[1], behind))
    return found


def drop(conn: Conn, name: str) -> bool:
    """Remove a view and its rows; False if there is none."""
    stored = find_view(conn, name)
    if stored is None:
        return False
    start_over(conn, stored.view_no)
    conn.execute("DELETE FROM views WHERE view_no = ?", (stored.view_no,))
    return True


def start_over(conn: Conn, view_no: int) -> None:
    """Forget all rows; every record is pending again."""
    conn.execute("DELETE FROM view_rows WHERE view_no = ?", (view_no,))
    conn.execute("DELETE FROM view_skips WHERE view_no = ?", (view_no,))
    conn.execute("UPDATE views SET reached = 0 WHERE view_no = ?", (view_no,))


def pending(conn: Conn, view: Stored, limit: int) -> Pending | None:
    """The next changes for a view, at most `limit`; None if there are none, or it is not there."""
    stored = _now(conn, view)
    if stored is None or stored.reached >= last_change(conn):
        return None
    parts = parts_of(conn, stored.database, stored.collection)
    scopes = {part.coll_no: (part.privacy, part.bucket) for part in parts}
    page = changes(conn, stored.reached, list(scopes), limit)
    items = [
        Item(mark.record_no, Place(mark.id, *scopes[mark.coll_no]), mark.value)
        for mark in page.marks
        if mark.coll_no is not None and mark.id is not None and mark.value is not None
    ]
    touched = [mark.record_no for mark in page.marks]
    numbers = [mark.change_no for mark in page.marks]
    return Pending(stored.reached, page.reached, items, touched, numbers, len(touched) == limit)


def in_parts(taken: Pending, made: Sequence[Made]) -> Iterator[tuple[Pending, list[Made]]]:
    """What was made, in parts of about `ROWS_PER_JOB` rows, to be applied one after the other."""
    of_record = {one.item.record_no: one for one in made}
    begun, start, part, rows = 0, taken.start, list[Made](), 0
    for number, record_no in enumerate(taken.touched, 1):
        one = of_record.get(record_no)
        if one is not None:
            part.append(one)
            rows += len(one.rows)
        is_last = number == len(taken.touched)
        if is_last or rows >= ROWS_PER_JOB:
            reached = taken.reached if is_last else taken.change_nos[number - 1]
            touched = taken.touched[begun:number]
            yield taken._replace(start=start, reached=reached, touched=touched), part
            begun, start, part, rows = number, reached, [], 0


def apply(conn: Conn, view: Stored, taken: Pending, made: Sequence[Made]) -> bool:
    """Take what was made of pending changes; False, and nothing is done, if another was faster, or
    the view is not there any more.
    """
    stored = _now(conn, view)
    if stored is None or stored.reached != taken.start:
        return False
    view_no, touched = stored.view_no, json.dumps(taken.touched)
    for table in ("view_rows", "view_skips"):
        conn.execute(
            f"DELETE FROM {table} WHERE view_no = ?"
            " AND record_no IN (SELECT value FROM json_each(?))",
            (view_no, touched),
        )
    # What changed meanwhile is pending again, and of what is gone nothing may come back.
    changed = {
        row[0]
        for row in conn.execute(
            "SELECT record_no FROM record_marks WHERE change_no > ?"
            " AND record_no IN (SELECT value FROM json_each(?))",
            (taken.reached, touched),
        ).fetchall()
    }
    fresh = [one for one in made if one.item.record_no not in changed]
    conn.executemany(
        "INSERT INTO view_rows (view_no, id, privacy, bucket, record_no, key, part, value)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (view_no, *one.item.place, one.item.record_no, key, part, value)
            for one in fresh
            for part, (key, value) in enumerate(one.rows)
        ],
    )
    conn.executemany(
        "INSERT INTO view_skips (view_no, id, privacy, bucket, record_no, reason)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [
            (view_no, *one.item.place, one.item.record_no, one.error)
            for one in fresh
            if one.error is not None
        ],
    )
    conn.execute("UPDATE views SET reached = ? WHERE view_no = ?", (taken.reached, view_no))
    return True


def rows(
    conn: Conn,
    view_no: int,
    low: bytes,
    high: bytes,
    after: Row | None,
    descending: bool,
    limit: int,
) -> list[Row]:
    """A page of rows with low <= key < high, in order or turned round, after a row (exclusive)."""
    beyond, direction = ("<", " DESC") if descending else (">", "")
    names = _ROW.removesuffix(", value")
    start = "" if after is None else f" AND ({names}) {beyond} (?, ?, ?, ?, ?)"
    order = ", ".join(f"{name}{direction}" for name in names.split(", "))
    found = conn.execute(
        f"SELECT {_ROW} FROM view_rows WHERE view_no = ? AND key >= ? AND key < ?{start}"
        f" ORDER BY {order} LIMIT ?",
        (view_no, low, high, *(() if after is None else after[:5]), limit),
    )
    return [Row(*row) for row in found.fetchall()]


def count(conn: Conn, view_no: int, low: bytes, high: bytes) -> int:
    """How many rows lie in a range."""
    number: int = conn.execute(
        "SELECT count(*) FROM view_rows WHERE view_no = ? AND key >= ? AND key < ?",
        (view_no, low, high),
    ).fetchone()[0]
    return number


def total(conn: Conn, view_no: int, low: bytes, high: bytes) -> int | float:
    """The sum of those values in a range that are numbers: exact for integers, and of others
    rounded once, so that it is the same in any order. Raises BadValueError if it is too large.
    """
    whole, parts = 0, list[float]()
    for (text,) in conn.execute(
        "SELECT value FROM view_rows WHERE view_no = ? AND key >= ? AND key < ?",
        (view_no, low, high),
    ):
        value = json.loads(text)
        if type(value) is int:
            whole += value
        elif type(value) is float:
            parts.append(value)
    try:
        return whole + fsum(parts) if parts else whole
    except OverflowError:
        raise BadValueError("the sum is greater than a number can be") from None


def latest(conn: Conn, view_no: int, low: bytes, high: bytes) -> Row | None:
    """The last row of a range."""
    found = rows(conn, view_no, low, high, None, True, 1)
    return found[0] if found else None


def groups(
    conn: Conn, view_no: int, low: bytes, high: bytes, values: int, limit: int
) -> list[tuple[bytes, bytes]]:
    """The ranges [low, high) of rows whose keys begin with the same so many values, in order.

    A row with fewer values is a group with those of the same key. A seek for each group.
    """
    found: list[tuple[bytes, bytes]] = []
    while len(found) < limit:
        row = conn.execute(
            "SELECT key FROM view_rows WHERE view_no = ? AND key >= ? AND key < ?"
            " ORDER BY key LIMIT 1",
            (view_no, low, high),
        ).fetchone()
        if row is None:
            break
        start = beginning(row[0], values)
        begin, end = (row[0], row[0] + _AFTER_SHORT_KEY) if start is None else (start, start + END)
        found.append((begin, end))
        low = end
    return found


def skipped(conn: Conn, view_no: int, limit: int) -> list[tuple[Place, str]]:
    """Records of which nothing could be made, by id, and the kind of error."""
    found = conn.execute(
        "SELECT id, privacy, bucket, reason FROM view_skips WHERE view_no = ?"
        " ORDER BY id, privacy, bucket LIMIT ?",
        (view_no, limit),
    )
    return [(Place(*row[:3]), row[3]) for row in found.fetchall()]


def digest(conn: Conn, view_no: int) -> bytes:
    """32 bytes that are the same exactly if all rows and all skipped records are."""
    whole = blake2b(_LABEL, digest_size=32)
    for table, names in (("view_rows", _ROW), ("view_skips", "id, privacy, bucket, reason")):
        order = names.removesuffix(", value").removesuffix(", reason")
        for row in conn.execute(
            f"SELECT {names} FROM {table} WHERE view_no = ? ORDER BY {order}", (view_no,)
        ):
            for part in row:
                data = _data(part)
                whole.update(len(data).to_bytes(8, "big") + data)
        whole.update(b"end of table")
    return whole.digest()


def _data(part: Any) -> bytes:
    return part if isinstance(part, bytes) else str(part).encode()
