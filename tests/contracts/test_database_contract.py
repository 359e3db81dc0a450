"""What holds for every store: the encrypted one on disk and the one in memory alike."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from covey.storage.errors import StoreClosedError
from covey.storage.memory import MemoryDatabase
from covey.storage.meta_rows import set_meta
from covey.storage.store import Conn, Store

from ..store_rows import a_collection, find, new_store, put, setting, value_of


class RefusedError(Exception):
    """A job of a test fails on purpose."""


@pytest.fixture(params=["disk", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened: Store
    opened = MemoryDatabase() if request.param == "memory" else await new_store(tmp_path / "s.db")
    yield opened
    await opened.close()


def failing(key: str, error: BaseException) -> Callable[[Conn], None]:
    """A job that changes something and then raises."""

    def job(conn: Conn) -> None:
        set_meta(conn, key, b"half")
        raise error

    return job


async def test_a_write_returns_what_its_job_returns(store: Store) -> None:
    """Numbers of new rows travel this way."""
    assert await store.write(lambda conn: 7) == 7


async def test_a_read_sees_every_write_acknowledged_before(store: Store) -> None:
    """A person who was told "saved" must find it."""
    for number in range(20):
        await store.write(setting("a", str(number).encode()))

        assert await store.read(value_of("a")) == str(number).encode()


async def test_jobs_run_in_the_order_of_the_calls(store: Store) -> None:
    """A log is a chain: its entries must be written in the order they were made."""
    order: list[int] = []

    def job(number: int) -> Callable[[Conn], None]:
        return lambda conn: order.append(number)

    await asyncio.gather(*[store.write(job(n)) for n in range(200)])

    assert order == list(range(200))


async def test_a_job_that_fails_alone_changes_nothing(store: Store) -> None:
    """Half a change set must never be seen."""
    with pytest.raises(RefusedError):
        await store.write(failing("a", RefusedError()))

    assert await store.read(value_of("a")) is None


async def test_a_job_that_fails_among_others_fails_alone(store: Store) -> None:
    """One caller's mistake must not cost another caller's write."""
    jobs = [
        store.write(setting("before")),
        store.write(failing("failed", RefusedError())),
        store.write(setting("after")),
    ]

    outcomes = await asyncio.gather(*jobs, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [type(None), RefusedError, type(None)]
    values = [await store.read(value_of(key)) for key in ("before", "failed", "after")]
    assert values == [b"1", None, b"1"]


async def test_a_later_job_of_a_group_sees_what_an_earlier_one_wrote(store: Store) -> None:
    """The second change of a record builds on the first, also when both wait together."""
    _, second = store.write(setting("a", b"1")), store.write(value_of("a"))

    assert await second == b"1"


async def test_a_job_that_raises_stop_iteration_does_not_hang_its_caller(store: Store) -> None:
    """A future cannot carry this exception; a bare `next` in a job must not stop a node."""

    def job(conn: Conn) -> None:
        raise StopIteration

    for run in (store.write, store.read):
        with pytest.raises(RuntimeError):
            await asyncio.wait_for(run(job), 10)


async def test_a_read_that_fails_leaves_the_store_usable(store: Store) -> None:
    """An error in a query is no reason to restart."""

    def job(conn: Conn) -> None:
        raise RefusedError

    with pytest.raises(RefusedError):
        await store.read(job)

    assert await store.read(lambda conn: 1) == 1
    assert await store.write(lambda conn: 2) == 2


async def test_a_search_is_a_read_even_while_texts_are_pending(store: Store) -> None:
    """The index of pending texts is made by the reader itself, again and again."""

    def job(conn: Conn) -> None:
        put(conn, a_collection(conn), "r", '{"a":1}', "hello world")

    await store.write(job)
    for _ in range(3):
        found = await store.read(
            lambda conn: find(conn, "memory", "notes", {}, "hello", None, False, 10)
        )

        assert [record.id for record in found] == ["r"]


async def test_closing_twice_is_harmless(store: Store) -> None:
    """Shutting down happens on several paths at once."""
    await store.close()
    await store.close()


async def test_a_closed_store_says_so(store: Store) -> None:
    """Whoever still holds a node that was closed must be told, and nothing may seem written."""
    await store.close()

    for run in (store.write, store.read):
        with pytest.raises(StoreClosedError):
            run(lambda conn: None)


async def test_the_image_of_a_memory_store_is_what_a_crash_leaves() -> None:
    """The simulator crashes a node by starting it again from its last image."""
    first = MemoryDatabase()
    await first.write(setting("kept"))
    image = first.image()
    await first.write(setting("lost"))

    second = MemoryDatabase(image)

    assert await second.read(value_of("kept")) == b"1"
    assert await second.read(value_of("lost")) is None


async def test_a_memory_store_has_run_a_job_when_the_call_returns() -> None:
    """A simulated run is deterministic only if nothing happens behind the scheduler's back."""
    store = MemoryDatabase()

    assert store.write(setting("a")).done()
    assert store.read(value_of("a")).result() == b"1"
