"""Analytics methods: what the command line and the local API ask by SQL."""

from base64 import b64encode
from collections.abc import Awaitable, Callable
from datetime import datetime
from math import isfinite
from typing import TYPE_CHECKING, Any

from ..parameters import ROWS_DEFAULT, Json, UsageError, text

if TYPE_CHECKING:
    from ..engine import Engine


class AnalyticsMethods:
    """The methods of one open node that are about SQL."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def table(self) -> dict[str, Callable[[Json], Awaitable[Any]]]:
        return {"sql": self.sql}

    async def sql(self, params: Json) -> Json:
        """`{"columns": [name, …], "rows": [[value, …], …], "whole"}`. Values are JSON: times as ISO
        8601, bytes in base64, what JSON has no form for as text, numbers that are none as null.
        """
        limit = params.get("limit")
        limit = ROWS_DEFAULT if limit is None else limit
        query, parameters = text(params, "query"), _parameters(params.get("parameters"))
        answer = await self._engine.analytics.ask(query, parameters, limit=limit)
        return {
            "columns": answer.columns,
            "rows": [[as_json(value) for value in row] for row in answer.rows],
            "whole": answer.is_whole,
        }


def _parameters(given: Any) -> list[Any] | dict[str, Any]:
    given = [] if given is None else given
    if not isinstance(given, list | dict):
        raise UsageError("parameters: a list of values, or an object of them by name, was expected")
    for value in given.values() if isinstance(given, dict) else given:
        if not isinstance(value, str | int | float | None):
            raise UsageError("parameters: texts, numbers, true, false and null were expected")
    return given


def as_json(value: Any) -> Any:
    """A value of an answer as JSON has it."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if isfinite(value) else None
        case list() | tuple():
            return [as_json(item) for item in value]
        case dict():
            return {_key(key): as_json(item) for key, item in value.items()}
        case datetime():
            return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case bytes():
            return b64encode(value).decode()
        case _:
            return str(value)


def _key(key: Any) -> str:
    shown = as_json(key)
    return shown if isinstance(shown, str) else str(shown)
