"""Event rows: the audit log and the alarms of this device.

An event says what happened (who joined, what synced, what was refused) in numbers, ids and names of
devices and databases; never content of a record. Events are numbered without a gap and chained:
each carries `BLAKE2b(chain before ‖ time ‖ kind ‖ detail)`. The store also keeps where the chain
begins (after the last event that was forgotten) and where it ends (its *head*), so that an event
that was edited, removed or moved shows wherever it stood, the last one included.

The chain is a check for accidents and careless hands, local to the device and no part of the
protocol; whoever has the key of the store can write it anew, head and all. A head that was written
down elsewhere shows that too: it must still be the chain of the event of that number.

How much is kept is a setting. The oldest go first, with the first event of each day and with every
1,000th; what stays can still be verified.

An alarm is something a person should see (a fork, a rollback); the same one is raised once.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

from .meta_rows import get_meta, set_meta
from .store import Conn

EVENTS_KEPT = 100_000
DAYS_KEPT = 365
EVENTS_KEPT_MIN = 100
"""So many of the newest stay whatever their age: a clock gone wrong must not empty the log."""
_DAY_MS = 86_400_000
_CHAIN_START = bytes(32)
_HEAD = "events.head"
_FORGOTTEN = "events.forgotten"
_RETENTION = "events.retention"
_PERSON = b"covey-event-log1"
_PAGE_ROWS = 1000


class Event(NamedTuple):
    """`detail` is JSON."""

    event_no: int
    time_ms: int
    kind: str
    detail: str
    chain: bytes


class Place(NamedTuple):
    """A place between two events: after the event of this number, which has this chain."""

    event_no: int
    time_ms: int
    chain: bytes


class Retention(NamedTuple):
    """What is kept: events of the last `days` (0: of any age), and of those the newest."""

    days: int
    events: int


class Misfit(NamedTuple):
    """The first event that does not fit the chain; one that is missing has no time."""

    event_no: int
    time_ms: int | None


class ChainCheck(NamedTuple):
    """What was found of the chain. `misfit` None: all is well, and `head` is where it ends."""

    events: int
    first: Place
    """The oldest event kept; its number is 0 if there is none."""
    head: Place
    forgotten_no: int
    """The last event that retention has taken; 0 if it took none."""
    misfit: Misfit | None
    asked: bytes | None
    """The chain of the event that was asked for, if its number is kept or was forgotten last."""


class Alarm(NamedTuple):
    """`detail` is JSON."""

    alarm_no: int
    time_ms: int
    kind: str
    detail: str


def add_event(conn: Conn, time_ms: int, kind: str, detail: str) -> int:
    """Append one event; its number. From time to time this forgets what is not to be kept."""
    before = _place(conn, _HEAD) or _last(conn)
    number = before.event_no + 1
    chain = _link(before.chain, time_ms, kind, detail)
    conn.execute(
        "INSERT INTO events (event_no, time_ms, kind, detail, chain) VALUES (?, ?, ?, ?, ?)",
        (number, time_ms, kind, detail, chain),
    )
    _set_place(conn, _HEAD, Place(number, time_ms, chain))
    if number % _PAGE_ROWS == 0 or time_ms // _DAY_MS != before.time_ms // _DAY_MS:
        prune_events(conn, time_ms)
    return number


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


def check_chain(conn: Conn, asked_no: int | None = None) -> ChainCheck:
    """Follow the chain from its beginning to its head, up to the first event that does not fit."""
    forgotten = _place(conn, _FORGOTTEN) or Place(0, 0, _CHAIN_START)
    head = _place(conn, _HEAD)
    at, count, first, misfit = forgotten, 0, Place(0, 0, _CHAIN_START), None
    asked = forgotten.chain if forgotten.event_no == asked_no else None
    for event in _all(conn):
        beyond = head is not None and event.event_no > head.event_no
        if beyond or event.event_no != at.event_no + 1 or not _fits(event, at.chain):
            misfit = Misfit(event.event_no, event.time_ms if type(event.time_ms) is int else None)
            break
        at = Place(event.event_no, event.time_ms, event.chain)
        count, first = count + 1, first if count else at
        if event.event_no == asked_no:
            asked = event.chain
    # A store that has got no event since heads are kept has none yet.
    if misfit is None and head is not None:
        if at.event_no < head.event_no:
            misfit = Misfit(at.event_no + 1, None)
        elif at.chain != head.chain:
            misfit = Misfit(at.event_no, at.time_ms)
    return ChainCheck(count, first, at, forgotten.event_no, misfit, asked)


def retention(conn: Conn) -> Retention:
    """How much is kept."""
    stored = get_meta(conn, _RETENTION)
    if stored is None:
        return Retention(DAYS_KEPT, EVENTS_KEPT)
    days, _, count = stored.decode().partition(",")
    return Retention(int(days), int(count))


def set_retention(conn: Conn, kept: Retention, now_ms: int) -> None:
    """Keep so much from now on, and forget the rest."""
    set_meta(conn, _RETENTION, f"{kept.days},{max(kept.events, EVENTS_KEPT_MIN)}".encode())
    prune_events(conn, now_ms)


def prune_events(conn: Conn, now_ms: int) -> None:
    """Forget what is not to be kept; what stays can still be verified."""
    kept = retention(conn)
    cut = _oldest_but(conn, kept.events)
    if kept.days:
        too_old = _before(conn, now_ms - kept.days * _DAY_MS, _oldest_but(conn, EVENTS_KEPT_MIN))
        cut = max(cut, too_old, key=lambda place: place.event_no)
    if cut.event_no:
        _set_place(conn, _FORGOTTEN, cut)
        conn.execute("DELETE FROM events WHERE event_no <= ?", (cut.event_no,))


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
    after = -(2**63)
    while page := events(conn, after, _PAGE_ROWS):
        yield from page
        after = page[-1].event_no


def _last(conn: Conn) -> Place:
    """The end of the chain of a store that was made before heads were kept."""
    last = last_events(conn, 1)
    if not last:
        return _place(conn, _FORGOTTEN) or Place(0, 0, _CHAIN_START)
    return Place(last[0].event_no, last[0].time_ms, last[0].chain)


def _oldest_but(conn: Conn, count: int) -> Place:
    """The newest event that is not one of the newest `count`; number 0 if there is none."""
    row = conn.execute(
        "SELECT event_no, time_ms, chain FROM events ORDER BY event_no DESC LIMIT 1 OFFSET ?",
        (count,),
    ).fetchone()
    return Place(0, 0, _CHAIN_START) if row is None else Place(*row)


def _before(conn: Conn, time_ms: int, end: Place) -> Place:
    """The last of the events up to `end` before the first that is as young as `time_ms`."""
    found = Place(0, 0, _CHAIN_START)
    for event in _all(conn):
        is_young = type(event.time_ms) is not int or event.time_ms >= time_ms
        if event.event_no > end.event_no or is_young:
            break
        found = Place(event.event_no, event.time_ms, event.chain)
    return found


def _fits(event: Event, before: bytes) -> bool:
    """Columns take whatever is put there, so somebody else's types do not fit either."""
    typed = type(event.time_ms) is int and type(event.kind) is type(event.detail) is str
    return typed and event.chain == _link(before, event.time_ms, event.kind, event.detail)


def _link(before: bytes, time_ms: int, kind: str, detail: str) -> bytes:
    digest = blake2b(before, digest_size=32, person=_PERSON)
    for part in (str(time_ms), kind, detail):
        raw = part.encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.digest()


def _place(conn: Conn, key: str) -> Place | None:
    stored = get_meta(conn, key)
    if stored is None:
        return None
    number, time_ms = stored[:8], stored[8:16]
    return Place(
        int.from_bytes(number, "big"), int.from_bytes(time_ms, "big", signed=True), stored[16:]
    )


def _set_place(conn: Conn, key: str, place: Place) -> None:
    times = place.time_ms.to_bytes(8, "big", signed=True)
    set_meta(conn, key, place.event_no.to_bytes(8, "big") + times + place.chain)
