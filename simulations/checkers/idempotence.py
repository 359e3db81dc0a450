"""I10: what a device has heard before changes nothing when it hears it again."""

from typing import ClassVar

from ...node.ingest import BatchRefusedError
from ...node.outgoing import whole_log
from ...sync.messages import decode_batch
from ..sim_device import SimDevice
from .belonging import circles, shared_between
from .checker import Checker
from .convergence import digests, records

ENTRIES_MAX = 2_000


class IdempotenceChecker(Checker):
    """Gives one device everything that another one holds, once more, as batches."""

    claims: ClassVar[dict[str, str]] = {
        "I10": "delivering any part of history again changes neither records nor digests",
    }

    async def at_rest(self) -> None:
        devices = max(circles(list(self.sound())), key=len, default=[])
        if len(devices) < 2:
            return
        at = self.run.world.dice.below(len(devices), "again")
        source, target = devices[at], devices[at - 1]
        if source.engine.keys.sig_pk == target.engine.keys.sig_pk:
            return
        await self._again(source, target)

    async def _again(self, source: SimDevice, target: SimDevice) -> None:
        shared = shared_between(source, target)
        before, held = await records(target), digests(target, shared)
        for scope in source.engine.ledger.holdings.scopes(shared):
            heads = source.engine.ledger.holdings.heads(scope, shared)
            if sum(head.seq for head in heads.values()) > ENTRIES_MAX:
                continue
            ranges = tuple((instance, 1, head.seq) for instance, head in sorted(heads.items()))
            for frame in await whole_log(source.store, source.engine.ledger, scope, ranges):
                try:
                    prepared = await target.engine.ingest.prepare(decode_batch(frame))
                except BatchRefusedError as error:
                    told = f"refuses what {source.name} holds: {error.reason}"
                    self.violate("I10", target.name, told)
                    return
                await target.engine.ingest.store(prepared)
        if await records(target) != before or digests(target, shared) != held:
            told = f"hearing the history of {source.name} again changed something"
            self.violate("I10", target.name, told)
