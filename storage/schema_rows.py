"""Schema rows: the schemas that this device has installed, and their history, inside a job.

A row says to which version the records were brought here, how far the feed of changes was looked
at since, and which step is under way. History is only added to; it outlives the schema.
"""

from typing import NamedTuple

from .store import Conn

HISTORY_MAX = 10_000
"""Of one schema; the oldest go first."""


class Installed(NamedTuple):
    """One schema. `definition` and `running` are JSON."""

    name: str
    definition: str
    at_version: int
    change_no: int
    running: str | None
    installed_ms: int


class Done(NamedTuple):
    """One line of history. `detail` is JSON."""

    time_ms: int
    name: str
    action: str
    detail: str


def installed(conn: Conn) -> list[Installed]:
    """All that is installed, by name."""
    rows = conn.execute(
        "SELECT name, definition, at_version, change_no, running, installed_ms FROM schemas"
        " ORDER BY name"
    )
    return [Installed(*row) for row in rows.fetchall()]


def get(conn: Conn, name: str) -> Installed | None:
    """One schema, or None."""
    return next((row for row in installed(conn) if row.name == name), None)


def put(conn: Conn, row: Installed) -> None:
    """Install a schema, or replace all that is known of it."""
    conn.execute("INSERT OR REPLACE INTO schemas VALUES (?, ?, ?, ?, ?, ?)", tuple(row))


def remove(conn: Conn, name: str) -> None:
    """Forget a schema; its history stays."""
    conn.execute("DELETE FROM schemas WHERE name = ?", (name,))


def add_history(conn: Conn, done: Done) -> None:
    """Note what was done."""
    conn.execute(
        "INSERT INTO schema_history (time_ms, name, action, detail) VALUES (?, ?, ?, ?)",
        tuple(done),
    )
    conn.execute(
        "DELETE FROM schema_history WHERE name = ? AND history_no <= (SELECT history_no FROM"
        " schema_history WHERE name = ? ORDER BY history_no DESC LIMIT 1 OFFSET ?)",
        (done.name, done.name, HISTORY_MAX),
    )


def history(conn: Conn, name: str | None, limit: int) -> list[Done]:
    """What was done with a schema, or with all, the newest first."""
    rows = conn.execute(
        "SELECT time_ms, name, action, detail FROM schema_history WHERE ? IS NULL OR name = ?"
        " ORDER BY history_no DESC LIMIT ?",
        (name, name, limit),
    )
    return [Done(*row) for row in rows.fetchall()]
