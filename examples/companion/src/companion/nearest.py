"""Nearest: items whose texts mean what a given text means, by exact comparison.

The filter is asked of the repository, so that only what passes is compared. An item without a
vector of our model, because it was written on a device that has another one, is embedded anew here
and not written: each device would else write what the other one has no use for.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from heapq import nlargest
from operator import mul
from typing import Any, Generic, TypeVar

import covey

from .embedding import DIMENSION, Embedding, Vector

T = TypeVar("T")

FIELD = "embedding"
COMPARED_MAX = 1_000_000


@dataclass(frozen=True)
class Near(Generic[T]):
    item: T
    likeness: float
    """From -1 to 1."""


@dataclass(frozen=True)
class Nearby(Generic[T]):
    """What was found, best first, and how many had to be embedded anew."""

    found: list[Near[T]]
    embedded_anew: int = 0


async def nearest(
    repository: "covey.Repository[T]",
    vector: Vector,
    embedding: Embedding,
    *,
    k: int = 5,
    where: Mapping[str, Any] | None = None,
) -> Nearby[T]:
    """The `k` most alike of those whose fields equal `where`.

    By Covey's index, where all are in it. Without `covey[vectors]`, before `declare`, in memory,
    and while something is still being embedded, they are compared here.
    """
    hits = await _by_index(repository, vector, embedding, k, where)
    if hits is not None:
        return hits
    items = await repository.find(where, limit=COMPARED_MAX, broken=[])
    return compare(items, vector, embedding, k)


async def _by_index(
    repository: Any, vector: Vector, embedding: Embedding, k: int, where: Any
) -> Nearby[Any] | None:
    """None where there is no index that has all of them."""
    collection = getattr(repository, "collection", None)
    if collection is None or not any(vector):
        return None
    name, _, version = embedding.model.partition("@")
    try:
        hits = await collection.nearest(
            vector, field=FIELD, k=k, where=where, model=name, version=version
        )
        items = [(await repository.get(hit.id), hit.score) for hit in hits]
    except covey.CoveyError:
        # If it is the store that fails, or a record that is no item, comparing tells so.
        return None
    if hits.left_out:
        return None
    return Nearby([Near(item, score) for item, score in items if item is not None])


def compare(items: Iterable[Any], vector: Vector, embedding: Embedding, k: int) -> Nearby[Any]:
    """The `k` most alike of some items, which have `text` and `embedding`. Equal ones by id.

    `vector` is of `embedding`.
    """
    scored, foreign = [], []
    for item in items:
        theirs = item.embedding.get(embedding.model)
        numbers = [] if theirs is None else theirs.floats()
        if len(numbers) == DIMENSION:
            scored.append(Near(item, _likeness(numbers, vector)))
        else:
            foreign.append(item)
    anew = embedding.embed([item.text for item in foreign]) if foreign else []
    scored += [
        Near(item, _likeness(theirs, vector)) for item, theirs in zip(foreign, anew, strict=True)
    ]
    scored.sort(key=lambda near: near.item.id)
    return Nearby(nlargest(k, scored, key=lambda near: near.likeness), len(foreign))


def _likeness(one: Vector, other: Vector) -> float:
    return sum(map(mul, one, other))
