"""Queries at their edges: numbers, texts, names and cursors that seldom occur, or were forged."""

import base64

import pytest

from covey.node.data.asking import MARK_BYTES, Query, cursor_of, prepared
from covey.storage import finding
from covey.sync.errors import BadValueError
from covey.sync.values import value_text

from .store_rows import a_collection, memory_conn, put
from .test_finding import filled, ids, indexed, paged


def test_a_list_of_as_many_values_as_are_allowed_can_be_asked_for() -> None:
    """SQLite nests comparisons 1,000 deep at most, and takes 32,766 parameters."""
    conn = filled(3)
    asked = {str(n): {"in": [*range(990), None]} for n in range(9)} | {"n": {"in": [*range(1000)]}}

    assert ids(conn, where={"n": asked["n"]}) == ["r00", "r01", "r02"]
    assert ids(conn, where=asked) == []
    with pytest.raises(BadValueError, match="10910 values, 10000 allowed"):
        prepared(Query(asked | {"x": {"in": [*range(991)]}}))


@pytest.mark.parametrize("name", ["\ud800", "a\udfff"])
def test_a_field_that_no_record_can_have_is_missing_everywhere(name: str) -> None:
    """A command line can carry half a character; what is asked of it has an answer."""
    conn = filled(3)
    assert ids(conn, where={name: {"exists": False}}) == ["r00", "r01", "r02"]
    assert ids(conn, where={name: {"!=": 1}}) == ["r00", "r01", "r02"]
    assert ids(conn, where={name: None}) == []


def test_a_page_goes_on_after_a_text_as_long_as_a_record_may_be() -> None:
    """Or whatever comes behind it could never be read."""
    conn = memory_conn()
    notes = a_collection(conn)
    for id, text in (("first", "\1" * 300_000 + "\U0001f98a"), ("second", "b")):
        put(conn, notes, id, value_text({"text": text}))

    assert paged(conn, Query({}, None, "text", limit=1)) == ["first", "second"]


@pytest.mark.parametrize(
    "place",
    [
        "[1]",
        '[1,"a",2,3]',
        f'[{2**70},"a",1]',
        '["\\ud800","a",1]',
        '[NaN,"a",1]',
        '[{},"a",1]',
        "1",
    ],
)
def test_a_cursor_that_somebody_wrote_is_refused_as_any_other(place: str) -> None:
    conn = filled(3)
    made = prepared(Query({}, None, "n", limit=1))
    cursor = cursor_of(made, finding.find(conn, "memory", "notes", made).last)
    assert cursor is not None
    mark = base64.urlsafe_b64decode(cursor + "==")[:MARK_BYTES]
    forged = base64.urlsafe_b64encode(mark + place.encode()).decode().rstrip("=")

    with pytest.raises(BadValueError, match="not where a page of this query stopped"):
        prepared(Query({}, None, "n", after=forged))


@pytest.mark.parametrize("bound", [2**63, 2**64 - 1, 10**400, float("inf"), 2.0**63])
def test_every_smaller_number_is_smaller_than_one_that_no_integer_reaches(bound: float) -> None:
    """`all below infinity` found nothing, which looked like a true answer."""
    conn = memory_conn()
    notes = a_collection(conn)
    for number in (-(2**63) + 1, -1.5, 0, 2**63 - 1):
        put(conn, notes, f"{number}", value_text({"n": number}))
    put(conn, notes, "text", value_text({"n": "a"}))
    for fields in ((), ("n",)):
        if fields:
            indexed(conn, *fields)
        below = ids(conn, where={"n": {"<": bound}}, order="n")

        assert below == ["-9223372036854775807", "-1.5", "0", "9223372036854775807"]
        assert sorted(ids(conn, where={"n": {">=": -bound}})) == sorted(below)
        assert ids(conn, where={"n": {">": bound}}) == []


@pytest.mark.parametrize(
    ("text", "prefix"),
    [("a\U0010ffffz", "a"), ("\U0010ffff" * 2, "\U0010ffff"), ("\ud7ff!", "\ud7ff")],
)
def test_a_text_begins_with_what_it_begins_with(text: str, prefix: str) -> None:
    """SQLite ends texts at a zero character; the last character that there is has none after it."""
    conn = memory_conn()
    notes = a_collection(conn)
    put(conn, notes, "one", value_text({"t": text}))
    put(conn, notes, "other", value_text({"t": "\ue000"}))

    assert ids(conn, where={"t": {"prefix": prefix}}) == ["one"]
    indexed(conn, "t")
    assert ids(conn, where={"t": {"prefix": prefix}}) == ["one"]


def test_a_place_that_is_no_text_holds_nothing() -> None:
    """Half a character comes from file names and command lines."""
    conn = filled(3)
    made = prepared(Query({}))

    assert finding.find(conn, "memory", "\ud800", made).records == []
    assert finding.find(conn, "\ud800", None, prepared(Query({}, "tea"))).records == []


def test_every_text_begins_with_nothing_the_empty_one_too() -> None:
    """A screen that asks for what begins with the letters typed so far begins with none."""
    conn = memory_conn()
    notes = a_collection(conn)
    for id, value in (("empty", ""), ("text", "a"), ("number", 1), ("null", None)):
        put(conn, notes, id, value_text({"t": value}))
    put(conn, notes, "without", value_text({}))

    for fields in ((), ("t",)):
        if fields:
            indexed(conn, *fields)
        assert ids(conn, where={"t": {"prefix": ""}}) == ["empty", "text"]
        assert ids(conn, where={"t": {"prefix": "a"}}) == ["text"]
