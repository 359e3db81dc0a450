"""Closing: whatever comes while a node closes is done or refused, and nothing of it is left."""

import asyncio

import pytest

from covey.storage.errors import StorageError

from .memory_world import World

TURNS = 25


@pytest.mark.parametrize("turns", range(TURNS))
async def test_a_write_while_the_node_closes_is_done_or_refused_when_it_has_closed(
    turns: int,
) -> None:
    """A task that writes on would meet a store that is not there any more."""
    async with World() as world:
        a = await world.founder("a")
        await a.collection().put({"text": "first"}, id="one")
        # A store whose disk takes its time: what is asked of it ends some turns later.
        a.gate.hold_writes = True
        a.engine.tell("happened", {})
        closing = asyncio.ensure_future(a.engine.close())
        for _ in range(turns):
            await asyncio.sleep(0)
            a.gate.release()
        writing = asyncio.ensure_future(a.collection().put({"text": "late"}, id="two"))
        while not closing.done():
            await asyncio.sleep(0)
            a.gate.release()
        await closing

        assert [t for t in asyncio.all_tasks() if t.get_name() == "committer"] == []
        try:
            await writing
        except StorageError as refused:
            assert "closed" in str(refused)
