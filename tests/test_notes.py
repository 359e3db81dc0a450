"""Notes: facts for people share a commit, and are there for whoever asks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from covey.node.notes import NOTES_MAX, NOTES_MS, Notes
from covey.storage import event_rows
from covey.storage.errors import StoreFullError
from covey.storage.store import Conn

from .fake_clock import FakeClock, settle
from .memory_world import Gate, World


@pytest.fixture
def gate() -> Gate:
    return Gate()


def fact(what: str) -> Callable[[Conn], Any]:
    return lambda conn: event_rows.add_event(conn, 0, what, "{}")


async def facts(gate: Gate) -> list[str]:
    rows = await gate.read(lambda conn: event_rows.events(conn, -1, 10 * NOTES_MAX))
    return [row.kind for row in rows]


async def test_notes_of_one_moment_share_a_commit(gate: Gate) -> None:
    """Four devices that prove sync at once must not cost four flushes of the disk."""
    clock = FakeClock()
    notes = Notes(gate, clock)
    for what in "abc":
        notes.add(fact(what))
    before = await facts(gate)
    await clock.advance(NOTES_MS)

    assert before == []
    assert (await facts(gate), gate.writes) == (["a", "b", "c"], 1)


async def test_a_later_note_on_a_fact_takes_the_place_of_the_earlier(gate: Gate) -> None:
    """When a peer was seen last is one row, however often it was seen."""
    clock = FakeClock()
    notes = Notes(gate, clock)
    notes.add(fact("seen at 1"), "seen")
    notes.add(fact("happened"))
    notes.add(fact("seen at 2"), "seen")
    await clock.advance(NOTES_MS)

    assert await facts(gate) == ["seen at 2", "happened"]


async def test_whoever_flushes_finds_everything_and_nothing_is_written_twice(gate: Gate) -> None:
    """A person who asks must see what has just happened."""
    clock = FakeClock()
    notes = Notes(gate, clock)
    notes.add(fact("a"))
    await notes.flush()
    now = await facts(gate)
    await notes.flush()
    await clock.advance(NOTES_MS)

    assert now == ["a"]
    assert (await facts(gate), gate.writes) == (["a"], 1)


async def test_a_flood_of_notes_is_not_kept_in_memory(gate: Gate) -> None:
    """Peers make them: each connection is one."""
    notes = Notes(gate, FakeClock())
    for number in range(NOTES_MAX):
        notes.add(fact(str(number)))
    await settle()

    assert len(await facts(gate)) == NOTES_MAX


async def test_a_disk_that_refuses_notes_is_no_error(gate: Gate) -> None:
    """Nobody waits for them, and the node must go on; the next ones are written again."""
    clock = FakeClock()
    notes = Notes(gate, clock)
    gate.fail = StoreFullError(Path("store"))
    notes.add(fact("lost"))
    await notes.flush()
    notes.add(fact("lost too"))
    await clock.advance(NOTES_MS)
    gate.fail = None
    notes.add(fact("kept"))
    await clock.advance(NOTES_MS)

    assert await facts(gate) == ["kept"]


async def test_a_node_that_is_closed_writes_what_it_noted_last() -> None:
    """The last second of a node is in its log of events as well."""
    async with World() as world:
        a = await world.founder("a")
        await a.engine.notes.flush()
        a.engine.tell("happened", {"what": "just now"})
        before = a.gate.writes
        await a.engine.close()

        assert a.gate.writes == before + 1


async def test_an_event_can_be_read_at_once() -> None:
    """What has just happened is what people ask for."""
    async with World() as world:
        a = await world.founder("a")
        a.engine.tell("happened", {"what": "just now"})

        told = [row["event"] async for row in a.engine.directory.journal_rows()]

        assert told[-1] == "happened"
