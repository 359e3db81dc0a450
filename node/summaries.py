"""Summaries: large fields that stay behind where a device wants a summary only.

An application names, for a collection, the fields that are its summary (the setting
`summary.COLLECTION` of a database). Of its other fields those that are large are put beside the
record, as a blob whose content is the field's value as JSON; the record has a reference. A device
whose policy brings blobs has the whole record, and `get` gives it as it was written; one in mode
`summary` or `metadata` has the rest, says what stayed behind, and fetches it when asked.

What is in a blob is not found by its words, a put of it makes a new one also if it is the same, and
two edits of it that were made apart are a conflict of the whole field.

Spec: docs/protocol.md, sections 12 and 14. Sizes are bytes.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..storage.errors import StorageError
from ..sync.errors import BadValueError
from ..sync.limits import RECORD_BYTES_MAX
from ..sync.manifest import Manifest, chunk_count
from ..sync.policy import SUMMARY
from ..sync.values import BlobRef, blob_ref, from_json, value_text
from .blob_content import ChunkDamagedError
from .blob_demand import BlobUnreachableError
from .blobs import NoBlobError, once
from .record_requests import Put, Request

if TYPE_CHECKING:
    from .engine import Engine

VALUE_TYPE = "application/vnd.covey.value+json"
"""The media type of a field that was put beside its record."""
ASIDE_BYTES_MIN = 16_384
"""Fields whose JSON is shorter stay in the record, whatever the summary is."""


_NOT_TO_BE_READ = (
    NoBlobError,
    BlobUnreachableError,
    ChunkDamagedError,
    StorageError,
    BadValueError,
    ValueError,
)


class Summaries:
    """What is put beside records, and brought back, on one device."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def fields(self, database: str, collection: str) -> frozenset[str] | None:
        """The fields that are the summary of a collection; None if all of a record is."""
        settings = self._engine.mesh.registry.settings
        for layer in (settings.get((b"", database), {}), settings.get((b"", ""), {})):
            named = layer.get(f"{SUMMARY}{collection}")
            if isinstance(named, str):
                return frozenset(named.split(","))
        return None

    @asynccontextmanager
    async def aside(
        self, database: str, requests: Sequence[Request]
    ) -> AsyncIterator[Sequence[Request]]:
        """The requests with what is large put beside the records, for as long as they are written.

        Raises BlobQuotaError, StorageError; then nothing is left of it.
        """
        said = self._engine.mesh.registry.settings
        if not any(key.startswith(SUMMARY) for layer in said.values() for key in layer):
            yield requests
            return
        blobs, made = self._engine.blobs, list[int]()
        with blobs.holding_all(made):
            try:
                smaller = [await self._smaller(database, each, made) for each in requests]
            except BaseException:
                blobs.discard(made)
                raise
            yield smaller

    async def _smaller(self, database: str, request: Request, made: list[int]) -> Request:
        if not isinstance(request, Put):
            return request
        summary = self.fields(database, request.collection)
        if summary is None or not isinstance(request.value, Mapping):
            return request
        value = dict(request.value)
        kept = {*summary, *self._engine.schemas.encrypted(database, request.collection)}
        for name, field in request.value.items():
            if name not in kept and not isinstance(field, BlobRef):
                content = value_text(field).encode()
                if len(content) >= ASIDE_BYTES_MIN:
                    whole = await self._engine.blobs.keep(once(content), made)
                    key = whole.key.reveal()
                    value[name] = blob_ref(Manifest(key, whole.size, whole.cids, VALUE_TYPE))
        return replace(request, value=value)

    async def whole(
        self, place: tuple[str, str, str], value: Mapping[str, Any], timeout_ms: int = 0
    ) -> tuple[dict[str, Any], list[str]]:
        """A record in JSON form with what stands beside it, and the fields that stayed behind.

        `place` is database, collection and id. With a time those are fetched that are not here.
        """
        read, behind = dict(value), []
        for name, field in value.items():
            if not _is_aside(field):
                continue
            try:
                read[name] = await self._read((*place, name), field["$blob"]["size"], timeout_ms)
            except _NOT_TO_BE_READ:
                behind.append(name)
        return read, behind

    async def _read(self, place: tuple[str, str, str, str], size: int, timeout_ms: int) -> Any:
        if size > RECORD_BYTES_MAX:
            raise ValueError("no field of a record is as large")
        blobs = self._engine.blobs
        found, _ = await blobs.find(*place)
        if not timeout_ms and found.held < chunk_count(found.size):
            raise NoBlobError("not here, and nobody is to be asked")
        content = b"".join([piece async for piece in blobs.read(found.blob_no, timeout_ms)])
        value = json.loads(content)
        from_json(value)  # What a peer put there must be a value that a record can hold.
        return value


def _is_aside(field: Any) -> bool:
    face = field.get("$blob") if isinstance(field, dict) and len(field) == 1 else None
    return isinstance(face, dict) and face.get("type") == VALUE_TYPE
