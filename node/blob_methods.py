"""Blob methods: what the command line and the local API do with blobs.

Files are read and written by the node itself, at absolute paths, so that a gigabyte never crosses
the local socket; only `blob_read`, for a pipe, sends the content, in small pieces of base64. No
answer holds a key: a blob is shown by its id, size, media type, name and variants.
"""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..storage import blob_rows
from ..storage.blob_rows import Blob, Place
from ..sync.manifest import chunk_count
from ..sync.values import to_json
from .blob_care import QUOTA_MAX
from .blob_names import safe_name
from .ledger import PRIVACY_NAMES
from .parameters import Json, UsageError, text

if TYPE_CHECKING:
    from .engine import Engine

TIMEOUT_S_DEFAULT = 30.0
LIST_MAX = 10_000
ROWS_PER_READ = 256
PIECE_BYTES = 32_768


class BlobMethods:
    """The methods of one open node that are about blobs."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def table(self) -> dict[str, Callable[[Json], Awaitable[Any]]]:
        return {
            "blob_put": self.put,
            "blob_get": self.get,
            "blob_list": self.show,
            "blob_quota": self.quota,
        }

    async def put(self, params: Json) -> Json:
        """`{"id", "version", "blob"}` of a file that was put into a field of a record."""
        path = _path(params)
        blobs = self._engine.blobs
        done = await blobs.put(
            _field(params),
            blobs.outside.read(path),
            media_type=_optional(params, "type"),
            name=path.name,
            privacy=params.get("privacy"),
        )
        blob = to_json(done.ref)["$blob"]
        return {"id": done.written.id, "version": done.written.version, "blob": blob}

    async def get(self, params: Json) -> Json:
        """`{"file", "bytes", "id", "from"}` of a blob that was written to a new file."""
        path = _path(params)
        row, place = await self._find(params)
        if params.get("is_folder"):
            path = path / _own_name(place)
        blobs = self._engine.blobs
        size = await blobs.outside.write(path, blobs.read(row.blob_no, _timeout_ms(params)))
        return {"file": str(path), "bytes": size, "id": row.id.hex(), "from": self._gave(row)}

    async def read(self, params: Json) -> AsyncIterator[Json]:
        """The content of a blob as `{"data": base64}`, in order."""
        row, _ = await self._find(params)
        async for part in self._engine.blobs.read(row.blob_no, _timeout_ms(params)):
            for start in range(0, len(part), PIECE_BYTES):
                piece = part[start : start + PIECE_BYTES]
                yield {"data": base64.b64encode(piece).decode()}

    async def show(self, params: Json) -> Json:
        """`{"blobs": [{"id", "size", "here", "chunks", "held_by", "places"}], "used", "quota"}`."""
        database = params.get("database")
        found: list[Json] = []
        after = 0
        while len(found) < LIST_MAX and (page := await self._page(after)):
            after = page[-1][0].blob_no
            for row, places, holders in page:
                shown = [_shown(place) for place in places if database in (None, place.database)]
                if shown:
                    found.append(self._shown(row, holders) | {"places": shown})
        care = self._engine.blobs.care
        return {"blobs": found, "used": await care.used(), "quota": await care.quota()}

    async def quota(self, params: Json) -> Json:
        """`{"quota", "used"}`, after it was set if `bytes` is given; 0 for no limit."""
        wanted, care = params.get("bytes"), self._engine.blobs.care
        if wanted is not None:
            if type(wanted) is not int or not 0 <= wanted <= QUOTA_MAX:
                raise UsageError("bytes: a number of bytes was expected, 0 for no limit")
            await care.set_quota(wanted)
        return {"quota": await care.quota(), "used": await care.used()}

    async def _find(self, params: Json) -> tuple[Blob, Place]:
        return await self._engine.blobs.find(*_field(params), _optional(params, "variant"))

    async def _page(self, after: int) -> list[tuple[Blob, list[Place], list[bytes]]]:
        return await self._engine.database.read(
            lambda conn: [
                (row, blob_rows.places(conn, row.blob_no), blob_rows.holders(conn, row.blob_no))
                for row in blob_rows.referred(conn, after, ROWS_PER_READ)
            ]
        )

    def _shown(self, row: Blob, holders: list[bytes]) -> Json:
        return {
            "id": row.id.hex(),
            "size": row.size,
            "here": row.held,
            "chunks": chunk_count(row.size),
            "held_by": [self._name(device) for device in holders],
        }

    def _gave(self, row: Blob) -> list[Json]:
        gave = self._engine.blobs.fetching.gave.get(row.blob_no, {})
        return [{"device": self._name(device), "chunks": n} for device, n in gave.items()]

    def _name(self, device: bytes) -> str:
        known = self._engine.mesh.registry.devices.get(device)
        return self._engine.short_id(device) if known is None else known.name


def _shown(place: Place) -> Json:
    return {
        "database": place.database,
        "collection": place.collection,
        "id": place.record,
        "field": place.field,
        "variant": place.variant,
        "privacy": PRIVACY_NAMES[place.privacy],
        "type": place.media_type,
        "name": place.name,
    }


def _own_name(place: Place) -> str:
    name = safe_name(place.name)
    if name is None:
        raise UsageError("this blob has no name that a file may have: name the file with -o FILE")
    return name


def _path(params: Json) -> Path:
    path = Path(text(params, "file"))
    if not path.is_absolute():
        raise UsageError("file: the absolute path of a file was expected")
    return path


def _field(params: Json) -> tuple[str, str, str, str]:
    return (
        text(params, "database"),
        text(params, "collection"),
        text(params, "id"),
        text(params, "field"),
    )


def _optional(params: Json, name: str) -> str:
    return "" if params.get(name) is None else text(params, name)


def _timeout_ms(params: Json) -> int:
    timeout = params.get("timeout_s")
    timeout = TIMEOUT_S_DEFAULT if timeout is None else timeout
    if not isinstance(timeout, int | float) or not 0 < timeout <= 86_400:
        raise UsageError("timeout_s: seconds, more than 0 and at most a day, were expected")
    return int(timeout * 1000)
