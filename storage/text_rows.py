"""Text rows: full-text search over records, exact at every moment and cheap to write.

Adding one text to the index by itself costs as much as all the rest of a small commit (measured:
5 of 11 pages, 120 of 250 us), mostly for the bookkeeping of the index. So a few texts
stand in `text_pending` until `PENDING_MAX` of them go into the index together, in the transaction
of the write that makes them too many. A search looks at both: the pending texts are put into a
small index in memory, of the same kind, so that one rule says what matches.

A change of many records at once goes straight into the index.

What a person types is never a query language: `match_expression` quotes every word. Words must
all occur, in any order; "quoted words" must occur in that order; the last word may be a beginning.
"""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from .bulk import execute_rows
from .store import Conn

PENDING_MAX = 64
DIRECT_MIN = 32
"""From this many texts on, they go into the index at once."""
WORDS_MAX = 32
TEXT_CHARACTERS_MAX = 1024

_PARTS = re.compile(r'"([^"]*)"?|([^\s"]+)')
_TOKEN_CHARACTER = re.compile(r"\w")


class Typed(NamedTuple):
    """A word or a phrase. `begins`: a word that begins with it is one too."""

    text: str
    begins: bool

    @property
    def expression(self) -> str:
        return f'"{self.text}"' + ("*" if self.begins else "")


def add_texts(conn: Conn, rows: Sequence[tuple[int, str]]) -> None:
    """Make new records searchable: (record_no, text). The numbers are not in the index."""
    if len(rows) >= DIRECT_MIN:
        _insert(conn, rows)
    else:
        execute_rows(
            conn,
            "INSERT INTO text_pending (record_no, indexed, body)",
            3,
            [(record_no, 0, text) for record_no, text in rows],
        )
        _flush_if_many(conn)


def change_texts(conn: Conn, rows: Sequence[tuple[int, str | None]]) -> None:
    """Replace the texts of records that have been added before; None removes."""
    if len(rows) >= DIRECT_MIN:
        remove_texts(conn, [record_no for record_no, _ in rows])
        _insert(conn, [(record_no, text) for record_no, text in rows if text is not None])
    else:
        execute_rows(
            conn,
            "INSERT INTO text_pending (record_no, indexed, body)",
            3,
            [(record_no, 1, text) for record_no, text in rows],
            "ON CONFLICT (record_no) DO UPDATE SET body = excluded.body",
        )
        _flush_if_many(conn)


def remove_texts(conn: Conn, record_numbers: Sequence[int]) -> None:
    """Make records unfindable by text, whether or not they were findable."""
    flush_texts(conn)
    conn.execute(
        "DELETE FROM record_text WHERE rowid IN (SELECT value FROM json_each(?))",
        (json.dumps(list(record_numbers)),),
    )


def flush_texts(conn: Conn) -> None:
    """Move all pending texts into the index."""
    conn.execute(
        "DELETE FROM record_text"
        " WHERE rowid IN (SELECT record_no FROM text_pending WHERE indexed = 1)"
    )
    conn.execute(
        "INSERT INTO record_text (rowid, body)"
        " SELECT record_no, body FROM text_pending WHERE body IS NOT NULL ORDER BY record_no"
    )
    conn.execute("DELETE FROM text_pending")


def stage_pending(conn: Conn) -> bool:
    """Put the pending texts where `temp.fresh_text` can be searched, on this connection.

    False if there are none; then there may be no such table.
    """
    if conn.execute("SELECT 1 FROM text_pending LIMIT 1").fetchone() is None:
        return False
    conn.execute(
        "CREATE VIRTUAL TABLE IF NOT EXISTS temp.fresh_text"
        " USING fts5 (body, tokenize = 'unicode61 remove_diacritics 2')"
    )
    conn.execute("DELETE FROM temp.fresh_text")
    conn.execute(
        "INSERT INTO temp.fresh_text (rowid, body)"
        " SELECT record_no, body FROM main.text_pending WHERE body IS NOT NULL"
    )
    return True


def match_expression(text: str) -> str | None:
    """The query of the index that finds what a person typed, or None if it has no word.

    Only the first 32 words and 1,024 characters count.
    """
    parts = typed_parts(text)
    return " ".join(part.expression for part in parts) if parts else None


def typed_parts(text: str) -> list[Typed]:
    """The words and phrases that a person typed, of which all must occur; as `match_expression`."""
    typed = text[:TEXT_CHARACTERS_MAX].replace("\0", " ").encode("utf-8", "replace").decode()
    found = [
        (phrase or word, bool(word))
        for phrase, word in _PARTS.findall(typed)
        if _TOKEN_CHARACTER.search(phrase or word)
    ][:WORDS_MAX]
    last = len(found) - 1
    return [Typed(part, is_word and at == last) for at, (part, is_word) in enumerate(found)]


def occurrences(conn: Conn, parts: Sequence[Typed], at_most: int) -> list[int]:
    """In how many records each part occurs, counted up to `at_most`.

    Those whose text is pending are counted by that text, not by what the index has of them.
    """
    sides = [
        "SELECT 1 FROM record_text WHERE record_text MATCH ?"
        " AND rowid NOT IN (SELECT record_no FROM text_pending)"
    ]
    if stage_pending(conn):
        sides.append("SELECT 1 FROM temp.fresh_text WHERE fresh_text MATCH ?")
    query = f"SELECT count(*) FROM ({' UNION ALL '.join(sides)} LIMIT ?)"
    found = []
    for part in parts:
        (count,) = conn.execute(query, [*(part.expression for _ in sides), at_most]).fetchone()
        found.append(int(count))
    return found


def _insert(conn: Conn, rows: Sequence[tuple[int, str]]) -> None:
    execute_rows(conn, "INSERT INTO record_text (rowid, body)", 2, rows)


def _flush_if_many(conn: Conn) -> None:
    (count,) = conn.execute("SELECT count(*) FROM text_pending").fetchone()
    if count > PENDING_MAX:
        flush_texts(conn)
