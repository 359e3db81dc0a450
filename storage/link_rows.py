"""Link rows: who links to a record, and declared link fields, as functions inside a job.

The way there is read off the records themselves. For the way back there are rows, which follow the
feed (`feed_rows`) from the first time that somebody asks. Rows of deleted and removed records go
at once, by triggers. All of it is of this device and does not travel.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..sync.errors import BadValueError
from .feed_rows import changes
from .link_text import Declared, Link, Target, links_in
from .record_rows import get, places_of
from .store import Conn

FIELDS_MAX = 1_000
LINKS_PER_JOB = 5_000
"""Some 0.1 s, in which no record can be written; one record may have more (`link_text`)."""

Fields = Mapping[tuple[str, str], Mapping[str, Declared]]
"""(database, collection) -> root field -> where the ids in it lead."""


class LinkField(NamedTuple):
    """One declared field."""

    database: str
    collection: str
    field: str
    to: Declared


class Back(NamedTuple):
    """A record that links to another one, and by what."""

    source: Target
    type: str


class Looked(NamedTuple):
    """A record as it is here: its JSON, None if there is none, and its links."""

    value: str | None
    links: list[Link]


def declare(conn: Conn, field: LinkField) -> bool:
    """Let the texts in a field count as links; False if they do already. Raises BadValueError."""
    database, collection, name, to = field
    known = declared(conn)
    if field in known:
        return False
    if len(known) >= FIELDS_MAX:
        raise BadValueError(f"{len(known):,} link fields are declared, the most there may be")
    conn.execute(
        "INSERT OR REPLACE INTO link_fields (database, collection, field, to_database,"
        " to_collection) VALUES (?, ?, ?, ?, ?)",
        (database, collection, name, *to),
    )
    start_over(conn)
    return True


def undeclare(conn: Conn, database: str, collection: str, field: str) -> bool:
    """Texts in a field count as texts again; False if they did."""
    removed = conn.execute(
        "DELETE FROM link_fields WHERE database = ? AND collection = ? AND field = ?",
        (database, collection, field),
    ).rowcount
    if removed:
        start_over(conn)
    return bool(removed)


def declared(conn: Conn) -> list[LinkField]:
    """All declared fields, in order of their names."""
    rows = conn.execute(
        "SELECT database, collection, field, to_database, to_collection FROM link_fields"
        " ORDER BY database, collection, field"
    )
    return [LinkField(row[0], row[1], row[2], Declared(*row[3:])) for row in rows.fetchall()]


def start_over(conn: Conn) -> None:
    """Forget all rows; the next way back makes them anew from the records."""
    conn.execute("DELETE FROM record_links")
    conn.execute("DELETE FROM link_progress")


def catch_up(conn: Conn, limit: int) -> bool:
    """Take the next changes of the feed into the rows, at most `limit`; True if there may be more.

    Fewer where records have many links: nobody writes a record meanwhile.
    """
    row = conn.execute("SELECT reached FROM link_progress").fetchone()
    reached = 0 if row is None else row[0]
    places, fields = places_of(conn), _by_place(conn)
    page = changes(conn, reached, list(places), limit)
    if not page.marks:
        return False
    found: list[tuple[str, str, str, str, int]] = []
    taken = 0
    for mark in page.marks:
        taken += 1
        if mark.value is not None and mark.coll_no is not None:
            place = places[mark.coll_no]
            links = links_in(json.loads(mark.value), place[0], fields.get(place, {}))
            found += [(*link.target, link.type, mark.record_no) for link in links]
        if len(found) >= LINKS_PER_JOB:
            break
    conn.execute(
        "DELETE FROM record_links WHERE record_no IN (SELECT value FROM json_each(?))",
        (json.dumps([mark.record_no for mark in page.marks[:taken]]),),
    )
    conn.executemany(
        "INSERT INTO record_links (database, collection, id, type, record_no)"
        " VALUES (?, ?, ?, ?, ?)",
        found,
    )
    is_all = taken == len(page.marks)
    conn.execute(
        "INSERT INTO link_progress VALUES (1, ?)"
        " ON CONFLICT (only) DO UPDATE SET reached = excluded.reached",
        (page.reached if is_all else page.marks[taken - 1].change_no,),
    )
    return not is_all or taken == limit


def look(conn: Conn, targets: Sequence[Target]) -> list[Looked]:
    """The records of these names and their links, in the order of the names."""
    fields = _by_place(conn)
    found = []
    for target in targets:
        record = get(conn, *target)
        if record is None or record.value is None:
            found.append(Looked(None, []))
            continue
        of_place = fields.get((target.database, target.collection), {})
        links = links_in(json.loads(record.value), target.database, of_place)
        found.append(Looked(record.value, links))
    return found


def back(conn: Conn, target: Target, limit: int) -> list[Back]:
    """Who links to a record, in order of type and place; as far as the rows have caught up."""
    rows = conn.execute(
        "SELECT DISTINCT s.database, c.name, r.id, l.type FROM record_links l"
        " CROSS JOIN records r ON r.record_no = l.record_no"
        " CROSS JOIN collections c ON c.coll_no = r.coll_no"
        " CROSS JOIN scopes s ON s.scope_no = c.scope_no"
        " WHERE l.database = ? AND l.collection = ? AND l.id = ? AND r.value IS NOT NULL"
        " ORDER BY l.type, s.database, c.name, r.id LIMIT ?",
        (*target, limit),
    )
    return [Back(Target(*row[:3]), row[3]) for row in rows.fetchall()]


def _by_place(conn: Conn) -> Fields:
    found: dict[tuple[str, str], dict[str, Declared]] = defaultdict(dict)
    for one in declared(conn):
        found[one.database, one.collection][one.field] = one.to
    return found
