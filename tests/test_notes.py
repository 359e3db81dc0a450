"""Notes: facts for people share a commit, and are there for whoever asks."""

import sqlite3
from asyncio import Future
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from covey.node.notes import NOTES_MAX, NOTES_MS, Notes
from covey.storage.errors import StoreFullError
from covey.storage.store import Conn

from .fake_clock import FakeClock, settle
from .memory_world import World


class Shelf:
    """A store of one table that counts its commits, and may refuse them."""

    def __init__(self) -> None:
        self.conn = sqlite3.connect(":memory:")
        self.conn.execute("CREATE TABLE facts (what)")
        self.commits = 0
        self.is_full = False

    def write(self, job: Callable[[Conn], Any]) -> "Future[Any]":
        future: Future[Any] = Future()
        self.commits += 1
        if self.is_full:
            future.set_exception(StoreFullError(Path("store")))
        else:
            future.set_result(job(self.conn))
        return future

    def read(self, job: Callable[[Conn], Any]) -> "Future[Any]":
        raise AssertionError("notes read nothing")

    async def close(self) -> None:
        self.conn.close()

    def facts(self) -> list[str]:
        return [what for (what,) in self.conn.execute("SELECT what FROM facts ORDER BY rowid")]


def fact(what: str) -> Callable[[Conn], Any]:
    return lambda conn: conn.execute("INSERT INTO facts VALUES (?)", (what,))


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


async def test_notes_of_one_moment_share_a_commit(shelf: Shelf) -> None:
    """Four devices that prove sync at once must not cost four flushes of the disk."""
    clock = FakeClock()
    notes = Notes(shelf, clock)
    for what in "abc":
        notes.add(fact(what))
    before = shelf.facts()
    await clock.advance(NOTES_MS)

    assert before == []
    assert (shelf.facts(), shelf.commits) == (["a", "b", "c"], 1)


async def test_a_later_note_on_a_fact_takes_the_place_of_the_earlier(shelf: Shelf) -> None:
    """When a peer was seen last is one row, however often it was seen."""
    clock = FakeClock()
    notes = Notes(shelf, clock)
    notes.add(fact("seen at 1"), "seen")
    notes.add(fact("happened"))
    notes.add(fact("seen at 2"), "seen")
    await clock.advance(NOTES_MS)

    assert shelf.facts() == ["seen at 2", "happened"]


async def test_whoever_flushes_finds_everything_and_nothing_is_written_twice(shelf: Shelf) -> None:
    """A person who asks must see what has just happened."""
    clock = FakeClock()
    notes = Notes(shelf, clock)
    notes.add(fact("a"))
    await notes.flush()
    now = shelf.facts()
    await notes.flush()
    await clock.advance(NOTES_MS)

    assert now == ["a"]
    assert (shelf.facts(), shelf.commits) == (["a"], 1)


async def test_a_flood_of_notes_is_not_kept_in_memory(shelf: Shelf) -> None:
    """Peers make them: each connection is one."""
    notes = Notes(shelf, FakeClock())
    for number in range(NOTES_MAX):
        notes.add(fact(str(number)))
    await settle()

    assert len(shelf.facts()) == NOTES_MAX


async def test_a_disk_that_refuses_notes_is_no_error(shelf: Shelf) -> None:
    """Nobody waits for them, and the node must go on; the next ones are written again."""
    clock = FakeClock()
    notes = Notes(shelf, clock)
    shelf.is_full = True
    notes.add(fact("lost"))
    await notes.flush()
    notes.add(fact("lost too"))
    await clock.advance(NOTES_MS)
    shelf.is_full = False
    notes.add(fact("kept"))
    await clock.advance(NOTES_MS)

    assert shelf.facts() == ["kept"]


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
