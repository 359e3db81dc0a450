"""Deleting: many records, in parts that writers wait for, and past those that may not be."""

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from ... import CoveyError
from ...storage.errors import StorageError
from ..record_requests import Delete, Written

if TYPE_CHECKING:
    from ..engine import Engine

DELETE_RECORDS = 500
"""In one transaction."""


async def delete_all(
    engine: "Engine", database: str, deletes: Sequence[Delete]
) -> tuple[list[tuple[Delete, Written]], int]:
    """What became of each that this device may delete, in order; and how many it may not.

    A part that is refused is passed over as a whole: a guest may hold what it may not write.
    Raises StorageError.
    """
    done: list[tuple[Delete, Written]] = []
    refused = 0
    async for part, not_allowed in delete_parts(engine, database, deletes):
        done += part
        refused += not_allowed
    return done, refused


async def delete_parts(
    engine: "Engine", database: str, deletes: Sequence[Delete]
) -> AsyncIterator[tuple[list[tuple[Delete, Written]], int]]:
    """The same part by part, each durable when it is told. Raises StorageError."""
    for start in range(0, len(deletes), DELETE_RECORDS):
        part = deletes[start : start + DELETE_RECORDS]
        try:
            results = await engine.writer.write(database, part)
        except StorageError:
            raise
        except CoveyError:
            yield [], len(part)
        else:
            yield list(zip(part, results, strict=True)), 0
