"""Outgoing: what is sent is in order of arrival, cut at signatures, and within bounds."""

import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.node.outgoing import read_entries, staged_frame, whole_log
from covey.storage import log_rows
from covey.storage.log_rows import EntryState, NewEntry
from covey.storage.memory import MemoryDatabase
from covey.storage.run_rows import Picked, pick_in_order
from covey.sync.messages import decode_batch
from covey.sync.session_events import ReadEntries

from .memory_world import World, shared_scopes

Spec = list[tuple[int, int, bool]]
"""(log, size of the ciphertext, signed), in order of arrival."""


def filled(spec: Spec) -> sqlite3.Connection:
    conn: sqlite3.Connection = MemoryDatabase()._conn
    scope = log_rows.ensure_scope(conn, bytes(16), "", 0)
    heading = log_rows.ensure_heading(conn, 1, bytes(32), b"")
    seqs: dict[int, int] = {}
    for log, size, signed in spec:
        number = log_rows.ensure_log(conn, scope, bytes([log]) * 16, bytes(32))
        assert number == log
        seq = seqs[log] = seqs.get(log, 0) + 1
        entry_id = bytes([log, seq]) * 16
        row = NewEntry(
            seq, heading, bytes(8), bytes(size), entry_id, b"s" * 64 if signed else None,
            EntryState.APPLIED, 0,
        )  # fmt: skip
        log_rows.append_entries(conn, number, [row])
    return conn


def places(picked: Picked) -> list[tuple[int, int]]:
    return [(entry.log_no, entry.seq) for entry in picked.entries]


THREE: Spec = [(1, 100, True), (2, 100, False), (1, 100, True), (2, 100, True), (1, 100, True)]
ALL = [(1, 1, 9), (2, 1, 9)]


def test_entries_come_in_the_order_in_which_they_arrived() -> None:
    """A receiver applies as it reads: causes first, or it has to wait and to look again."""
    picked = pick_in_order(filled(THREE), ALL, 10**6, 100, 100)

    assert places(picked) == [(1, 1), (2, 1), (2, 2), (1, 2), (1, 3)]
    assert picked.complete


@pytest.mark.parametrize(
    ("bounds", "count"),
    [((1, 100, 100), 1), ((10**6, 1, 100), 1), ((10**6, 2, 100), 1), ((10**6, 3, 100), 3),
     ((10**6, 100, 1), 1), ((10**6, 100, 2), 3), ((10**6, 100, 3), 5)],
)  # fmt: skip
def test_each_bound_cuts_at_a_signature(bounds: tuple[int, int, int], count: int) -> None:
    """An entry without a signature behind it is refused by whoever gets it."""
    picked = pick_in_order(filled(THREE), ALL, *bounds)

    assert len(picked.entries) == count
    assert picked.complete == (count == 5)


def test_what_is_not_held_gives_nothing_and_is_no_gap() -> None:
    """A run that starts later than it says would look like a fork."""
    conn = filled(THREE)

    assert pick_in_order(conn, [(1, 7, 9)], 10**6, 9, 9) == ([], True)
    assert pick_in_order(conn, [], 10**6, 9, 9) == ([], True)
    conn.execute("DELETE FROM entries WHERE log_no = 1 AND seq = 2")
    picked = pick_in_order(conn, [(1, 1, 3)], 10**6, 9, 9)
    assert places(picked) == [(1, 1)]


SPECS = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 300), st.booleans()), max_size=30)


def in_order(spec: Spec) -> Iterator[tuple[int, int, bool]]:
    """Log numbers are given in order of appearance."""
    numbers: dict[int, int] = {}
    for log, size, signed in spec:
        yield numbers.setdefault(log, len(numbers) + 1), size, signed


@settings(max_examples=60, deadline=None)
@given(SPECS, st.integers(1, 2000), st.integers(1, 8), st.integers(1, 4))
def test_asking_until_it_is_done_gives_every_signed_entry_once(
    spec: Spec, bytes_max: int, entries_max: int, runs_max: int
) -> None:
    """Whatever the bounds: nothing twice, nothing left out, progress in each answer."""
    spec = list(in_order(spec))
    conn = filled(spec)
    logs = sorted({log for log, *_ in spec})
    given_out: dict[int, int] = dict.fromkeys(logs, 0)
    for _ in range(len(spec) + 1):
        ranges = [(log, given_out[log] + 1, 99) for log in logs]
        picked = pick_in_order(conn, ranges, bytes_max, entries_max, runs_max)
        for log, seq in places(picked):
            assert seq == given_out[log] + 1
            given_out[log] = seq
        ends = {entry.log_no: entry for entry in picked.entries}
        assert all(entry.signature for entry in ends.values())
        if picked.complete:
            break
        assert picked.entries
    signed = {
        log: max((n for n, s in enumerate((s for k, _, s in spec if k == log), 1) if s), default=0)
        for log in logs
    }

    assert picked.complete and given_out == signed


async def test_a_whole_log_goes_into_frames_that_a_peer_can_verify() -> None:
    """The frames of a membership log are what a new device starts from."""
    async with World() as world:
        a = await world.founder("a")
        b = await world.member(a, "b")
        for number in range(5):
            await a.collection().put({"n": number, "text": "x" * 100_000}, id=f"r{number}")
        (scope,) = shared_scopes(a, b)
        instance = a.engine.instance
        frames = await whole_log(a.gate, a.engine.ledger, scope, ((instance, 1, 5),))

        runs = [run for frame in frames for run in decode_batch(frame).runs]
        assert len(frames) > 1
        assert [(run.first_seq, run.last_seq) for run in runs] == [(1, 2), (3, 4), (5, 5)]
        assert await whole_log(a.gate, a.engine.ledger, scope, ((b"?" * 16, 1, 5),)) == []
        beyond = ReadEntries(scope, ((instance, 6, 9),), 10**6)
        assert (await read_entries(a.gate, a.engine.ledger, beyond)).runs == ()


async def test_entries_just_committed_are_framed_as_those_read_from_the_store() -> None:
    """A push and an answer to a want must be the same bytes to a receiver."""
    async with World() as world:
        a = await world.founder("a")
        await world.member(a, "b")
        await a.collection().put({"n": 0}, id="r")
        groups: list[list[object]] = []
        a.engine.committer.advanced = groups.append  # type: ignore[assignment]
        for number in range(3):
            await a.collection().put({"n": number, "more": 1}, id=f"s{number}")
        staged = [one for group in groups for one in group]
        log = staged[0].log  # type: ignore[attr-defined]
        request = ReadEntries(log.scope.tag, ((a.engine.instance, 2, 4),), 10**6)
        answer = await read_entries(a.gate, a.engine.ledger, request)

        ((frame, part),) = staged_frame(log, staged)  # type: ignore[arg-type]
        assert len(part) == 3
        assert decode_batch(frame).runs == answer.runs
