"""Lookup: records that name a certain other one, without reading all of a collection.

A filter alone looks at every record of its collection. The full-text index also has the ids that
records name, as words: asked for an id, it gives the few records that may name it, of which
the filter takes those that do. Of a record only the first 100,000 characters are in that index, so
what must miss none, such as a deletion, does not ask here.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import covey

T = TypeVar("T")

NAMING = ("conversation", "document")
"""Fields that hold the id of another record."""
_IS_WORD = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")


async def find(
    repository: "covey.Repository[T]", where: Mapping[str, Any] | None, **query: Any
) -> list[T]:
    """As `Repository.find`, and the same result, if there is an order or the limit is not met."""
    if where is None or not is_naming(where):
        return await repository.find(where, **query)
    words = [where[name] for name in NAMING if name in where]
    found = await repository.find(where, text=" ".join(words), **query)
    return found if query.get("order") else sorted(found, key=lambda item: item.id)  # type: ignore[attr-defined]


def is_naming(where: Mapping[str, Any] | None) -> bool:
    """Whether a filter names another record, by an id that is a word of the index."""
    words = [where[name] for name in NAMING if where and name in where]
    return bool(words) and all(isinstance(w, str) and _IS_WORD.fullmatch(w) for w in words)
