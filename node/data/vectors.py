"""Vectors: search by meaning over embeddings that stand in records.

An application declares which field of which collection has embeddings of which model; from then on
that field is followed, also after a restart. A search compares embeddings of one model only, and
says how many records it had to leave out and why. Nothing here waits for another device, and
nothing goes over the network.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ... import CoveyError
from ...storage import record_rows, vector_queries, vector_rows
from ...storage.store import Conn
from ...storage.stores import StoreKind
from ...storage.vector_rows import Declared, Standing, judge
from ...sync.errors import BadValueError
from ...sync.limits import NAME_BYTES_MAX
from ...sync.values import Vector
from ..record_requests import check_name, check_place
from .asking import conditions
from .embedders import Embed, Embedders
from .embedding import check_dimension, check_model
from .following import Follower
from .nearness import Scored, Sought, require_numpy, unit_rows
from .vector_field import VectorField
from .vector_index import OpenIndex

if TYPE_CHECKING:
    from ..engine import Engine

FOUND_MAX = 1_000
INDEX_ROWS_MIN = 2_000
"""Fewer vectors are compared one by one in less time than an index takes to answer."""
LOOK_MS = 1_000
"""After a change. A search takes what is new before it answers."""
NAME_BYTES = 16


class NotDeclaredError(CoveyError):
    """No field with embeddings is declared there, or several are. Nothing was done."""

    exit_code = 1


class NoVectorError(CoveyError):
    """A record cannot be compared with others: it is not there, or has no vector of the model."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Near:
    """One record that was found. `score` is the cosine, from -1 to 1; `value` is in JSON form."""

    id: str
    score: float
    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Records that a search could not look at, and why."""

    count: int
    why: str


@dataclass(frozen=True, slots=True)
class Nearest:
    """What a search found, the nearest first. It iterates over its hits."""

    hits: tuple[Near, ...]
    left_out: tuple[LeftOut, ...]
    field: str
    model: str
    version: str
    is_exact: bool
    """Whether every vector was compared; else an index chose whom to compare."""
    index_failure: str = ""
    """The kind of error for which there is no index, so that every search is exact."""

    def __iter__(self) -> Iterator[Near]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)


_WHY = {
    Standing.OTHER_MODEL: "have an embedding of another model, and nothing is registered here to"
    " make one of this model (node.register_embedder)",
    Standing.NO_MODEL: "have an embedding that does not say its model",
    Standing.WRONG_DIMENSION: "have an embedding of another dimension than was declared",
    Standing.NOT_A_VECTOR: "have no vector in the field, or one with NaN or infinity in it",
    Standing.ZERO: "have an embedding that is zero everywhere",
    Standing.NOT_MADE: "could not be embedded by what is registered here",
}
_GIVEN_UP = (
    "have an embedding of another model, and what is registered here to make one of this model did"
    " not answer, so it is called no more"
)
_BEING_MADE = "have an embedding of another model, and one of this model is being made"


class Vectors:
    """The declared fields of one node. Made by the engine."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        engine.stores.register("vectors", StoreKind.MEMORY)
        self._fields: dict[int, VectorField] = {}
        self._again: list[tuple[str, str]] = []
        self._follower = Follower(engine, "vectors", self._keep_up, LOOK_MS)
        self._embedding = Follower(engine, "embedding", self._embed, LOOK_MS)
        self.embedders = Embedders(engine.clock, engine.blobs.beside)
        self.open_index: OpenIndex | None = None
        """None: there is no index, and every search is exact."""
        self.index_rows_min = INDEX_ROWS_MIN

    # Declaring ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Follow what was declared before. Raises StorageError."""
        for declared in await self._engine.database.read(vector_rows.declared):
            self._field(declared)

    async def declare(
        self, database: str, collection: str, field: str, model: str, version: str, dimension: int
    ) -> Declared:
        """Follow the embeddings of a model in a field of a collection, now and after a restart.

        The model declared last is the one that a search means. Raises BadValueError for bad names,
        and for a model that was declared with another dimension; StorageError.
        """
        check_model(model, version)
        check_dimension(dimension)
        check_place(database, collection)
        check_name("field", field, NAME_BYTES_MAX)

        def job(conn: Conn) -> Declared:
            names = (database, collection, field, model, version)
            for before in vector_rows.declared(conn, *names):
                if before.dimension != dimension:
                    raise BadValueError(
                        f"{collection}.{field}: {before.key} was declared with {before.dimension}"
                        f" numbers, not {dimension}: another dimension is another version"
                    )
            return vector_rows.declare(conn, *names, dimension)

        declared = await self._engine.database.write(job)
        self._field(declared)
        return declared

    async def forget(
        self, database: str, collection: str, field: str, model: str, version: str
    ) -> bool:
        """Stop following a model; its rows and its index go, the records stay. False: none was."""
        names = (database, collection, field, model, version)
        found = await self._engine.database.read(lambda conn: vector_rows.declared(conn, *names))
        for declared in found:
            following = self._fields.pop(declared.field_no, None)
            if following is not None:
                await following.close()
            await self._engine.database.write(partial(_forget, declared.field_no))
        return bool(found)

    def register(self, model: str, version: str, callback: Embed) -> None:
        """See `Node.register_embedder`. Raises BadValueError."""
        self.embedders.register(model, version, callback)
        self._again.append((model, version))
        self._embedding.owe()

    def _field(self, declared: Declared) -> VectorField:
        field = self._fields.get(declared.field_no)
        if field is None:
            engine = self._engine
            owe = self._follower.owe
            field = VectorField(declared, engine.database, engine.blobs.beside, owe)
            self._fields[declared.field_no] = field
            # First a pause: a command that asks once and ends pays for no index.
            owe()
            if (declared.model, declared.version) in self.embedders:
                self._embedding.owe()
        return field

    # In the background -------------------------------------------------------------------------

    async def settle(self) -> None:
        """Take what changed, make what waits to be embedded, and fill every index.

        It goes on in the background without this. Raises StorageError.
        """
        await self._embed()
        await self._keep_up()

    async def catch_up(self, database: str) -> None:
        """Let the vectors of a database be those of its records. Raises StorageError."""
        for field in list(self._fields.values()):
            if field.declared.database == database:
                await field.catch_up()

    async def _embed(self) -> None:
        """Apart from the rest: a callback may take long, and nothing else is to wait for it."""
        for model in self._again[:]:
            await self._engine.database.write(partial(_make_again, model))
            self._again.remove(model)
        for field in list(self._fields.values()):
            if (field.declared.model, field.declared.version) in self.embedders:
                await field.catch_up()
                await field.embed(self.embedders)

    async def _keep_up(self) -> None:
        for field in list(self._fields.values()):
            await field.catch_up()
            if not _has_numpy():
                continue
            await field.sketch(self.index_rows_min)
            if self.open_index is not None:
                name = self._engine.entropy.draw(NAME_BYTES).hex()
                await field.fill(self.open_index, name, self.index_rows_min)

    async def close(self) -> None:
        """Let go of every index."""
        self._follower.stop()
        self._embedding.stop()
        for field in self._fields.values():
            await field.close()
        self._fields.clear()

    # Searching ---------------------------------------------------------------------------------

    async def nearest(
        self,
        database: str,
        collection: str,
        what: "str | Vector | Sequence[float]",
        *,
        field: str | None = None,
        k: int = 10,
        where: Mapping[str, Any] | None = None,
        model: str | None = None,
        version: str | None = None,
    ) -> Nearest:
        """The records nearest to a vector, or to the record with an id, which is left out itself.

        Raises MissingVectorsError without the extra; NotDeclaredError, NoVectorError, BadValueError
        for a vector or a condition that cannot be compared, StorageError.
        """
        if type(k) is not int or not 0 < k <= FOUND_MAX:
            raise BadValueError(f"k: a number from 1 to {FOUND_MAX} was expected")
        passing = conditions(where or {})
        require_numpy()
        following = self._field(await self._declared(database, collection, field, model, version))
        await following.catch_up()
        declared, but = following.declared, None
        if isinstance(what, str):
            but, data = await self._vector_of(declared, what)
        else:
            data = _asked_vector(declared, what)
        row = unit_rows([data], declared.dimension)[0]
        scored, is_exact = await following.search(Sought(row, k, passing, but))
        return await self._answer(following, scored, is_exact)

    async def _declared(
        self,
        database: str,
        collection: str,
        field: str | None,
        model: str | None,
        version: str | None,
    ) -> Declared:
        found = await self._engine.database.read(
            lambda conn: vector_rows.declared(conn, database, collection, field, model, version)
        )
        place = f"{database}/{collection}" + (f", field {field!r:.60}" if field else "")
        if not found:
            raise NotDeclaredError(
                f"{place}: no embeddings are declared there, or not of that model; an application"
                " declares them with `collection.vectors(field, model=…, version=…, dimension=…)`"
            )
        fields = sorted({each.field for each in found})
        if len(fields) > 1:
            raise NotDeclaredError(
                f"{place} has several fields with embeddings, name one: {fields}"
            )
        return found[0]

    async def _vector_of(self, declared: Declared, id: str) -> tuple[int, bytes]:
        def job(conn: Conn) -> tuple[int, tuple[Standing, bytes | None] | None] | None:
            record = record_rows.get(conn, declared.database, declared.collection, id)
            if record is None:
                return None
            number = record.record_no
            return number, vector_queries.one(conn, declared.field_no, number)

        place = f"{declared.collection}/{id}"
        found = await self._engine.database.read(job)
        if found is None:
            raise NoVectorError(f"no record {place} in {declared.database}")
        number, row = found
        if row is None:
            raise NoVectorError(f"{place} has no field {declared.field!r:.60} to compare it by")
        if row[1] is None:
            why = self._why(row[0], declared).replace("have ", "has ", 1)
            raise NoVectorError(f"{place} cannot be compared by {declared.key}: it {why}")
        return number, row[1]

    async def _answer(
        self, following: VectorField, scored: list[Scored], is_exact: bool
    ) -> Nearest:
        declared = following.declared
        numbers = [one.record_no for one in scored]
        found, left_out = await self._engine.database.read(
            lambda conn: (
                vector_queries.records(conn, numbers),
                vector_queries.left_out(conn, declared.field_no),
            )
        )
        hits = tuple(
            Near(found[one.record_no][0], one.score, json.loads(found[one.record_no][1]))
            for one in scored
            if one.record_no in found
        )
        missed = tuple(
            LeftOut(count, self._why(standing, declared)) for standing, count in left_out.items()
        )
        return Nearest(
            hits,
            missed,
            declared.field,
            declared.model,
            declared.version,
            is_exact,
            following.failure,
        )

    def _why(self, standing: Standing, declared: Declared) -> str:
        model = declared.model, declared.version
        if standing is Standing.OTHER_MODEL and model in self.embedders:
            return _BEING_MADE
        if standing is Standing.OTHER_MODEL and self.embedders.is_given_up(model):
            return _GIVEN_UP
        return _WHY[standing]


def _forget(field_no: int, conn: Conn) -> None:
    vector_rows.forget(conn, field_no)


def _make_again(model: tuple[str, str], conn: Conn) -> None:
    vector_rows.make_again(conn, *model)


def _has_numpy() -> bool:
    try:
        require_numpy()
    except CoveyError:
        return False
    return True


def _asked_vector(declared: Declared, what: Vector | Sequence[float]) -> bytes:
    """The vector that a caller gave, checked. Raises BadValueError."""
    data = (what if isinstance(what, Vector) else Vector(_numbers(what))).data
    standing, usable = judge(data, declared.dimension)
    if usable is not None:
        return usable
    if standing is Standing.ZERO:
        raise BadValueError("the vector is zero everywhere: nothing is near to it")
    raise BadValueError(
        f"the vector has {len(data) // vector_rows.NUMBER_BYTES} numbers; {declared.field!r:.60} is"
        f" declared with {declared.dimension} for {declared.key}"
    )


def _numbers(what: Any) -> list[float]:
    """Raises BadValueError."""
    if isinstance(what, bytes | bytearray | Mapping):
        raise BadValueError("a vector is a list of numbers, or a covey.Vector")
    try:
        numbers = list(what)
    except TypeError:
        raise BadValueError("a vector is a list of numbers, or a covey.Vector") from None
    if any(isinstance(number, bool | str) for number in numbers):
        raise BadValueError("a vector is a list of numbers, or a covey.Vector")
    return numbers
