"""Importing: writes what an importer finds in the export of a chat service.

Messages go to the collection that is named, conversations and attachments to two beside it. Ids
come from the ids of the service, and every record keeps a digest of what the service said: what was
brought before is written again only if the service says something else now, so importing twice
writes nothing and keeps what was changed here. What was deleted here stays deleted.

One conversation is in memory at a time. Files of the archive become blobs, read as a stream.
Something that cannot be imported is told and counted; the rest goes on.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ... import CoveyError
from ...storage import feed_rows, record_rows
from ...storage.errors import StorageError
from ...storage.store import Conn
from ...sync.errors import BadValueError
from ..blob_names import check_media_type
from ..importers import Attachment, Broken, Conversation, read_chatgpt, read_claude
from ..importers.archive import Archive, Member
from ..parameters import Json, UsageError, text
from ..record_requests import Put

if TYPE_CHECKING:
    from ..engine import Engine

READERS: Mapping[str, Callable[[Path], Iterator[Conversation | Broken]]] = {
    "chatgpt": read_chatgpt,
    "claude": read_claude,
}
"""Format -> what reads it."""

SLICE_RECORDS_MAX = 500
SLICE_BYTES_MAX = 400_000
CONTENT_FIELD = "content"
"""The field of an attachment that refers to its blob."""
PIECE_BYTES = 262_144
BROKEN_TOLD_MAX = 100
"""What is broken beyond is only counted: a hostile file may have millions."""


class Item(NamedTuple):
    """A record to be put."""

    collection: str
    id: str
    value: Json


class _Known(NamedTuple):
    """A record that is here: the digest of what the service said when it came, if it came so."""

    digest: str | None
    deleted: bool
    has_content: bool


class ChatImport:
    """Imports into one node."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def run(self, params: Json) -> AsyncIterator[Json]:
        """`{"event": "progress" | "broken" | "done", ...}`; the last has what became of all.

        Raises UsageError, ExportFileError, StorageError; what was told before is imported.
        """
        path, places = _checked(params)
        reader = READERS[params["format"]](path)
        beside = self._engine.blobs.beside
        run = _Run(self._engine, path, text(params, "database"), places)
        try:
            while (found := await beside(lambda: next(reader, None))) is not None:
                for broken in await run.take(found):
                    if run.counts["broken"] <= BROKEN_TOLD_MAX:
                        yield {"event": "broken", "where": broken.where, "why": broken.why}
                yield {"event": "progress", **run.counts}
        finally:
            await beside(reader.close)  # type: ignore[attr-defined]  # it is a generator
            await run.close()
        yield {"event": "done", **run.counts}


async def import_chat(
    engine: "Engine", path: str | Path, database: str, format: str, collection: str
) -> Json:
    """Import an export; the counts, and under `left_out` what was broken (`ChatImport.run`)."""
    params = {
        "file": str(Path(path).absolute()),
        "format": format,
        "database": database,
        "collection": collection,
    }
    done: Json = {}
    broken = []
    async for event in ChatImport(engine).run(params):
        if event.pop("event") == "broken":
            broken.append(event)
        else:
            done = event
    return {**done, "left_out": broken}


class _Run:
    """One import, and what became of it so far."""

    def __init__(
        self, engine: "Engine", path: Path, database: str, places: tuple[str, str, str]
    ) -> None:
        self._engine = engine
        self._path = path
        self._database = database
        self._messages, self._conversations, self._attachments = places
        self._archive: Archive | None = None
        self.counts = dict.fromkeys(
            ("conversations", "read", "written", "unchanged", "deleted", "blobs", "broken"), 0
        )

    async def take(self, found: Conversation | Broken) -> Sequence[Broken]:
        """Import one conversation; what of it is broken."""
        if isinstance(found, Broken):
            self.counts["broken"] += 1
            return [found]
        self.counts["conversations"] += 1
        faults = list(found.faults)
        # Messages first: a conversation that is here says that its messages are.
        items = [Item(self._messages, one.id, one.value) for one in found.messages]
        items += [Item(self._attachments, one.id, one.value) for one in found.attachments]
        items.append(Item(self._conversations, found.id, found.value))
        for part in _slices(items):
            await self._put(part, faults)
        await self._put_contents(found.attachments, faults)
        self.counts["broken"] += len(faults)
        return faults

    async def close(self) -> None:
        """Close the archive, and say in the log what was imported."""
        if self._archive is not None:
            await self._engine.blobs.beside(self._archive.close)
        done = {name: self.counts[name] for name in ("written", "unchanged")}
        if self.counts["read"]:
            self._engine.audit.tally("imported", {"database": self._database, **done})

    # Records -----------------------------------------------------------------------------------

    async def _put(self, items: Sequence[Item], faults: list[Broken]) -> None:
        """Write what is new, or not what the service said before."""
        known = {
            (collection, id): was
            for collection in (self._messages, self._attachments, self._conversations)
            for id, was in (
                await self._known(collection, [i.id for i in items if i.collection == collection])
            ).items()
        }
        wanted = []
        for item in items:
            was = known.get((item.collection, item.id))
            if was is None or not (was.deleted or was.digest == item.value["source_digest"]):
                wanted.append(item)
            else:
                self.counts["deleted" if was.deleted else "unchanged"] += 1
        self.counts["read"] += len(items)
        await self._write(wanted, faults)

    async def _write(self, items: Sequence[Item], faults: list[Broken]) -> None:
        """Write these together; if one of them is refused, each for itself."""
        if not items:
            return
        puts = [Put(item.collection, item.id, item.value, None, False) for item in items]
        try:
            results = await self._engine.writer.write(self._database, puts)
            self.counts["written"] += sum(result.changed for result in results)
            self.counts["unchanged"] += sum(not result.changed for result in results)
        except BadValueError as error:
            if len(items) == 1:
                faults.append(Broken(f"{items[0].collection}/{items[0].id}", str(error)))
                return
            for item in items:
                await self._write([item], faults)

    async def _known(self, collection: str, ids: Sequence[str]) -> dict[str, _Known]:
        if not ids:
            return {}
        return await self._engine.database.read(
            lambda conn: known_records(conn, self._database, collection, ids)
        )

    # Contents ----------------------------------------------------------------------------------

    async def _put_contents(self, attachments: Sequence[Attachment], faults: list[Broken]) -> None:
        """The files of the archive that are not blobs yet."""
        held = [one for one in attachments if one.content is not None]
        if not held:
            return
        known = await self._known(self._attachments, [one.id for one in held])
        for one in held:
            was = known.get(one.id)
            if one.content is None or was is None or was.deleted or was.has_content:
                continue
            try:
                await self._put_content(one, one.content)
                self.counts["blobs"] += 1
            except StorageError:
                raise
            except CoveyError as error:
                faults.append(Broken(f"{self._attachments}/{one.id}", str(error)))

    async def _put_content(self, one: Attachment, member: Member) -> None:
        media_type = one.value.get("media_type", "")
        try:
            check_media_type(media_type)
        except BadValueError:
            media_type = ""  # A name that a manifest cannot hold says nothing.
        await self._engine.blobs.put(
            (self._database, self._attachments, one.id, CONTENT_FIELD),
            self._pieces(member),
            media_type=media_type,
            name=one.value.get("name") or member.file_name,
        )

    async def _pieces(self, member: Member) -> AsyncIterator[bytes]:
        beside = self._engine.blobs.beside
        if self._archive is None:
            self._archive = await beside(lambda: Archive(self._path))
        archive = self._archive
        stream = await beside(lambda: archive.open(member))
        try:
            while piece := await beside(lambda: stream.read(PIECE_BYTES)):
                yield piece
        finally:
            await beside(stream.close)


def known_records(
    conn: Conn, database: str, collection: str, ids: Sequence[str]
) -> dict[str, _Known]:
    """Of these ids the records that are here, deleted ones too; of twins, one that lives."""
    found: dict[str, _Known] = {}
    numbers = feed_rows.numbers_of(conn, database, collection)
    for record in record_rows.existing_in(conn, numbers, list(dict.fromkeys(ids))):
        if record.value is None:
            found.setdefault(record.id, _Known(None, True, False))
            continue
        value = json.loads(record.value)
        digest = value.get("source_digest")
        found[record.id] = _Known(
            digest if isinstance(digest, str) else None, False, CONTENT_FIELD in value
        )
    return found


def _slices(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The items in parts that fit a transaction each. A record that comes again is left out."""
    part: list[Item] = []
    size = 0
    for item in {(item.collection, item.id): item for item in items}.values():
        cost = len(json.dumps(item.value, ensure_ascii=False).encode()) + len(item.id)
        if part and (len(part) >= SLICE_RECORDS_MAX or size + cost > SLICE_BYTES_MAX):
            yield part
            part, size = [], 0
        part.append(item)
        size += cost
    if part:
        yield part


def _checked(params: Json) -> tuple[Path, tuple[str, str, str]]:
    """The file, and the collections of messages, conversations and attachments."""
    path, messages = Path(text(params, "file")), text(params, "collection")
    if not path.is_absolute():
        raise UsageError("file: the absolute path of a file was expected")
    if params.get("format") not in READERS:
        raise UsageError(f"format: one of {', '.join(READERS)} was expected")
    places = messages, _name(params, "conversations"), _name(params, "attachments")
    if len(set(places)) < len(places):
        raise UsageError(
            "messages, conversations and attachments go to three collections: name different ones"
        )
    return path, places


def _name(params: Json, name: str) -> str:
    """A collection that may be named; without a name it is called what it holds."""
    return name if params.get(name) is None else text(params, name)
