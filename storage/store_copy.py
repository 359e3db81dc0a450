"""Store copy: a whole, consistent copy of an encrypted store, and the proof that one is whole.

The copy is encrypted under the same key. It is made by the library inside one read transaction, so
the store may be written meanwhile, and the copy shows one moment. What it no longer needs (free
pages, the write-ahead log) is left out.

All take as long as the store is large, and run in whatever thread they are called in.
"""

from contextlib import closing
from pathlib import Path

from .connector import DATABASE_ERRORS, reader_connector, translate, writer_connector
from .errors import StorageError, StoreDamagedError
from .home import translate_os_error
from .system_files import SYSTEM_FILES

FAULTS_SHOWN_MAX = 1


def copy_store(source: Path, key: bytes, target: Path) -> None:
    """Copy the store at `source` to a new file of mode 0600. `key` opens both.

    Raises: StoreFullError, ReadOnlyHomeError, DiskFailedError for the target; StoreDamagedError and
    what opening raises for the source.
    """
    try:
        # Made first, because the library would let others read it.
        SYSTEM_FILES.write(target, b"")
    except OSError as error:
        raise translate_os_error(error, target) from error
    with closing(reader_connector(source, key, True)()) as conn:
        try:
            conn.execute("VACUUM INTO ?", (str(target.absolute()),))
        except DATABASE_ERRORS as error:
            found = translate(error, target)
            if isinstance(found, StoreDamagedError):
                found = translate(error, source)
            raise found from None


def rekey_store(path: Path, key: bytes, new_key: bytes) -> None:
    """Encrypt a store that nobody uses under another key. A crash half-way may cost the store.

    Raises: StoreFullError, DiskFailedError, StoreDamagedError, and what opening raises.
    """
    with closing(writer_connector(path, key, True)()) as conn:
        try:
            # The library changes the key of a store page by page, and not of its journal.
            conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            conn.execute("PRAGMA journal_mode=DELETE")
            conn.execute(f"PRAGMA rekey=\"x'{new_key.hex()}'\"")
        except DATABASE_ERRORS as error:
            raise translate(error, path) from None


def check_store(path: Path, key: bytes) -> None:
    """Read and verify every page of a store, and what it says of itself. Changes nothing.

    Raises: StoreDamagedError with the first fault, and what opening raises.
    """
    with closing(reader_connector(path, key, True)()) as conn:
        try:
            faults = [row[0] for row in conn.execute("PRAGMA cipher_integrity_check")]
            if not faults:
                said = conn.execute(f"PRAGMA integrity_check({FAULTS_SHOWN_MAX})").fetchall()
                faults = [row[0] for row in said if row[0] != "ok"]
        except DATABASE_ERRORS as error:
            found = translate(error, path)
            raise (found if isinstance(found, StorageError) else error) from None
    if faults:
        raise StoreDamagedError(path, " ".join(str(faults[0]).split()))
