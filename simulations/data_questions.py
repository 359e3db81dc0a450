"""Data questions: what an application asks of the data layer, and the answer in a plain form.

A question is an object of a plan; `ask` says which it is:

- `find`: records of `collection` that pass `where`, in `order`, `page` at a time to the end.
- `words`: records of the database, or of `collection`, with the words of `text`.
- `view`: the rows of a view of a version, and what it had to skip.
- `walk`: what a record is linked to, or (`back`) what links to it, to a depth.
- `near`: the `k` records nearest to a `vector`, of those that pass `where`.

`checkers/data_model.py` answers them as well, by walking through all records.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from ..node.api import Node
from ..node.data.asking import Query
from ..node.data.searching import search
from ..node.data.views import View
from ..storage.link_text import Target
from .data_log import Question
from .data_shapes import FIELD, MODEL, VIEWS

PAGES_MAX = 200
"""More pages than a run has records: a cursor that goes round in a circle is cut off here."""
ROWS_MAX = 10_000

Registered = Callable[[str, int, str, str], View]
"""The view of a name and version over a collection, as this process of the node has it."""


async def ask(node: Node, database: str, question: Question, registered: Registered) -> Any:
    """The answer, in the form of `data_model.expected`. Raises what the node raises."""
    if question["ask"] == "view":
        names = question["name"], question["version"], database, question["collection"]
        return await _view(registered(*names))
    return await _ASK[question["ask"]](node, database, question)


async def _find(node: Node, database: str, question: Question) -> Any:
    found, after = [], None
    for _ in range(PAGES_MAX):
        query = Query(
            question["where"],
            question.get("text"),
            question.get("order"),
            limit=question["page"],
            after=after,
        )
        page = await node.engine.queries.page(database, question["collection"], query)
        found += [(record.id, record.privacy, record.bucket) for record in page.records]
        after = page.next
        if after is None:
            break
    return found


async def _words(node: Node, database: str, question: Question) -> Any:
    hits = await search(
        node.engine,
        database,
        question["text"],
        collection=question.get("collection"),
        limit=ROWS_MAX,
    )
    return sorted((hit.record.collection, hit.record.id, hit.record.privacy) for hit in hits)


async def _view(view: View) -> Any:
    rows = await view.rows(limit=ROWS_MAX)
    skipped = await view.skipped(ROWS_MAX)
    return {
        "rows": [(row.key, row.value, row.id) for row in rows],
        "skipped": [tuple(one) for one in skipped],
        "digest": await view.digest(),
    }


async def _walk(node: Node, database: str, question: Question) -> Any:
    walk = await node.engine.linking.walk(
        Target(database, question["collection"], question["id"]),
        depth=question["depth"],
        back=question["back"],
        limit=ROWS_MAX,
    )
    return sorted((*one.target, one.depth, one.value is not None) for one in walk.reached)


async def _near(node: Node, database: str, question: Question) -> Any:
    found = await node.engine.vectors.nearest(
        database,
        question["collection"],
        question["vector"],
        field=FIELD,
        k=question["k"],
        where=question["where"],
        model=MODEL,
        version=question["version"],
    )
    return [(hit.id, hit.score) for hit in found]


_ASK: dict[str, Callable[[Node, str, Question], Awaitable[Any]]] = {
    "find": _find,
    "words": _words,
    "walk": _walk,
    "near": _near,
}
ASKED = (*_ASK, "view")


def view_function(name: str, version: int) -> Callable[[str, dict[str, Any]], Any]:
    """What a view of a version makes of a record."""
    return VIEWS[name][version - 1]
