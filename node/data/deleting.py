"""Deleting: many records, in parts that writers wait for, and past those that may not be."""

from collections.abc import Sequence
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
    for start in range(0, len(deletes), DELETE_RECORDS):
        part = deletes[start : start + DELETE_RECORDS]
        try:
            done += zip(part, await engine.writer.write(database, part), strict=True)
        except StorageError:
            raise
        except CoveyError:
            refused += len(part)
    return done, refused
