"""Queries over fields: comparisons, orders and pages, with and without an index.

An index may make a query fast and must never change its answer: each question is asked of stores
with different indexes, some of them behind, and of a few lines of Python that know no SQL.
"""

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.node.data.asking import MARK_BYTES, Query, cursor_of, prepared, root_field
from covey.node.service import Service
from covey.storage import finding, index_rows
from covey.storage.record_rows import RecordUpdate, remove_records, update_records
from covey.storage.store import Conn
from covey.sync.errors import BadValueError
from covey.sync.values import Counter, Text, from_json, value_text

from .memory_world import World
from .store_rows import FAMILY, PRIVATE, Recorder, a_collection, memory_conn, put

EARLY, LATE = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, 12, tzinfo=UTC)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.5, 1.0, -0.0, 2**53 + 1, -(2**63) + 1, 2.0**63, -1e300]),
    st.sampled_from(["", "a", "ab", "b", "\U0001f98a", "1", "\U0010ffff" * 2]),
    st.sampled_from([EARLY, LATE, b"x", b"", Text("ab"), Counter(2)]),
)
FIELDS = st.sampled_from(["a", "b", "/m/x", "o'dd \"name"])
RECORDS = st.lists(
    st.dictionaries(
        st.sampled_from(["a", "b", "m", "o'dd \"name"]),
        st.one_of(SCALARS, st.lists(st.integers(0, 2), max_size=2)),
        max_size=3,
    ).map(lambda record: {**record, "m": {"x": record["m"]}} if "m" in record else record),
    max_size=12,
)


def has_path(record: dict[str, Any], field: str) -> bool:
    return "x" in record.get("m", {}) if field == "/m/x" else field in record


def read(record: dict[str, Any], field: str) -> Any:
    value = record["m"]["x"] if field == "/m/x" else record[field]
    if field.startswith("o'dd") and isinstance(value, Text | Counter | datetime | bytes):
        return object()  # Names that SQLite cannot quote have plain values only.
    match value:
        case Text(content):
            return content
        case Counter(total):
            return total
    return value


def kind(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return repr(value)
    return "number" if isinstance(value, int | float) else type(value).__name__


def passes(record: dict[str, Any], field: str, test: str, wanted: Any) -> bool:
    if test == "exists":
        return has_path(record, field) is wanted
    there = has_path(record, field)
    value = read(record, field) if there else object()
    if test == "in":
        return any(passes(record, field, "=", one) for one in wanted)
    same_kind = kind(value) == kind(wanted)
    if test == "has":
        return isinstance(value, list) and any(
            kind(one) == kind(wanted) and one == wanted for one in value
        )
    match test:
        case "=":
            return same_kind and value == wanted
        case "!=":
            return not (same_kind and value == wanted)
        case "prefix":
            return isinstance(value, str) and value.startswith(wanted)
    compare = {"<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__"}[test]
    if not same_kind:
        return False
    if isinstance(value, str):  # SQLite compares the bytes of UTF-8.
        return bool(getattr(value.encode(), compare)(wanted.encode()))
    found: bool = {
        "<": value < wanted,
        "<=": value <= wanted,
        ">": value > wanted,
        ">=": value >= wanted,
    }[test]
    return found


def rank(record: dict[str, Any], field: str) -> tuple[int, Any]:
    value = read(record, field) if has_path(record, field) else None
    match value:
        case None:
            return (0, 0)
        case bool() | int() | float():
            return (1, value)
        case str():
            return (2, value.encode())
        case datetime():
            return (2, value.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode())
        case bytes():
            return (2, {b"x": b"eA==", b"": b""}[value])
        case list() if not field.startswith("o'dd"):
            return (2, value_text(value).encode())
    return (0, 0)


def test_values() -> st.SearchStrategy[tuple[str, Any]]:
    ordered = st.one_of(
        st.integers(-3, 3),
        st.sampled_from([0.5, 2**53 + 1, "", "a", "b", EARLY, LATE]),
        st.sampled_from([2**63 - 1, 2**63, 2**63 + 1, 2.0**63, -(2**63), 10**400, -(10**400)]),
        st.sampled_from([float("inf"), float("-inf"), -(10**300), 2**64 - 1]),
    )
    return st.one_of(
        st.tuples(st.sampled_from(["=", "!="]), SCALARS.filter(plain)),
        st.tuples(st.sampled_from(["<", "<=", ">", ">="]), ordered),
        st.tuples(st.just("in"), st.lists(SCALARS.filter(plain), max_size=3)),
        st.tuples(
            st.just("prefix"),
            st.sampled_from(["", "a", "ab", "\U0001f98a", "\U0010ffff", "a\U0010ffff"]),
        ),
        st.tuples(st.just("exists"), st.booleans()),
    )


def plain(value: Any) -> bool:
    return not isinstance(value, Text | Counter)


test_values.__test__ = False  # type: ignore[attr-defined]
CONDITIONS = st.lists(st.tuples(FIELDS, test_values()), max_size=3)
ORDERS = st.lists(st.tuples(FIELDS, st.booleans()), max_size=2, unique_by=lambda order: order[0])
INDEXES = [(), (("a",),), (("a", "b"), ("b",)), (("b", "a"), ("/m/x", "a")), (("o'dd \"name",),)]


def store(
    records: Sequence[dict[str, Any]], indexes: Sequence[tuple[str, ...]], taken: int
) -> Conn:
    """Two scopes of one collection, with indexes that have taken the first changes only."""
    conn = memory_conn()
    places = [a_collection(conn, privacy=PRIVATE), a_collection(conn, privacy=FAMILY)]
    declared = [index_rows.declare(conn, "memory", "notes", fields) for fields in indexes]
    for number, record in enumerate(records):
        put(conn, places[number % 2], f"r{number:02}", value_text(record))
        if number == taken:
            for index in declared:
                index_rows.catch_up(conn, index.index_no, 3)
    return conn


def where_of(asked: Sequence[tuple[str, tuple[str, Any]]]) -> dict[str, Any]:
    where: dict[str, dict[str, Any]] = {}
    for field, (test, wanted) in asked:
        where.setdefault(field, {})[test] = wanted
    return where


@given(RECORDS, CONDITIONS, ORDERS, st.integers(0, 5), st.sampled_from(INDEXES), st.integers(0, 12))
def test_a_query_answers_as_its_words_say_with_any_index(
    records: list[dict[str, Any]],
    asked: list[tuple[str, tuple[str, Any]]],
    order: list[tuple[str, bool]],
    offset: int,
    indexes: tuple[tuple[str, ...], ...],
    taken: int,
) -> None:
    """The whole language, against Python; pages of two must add up to the same list."""
    where = where_of(asked)
    expected = [
        (f"r{number:02}", record)
        for number, record in enumerate(records)
        if all(
            passes(record, field, test, wanted)
            for field, tests in where.items()
            for test, wanted in tests.items()
        )
    ]
    for field, down in reversed(order):
        expected.sort(key=lambda pair, f=field: rank(pair[1], f), reverse=down)  # type: ignore[misc]
    ids = [id for id, _ in expected]
    conn = store(records, indexes, taken)
    fields = [f"-{field}" if down else field for field, down in order]

    whole = finding.find(conn, "memory", "notes", prepared(Query(where, None, fields, limit=100)))
    shifted = prepared(Query(where, None, fields, limit=3, offset=offset))

    assert [found.id for found in whole.records] == ids
    assert [f.id for f in finding.find(conn, "memory", "notes", shifted).records] == (
        ids[offset : offset + 3]
    )
    assert paged(conn, Query(where, None, fields, limit=2)) == ids


def paged(conn: Conn, query: Query) -> list[str]:
    ids: list[str] = []
    after: str | None = None
    for _ in range(20):
        made = prepared(Query(query.where, query.text, query.order, False, query.limit, 0, after))
        page = finding.find(conn, "memory", "notes", made)
        ids += [found.id for found in page.records]
        after = cursor_of(made, page.last)
        if after is None:
            return ids
    raise AssertionError("pages without end")


def filled(count: int = 60) -> Conn:
    conn = memory_conn()
    notes = a_collection(conn)
    for number in range(count):
        record = {"n": number, "kind": "ab"[number % 2], "tags": ["x", number % 3]}
        put(conn, notes, f"r{number:02}", json.dumps(record), f"word{number % 5} tea")
    return conn


def ids(conn: Conn, **query: Any) -> list[str]:
    made = prepared(Query(query.pop("where", {}), **query))
    return [found.id for found in finding.find(conn, "memory", "notes", made).records]


def test_a_record_that_is_put_between_two_pages_moves_no_other() -> None:
    """Who scrolls through messages while new ones come reads each of them once."""
    conn = filled(6)
    first = prepared(Query({}, None, "-n", limit=3))
    page = finding.find(conn, "memory", "notes", first)
    put(conn, a_collection(conn), "new", '{"n":99}')
    rest = prepared(Query({}, None, "-n", limit=3, after=cursor_of(first, page.last)))

    assert [f.id for f in page.records] == ["r05", "r04", "r03"]
    assert [f.id for f in finding.find(conn, "memory", "notes", rest).records] == [
        "r02",
        "r01",
        "r00",
    ]


def test_words_can_be_asked_for_together_with_fields_and_paged() -> None:
    conn = filled()
    query = Query({"kind": "a"}, "word0", limit=2)

    assert paged(conn, query) == ["r50", "r40", "r30", "r20", "r10", "r00"]
    assert ids(conn, text="word0", where={"n": {">": 30}}, order="n") == [
        "r35",
        "r40",
        "r45",
        "r50",
        "r55",
    ]


def test_a_list_can_be_asked_for_what_it_has() -> None:
    conn = filled(6)
    assert ids(conn, where={"tags": {"has": 2}}) == ["r02", "r05"]
    assert ids(conn, where={"tags": {"has": "2"}}) == []
    assert len(ids(conn, where={"tags": {"has": "x"}})) == 6


def ways(conn: Conn, **query: Any) -> finding.Way:
    made = prepared(Query(query.pop("where", {}), **query))
    return finding.explain(conn, "memory", "notes", made)


def indexed(conn: Conn, *fields: str) -> None:
    index = index_rows.declare(conn, "memory", "notes", fields)
    while index_rows.catch_up(conn, index.index_no, 7):
        pass


def test_the_index_that_serves_most_is_taken() -> None:
    conn = filled()
    for fields in (("n",), ("kind",), ("kind", "n")):
        indexed(conn, *fields)

    assert ways(conn, where={"kind": "a"}, order="-n").fields == ("kind", "n")
    assert ways(conn, where={"kind": "a"}, order="-n").ordered
    assert ways(conn, where={"n": {">": 3}}).fields == ("n",)
    assert ways(conn, order="n").fields == ("n",)
    assert ways(conn, where={"tags": {"has": "x"}}).fields == ()
    assert ways(conn, where={"missing": 1}).fields == ()


def test_an_index_that_is_far_behind_is_not_used_and_nothing_is_missed() -> None:
    """A phone that was away for a month asks at once."""
    conn = memory_conn()
    index_rows.declare(conn, "memory", "notes", ("n",))
    notes = a_collection(conn)
    for number in range(finding.PENDING_CHANGES_MAX + 2):
        put(conn, notes, f"r{number:04}", f'{{"n":{number}}}')

    way = ways(conn, where={"n": {">=": 500}})

    assert (way.fields, way.late) == ((), finding.PENDING_CHANGES_MAX + 1)
    assert ids(conn, where={"n": {">=": 500}}) == ["r0500", "r0501"]


def test_an_index_follows_changes_deletions_and_removals() -> None:
    conn = filled(4)
    indexed(conn, "n")
    rows = conn.execute("SELECT record_no FROM records ORDER BY id").fetchall()
    numbers = [row[0] for row in rows]
    update_records(conn, [RecordUpdate(numbers[0], '{"n":7}', 1, 1, 2, 0, None, None, "")])
    update_records(conn, [RecordUpdate(numbers[1], None, 1, 1, 2, 0, None, None, "")])
    remove_records(conn, a_collection(conn), ["r02"])

    asked = {"where": {"n": {">=": 0}}, "order": "n"}
    before = ids(conn, **asked)
    indexed(conn, "n")
    (left,) = conn.execute("SELECT count(*) FROM index_1").fetchone()

    assert before == ids(conn, **asked) == ["r03", "r00"]
    assert left == 2


def test_a_query_by_an_index_reads_no_other_records() -> None:
    """This is what an index is for."""
    conn = filled()
    indexed(conn, "kind", "n")
    recorder = Recorder(conn)

    finding.find(recorder, "memory", "notes", prepared(Query({"kind": "a"}, None, "-n", limit=5)))

    assert recorder.scans_of("records", "r", "i") == []
    assert any("USING COVERING INDEX index_1_fields" in step for step in recorder.steps)


def test_a_dropped_index_leaves_nothing_and_can_be_declared_again() -> None:
    conn = filled(3)
    indexed(conn, "n")
    (index,) = index_rows.indexes(conn)
    index_rows.drop(conn, index)

    assert index_rows.indexes(conn) == []
    assert index_rows.catch_up(conn, index.index_no, 10) == 0
    indexed(conn, "n")
    assert ways(conn, order="n").fields == ("n",)


@pytest.mark.parametrize(
    "query",
    [
        Query({"a": {"~": 1}}),
        Query({"a": {"in": "abc"}}),
        Query({"a": {"in": [[1]]}}),
        Query({"a": {"prefix": 1}}),
        Query({"a": {"<": None}}),
        Query({"a": {">": True}}),
        Query({"a": {"<": b"x"}}),
        Query({"a": {"exists": 1}}),
        Query({"a": {"has": b"x"}}),
        Query({"/a//b": 1}),
        Query({'/a/b"': 1}),
        Query({"/" + "/".join("a" * 40): 1}),
        Query({"a": {"in": [1] * 1001}}),
        Query({str(n): n for n in range(65)}),
        Query({}, order=["a", "b", "c", "d", "e"]),
        Query({}, order=["a", 1]),  # type: ignore[list-item]
        Query({}, order=1),  # type: ignore[arg-type]
        Query({}, limit=-1),
        Query({}, limit=True),
        Query({}, offset=-1),
        Query({}, after="no cursor"),
        Query({}, after=""),
        Query({}, after="A" * 200_000),
        Query("where", order="a"),  # type: ignore[arg-type]
        Query({1: 1}),  # type: ignore[dict-item]
    ],
)
def test_a_query_that_means_nothing_is_refused(query: Query) -> None:
    """An empty answer would look like a true one."""
    with pytest.raises(BadValueError):
        prepared(query)


def test_a_cursor_goes_on_with_its_own_query_only() -> None:
    conn = filled(6)
    made = prepared(Query({}, None, "n", limit=2))
    cursor = cursor_of(made, finding.find(conn, "memory", "notes", made).last)

    for other in (Query({}, None, "-n", after=cursor), Query({"n": 1}, None, "n", after=cursor)):
        with pytest.raises(BadValueError, match="after"):
            prepared(other)


FORGED: list[tuple[Any, ...]] = [
    *[(), ("r",), (None,), (2**70,), (float("nan"),)],
    *[(1, "r"), ("\ud800", 1), ("r", "1"), ("r", 2**63), ("r", True), ("r", 1.0), (None, 1)],
    *[(1, 2, 3), (1, "r", None), (1, None, 1), (1, "\ud800", 1), ("\ud800", "r", 1)],
    *[(2**63, "r", 1), (float("nan"), "r", 1), (float("inf"), "r", 1), (True, "r", 1)],
    *[([1], "r", 1), ({}, "r", 1), (1, 2, "r", 1)],
]


async def test_a_forged_cursor_is_refused_as_one() -> None:
    """Its mark is a hash that anybody can compute; what it hides ended in an internal error."""
    async with World() as world:
        device = await world.founder("laptop")
        await device.collection().put({"n": 1, "text": "tea"}, id="r")
        service = Service(device.engine, lambda: None)

        for text, order in ((None, "n"), ("tea", None), (None, None)):
            made = prepared(Query({}, text, order))
            asked = {"database": "memory", "collection": "facts", "text": text, "order": order}
            for place in FORGED:
                with pytest.raises(BadValueError, match="take `next` of the page before"):
                    await service.call("find", {**asked, "after": forged(made, place)})


def forged(made: finding.Query, place: tuple[Any, ...]) -> str:
    """A cursor with the mark of a true one, and behind it whatever JSON can say."""
    true = cursor_of(made, ())
    assert true is not None
    mark = base64.urlsafe_b64decode(true + "=" * (-len(true) % 4))[:MARK_BYTES]
    said = json.dumps(finding.lowest_as_none(place)).encode()
    return base64.urlsafe_b64encode(mark + said).decode().rstrip("=")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 2**63, -(2**64)])
def test_a_number_that_no_record_can_hold_finds_nothing(number: float) -> None:
    conn = filled(3)
    assert ids(conn, where={"n": number}) == []
    assert len(ids(conn, where={"n": {"!=": number}})) == 3


@pytest.mark.parametrize("name", ["/", "-", "/a/b", "-n", "~1", "/~", "a", ""])
def test_a_root_field_of_any_name_can_be_asked_for_and_ordered_by(name: str) -> None:
    """A slash begins a path and a dash turns an order round: some names need another spelling."""
    conn = memory_conn()
    notes = a_collection(conn)
    put(conn, notes, "two", value_text({name: 2}))
    put(conn, notes, "one", value_text({name: 1}))

    assert ids(conn, where={root_field(name): 1}) == ["one"]
    assert ids(conn, order=root_field(name)) == ["one", "two"]


def test_json_written_by_a_person_asks_the_same() -> None:
    """The command line sends tagged JSON."""
    where = from_json({"t": {">=": {"$time": "2026-03-01T00:00:00Z"}}})
    conn = memory_conn()
    notes = a_collection(conn)
    put(conn, notes, "early", value_text({"t": EARLY}))
    put(conn, notes, "late", value_text({"t": LATE}))

    assert ids(conn, where=where) == ["late"]
