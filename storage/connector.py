"""Connector: opens one connection to the encrypted store, or refuses.

Every page of the file and of its write-ahead log is encrypted and authenticated by SQLCipher under
a raw 32-byte key, so opening derives nothing slow. It fails closed: a library that cannot
encrypt and a file that is not encrypted are refused, and there is no other way in.

The settings are measured (benchmarks/store.py says how): pages of 4 KiB, because a small commit
writes whole pages; a write-ahead log of 16 MiB, because a page that changes often is then copied
into the file once and not at every turn; the log is never cut, because a durable write over old
blocks costs half of one that makes the file longer; secure_delete costs nothing measurable.

`translate` turns errors of the library into this floor's. sqlcipher3's exceptions are not
subclasses of sqlite3's, so both are looked at, by number.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlcipher3 import dbapi2

from .errors import (
    DiskFailedError,
    HomeBusyError,
    NotInitialisedError,
    PlaintextStoreError,
    ReadOnlyHomeError,
    StorageError,
    StoreDamagedError,
    StoreFullError,
    WrongKeyError,
)

KEY_BYTES = 32
WAL_PAGES_MAX = 4000
WRITER_CACHE_KIB = 16_384
READER_CACHE_KIB = 8_192
BUSY_TIMEOUT_S = 5.0
STATEMENTS_CACHED = 256

_PLAIN_HEADER = b"SQLite format 3\0"
DATABASE_ERRORS: tuple[type[Exception], ...] = (sqlite3.Error, dbapi2.Error)


def writer_connector(path: Path, key: bytes, key_checked: bool) -> Callable[[], Any]:
    """A function that opens `path` for reading and writing, in whatever thread it is called.

    The file must exist; an empty one becomes a store. The function raises WrongKeyError, or
    StoreDamagedError if `key_checked` says that the vault has vouched for the key;
    PlaintextStoreError; ReadOnlyHomeError.
    """

    def connect() -> Any:
        return _connect(path, key, key_checked, f"cache_size=-{WRITER_CACHE_KIB}", "rw")

    return connect


def reader_connector(path: Path, key: bytes, key_checked: bool) -> Callable[[], Any]:
    """As `writer_connector`, for a connection that cannot change the file."""

    def connect() -> Any:
        return _connect(path, key, key_checked, f"cache_size=-{READER_CACHE_KIB}", "ro")

    return connect


def settings(mode: str, cache: str) -> tuple[str, ...]:
    """What is set on every connection, as the texts of PRAGMAs, in this order.

    `mode` is `rw` or `ro`, `cache` the PRAGMA that sizes its cache. A simulated store sets the
    same, so that a setting which is wrong here loses data there.
    """
    return (
        *(("journal_mode=WAL",) if mode == "rw" else ()),
        "synchronous=FULL",
        "temp_store=MEMORY",
        "secure_delete=ON",
        "trusted_schema=OFF",
        "foreign_keys=ON",
        f"wal_autocheckpoint={WAL_PAGES_MAX}",
        cache,
    )


def _connect(path: Path, key: bytes, key_checked: bool, cache: str, mode: str) -> Any:
    assert len(key) == KEY_BYTES
    _refuse_plaintext(path)
    try:
        conn = dbapi2.connect(
            f"{path.as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=STATEMENTS_CACHED,
            timeout=BUSY_TIMEOUT_S,
        )
    except DATABASE_ERRORS as error:
        raise translate(error, path) from None
    try:
        # Before the key: a wrong one would otherwise be announced on standard error.
        conn.execute("PRAGMA cipher_log_level=NONE")
        version = conn.execute("PRAGMA cipher_version").fetchone()
        if not version or not version[0]:
            raise PlaintextStoreError(path, "the SQLite library here cannot encrypt")
        conn.execute(f"PRAGMA key=\"x'{key.hex()}'\"")
        conn.execute("SELECT count(*) FROM sqlite_master").fetchone()
        for setting in settings(mode, cache):
            conn.execute(f"PRAGMA {setting}").fetchall()
    except BaseException as error:
        conn.close()
        if isinstance(error, DATABASE_ERRORS):
            # Without the cause: nothing that was ever near the key goes into a trace.
            raise _translate_at_open(error, path, key_checked) from None
        raise
    return conn


def _refuse_plaintext(path: Path) -> None:
    try:
        with open(path, "rb") as file:
            if file.read(len(_PLAIN_HEADER)) == _PLAIN_HEADER:
                raise PlaintextStoreError(path, "the file is an SQLite database in the clear")
    except FileNotFoundError:
        raise NotInitialisedError(path) from None
    except PermissionError:
        raise ReadOnlyHomeError(path) from None
    except OSError as error:
        raise DiskFailedError(path, error.strerror or "unknown error") from error


def _primary_code(error: BaseException) -> int:
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else 0


def _translate_at_open(error: BaseException, path: Path, key_checked: bool) -> BaseException:
    if _primary_code(error) == sqlite3.SQLITE_NOTADB and not key_checked:
        return WrongKeyError(path)
    return translate(error, path)


def translate(error: BaseException, path: Path) -> BaseException:
    """The leaf of this floor that says what a library error means, or `error` itself.

    Errors that only our own statements can cause, and all that are not the library's, come back
    unchanged.
    """
    if not isinstance(error, DATABASE_ERRORS):
        return error
    name = str(getattr(error, "sqlite_errorname", "") or "unknown error")
    leaf: StorageError
    match _primary_code(error):
        case sqlite3.SQLITE_FULL:
            leaf = StoreFullError(path)
        case sqlite3.SQLITE_IOERR:
            leaf = StoreFullError(path) if _no_room(path) else DiskFailedError(path, name)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN:
            leaf = ReadOnlyHomeError(path)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            leaf = StoreDamagedError(path, name)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            leaf = HomeBusyError(path, "another program")
        case sqlite3.SQLITE_NOMEM:
            leaf = DiskFailedError(path, "out of memory")
        case _:
            return error
    return leaf


def _no_room(path: Path) -> bool:
    with contextlib.suppress(OSError):
        found = os.statvfs(path.parent)
        return found.f_bavail * found.f_frsize < 1 << 20
    return False
