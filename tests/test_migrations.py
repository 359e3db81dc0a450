"""Migrations: a store is brought up to date, or left exactly as it was."""

import sqlite3
from pathlib import Path

import pytest

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
