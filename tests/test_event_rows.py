"""The audit log in the store: what was done to it shows, and what is kept of it is a setting."""

import sqlite3
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.storage.event_rows import (
    DAYS_KEPT,
    EVENTS_KEPT,
    EVENTS_KEPT_MIN,
    ChainCheck,
    Retention,
    add_event,
    check_chain,
    events,
    last_events,
    prune_events,
    retention,
    set_retention,
)
from covey.storage.meta_rows import delete_meta

from .store_rows import memory_conn

DAY_MS = 86_400_000
ROWS = 12
COLUMNS = ("event_no", "time_ms", "kind", "detail", "chain")


@pytest.fixture
def conn() -> sqlite3.Connection:
    return memory_conn()


def filled(count: int, *, day: int = 0) -> sqlite3.Connection:
    conn = memory_conn()
    add(conn, count, day=day)
    return conn


def add(conn: sqlite3.Connection, count: int, *, day: int = 0) -> None:
    for n in range(count):
        add_event(conn, day * DAY_MS + n + 1, "synced", f'{{"n":{n}}}')


def numbers(conn: sqlite3.Connection) -> list[int]:
    return [row.event_no for row in events(conn, 0, 1_000_000)]


def stored(conn: sqlite3.Connection) -> list[tuple[Any, ...]]:
    return conn.execute("SELECT * FROM events ORDER BY event_no").fetchall()


def is_whole(check: ChainCheck) -> bool:
    return check.misfit is None


def test_events_are_read_in_order_by_page(conn: sqlite3.Connection) -> None:
    """`covey log --follow` goes on where it stopped."""
    made = [add_event(conn, n, "synced", f'{{"n":{n}}}') for n in range(10)]

    assert [row.time_ms for row in events(conn, made[3], 3)] == [4, 5, 6]
    assert [row.time_ms for row in last_events(conn, 3)] == [7, 8, 9]


def test_a_log_that_nobody_touched_is_whole(conn: sqlite3.Connection) -> None:
    """A false alarm about the one log that is to be trusted would be worse than none."""
    empty = check_chain(conn)
    add(conn, 2_500)
    check = check_chain(conn)

    assert (empty.events, empty.misfit) == (0, None)
    assert (check.events, check.first.event_no, check.misfit) == (2_500, 1, None)
    assert check.head.chain == last_events(conn, 1)[0].chain


@pytest.mark.parametrize(
    ("change", "number", "time_ms"),
    [
        ("UPDATE events SET detail = 'x' WHERE event_no = 50", 50, 50),
        ("UPDATE events SET kind = 'x' WHERE event_no = 50", 50, 50),
        ("UPDATE events SET kind = CAST(kind AS BLOB) WHERE event_no = 50", 50, 50),
        ("UPDATE events SET time_ms = 0 WHERE event_no = 50", 50, 0),
        ("UPDATE events SET time_ms = 'noon' WHERE event_no = 50", 50, None),
        ("DELETE FROM events WHERE event_no = 49", 50, 50),
        ("DELETE FROM events WHERE event_no = 1", 2, 2),
        ("DELETE FROM events WHERE event_no > 98", 99, None),
        ("DELETE FROM events", 1, None),
        ("UPDATE events SET event_no = event_no + 1000", 1001, 1),
        ("UPDATE events SET event_no = 200 WHERE event_no = 100", 200, 100),
    ],
)
def test_a_change_is_told_with_the_first_event_that_does_not_fit(
    change: str, number: int, time_ms: int | None
) -> None:
    """`covey log verify` exists for this; without the place nobody knows what to distrust."""
    conn = filled(100)
    conn.execute(change)

    assert check_chain(conn).misfit == (number, time_ms)


def test_what_was_cut_off_the_end_shows_also_after_the_next_event() -> None:
    """Whoever removes the last hour of the log would else be covered up by the next sync."""
    conn = filled(10)
    conn.execute("DELETE FROM events WHERE event_no > 7")
    number = add_event(conn, 100, "synced", "{}")

    assert number == 11
    assert check_chain(conn).misfit == (11, 100)


@st.composite
def tampering(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Rows of a log after somebody removed, moved, doubled or edited some of them."""
    rows = stored(one_log())
    for _ in range(draw(st.integers(1, 3))):
        act = draw(st.sampled_from(["remove", "swap", "move", "edit", "double"]))
        at = draw(st.integers(0, max(len(rows) - 1, 0)))
        to = draw(st.integers(0, max(len(rows) - 1, 0)))
        if not rows:
            break
        if act == "remove":
            del rows[at]
        elif act == "swap":
            # What they say changes places, and their numbers stay in order.
            first, second = rows[at], rows[to]
            rows[at], rows[to] = (first[0], *second[1:]), (second[0], *first[1:])
        elif act == "move":
            rows[at] = (draw(st.integers(-5, 50)), *rows[at][1:])
        elif act == "double":
            rows.append((draw(st.integers(-5, 50)), *rows[at][1:]))
        else:
            column = draw(st.integers(1, 4))
            values = st.integers(-(2**40), 2**40) | st.text(max_size=6) | st.binary(max_size=32)
            edited = list(rows[at])
            edited[column] = draw(values)
            rows[at] = tuple(edited)
    return rows


@cache
def one_log() -> sqlite3.Connection:
    """Made once: what a test does to it, it has to undo."""
    return filled(ROWS)


@given(tampering())
def test_whatever_is_edited_removed_or_moved_is_found(rows: list[tuple[Any, ...]]) -> None:
    """The promise of the audit log, for every way to break it that does not hash anew."""
    conn = one_log()
    before = stored(conn)
    conn.execute("BEGIN")
    conn.execute("DELETE FROM events")
    conn.executemany(
        f"INSERT OR REPLACE INTO events ({', '.join(COLUMNS)}) VALUES (?, ?, ?, ?, ?)", rows
    )
    after, check = stored(conn), check_chain(conn)
    conn.execute("ROLLBACK")

    assert is_whole(check) == (before == after)


def test_a_log_from_before_heads_were_kept_is_whole_and_goes_on() -> None:
    """An update must not call every log there is a forgery."""
    conn = filled(5)
    delete_meta(conn, "events.head")
    before = check_chain(conn)
    number = add_event(conn, 9, "synced", "{}")

    assert (before.events, before.misfit) == (5, None)
    assert number == 6
    assert is_whole(check_chain(conn))


def test_the_chain_of_an_event_that_is_asked_for_is_the_head_of_its_time() -> None:
    """A head that was written down is looked for years later, when the log is longer."""
    conn = filled(5)
    head = check_chain(conn).head
    add(conn, 5)

    assert check_chain(conn, 5).asked == head.chain
    assert check_chain(conn, 11).asked is None


# Retention -------------------------------------------------------------------------------------


def test_as_much_is_kept_as_nobody_has_set(conn: sqlite3.Connection) -> None:
    """Bounded from the start."""
    assert retention(conn) == Retention(DAYS_KEPT, EVENTS_KEPT)


def test_a_shortened_log_is_whole_and_says_from_when() -> None:
    """It is bounded, and the bound must not look like tampering."""
    conn = filled(300)
    set_retention(conn, Retention(0, 120), 1_000)
    number = add_event(conn, 1_000, "synced", "{}")
    check = check_chain(conn)

    assert number == 301
    assert (check.events, check.first.event_no, check.forgotten_no) == (121, 181, 180)
    assert is_whole(check)


@pytest.mark.parametrize("number", [180, 181, 240, 300])
def test_a_removal_from_a_shortened_log_is_found(number: int) -> None:
    """Whoever removes an event must not be able to say that it was old."""
    conn = filled(300)
    set_retention(conn, Retention(0, 121), 1_000)
    conn.execute("DELETE FROM events WHERE event_no = ?", (number,))

    assert not is_whole(check_chain(conn))


def test_the_chain_of_the_event_that_was_forgotten_last_is_still_known() -> None:
    """A head that was written down just then can be looked for."""
    conn = filled(300)
    head = events(conn, 179, 1)[0].chain
    set_retention(conn, Retention(0, 120), 1_000)

    assert check_chain(conn, 180).asked == head
    assert check_chain(conn, 179).asked is None


def test_old_events_go_with_the_first_event_of_a_day() -> None:
    """Nobody has to remember to tidy up."""
    conn = filled(200)
    set_retention(conn, Retention(7, 100_000), 0)
    add(conn, 150, day=5)
    all_kept = len(numbers(conn))
    add_event(conn, 9 * DAY_MS, "synced", "{}")

    assert all_kept == 350
    assert numbers(conn) == list(range(201, 352))
    assert is_whole(check_chain(conn))


def test_the_newest_events_stay_whatever_their_age() -> None:
    """A clock that was a century ahead for a minute must not have emptied the log."""
    conn = filled(300)
    set_retention(conn, Retention(1, 5), 0)
    add_event(conn, 36_500 * DAY_MS, "synced", "{}")

    assert retention(conn).events == EVENTS_KEPT_MIN
    assert len(numbers(conn)) == EVENTS_KEPT_MIN
    assert is_whole(check_chain(conn))


def test_events_that_were_tampered_with_keep_nobody_from_adding_more() -> None:
    """The log must go on, and the node with it."""
    conn = filled(300)
    conn.execute("UPDATE events SET time_ms = 'noon' WHERE event_no = 20")
    set_retention(conn, Retention(1, 250), 10 * DAY_MS)
    prune_events(conn, 20 * DAY_MS)

    assert add_event(conn, 20 * DAY_MS, "synced", "{}") == 301
