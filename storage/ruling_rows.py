"""Ruling rows: what authors have ruled on forked logs of theirs, as functions inside a job.

One row for each log. Whether a ruling was signed by the author of the log is the caller's to check;
how many are kept, and which one counts, follows from the rows alone (`covey.sync.rulings`).
"""

from typing import NamedTuple

from ..sync.rulings import Ruling, decode_ruling, encode_ruling, room_for
from .store import Conn


class KeptRuling(NamedTuple):
    ruling: Ruling
    followed: int
    """How often a branch was taken out of the log because of a ruling on it."""


def rulings(conn: Conn) -> list[KeptRuling]:
    """All rulings that are kept, in order of scope and instance."""
    rows = conn.execute("SELECT ruling, followed FROM rulings ORDER BY scope, instance")
    return [KeptRuling(decode_ruling(bytes(row[0])), row[1]) for row in rows.fetchall()]


def keep_ruling(conn: Conn, ruling: Ruling) -> bool:
    """Keep a ruling if it counts and there is room; those that it replaces go."""
    goes = room_for((kept.ruling for kept in rulings(conn)), ruling)
    if goes is None:
        return False
    for one in goes:
        if one.name != ruling.name:
            conn.execute("DELETE FROM rulings WHERE scope = ? AND instance = ?", one.name)
    conn.execute(
        "INSERT INTO rulings (scope, instance, ruling) VALUES (?, ?, ?)"
        " ON CONFLICT (scope, instance) DO UPDATE SET ruling = excluded.ruling",
        (*ruling.name, encode_ruling(ruling)),
    )
    return True


def next_number(conn: Conn, author: bytes) -> int:
    """A number greater than that of every ruling of an author that is known here."""
    numbers = [kept.ruling.number for kept in rulings(conn) if kept.ruling.author == author]
    return max(numbers, default=0) + 1


def follow_ruling(conn: Conn, scope: bytes, instance: bytes) -> None:
    """A branch was taken out of this log because of the ruling on it."""
    conn.execute(
        "UPDATE rulings SET followed = followed + 1 WHERE scope = ? AND instance = ?",
        (scope, instance),
    )
