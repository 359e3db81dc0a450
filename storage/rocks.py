"""Rocks: rows of bytes in RocksDB, in a folder of the home. The real `RowPlace`.

RocksDB encrypts nothing: whoever writes here seals values and hashes keys before (`cache_store`).
Its own files hold times, settings, the name of the machine and the path of the folder beside them.
The folder has mode 0700, because the files in it have what the umask leaves.

RocksDB is imported when a place is opened (`covey[cache]`); a place is thrown away without it. A
process that ends at any moment leaves whole what was written before; a loss of power may take the
last seconds. Of rocksdict 0.3.29 one has to know:

- `get`, `put` and `write` keep the interpreter's lock. A write that RocksDB holds up would stop
  the process, on a full disk for ever, so no write may be held up: it is tried again instead.
- An iterator that is alive keeps the folder locked after `close`, so none leaves `_rows`.
- What went wrong is a text that begins with one of a few words. What is neither a fault of the
  system nor known is taken for damage, because here the cure is cheap.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .. import CoveyError
from .errors import DiskFailedError, ReadOnlyHomeError, StorageError, StoreFullError
from .home import translate_os_error
from .key_values import KeyValues, Row, RowsDamagedError
from .system_files import SYSTEM_FILES

if TYPE_CHECKING:
    from rocksdict import Options, Rdict, WriteBatch

T = TypeVar("T")

WRITE_BUFFER_BYTES = 8 << 20
"""What is written is in memory (and in a log on the disk) until it is so much."""
WRITE_BUFFERS_MAX = 4
BLOCK_CACHE_BYTES = 8 << 20
OPEN_FILES_MAX = 128
LOG_BYTES_MAX = 1 << 20
"""Of the log of what RocksDB did, and of its list of files; then a new one is begun."""
BLOOM_BITS = 10
"""Bits a key, by which 99 of 100 reads of what is not there open no file."""
STALL_S = 0.02
STALLS_MAX = 100
"""How long, and how often, a write waits that RocksDB would hold up: two seconds in all."""
REASON_CHARACTERS_MAX = 120
PANIC = "PanicException"
"""What a fault inside of the library ends as; pyo3 derives it from BaseException."""


class CacheMissingError(CoveyError):
    """A cache was to be used where the extra that brings RocksDB is not installed."""

    exit_code = 2

    def __init__(self) -> None:
        super().__init__("a cache needs RocksDB: pip install 'covey[cache]'")


class RocksPlace:
    """Implements `RowPlace`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> KeyValues:
        """Raises: CacheMissingError, StorageError."""
        try:
            import rocksdict
        except ImportError:
            raise CacheMissingError from None
        try:
            SYSTEM_FILES.make_folder(self.path)
            self.path.chmod(0o700)
        except OSError as error:
            raise translate_os_error(error, self.path) from error
        path = str(self.path)
        opened = _translated(self.path, lambda: rocksdict.Rdict(path, _options()))
        return RocksKeyValues(self.path, opened)

    def is_empty(self) -> bool:
        return not self.path.exists()

    def disk_bytes(self) -> int:
        found = 0
        # RocksDB removes files while it is looked at; and a folder may not be there at all.
        with suppress(OSError):
            for path in self.path.iterdir():
                with suppress(FileNotFoundError):
                    found += path.stat().st_size
        return found

    def throw_away(self) -> None:
        try:
            if self.path.is_symlink() or self.path.is_file():
                self.path.unlink()
            elif self.path.exists():
                shutil.rmtree(self.path)
        except OSError as error:
            raise translate_os_error(error, self.path) from error


class RocksKeyValues:
    """Implements `KeyValues`. Made by `RocksPlace`."""

    def __init__(self, folder: Path, opened: "Rdict") -> None:
        import rocksdict

        self._folder = folder
        self._opened = opened
        self._new_batch = rocksdict.WriteBatch
        self._at_once = rocksdict.WriteOptions()
        self._at_once.no_slowdown = True

    def get(self, key: bytes) -> bytes | None:
        found: bytes | None = _translated(self._folder, lambda: self._opened.get(key))
        return found

    def write(
        self,
        puts: Sequence[Row],
        deletes: Sequence[bytes] = (),
        ranges: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        for _ in range(STALLS_MAX):
            batch = self._new_batch(raw_mode=True)  # One that was refused cannot be used again.
            # In this order: what is put may lie in a range that is deleted.
            for start, end in ranges:
                batch.delete_range(start, end)
            for key in deletes:
                batch.delete(key)
            for key, value in puts:
                batch.put(key, value)
            if _translated(self._folder, partial(self._written, batch)):
                return
            time.sleep(STALL_S)
        raise DiskFailedError(self._folder, "it does not keep up with what is written")

    def scan(self, start: bytes, end: bytes, rows_max: int) -> list[Row]:
        return _translated(self._folder, lambda: _rows(self._opened, start, end, rows_max))

    def compact(self, start: bytes, end: bytes) -> None:
        _translated(self._folder, lambda: self._opened.compact_range(start, end))

    def close(self) -> None:
        # After a write that failed this fails too, and closes all the same.
        with suppress(StorageError):
            _translated(self._folder, self._opened.close)

    def _written(self, batch: "WriteBatch") -> bool:
        """False if it would have been held up. Raises as RocksDB does."""
        try:
            self._opened.write(batch, self._at_once)
        except Exception as error:
            if str(error).startswith("Result incomplete"):
                return False
            raise
        return True


def _rows(opened: "Rdict", start: bytes, end: bytes, rows_max: int) -> list[Row]:
    rows: list[Row] = []
    walk = opened.iter()
    try:
        walk.seek(start)
        while len(rows) < rows_max and walk.valid() and (key := walk.key()) < end:
            rows.append((key, walk.value()))
            walk.next()
        walk.status()
    finally:
        del walk  # A traceback would keep it.
    return rows


def _options() -> "Options":
    import rocksdict

    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_compression_type(rocksdict.DBCompressionType.none())  # Sealed: nothing to gain.
    options.set_write_buffer_size(WRITE_BUFFER_BYTES)
    options.set_max_write_buffer_number(WRITE_BUFFERS_MAX)
    options.set_max_total_wal_size(WRITE_BUFFERS_MAX * WRITE_BUFFER_BYTES)
    options.set_target_file_size_base(WRITE_BUFFER_BYTES)
    options.set_max_open_files(OPEN_FILES_MAX)
    options.set_keep_log_file_num(1)
    options.set_max_log_file_size(LOG_BYTES_MAX)
    options.set_max_manifest_file_size(LOG_BYTES_MAX)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    tables = rocksdict.BlockBasedOptions()
    tables.set_block_cache(rocksdict.Cache(BLOCK_CACHE_BYTES))
    tables.set_bloom_filter(BLOOM_BITS, False)
    options.set_block_based_table_factory(tables)
    return options


def _translated(folder: Path, call: Callable[[], T]) -> T:
    """What a call of RocksDB gives. Raises: StorageError."""
    try:
        return call()
    except Exception as error:
        raise _storage_error(folder, str(error)) from None
    except BaseException as error:
        if type(error).__name__ != PANIC:
            raise
        raise RowsDamagedError(folder, "RocksDB gave up") from None


def _storage_error(folder: Path, said: str) -> StorageError:
    reason = said.partition("\n")[0][:REASON_CHARACTERS_MAX]
    if not said.startswith("IO error"):
        return RowsDamagedError(folder, reason)
    if "No space left" in said or "Disk quota" in said or "File too large" in said:
        return StoreFullError(folder)
    if "Permission denied" in said or "Read-only file system" in said:
        return ReadOnlyHomeError(folder)
    if "No such file" in said:
        return RowsDamagedError(folder, reason)
    return DiskFailedError(folder, reason)
