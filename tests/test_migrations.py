"""Migrations: a store is brought up to date, or left exactly as it was."""

import sqlite3
from pathlib import Path

import pytest
import sqlcipher3

from covey.storage.errors import ForeignSchemaError, NewerStoreError
from covey.storage.migrations import Migration, known_migrations, migrate

PATH = Path("store.db")
ONE = Migration(1, "one", "CREATE TABLE a (x);\nCREATE TABLE b (x);\n")
TWO = Migration(2, "two", "ALTER TABLE a ADD COLUMN y;\n-- a comment; with a semicolon\nSELECT 1;")


@pytest.fixture
def conn() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)


def tables(conn: sqlite3.Connection) -> list[str]:
    return [name for (name,) in conn.execute("SELECT name FROM sqlite_master ORDER BY name")]


def test_steps_are_applied_in_order_and_only_once(conn: sqlite3.Connection) -> None:
    """Every start runs this."""
    counts = [migrate(conn, PATH, 5, steps) for steps in ((ONE,), (ONE, TWO), (ONE, TWO))]

    assert counts == [1, 1, 0]
    history = conn.execute("SELECT number, name, applied_ms FROM migrations").fetchall()
    assert history == [(1, "one", 5), (2, "two", 5)]


def test_a_step_that_fails_leaves_nothing_of_itself(conn: sqlite3.Connection) -> None:
    """Half a schema fits no program."""
    broken = Migration(2, "broken", "CREATE TABLE c (x);\nINSERT INTO none VALUES (1);\n")

    with pytest.raises(sqlite3.OperationalError):
        migrate(conn, PATH, 0, (ONE, broken))

    assert tables(conn) == ["a", "b", "migrations"]
    assert migrate(conn, PATH, 0, (ONE, TWO)) == 1


def test_a_store_of_a_newer_program_is_refused_and_not_changed(conn: sqlite3.Connection) -> None:
    """What the newer schema means is not ours to guess."""
    migrate(conn, PATH, 0, (ONE, TWO))

    with pytest.raises(NewerStoreError, match=r"schema 2, .* knows 1"):
        migrate(conn, PATH, 0, (ONE,))


def test_a_step_that_was_changed_after_it_was_applied_is_found(conn: sqlite3.Connection) -> None:
    """Two programs with two ideas of step 1 would corrupt each other's store."""
    migrate(conn, PATH, 0, (ONE,))
    changed = Migration(1, "one", ONE.text + "CREATE TABLE c (x);\n")

    with pytest.raises(ForeignSchemaError, match="migration 1"):
        migrate(conn, PATH, 0, (changed, TWO))

    assert tables(conn) == ["a", "b", "migrations"]


def test_the_steps_of_this_program_make_its_schema(conn: sqlite3.Connection) -> None:
    """They are data of the package: a wheel without them could open nothing."""
    steps = known_migrations()

    modern = sqlite3.sqlite_version_info >= (3, 43)
    assert migrate(conn, PATH, 0, contentless_delete=modern) == len(steps) > 0
    assert {"entries", "records", "record_text", "scope_keys", "events"} <= set(tables(conn))


def test_a_store_from_before_time_buckets_keeps_every_row(conn: sqlite3.Connection) -> None:
    """Its scopes are made anew under rows that refer to them, and are in no bucket."""
    conn.execute("PRAGMA foreign_keys=ON")
    modern = sqlite3.sqlite_version_info >= (3, 43)
    steps = known_migrations()
    before = [step for step in steps if step.name != "time_buckets"][:1]
    migrate(conn, PATH, 0, tuple(before), contentless_delete=modern)
    conn.execute("INSERT INTO scopes VALUES (1, x'00', '', 0), (7, x'07', 'memory', 1)")
    conn.execute("INSERT INTO logs VALUES (3, 7, x'aa', x'bb')")
    conn.execute("INSERT INTO collections VALUES (5, 7, 'facts')")
    conn.execute("INSERT INTO carried VALUES (1, 'memory', 'facts', 'tea', '{}', 1)")

    migrate(conn, PATH, 1, steps, contentless_delete=modern)

    rows = [conn.execute(f"SELECT * FROM {name}").fetchall() for name in ("logs", "collections")]
    assert rows == [[(3, 7, b"\xaa", b"\xbb")], [(5, 7, "facts")]]
    assert conn.execute("SELECT * FROM scopes").fetchall() == [
        (1, b"\x00", "", 0, 0),
        (7, b"\x07", "memory", 1, 0),
    ]
    assert conn.execute("SELECT * FROM carried").fetchall() == [
        (1, "memory", "facts", "tea", "{}", 1, 0, None, None, None, None)
    ]
    assert conn.execute("PRAGMA foreign_key_check").fetchall() == []
    conn.execute("INSERT INTO scopes VALUES (8, x'08', 'memory', 1, 691)")
    for text in ("scopes VALUES (9, x'09', 'memory', 1, 691)", "logs VALUES (9, 99, x'01', x'')"):
        with pytest.raises(sqlite3.DatabaseError):
            conn.execute(f"INSERT INTO {text}")


def test_a_real_store_of_the_first_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    """The encrypted library has its own SQLite, and applies the steps on its own connection."""
    conn = sqlcipher3.connect(str(tmp_path / "store.db"), isolation_level=None)
    conn.execute("PRAGMA key = 'of a test'")
    conn.execute("PRAGMA foreign_keys=ON")
    steps = known_migrations()
    migrate(conn, PATH, 0, steps[:1])
    conn.execute("INSERT INTO scopes VALUES (7, x'07', 'memory', 1)")
    conn.execute("INSERT INTO logs VALUES (3, 7, x'aa', x'bb')")

    migrate(conn, PATH, 1, steps)

    row = conn.execute(
        "SELECT s.bucket, l.log_no FROM scopes s JOIN logs l ON l.scope_no = s.scope_no"
    ).fetchone()
    assert row == (0, 3)
    conn.close()
