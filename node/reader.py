"""Reader: what is in the store now. Never waits for a writer or a peer.

Reads go to the store's reading connection and see what is durable. A record's fields come back
in the JSON form of `covey.sync.values`.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from ..storage import record_queries, record_rows
from ..storage.record_queries import Position
from ..storage.store import Store
from .ledger import Ledger

EXPORT_PAGE_RECORDS = 500


@dataclass(frozen=True, slots=True)
class Found:
    """One record in JSON form; `hlc`, `log`, `privacy` tell when, by whom and for whom, `bucket` in
    which time bucket it was born.
    """

    collection: str
    id: str
    value: dict[str, Any]
    hlc: int
    log: int
    privacy: int
    bucket: int


class Reader:
    def __init__(self, database: Store, ledger: Ledger) -> None:
        self._database = database
        self._ledger = ledger

    async def get(self, database: str, collection: str, id: str) -> Found | None:
        row = await self._database.read(
            lambda conn: record_rows.get(conn, database, collection, id)
        )
        if row is None or row.value is None:
            return None
        scope = self._ledger.log_numbered(row.log_no).scope
        value = json.loads(row.value)
        return Found(collection, row.id, value, row.hlc, row.log_no, scope.privacy, scope.bucket)

    async def page(self, database: str, collection: str | None, limit: int) -> list[Found]:
        """Records of a collection, or of all, in order of collection and id."""
        rows = await self._database.read(
            lambda conn: record_queries.list_records(conn, database, collection, None, limit)
        )
        return [found_of(row) for row in rows]

    async def export(self, database: str | None) -> AsyncIterator[tuple[str, Found]]:
        """Every record, page by page, so that memory stays bounded."""
        names = [database] if database else sorted({s.database for s in self._ledger.scopes()})
        for name in names:
            after: Position | None = None
            while True:
                rows = await self._database.read(
                    lambda conn, n=name, a=after: record_queries.list_records(  # type: ignore[misc]
                        conn, n, None, a, EXPORT_PAGE_RECORDS
                    )
                )
                for row in rows:
                    yield name, found_of(row)
                if len(rows) < EXPORT_PAGE_RECORDS:
                    break
                last = rows[-1]
                after = Position(last.collection, last.id, last.privacy, last.bucket)

    async def count(self) -> dict[str, int]:
        """Records that exist (deleted ones do not count), by database."""
        counts = await self._database.read(record_queries.counts)
        return {name: count for name, count in counts.items() if name}  # "" has the membership log


def found_of(row: record_queries.Found) -> Found:
    value = json.loads(row.value)
    return Found(row.collection, row.id, value, row.hlc, row.log_no, row.privacy, row.bucket)
