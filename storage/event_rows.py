"""Event rows: the audit log and the alarms of this device.

An event says what happened (who joined, what synced, what was refused) in numbers, ids and names of
databases; never content of a record. Events are chained: each carries
`BLAKE2b(chain before ‖ time ‖ kind ‖ detail)`, so an edited, removed or reordered event shows.
The chain is a check for accidents and careless hands, local to the device and no part of the
protocol; whoever has the key of the store can write it anew.

An alarm is something a person should see (a fork, a rollback); the same one is raised once.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

from .meta_rows import get_meta, set_meta
from .store import Conn

EVENTS_KEPT = 100_000
_CHAIN_START = bytes(32)
_PRUNED_CHAIN = "events.pruned_chain"
_PERSON = b"covey-event-log1"
_PAGE_ROWS = 1000


class Event(NamedTuple):
    """`detail` is JSON."""

    event_no: int
    time_ms: int
    kind: str
    detail: str
    chain: bytes


class Alarm(NamedTuple):
    """`detail` is JSON."""

    alarm_no: int
    time_ms: int
    kind: str
    detail: str


def add_event(conn: Conn, time_ms: int, kind: str, detail: str) -> int:
    """Append one event; its number. Every 1,000th cuts the log to the newest 100,000."""
    row = conn.execute("SELECT event_no, chain FROM events ORDER BY event_no DESC LIMIT 1")
    number, before = row.fetchone() or (0, get_meta(conn, _PRUNED_CHAIN) or _CHAIN_START)
    conn.execute(
        "INSERT INTO events (event_no, time_ms, kind, detail, chain) VALUES (?, ?, ?, ?, ?)",
        (number + 1, time_ms, kind, detail, _link(before, time_ms, kind, detail)),
    )
    if (number + 1) % _PAGE_ROWS == 0:
        prune_events(conn, EVENTS_KEPT)
    return int(number + 1)


def events(conn: Conn, after: int, limit: int) -> list[Event]:
    """Events in order, a page from number `after` (exclusive)."""
    rows = conn.execute(
        "SELECT event_no, time_ms, kind, detail, chain FROM events"
        " WHERE event_no > ? ORDER BY event_no LIMIT ?",
        (after, limit),
    )
    return [Event(*row) for row in rows.fetchall()]


def last_events(conn: Conn, limit: int) -> list[Event]:
    """The newest events, oldest of them first."""
    rows = conn.execute(
        "SELECT event_no, time_ms, kind, detail, chain FROM events ORDER BY event_no DESC LIMIT ?",
        (limit,),
    )
    return [Event(*row) for row in reversed(rows.fetchall())]


def broken_event(conn: Conn) -> int | None:
    """The number of the first event that does not fit the chain, or None: all is well."""
    before = get_meta(conn, _PRUNED_CHAIN) or _CHAIN_START
    expected: int | None = None
    for event in _all(conn):
        fits = event.chain == _link(before, event.time_ms, event.kind, event.detail)
        if not fits or expected not in (None, event.event_no):
            return event.event_no
        before, expected = event.chain, event.event_no + 1
    return None


def prune_events(conn: Conn, keep: int) -> None:
    """Forget all but the newest `keep` events (at least one); what stays can still be verified."""
    row = conn.execute(
        "SELECT event_no, chain FROM events ORDER BY event_no DESC LIMIT 1 OFFSET ?", (keep,)
    ).fetchone()
    if row is not None and keep > 0:
        set_meta(conn, _PRUNED_CHAIN, row[1])
        conn.execute("DELETE FROM events WHERE event_no <= ?", (row[0],))


def raise_alarm(conn: Conn, time_ms: int, kind: str, detail: str) -> bool:
    """Keep an alarm; False if the same one has been raised before."""
    cursor = conn.execute(
        "INSERT INTO alarms (time_ms, kind, detail) VALUES (?, ?, ?)"
        " ON CONFLICT (kind, detail) DO NOTHING",
        (time_ms, kind, detail),
    )
    return cursor.rowcount > 0


def alarms(conn: Conn) -> list[Alarm]:
    """All alarms in the order in which they were raised."""
    rows = conn.execute("SELECT alarm_no, time_ms, kind, detail FROM alarms ORDER BY alarm_no")
    return [Alarm(*row) for row in rows.fetchall()]


def _all(conn: Conn) -> Iterator[Event]:
    after = -1
    while page := events(conn, after, _PAGE_ROWS):
        yield from page
        after = page[-1].event_no


def _link(before: bytes, time_ms: int, kind: str, detail: str) -> bytes:
    digest = blake2b(before, digest_size=32, person=_PERSON)
    for part in (str(time_ms), kind, detail):
        raw = part.encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.digest()
