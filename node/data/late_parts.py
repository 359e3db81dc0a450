"""Late parts: those of an engine that are made, and their modules loaded, when they are asked for.

A command that opens a home, reads or writes a record and ends needs none of them, and most of its
time goes into loading modules. Whatever is made from the records catches up when it is made.
"""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, cast

from ...storage.store import Conn

if TYPE_CHECKING:
    from ..blobs import Beside
    from ..engine import Engine
    from .analytics import Analytics
    from .caches import Caches
    from .declaring import Declaring
    from .definition import CollectionSchema
    from .lifecycle import Lifecycle
    from .linking import Linking
    from .queries import Queries
    from .vectors import Vectors
    from .views import Views

# Each import below stands where it does for the reason that the head of this module gives.


class LateParts:
    """The late half of an engine."""

    beside: "Beside"
    fit_vectors: "Callable[[Vectors], None] | None" = None
    """What gives vectors what they have on this machine, once they are made."""
    fit_views: "Callable[[Views], None] | None" = None
    """The same for views."""
    fit_caches: "Callable[[Caches], None] | None" = None
    """The same for caches."""

    @property
    def _whole(self) -> "Engine":
        return cast("Engine", self)

    @cached_property
    def queries(self) -> "Queries":
        from .queries import Queries

        return Queries(self._whole)

    @cached_property
    def lifecycle(self) -> "Lifecycle":
        from .lifecycle import Lifecycle

        return Lifecycle(self._whole)

    @cached_property
    def linking(self) -> "Linking":
        from .linking import Linking

        return Linking(self._whole)

    @cached_property
    def views(self) -> "Views":
        from .views import Views

        made = Views(self._whole)
        if self.fit_views is not None:
            self.fit_views(made)
        return made

    @cached_property
    def vectors(self) -> "Vectors":
        from .vectors import Vectors

        made = Vectors(self._whole)
        if self.fit_vectors is not None:
            self.fit_vectors(made)
        return made

    @cached_property
    def analytics(self) -> "Analytics":
        from .analytics import Analytics

        return Analytics(self._whole, self.beside)

    @cached_property
    def caches(self) -> "Caches":
        from .caches import Caches

        made = Caches(self._whole, self.beside)
        if self.fit_caches is not None:
            self.fit_caches(made)
        return made

    @cached_property
    def declaring(self) -> "Declaring":
        from .declaring import Declaring

        return Declaring(self._whole)

    async def follow_vectors(self) -> None:
        """Follow the vectors that were declared before, if any were. Raises StorageError."""
        if await self._whole.database.read(_has_vectors):
            await self.vectors.start()

    async def schema_installed(
        self, database: str, collection: str, said: "CollectionSchema"
    ) -> None:
        """As `Declaring.installed`."""
        await self.declaring.installed(database, collection, said)

    async def schema_removed(
        self, database: str, collection: str, said: "CollectionSchema"
    ) -> None:
        """As `Declaring.removed`."""
        await self.declaring.removed(database, collection, said)

    async def close_late_parts(self) -> None:
        """Close those that were made."""
        if "vectors" in self.__dict__:
            await self.vectors.close()
        if "analytics" in self.__dict__:
            await self.analytics.close()
        if "caches" in self.__dict__:
            await self.caches.close()


def _has_vectors(conn: Conn) -> bool:
    from ...storage.vector_rows import declared

    return bool(declared(conn))
