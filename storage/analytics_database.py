"""Analytics database: DuckDB in memory, for reading SQL over copies of collections. An adapter.

It cannot touch the world. There are no temporary files (`temp_directory` is empty, and nothing may
be put there), no files and no network (`enable_external_access` is off), no extensions but those
compiled in, no variables of Python; then the configuration is locked. SQL of a caller is judged
first (`analytics_sql.py`), and runs in a transaction that only reads.

DuckDB is imported when a database is made (`covey[analytics]`). Every call but `interrupt` blocks:
the caller runs it beside the event loop, one call at a time.
Source: DuckDB's documentation, "Securing DuckDB"; checked with DuckDB 2.0.1.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from .. import CoveyError
from .analytics_sql import SQL_BYTES_MAX, Question, SqlError, first_line, judged
from .table_columns import FIXED, Flat, Shape, Tally, flat, literal, quoted

MEMORY_MIB_MAX = 1024
"""What tables and queries may take together."""
RESULT_BYTES_MAX = 32 << 20
BYTES_PER_INSERT = 4 << 20
WORN_ROWS_MIN = 10_000

CATALOG = "$covey"
TABLES = "$tables"
"""The schema of the tables behind the views that a caller sees."""
NAMES_TAKEN = frozenset((CATALOG, TABLES, "information_schema", "pg_catalog", "system", "temp"))
"""What no database can be called in SQL."""

_SETTINGS: dict[str, Any] = {
    "temp_directory": "",
    "max_temp_directory_size": "0KB",
    "threads": "1",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_persistent_secrets": "false",
    "python_enable_replacements": "false",
    "python_scan_all_frames": "false",
}
_GIVEN_BACK = frozenset(
    (
        *("BinderException", "CatalogException", "NotImplementedException"),
        *("ParserException", "PermissionException"),
    )
)
"""Errors whose first line tells what the caller typed, and nothing that stands in a record."""
_STRUCT = '[{"n":"BIGINT","i":"VARCHAR","p":"VARCHAR","d":"VARCHAR","w":"BIGINT","v":"JSON"}]'


class AnalyticsMissingError(CoveyError):
    """DuckDB is not installed. Everything else works without it."""

    def __init__(self) -> None:
        super().__init__("SQL needs DuckDB: pip install 'covey[analytics]'")


class SqlFailedError(CoveyError):
    """The query was stopped by its data or by a limit. Records are as they were."""


class Row(NamedTuple):
    """A record as it is now. `value` is its JSON, None if it is not in the table (any more)."""

    record_no: int
    id: str = ""
    value: str | None = None
    privacy: str = ""
    device: str = ""
    time_ms: int = 0


class Answer(NamedTuple):
    """Rows of Python values. `is_whole` is False if a limit was reached and more would follow."""

    columns: list[str]
    rows: list[tuple[Any, ...]]
    is_whole: bool


class AnalyticsTable:
    """One collection, kept equal to its records by changes alone. Made by `new_table`."""

    def __init__(self, connection: Any, name: str) -> None:
        self._connection = connection
        self._place = f"{quoted(TABLES)}.{quoted(name)}"
        self._tally = Tally()
        self._held: dict[int, Shape] = {}
        self._removed = 0
        connection.execute(
            f"CREATE TABLE {self._place}"
            " (n BIGINT, id VARCHAR, privacy VARCHAR, device VARCHAR, time TIMESTAMPTZ, value JSON)"
        )

    def __len__(self) -> int:
        return len(self._held)

    @property
    def is_worn(self) -> bool:
        """Whether rows that are gone take more room than those that are there."""
        return self._removed > max(len(self._held), WORN_ROWS_MIN)

    def apply(self, rows: Sequence[Row]) -> None:
        """Put rows in the place of those with the same number; each number occurs once."""
        gone = [row.record_no for row in rows if row.record_no in self._held]
        if gone:
            self._connection.execute(
                f"DELETE FROM {self._place} WHERE n IN (SELECT unnest(?::BIGINT[]))", [gone]
            )
        for number in gone:
            self._tally.remove(self._held.pop(number))
        self._removed += len(gone)
        part: list[str] = []
        size = 0
        for row in rows:
            if row.value is None:
                continue
            record = flat(row.value)
            self._held[row.record_no] = self._tally.add(record.shape)
            part.append(_inserted(row, record))
            size += len(part[-1])
            if size > BYTES_PER_INSERT:
                self._insert(part)
                part, size = [], 0
        self._insert(part)

    def view(self) -> str:
        """The SELECT by which a person sees it: the fixed columns, then the fields by name."""
        fixed = ", ".join(f"r.{name}" for name in FIXED)
        fields = "".join(f", {c.expression} AS {quoted(c.name)}" for c in self._tally.columns())
        return f"SELECT {fixed}{fields} FROM {self._place} r"

    def drop(self) -> None:
        """Give the memory back. No view may show it any more."""
        self._connection.execute(f"DROP TABLE {self._place}")

    def _insert(self, rows: Sequence[str]) -> None:
        """Insert rows that are JSON: contents are a parameter, and never SQL."""
        if rows:
            self._connection.execute(
                f"INSERT INTO {self._place} SELECT s.n, s.i, s.p, s.d,"
                " make_timestamptz(s.w * 1000), s.v FROM"
                f" (SELECT unnest(from_json(?::JSON, {literal(_STRUCT)})) AS s)",
                [f"[{','.join(rows)}]"],
            )


class AnalyticsDatabase:
    """See the module. Raises AnalyticsMissingError when made without DuckDB."""

    def __init__(self, memory_mib: int = MEMORY_MIB_MAX) -> None:
        try:
            import duckdb
        except ImportError:
            raise AnalyticsMissingError from None
        self._library = duckdb
        self._memory_mib = memory_mib
        config = {**_SETTINGS, "memory_limit": f"{memory_mib}MiB"}
        self._connection = duckdb.connect(":memory:", config=config)
        # The first database is called `memory`, and so may be one of a person: then `memory.facts`
        # would be refused as ambiguous.
        for statement in (
            f"ATTACH ':memory:' AS {quoted(CATALOG)}",
            f"USE {quoted(CATALOG)}",
            "DETACH memory",
            f"CREATE SCHEMA {quoted(TABLES)}",
            "SET GLOBAL TimeZone = 'UTC'",
            "SET GLOBAL enable_external_access = false",
            "SET GLOBAL lock_configuration = true",
        ):
            self._connection.execute(statement)
        self._cursor: Any = None
        self._made = 0
        self._shown: list[tuple[str, str]] = []

    def new_table(self) -> AnalyticsTable:
        """An empty table."""
        self._made += 1
        return AnalyticsTable(self._connection, f"t{self._made}")

    def fill(self, table: AnalyticsTable, rows: Sequence[Row]) -> None:
        """Put rows in place of those of the same records. After an error the database is of no use.

        Raises: SqlFailedError without enough memory.
        """
        try:
            table.apply(rows)
        except self._library.OutOfMemoryException:
            raise SqlFailedError(
                f"a collection in it takes more than {self._memory_mib} MiB of memory as a table,"
                " with those asked before: SQL cannot be asked of it here"
            ) from None

    def show(self, tables: Mapping[tuple[str, str], AnalyticsTable]) -> None:
        """Let these tables be seen, each under its database and collection, and no others.

        Raises: SqlError for names that SQL cannot tell apart, or keeps for itself.
        """
        self._hide()
        folded: dict[tuple[str, str], tuple[str, str]] = {}
        for (database, name), table in tables.items():
            if database.lower() in NAMES_TAKEN:
                raise SqlError(f"{database}: SQL keeps this name for itself: it cannot be asked")
            other = folded.setdefault((database.lower(), name.lower()), (database, name))
            if other != (database, name):
                raise SqlError(
                    f"{'.'.join(other)} and {database}.{name} are one name to SQL: ask for one"
                )
            self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(database)}")
            self._shown.append((database, name))
            self._connection.execute(f"CREATE VIEW {_place((database, name))} AS {table.view()}")

    def _hide(self) -> None:
        """Nothing is seen, and no schema is left whose name differs in case from the next one."""
        for place in self._shown:
            self._connection.execute(f"DROP VIEW IF EXISTS {_place(place)}")
        for database in {name for name, _ in self._shown if name.lower() != "main"}:
            self._connection.execute(f"DROP SCHEMA IF EXISTS {quoted(database)}")
        self._shown = []

    def read(self, sql: str) -> Question:
        """Judge a statement without running it. Raises: SqlError."""
        try:
            size = len(sql.encode())
        except (AttributeError, UnicodeEncodeError):
            raise SqlError("the query is no valid text: type it again") from None
        if size > SQL_BYTES_MAX:
            raise SqlError(f"a query has at most {SQL_BYTES_MAX} bytes: give values as parameters")
        try:
            told = self._connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
        except self._library.Error as error:
            raise self._refused(error) from None
        return judged(sql, told[0][0])

    def ask(
        self, question: Question, parameters: Sequence[Any] | Mapping[str, Any], rows_max: int
    ) -> Answer:
        """Run a statement. JSON comes as Python's lists and dicts; times are aware, in UTC.

        Raises: SqlError, SqlFailedError.
        """
        cursor = self._cursor = self._connection.cursor()
        try:
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            cursor.execute(question.sql, _bound(parameters))
            described = cursor.description or []
            types = [str(column[1]) for column in described]
            rows, is_whole = self._rows(cursor, types, rows_max)
        except self._library.Error as error:
            raise self._refused(error) from None
        except (OverflowError, ValueError):  # A year that Python does not have, half a letter.
            raise SqlFailedError("a result or parameter does not fit: cast it to text") from None
        finally:
            self._cursor = None
            cursor.close()
        return Answer([column[0] for column in described], rows, is_whole)

    def _rows(self, cursor: Any, types: list[str], rows_max: int) -> tuple[list[Any], bool]:
        rows: list[tuple[Any, ...]] = []
        size = 0
        # One by one: a list in a row can be a thousand times larger here than it was there.
        while (row := cursor.fetchone()) is not None:
            size += sum(map(_bytes, row))
            if len(rows) == rows_max or (rows and size > RESULT_BYTES_MAX):
                return rows, False
            rows.append(tuple(map(_value, row, types)))
        return rows, True

    def interrupt(self) -> None:
        """End the query that runs, if one does. From any thread; one yet to begin goes on."""
        cursor = self._cursor
        if cursor is not None:
            cursor.interrupt()

    def settings(self) -> dict[str, str]:
        """What is set now, by name."""
        found = self._connection.execute("SELECT name, value FROM duckdb_settings()").fetchall()
        return dict(found)

    def close(self) -> None:
        """Give the memory back. Closing twice is harmless."""
        self._connection.close()

    def _out_of_memory(self) -> SqlFailedError:
        return SqlFailedError(
            f"this takes more than {self._memory_mib} MiB of memory: ask for fewer rows or columns"
        )

    def _refused(self, error: Exception) -> CoveyError:
        """What a person is told: never a value, which may be content of a record."""
        name = type(error).__name__
        if name == "OutOfMemoryException":
            return self._out_of_memory()
        if name == "InterruptException":
            return SqlFailedError("the query was stopped")
        if name == "TransactionException":
            return SqlError("SQL only reads: records are changed by put and delete")
        if name in _GIVEN_BACK:
            return SqlError(first_line(str(error)))
        if name == "InvalidInputException" and "parameter" in str(error):
            return SqlError("the parameters are not those of the query: give one for each ? or $1")
        kind = name.removesuffix("Exception")
        return SqlFailedError(f"the query failed ({kind}): a value does not fit what it asks for")


def _place(name: tuple[str, str]) -> str:
    return f"{quoted(name[0])}.{quoted(name[1])}"


def _inserted(row: Row, record: Flat) -> str:
    fixed = {"n": row.record_no, "i": row.id, "p": row.privacy, "d": row.device, "w": row.time_ms}
    return f'{json.dumps(fixed)[:-1]}, "v": {record.value}}}'


def _bound(parameters: Sequence[Any] | Mapping[str, Any]) -> Any:
    if not isinstance(parameters, Mapping | list | tuple):
        raise SqlError("parameters: a list of values, or values by name, were expected")
    return dict(parameters) if isinstance(parameters, Mapping) else list(parameters)


def _value(value: Any, kind: str) -> Any:
    return json.loads(value) if kind == "JSON" and value is not None else _in_utc(value)


def _in_utc(value: Any) -> Any:
    match value:
        case datetime():
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        case list() | tuple():
            return [_in_utc(item) for item in value]
        case dict():
            return {_in_utc(key): _in_utc(item) for key, item in value.items()}
        case _:
            return value


def _bytes(value: Any) -> int:
    """About how much room a value takes in an answer."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return 16 + sum(_bytes(part) for pair in value.items() for part in pair)
    return 16 + sum(map(_bytes, value)) if isinstance(value, list | tuple) else 16
