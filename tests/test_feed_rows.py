"""The feed of changes: nothing that happens to a record is missed, and each record is in it once.

Indexes, vectors, views and caches follow the records by it: what it misses, they show wrongly.
"""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from covey.storage.feed_rows import Page, changes, last_change, numbers_of
from covey.storage.record_rows import (
    RecordUpdate,
    remove_records,
    update_records,
    wipe_projection,
)
from covey.storage.store import Conn

from .store_rows import a_collection, memory_conn, put

PAGE = 2


def change(conn: Conn, record_no: int, value: str | None) -> None:
    update_records(conn, [RecordUpdate(record_no, value, 0, 1, 2, 0, None, None, "")])


def test_a_new_store_has_no_changes() -> None:
    conn = memory_conn()
    assert last_change(conn) == 0
    assert changes(conn, 0, [], PAGE) == Page([], 0)


def test_a_record_occurs_once_with_its_latest_state() -> None:
    conn = memory_conn()
    notes = a_collection(conn)
    first, second = put(conn, notes, "a"), put(conn, notes, "b")
    change(conn, first, '{"text":"new"}')

    page = changes(conn, 0, [notes], 10)

    assert [(m.record_no, m.id, m.value) for m in page.marks] == [
        (second, "b", "{}"),
        (first, "a", '{"text":"new"}'),
    ]
    assert page.reached == last_change(conn)


def test_a_deletion_and_a_record_that_is_gone_are_changes() -> None:
    conn = memory_conn()
    notes = a_collection(conn)
    deleted, gone = put(conn, notes, "a"), put(conn, notes, "b")
    seen = last_change(conn)
    change(conn, deleted, None)
    remove_records(conn, notes, ["b"])

    marks = changes(conn, seen, [notes], 10).marks

    assert [(m.record_no, m.coll_no, m.id, m.value) for m in marks] == [
        (deleted, notes, "a", None),
        (gone, None, None, None),
    ]


def test_of_other_collections_only_the_numbers_are_told() -> None:
    conn = memory_conn()
    notes, moods = a_collection(conn), a_collection(conn, "moods")
    put(conn, notes, "a")
    other = put(conn, moods, "m", '{"secret":1}')

    marks = changes(conn, 0, [notes], 10).marks

    assert [(m.record_no, m.value) for m in marks if m.coll_no is None] == [(other, None)]
    assert numbers_of(conn, "memory", "notes") == [notes]
    assert numbers_of(conn, "memory", "'; DROP TABLE records; --") == []


class Follower(RuleBasedStateMachine):
    """Keeps a copy of the live records by the feed alone, and reads it whenever it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.conn = memory_conn()
        self.notes = a_collection(self.conn)
        self.numbers: dict[str, int] = {}
        self.copy: dict[int, tuple[str, str]] = {}
        self.reached = 0

    @rule(id=st.sampled_from("abcd"), number=st.integers(0, 9))
    def put(self, id: str, number: int) -> None:
        if id in self.numbers:
            change(self.conn, self.numbers[id], f'{{"n":{number}}}')
        else:
            self.numbers[id] = put(self.conn, self.notes, id, f'{{"n":{number}}}')

    @rule(id=st.sampled_from("abcd"))
    def delete(self, id: str) -> None:
        if id in self.numbers:
            change(self.conn, self.numbers[id], None)

    @rule(id=st.sampled_from("abcd"))
    def forget(self, id: str) -> None:
        remove_records(self.conn, self.notes, [id])
        self.numbers.pop(id, None)

    @rule()
    def wipe(self) -> None:
        (scope_no,) = self.conn.execute("SELECT scope_no FROM collections").fetchone()
        wipe_projection(self.conn, scope_no)
        self.numbers.clear()

    @rule(limit=st.integers(1, 3))
    def read(self, limit: int) -> None:
        page = changes(self.conn, self.reached, [self.notes], limit)
        for mark in page.marks:
            self.copy.pop(mark.record_no, None)
            if mark.id is not None and mark.value is not None:
                self.copy[mark.record_no] = (mark.id, mark.value)
        self.reached = page.reached

    def teardown(self) -> None:
        while self.reached < last_change(self.conn):
            self.read(limit=PAGE)
        table = self.conn.execute("SELECT record_no, id, value FROM records WHERE value NOTNULL")
        assert self.copy == {row[0]: (row[1], row[2]) for row in table.fetchall()}


test_who_follows_the_feed_knows_the_records = Follower.TestCase
