"""Declaring: what a schema says of a collection, told to the parts that are made from records.

Indexes, vectors, links and the age of records know nothing of schemas. What stands in several
versions of one is declared again each time, which changes nothing.
"""

from typing import TYPE_CHECKING

from ...sync.errors import BadValueError
from .definition import CollectionSchema, days_of
from .lifecycle import COLD_DAYS, DAYS_MAX, WARM_DAYS

if TYPE_CHECKING:
    from ..engine import Engine

_TIER_DAYS = {
    None: (WARM_DAYS, COLD_DAYS),
    "hot": (DAYS_MAX, DAYS_MAX),
    "warm": (0, COLD_DAYS),
    "cold": (0, 0),
}
"""After how many days the document of a record becomes warm, and cold."""


class Declaring:
    """Tells the parts of one engine what its schemas say."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def installed(self, database: str, collection: str, said: CollectionSchema) -> None:
        """Raises BadValueError, StorageError."""
        engine = self._engine
        await self._vectors(database, collection, said)
        for fields in said.indexes:
            # An application starts with this, and its queries do not wait for an index either.
            await engine.queries.declare(database, collection, fields, filled=False)
        for field, to in said.links.items():
            await engine.linking.declare(database, collection, field, to)
        if said.expires is not None or said.tier is not None:
            days = None if said.expires is None else days_of(said.expires)
            warm, cold = _TIER_DAYS[said.tier]
            await engine.lifecycle.declare(
                database,
                collection,
                expires_field=said.expires if days is None else None,
                keep_days=days,
                warm_days=warm,
                cold_days=cold,
            )

    async def _vectors(self, database: str, collection: str, said: CollectionSchema) -> None:
        """First of all, and all or none: an application may have declared a model otherwise."""
        vectors, done = self._engine.vectors, list[tuple[str, str, str, str, str]]()
        for field, model in said.vectors.items():
            names = (database, collection, field, model.model, model.version)
            try:
                await vectors.declare(*names, model.dimension)
            except BadValueError:
                for each in done:
                    await vectors.forget(*each)
                raise
            done.append(names)

    async def removed(self, database: str, collection: str, said: CollectionSchema) -> None:
        """Raises StorageError."""
        engine = self._engine
        for fields in said.indexes:
            await engine.queries.drop(database, collection, fields)
        for field, model in said.vectors.items():
            names = (database, collection, field, model.model, model.version)
            await engine.vectors.forget(*names)
        for field in said.links:
            await engine.linking.undeclare(database, collection, field)
        if said.expires is not None or said.tier is not None:
            await engine.lifecycle.withdraw(database, collection)
