"""Cache API: what an application keeps for a while on this device.

    answers = node.cache("answers")
    await answers.put("tea", {"text": "2 cups"}, ttl=timedelta(hours=1))

Guide: docs/data/cache.md.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from ...storage.cache_store import Amount
from .cache_values import name_bytes

if TYPE_CHECKING:
    from ..engine import Engine


class CacheStats(NamedTuple):
    """Of one cache: how many values there are and the bytes that they take; hits and misses count
    since the node was opened.
    """

    values: int
    bytes: int
    hits: int
    misses: int


class Cache:
    """One cache of this device. Cheap to make; holds no state."""

    def __init__(self, engine: "Engine", name: str) -> None:
        name_bytes(name)
        self._engine = engine
        self.name = name

    async def put(self, key: str | bytes, value: Any, *, ttl: timedelta | None = None) -> None:
        """Keep a value for a while, for 30 days if no `ttl` says how long: here, and nowhere else.

        A value is what a field of a record may be, or bytes, of at most 8 MiB. It may be gone
        before its time. Raises BadValueError, CacheMissingError, TooManyCachesError.
        """
        await self._engine.caches.put(self.name, key, value, ttl)

    async def get(self, key: str | bytes, default: Any = None) -> Any:
        """The value, or `default` if there is none any more. Raises as `put`."""
        return await self._engine.caches.get(self.name, key, default)

    async def get_or_make(
        self,
        key: str | bytes,
        make: Callable[[], Awaitable[Any]],
        *,
        ttl: timedelta | None = None,
    ) -> Any:
        """The value; if there is none, what `make()` gives, which is kept.

        Whoever asks for a key while its value is made waits for it, and makes it only if that
        failed. Raises as `put`, and what `make` raises.
        """
        return await self._engine.caches.get_or_make(self.name, key, make, ttl)

    async def delete(self, key: str | bytes) -> bool:
        """Drop a value; False if there was none."""
        return await self._engine.caches.delete(self.name, key)

    async def clear(self) -> int:
        """Drop all values of this cache; how many they were."""
        return await self._engine.caches.clear(self.name)

    async def stats(self) -> CacheStats:
        """How much it holds, and how often it helped."""
        found = (await self._engine.caches.contents()).caches.get(self.name, Amount())
        return CacheStats(found.values, found.bytes, *self._engine.caches.counts(self.name))
