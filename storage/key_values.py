"""Key values: rows of bytes under bytes in ascending order, kept by whatever can keep them.

A `RowPlace` is where they are kept: it is opened, thrown away, or found empty. What is kept there
can be made again from elsewhere, so a place that is damaged is thrown away as a whole. The real one
is `rocks.py`; here is one in memory, for simulations and tests.

Every method blocks, and one call is made at a time. What is written together is there together
after a crash, or not at all.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from .errors import StorageError

Row = tuple[bytes, bytes]


class RowsDamagedError(StorageError):
    """Rows are not what was written. Whoever keeps them throws the place away and begins anew."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(path, f"it is damaged ({found}): throw it away, it is made anew")


class KeyValues(Protocol):
    """Open rows. Every method raises StorageError, RowsDamagedError among them."""

    def get(self, key: bytes) -> bytes | None: ...

    def write(
        self,
        puts: Sequence[Row],
        deletes: Sequence[bytes] = (),
        ranges: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        """All of it or nothing: rows to put; else keys, and ranges of keys, to delete."""

    def scan(self, start: bytes, end: bytes, rows_max: int) -> list[Row]:
        """The first rows from `start` on and before `end`, ascending."""

    def compact(self, start: bytes, end: bytes) -> None:
        """Give back the room of what was deleted between `start` and `end`."""

    def close(self) -> None: ...


class RowPlace(Protocol):
    """Where rows are kept. Every method raises StorageError."""

    path: Path

    def open(self) -> KeyValues:
        """The rows that are there, or none if there is nothing yet."""

    def is_empty(self) -> bool:
        """True if nothing was ever kept here, or it was thrown away."""

    def disk_bytes(self) -> int:
        """What it takes on the disk, with all that is not given back yet."""

    def throw_away(self) -> None:
        """Remove everything. Nothing of it may be open."""


class MemoryKeyValues:
    """Implements `KeyValues`."""

    def __init__(self) -> None:
        self._keys: list[bytes] = []
        self._values: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self._values.get(key)

    def write(
        self,
        puts: Sequence[Row],
        deletes: Sequence[bytes] = (),
        ranges: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        for start, end in ranges:
            first, last = bisect_left(self._keys, start), bisect_left(self._keys, end)
            deletes = [*deletes, *self._keys[first:last]]
        for key in deletes:
            if self._values.pop(key, None) is not None:
                del self._keys[bisect_left(self._keys, key)]
        for key, value in puts:
            if key not in self._values:
                insort(self._keys, key)
            self._values[key] = value

    def scan(self, start: bytes, end: bytes, rows_max: int) -> list[Row]:
        first, last = bisect_left(self._keys, start), bisect_left(self._keys, end)
        return [(key, self._values[key]) for key in self._keys[first:last][:rows_max]]

    def compact(self, start: bytes, end: bytes) -> None:
        pass

    def close(self) -> None:
        pass


class MemoryPlace:
    """Implements `RowPlace`: rows that are gone with the process."""

    path = Path("memory")

    def __init__(self) -> None:
        self.rows = MemoryKeyValues()
        self._opened = False

    def open(self) -> KeyValues:
        self._opened = True
        return self.rows

    def is_empty(self) -> bool:
        return not self._opened

    def disk_bytes(self) -> int:
        return 0

    def throw_away(self) -> None:
        self.rows, self._opened = MemoryKeyValues(), False
