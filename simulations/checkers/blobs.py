"""I23: blobs come to who is to have them, as they were put, and leave nothing else on a disk."""

from hashlib import sha256
from typing import ClassVar, NamedTuple

from ...crypto.blob import CHUNK_BYTES, chunk_file_name
from ...node.blob_content import ChunkDamagedError, Content, load, read_chunk
from ...storage import blob_rows
from ...storage.blob_rows import BlobState
from ...storage.store import Conn
from ..sim_device import SimDevice
from .belonging import are_together
from .checker import Checker

COME_MS_MAX = 900_000
"""After everything else has settled: a disk that refused is asked again within a minute."""
LOOK_MS = 1_000
NAME_CHARACTERS = 64


class _Known(NamedTuple):
    """A blob that a record of a device refers to."""

    content: Content
    held: int
    scopes: frozenset[int]
    """The privacy levels of the records that refer to it."""

    @property
    def is_whole(self) -> bool:
        return self.held == self.content.all


class BlobChecker(Checker):
    """Looks at rows and files. It waits first: chunks come after entries."""

    claims: ClassVar[dict[str, str]] = {
        "I23": "a blob comes to who is to have it, as it was put; no file is left of any other",
    }

    async def at_rest(self) -> None:
        if not self.run.done["put-blob"]:
            return
        until_ms = self.run.world.now_ms + COME_MS_MAX
        while self._missing() and self.run.world.now_ms < until_ms:
            await self.run.world.wait_ms(LOOK_MS)
        for name, told in self._missing():
            self.violate("I23", name, told)
        for device in self.sound():
            for known in self._blobs(device).values():
                if known.is_whole:
                    self._is_as_it_was_put(device, known.content)
            self._files(device)

    def _missing(self) -> list[tuple[str, str]]:
        """Which device lacks what another one could give it."""
        devices = list(self.sound())
        blobs = {device.name: self._blobs(device) for device in devices}
        found = []
        for device in devices:
            for id, known in blobs[device.name].items():
                if known.is_whole:
                    continue
                for other in devices:
                    theirs = blobs[other.name].get(id)
                    if theirs is None or not theirs.is_whole or not are_together(device, other):
                        continue
                    # Both have the record; neither is of a level that may not have it.
                    if known.scopes & theirs.scopes:
                        found.append((device.name, f"a blob that {other.name} has is not whole"))
                        break
        return found

    def _blobs(self, device: SimDevice) -> dict[bytes, _Known]:
        def look(conn: Conn) -> dict[bytes, _Known]:
            found = {}
            for row in blob_rows.referred(conn, 0, 1_000):
                loaded = load(conn, row.blob_no)
                assert loaded is not None, "a blob that is referred to has a manifest"
                places = blob_rows.places(conn, row.blob_no)
                levels = frozenset(place.privacy for place in places if place.privacy)
                found[row.id] = _Known(*loaded, levels)
            return found

        return device.store.look(look)

    def _is_as_it_was_put(self, device: SimDevice, content: Content) -> None:
        digest = sha256()
        try:
            for index in range(content.count):
                digest.update(read_chunk(device.engine.blobs.files, content, index))
        except ChunkDamagedError as error:
            self.violate("I23", device.name, f"said to be whole: {error}")
            return
        if digest.digest() not in self.run.contents:
            self.violate("I23", device.name, "a blob that nobody put like this")

    def _files(self, device: SimDevice) -> None:
        """Every chunk's file belongs to a blob that the store knows."""

        def look(conn: Conn) -> set[str]:
            rows = conn.execute("SELECT place, size FROM blobs WHERE place IS NOT NULL").fetchall()
            return {
                chunk_file_name(place, index)
                for place, size in rows
                for index in range(max(1, -(-size // CHUNK_BYTES)))
            }

        if device.store.look(_unfinished):
            self.violate("I23", device.name, "a put or a deletion that nobody finishes")
        known = device.store.look(look)
        for name in device.disk.files:
            if len(name) >= NAME_CHARACTERS and name[:NAME_CHARACTERS] not in known:
                self.violate("I23", device.name, "a file of a blob that the store does not know")
                return


def _unfinished(conn: Conn) -> bool:
    return any(blob_rows.unfinished(conn, s) for s in (BlobState.PUTTING, BlobState.DELETING))
