"""Mesh secrets: whether a text was ever anywhere else than on the devices it was meant for.

The tape keeps what crossed the wire. A device has *held* a text in readable form if its store or a
small file of it holds it, or an entry of any log that it had the key for: as entries are never
rewritten, that is everything it ever applied, deleted and overwritten values included.

Searched are the text, its hex, UTF-16 and base64 spellings, and the way JSON writes it.
"""

import json
import sqlite3
from collections import deque

from ..node.engine import Engine
from ..node.stored import stored_entry
from ..storage import log_rows
from .checkers.wire import spellings
from .mesh_device import MeshDevice
from .sim_disk import SimDisk

TAPE_BYTES_MAX = 128 << 20
TEXT_BYTES_MIN = 8
"""Shorter texts are found in ciphertext by chance."""


class Tape:
    """What left each machine for each other one. The oldest is dropped beyond a limit."""

    def __init__(self) -> None:
        self.size = 0
        self.dropped = 0
        self._messages: deque[tuple[str, str, bytes]] = deque()

    def hear(self, source: str, target: str, message: bytes) -> None:
        self._messages.append((source, target, message))
        self.size += len(message)
        while self.size > TAPE_BYTES_MAX:
            oldest = self._messages.popleft()[2]
            self.size -= len(oldest)
            self.dropped += len(oldest)

    def find(self, needles: tuple[bytes, ...]) -> list[tuple[str, str]]:
        """The directions in which one of these bytes was sent, also across two messages."""
        overlap = max(map(len, needles)) - 1
        ends: dict[tuple[str, str], bytes] = {}
        found: dict[tuple[str, str], None] = {}
        for source, target, message in self._messages:
            seen = ends.get((source, target), b"") + message
            if any(needle in seen for needle in needles):
                found[source, target] = None
            ends[source, target] = seen[-overlap:]
        return list(found)


def needles(text: str) -> tuple[bytes, ...]:
    """How a text may be spelled. Raises ValueError if it is too short to be searched for."""
    if len(text.encode()) < TEXT_BYTES_MIN:
        problem = f"{len(text.encode())} bytes, at least {TEXT_BYTES_MIN} are needed"
        raise ValueError(f"a text to search for: {problem}, as a shorter one turns up by chance")
    in_json = [json.dumps(text, ensure_ascii=plain)[1:-1].encode() for plain in (True, False)]
    return tuple(dict.fromkeys((*spellings(text), *in_json)))


def where_held(device: MeshDevice, text: tuple[bytes, ...]) -> str:
    """Where a device has or had one of these spellings in readable form; empty if nowhere."""
    disk = device.sim.disk
    if device.is_up:
        device.sim.store.save()
    for name, inode in disk.files.items():
        if _holds(inode.content, text):
            return f"in its file {name}"
    if disk.image is not None and _holds(disk.image, text):
        return "in its store"
    if device.last_engine is not None and _in_history(disk, device.last_engine, text):
        return "in its history"
    return ""


def _holds(content: bytes, text: tuple[bytes, ...]) -> bool:
    return any(needle in content for needle in text)


def _in_history(disk: SimDisk, engine: Engine, text: tuple[bytes, ...]) -> bool:
    """Whether an entry that the device can open holds it."""
    conn = sqlite3.connect(":memory:", isolation_level=None)
    try:
        if disk.image is not None:
            conn.deserialize(disk.image)
        tags = {scope.scope_no: scope.tag for scope in log_rows.scopes(conn)}
        for head in log_rows.logs(conn):
            log = engine.ledger.log(tags[head.scope_no], head.instance)
            if log is None:
                continue
            for seq in range(1, head.head_seq + 1):
                stored = stored_entry(conn, head.log_no, seq)
                body = None if stored is None else engine.mesh.open_entry(log, stored)
                if body is not None and _holds(body, text):
                    return True
    finally:
        conn.close()
    return False
