"""Store file: opens the store of a home, and decides under which instance it may write.

The caller holds the lock of the home (`Home.lock`) and has the store's key from the vault. What
comes back is an open `Database` and the instance id (`instance_rule.py`): kept at a plain restart,
new for a copy or a store that was put back. A caller that gets a new one opens new logs under it;
the entries of the old one stay and are synced like anyone's.

`now_ms` is wall time in milliseconds since 1970; `draw` gives random bytes fit for keys.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .database import Database, create_database, open_database
from .errors import StoreFullError
from .files import Files
from .home import Home, translate_os_error
from .instance_rule import (
    INSTANCE_BYTES,
    TOKEN_BYTES,
    Claim,
    claim_instance,
    read_token,
    write_token,
)
from .store import Store
from .system_files import SYSTEM_FILES


@dataclass(frozen=True, slots=True)
class OpenStore:
    """An open store and the instance to write under. `kept` is False if it is a new one."""

    database: Database
    instance: bytes
    kept: bool


async def create_store(
    home: Home, key: bytes, now_ms: int, draw: Callable[[int], bytes]
) -> OpenStore:
    """Make the store of a new home and open it. `key` is 32 bytes.

    Raises: HomeExistsError, StoreFullError, ReadOnlyHomeError, PlaintextStoreError,
    DiskFailedError.
    """
    database = await create_database(home.store, key, now_ms, home.reserve)
    return await _claimed(home, database, draw)


async def open_store(
    home: Home,
    key: bytes,
    now_ms: int,
    draw: Callable[[int], bytes],
    key_checked: bool = True,
) -> OpenStore:
    """Open the store of a home, brought up to date. `key` is 32 bytes.

    `key_checked` tells that the vault has vouched for the key, so that a store it does not open is
    called damaged and not locked.

    Raises: what `open_database` raises.
    """
    try:
        database = await open_database(home.store, key, now_ms, key_checked, home.reserve)
        return await _claimed(home, database, draw)
    except StoreFullError:
        if not home.reserve.held_bytes:
            raise
    # What was kept back is for this: a full disk must not lock anybody out of reading.
    home.reserve.release()
    database = await open_database(home.store, key, now_ms, key_checked, home.reserve)
    return await _claimed(home, database, draw)


async def claim(
    store: Store, files: Files, store_path: Path, token_path: Path, draw: Callable[[int], bytes]
) -> Claim:
    """Decide under which instance an open store may write, and make that durable.

    `store` is the one in the file `store_path`. After an error, and after a crash at any moment,
    the next claim finds its way by the rule (`instance_rule.py`).

    Raises: what `Store.write` and `write_token` raise.
    """
    try:
        identity = files.identity(store_path)
    except OSError as error:
        raise translate_os_error(error, store_path) from error
    found_token = read_token(token_path, files)
    new_token, new_instance = draw(TOKEN_BYTES), draw(INSTANCE_BYTES)
    claimed = await store.write(
        lambda conn: claim_instance(conn, identity, found_token, new_token, new_instance)
    )
    # Only now: instance_rule.py says why this order survives a crash in between.
    write_token(token_path, new_token, files)
    return claimed


async def _claimed(home: Home, database: Database, draw: Callable[[int], bytes]) -> OpenStore:
    try:
        claimed = await claim(database, SYSTEM_FILES, home.store, home.token, draw)
    except BaseException:
        await database.close()
        raise
    return OpenStore(database, claimed.instance, claimed.kept)
