"""Backup and restore: a home as one encrypted file, and a home from one.

A backup holds the vault header as it was when the home was opened, and a copy of the store at one
moment; the node may go on meanwhile. It is verified page by page before it is put together, and
read back from the disk before it has its name.

A restore makes a new home beside its place, verifies all of it, and renames it at the end: whatever
happens before, there is no home. What is restored knows nothing of the token that the original
renewed at its last start, so it opens a new instance (storage/instance_rule.py) and is safe beside
the original. It is unlocked as the original was when the backup was made.

Both take as long as the store is large and run beside the event loop: an adapter.
"""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from ..crypto.identity import DeviceKeys, short_id, shown_id
from ..crypto.secret import Secret
from ..crypto.selftest import run_self_test
from ..crypto.vault import backup_key, open_vault, store_key, vault_id
from ..storage import meta_rows
from ..storage.backup_file import (
    Backup,
    BackupDamagedError,
    extract_store,
    new_backup,
    read_backup,
    store_beside,
    write_backup,
)
from ..storage.connector import reader_connector
from ..storage.errors import HomeExistsError, StorageError, StoreDamagedError
from ..storage.home import Home, translate_os_error
from ..storage.store_copy import check_store, copy_store
from ..storage.system_files import SYSTEM_FILES
from ..storage.vault_file import write_vault
from .founding import DEVICE_KEYS, MESH_ID
from .ports import Clock
from .times import iso_time
from .unlock import Unlock, to_vault_unlock

Json = dict[str, Any]


class FolderTakenError(StorageError):
    """There is something in the place where a home was to be restored. It was left alone."""

    exit_code = 1

    def __init__(self, path: Path) -> None:
        super().__init__(path, "there is something else here: choose another folder by --home")


class BackupPlaceError(StorageError):
    """A backup inside the home it is of would be lost with it, or be written over the home."""

    exit_code = 2

    def __init__(self, path: Path) -> None:
        super().__init__(path, "a backup must not lie in the home itself: choose another folder")


class BackupMaker:
    """Makes backups of one open home. `vault` is the header by which it was opened."""

    def __init__(
        self, home: Home, vault: bytes, store_key: Secret, backup_key: Secret, clock: Clock
    ) -> None:
        self._home = home
        self._vault = vault
        self._store_key = store_key
        self._backup_key = backup_key
        self._clock = clock

    async def make(self, path: Path, force: bool) -> Json:
        """Write a backup to `path`: `{"file", "bytes", "made_at"}`. `force` replaces a file.

        Raises: BackupExistsError, BackupBusyError, BackupPlaceError, StorageError.
        """
        return await asyncio.to_thread(self._make, path.absolute(), force)

    def _make(self, path: Path, force: bool) -> Json:
        home = self._home.path.resolve()
        if home in (path.parent.resolve(), *path.parent.resolve().parents):
            raise BackupPlaceError(path)
        made_ms, key = self._clock.wall_ms(), self._store_key.reveal()
        with new_backup(path, force) as partial:
            copy = store_beside(partial)
            copy_store(self._home.store, key, copy)
            check_store(copy, key)
            head = write_backup(path, partial, self._vault, made_ms, self._backup_key, force)
        return {"file": str(path), "bytes": head.file_bytes, "made_at": iso_time(made_ms)}


def restore_home(file: Path, place: Path, unlock_of: Callable[[bytes], Unlock]) -> Json:
    """Make a home at `place` from a backup: `{"home", "device", "mesh", "made_at"}`.

    `unlock_of` is asked for the way into the vault, whose header it is given, once the file has
    proved to be whole.

    Raises: HomeExistsError, FolderTakenError, HomeBusyError, BackupMissingError,
    BackupDamagedError, StorageError for the place; what unlocking raises.
    """
    run_self_test()
    home = free_home(place)
    backup = read_backup(file)
    unlock = unlock_of(backup.vault)
    vault_key = open_vault(backup.vault, to_vault_unlock(unlock, vault_id(backup.vault)))
    key = store_key(vault_key).reveal()
    with new_home_beside(home) as fresh:
        extract_store(backup, backup_key(vault_key), fresh.store)
        write_vault(fresh.vault, backup.vault)
        known = verified_store(fresh, key, backup)
        move_into_place(fresh, home)
    return {"home": str(home.path), **known, "made_at": iso_time(backup.head.made_ms)}


def verified_store(home: Home, key: bytes, backup: Backup) -> Json:
    """Read every page of a restored store; who it belongs to."""
    try:
        check_store(home.store, key)
        with closing(reader_connector(home.store, key, True)()) as conn:
            stored = meta_rows.get_meta(conn, DEVICE_KEYS)
            mesh = meta_rows.get_meta(conn, MESH_ID)
    except StoreDamagedError:
        raise BackupDamagedError(backup.path, "the store in it is damaged") from None
    if stored is None or mesh is None:
        raise BackupDamagedError(backup.path, "the store in it belongs to no device")
    sig_pk = DeviceKeys.decode(stored).sig_pk
    device = {"id": shown_id(sig_pk), "short_id": short_id(sig_pk)}
    return {"device": device, "mesh": mesh.hex()}


def free_home(place: Path) -> Home:
    """The home to be at this place. Raises: HomeExistsError, FolderTakenError, StorageError."""
    # A link to an empty folder cannot be renamed onto; the folder can.
    home = Home(place.resolve() if place.is_symlink() else place)
    _refuse_taken(home)
    return home


def move_into_place(fresh: Home, home: Home) -> None:
    """Give a home that is whole its name, durably. Raises as `free_home` does."""
    _refuse_taken(home)
    try:
        SYSTEM_FILES.sync_folder(fresh.path)
        os.rename(fresh.path, home.path)
        SYSTEM_FILES.sync_folder(home.path.parent)
    except OSError as error:
        raise translate_os_error(error, home.path) from error


def _refuse_taken(home: Home) -> None:
    if home.exists:
        raise HomeExistsError(home.path)
    try:
        # An empty folder is as good as none; anything in it is somebody's.
        if any(home.path.iterdir()):
            raise FolderTakenError(home.path)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise FolderTakenError(home.path) from None
    except OSError as error:
        raise translate_os_error(error, home.path) from error


@contextmanager
def new_home_beside(home: Home) -> Iterator[Home]:
    """An empty home, locked, beside the place of `home`. Removed if the block fails.

    What a restore left that was ended by force is found by its name and thrown away.
    """
    fresh = Home(home.path.with_name(f".{home.path.name}.restoring"))
    fresh.create()
    with fresh.lock():
        try:
            for left in (fresh.store, fresh.vault, fresh.token):
                for path in fresh.path.glob(f"{left.name}*"):
                    path.unlink()
            yield fresh
        except BaseException:
            with suppress(OSError):
                shutil.rmtree(fresh.path)
            raise
