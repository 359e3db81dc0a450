"""A machine that was set back, and is told by others what it wrote: its logs stay whole."""

from contextlib import suppress

from covey.node.ingest import StoreMovedError
from covey.storage.store import Conn

from .fake_clock import SeededEntropy
from .memory_world import Gate, World, batches, carry


def seqs(conn: Conn) -> list[tuple[int, int, int]]:
    """Of each log: how many entries there are, the first and the last."""
    found = conn.execute("SELECT count(*), min(seq), max(seq) FROM entries GROUP BY log_no")
    return [(count, first, last) for count, first, last in found]


async def test_a_write_while_a_peer_brings_what_was_lost_leaves_no_gap_in_the_log() -> None:
    """It must not rest on entries that are not on the disk: they may never be."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await phone.collection().put({"n": 0}, id="kept")
        await carry(phone, laptop)
        image, engine = phone.gate.image(), phone.engine
        await phone.collection().put({"n": 1}, id="lost")
        await carry(phone, laptop)
        again = await world._start(Gate(image), engine.keys, engine.instance, SeededEntropy(99))
        scope = again.engine.ledger.scope_named("memory", 1)
        assert scope is not None

        (batch,) = await batches(laptop, again, scope.tag)
        prepared = await again.engine.ingest.prepare(batch)
        await again.collection().put({"n": 2}, id="new")
        with suppress(StoreMovedError):
            await again.engine.ingest.store(prepared)

        assert all(
            (first, last) == (1, count) for count, first, last in await again.gate.read(seqs)
        )
        assert await again.collection().get("new") == {"n": 2}
