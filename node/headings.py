"""Heading numbers: what consecutive entries share is stored once, under a number.

Known numbers are kept in memory. A number that a transaction makes is learned only after that
transaction is durable, so a failed commit leaves no number behind that the store does not have.
"""

from ..storage import log_rows
from ..storage.store import Conn

HeadingKey = tuple[int, bytes, tuple[bytes, ...]]
"""Kind, key id, membership heads (ascending)."""

KNOWN_MAX = 4096


class HeadingNumbers:
    def __init__(self) -> None:
        self._known: dict[HeadingKey, int] = {}

    def number(self, conn: Conn, made: dict[HeadingKey, int], key: HeadingKey) -> int:
        """The number of a heading, inside a job. New ones are added to `made`."""
        number = self._known.get(key) or made.get(key)
        if number is None:
            kind, key_id, heads = key
            number = log_rows.ensure_heading(conn, kind, key_id, b"".join(heads))
            made[key] = number
        return number

    def learn(self, made: dict[HeadingKey, int]) -> None:
        """The transaction that made these is durable."""
        if len(self._known) + len(made) > KNOWN_MAX:
            self._known.clear()
        self._known.update(made)
