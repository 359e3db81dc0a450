"""Storage methods: what takes room in one home, what could be freed and how, and who says so.

Sizes are bytes. Of a collection they are of content; `rest` is what pages hold beside it: indexes,
marks, what a page leaves free. A report walks all records, in a few jobs that hold up nobody.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ...storage import lifecycle_rows
from ...storage.lifecycle_rows import CollectionSize, RuleRow, StoreSize
from ...storage.store import Conn
from ..parameters import Json, UsageError, text
from .lifecycle import COLD_DAYS, WARM_DAYS, Swept

if TYPE_CHECKING:
    from ..engine import Engine

Sizes = tuple[list[CollectionSize], dict[str, tuple[int, int]], StoreSize]


class StorageMethods:
    """The methods of one open node that are about room."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def table(self) -> dict[str, Callable[[Json], Awaitable[Any]]]:
        return {
            "storage": self.report,
            "storage_keep": self.keep,
            "storage_tidy": self.tidy,
        }

    async def report(self, _: Json) -> Json:
        """Bytes by database, collection, tier, history, blobs, full text; what could be freed."""
        engine = self._engine
        collections, history, store = await engine.database.read(_sizes)
        blobs = await engine.blobs.care.used()
        would = await engine.lifecycle.sweep(dry_run=True)
        known = sum(_content(each) for each in collections) + store.text + store.dictionaries
        known += sum(size for _, size in history.values())
        return {
            "store": {
                "bytes": store.total,
                "free": store.free,
                "text": store.text,
                "dictionaries": store.dictionaries,
                "rest": max(0, store.total - store.free - known),
            },
            "blobs": blobs,
            "caches": await engine.caches.disk_bytes(),
            "collections": [_shown(each) for each in collections if each.database],
            "history": [
                {"database": name or None, "entries": count, "bytes": size}
                for name, (count, size) in history.items()
            ],
            "rules": [_rule(rule) for rule in await engine.lifecycle.rules()],
            "could_free": {
                "expired": would.expired,
                "packable": would.packed,
                "packable_bytes": would.before,
                "free_pages": store.free,
            },
        }

    async def keep(self, params: Json) -> Json:
        """The rule of a collection, after it was set, or withdrawn with `withdraw`."""
        database, collection = text(params, "database"), text(params, "collection")
        lifecycle = self._engine.lifecycle
        if params.get("withdraw"):
            return {"withdrawn": await lifecycle.withdraw(database, collection)}
        field = params.get("expires")
        rule = await lifecycle.declare(
            database,
            collection,
            expires_field=None if field is None else text(params, "expires"),
            keep_days=_days(params, "days", None),
            warm_days=_days(params, "warm", WARM_DAYS) or 0,
            cold_days=_days(params, "cold", COLD_DAYS) or 0,
        )
        return _rule(rule)

    async def tidy(self, _: Json) -> Json:
        """Delete what has reached its time and pack what is old, now; what was done."""
        swept: Swept = await self._engine.lifecycle.sweep()
        return swept._asdict()


def _sizes(conn: Conn) -> Sizes:
    return (
        lifecycle_rows.collection_sizes(conn),
        lifecycle_rows.history_sizes(conn),
        lifecycle_rows.store_size(conn),
    )


def _content(size: CollectionSize) -> int:
    return size.values + size.hot + size.packed


def _shown(size: CollectionSize) -> Json:
    return {
        "database": size.database,
        "collection": size.collection,
        "records": size.records,
        "deleted": size.deleted,
        "bytes": _content(size),
        "values": size.values,
        "documents": size.hot,
        "warm": size.warm_records,
        "cold": size.cold_records,
        "packed": size.packed,
        "packed_from": size.plain,
    }


def _rule(rule: RuleRow) -> Json:
    return {
        "database": rule.database,
        "collection": rule.collection,
        "expires": rule.expires_field,
        "days": rule.keep_days,
        "warm": rule.warm_days,
        "cold": rule.cold_days,
    }


def _days(params: Json, name: str, otherwise: int | None) -> int | None:
    value = params.get(name)
    if value is None:
        return otherwise
    if type(value) is not int:
        raise UsageError(f"{name}: a number of days was expected")
    return value
