"""Remaking: the writes by which steps of a schema change records, and pieces of them that fit.

Each write makes its record anew from what it shows when its turn comes (`Put.remake`), so edits of
other fields made at the same time merge, and no conflict is decided by it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from ...sync.errors import BadValueError
from ...sync.values import BlobRef, from_json, to_plain
from ..record_requests import Put
from .reading import SchemaError
from .schema import Schema
from .steps import Migration, MigrationError, Remake, advance, changing, composed

SLICE_RECORDS = 2_000
SLICE_BYTES = 400_000
"""Of the JSON of the records changed; an entry holds more than twice as much."""

Functions = Mapping[str, Remake]
"""What is done to the records of each collection."""


class Made(NamedTuple):
    """A write, and the fields that the record would have now."""

    put: Put
    value: dict[str, Any]


def functions_of(schema: Schema, numbers: list[int], is_up: bool) -> Functions:
    """What these steps do to each collection. Raises SchemaError where that is not known here."""
    found: dict[str, list[Migration]] = {}
    for number in numbers:
        parts = schema.parts(number)
        for part in parts if is_up else reversed(parts):
            function = part.up if is_up else part.down
            if function is None and part.up is None:
                raise SchemaError(
                    f"{schema.name}: the functions of step {number} are not here: the application"
                    " has them, and migrates when it installs the schema"
                )
            if function is None:
                raise SchemaError(f"{schema.name}: step {number} has no way back")
            found.setdefault(part.collection, []).append(part)
    return {name: composed(_functions(parts, is_up)) for name, parts in found.items()}


def _functions(parts: Sequence[Migration], is_up: bool) -> list[Remake]:
    functions = [part.up if is_up else part.down for part in parts]
    if is_up:
        for at, part in enumerate(parts):
            if part.changes:
                later = [change for other in parts[at + 1 :] for change in other.changes]
                functions[at] = changing(part.changes, later)
    return [function for function in functions if function is not None]


def made_of(function: Remake, collection: str, id: str, text: str) -> Made | None:
    """What a function makes of a record in JSON; None if it stays. Raises MigrationError."""
    try:
        value = from_json(json.loads(text))
    except BadValueError:
        return None  # Another program wrote it; it stays as it is, and `check` lists it.
    remake = partial(advance, function, place=f"{collection}/{id}")
    made = remake(value)
    if made is None:
        return None
    return Made(Put(collection, id, {}, None, False, remake=remake), made)


def require_storable(made: Made) -> None:
    """Raises MigrationError if no record can hold it."""
    try:
        to_plain(_without_blobs(made.value))
    except (BadValueError, RecursionError) as error:
        raise MigrationError(f"{made.put.collection}/{made.put.id}: {error}") from None


class Slice:
    """Writes that fit one transaction, in order. The first always does."""

    def __init__(self, *all_made: Made) -> None:
        self.puts: list[Put] = []
        self._bytes = 0
        for made in all_made:
            self.takes(made)

    def takes(self, made: Made) -> bool:
        """Add one more; False if there is no room for it."""
        length = len(json.dumps(made.value, ensure_ascii=False, default=str).encode())
        if self.puts and (len(self.puts) >= SLICE_RECORDS or self._bytes + length > SLICE_BYTES):
            return False
        self.puts.append(made.put)
        self._bytes += length
        return True


def slices(all_made: Iterable[Made]) -> Iterator[list[Put]]:
    """The writes in order, in pieces that fit one transaction."""
    piece = Slice()
    for made in all_made:
        if not piece.takes(made):
            yield piece.puts
            piece = Slice(made)
    if piece.puts:
        yield piece.puts


def _without_blobs(value: Any) -> Any:
    """Blobs get their manifests only when they are written."""
    if type(value) is dict:
        return {name: _without_blobs(item) for name, item in value.items()}
    if type(value) is list:
        return [_without_blobs(item) for item in value]
    return None if isinstance(value, BlobRef) else value
