"""Office: what a link needs from the node. The switchboard implements it; tests bring their own."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..sync.demand import Demand
from ..sync.fetch import FetchPlan
from ..sync.messages import Batch
from ..sync.session_events import (
    DeclareFork,
    DeclareGreeting,
    DeclareProof,
    EntriesRead,
    ReadEntries,
)
from ..sync.vectors import Holdings
from .bucket import Bucket
from .ingest_rows import Prepared
from .ports import Clock

if TYPE_CHECKING:
    from .blobs import Blobs
    from .links import Link
    from .rulings import Rulings

BatchHeads = tuple[tuple[bytes, bytes, int, bytes], ...]


class Office:
    """What a link needs from the node. The switchboard implements it."""

    blobs: "Blobs"
    rulings: "Rulings"

    plan: FetchPlan
    clock: Clock

    @property
    def holdings(self) -> Holdings:
        raise NotImplementedError

    async def read_entries(self, request: ReadEntries) -> EntriesRead:
        raise NotImplementedError

    async def prepare_batch(self, link: "Link", batch: Batch) -> Prepared:
        raise NotImplementedError

    def store_batch(self, link: "Link", prepared: Prepared) -> "asyncio.Future[BatchHeads]":
        raise NotImplementedError

    def discard_batch(self, prepared: Prepared) -> None:
        raise NotImplementedError

    def wake_others(self, link: "Link") -> None:
        raise NotImplementedError

    def proved(self, link: "Link", proof: DeclareProof) -> None:
        raise NotImplementedError

    def greeted(self, link: "Link", greeting: DeclareGreeting) -> None:
        raise NotImplementedError

    async def know_scopes(
        self, link: "Link", database: bytes | None, tags: Sequence[bytes]
    ) -> None:
        raise NotImplementedError

    def vectors_told(self, link: "Link", scope: bytes) -> None:
        raise NotImplementedError

    def fork_seen(self, link: "Link", fork: DeclareFork) -> None:
        raise NotImplementedError

    def refused(self, link: "Link", why: str) -> None:
        raise NotImplementedError

    def demanded(self, link: "Link", message: Demand) -> None:
        raise NotImplementedError

    def caps(self, link: "Link", lane: bytes) -> Sequence[Bucket]:
        """The buckets that frames of this lane pay: a database's tag, or MAIN."""
        raise NotImplementedError
