"""Main: binds the engine to this machine. The only module that names adapters.

`create_home` makes a home; `open_service` and `open_node` open one: lock, vault, store, engine, and
if wanted the network. Closing undoes it in reverse, and releases the lock last.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..crypto.identity import DeviceKeys
from ..crypto.secret import Secret
from ..crypto.selftest import run_self_test
from ..crypto.vault import (
    COST_DEFAULT,
    VAULT_ID_BYTES,
    Argon2Cost,
    PaperLock,
    backup_key,
    cache_key,
    create_vault,
    open_vault,
    store_key,
    vault_id,
)
from ..storage import meta_rows
from ..storage.errors import HomeExistsError, NotInitialisedError, StorageError
from ..storage.home import Home
from ..storage.store_file import create_store, open_store
from ..storage.system_files import SYSTEM_FILES
from ..storage.vault_file import read_vault, write_vault
from .api import Node
from .backup import BackupMaker
from .capture import CaptureFile, CapturingTransport
from .counters import Counters
from .data.chroma_index import ChromaIndex
from .directory import shown_device
from .engine import Engine
from .foreign_thread import in_foreign_thread
from .founding import DEVICE_KEYS, MESH_ID, found_mesh
from .interfaces import fingerprint, read_interfaces
from .late_transport import ClosingTransport, LateTransport
from .outside import Outside
from .pictures import thumbnail
from .ports import Address, Discovery, Transport
from .recovering import former_paper_keys
from .service import Service
from .system_clock import SystemClock
from .system_entropy import SystemEntropy
from .system_surroundings import SystemSurroundings
from .unlock import Unlock, check_way, make_vault_unlock, to_vault_unlock
from .vault_care import follow_paper_keys, has_other_paper_slots

if TYPE_CHECKING:
    from .data.caches import Caches
    from .data.vectors import Vectors
    from .data.views import Views

SWITCH_INTERVAL_S = 0.0005
"""The store's thread gives up the interpreter at every SQL step; beside a busy event loop it would
get it back only after this long. Measured by benchmarks/store.py: 14 instead of 82 us a row."""


async def create_home(
    path: Path,
    name: str,
    kind: str,
    unlock: Unlock,
    paper: tuple[bytes, bytes] | None = None,
    *,
    cost: Argon2Cost = COST_DEFAULT,
) -> dict[str, Any]:
    """Make a home with a new device in a mesh of its own: `{"device": {…}, "mesh", "paper_key"}`.

    `paper` is the public half of a paper key (crypto/recovery.py), which then opens the home and
    belongs to the mesh; whoever passes it has made sure that a person has the words.

    The vault is written last: a home without one is not a home, and the command may be
    repeated. Raises HomeExistsError, UnlockError, StorageError, FormatError.
    """
    run_self_test()
    home, clock, entropy = Home(path), SystemClock(), SystemEntropy()
    check_new_home(path, unlock)
    home.create()
    with home.lock():
        if home.vault.exists():
            raise HomeExistsError(home.path)
        home.store.unlink(missing_ok=True)
        id = entropy.draw(VAULT_ID_BYTES)
        locks = [make_vault_unlock(unlock, id, entropy.draw)]
        if paper is not None:
            locks.append(PaperLock(paper[1]))
        header, vault_key = await asyncio.to_thread(create_vault, id, locks, entropy.draw, cost)
        opened = await create_store(
            home, store_key(vault_key).reveal(), clock.wall_ms(), entropy.draw
        )
        async with opened.database as database:
            keys = await found_mesh(database, opened.instance, name, kind, clock, entropy, paper)
            mesh = await database.read(lambda conn: meta_rows.get_meta(conn, MESH_ID))
        assert mesh is not None, "it was founded"
        write_vault(home.vault, header)
    device = shown_device(keys.sig_pk, name, kind)
    return {"device": device, "mesh": mesh.hex(), "paper_key": paper is not None}


def check_new_home(path: Path, unlock: Unlock | None = None) -> None:
    """Find out whether a home can be made at `path`, opened in this way. Makes nothing.

    Raises: HomeExistsError, UnlockError.
    """
    home = Home(path)
    if home.vault.exists():
        raise HomeExistsError(home.path)
    if unlock is not None:
        check_way(unlock, home.path)


@asynccontextmanager
async def open_engine(
    path: Path,
    unlock: Unlock,
    *,
    online: bool = False,
    listen: Address | None = None,
    mdns: bool = True,
    capture: Path | None = None,
) -> AsyncIterator[Engine]:
    """An open engine; it owns the home until the block ends.

    Raises NotInitialisedError, HomeBusyError, WrongKeyError, UnlockError, StorageError,
    PortInUseError.
    """
    run_self_test()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    clock, entropy, counters = SystemClock(), SystemEntropy(), Counters()
    async with AsyncExitStack() as stack:
        home = stack.enter_context(_locked(path))
        header = read_vault(home.vault).header
        vault_key = await asyncio.to_thread(_unlock, header, unlock)
        key = store_key(vault_key)
        backups = BackupMaker(home, header, key, backup_key(vault_key), clock)
        opened = await open_store(home, key.reveal(), clock.wall_ms(), entropy.draw)
        stack.push_async_callback(opened.database.close)
        stored = await opened.database.read(lambda conn: meta_rows.get_meta(conn, DEVICE_KEYS))
        if stored is None:
            raise NotInitialisedError(home.path)
        transport = _transport(stack, clock, counters, capture)
        engine = Engine(
            home.path,
            opened.database,
            DeviceKeys.decode(stored),
            opened.instance,
            clock,
            entropy,
            transport,
            _discovery(counters, listen) if mdns else None,
            counters,
            lambda: fingerprint(read_interfaces()),
            files=SYSTEM_FILES,
            beside=asyncio.to_thread,
        )
        home.register_stores(engine.stores)  # Before anything that would have to be closed.
        stack.push_async_callback(engine.close)
        _fit_out(engine)
        engine.blobs.has_moved = not opened.kept
        engine.reach.listen_on = listen
        engine.back_up = backups.make
        engine.fit_caches = partial(_fit_caches, home, cache_key(vault_key))
        await engine.start()
        await engine.follow_vectors()
        await _let_paper_keys_in(engine, home, header, vault_key)
        del vault_key  # What it opens is derived; it itself is needed no more.
        if not opened.kept:
            engine.tell("new_instance", {"reason": "this home was copied or put back"})
        if online:
            await engine.go_online()
            engine.lifecycle.start()
        yield engine


@asynccontextmanager
async def open_service(
    path: Path,
    unlock: Unlock,
    *,
    online: bool,
    listen: Address | None,
    mdns: bool,
    capture: Path | None = None,
    peers: tuple[Address, ...] = (),
) -> AsyncIterator[Service]:
    """The node as the command line and the local API see it."""
    async with open_engine(
        path, unlock, online=online, listen=listen, mdns=mdns, capture=capture
    ) as engine:
        for peer in peers:
            engine.add_address(peer.host, peer.port)
        yield Service(engine, engine.board.close)


class Opening:
    """What `covey.open` returns: await it, or use it with `async with`."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._stack = AsyncExitStack()

    async def _open(self) -> Node:
        engine = await self._stack.enter_async_context(open_engine(**self._options))
        return Node(engine, self._stack.aclose)

    def __await__(self) -> Any:
        return self._open().__await__()

    async def __aenter__(self) -> Node:
        return await self._open()

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


def open_node(
    home: str | os.PathLike[str],
    *,
    unlock: Unlock,
    online: bool = False,
    listen: str | None = None,
    mdns: bool = True,
) -> Opening:
    """Open a home: `async with covey.open(home, unlock=covey.KeyFile(path)) as node`.

    `online` starts the network: the node finds its peers and syncs in the background, until it is
    closed. `listen` is `HOST:PORT`; port 0 picks one. Without `mdns` only known addresses are used.

    Raises NotInitialisedError, HomeBusyError, WrongKeyError, UnlockError, StorageError,
    PortInUseError.
    """
    from .addresses import parse_address

    return Opening(
        path=Path(home),
        unlock=unlock,
        online=online,
        listen=None if listen is None else parse_address(listen),
        mdns=mdns,
    )


@contextmanager
def _locked(path: Path) -> Iterator[Home]:
    """A home that is there, for this process alone. Raises NotInitialisedError, HomeBusyError."""
    home = Home(path)
    if not home.vault.exists():
        raise NotInitialisedError(home.path)
    with home.lock():
        yield home


def _transport(
    stack: AsyncExitStack, clock: SystemClock, counters: Counters, capture: Path | None
) -> Transport:
    """The network, closed with `stack`; what travels is written to the file `capture`, if given."""
    transport = LateTransport(partial(_websocket, clock, counters))
    stack.push_async_callback(transport.close)
    if capture is None:
        return transport
    file = CaptureFile(capture)
    stack.callback(file.close)
    return CapturingTransport(transport, file)


def _websocket(clock: SystemClock, counters: Counters) -> ClosingTransport:
    from .websocket import WebSocketTransport

    return WebSocketTransport(clock, counters)


def _fit_out(engine: Engine) -> None:
    """What an engine on this machine has, whatever home it opens."""
    engine.blobs.outside = Outside()
    engine.blobs.variants.register("thumbnail", thumbnail)
    engine.scheduling.source = SystemSurroundings()
    engine.fit_vectors = _fit_vectors
    engine.fit_views = _fit_views


def _fit_vectors(vectors: "Vectors") -> None:
    vectors.open_index = ChromaIndex
    vectors.embedders.beside = in_foreign_thread


def _fit_views(views: "Views") -> None:
    views.beside = in_foreign_thread


def _fit_caches(home: Home, key: Secret, caches: "Caches") -> None:
    from ..storage.rocks import RocksPlace

    caches.keep_at(RocksPlace(home.cache), key)


def _unlock(header: bytes, unlock: Unlock) -> Secret:
    """The vault key. Argon2id takes a second and 256 MiB, so this runs beside the loop."""
    return open_vault(header, to_vault_unlock(unlock, vault_id(header)))


async def _let_paper_keys_in(engine: Engine, home: Home, header: bytes, vault_key: Secret) -> None:
    """The paper keys of the mesh open this home, and those that were replaced do no more."""
    current = [paper.seal_pk for paper in engine.mesh.registry.recovery]
    former = await former_paper_keys(engine) if has_other_paper_slots(header, current) else []
    with suppress(StorageError):  # To be tried again at the next start.
        if follow_paper_keys(home, header, vault_key, current, former, engine.entropy.draw):
            engine.tell("paper_key_slot", {"paper_keys": len(current)})


def _discovery(counters: Counters, listen: Address | None) -> Discovery:
    from .mdns import MulticastDiscovery

    return MulticastDiscovery(counters, "::" if listen is None else listen.host)
