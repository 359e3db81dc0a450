"""Caches: what applications keep for a while on this device, to be had again without much work.

Nothing of a cache leaves the device or is ever the only copy: all may be thrown away at any moment,
and are, when their files are damaged, when the disk is full, when something is erased
(`personal.py`) and when a copy is taken away that is no longer wanted here (`narrowing.py`). So no
fault of the disk reaches a caller: what cannot be read is absent, what cannot be kept is not kept,
and the log of events says why.

What is on the disk, and what a thief learns from it: `storage/cache_store.py`. Where nobody says a
place (simulations), caches are in memory. A place is opened when a cache is first used, and one
call is made at a time, beside the event loop. Times are milliseconds, sizes bytes.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ... import CoveyError
from ...crypto.secret import Secret
from ...storage.cache_store import (
    CACHES_MAX,
    TTL_MS_MAX,
    Amount,
    CacheStore,
    Contents,
    open_cache,
)
from ...storage.errors import StorageError, StoreFullError
from ...storage.key_values import MemoryPlace, RowPlace, RowsDamagedError
from ...storage.stores import StoreKind
from ...sync.errors import BadValueError
from ..background import to_its_end
from ..blobs import Beside
from .cache_values import decode_value, encode_value, key_bytes, name_bytes

if TYPE_CHECKING:
    from ..engine import Engine

T = TypeVar("T")

STORE = "cache"
"""What it registers as, and its folder in the home."""
KEY_BYTES = 32
AGAIN_MS = 60_000
"""After a fault of the disk nothing is kept for so long."""
ABSENT: Any = object()
_MILLISECOND = timedelta(milliseconds=1)
_MIB = 1 << 20


class CacheClosedError(CoveyError):
    """A cache was used after its node was closed. Nothing was read or kept."""

    exit_code = 1

    def __init__(self) -> None:
        super().__init__("the node is closed: open it again to use its caches")


class Counts(NamedTuple):
    """How often a value was there when it was asked for, and how often not, since the start."""

    hits: int = 0
    misses: int = 0


@dataclass(slots=True)
class _Making:
    """Whoever makes a value now, and how many wait for it or make it."""

    lock: asyncio.Lock
    callers: int = 0


class Caches:
    """All caches of one node. Made by the engine; nothing is opened until one is used."""

    def __init__(self, engine: "Engine", beside: Beside) -> None:
        self._engine = engine
        self._beside = beside
        self._lock = asyncio.Lock()
        self._place: RowPlace | None = None
        self._key: Secret | None = None
        self._store: CacheStore | None = None
        self._making: dict[tuple[bytes, bytes], _Making] = {}
        self._counts: dict[str, Counts] = {}
        self._again_ms = 0
        self._lives = 0
        """How often everything was thrown away: what was begun before is not kept after."""
        self._told = False
        self._closed = False
        self.failed = 0
        """Calls that a fault of the disk left without effect."""

    def keep_at(self, place: RowPlace, key: Secret) -> None:
        """Keep caches there, sealed under keys that are derived from this one, 32 bytes."""
        self._engine.stores.register(STORE, StoreKind.CIPHERTEXT_FILE, place.path)
        self._place, self._key = place, key

    # Values ------------------------------------------------------------------------------------

    async def put(self, name: str, key: str | bytes, value: Any, ttl: timedelta | None) -> None:
        """See `Cache.put`."""
        await self._put((name_bytes(name), key_bytes(key)), encode_value(value), _ttl_ms(ttl))

    async def get(self, name: str, key: str | bytes, default: Any) -> Any:
        """See `Cache.get`."""
        found = await self._get((name_bytes(name), key_bytes(key)))
        counts = self._counts.get(name, Counts())
        if name in self._counts or len(self._counts) < CACHES_MAX:
            missed = found is ABSENT
            self._counts[name] = Counts(counts.hits + (not missed), counts.misses + missed)
        return default if found is ABSENT else found

    async def get_or_make(
        self,
        name: str,
        key: str | bytes,
        make: Callable[[], Awaitable[Any]],
        ttl: timedelta | None,
    ) -> Any:
        """See `Cache.get_or_make`."""
        ttl_ms, where = _ttl_ms(ttl), (name_bytes(name), key_bytes(key))
        found = await self.get(name, key, ABSENT)
        if found is not ABSENT:
            return found
        async with self._one_maker(where):
            found = await self._get(where)  # Somebody may have made it meanwhile.
            if found is not ABSENT:
                return found
            lives = self._lives
            kept = encode_value(await make())
            if lives == self._lives:
                await self._put(where, kept, ttl_ms)
            return decode_value(kept)

    async def delete(self, name: str, key: str | bytes) -> bool:
        """See `Cache.delete`."""
        where = name_bytes(name), key_bytes(key)
        return await self._do(lambda store: store.delete(*where), False, if_there=True)

    # Whole caches ------------------------------------------------------------------------------

    async def clear(self, name: str) -> int:
        """Throw one cache away; how many values it had."""
        found = name_bytes(name)
        self._lives += 1
        return await self._do(lambda store: store.clear(found), 0, if_there=True)

    async def clear_all(self) -> None:
        """Throw all caches away, and their files. Raises StorageError if that cannot be done."""
        self._lives += 1
        async with self._lock:
            await self._throw_away()

    async def contents(self) -> Contents:
        """How much there is of what."""
        return await self._do(CacheStore.contents, Contents(Amount(), {}), if_there=True)

    async def disk_bytes(self) -> int:
        """What caches take on the disk, files and all."""
        return await self._run(self._where().disk_bytes)

    async def stats(self) -> dict[str, Any]:
        """What `covey cache stats --json` prints."""
        await self._engine.scheduling.load()
        found, store = await self.contents(), self._store
        return {
            "kept": "in memory" if self._in_memory() else "on the disk",
            "values": found.whole.values,
            "bytes": found.whole.bytes,
            "bytes_max": self._bytes_max(),
            "caches": [
                {"name": name, "values": amount.values, "bytes": amount.bytes,
                 **self._counts.get(name, Counts())._asdict()}
                for name, amount in found.caches.items()
            ],
            "expired": 0 if store is None else store.expired,
            "evicted": 0 if store is None else store.evicted,
            "unreadable": 0 if store is None else store.unreadable,
            "failed": self.failed,
        }  # fmt: skip

    def counts(self, name: str) -> Counts:
        return self._counts.get(name, Counts())

    async def close(self) -> None:
        """Close what was opened. Whoever calls after this is told that the node is closed."""
        self._closed = True
        async with self._lock:
            await self._shut()

    # The place ---------------------------------------------------------------------------------

    async def _put(self, where: tuple[bytes, bytes], kept: bytes, ttl_ms: int) -> None:
        now_ms = self._engine.clock.wall_ms()
        await self._do(
            lambda store: store.put(*where, kept, now_ms + ttl_ms, now_ms, self._bytes_max()), None
        )

    async def _get(self, where: tuple[bytes, bytes]) -> Any:
        now_ms = self._engine.clock.wall_ms()
        kept = await self._do(lambda store: store.get(*where, now_ms), None, if_there=True)
        if kept is not None:
            with suppress(BadValueError):
                return decode_value(kept)
        return ABSENT

    async def _do(
        self, job: Callable[[CacheStore], T], otherwise: T, *, if_there: bool = False
    ) -> T:
        """Do something in the store; `otherwise` is what it gives where the disk does not let us.

        With `if_there` nothing is made where nothing was kept yet. Raises CacheMissingError.
        """
        async with self._lock:
            if self._closed:
                raise CacheClosedError
            if self._engine.clock.monotonic_ms() < self._again_ms:
                self.failed += 1
                return otherwise
            try:
                if if_there and self._store is None and await self._run(self._where().is_empty):
                    return otherwise
                return await self._done(job)
            except StorageError as error:
                await self._give_up(error)
                return otherwise

    async def _done(self, job: Callable[[CacheStore], T]) -> T:
        """Do it; where the files are damaged, do it in new ones. Raises StorageError."""
        try:
            return await self._run(partial(job, await self._opened()))
        except RowsDamagedError:
            await self._throw_away()
        self._engine.tell("cache_made_anew", {"reason": "its files were damaged"})
        return await self._run(partial(job, await self._opened()))

    async def _opened(self) -> CacheStore:
        if self._store is None:
            await self._engine.scheduling.load()  # How much may be kept.
            place, engine = self._where(), self._engine
            if self._key is None:  # In memory; drawn for who uses a cache and for nobody else.
                self._key = Secret(engine.entropy.draw(KEY_BYTES))
            now_ms, key = engine.clock.wall_ms(), self._key

            def open_it() -> CacheStore:
                # Set at once: what nobody waits for any more has to be closed all the same.
                self._store = open_cache(place, key, engine.entropy.draw, now_ms)
                return self._store

            return await self._run(open_it)
        return self._store

    def _where(self) -> RowPlace:
        if self._place is None:
            self._engine.stores.register(STORE, StoreKind.MEMORY)
            self._place = MemoryPlace()
        return self._place

    def _in_memory(self) -> bool:
        return isinstance(self._where(), MemoryPlace)

    async def _give_up(self, error: StorageError) -> None:
        """The disk refuses: leave it the room that caches take, and try again later."""
        self.failed += 1
        self._again_ms = self._engine.clock.monotonic_ms() + AGAIN_MS
        with suppress(StorageError):
            await self._throw_away()
        if not self._told:
            self._told = True
            reason = "the disk is full" if isinstance(error, StoreFullError) else "the disk failed"
            self._engine.tell("cache_made_anew", {"reason": reason})

    async def _throw_away(self) -> None:
        await self._shut()
        await self._run(self._where().throw_away)

    async def _shut(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            await self._run(store.close)

    async def _run(self, call: Callable[[], T]) -> T:
        return await to_its_end(self._beside(call))

    @asynccontextmanager
    async def _one_maker(self, where: tuple[bytes, bytes]) -> AsyncIterator[None]:
        making = self._making.setdefault(where, _Making(asyncio.Lock()))
        making.callers += 1
        try:
            async with making.lock:
                yield
        finally:
            making.callers -= 1
            if not making.callers:
                del self._making[where]

    def _bytes_max(self) -> int:
        return self._engine.scheduling.settings.cache_mib * _MIB


def _ttl_ms(ttl: timedelta | None) -> int:
    """Raises: BadValueError."""
    if ttl is None:
        return TTL_MS_MAX
    if not isinstance(ttl, timedelta) or not 0 < ttl // _MILLISECOND <= TTL_MS_MAX:
        raise BadValueError(
            f"ttl: a timedelta of more than nothing and at most {TTL_MS_MAX // 86_400_000} days"
            " was expected"
        )
    return ttl // _MILLISECOND
