"""What `covey.node.api.Collection` does with vectors."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...sync.values import Vector

if TYPE_CHECKING:
    from ..engine import Engine
    from .vectors import Nearest


class CollectionVectors:
    """The part of a collection that is about vectors."""

    _engine: "Engine"
    database: str
    name: str

    async def vectors(self, field: str, *, model: str, version: str, dimension: int) -> None:
        """Declare that `field` holds embeddings of a model (`covey.embedding`), and follow them.

        It is remembered on this device. The model declared last is the one that `nearest` means.
        Raises BadValueError, also for a model that was declared with another dimension;
        StorageError.
        """
        await self._engine.vectors.declare(
            self.database, self.name, field, model, version, dimension
        )

    async def nearest(
        self,
        what: str | Vector | Sequence[float],
        *,
        field: str | None = None,
        k: int = 10,
        where: Mapping[str, Any] | None = None,
        model: str | None = None,
        version: str | None = None,
    ) -> "Nearest":
        """The `k` records whose embedding is nearest to a vector, or to that of the record with the
        id `what`; of those only whose fields equal `where`.

        Without `field` the one that is declared. The answer says how many records were left out.
        Raises MissingVectorsError without the extra; NotDeclaredError, NoVectorError,
        BadValueError, StorageError.
        """
        return await self._engine.vectors.nearest(
            self.database,
            self.name,
            what,
            field=field,
            k=k,
            where=where,
            model=model,
            version=version,
        )
