"""Link methods: what the command line and the local API ask of links between records."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ...storage.link_text import Target
from ...sync.values import to_json
from ..demand_methods import NotFoundError
from ..parameters import Json, UsageError, text
from .linking import DEPTH_MAX, RECORDS_MAX, Reached

if TYPE_CHECKING:
    from ..engine import Engine

DEPTH_DEFAULT = 1
LIMIT_DEFAULT = 100


class LinkMethods:
    """The methods of one open node that are about links."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def table(self) -> dict[str, Callable[[Json], Awaitable[Any]]]:
        return {
            "links": self.show,
            "link_fields": self.fields,
            "link_declare": self.declare,
            "link_undeclare": self.undeclare,
        }

    async def show(self, params: Json) -> Json:
        """`{"links": [{"database", "collection", "id", "depth", "type", "from", "record"}],
        "complete"}`; `record` is null where a link leads to none. The start is not among them.
        """
        start = Target(text(params, "database"), text(params, "collection"), text(params, "id"))
        walk = await self._engine.linking.walk(
            start,
            links=_types(params),
            depth=_number(params, "depth", DEPTH_DEFAULT, DEPTH_MAX),
            limit=_number(params, "limit", LIMIT_DEFAULT, RECORDS_MAX),
            back=bool(params.get("back")),
        )
        if walk.reached[0].value is None and len(walk.reached) == 1:
            raise NotFoundError(f"no record {start.collection}/{start.id} in {start.database}")
        return {"links": [_row(one) for one in walk.reached[1:]], "complete": walk.complete}

    async def fields(self, _: Json) -> Json:
        """`{"fields": [{"database", "collection", "field", "to_database", "to_collection"}]}`."""
        return {
            "fields": [
                {
                    "database": one.database,
                    "collection": one.collection,
                    "field": one.field,
                    "to_database": one.to.database,
                    "to_collection": one.to.collection,
                }
                for one in await self._engine.linking.declared()
            ]
        }

    async def declare(self, params: Json) -> Json:
        place = _field(params)
        to_database = text(params, "to_database") if params.get("to_database") else place[0]
        to = text(params, "to_collection")
        return {"declared": await self._engine.linking.declare(*place, to, to_database)}

    async def undeclare(self, params: Json) -> Json:
        place = _field(params)
        if not await self._engine.linking.undeclare(*place):
            raise NotFoundError(
                f"{place[0]}/{place[1]}: {place[2]!r} is not declared: `covey link list` shows"
                " what is"
            )
        return {"declared": False}


def _row(one: Reached) -> Json:
    source = one.source
    return {
        **one.target._asdict(),
        "depth": one.depth,
        "type": one.type,
        "from": None if source is None else source._asdict(),
        "record": None if one.value is None else to_json(one.value),
    }


def _field(params: Json) -> tuple[str, str, str]:
    return text(params, "database"), text(params, "collection"), text(params, "field")


def _types(params: Json) -> list[str] | None:
    types = params.get("types")
    if types is None or (isinstance(types, list) and all(isinstance(one, str) for one in types)):
        return types or None
    raise UsageError("types: an array of texts was expected")


def _number(params: Json, name: str, default: int, most: int) -> int:
    value = params.get(name)
    value = default if value is None else value
    if type(value) is not int or not 0 < value <= most:
        raise UsageError(f"{name}: a number from 1 to {most:,} was expected")
    return value
