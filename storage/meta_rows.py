"""Meta rows: single values of a store under a name, as functions inside a job.

For what is one per store: the instance id, the device's keys, format marks. Values are bytes.
"""

from .store import Conn


def get_meta(conn: Conn, key: str) -> bytes | None:
    """The value under a name, or None."""
    row = conn.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else bytes(row[0])


def set_meta(conn: Conn, key: str, value: bytes) -> None:
    """Set the value under a name."""
    conn.execute(
        "INSERT INTO meta (key, value) VALUES (?, ?)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, value),
    )


def delete_meta(conn: Conn, key: str) -> None:
    """Forget the value under a name, if there is one."""
    conn.execute("DELETE FROM meta WHERE key = ?", (key,))
