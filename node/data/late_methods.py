"""Late methods: those of the service whose modules are loaded when one of them is called.

A command opens the home, calls one method and ends, and most of its time goes into loading modules.
So their names are known here, and the rest is loaded by whoever needs it.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..parameters import Json

if TYPE_CHECKING:
    from ..engine import Engine

TABLES: dict[tuple[str, str], tuple[str, ...]] = {
    ("query_methods", "QueryMethods"): (
        *("find", "find_explain", "search"),
        *("indexes", "index_create", "index_drop", "index_advise"),
    ),
    ("past_methods", "PastMethods"): ("get_at", "history"),
    ("storage_methods", "StorageMethods"): ("storage", "storage_keep", "storage_tidy"),
    ("personal", "PersonalMethods"): ("erase", "erasures"),
    ("vector_methods", "VectorMethods"): (
        *("similar", "vectors", "vectors_declare", "vectors_forget"),
    ),
    ("link_methods", "LinkMethods"): ("links", "link_fields", "link_declare", "link_undeclare"),
    ("view_methods", "ViewMethods"): ("views", "view_drop"),
    ("analytics_methods", "AnalyticsMethods"): ("sql",),
    ("cache_methods", "CacheMethods"): ("cache_stats", "cache_clear"),
}
"""Module and class -> the methods of its `table`."""


def late_methods(engine: "Engine") -> dict[str, Callable[[Json], Awaitable[Any]]]:
    """All of them by name."""
    return {
        method: partial(_call, engine, place, method)
        for place, methods in TABLES.items()
        for method in methods
    }


async def _call(engine: "Engine", place: tuple[str, str], method: str, params: Json) -> Any:
    module, name = place
    # The classes hold nothing from call to call.
    methods = getattr(import_module(f".{module}", __package__), name)(engine)
    return await methods.table()[method](params)
