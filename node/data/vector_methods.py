"""Vector methods: what the command line and the local API do with vectors."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ...storage import vector_rows
from ...sync.errors import BadValueError
from ...sync.values import from_json
from ..parameters import Json, UsageError, text
from .nearness import require_numpy
from .vectors import FOUND_MAX

if TYPE_CHECKING:
    from ..engine import Engine

FOUND_DEFAULT = 10


class VectorMethods:
    """The methods of one open node that are about vectors."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def table(self) -> dict[str, Callable[[Json], Awaitable[Any]]]:
        return {
            "similar": self.similar,
            "vectors": self.show,
            "vectors_declare": self.declare,
            "vectors_forget": self.forget,
        }

    async def similar(self, params: Json) -> Json:
        """`{"records": [{"id", "score", …}], "left_out": [{"count", "why"}], "field", "model",
        "version", "exact"}`, the nearest first; to the record `id`, or to `vector`.
        """
        where = params.get("where") or {}
        if not isinstance(where, dict):
            raise UsageError("where: an object of field and value was expected")
        vector = params.get("vector")
        if vector is not None and params.get("id") is not None:
            raise UsageError("an id or a vector was expected, not both")
        limit = params.get("limit")
        limit = FOUND_DEFAULT if limit is None else limit
        if type(limit) is not int or not 0 < limit <= FOUND_MAX:
            raise UsageError(f"limit: a number from 1 to {FOUND_MAX} was expected")
        require_numpy()
        found = await self._engine.vectors.nearest(
            text(params, "database"),
            text(params, "collection"),
            text(params, "id") if vector is None else _vector(vector),
            field=_optional(params, "field"),
            k=limit,
            where=from_json(where),
            model=_optional(params, "model"),
            version=_optional(params, "version"),
        )
        return {
            "records": [{"id": hit.id, "score": hit.score, "record": hit.value} for hit in found],
            "left_out": [{"count": left.count, "why": left.why} for left in found.left_out],
            "field": found.field,
            "model": found.model,
            "version": found.version,
            "exact": found.is_exact,
        }

    async def show(self, params: Json) -> Json:
        """`{"fields": [{"database", "collection", "field", "model", "version", "dimension"}]}`."""
        database = _optional(params, "database")
        found = await self._engine.database.read(lambda conn: vector_rows.declared(conn, database))
        return {"fields": [_row(one) for one in found]}

    async def declare(self, params: Json) -> Json:
        """The row of `show` for a field that is declared now."""
        dimension = params.get("dimension")
        if type(dimension) is not int:
            raise UsageError("dimension: a number was expected")
        return _row(await self._engine.vectors.declare(*_names(params), dimension))

    async def forget(self, params: Json) -> Json:
        """`{"forgotten"}`: whether there was such a declaration."""
        return {"forgotten": await self._engine.vectors.forget(*_names(params))}


def _names(params: Json) -> tuple[str, str, str, str, str]:
    return (
        text(params, "database"),
        text(params, "collection"),
        text(params, "field"),
        text(params, "model"),
        text(params, "version"),
    )


def _row(declared: vector_rows.Declared) -> Json:
    row = declared._asdict()
    return {name: row[name] for name in vector_rows.Declared._fields[1:7]}


def _optional(params: Json, name: str) -> str | None:
    return None if params.get(name) is None else text(params, name)


def _vector(value: Any) -> Any:
    """A list of numbers, or a vector in tagged form. Raises UsageError, BadValueError."""
    found = from_json(value)
    if isinstance(found, dict | str | bool | int | float) or found is None:
        raise BadValueError("vector: a list of numbers was expected")
    return found
