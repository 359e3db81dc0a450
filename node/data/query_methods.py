"""Query methods: what the command line and the local API ask of collections and their indexes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ...sync.values import from_json
from ..parameters import Json, UsageError, limit, text
from ..reader import Found
from .asking import Query
from .live import Live
from .past_finding import PastFinding
from .past_methods import time
from .searching import search

if TYPE_CHECKING:
    from ..engine import Engine


class QueryMethods:
    """The methods of one open node that are about queries."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def table(self) -> dict[str, Callable[[Json], Awaitable[Any]]]:
        return {
            "find": self.find,
            "find_explain": self.explain,
            "search": self.search,
            "indexes": self.indexes,
            "index_create": self.create,
            "index_drop": self.drop,
            "index_advise": self.advise,
        }

    async def find(self, params: Json) -> Json:
        """`{"records", "next"}`; `next` only if there is more.

        With `at`, of the records as they were then: `{"records", "erased"}`; `erased` is how many
        are left out as they have been erased since.
        """
        if params.get("at") is not None:
            finding = PastFinding(self._engine, *_place(params), time(params, "at"))
            then = await finding.find(_query(params))
            return {"records": [_row(found) for found in then.records], "erased": then.erased}
        page = await self._engine.queries.page(*_place(params), _query(params))
        rows = {"records": [_row(found) for found in page.records]}
        return rows if page.next is None else {**rows, "next": page.next}

    async def explain(self, params: Json) -> Json:
        """`{"index", "walks", "ordered", "late"}`: how `find` would go about it."""
        way = await self._engine.queries.explain(*_place(params), _query(params))
        walks = "words" if way.text else "index" if way.fields else "collection"
        index = list(way.fields) or None
        return {"index": index, "walks": walks, "ordered": way.ordered, "late": way.late}

    async def search(self, params: Json) -> Json:
        """`{"records": [{"collection", "id", "score", "snippet", "marks"}]}`, the best first."""
        database, words = text(params, "database"), text(params, "text")
        collection = None if params.get("collection") is None else text(params, "collection")
        hits = await search(
            self._engine, database, words, collection=collection, limit=limit(params)
        )
        return {
            "records": [
                {
                    "collection": hit.record.collection,
                    "id": hit.record.id,
                    "score": round(hit.score, 3),
                    "snippet": hit.snippet.text,
                    "marks": [list(mark) for mark in hit.snippet.marks],
                }
                for hit in hits
            ]
        }

    async def indexes(self, _: Json) -> Json:
        """`{"indexes", "cache"}`; `behind` is how many changes an index has still to take."""
        cache = self._engine.queries.cache
        return {
            "indexes": [
                {
                    "database": index.database,
                    "collection": index.collection,
                    "fields": list(index.fields),
                    "behind": behind,
                }
                for index, behind in await self._engine.queries.indexes()
            ],
            "cache": {"hits": cache.hits, "misses": cache.misses},
        }

    async def create(self, params: Json) -> Json:
        database, collection = _place(params)
        index = await self._engine.queries.declare(database, collection, _fields(params))
        return {"database": database, "collection": collection, "fields": list(index.fields)}

    async def drop(self, params: Json) -> Json:
        database, collection = _place(params)
        fields = _fields(params)
        dropped = await self._engine.queries.drop(database, collection, fields)
        if not dropped:
            raise NoIndexError(
                f"no index of {', '.join(fields)} on {database}/{collection}:"
                " `covey index list` shows those there are"
            )
        return {"database": database, "collection": collection, "fields": fields, "dropped": True}

    async def advise(self, _: Json) -> Json:
        return {
            "advice": [
                {
                    "database": one.database,
                    "collection": one.collection,
                    "fields": list(one.fields),
                    "walked": one.walked,
                    "asked": one.shape,
                }
                for one in await self._engine.queries.advice()
            ]
        }

    async def live(self, params: Json) -> AsyncIterator[Json]:
        """`{"op", "id", "record"}` for each record that is in the result, and for each that moves.

        `op` is `is` at first, then `enter`, `change` or `leave`.
        """
        query = _query(params)
        if query.after is not None:
            raise UsageError("after: a live query begins with its first page")
        first = True
        async with Live(self._engine, *_place(params), query) as live:
            async for moment in live:
                for record in moment.left:
                    yield {"op": "leave", "id": record.id}
                for record in moment.entered:
                    op = "is" if first else "enter"
                    yield {"op": op, "id": record.id, "record": record.value}
                for record in moment.changed:
                    yield {"op": "change", "id": record.id, "record": record.value}
                first = False


class NoIndexError(UsageError):
    """There is no such index. Nothing was done."""

    exit_code = 1


def _place(params: Json) -> tuple[str, str]:
    return text(params, "database"), text(params, "collection")


def _fields(params: Json) -> list[str]:
    fields = params.get("fields")
    if not isinstance(fields, list) or not all(isinstance(name, str) for name in fields):
        raise UsageError("fields: a list of names was expected")
    return fields


def _query(params: Json) -> Query:
    where = params.get("where") or {}
    if not isinstance(where, dict):
        raise UsageError("where: an object of fields and what is asked of them was expected")
    order = params.get("order")
    if order is not None and not isinstance(order, str | list):
        raise UsageError("order: a field, or a list of fields, was expected")
    return Query(
        from_json(where),
        params.get("text"),
        order or None,
        bool(params.get("descending")),
        limit(params),
        params.get("offset") or 0,
        params.get("after"),
    )


def _row(found: Found) -> Json:
    return {"id": found.id, **found.value}
