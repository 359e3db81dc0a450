"""A store whose texts that merge were indexed in their wrapping is indexed anew, once."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.node.data.asking import Query, prepared
from covey.node.projection import search_text
from covey.storage import finding
from covey.storage.migrations import known_migrations, migrate
from covey.storage.record_rows import RecordUpdate, insert_records, update_records
from covey.storage.text_rows import DIRECT_MIN, flush_texts
from covey.sync.values import BlobRef, Counter, Text, Vector, timestamp_of, value_text

from .store_rows import a_collection, memory_conn, record

STEPS = known_migrations()
BEFORE = STEPS[: [step.name for step in STEPS].index("words_of_texts")]

THUMB = BlobRef(bytes(32), 2, "image/webp", "small")
PICTURE = BlobRef(bytes(32), 1, "image/png", "a picture", (("thumb", THUMB),))
WORDS = st.text("ab \"'\\$.\n\u00e9\U0001f98a", max_size=6)
VALUES = st.recursive(
    st.one_of(
        WORDS,
        WORDS.map(Text),
        st.none(),
        st.integers(-3, 3),
        st.sampled_from([b"ab", Vector([1.0]), Counter(3), timestamp_of(1_700_000_000_000)]),
        st.just(PICTURE),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["a", "b", "name", "text", "o'dd \"x."]), inner, max_size=3
        ),
    ),
    max_leaves=8,
)
RECORDS = st.lists(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES, max_size=3), max_size=4
)


def old_text(value: Any) -> str:
    """What was indexed of a record before."""

    def wrapped(part: Any) -> Any:
        match part:
            case Text():
                return str(part)
            case dict():
                return {name: wrapped(item) for name, item in part.items()}
            case list():
                return [wrapped(item) for item in part]
        return part

    return search_text(wrapped(value))


def old_store() -> sqlite3.Connection:
    conn = sqlite3.connect(":memory:", isolation_level=None)
    migrate(conn, Path(":memory:"), 0, BEFORE, sqlite3.sqlite_version_info >= (3, 43))
    return conn


def brought_up_to_date(conn: sqlite3.Connection) -> None:
    migrate(conn, Path(":memory:"), 1, STEPS, sqlite3.sqlite_version_info >= (3, 43))


def ids(conn: sqlite3.Connection, words: str) -> list[str]:
    page = finding.find(conn, "memory", "notes", prepared(Query({}, words)))
    return sorted(found.id for found in page.records)


@pytest.mark.parametrize("count", [1, DIRECT_MIN])
def test_a_text_of_an_older_store_is_found_by_its_own_words_alone(count: int) -> None:
    """Who searched for "content" found every record with such a text, for ever."""
    conn = old_store()
    notes = a_collection(conn)
    values = [{"body": Text(f"black tea {n}"), "by": "sam"} for n in range(count)]
    rows = [(f"r{n}", value_text(v), old_text(v)) for n, v in enumerate(values)]
    plain = {"body": "table of content"}
    insert_records(conn, [record(notes, *row) for row in rows])
    insert_records(conn, [record(notes, "plain", value_text(plain), search_text(plain))])
    assert len(ids(conn, "content")) == count + 1

    brought_up_to_date(conn)

    assert ids(conn, "content") == ["plain"]
    assert len(ids(conn, '"black tea"')) == len(ids(conn, "sam")) == count
    assert conn.execute("SELECT count(*) FROM text_pending").fetchone() == (0,)


def test_what_was_changed_and_deleted_before_is_what_it_was() -> None:
    """Texts wait beside the index; of these the newer one counts, and none for what is gone."""
    conn = old_store()
    notes = a_collection(conn)
    values = [{"body": Text("green")}, {"body": Text("black")}, {"body": Text("white")}]
    insert_records(
        conn,
        [record(notes, f"r{n}", value_text(v), old_text(v)) for n, v in enumerate(values)],
    )
    flush_texts(conn)
    later = {"body": Text("oolong")}
    update = [(1, value_text(later), old_text(later)), (2, None, "")]
    update_records(conn, [RecordUpdate(n, v, 2, 1, 2, 0, None, None, t) for n, v, t in update])

    brought_up_to_date(conn)

    assert [ids(conn, words) for words in ("oolong", "white")] == [["r0"], ["r2"]]
    assert [ids(conn, words) for words in ("green", "black", "content")] == [[], [], []]


@settings(max_examples=150, deadline=None)
@given(RECORDS)
def test_the_index_of_an_older_store_becomes_that_of_a_new_one(values: list[Any]) -> None:
    """SQL gathers the words, as Python does for what is written."""
    indexed: list[list[tuple[int, str]]] = []
    for conn in (old_store(), memory_conn()):
        is_old = not indexed
        notes = a_collection(conn)
        text_of = old_text if is_old else search_text
        rows = [(f"r{n}", value_text(value), text_of(value)) for n, value in enumerate(values)]
        insert_records(conn, [record(notes, *row) for row in rows])
        if is_old:
            brought_up_to_date(conn)
        flush_texts(conn)
        conn.execute("CREATE VIRTUAL TABLE temp.words USING fts5vocab(main, record_text, instance)")
        indexed.append(conn.execute("SELECT doc, term FROM temp.words ORDER BY 1, 2").fetchall())

    assert indexed[0] == indexed[1]
