"""View methods: what the command line and the local API ask of views.

Their functions are in an application, so they are read there. Here they are only listed, and
removed if their application is gone.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ..demand_methods import NotFoundError
from ..parameters import Json, text

if TYPE_CHECKING:
    from ..engine import Engine


class ViewMethods:
    """The methods of one open node that are about views."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def table(self) -> dict[str, Callable[[Json], Awaitable[Any]]]:
        return {"views": self.show, "view_drop": self.drop}

    async def show(self, _: Json) -> Json:
        """`{"views": [{"name", "version", "database", "collection", "rows", "skipped", "behind"},
        …]}`. `behind` is how many changes of any record a view has not looked at yet.
        """
        return {
            "views": [
                {
                    "name": stored.name,
                    "version": stored.version,
                    "database": stored.database,
                    "collection": stored.collection,
                    "rows": rows,
                    "skipped": skipped,
                    "behind": behind,
                }
                for stored, rows, skipped, behind in await self._engine.views.stored()
            ]
        }

    async def drop(self, params: Json) -> Json:
        name = text(params, "name")
        if not await self._engine.views.drop(name):
            raise NotFoundError(f"no view {name!r}: `covey views` shows those there are")
        return {"name": name, "dropped": True}
