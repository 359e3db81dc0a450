"""Records as rows, their full text, and queries over them: right, safe and without full walks."""

import json
import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.storage import text_rows
from covey.storage.connector import writer_connector
from covey.storage.migrations import migrate
from covey.storage.record_queries import Position, counts, list_records
from covey.storage.record_rows import (
    RecordUpdate,
    collections,
    ensure_collection,
    existing,
    existing_in,
    get,
    insert_records,
    locate,
    update_records,
    wipe_projection,
)
from covey.storage.text_rows import flush_texts, match_expression

from .store_rows import (
    DEVICE,
    FAMILY,
    KEY,
    PRIVATE,
    PUBLIC,
    Recorder,
    a_collection,
    a_scope,
    find,
    memory_conn,
    put,
    record,
)

HOSTILE = [
    "'; DROP TABLE records; --",
    '" OR 1=1 --',
    "a'b\"c\\d",
    "%_*?[",
    "\x00nul",
    "line\nbreak\ttab",
    "é-\U0001f98a-‮",
    "$.a",
    "a.b",
    "[0]",
    "",
]
HOSTILE_TEXTS = [
    *HOSTILE,
    '"',
    '""',
    '"unbalanced',
    "AND OR NOT",
    "NEAR(a b)",
    "body:x",
    "^a",
    "a*",
    "*",
    "a + b",
    "(((",
    "-x",
    "{a b}: c",
    "\ud800",
    "_",
    "a" * 5000,
    "x " * 500,
]


@pytest.fixture(params=["plain", "sqlcipher"])
def conn(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Both libraries: their versions of SQLite differ, the answers must not."""
    if request.param == "plain":
        yield memory_conn()
        return
    path = tmp_path / "store.db"
    path.touch()
    opened = writer_connector(path, KEY, True)()
    migrate(opened, path, 0)
    opened.execute("PRAGMA synchronous=OFF")
    yield opened
    opened.close()


def ids(
    conn: Any,
    where: dict[str, Any] | None = None,
    text: str | None = None,
    order: str | None = None,
    descending: bool = False,
    limit: int = 1000,
) -> list[str]:
    found = find(conn, "memory", "notes", where or {}, text, order, descending, limit)
    return [row.id for row in found]


def put_json(conn: Any, record_id: str, value: dict[str, Any], text: str = "") -> int:
    return put(conn, a_collection(conn), record_id, json.dumps(value, ensure_ascii=False), text)


def update(conn: Any, number: int, value: str | None, text: str = "") -> None:
    update_records(conn, [RecordUpdate(number, value, 2, 1, 2, 0, b"doc", b"meta", text)])


def test_a_collection_has_one_number_in_a_scope(conn: Any) -> None:
    """Asked for at every write."""
    first = a_collection(conn)

    assert a_collection(conn) == first
    assert [tuple(row) for row in collections(conn)] == [(first, a_scope(conn), "notes")]


def test_records_come_back_as_they_were_inserted(conn: Any) -> None:
    """Bulk statements must not mix up rows, at any size of a chunk."""
    coll_no = a_collection(conn)
    rows = [record(coll_no, f"r{n}", json.dumps({"n": n}), hlc=n) for n in range(200)]

    numbers = insert_records(conn, rows)
    found = existing(conn, coll_no, [f"r{n}" for n in range(200)])

    assert [found[f"r{n}"].record_no for n in range(200)] == numbers
    assert [tuple(found[f"r{n}"])[1:] for n in range(200)] == [tuple(row)[:9] for row in rows]


def test_ids_that_do_not_exist_are_left_out(conn: Any) -> None:
    """New records are told from old ones by this."""
    coll_no = a_collection(conn)
    put(conn, coll_no, "a")

    assert set(existing(conn, coll_no, ["a", "b"])) == {"a"}
    assert existing(conn, coll_no, ["b"]) == {}
    assert existing(conn, coll_no, []) == {}


def test_an_id_is_inserted_once_in_a_collection(conn: Any) -> None:
    """A record is one document; two rows would show one of two truths."""
    coll_no = a_collection(conn)
    put(conn, coll_no, "a")

    with pytest.raises(Exception, match="UNIQUE"):
        put(conn, coll_no, "a")


def test_updates_replace_all_of_a_row(conn: Any) -> None:
    """Each in its place, at any size of a chunk."""
    coll_no = a_collection(conn)
    numbers = insert_records(conn, [record(coll_no, f"r{n}") for n in range(150)])

    update_records(
        conn,
        [RecordUpdate(no, f'{{"n":{no}}}', no, 3, no, 4, b"d", b"m", "") for no in numbers],
    )

    found = existing(conn, coll_no, [f"r{n}" for n in range(150)])
    assert [tuple(found[f"r{n}"]) for n in range(150)] == [
        (no, coll_no, f"r{n}", f'{{"n":{no}}}', no, 3, no, 4, b"d", b"m")
        for n, no in enumerate(numbers)
    ]


def test_the_more_private_of_two_records_is_seen_first(conn: Any) -> None:
    """What was said in private must not be hidden by a public record of the same id."""
    for privacy in (PUBLIC, DEVICE, FAMILY):
        put(conn, a_collection(conn, privacy=privacy), "a", f"{privacy}")

    found = get(conn, "memory", "notes", "a")

    assert found is not None
    assert found.value == f"{DEVICE}"
    located = [row.value for row in locate(conn, "memory", "notes", "a")]
    assert located == [f"{DEVICE}", f"{FAMILY}", f"{PUBLIC}"]


def test_of_two_records_of_one_privacy_the_newest_bucket_is_seen_first(conn: Any) -> None:
    """Devices with a window hold the new one; whoever holds both must mean the same as they."""
    for bucket in (680, 0, 691):
        put(conn, a_collection(conn, bucket=bucket), "a", f"{bucket}")
    put(conn, a_collection(conn, privacy=FAMILY, bucket=700), "a", "family")

    located = [row.value for row in locate(conn, "memory", "notes", "a")]

    assert located == ["691", "680", "0", "family"]


def test_records_are_found_in_many_collections_at_once(conn: Any) -> None:
    """A write looks into every bucket of its database, and must not take a statement for each."""
    numbers = [a_collection(conn, bucket=bucket) for bucket in range(150)]
    for number in numbers[::7]:
        put(conn, number, "a", str(number))
        put(conn, number, "b", None)

    found = existing_in(conn, numbers, ["a", "b", "c"])

    assert sorted((row.coll_no, row.id) for row in found) == sorted(
        (number, id) for number in numbers[::7] for id in "ab"
    )
    assert existing_in(conn, numbers[:1], ["a"])[0].value == str(numbers[0])


def test_a_deleted_record_hides_no_live_one(conn: Any) -> None:
    """Deleting the private record must show the public one again, not nothing."""
    put(conn, a_collection(conn, privacy=DEVICE), "a", None)
    put(conn, a_collection(conn, privacy=PUBLIC), "a", "1")

    found = get(conn, "memory", "notes", "a")

    assert found is not None
    assert found.value == "1"
    assert get(conn, "memory", "notes", "b") is None


def test_a_list_visits_every_live_record_once_in_order(conn: Any) -> None:
    """An export that skips or repeats a record is not an export."""
    chance = random.Random(3)
    expected = []
    for name in ("b", "a"):
        for privacy, bucket in ((PRIVATE, 0), (PUBLIC, 3), (DEVICE, 0), (PRIVATE, 2), (PRIVATE, 9)):
            coll_no = a_collection(conn, name, privacy=privacy, bucket=bucket)
            for record_id in chance.sample([f"r{n:02d}" for n in range(30)], 20):
                live = chance.random() < 0.8
                put(conn, coll_no, record_id, "1" if live else None)
                expected += [(name, record_id, privacy, -bucket)] if live else []
    put(conn, a_collection(conn, "a", "elsewhere"), "r00")

    for limit in (1, 7, 1000):
        seen, after = [], None
        while page := list_records(conn, "memory", None, after, limit):
            seen += [(row.collection, row.id, row.privacy, -row.bucket) for row in page]
            after = Position(page[-1].collection, page[-1].id, page[-1].privacy, page[-1].bucket)

        assert seen == sorted(expected)
    only = list_records(conn, "memory", "b", None, 1000)
    assert [(row.collection, row.id, row.privacy, -row.bucket) for row in only] == [
        row for row in sorted(expected) if row[0] == "b"
    ]


def test_counts_are_of_live_records_by_database(conn: Any) -> None:
    """`covey db` shows them; deleted records are gone for a person."""
    one, two = a_collection(conn, privacy=PRIVATE), a_collection(conn, privacy=PUBLIC)
    a_scope(conn, "empty")
    for n in range(5):
        put(conn, one, f"r{n}")
    put(conn, two, "r0")
    put(conn, two, "r1", None)

    assert counts(conn) == {"memory": 6, "empty": 0}


def test_fields_are_compared_by_type_and_value(conn: Any) -> None:
    """JSON true is not 1, "1" is not 1, and a field that is absent is not null."""
    values: dict[str, Any] = {
        "int": 1,
        "float": 1.0,
        "half": 0.5,
        "true": True,
        "text": "1",
        "null": None,
        "list": [1],
        "map": {"a": 1},
        "empty": "",
    }
    for name, value in values.items():
        put_json(conn, name, {"f": value})
    put_json(conn, "absent", {"g": 1})

    def matching(value: Any) -> list[str]:
        return ids(conn, {"f": value})

    assert matching(1) == matching(1.0) == ["float", "int"]
    assert matching(True) == ["true"]
    assert matching(False) == []
    assert matching("1") == ["text"]
    assert matching(None) == ["null"]
    assert matching(0.5) == ["half"]
    assert matching("") == ["empty"]
    assert matching("[1]") == []
    assert matching('{"a":1}') == []


def test_several_fields_must_all_be_equal(conn: Any) -> None:
    """`covey find a=1 b=2` narrows down."""
    put_json(conn, "both", {"a": 1, "b": "x"})
    put_json(conn, "one", {"a": 1, "b": "y"})

    assert ids(conn, {"a": 1, "b": "x"}) == ["both"]


@pytest.mark.parametrize("value", [2**63, -(2**63), 10**40, float("nan"), float("inf"), "\ud800"])
def test_a_value_that_no_record_can_hold_finds_nothing(conn: Any, value: Any) -> None:
    """A command line can ask for anything; the answer is "none", not a trace."""
    put_json(conn, "a", {"f": 1})

    assert ids(conn, {"f": value}) == []


@pytest.mark.parametrize("name", [name for name in HOSTILE if "\x00" not in name])
def test_hostile_field_names_are_names(conn: Any, name: str) -> None:
    """A field name is data: it is neither SQL nor a path."""
    put_json(conn, "it", {name: 1, "a": {"b": 2}})
    put_json(conn, "other", {"a": {"b": 1}, "x": 1})

    assert ids(conn, {name: 1}) == ["it"]
    assert ids(conn, {name: 2}) == []
    assert ids(conn, order=name, descending=True) == ["it", "other"]


@pytest.mark.parametrize("name", ["\ud800", "\x00nul"])
def test_field_names_that_json_cannot_hold_find_nothing(conn: Any, name: str) -> None:
    """Half a pair of surrogates comes from a command line in a wrong encoding."""
    put_json(conn, "it", {"a": 1})

    assert ids(conn, {name: 1}) == []
    assert ids(conn, order=name) == ["it"]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_ids_names_and_values_are_data(conn: Any, hostile: str) -> None:
    """Ids come from other people's devices."""
    coll_no = a_collection(conn, hostile, hostile)
    put(conn, coll_no, hostile, json.dumps({"f": hostile}, ensure_ascii=False), hostile)
    put(conn, coll_no, "other", '{"f":"other"}', "other")

    assert set(existing(conn, coll_no, [hostile, "other"])) == {hostile, "other"}
    assert get(conn, hostile, hostile, hostile) is not None
    assert [row.id for row in list_records(conn, hostile, hostile, None, 9)] == sorted(
        [hostile, "other"]
    )
    if "\x00" not in hostile:
        found = find(conn, hostile, hostile, {"f": hostile}, None, None, False, 9)
        assert [row.id for row in found] == [hostile]


def test_records_are_ordered_by_a_field_and_then_by_id(conn: Any) -> None:
    """Numbers before strings, and what lacks the field first: as the documentation says."""
    for record_id, value in {"b": 2, "a": 2, "c": 10, "d": "x", "e": None}.items():
        put_json(conn, record_id, {"f": value})
    put_json(conn, "g", {})

    assert ids(conn, order="f") == ["e", "g", "a", "b", "c", "d"]
    assert ids(conn, order="f", descending=True) == ["d", "c", "a", "b", "e", "g"]
    assert ids(conn, order="f", limit=2) == ["e", "g"]


def test_without_an_order_ids_ascend(conn: Any) -> None:
    """A list that changes its order from call to call cannot be read."""
    for record_id in ("b", "c", "a"):
        put_json(conn, record_id, {"f": 1})

    assert ids(conn) == ids(conn, {"f": 1}) == ["a", "b", "c"]
    assert ids(conn, descending=True) == ["c", "b", "a"]
    assert ids(conn, limit=2) == ["a", "b"]


def test_deleted_records_are_never_found(conn: Any) -> None:
    """Deleting is the one thing a person must be able to rely on."""
    number = put_json(conn, "a", {"f": 1}, "hello")
    update(conn, number, None, "hello")

    assert ids(conn) == ids(conn, {"f": 1}) == ids(conn, text="hello") == []


@pytest.mark.parametrize("flushed", [False, True])
def test_text_finds_words_phrases_and_beginnings(conn: Any, flushed: bool) -> None:
    """The same answers, whether a text is in the index or still on its way."""
    put_json(conn, "fox", {}, "The quick brown fox")
    put_json(conn, "cafe", {}, "a brown Café, quick!")
    if flushed:
        flush_texts(conn)

    assert ids(conn, text="brown quick") == ["cafe", "fox"]
    assert ids(conn, text='"quick brown"') == ["fox"]
    assert ids(conn, text='"brown quick"') == []
    assert ids(conn, text="BROWN fo") == ["fox"]
    assert ids(conn, text="fo brown") == []
    assert ids(conn, text="cafe") == ids(conn, text="café") == ["cafe"]
    assert ids(conn, text="brown", order="x", limit=1) == ["cafe"]
    assert ids(conn, {"x": 1}, text="brown") == []


def test_without_an_order_the_newest_text_comes_first(conn: Any) -> None:
    """What was said last is what is looked for; over the line between indexed and pending."""
    for n in range(150):
        put_json(conn, f"r{n:03d}", {"n": n}, "word")

    assert ids(conn, text="word") == [f"r{n:03d}" for n in reversed(range(150))]
    assert ids(conn, text="word", limit=3) == ["r149", "r148", "r147"]
    assert ids(conn, text="word", order="n", limit=3) == ["r000", "r001", "r002"]


def test_text_is_searched_in_one_collection_of_one_database(conn: Any) -> None:
    """The index is one for all; its answers are not."""
    put_json(conn, "here", {}, "word")
    put(conn, a_collection(conn, "other"), "there", "{}", "word")
    put(conn, a_collection(conn, "notes", "elsewhere"), "far", "{}", "word")
    flush_texts(conn)
    put(conn, a_collection(conn, "other"), "there2", "{}", "word")

    assert ids(conn, text="word") == ["here"]


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
@pytest.mark.parametrize("flushed", [False, True])
def test_no_text_that_a_person_types_is_an_error(conn: Any, text: str, flushed: bool) -> None:
    """The query language of the index must not shine through."""
    put_json(conn, "a", {}, "something AND else NEAR body")
    if flushed:
        flush_texts(conn)

    assert set(ids(conn, text=text)) <= {"a"}


def test_words_of_the_query_language_are_words(conn: Any) -> None:
    """Someone does look for "not" or "near"."""
    put_json(conn, "a", {}, "this AND that")
    put_json(conn, "b", {}, "this that")

    assert ids(conn, text="this AND that") == ["a"]


def test_a_text_without_a_word_finds_nothing() -> None:
    """All of the collection would be the wrong answer to a typing mistake."""
    assert [match_expression(text) for text in ("", "!!!", '"', '"" ""', "\0")] == [None] * 5


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40))
def test_any_text_makes_an_expression_that_the_index_accepts(text: str) -> None:
    """Whatever Unicode holds, quoting must hold too."""
    conn = EXPRESSIONS
    match = match_expression(text)

    if match is not None:
        conn.execute("SELECT rowid FROM record_text WHERE record_text MATCH ?", (match,)).fetchall()


EXPRESSIONS = memory_conn()


def with_text(number: int, text: str | None) -> RecordUpdate:
    """A change of a record; without a text, its deletion."""
    value = None if text is None else "{}"
    return RecordUpdate(number, value, 1, 1, 1, 0, None, None, text or "")


@pytest.mark.parametrize("sizes", [(1,), (40,), (1, 1, 1, 7, 40)])
def test_the_index_follows_every_change_of_a_record(conn: Any, sizes: tuple[int, ...]) -> None:
    """Found by an old word, or not by a new one, a search is worth nothing."""
    chance = random.Random(5)
    coll_no = a_collection(conn)
    words = [f"word{n}" for n in range(12)]
    texts: dict[int, str | None] = {}
    for _ in range(600 * len(sizes) // sum(sizes)):
        batch = chance.choice(sizes)
        if chance.random() < 0.4 or len(texts) < batch:
            chosen = [chance.choice(words) for _ in range(batch)]
            first = len(texts)
            rows = [record(coll_no, f"r{first + n}", "{}", text) for n, text in enumerate(chosen)]
            texts |= dict(zip(insert_records(conn, rows), chosen, strict=True))
        else:
            numbers = chance.sample(sorted(texts), batch)
            changed = {no: chance.choice([*words, None]) for no in numbers}
            update_records(conn, [with_text(no, text) for no, text in changed.items()])
            texts |= changed

    for word in words:
        found = find(conn, "memory", "notes", {}, f'"{word}"', None, False, 10_000)
        assert {row.record_no for row in found} == {
            no for no, text in texts.items() if text == word
        }


def test_pending_texts_are_few(conn: Any) -> None:
    """Each search puts all of them into an index of its own; that must stay cheap."""
    most = 0
    for n in range(300):
        put_json(conn, f"r{n}", {}, "word")
        most = max(most, conn.execute("SELECT count(*) FROM text_pending").fetchone()[0])

    assert most == text_rows.PENDING_MAX


def test_wiping_a_scope_leaves_every_other_as_it_was(conn: Any) -> None:
    """One scope is built again from its entries; nobody else notices."""
    here, there = a_collection(conn), a_collection(conn, database="elsewhere")
    for n in range(100):
        put(conn, here, f"r{n}", "{}", "word")
        put(conn, there, f"r{n}", "{}", "word")

    wipe_projection(conn, a_scope(conn))

    assert (ids(conn), ids(conn, text="word")) == ([], [])
    assert len(find(conn, "elsewhere", "notes", {}, "word", None, False, 1000)) == 100
    assert counts(conn) == {"memory": 0, "elsewhere": 100}
    insert_records(conn, [record(here, f"r{n}", "{}", "word") for n in range(100)])
    assert len(ids(conn, text="word")) == 100


QUERIES: list[Callable[[Any], object]] = [
    lambda conn: ensure_collection(conn, 1, "notes"),
    lambda conn: existing(conn, 1, ["a"]),
    lambda conn: existing(conn, 1, ["a", "b", "c"]),
    lambda conn: existing_in(conn, [1, 2, 3], ["a"]),
    lambda conn: existing_in(conn, [1, 2, 3], ["a", "b", "c"]),
    lambda conn: locate(conn, "memory", "notes", "a"),
    lambda conn: put(conn, 1, "new", "{}", "text"),
    lambda conn: insert_records(conn, [record(1, f"n{n}", "{}", "text") for n in range(70)]),
    lambda conn: update(conn, 1, "{}", "text"),
    lambda conn: update_records(
        conn, [RecordUpdate(n, "{}", 1, 1, 1, 0, None, None, "t") for n in range(1, 70)]
    ),
    lambda conn: list_records(conn, "memory", None, None, 10),
    lambda conn: list_records(conn, "memory", "notes", Position("notes", "a", 0, 0), 10),
    lambda conn: find(conn, "memory", "notes", {}, None, None, False, 10),
    lambda conn: find(conn, "memory", "notes", {"a": 1}, None, None, False, 10),
    lambda conn: find(conn, "memory", "notes", {"a": 1}, None, "b", True, 10),
    lambda conn: find(conn, "memory", "notes", {"a": 1}, "text", None, True, 10),
    lambda conn: find(conn, "memory", "notes", {"a": 1}, "text", "b", True, 10),
    lambda conn: wipe_projection(conn, 1),
]


@pytest.mark.parametrize("query", QUERIES)
def test_no_query_walks_all_records(conn: Any, query: Callable[[Any], object]) -> None:
    """A database of a few records must not pay for a large one beside it."""
    a_collection(conn)
    put_json(conn, "a", {"a": 1}, "text")
    recorder = Recorder(conn)

    query(recorder)

    assert recorder.steps
    assert recorder.scans_of("records", "r", "entries") == []


def test_counting_walks_indexes_only(conn: Any) -> None:
    """Decrypting every record to count them takes a second with 100,000."""
    a_collection(conn)
    recorder = Recorder(conn)

    counts(recorder)

    walked = [step for step in recorder.steps if " r " in step + " "]
    assert walked
    assert all("COVERING INDEX" in step or "records_deleted" in step for step in walked)


def test_a_bare_connection_of_the_standard_library_serves_the_rows() -> None:
    """The simulator runs on it."""
    assert isinstance(memory_conn(), sqlite3.Connection)
