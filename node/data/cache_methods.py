"""Cache methods: what the command line and the local API ask of caches."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ..parameters import Json, text

if TYPE_CHECKING:
    from ..engine import Engine


class CacheMethods:
    """The methods of one open node that are about caches."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def table(self) -> dict[str, Callable[[Json], Awaitable[Any]]]:
        return {"cache_stats": self.stats, "cache_clear": self.clear}

    async def stats(self, _: Json) -> Json:
        """See `Caches.stats`."""
        return await self._engine.caches.stats()

    async def clear(self, params: Json) -> Json:
        """Throw away one cache, or all and their files: `{"name", "values"}`, null for all."""
        if params.get("name") is None:
            await self._engine.caches.clear_all()
            return {"name": None, "values": None}
        name = text(params, "name")
        return {"name": name, "values": await self._engine.caches.clear(name)}
