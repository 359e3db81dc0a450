"""Migrations: the schema of a store, step by step, upwards only.

A step is a file `NNNN_name.sql` beside this module, applied in one transaction together with its
row in the history table `migrations`: after a crash a step is done or it is not. The history keeps
the BLAKE2b-256 of the text that was applied, so a store made by a program with other steps under
the same numbers is refused, and so is one that has steps this program does not know. Nothing
migrates down.

A store that is up to date costs one statement to look at.
"""

import re
import sqlite3
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib import resources
from pathlib import Path

from .errors import ForeignSchemaError, NewerStoreError
from .store import Conn

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")

_HISTORY = """
CREATE TABLE IF NOT EXISTS migrations (
  number INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  checksum BLOB NOT NULL,
  applied_ms INTEGER NOT NULL
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step. `checksum` is the BLAKE2b-256 of `text` in UTF-8."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> bytes:
        return blake2b(self.text.encode(), digest_size=32).digest()


@cache
def known_migrations() -> tuple[Migration, ...]:
    """The steps of this program, numbered from 1 without a gap."""
    found = []
    for file in resources.files(__package__).iterdir():
        match = _FILE_NAME.fullmatch(file.name)
        if match:
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    found.sort(key=lambda step: step.number)
    assert [step.number for step in found] == list(range(1, len(found) + 1))
    return tuple(found)


def migrate(
    conn: Conn,
    path: Path,
    applied_ms: int,
    steps: tuple[Migration, ...] | None = None,
    contentless_delete: bool = True,
) -> int:
    """Bring the schema up to date; the number of steps that were applied.

    `path` is for messages, `applied_ms` for the history. `contentless_delete` is False where
    SQLite is older than 3.43: full text then keeps its texts, and means the same.

    Raises: NewerStoreError, ForeignSchemaError; then nothing was changed.
    """
    steps = known_migrations() if steps is None else steps
    conn.execute(_HISTORY)
    applied = conn.execute("SELECT number, checksum FROM migrations ORDER BY number").fetchall()
    if len(applied) > len(steps):
        raise NewerStoreError(path, len(applied), len(steps))
    for (number, checksum), step in zip(applied, steps, strict=False):
        if (number, checksum) != (step.number, step.checksum):
            raise ForeignSchemaError(path, step.number)
    for step in steps[len(applied) :]:
        _apply(conn, step, applied_ms, contentless_delete)
    return len(steps) - len(applied)


def _apply(conn: Conn, step: Migration, applied_ms: int, contentless_delete: bool) -> None:
    conn.execute("BEGIN IMMEDIATE")
    try:
        for statement in _statements(step.text):
            if not contentless_delete:
                statement = statement.replace("content = '', contentless_delete = 1, ", "")
            conn.execute(statement)
        conn.execute(
            "INSERT INTO migrations (number, name, checksum, applied_ms) VALUES (?, ?, ?, ?)",
            (step.number, step.name, step.checksum, applied_ms),
        )
        conn.execute("COMMIT")
    except BaseException:
        conn.execute("ROLLBACK")
        raise


def _statements(text: str) -> list[str]:
    """Split a script: `executescript` of the library would commit behind our back."""
    statements, current = [], ""
    for line in text.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            statements.append(current)
            current = ""
    assert not current.strip(), "a migration ends with a semicolon"
    return statements
