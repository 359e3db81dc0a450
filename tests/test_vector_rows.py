"""Vector rows: what is taken from records, what is left out of them, and why."""

import base64
import json
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.node.data.asking import conditions
from covey.storage.record_rows import RecordUpdate, remove_records, update_records
from covey.storage.store import Conn
from covey.storage.vector_queries import among, count, left_out, one, page, records
from covey.storage.vector_rows import (
    Declared,
    Standing,
    declare,
    declared,
    forget,
    is_behind,
    made,
    make_again,
    read_vector,
    take,
    waiting,
)

from .store_rows import Recorder, a_collection, find, memory_conn, put

ALL = 100
FIELD = Declared(1, "memory", "notes", "embedding", "minilm", "2", 3, 0)
ONE, OTHER = pack("<3f", 1, 2, 3), pack("<3f", 3, 2, 1)


def tagged(data: bytes) -> dict[str, str]:
    return {"$vector": base64.b64encode(data).decode()}


def value(embedding: Any, **fields: Any) -> str:
    return json.dumps({"embedding": embedding, **fields})


def with_vector(data: bytes, model: str = "minilm@2", **fields: Any) -> str:
    return value({model: tagged(data)}, **fields)


def a_field(conn: Conn, model: str = "minilm", version: str = "2", dimension: int = 3) -> Declared:
    return declare(conn, "memory", "notes", "embedding", model, version, dimension)


def change(conn: Conn, record_no: int, value: str | None) -> None:
    update_records(conn, [RecordUpdate(record_no, value, 0, 1, 2, 0, None, None, "")])


@pytest.mark.parametrize(
    ("embedding", "standing"),
    [
        ({"minilm@2": tagged(ONE)}, Standing.WRITTEN),
        ({"minilm@2": tagged(ONE), "other@1": tagged(OTHER)}, Standing.WRITTEN),
        ({"minilm@1": tagged(ONE)}, Standing.OTHER_MODEL),
        ({"minilm": tagged(ONE)}, Standing.NO_MODEL),
        (tagged(ONE), Standing.NO_MODEL),
        ({"minilm@2": tagged(ONE[:8])}, Standing.WRONG_DIMENSION),
        ({"minilm@2": tagged(ONE * 2)}, Standing.WRONG_DIMENSION),
        ({"minilm@2": tagged(ONE[:9])}, Standing.WRONG_DIMENSION),
        ({"minilm@2": tagged(b"")}, Standing.NOT_A_VECTOR),
        ({"minilm@2": tagged(pack("<3f", 1, float("nan"), 0))}, Standing.NOT_A_VECTOR),
        ({"minilm@2": tagged(pack("<3f", 1, float("inf"), 0))}, Standing.NOT_A_VECTOR),
        ({"minilm@2": tagged(pack("<3f", 0, -0.0, 0))}, Standing.ZERO),
        ({"minilm@2": {"$vector": "not base64 at all"}}, Standing.NOT_A_VECTOR),
        ({"minilm@2": {"$vector": "\u2615"}}, Standing.NOT_A_VECTOR),
        ({"minilm@2": {"$vector": {"$bytes": "AAAA"}}}, Standing.NOT_A_VECTOR),
        ({"minilm@2": [1, 2, 3]}, Standing.NOT_A_VECTOR),
        ({"minilm@2": None}, Standing.NOT_A_VECTOR),
        ({"minilm@2": {"$vector": 7, "more": 1}}, Standing.NOT_A_VECTOR),
        ({}, Standing.NOT_A_VECTOR),
        ([1, 2, 3], Standing.NOT_A_VECTOR),
        ("minilm@2", Standing.NOT_A_VECTOR),
        (7, Standing.NOT_A_VECTOR),
    ],
)
def test_what_stands_in_a_field_is_a_vector_of_the_model_or_says_why_not(
    embedding: Any, standing: Standing
) -> None:
    """Another device, or another program, may have written anything there."""
    read = read_vector({"embedding": embedding}, FIELD)

    assert read == (standing, ONE if standing is Standing.WRITTEN else None)


def test_a_record_without_the_field_is_not_missed() -> None:
    """It never was to be found by its meaning, so nobody need be told."""
    assert read_vector({"text": "tea"}, FIELD) is None
    assert read_vector({"embedding": None}, FIELD) is None


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["minilm@2", "$vector", "a@b", "x"]), inner, max_size=3)
    ),
)


@given(json_values)
def test_whatever_stands_in_a_field_is_read_without_an_exception(embedding: Any) -> None:
    """One record that nobody can read must not keep all others from being found."""
    read = read_vector({"embedding": embedding}, FIELD)

    assert read is None or (read[1] is None) == (read[0] is not Standing.WRITTEN)


def test_rows_follow_puts_edits_deletions_and_removals() -> None:
    """What the rows miss, a search shows wrongly or never."""
    conn = memory_conn()
    notes = a_collection(conn)
    kept, edited = put(conn, notes, "a", with_vector(ONE)), put(conn, notes, "b", with_vector(ONE))
    gone = put(conn, notes, "c", with_vector(ONE))
    removed = put(conn, notes, "d", with_vector(ONE))
    field = a_field(conn)

    first = take(conn, field, ALL)
    change(conn, edited, with_vector(OTHER))
    change(conn, gone, None)
    remove_records(conn, notes, ["d"])
    second = take(conn, field, ALL)

    assert first.put == [(number, ONE) for number in (kept, edited, gone, removed)]
    assert (second.put, second.gone) == ([(edited, OTHER)], [gone, removed])
    assert second.is_end and not is_behind(conn, field.field_no)
    assert page(conn, field.field_no, 0, ALL) == [(kept, ONE), (edited, OTHER)]
    assert count(conn, field.field_no) == 2


def test_an_edit_that_leaves_the_vector_as_it_was_is_no_news_to_an_index() -> None:
    """A companion that counts how often it remembered something must not pay for it each time."""
    conn = memory_conn()
    number = put(conn, a_collection(conn), "a", with_vector(ONE))
    field = a_field(conn)
    take(conn, field, ALL)
    change(conn, number, with_vector(ONE, seen=1))

    taken = take(conn, field, ALL)

    assert (taken.put, taken.gone) == ([], [])


def test_pages_add_up_to_the_same_rows() -> None:
    """A device that joins late takes a hundred thousand records in steps."""
    conn = memory_conn()
    notes, field = a_collection(conn), a_field(conn)
    numbers = [put(conn, notes, f"r{n}", with_vector(ONE)) for n in range(7)]
    seen: list[int] = []
    while is_behind(conn, field.field_no):
        taken = take(conn, field, 2)
        seen += [number for number, _ in taken.put]

    assert seen == numbers


def test_a_collection_that_comes_to_be_later_is_followed_as_well() -> None:
    """The first record of another privacy level makes a collection of its own."""
    conn = memory_conn()
    field = a_field(conn)
    put(conn, a_collection(conn), "a", with_vector(ONE))
    take(conn, field, ALL)
    family = put(conn, a_collection(conn, privacy=2), "b", with_vector(OTHER))
    put(conn, a_collection(conn, "moods"), "m", with_vector(OTHER))
    put(conn, a_collection(conn, database="other"), "o", with_vector(OTHER))

    assert take(conn, field, ALL).put == [(family, OTHER)]


def test_two_models_of_one_field_have_rows_of_their_own() -> None:
    """Numbers of two models have nothing to do with one another."""
    conn = memory_conn()
    notes = a_collection(conn)
    first = put(conn, notes, "a", with_vector(ONE))
    second = put(conn, notes, "b", with_vector(OTHER, "minilm@3"))
    old, new = a_field(conn), a_field(conn, version="3")
    take(conn, old, ALL)
    take(conn, new, ALL)

    assert page(conn, old.field_no, 0, ALL) == [(first, ONE)]
    assert page(conn, new.field_no, 0, ALL) == [(second, OTHER)]
    assert left_out(conn, old.field_no) == {Standing.OTHER_MODEL: 1}
    assert [one.version for one in declared(conn, "memory", "notes")] == ["3", "2"]
    assert [one.version for one in (a_field(conn), *declared(conn))] == ["2", "2", "3"]


def test_what_was_forgotten_leaves_nothing() -> None:
    """Rows that nobody follows would take room for ever."""
    conn = memory_conn()
    put(conn, a_collection(conn), "a", with_vector(ONE))
    field = a_field(conn)
    take(conn, field, ALL)
    forget(conn, field.field_no)

    assert declared(conn) == []
    assert conn.execute("SELECT count(*) FROM vectors").fetchone() == (0,)
    assert take(conn, field, ALL).is_end and not is_behind(conn, field.field_no)


def test_what_is_made_here_is_kept_unless_the_record_is_another_by_then() -> None:
    """A callback takes its time; the text that it embedded may be gone."""
    conn = memory_conn()
    notes, field = a_collection(conn), a_field(conn)
    for id in ("a", "b", "c"):
        put(conn, notes, id, with_vector(OTHER, "theirs@1", text=id))
    take(conn, field, ALL)
    first, second, third = waiting(conn, field.field_no, ALL)
    change(conn, second.record_no, with_vector(OTHER, "theirs@1", text="new"))
    take(conn, field, ALL)

    kept = [made(conn, field.field_no, each, ONE) for each in (first, second)]
    made(conn, field.field_no, third, None)

    assert kept == [True, False]
    assert one(conn, field.field_no, first.record_no) == (Standing.MADE, ONE)
    assert left_out(conn, field.field_no) == {Standing.OTHER_MODEL: 1, Standing.NOT_MADE: 1}
    assert [w.record_no for w in waiting(conn, field.field_no, ALL)] == [second.record_no]
    make_again(conn, "minilm", "1")
    assert left_out(conn, field.field_no)[Standing.NOT_MADE] == 1
    make_again(conn, "minilm", "2")
    assert left_out(conn, field.field_no) == {Standing.OTHER_MODEL: 2}


HOSTILE = ["'; DROP TABLE vectors; --", '"', "$.a", "a.b", "[0]", "%", "\u202e", "x" * 900]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_names(name: str) -> None:
    """They come from other people's devices."""
    conn = memory_conn()
    notes = a_collection(conn, name)
    text = json.dumps({name: {f"{name}@1": tagged(ONE)}, "kind": name})
    number = put(conn, notes, name, text)
    field = declare(conn, "memory", name, name, name, "1", 3)
    take(conn, field, ALL)

    assert page(conn, field.field_no, 0, ALL, conditions({"kind": name})) == [(number, ONE)]
    assert page(conn, field.field_no, 0, ALL, conditions({name: 1})) == []
    assert among(conn, field.field_no, [number, 999], conditions({"kind": name})) == [(number, ONE)]
    assert records(conn, [number]) == {number: (name, text)}


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.0, 1.0, 0.5, "", "x", "1", "\u2615", "x" * 200, "x" * 201, "x" * 300])
)
compared = st.dictionaries(st.sampled_from(["a", "b", "c.d", 'e"']), scalars, max_size=3)


tested = st.dictionaries(
    st.sampled_from(["a", "b", "c.d", 'e"']),
    scalars
    | st.fixed_dictionaries({">=": st.sampled_from([0, 1.0, "x", "x" * 250])})
    | st.fixed_dictionaries({"!=": scalars})
    | st.fixed_dictionaries({"prefix": st.sampled_from(["x", "x" * 250])})
    | st.fixed_dictionaries({"exists": st.booleans()}),
    max_size=3,
)


@given(st.lists(compared, max_size=6), tested)
def test_conditions_mean_what_they_mean_to_find(
    values: list[dict[str, Any]], where: dict[str, Any]
) -> None:
    """They are tested on a short copy of the fields; of long texts and lists there is none."""
    conn = memory_conn()
    notes, field = a_collection(conn), a_field(conn)
    for n, fields in enumerate(values):
        put(conn, notes, f"r{n}", with_vector(ONE, more=[1], **fields))
    take(conn, field, ALL)

    asked = conditions(where)
    expected = [f.record_no for f in find(conn, "memory", "notes", where, None, None, False, ALL)]
    assert [held.record_no for held in page(conn, field.field_no, 0, ALL, asked)] == expected
    numbers = list(range(1, len(values) + 1))
    assert sorted(h.record_no for h in among(conn, field.field_no, numbers, asked)) == expected


def test_conditions_are_tested_without_reading_vectors() -> None:
    """The pages with the vectors are a hundred MB, which would have to be decrypted each time."""
    conn = memory_conn()
    notes, field = a_collection(conn), a_field(conn)
    put(conn, notes, "a", with_vector(ONE, kind="x"))
    take(conn, field, ALL)
    watched = Recorder(conn)

    page(watched, field.field_no, 0, ALL, conditions({"kind": "y"}))

    first, *_ = watched.steps
    assert "USING COVERING INDEX vectors_by_fields (field_no=? AND record_no>?)" in first
