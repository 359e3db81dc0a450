"""Sketches of vectors: they bound every score, and leave nothing of a vector that is gone."""

import asyncio
import math
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import covey
from covey.node.data import sketch_search
from covey.node.data.nearness import unit_rows
from covey.node.data.sketch_search import SketchSearch
from covey.node.data.sketches import bounds, sketches_of
from covey.node.data.vectors import Nearest
from covey.storage import sketch_rows, vector_queries
from covey.storage.errors import StoreFullError
from covey.storage.sketch_rows import NUMBER_BYTES, Block
from covey.storage.store import Conn

from .memory_world import Device, World
from .store_rows import memory_conn

DIMENSION = 64
MODEL: dict[str, Any] = {"model": "m", "version": "1", "dimension": DIMENSION}

# What a sketch says ------------------------------------------------------------------------------

floats = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.sampled_from(
    [0.0, 1.0, -1.0, 1e-30, 1e38]
)


def a_vector(dimension: int) -> st.SearchStrategy[list[float]]:
    return st.lists(floats, min_size=dimension, max_size=dimension).filter(any)


@given(
    st.integers(1, 9).flatmap(
        lambda n: st.tuples(st.lists(a_vector(n), min_size=1, max_size=5), a_vector(n))
    )
)
def test_no_score_is_above_what_its_sketch_allows(
    given: tuple[list[list[float]], list[float]],
) -> None:
    """A record that is nearer than its sketch says would never be looked at."""
    vectors = [np.array(one, "<f4").tobytes() for one in given[0]]
    dimension = len(given[1])
    row = unit_rows([np.array(given[1], "<f4").tobytes()], dimension)[0]
    numbers, most = bounds([a_block(vectors, dimension)], dimension, row)
    exact = unit_rows(vectors, dimension) @ row

    assert numbers.tolist() == list(range(len(vectors)))
    assert (exact <= most).all()


def a_block(vectors: Sequence[bytes], dimension: int) -> Block:
    numbers = np.arange(len(vectors), dtype="<i8").tobytes()
    return Block(1, len(vectors), numbers + sketches_of(vectors, dimension))


def test_a_sketch_is_a_quarter_of_its_vector_and_tells_a_score_to_a_hundredth() -> None:
    """Looser ones would have half of the vectors read, larger ones save nothing."""
    dice = np.random.default_rng(1)
    vectors = [row.tobytes() for row in dice.standard_normal((500, 384)).astype("<f4")]
    row = unit_rows([vectors[7]], 384)[0]
    block = a_block(vectors, 384)
    exact = unit_rows(vectors, 384) @ row

    assert len(block.sketches) / sum(map(len, vectors)) < 0.27
    assert (bounds([block], 384, row)[1] - exact).max() < 0.02


# Blocks in the store -----------------------------------------------------------------------------


def with_block(conn: Conn, count: int = 4) -> None:
    sketch_rows.loosen(conn, 1, range(count), ())
    sketch_rows.add_block(
        conn, 1, range(count), b"".join(bytes([65 + n]) * 3 for n in range(count))
    )


def the_block(conn: Conn) -> tuple[list[int], bytes]:
    (block,) = sketch_rows.blocks(conn, 1, -1, 9)
    start = block.room * NUMBER_BYTES
    numbers = np.frombuffer(block.sketches[:start], "<i8")
    return numbers.tolist(), block.sketches[start:]


def test_what_a_block_held_of_a_vector_goes_with_it() -> None:
    """It tells what the record said, and the record was erased."""
    conn = memory_conn()
    with_block(conn)

    sketch_rows.loosen(conn, 1, [1], [2])

    assert the_block(conn) == ([0, -1, -1, 3], b"AAA" + bytes(6) + b"DDD")
    assert sketch_rows.loose_count(conn, 1) == 1
    assert b"BBB" not in conn.serialize() and b"CCC" not in conn.serialize()


def test_a_block_of_which_little_is_left_is_broken_up() -> None:
    """Else a field that changes often would be mostly holes."""
    conn = memory_conn()
    with_block(conn)

    sketch_rows.loosen(conn, 1, [3], [0, 1])

    assert sketch_rows.blocks(conn, 1, -1, 9) == []
    places = conn.execute("SELECT record_no, block_no FROM vector_places ORDER BY 1").fetchall()
    assert places == [(2, None), (3, None)]


def test_fields_do_not_meddle_with_each_other() -> None:
    conn = memory_conn()
    with_block(conn)
    sketch_rows.loosen(conn, 2, [0, 1], ())
    sketch_rows.add_block(conn, 2, [0, 1], b"xxyy")

    sketch_rows.forget(conn, 2)
    sketch_rows.loosen(conn, 2, (), [0])

    assert the_block(conn)[0] == [0, 1, 2, 3]
    assert sketch_rows.blocks(conn, 2, -1, 9) == []


# Searching ---------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few records, so that a test needs few of them."""
    monkeypatch.setattr(sketch_search, "BLOCK_ROWS", 8)
    monkeypatch.setattr(sketch_search, "BLOCKS_AT_ONCE", 2)
    monkeypatch.setattr(sketch_search, "COMPARED_AT_ONCE", (4, 8))


def scattered(count: int, seed: int = 1) -> list[list[float]]:
    dice = Random(seed)
    return [[dice.gauss(0, 1) for _ in range(DIMENSION)] for _ in range(count)]


async def filled(world: World, vectors: Sequence[Sequence[float]]) -> Device:
    device = await world.founder("laptop")
    await device.collection().put_many(
        [(f"r{n:03}", {"embedding": covey.embedding("m", "1", v)}) for n, v in enumerate(vectors)]
    )
    device.engine.vectors.index_rows_min = 0
    await device.collection().vectors("embedding", **MODEL)
    await device.engine.vectors.settle()
    return device


def nearest_of(vectors: Sequence[Sequence[float]], asked: Sequence[float], k: int) -> list[str]:
    def cosine(one: Sequence[float]) -> float:
        return sum(a * b for a, b in zip(one, asked, strict=True)) / math.hypot(*one)

    order = sorted(range(len(vectors)), key=lambda n: (-cosine(vectors[n]), n))
    return [f"r{n:03}" for n in order[:k]]


def ids(found: Nearest) -> list[str]:
    return [hit.id for hit in found]


def watched(monkeypatch: pytest.MonkeyPatch, name: str) -> list[int]:
    """How many vectors each call of a function of `vector_queries` read."""
    counts: list[int] = []
    real = getattr(vector_queries, name)

    def counted(*args: Any) -> Any:
        found = real(*args)
        counts.append(len(found))
        return found

    monkeypatch.setattr(vector_queries, name, counted)
    return counts


async def test_a_cold_search_reads_few_vectors_and_finds_the_nearest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every page with vectors that is read has to be decrypted."""
    vectors = scattered(300)
    async with World() as world:
        device = await filled(world, vectors)
        whole, some = watched(monkeypatch, "page"), watched(monkeypatch, "among")
        for asked in scattered(5, seed=2):
            found = await device.collection().nearest(asked, k=3)

            assert ids(found) == nearest_of(vectors, asked, 3)
            assert found.is_exact
        assert whole == [] and 15 <= sum(some) < 5 * 300 / 8


async def test_rounds_that_are_small_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by looking at a part at a time."""
    monkeypatch.setattr(sketch_search, "ROUND_ROWS", 10)
    monkeypatch.setattr(sketch_search, "COMPARED_SHARE", 1)
    vectors = scattered(100)
    async with World() as world:
        device = await filled(world, vectors)
        whole = watched(monkeypatch, "page")
        found = await device.collection().nearest(vectors[50], k=5)

        assert ids(found) == nearest_of(vectors, vectors[50], 5)
        assert whole == []


async def test_vectors_that_are_all_alike_are_read_in_order() -> None:
    """No bound keeps anybody away; of equal ones the older record comes first."""
    vectors = [[1.0] * DIMENSION] * 60
    async with World() as world:
        device = await filled(world, vectors)

        assert ids(await device.collection().nearest([1.0] * DIMENSION, k=3)) == [
            "r000",
            "r001",
            "r002",
        ]
        assert ids(await device.collection().nearest("r000", k=2)) == ["r001", "r002"]


async def test_what_moves_while_it_is_looked_for_is_not_overlooked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A vector that goes into a block behind the search is in neither place that it looks at."""
    vectors = scattered(40)
    async with World() as world:
        device = await filled(world, vectors[:32])
        notes = device.collection()
        for n, vector in enumerate(vectors[32:], 32):
            await notes.put({"embedding": covey.embedding("m", "1", vector)}, id=f"r{n:03}")
        with_loose = SketchSearch._with_loose

        async def late(self: SketchSearch, *args: Any) -> Any:
            monkeypatch.setattr(SketchSearch, "_with_loose", with_loose)
            assert await self.add()
            return await with_loose(self, *args)

        monkeypatch.setattr(SketchSearch, "_with_loose", late)

        assert ids(await notes.nearest(vectors[35], k=2)) == nearest_of(vectors, vectors[35], 2)


async def test_a_block_that_could_not_be_written_is_no_loss() -> None:
    """A full disk costs the sketches, and no vector."""
    vectors = scattered(40)
    async with World() as world:
        device = await filled(world, vectors[:20])
        notes = device.collection()
        for n, vector in enumerate(vectors[20:], 20):
            await notes.put({"embedding": covey.embedding("m", "1", vector)}, id=f"r{n:03}")
        await notes.nearest(vectors[0])
        device.gate.fail_after = 0
        with pytest.raises(StoreFullError):
            await device.engine.vectors.settle()
        device.gate.fail_after = None

        assert ids(await notes.nearest(vectors[25], k=2)) == nearest_of(vectors, vectors[25], 2)
        await device.engine.vectors.settle()
        assert ids(await notes.nearest(vectors[25], k=2)) == nearest_of(vectors, vectors[25], 2)


async def test_what_was_deleted_is_in_no_block() -> None:
    """The sketch of a diary tells what the diary is about."""
    vectors = scattered(16)
    async with World() as world:
        device = await filled(world, vectors)
        sketch = sketches_of([np.array(vectors[3], "<f4").tobytes()], DIMENSION)
        assert sketch in device.gate.image()

        await device.collection().delete("r003")
        await device.engine.vectors.settle()

        assert sketch not in device.gate.image()


acts = st.lists(
    st.tuples(st.integers(0, 11), st.sampled_from(["put", "put", "delete", "edit", "settle"])),
    max_size=40,
)


@settings(max_examples=20, deadline=None)
@given(acts, st.integers(0, 2**20), st.integers(1, 4))
def test_after_any_history_every_block_says_what_the_rows_say(
    history: list[tuple[int, str]], seed: int, k: int
) -> None:
    """Blocks are made and broken up, and hold every vector that is not loose, once."""

    async def run() -> None:
        dice = Random(seed)
        async with World() as world:
            device = await filled(world, [])
            notes = device.collection()
            model: dict[str, list[float]] = {}
            (field,) = device.engine.vectors._fields.values()
            field.sketches.block_rows = 3
            for n, act in [*history, (0, "settle")]:
                id = f"r{n:03}"
                if act == "put":
                    model[id] = [dice.gauss(0, 1) for _ in range(DIMENSION)]
                    await notes.put({"embedding": covey.embedding("m", "1", model[id])}, id=id)
                elif act == "edit" and id in model:
                    await notes.put({"seen": dice.random()}, id=id)
                elif act == "delete":
                    model.pop(id, None)
                    await notes.delete(id)
                else:
                    await device.engine.vectors.settle()
            asked = [dice.gauss(0, 1) for _ in range(DIMENSION)]
            found = await notes.nearest(asked, k=k)

            names = sorted(model)
            assert ids(found) == [
                names[int(one[1:])] for one in nearest_of([model[n] for n in names], asked, k)
            ]
            await device.gate.read(check_places)

    asyncio.run(run())


def check_places(conn: Conn) -> None:
    """Every vector has a place, and each block holds those that are placed there."""
    placed = conn.execute("SELECT record_no, block_no FROM vector_places").fetchall()
    rows = conn.execute("SELECT record_no FROM vectors WHERE vector NOTNULL").fetchall()
    assert sorted(row[0] for row in placed) == sorted(row[0] for row in rows)
    held = [
        (number, block.block_no)
        for block in sketch_rows.blocks(conn, 1, -1, 99)
        for number in np.frombuffer(block.sketches, "<i8", block.room).tolist()
        if number != sketch_rows.NO_RECORD
    ]
    assert sorted(held) == sorted(row for row in placed if row[1] is not None)
