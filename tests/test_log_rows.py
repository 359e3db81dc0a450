"""Logs and entries as rows: order, runs that can be sent, cuts, and plans without a full walk."""

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.storage.log_rows import (
    EntryState,
    Heading,
    append_entries,
    bump_attempts,
    cut_log,
    ensure_heading,
    ensure_log,
    ensure_scope,
    entries_by_arrival,
    entries_in_state,
    entry_at,
    entry_id_at,
    headings_by_no,
    logs,
    read_run,
    scopes,
    set_entry_state,
)

from .store_rows import Recorder, a_heading, a_log, a_scope, append, entry, memory_conn


@pytest.fixture
def conn() -> sqlite3.Connection:
    return memory_conn()


def sequence(conn: sqlite3.Connection, log_no: int) -> list[int]:
    return [row.seq for row in read_run(conn, log_no, 1, 10**6, 10**9)]


def test_a_scope_has_one_number(conn: sqlite3.Connection) -> None:
    """Asked for at every batch; a second number would be a second scope."""
    first = ensure_scope(conn, b"t" * 16, "memory", 1)

    assert ensure_scope(conn, b"t" * 16, "memory", 1) == first
    assert [tuple(scope) for scope in scopes(conn)] == [(first, b"t" * 16, "memory", 1, 0)]


def test_one_instance_has_one_log_in_a_scope(conn: sqlite3.Connection) -> None:
    """Two logs of one instance in one scope would be a fork of our own making."""
    scope_no = a_scope(conn)
    first = ensure_log(conn, scope_no, b"i" * 16, b"a" * 32)

    assert ensure_log(conn, scope_no, b"i" * 16, b"a" * 32) == first
    assert ensure_log(conn, a_scope(conn, "other"), b"i" * 16, b"a" * 32) != first


def test_the_head_of_a_log_is_its_last_entry(conn: sqlite3.Connection) -> None:
    """Sessions compare heads; they must never tell more or less than what is stored."""
    empty, full = a_log(conn, b"e" * 16), a_log(conn, b"f" * 16)
    append(conn, full, range(1, 6))

    heads = [(head.log_no, head.head_seq, head.head_id) for head in logs(conn)]

    assert heads == [(empty, 0, b""), (full, 5, (5).to_bytes(32, "big"))]


def test_a_place_in_a_log_is_taken_once(conn: sqlite3.Connection) -> None:
    """The last guard against two entries at one place, whatever went wrong above."""
    log_no = a_log(conn)
    append(conn, log_no, [1])

    with pytest.raises(sqlite3.IntegrityError):
        append(conn, log_no, [1])


def test_headings_are_shared_and_read_by_number(conn: sqlite3.Connection) -> None:
    """Ten thousand entries of one epoch repeat nothing."""
    numbers = [ensure_heading(conn, 1, b"k" * 32, bytes([n]) * 32) for n in (1, 2, 1)]

    assert numbers[0] == numbers[2] != numbers[1]
    assert headings_by_no(conn, numbers) == {
        numbers[0]: Heading(1, b"k" * 32, b"\1" * 32),
        numbers[1]: Heading(1, b"k" * 32, b"\2" * 32),
    }


def test_an_entry_comes_back_as_it_was_appended(conn: sqlite3.Connection) -> None:
    """A single changed byte breaks the chain for every peer."""
    log_no, heading_no = a_log(conn), a_heading(conn)
    new = entry(1, heading_no, signed=False, state=EntryState.PENDING)
    append_entries(conn, log_no, [new])

    found = entry_at(conn, log_no, 1)

    assert found is not None
    assert tuple(found) == (1, log_no, *new, None)
    assert entry_id_at(conn, log_no, 1) == new.entry_id
    assert (entry_at(conn, log_no, 2), entry_id_at(conn, log_no, 2)) == (None, None)


@pytest.mark.parametrize(
    ("signed", "first", "last", "bytes_max", "expected"),
    [
        ([3, 6, 9], 1, 9, 10**6, 9),
        ([3, 6, 9], 1, 8, 10**6, 6),
        ([3, 6, 9], 1, 9, 112 * 7, 6),
        ([3, 6, 9], 4, 9, 112 * 7, 9),
        ([3, 6, 9], 4, 9, 112 * 5, 6),
        ([3, 6, 9], 1, 2, 10**6, 3),
        ([3, 6, 9], 1, 9, 112, 3),
        ([3, 6, 9], 4, 5, 1, 6),
        ([3], 1, 9, 10**6, 3),
        ([3], 4, 9, 10**6, None),
        ([], 1, 9, 10**6, None),
        ([3, 6, 9], 10, 12, 10**6, None),
    ],
)
def test_a_run_ends_at_a_signature_that_is_held(
    conn: sqlite3.Connection,
    signed: list[int],
    first: int,
    last: int,
    bytes_max: int,
    expected: int | None,
) -> None:
    """Any other end could not be verified by the receiver; an empty one must not loop for ever."""
    log_no = a_log(conn)
    append(conn, log_no, range(1, 10), signed)

    run = read_run(conn, log_no, first, last, bytes_max)

    assert [row.seq for row in run] == (list(range(first, expected + 1)) if expected else [])


def test_a_run_never_leaps_over_a_gap(conn: sqlite3.Connection) -> None:
    """The receiver computes each entry's id from the one before."""
    log_no = a_log(conn)
    append(conn, log_no, [1, 2, 4, 5])

    assert [row.seq for row in read_run(conn, log_no, 1, 9, 10**6)] == [1, 2]
    assert read_run(conn, log_no, 3, 9, 10**6) == []


@settings(max_examples=100, deadline=None)
@given(
    signed=st.sets(st.integers(1, 30)),
    sizes=st.lists(st.integers(1, 500), min_size=30, max_size=30),
    first=st.integers(1, 30),
    last=st.integers(1, 30),
    bytes_max=st.integers(0, 5000),
)
def test_a_run_is_the_longest_that_may_be_sent(
    signed: set[int], sizes: list[int], first: int, last: int, bytes_max: int
) -> None:
    """Too short a run costs round trips, too long a one breaks the peer's credit."""
    conn = memory_conn()
    log_no, heading_no = a_log(conn), a_heading(conn)
    rows = [entry(n, heading_no, n in signed, sizes[n - 1]) for n in range(1, 31)]
    append_entries(conn, log_no, rows)

    run = [row.seq for row in read_run(conn, log_no, first, last, bytes_max)]

    ends = [n for n in sorted(signed) if n >= first]
    fitting = [
        n
        for n in ends
        if n <= last and sum(size + 12 for size in sizes[first - 1 : n]) <= bytes_max
    ]
    end = fitting[-1] if fitting else ends[0] if ends else first - 1
    assert run == list(range(first, end + 1))


def test_entries_are_paged_in_the_order_of_arrival(conn: sqlite3.Connection) -> None:
    """Replaying in this order meets every change after those it builds on."""
    one, two = a_log(conn, b"1" * 16), a_log(conn, b"2" * 16)
    append(conn, one, [1])
    append(conn, two, [1, 2])
    append(conn, one, [2])

    first = entries_by_arrival(conn, 0, 3)
    second = entries_by_arrival(conn, first[-1].arrival, 3)

    places = [(row.log_no, row.seq) for row in first + second]
    assert places == [(one, 1), (two, 1), (two, 2), (one, 2)]


def test_pending_entries_are_found_until_they_are_applied(conn: sqlite3.Connection) -> None:
    """What waits for a key or a predecessor must not be forgotten, nor looked at for ever."""
    log_no = a_log(conn)
    append(conn, log_no, range(1, 200))
    changes = [(5, EntryState.PENDING, "key"), (7, EntryState.PENDING, None)]
    set_entry_state(conn, log_no, [*changes, (9, EntryState.QUARANTINED, "gate: start_op")])
    set_entry_state(conn, log_no, [(7, EntryState.APPLIED, None)])

    pending = entries_in_state(conn, EntryState.PENDING)
    quarantined = entries_in_state(conn, EntryState.QUARANTINED)

    assert [(row.seq, row.why) for row in pending] == [(5, "key")]
    assert [(row.seq, row.why) for row in quarantined] == [(9, "gate: start_op")]


def test_the_state_of_many_entries_is_set_at_once(conn: sqlite3.Connection) -> None:
    """A key that arrives frees thousands of entries."""
    log_no, other = a_log(conn), a_log(conn, b"o" * 16)
    append(conn, log_no, range(1, 301))
    append(conn, other, [1])

    set_entry_state(conn, log_no, [(n, EntryState.PENDING, str(n)) for n in range(1, 301)])

    found = entries_in_state(conn, EntryState.PENDING)
    assert [(row.log_no, row.seq, row.why) for row in found] == [
        (log_no, n, str(n)) for n in range(1, 301)
    ]


def test_attempts_are_counted(conn: sqlite3.Connection) -> None:
    """An entry that crashes the process twice is a poison pill, and must be known as one."""
    log_no = a_log(conn)
    append(conn, log_no, [1, 2])
    bump_attempts(conn, [1])
    bump_attempts(conn, [1, 2])

    assert [row.attempts for row in entries_by_arrival(conn, 0, 9)] == [2, 1]


def test_cutting_a_log_returns_its_end_and_leaves_its_beginning(conn: sqlite3.Connection) -> None:
    """At a fork the losing branch is written again elsewhere: nothing of it may be lost."""
    log_no, other = a_log(conn), a_log(conn, b"o" * 16)
    append(conn, log_no, range(1, 10))
    append(conn, other, range(1, 4))

    cut = cut_log(conn, log_no, 6)

    assert [row.seq for row in cut] == [6, 7, 8, 9]
    assert sequence(conn, log_no) == [1, 2, 3, 4, 5]
    assert sequence(conn, other) == [1, 2, 3]


QUERIES: list[Callable[[Any], object]] = [
    lambda conn: a_scope(conn, "new"),
    lambda conn: ensure_log(conn, 1, b"i" * 16, b"a" * 32),
    lambda conn: ensure_heading(conn, 1, b"k" * 32, b"h" * 32),
    lambda conn: headings_by_no(conn, [1, 2]),
    lambda conn: append(conn, 1, [1]),
    lambda conn: read_run(conn, 1, 1, 9, 10**6),
    lambda conn: entry_at(conn, 1, 1),
    lambda conn: entry_id_at(conn, 1, 1),
    lambda conn: entries_in_state(conn, EntryState.PENDING),
    lambda conn: entries_by_arrival(conn, 5, 9),
    lambda conn: set_entry_state(conn, 1, [(1, EntryState.PENDING, None)]),
    lambda conn: bump_attempts(conn, [1, 2]),
    lambda conn: cut_log(conn, 1, 5),
]


@pytest.mark.parametrize("query", QUERIES)
def test_no_query_walks_all_entries(
    conn: sqlite3.Connection, query: Callable[[Any], object]
) -> None:
    """A walk is not felt with ten entries, and stops a node with a million."""
    a_log(conn)
    recorder = Recorder(conn)

    query(recorder)

    assert recorder.steps
    assert recorder.scans_of("entries", "logs", "scopes", "headings") == []


def test_the_heads_of_all_logs_are_found_without_walking_entries(conn: sqlite3.Connection) -> None:
    """This is what a start waits for."""
    recorder = Recorder(conn)

    logs(recorder)

    assert recorder.scans_of("entries", "e") == []


def test_what_is_pending_is_found_by_an_index_of_its_own(conn: sqlite3.Connection) -> None:
    """A search from the first arrival on looks like no walk and is one."""
    recorder = Recorder(conn)

    entries_in_state(recorder, EntryState.PENDING)

    assert ["entries_not_applied" in step for step in recorder.steps] == [True]
