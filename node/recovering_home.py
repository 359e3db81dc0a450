"""Recovering a home: a backup and the words of the paper key make a new device.

The copy in the backup is another device's. It is opened beside the place of the new home, made a
device of its own by the word of the paper key (`recovering.py`), encrypted under a key of its own,
and renamed at the end: whatever happens before, there is no home. Whoever has the lost device's
passphrase or key file opens nothing of the new one.

It knows what the backup held. What came after it gets from the other devices, or from the lost
ones' peers, when it is first in sync. An adapter, as backup.py is.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..crypto.identity import DeviceKeys
from ..crypto.recovery import RecoveryKeys
from ..crypto.selftest import run_self_test
from ..crypto.vault import (
    COST_DEFAULT,
    VAULT_ID_BYTES,
    Argon2Cost,
    PaperLock,
    backup_key,
    create_vault,
    open_vault,
    store_key,
    vault_id,
)
from ..storage import meta_rows
from ..storage.backup_file import extract_store, read_backup
from ..storage.home import Home
from ..storage.store_copy import check_store, rekey_store
from ..storage.store_file import open_store
from ..storage.system_files import SYSTEM_FILES
from ..storage.vault_file import write_vault
from .backup import free_home, move_into_place, new_home_beside, verified_store
from .counters import Counters
from .directory import shown_device
from .engine import Engine
from .founding import DEVICE_KEYS
from .recovering import Recovering
from .system_clock import SystemClock
from .system_entropy import SystemEntropy
from .unlock import PaperWords, Unlock, check_way, make_vault_unlock, to_vault_unlock
from .websocket import WebSocketTransport


@dataclass(frozen=True, slots=True)
class NewDevice:
    """What the new device is to be."""

    name: str
    kind: str
    unlock: Unlock
    lost: Sequence[str]
    """Names or ids of devices to remove at the same time."""
    new_paper: Callable[[], RecoveryKeys] | None
    """Makes the paper key that takes the place of the one that is used, if any. Called when all
    else is known to be right: nobody is to write down words that count nowhere."""
    cost: Argon2Cost = COST_DEFAULT


async def recover_home(file: Path, place: Path, words: PaperWords, new: NewDevice) -> Any:
    """Make the home of a new device at `place`: `{"device", "mesh", "removed", "home"}`.

    Raises: WrongKeyError and NoSuchSlotError for words that do not open the backup,
    RecoveryRefusedError for a paper key that was replaced since, UnknownDeviceError; what
    `check_way` raises of the new way in; and what `restore_home` raises.
    """
    run_self_test()
    home = free_home(place)
    check_way(new.unlock, home.path)
    backup = read_backup(file)
    vault_key = open_vault(backup.vault, to_vault_unlock(words, vault_id(backup.vault)))
    entropy = SystemEntropy()
    with new_home_beside(home) as fresh:
        extract_store(backup, backup_key(vault_key), fresh.store)
        old_key = store_key(vault_key).reveal()
        verified_store(fresh, old_key, backup)
        device, mesh, paper = await _take_over(fresh, old_key, words.keys, new)
        id = entropy.draw(VAULT_ID_BYTES)
        ways = [make_vault_unlock(new.unlock, id, entropy.draw)]
        ways.append(PaperLock(paper.seal_pk))
        header, fresh_key = await asyncio.to_thread(create_vault, id, ways, entropy.draw, new.cost)
        new_key = store_key(fresh_key).reveal()
        await asyncio.to_thread(rekey_store, fresh.store, old_key, new_key)
        await asyncio.to_thread(check_store, fresh.store, new_key)
        write_vault(fresh.vault, header)
        move_into_place(fresh, home)
    shown = shown_device(device.sig_pk, new.name, new.kind)
    return {"device": shown, "mesh": mesh, "removed": list(new.lost), "home": str(home.path)}


async def _take_over(
    home: Home, key: bytes, paper: RecoveryKeys, new: NewDevice
) -> tuple[DeviceKeys, str, RecoveryKeys]:
    """Open the copy as the device that it was, and let the paper key make another one of it.

    The keys of that one, the mesh, and the paper key that counts from now on.
    """
    clock, entropy, counters = SystemClock(), SystemEntropy(), Counters()
    opened = await open_store(home, key, clock.wall_ms(), entropy.draw)
    async with opened.database as database:
        stored = await database.read(lambda conn: meta_rows.get_meta(conn, DEVICE_KEYS))
        assert stored is not None, "the store was verified"
        engine = Engine(
            home.path,
            database,
            DeviceKeys.decode(stored),
            opened.instance,
            clock,
            entropy,
            WebSocketTransport(clock, counters),
            None,
            counters,
            files=SYSTEM_FILES,
        )
        await engine.start()
        try:
            recovering = Recovering(engine)
            # The device that this copy is may be one of them: it is to be another one.
            lost = [engine.directory.find_device(name).sig_pk for name in new.lost]
            recovering.require(paper)
            fresh = None if new.new_paper is None else new.new_paper()
            keys = await recovering.take_over(paper, new.name, new.kind, lost, fresh)
            return keys, engine.mesh.id.hex(), fresh or paper
        finally:
            await engine.close()
