"""SQL over tables for analysis: what is run, what is refused, and what values become."""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.storage.analytics_database import (
    WORN_ROWS_MIN,
    AnalyticsDatabase,
    AnalyticsTable,
    Answer,
    Row,
    SqlFailedError,
)
from covey.storage.analytics_sql import SQL_BYTES_MAX, SqlError
from covey.storage.table_columns import BIGINT_MAX, FIELDS_MAX, unique_names

pytest.importorskip("duckdb")


class Tables:
    """A database with one table, which every name is taken for."""

    def __init__(self, *values: Mapping[str, Any], memory_mib: int = 256) -> None:
        self.database = AnalyticsDatabase(memory_mib)
        self.table = self.database.new_table()
        self.put(*values)

    def put(self, *values: Mapping[str, Any] | None, first: int = 1) -> None:
        rows = [
            Row(n, f"r{n}", None if value is None else json.dumps(value), "private", "K7QF", n)
            for n, value in enumerate(values, first)
        ]
        self.database.fill(self.table, rows)

    def ask(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = (), rows: int = 1_000
    ) -> Answer:
        question = self.database.read(sql)
        self.database.show(dict.fromkeys(question.tables, self.table))
        return self.database.ask(question, parameters, rows)

    def types(self) -> dict[str, str]:
        return {row[0]: row[1] for row in self.ask("DESCRIBE m.f").rows}


REFUSED = (
    *("INSERT INTO m.f VALUES (1)", "UPDATE m.f SET id = 'x'", "DELETE FROM m.f", "DROP VIEW m.f"),
    *("CREATE TABLE t AS SELECT 1", "CREATE MACRO f() AS 1", "ALTER TABLE m.f ADD COLUMN x INT"),
    "WITH a AS (INSERT INTO m.f VALUES (1) RETURNING *) SELECT * FROM a",
    "WITH a AS (DELETE FROM m.f RETURNING *) SELECT * FROM a",
    "SELECT * FROM (WITH a AS (UPDATE m.f SET id = '' RETURNING *) SELECT * FROM a)",
    *("SELECT 1; SELECT 2", "SELECT 1; DROP VIEW m.f", "", ";", "--", "select", "nonsense"),
    *("ATTACH 'x.db'", "ATTACH ':memory:' AS x", "DETACH x", "USE memory", "CHECKPOINT"),
    *("COPY m.f TO 'out.csv'", "COPY (SELECT 1) TO 'out.csv'", "EXPORT DATABASE 'out'"),
    *("INSTALL httpfs", "LOAD httpfs", "LOAD 'x.so'", "PRAGMA version", "CALL pragma_version()"),
    *("SET threads = 4", "RESET threads", "SET lock_configuration = false", "SET VARIABLE x = 1"),
    *("PRAGMA enable_profiling", "BEGIN", "COMMIT", "VACUUM", "EXPLAIN SELECT 1", "EXECUTE p"),
    *("PREPARE p AS SELECT 1", "CREATE SECRET s (TYPE s3)", "SHOW TABLES", "SHOW ALL TABLES"),
    *("SELECT * FROM '/etc/passwd'", 'SELECT * FROM "x.csv"', "SELECT * FROM 'https://a.b/c.json'"),
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT (SELECT content FROM read_text('/etc/passwd'))",
    *("SELECT * FROM READ_BLOB('x')", "SELECT * FROM read_parquet(['x'])", "FROM glob('/*')"),
    *("SELECT * FROM sniff_csv('x')", "SELECT * FROM parquet_scan('x')", "FROM read_duckdb('x')"),
    *("SELECT * FROM pandas_scan(1)", "SELECT * FROM arrow_scan(1, 2, 3)", "FROM seq_scan('x')"),
    *("SELECT * FROM python_map_function(1)", "SELECT * FROM python_arrow_scan(1)"),
    *("SELECT * FROM query('DROP VIEW m.f')", "SELECT * FROM query_table('m.f')"),
    *("FROM json_execute_serialized_sql('{}')", "FROM enable_logging()", "FROM checkpoint()"),
    *("SELECT * FROM duckdb_settings()", "SELECT * FROM duckdb_settings", "FROM sqlite_master"),
    *("SELECT * FROM system.main.duckdb_settings()", "SELECT * FROM main.range(3)"),
    *("SELECT * FROM information_schema.tables", "SELECT * FROM pg_catalog.pg_class"),
    *('SELECT * FROM "$tables".t1', 'SELECT * FROM "$covey"."$tables".t1', "FROM a.b.c.d"),
    *("SELECT * FROM variable_of_python", "SELECT * FROM m.f AT (VERSION => 1)"),
    *("SELECT getenv('HOME')", "SELECT current_setting('threads')", "SELECT getvariable('x')"),
    *("SELECT write_log('x')", "SELECT nextval('x')", "SELECT sleep_ms(9)", "SELECT pg_sleep(9)"),
    *("SELECT repeat('x', 1000000000)", "SELECT lpad('x', 1000000000, 'y')", "SELECT range(9)"),
    *("SELECT format('{:1000000000}', 'x')", "SELECT printf('%1000000000d', 1)"),
    *("SELECT list_resize([1], 1000000000)", "SELECT list_aggregate([1], 'sum')"),
    *("SELECT * FROM repeat('x', 9)", "SELECT unnest(range(9))", "SELECT generate_series(1, 9)"),
    *("SELECT json_serialize_sql('x')", "SELECT system.main.read_text('x')", "SELECT setseed(1)"),
)


@pytest.mark.parametrize("sql", REFUSED)
def test_whatever_is_not_a_question_is_refused_before_it_runs(sql: str) -> None:
    """A query may come from a program that somebody else wrote, or a model."""
    tables = Tables({"a": 1})

    with pytest.raises(SqlError):
        tables.ask(sql)
    assert tables.ask("SELECT id, a FROM m.f").rows == [("r1", 1)]


ASKED: tuple[tuple[str, list[tuple[Any, ...]]], ...] = (
    ("SELECT count(*), sum(n), max(t) FROM m.f", [(3, 6.5, "c")]),
    ("SELECT g, count(*) c FROM m.f GROUP BY g HAVING c > 1 ORDER BY g", [("x", 2)]),
    ("SELECT t, row_number() OVER (ORDER BY n DESC) r FROM m.f ORDER BY r", RANKED := [
        ("c", 1), ("b", 2), ("a", 3)]),
    ("WITH w AS (SELECT n FROM m.f) SELECT min(n) FROM w", [(1.0,)]),
    ("WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 3) FROM r", [
        (1,), (2,), (3,)]),
    ("SELECT a.t FROM m.f a JOIN m.f b ON a.n + 1 = b.n", [("a",)]),
    ("SELECT f.t FROM m.f WHERE m.f.n = 2", [("b",)]),
    ("SELECT value->>'$.deep.k', deep->'k' FROM m.f WHERE id = 'r1'", [("v", "v")]),
    ("SELECT unnest(tags::VARCHAR[]) FROM m.f", [("p",), ("q",)]),
    ("SELECT j.value FROM m.f, json_each(tags) j ORDER BY 1", [("p",), ("q",)]),
    ("SELECT date_trunc('day', w), extract(year FROM w) FROM m.f WHERE w IS NOT NULL", [
        (datetime(2026, 1, 2, tzinfo=UTC), 2026)]),
    ("SELECT list_transform([1, 2], lambda x: x + 1), {'k': 1}, [1], CASE WHEN 1 > 2 THEN 3 END", [
        ([2, 3], {"k": 1}, [1], None)]),
    ("SELECT (SELECT max(n) FROM m.f), EXISTS (FROM m.f), 2 IN (1, 2), 'ab' LIKE 'a%'", [
        (3.5, True, True, True)]),
    ("SELECT count(*) FROM range(1000)", [(1000,)]),
    ("FROM (VALUES (1, 'a')) v UNION SELECT 1, 'a'", [(1, "a")]),
    ("SELECT median(n), string_agg(t, ',' ORDER BY t), max_by(t, n) FROM m.f", [
        (2.0, "a,b,c", "c")]),
)  # fmt: skip


@pytest.mark.parametrize(("sql", "rows"), ASKED)
def test_questions_are_answered(sql: str, rows: list[tuple[Any, ...]]) -> None:
    """A list of what is allowed is of no use if it allows too little."""
    when = {"$time": "2026-01-02T10:00:00.000Z"}
    tables = Tables(
        {"t": "a", "n": 1, "g": "x", "deep": {"k": "v"}, "tags": ["p", "q"], "w": when},
        {"t": {"$text": "b"}, "n": {"$counter": 2}, "g": "x"},
        {"t": "c", "n": 3.5, "g": None},
    )

    assert tables.ask(sql).rows == rows


def test_a_columns_type_follows_from_the_values_that_are_there() -> None:
    """Not from those that were: else a table would depend on its history."""
    tables = Tables({"a": 1}, {"a": 2, "b": True, "c": None}, {"d": BIGINT_MAX, "e": 2**70})
    whole = tables.types()
    tables.put({"a": 1.5, "d": 0.5})
    fraction = tables.types()
    tables.put({"a": "text"}, {"a": [1]}, None)
    mixed = tables.types()
    tables.put(None, None, {"z": 1})

    fixed = {"id": "VARCHAR", "privacy": "VARCHAR", "device": "VARCHAR"}
    fixed |= {"time": "TIMESTAMP WITH TIME ZONE", "value": "JSON"}
    fields = {"a": "BIGINT", "b": "BOOLEAN", "c": "JSON", "d": "BIGINT", "e": "JSON"}
    assert whole == {**fixed, **fields}
    assert fraction == {**fixed, **fields, "a": "DOUBLE", "d": "JSON"}
    assert mixed == {**fixed, "a": "JSON"}
    assert tables.types() == {**fixed, "z": "BIGINT"}


HOSTILE_NAMES = (
    *("", "a b", 'q"', "it's", "a/b", "~1", "$", "*", ".", "[0]", "a.b", "\\", "\0", "é", "#"),
    *("'; DROP VIEW m.f; --", '"; DROP VIEW m.f; --', "id", "ID", "value", "Time", "select"),
    *("A", "a", "id_2", "%s", "{}", "?", "$1", "\n", "\u202e", "😀", "n" * 5_000),
)


def test_any_name_of_a_field_is_a_name_and_nothing_else() -> None:
    """Names come from whoever writes a record, on any device."""
    tables = Tables({name: number for number, name in enumerate(HOSTILE_NAMES)})
    names = unique_names(HOSTILE_NAMES, ("id", "privacy", "device", "time", "value"))

    answer = tables.ask("SELECT * EXCLUDE (id, privacy, device, time, value) FROM m.f")

    found = dict(zip(answer.columns, answer.rows[0], strict=True))
    assert {name: found[names[name]] for name in HOSTILE_NAMES} == {
        name: number for number, name in enumerate(HOSTILE_NAMES)
    }
    assert names["id"] == "id_3" and names["a"] == "a" and names["A"] == "A_2"


json_scalars = (
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)  # fmt: skip
json_values = st.recursive(
    json_scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)  # fmt: skip


@given(st.lists(st.dictionaries(st.text(max_size=4), json_values, max_size=4), max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_records_come_back_as_they_are(values: list[dict[str, Any]]) -> None:
    """Whatever a name or a value holds, it is data: in the column of its field and in `value`."""
    tables = Tables(*values)
    fields = {field for value in values for field in value}
    names = unique_names(fields, ("id", "privacy", "device", "time", "value"))

    answer = tables.ask("SELECT * FROM m.f ORDER BY time")

    rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    assert [row["value"] for row in rows] == values
    assert [{f: row[names[f]] for f in fields} for row in rows] == [
        {field: value.get(field) for field in fields} for value in values
    ]


@pytest.mark.parametrize(
    "place", [("Main", "it's"), ('q"; DROP', "x"), ("a.b", "ü"), ("main", "f")]
)
def test_any_database_and_collection_can_be_named(place: tuple[str, str]) -> None:
    """And whatever is in a name is no SQL."""
    tables = Tables({"a": 1})
    asked = ".".join('"' + name.replace('"', '""') + '"' for name in place)

    question = tables.database.read(f"SELECT a FROM {asked}")

    assert question.tables == (place,)
    assert tables.ask(f"SELECT a FROM {asked}").rows == [(1,)]
    assert tables.ask("SELECT a FROM other.f").rows == [(1,)]
    assert tables.ask(f"SELECT a FROM {asked.upper()}").rows == [(1,)]


def test_names_that_sql_cannot_tell_apart_are_refused() -> None:
    """Otherwise the answer would be about one of them, and nobody knows which."""
    tables = Tables({"a": 1})

    with pytest.raises(SqlError, match="one name to SQL"):
        tables.ask("SELECT * FROM memory.facts, Memory.Facts")
    with pytest.raises(SqlError, match="keeps this name"):
        tables.ask("SELECT * FROM Temp.facts")


def test_a_collection_with_a_field_for_each_record_has_no_columns_for_them() -> None:
    """Ids as names of fields would make a table with a column for each."""
    tables = Tables(*({f"f{n}": n} for n in range(FIELDS_MAX + 1)))

    assert list(tables.types()) == ["id", "privacy", "device", "time", "value"]
    assert tables.ask("SELECT value->'f7' FROM m.f WHERE id = 'r8'").rows == [(7,)]


def test_parameters_are_values_by_place_and_by_name() -> None:
    """What a program was given never becomes SQL."""
    tables = Tables({"t": "'; DROP VIEW m.f; --"}, {"t": "x"})

    by_place = tables.ask("SELECT id FROM m.f WHERE t = ?", ["'; DROP VIEW m.f; --"])
    by_name = tables.ask("SELECT $n + 1, $s", {"n": 1, "s": None})

    assert by_place.rows == [("r1",)] and by_name.rows == [(2, None)]
    for parameters in ([], [1, 2], {"other": 1}):
        with pytest.raises(SqlError, match="parameters"):
            tables.ask("SELECT id FROM m.f WHERE t = ?", parameters)


def test_an_error_tells_no_content() -> None:
    """Errors are logged, and pasted into questions to strangers."""
    tables = Tables({"t": "canary"})

    for sql in ("SELECT t::BIGINT FROM m.f", "SELECT strptime(t, '%Y') FROM m.f"):
        with pytest.raises(SqlFailedError) as failed:
            tables.ask(sql)
        assert "canary" not in str(failed.value)


def test_rows_are_bounded_by_number_and_by_size() -> None:
    """An answer has to fit into the memory of whoever asked."""
    tables = Tables(*({"t": "x" * 2_000_000} for _ in range(30)), memory_mib=1_024)

    few = tables.ask("SELECT id FROM m.f", rows=3)
    exact = tables.ask("SELECT id FROM m.f", rows=30)
    large = tables.ask("SELECT t FROM m.f")
    lists = tables.ask("SELECT n FROM (SELECT list(range) n FROM range(1000000)), range(20)")

    assert len(few.rows) == 3 and not few.is_whole
    assert len(exact.rows) == 30 and exact.is_whole
    assert 10 < len(large.rows) < 20 and not large.is_whole
    assert len(lists.rows) == 2 and not lists.is_whole


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "(" * 20_000 + "1" + ")" * 20_000,
        "SELECT 1" + "+1" * 20_000,
        "SELECT " + "[" * 20_000 + "]" * 20_000,
        "SELECT * FROM " + "(FROM " * 5_000 + "m.f" + ")" * 5_000,
        "SELECT " + "NOT " * 15_000 + "true",
        "SELECT '" + "x" * SQL_BYTES_MAX + "'",
        "SELECT '\ud800'",
    ],
    ids=["parentheses", "sum", "lists", "tables", "not", "long", "half a letter"],
)
def test_sql_that_no_person_types_is_refused(sql: str) -> None:
    """A parser that goes down too far ends the process."""
    with pytest.raises(SqlError):
        Tables().ask(sql)


@pytest.mark.parametrize(
    ("sql", "parameters", "said"),
    [
        ("SELECT " + "(" * 5_000 + "1" + ")" * 5_000, (), "nested too deep"),
        ("SELECT $a, ?", {"a": 1}, "by name, and not both"),
        ("SELECT ?", 5, "parameters"),
        ("SELECT ?", "5", "parameters"),
        (5, (), "no valid text"),
    ],
    ids=["deep", "mixed", "number", "text", "no query"],
)
def test_what_is_wrong_with_a_query_is_said_so_that_it_can_be_put_right(
    sql: Any, parameters: Any, said: str
) -> None:
    """The library names settings that nobody can set, or calls it no SELECT."""
    with pytest.raises(SqlError, match=said):
        Tables().ask(sql, parameters)


def test_what_takes_too_much_memory_fails_and_is_not_put_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB would write temporary files, in plaintext, beside wherever the node was started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    tables = Tables(*({"t": f"canary {n}"} for n in range(1_000)), memory_mib=64)

    with pytest.raises(SqlFailedError, match="64 MiB"):
        tables.ask("SELECT count(*) FROM (SELECT DISTINCT a.t || b.t || c.id FROM m.f a, m.f b,"
                   " (FROM m.f LIMIT 20) c)")  # fmt: skip
    # To ask for fewer rows, as of a query, would not help.
    with pytest.raises(SqlFailedError, match="a collection in it takes more than 64 MiB"):
        tables.put(*({"t": os.urandom(1_000).hex()} for _ in range(60_000)), first=2_000)
    tables.database.close()

    assert list(tmp_path.rglob("*")) == []


def test_the_database_is_locked_up() -> None:
    """The second wall, should a statement ever get past the first."""
    tables = Tables({"a": 1})
    connection = tables.database._connection
    found = tables.database.settings()

    for name, value in {
        "enable_external_access": "false",
        "lock_configuration": "true",
        "temp_directory": "",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",
        "TimeZone": "UTC",
    }.items():
        assert found[name] == value, name
    for sql in (
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY (SELECT 1) TO 'out.csv'",
        "ATTACH 'x.db'",
        "SET enable_external_access = true",
        "SET temp_directory = '/tmp'",
        "INSTALL httpfs",
        "SELECT * FROM connection",
    ):
        with pytest.raises(tables.database._library.Error):
            connection.execute(sql)


def test_a_transaction_of_a_query_refuses_writes() -> None:
    """The third wall: not judged, but run as it would be."""
    tables = Tables({"a": 1})
    question = tables.database.read("SELECT 1")._replace(
        sql='WITH a AS (DELETE FROM "$tables".t1 RETURNING *) SELECT * FROM a'
    )

    with pytest.raises(SqlError, match="only reads"):
        tables.database.ask(question, (), 10)
    assert tables.ask("SELECT count(*) FROM m.f").rows == [(1,)]


def test_a_table_is_worn_when_more_is_gone_than_there() -> None:
    """Rows that are gone keep their room; it is given back by making the table anew."""
    database = AnalyticsDatabase()
    table: AnalyticsTable = database.new_table()
    rows = [Row(n, f"r{n}", '{"a":1}') for n in range(WORN_ROWS_MIN // 2)]

    database.fill(table, rows)
    for _ in range(2):
        database.fill(table, rows)
    assert not table.is_worn
    database.fill(table, rows[:1])

    assert table.is_worn and len(table) == len(rows)
    database.close()
    database.close()
