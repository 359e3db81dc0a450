"""Callbacks that embed: other people's code, which may raise, exit, hang or take its time."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from covey.node.data.embedders import ANSWER_MS_MAX, SILENCES_MAX
from covey.node.foreign_thread import in_foreign_thread

from .memory_world import Device, World, settle_tasks
from .test_embeddings import EAST, MODEL, ids, of

GIVEN_UP = (
    "have an embedding of another model, and what is registered here to make one of this model did"
    " not answer, so it is called no more"
)


async def waiting(world: World, count: int = 3) -> Device:
    """A device with records that have an embedding of another model only."""
    device = await world.founder("laptop")
    await device.collection().put_many(
        [(f"r{n}", of(EAST, model="theirs", n=n)) for n in range(count)]
    )
    await device.collection().vectors("embedding", **MODEL)
    await device.engine.vectors.settle()
    return device


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), GeneratorExit()])
async def test_a_callback_that_would_end_the_node_costs_its_record_only(
    error: BaseException,
) -> None:
    """`sys.exit` in a model's code ended the process, sync and all."""

    def embed(record: dict[str, Any], field: str) -> list[float]:
        if record["n"] == 1:
            raise error
        return EAST

    async with World() as world:
        device = await waiting(world)
        device.node.register_embedder("minilm", "2", embed)
        await device.engine.vectors.settle()

        found = await device.collection().nearest(EAST)
        assert ids(found) == ["r0", "r2"]
        assert [left.why for left in found.left_out] == [
            "could not be embedded by what is registered here"
        ]
        assert device.engine.vectors.embedders.failures == {("minilm", "2"): type(error).__name__}


class Hanging:
    """A thread for callbacks in which the first few calls never come back."""

    def __init__(self, device: Device, count: int) -> None:
        self.left = count
        self.asked = asyncio.Event()
        device.engine.vectors.embedders.beside = self

    async def __call__(self, call: Callable[[], Any]) -> Any:
        if self.left:
            self.left -= 1
            self.asked.set()
            await asyncio.Event().wait()
        return call()


async def answered(world: World, device: Device) -> None:
    """Let the time pass in which a callback has to answer, for each that does not."""
    for _ in range(SILENCES_MAX + 1):
        await world.clock.advance(ANSWER_MS_MAX)
    await settle_tasks(device)


async def test_a_callback_that_hangs_on_one_record_makes_the_others() -> None:
    """A model that loops on one text must not keep a collection from being found."""
    async with World() as world:
        device = await waiting(world)
        Hanging(device, 1)
        device.node.register_embedder("minilm", "2", lambda record, field: EAST)
        await answered(world, device)

        found = await device.collection().nearest(EAST)
        assert ids(found) == ["r1", "r2"]
        assert device.engine.vectors.embedders.failures == {("minilm", "2"): "no answer"}


async def test_a_callback_that_always_hangs_is_given_up_until_it_is_registered_anew() -> None:
    """Each call of it has a thread that nobody can end."""
    async with World() as world:
        device = await waiting(world, SILENCES_MAX + 2)
        hanging = Hanging(device, 99)
        device.node.register_embedder("minilm", "2", lambda record, field: EAST)
        await answered(world, device)
        given_up = await device.collection().nearest(EAST)
        hanging.left, calls = 0, 99 - hanging.left
        device.node.register_embedder("minilm", "2", lambda record, field: EAST)
        await answered(world, device)

        assert calls == SILENCES_MAX
        assert GIVEN_UP in [left.why for left in given_up.left_out]
        assert len(await device.collection().nearest(EAST)) == SILENCES_MAX + 2


async def test_what_else_follows_the_records_does_not_wait_for_a_callback() -> None:
    """The index of another field is filled meanwhile, and new vectors are taken."""
    async with World() as world:
        device = await waiting(world)
        hanging = Hanging(device, 99)
        device.node.register_embedder("minilm", "2", lambda record, field: EAST)
        await world.clock.advance(1_000)
        await hanging.asked.wait()
        await device.collection().put(of(EAST, model="other"), id="new")
        await device.collection().vectors("embedding", model="other", version="2", dimension=3)
        await world.clock.advance(5_000)
        writes = device.gate.writes

        assert ids(await device.collection().nearest(EAST)) == ["new"]
        assert device.gate.writes == writes


async def test_what_a_slow_callback_made_is_kept_while_it_goes_on() -> None:
    """The process may end before the last of a thousand is made."""
    async with World() as world:
        device = await waiting(world, 6)
        kept: list[int] = []

        async def slow(call: Callable[[], Any]) -> Any:
            kept.append(await device.gate.read(made))
            world.clock.now_ms += 700
            return call()

        device.engine.vectors.embedders.beside = slow
        device.node.register_embedder("minilm", "2", lambda record, field: EAST)
        await device.engine.vectors.settle()

        assert kept == [0, 0, 2, 2, 4, 4]


def made(conn: Any) -> int:
    count: int = conn.execute("SELECT count(*) FROM vectors WHERE standing = 1").fetchone()[0]
    return count


async def test_a_callback_that_is_declared_for_later_is_called_then() -> None:
    """Registering comes first in many programs."""
    async with World() as world:
        device = await world.founder("laptop")
        await device.collection().put(of(EAST, model="theirs"), id="r")
        device.node.register_embedder("minilm", "2", lambda record, field: EAST)
        await world.clock.advance(5_000)
        await device.collection().vectors("embedding", **MODEL)
        await world.clock.advance(5_000)
        await settle_tasks(device)

        assert ids(await device.collection().nearest(EAST)) == ["r"]


async def test_a_foreign_thread_gives_back_what_it_returns_or_raises() -> None:
    def bad() -> None:
        raise KeyError("k")

    assert await in_foreign_thread(lambda: 7) == 7
    with pytest.raises(KeyError):
        await in_foreign_thread(bad)


def test_a_process_ends_though_a_call_in_a_foreign_thread_does_not(tmp_path: Path) -> None:
    """A thread of a pool would be waited for, and a node could not be stopped."""
    program = """
import asyncio, threading
from covey.node.foreign_thread import in_foreign_thread

async def main():
    begun = threading.Event()
    call = lambda: (begun.set(), threading.Event().wait())
    task = asyncio.create_task(in_foreign_thread(call))
    await asyncio.to_thread(begun.wait)
    task.cancel()

asyncio.run(main())
print("ended")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )

    assert done.stdout == "ended\n"
