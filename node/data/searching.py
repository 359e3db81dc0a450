"""Searching: records of a database by their words, the best first, with the piece that shows why.

Of what matches, the newest are ranked (`ranking.py`), at most `CANDIDATES_MAX` records and
`CHARACTERS_MAX` of their texts: the work is bounded however common a word is and however long texts
are. A text that the index has yet to take is scored like any other, from the record itself; how
rare a word is comes from the index and those texts together. Reading and ranking are one job of the
store; other reads wait for it, writes do not.
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...storage import finding, text_rows
from ...storage.store import Conn
from ...sync.errors import BadValueError
from ...sync.values import from_json
from ..projection import search_text
from ..reader import Found, found_of
from ..record_requests import check_place
from .asking import LIMIT_MAX
from .ranking import COUNTED_MAX, Snippet, score, wanted

if TYPE_CHECKING:
    from ..engine import Engine

CANDIDATES_MAX = 500
CHARACTERS_MAX = 4_000_000
"""Some 0.5 s of work; a record has at most `SEARCH_CHARACTERS_MAX`."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A record, how well it answers (only good for comparing), and a piece of its text."""

    record: Found
    score: float
    snippet: Snippet


async def search(
    engine: "Engine", database: str, text: str, *, collection: str | None = None, limit: int = 20
) -> list[Hit]:
    """Records with all the words and "phrases" of `text`; the last word may be a beginning.

    Of equal ones the newer comes first. Raises BadValueError, StorageError.
    """
    check_place(database, collection)
    if type(text) is not str:
        raise BadValueError("text: words were expected")
    if type(limit) is not int or not 0 <= limit <= LIMIT_MAX:
        raise BadValueError(f"limit: a number from 0 to {LIMIT_MAX} was expected")
    return await engine.database.read(lambda conn: _search(conn, database, text, collection, limit))


def _search(conn: Conn, database: str, text: str, collection: str | None, limit: int) -> list[Hit]:
    query = finding.Query(text=text, limit=CANDIDATES_MAX)
    rows = finding.find(conn, database, collection, query).records
    if not rows:
        return []
    typed = text_rows.typed_parts(text)
    counts = text_rows.occurrences(conn, typed, COUNTED_MAX)
    parts = [wanted(part, count) for part, count in zip(typed, counts, strict=True)]
    hits, left = [], CHARACTERS_MAX
    for row in rows:
        shown = search_text(from_json(json.loads(row.value)))
        left -= len(shown)
        if left < 0:
            break
        points, snippet = score(shown, parts)
        hits.append(Hit(found_of(row), points, snippet))
    hits.sort(key=lambda hit: -hit.score)
    return hits[:limit]
