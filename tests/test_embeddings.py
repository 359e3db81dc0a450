"""Search by meaning: what it finds is what an exact comparison of the records finds, everywhere."""

import asyncio
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import covey
from covey.node.data.chroma_index import ChromaIndex
from covey.node.data.nearness import MissingVectorsError
from covey.node.data.vector_index import VectorIndex
from covey.node.data.vectors import Nearest, NotDeclaredError, NoVectorError
from covey.node.service import Service
from covey.simulations.mesh import Mesh
from covey.storage.errors import StoreFullError
from covey.storage.feed_rows import numbers_of
from covey.storage.record_rows import remove_records
from covey.storage.store import Conn
from covey.sync.errors import BadValueError
from covey.sync.values import Vector

from .memory_world import Device, World, carry, meet

MODEL: dict[str, Any] = {"model": "minilm", "version": "2", "dimension": 3}
EAST, NORTH, NORTHEAST = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]


def of(numbers: Sequence[float], model: str = "minilm", version: str = "2", **fields: Any) -> Any:
    return {**fields, "embedding": covey.embedding(model, version, numbers)}


def ids(found: Nearest) -> list[str]:
    return [hit.id for hit in found]


def why(found: Nearest) -> dict[str, int]:
    """How many were left out, by the first words of the reason."""
    return {" ".join(left.why.split()[:6]): left.count for left in found.left_out}


async def with_three(world: World) -> Device:
    device = await world.founder("laptop")
    notes = device.collection()
    await notes.put(of(EAST, kind="a"), id="east")
    await notes.put(of(NORTH, kind="b"), id="north")
    await notes.put(of(NORTHEAST, kind="b"), id="northeast")
    await notes.vectors("embedding", **MODEL)
    return device


def index_always(device: Device, open_index: Any = ChromaIndex) -> None:
    device.engine.vectors.open_index = open_index
    device.engine.vectors.index_rows_min = 0


# Finding -----------------------------------------------------------------------------------------


async def test_the_nearest_come_first_with_their_score() -> None:
    """That is what it is for."""
    async with World() as world:
        device = await with_three(world)
        found = await device.collection().nearest([2.0, 0.2, 0.0])

        assert ids(found) == ["east", "northeast", "north"]
        assert [round(hit.score, 3) for hit in found] == [0.995, 0.774, 0.1]
        assert found.hits[0].value["kind"] == "a"
        assert (found.left_out, found.model, found.is_exact) == ((), "minilm", True)


async def test_a_record_is_not_near_to_itself() -> None:
    """Whoever asks what else is like it knows that one already."""
    async with World() as world:
        device = await with_three(world)

        assert ids(await device.collection().nearest("northeast", k=2)) == ["east", "north"]


async def test_conditions_hold_exactly_and_k_results_come_if_they_exist() -> None:
    """A search that filters what it found afterwards says `none` where there are some."""
    async with World() as world:
        device = await world.founder("laptop")
        notes = device.collection()
        for n in range(40):
            angle = n / 40
            numbers = [math.cos(angle), math.sin(angle), 0.0]
            await notes.put(of(numbers, far=n >= 37, n=n), id=f"r{n:02}")
        await notes.vectors("embedding", **MODEL)
        index_always(device, Forgetful)
        await device.engine.vectors.settle()

        assert ids(await notes.nearest(EAST, k=3, where={"far": True})) == ["r37", "r38", "r39"]
        assert ids(await notes.nearest(EAST, k=3, where={"far": 1})) == []
        assert ids(await notes.nearest("r38", where={"far": True})) in (
            ["r37", "r39"],
            ["r39", "r37"],
        )
        assert ids(await notes.nearest(EAST, where={"n": 5, "far": False})) == ["r05"]


class Forgetful:
    """An index that proposes no more than ten records, as if it had overlooked the others."""

    at_most = 10

    def __init__(self, name: str, dimension: int) -> None:
        self.held: dict[int, list[float]] = {}
        self.closed = False

    def put(self, numbers: Sequence[int], rows: Any) -> None:
        self.held.update(zip(numbers, rows.tolist(), strict=True))

    def remove(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self.held.pop(number, None)

    def nearest(self, row: Any, count: int) -> list[int]:
        score = {
            n: sum(a * b for a, b in zip(held, row, strict=True)) for n, held in self.held.items()
        }
        return sorted(score, key=lambda number: -score[number])[: min(count, self.at_most)]

    def close(self) -> None:
        self.closed = True


def recorded() -> tuple[list[Forgetful], Any]:
    """What was opened, and what opens it."""
    opened: list[Forgetful] = []

    def open_index(name: str, dimension: int) -> VectorIndex:
        opened.append(Forgetful(name, dimension))
        return opened[-1]

    return opened, open_index


def scripted(*, fail_at: str) -> Any:
    """An index whose method of this name raises what quotes a content."""

    class Failing(Forgetful):
        def __getattribute__(self, name: str) -> Any:
            if name == fail_at:
                raise RuntimeError("the axolotl sleeps")
            return super().__getattribute__(name)

    return Failing


@pytest.mark.parametrize("method", ["put", "remove", "nearest", "close"])
async def test_an_index_that_fails_costs_time_and_no_answer(method: str) -> None:
    """It is never the only copy of anything."""
    async with World() as world:
        device = await with_three(world)
        index_always(device, scripted(fail_at=method))
        await device.engine.vectors.settle()
        await device.collection().delete("east")
        await device.collection().put(of(EAST), id="new")

        found = await device.collection().nearest(EAST)

        assert ids(found) == ["new", "northeast", "north"]
        assert "axolotl" not in found.index_failure


async def test_an_index_that_overlooks_too_many_is_given_up() -> None:
    """Vectors that are scattered evenly are found badly by any graph; nobody would notice."""

    class Worse(Forgetful):
        at_most = 3

    async with World() as world:
        device = await world.founder("laptop")
        notes = device.collection()
        for n in range(30):
            await notes.put(of([math.cos(n / 30), math.sin(n / 30), 0.0]), id=f"r{n:02}")
        await notes.vectors("embedding", **MODEL)
        index_always(device, Worse)
        await device.engine.vectors.settle()
        found = await notes.nearest(EAST, k=3)

        assert (found.is_exact, found.index_failure) == (True, "it overlooks too many")
        assert ids(found) == ["r00", "r01", "r02"]


async def test_equal_vectors_are_no_reason_to_give_an_index_up() -> None:
    """Of a hundred equal records any ten are the nearest ten."""

    class Newest(Forgetful):
        def nearest(self, row: Any, count: int) -> list[int]:
            return sorted(self.held, reverse=True)[:10]

    async with World() as world:
        device = await world.founder("laptop")
        for n in range(30):
            await device.collection().put(of(EAST), id=f"r{n:02}")
        await device.collection().vectors("embedding", **MODEL)
        index_always(device, Newest)
        await device.engine.vectors.settle()

        assert not (await device.collection().nearest(EAST, k=1)).is_exact


async def test_whoever_stops_waiting_leaves_no_gap_in_the_index() -> None:
    """The rows are changed, the index is not: it would overlook that record for ever."""
    stopping = [True]

    class Stopped(Forgetful):
        def put(self, numbers: Sequence[int], rows: Any) -> None:
            if len(numbers) == 1 and stopping:
                stopping.pop()
                raise asyncio.CancelledError
            super().put(numbers, rows)

    async with World() as world:
        device = await with_three(world)
        index_always(device, Stopped)
        await device.engine.vectors.settle()
        await device.collection().put(of([1.0, 0.01, 0.0]), id="new")
        with pytest.raises(asyncio.CancelledError):
            await device.collection().nearest(EAST, k=2)

        assert ids(await device.collection().nearest(EAST, k=2)) == ["east", "new"]
        await device.engine.vectors.settle()
        found = await device.collection().nearest(EAST, k=2)
        assert (ids(found), found.is_exact) == (["east", "new"], False)


async def test_a_disk_that_is_full_costs_nothing_that_was_there() -> None:
    """What cannot be written cannot be searched; once there is room it is."""
    async with World() as world:
        device = await with_three(world)
        index_always(device)
        await device.engine.vectors.settle()
        await device.collection().put(of(EAST), id="new")
        device.gate.fail = StoreFullError(Path("memory"))
        with pytest.raises(StoreFullError):
            await device.collection().nearest(EAST)
        device.gate.fail = None

        assert not (await device.collection().nearest(EAST, k=1)).is_exact
        assert len(await device.collection().nearest(EAST)) == 4


async def test_a_search_does_not_wait_for_the_index_to_be_filled() -> None:
    """Fifty thousand vectors take a minute."""
    async with World() as world:
        device = await with_three(world)
        index_always(device)
        await device.engine.vectors.settle()
        (field,) = device.engine.vectors._fields.values()
        async with field._turn:
            found = await asyncio.wait_for(device.collection().nearest(EAST), 10)

        assert len(found) == 3


async def test_what_is_forgotten_is_followed_no_more() -> None:
    """An application that changed its model wants its memory back."""
    opened, open_index = recorded()
    async with World() as world:
        device = await with_three(world)
        index_always(device, open_index)
        (field,) = device.engine.vectors._fields.values()
        await device.engine.vectors.settle()
        names = ("memory", "facts", "embedding", "minilm", "2")

        assert await device.engine.vectors.forget(*names)
        await field.fill(open_index, "late", 0)
        await device.engine.vectors.settle()
        assert [index.closed for index in opened] == [True]
        assert not await device.engine.vectors.forget(*names)
        with pytest.raises(NotDeclaredError):
            await device.collection().nearest(EAST)
        await device.collection().vectors("embedding", **MODEL)
        assert len(await device.collection().nearest(EAST)) == 3


async def test_without_chromadb_every_search_is_exact() -> None:
    """Half of the extra is enough to answer."""

    def missing(name: str, dimension: int) -> VectorIndex:
        raise ImportError(name)

    async with World() as world:
        device = await with_three(world)
        index_always(device, missing)
        await device.engine.vectors.settle()
        found = await device.collection().nearest(EAST, k=1)

        assert (ids(found), found.is_exact) == (["east"], True)
        assert found.index_failure == "ImportError"


async def test_a_device_without_the_extra_says_which_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And keeps and syncs the records as ever."""
    async with World() as world:
        device = await world.founder("laptop")
        phone = await world.member(device, "phone")
        monkeypatch.setitem(sys.modules, "numpy", None)
        monkeypatch.setitem(sys.modules, "chromadb", None)
        index_always(device)
        await device.collection().put(of(EAST), id="east")
        await device.collection().vectors("embedding", **MODEL)
        await device.engine.vectors.settle()
        with pytest.raises(MissingVectorsError, match=r"pip install 'covey\[vectors\]'"):
            await device.collection().nearest(EAST)
        await carry(device, phone)
        monkeypatch.undo()

        await phone.collection().vectors("embedding", **MODEL)
        assert ids(await phone.collection().nearest(EAST)) == ["east"]


# Following ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("warm", [False, True])
async def test_a_search_sees_what_was_written_just_before(warm: bool) -> None:
    """Whoever is told something and asks at once expects to be answered."""
    async with World() as world:
        device = await with_three(world)
        notes = device.collection()
        if warm:
            index_always(device)
            await device.engine.vectors.settle()
        await notes.put(of([1.0, 0.1, 0.0]), id="new")
        await notes.put(of([-1.0, 0.0, 0.0]), id="east")
        await notes.delete("northeast")
        await notes.put({"embedding": None}, id="north")

        found = await notes.nearest(EAST)

        assert ids(found) == ["new", "east"]
        assert found.is_exact is True  # Fewer than k: all rows were compared.
        assert (await notes.nearest(EAST, k=1)).is_exact is not warm


async def test_it_is_followed_again_after_a_restart() -> None:
    """An application declares once."""
    async with World() as world:
        device = await with_three(world)
        device = await world.restart(device)
        assert ids(await device.collection().nearest("east", k=1)) == ["northeast"]
        device = await world.restart(device, crash=True)
        await device.engine.vectors.start()
        index_always(device)
        await device.engine.vectors.settle()

        found = await device.collection().nearest("east", k=1)

        assert (ids(found), found.is_exact) == (["northeast"], False)


async def test_the_index_fills_in_the_background() -> None:
    """Nobody has to ask for it."""
    async with World() as world:
        device = await with_three(world)
        index_always(device)
        await world.clock.advance(2_000)
        await settled(device)

        assert not (await device.collection().nearest(EAST, k=1)).is_exact


async def settled(device: Device) -> None:
    while tasks := [task for task in device.engine._tasks if not task.done()]:
        await asyncio.gather(*tasks)


async def test_two_devices_find_what_either_wrote(mesh: Mesh) -> None:
    """Records travel; each device makes its own rows of them."""
    laptop, phone = mesh.devices("laptop", "phone")
    for device in (laptop, phone):
        await device.database("memory").collection("notes").vectors("embedding", **MODEL)
    notes = [device.database("memory").collection("notes") for device in (laptop, phone)]
    await notes[0].put(of(EAST), id="east")
    await notes[1].put(of(NORTH), id="north")
    await mesh.settle()
    late = await mesh.join("tablet")
    await mesh.settle()
    await late.database("memory").collection("notes").vectors("embedding", **MODEL)

    for collection in (*notes, late.database("memory").collection("notes")):
        assert ids(await collection.nearest([1.0, 0.5, 0.0])) == ["east", "north"]
    mesh.assert_converged()


# Models ------------------------------------------------------------------------------------------


async def test_models_are_never_mixed() -> None:
    """Numbers of two models have nothing to do with one another, also of one dimension."""
    async with World() as world:
        device = await with_three(world)
        notes = device.collection()
        await notes.put(of(EAST, version="3"), id="newer")
        await notes.put(of(EAST, model="other"), id="other")
        found = await notes.nearest(EAST)

        assert ids(found) == ["east", "northeast", "north"]
        assert why(found) == {"have an embedding of another model,": 2}
        await notes.vectors("embedding", model="minilm", version="3", dimension=3)
        assert ids(await notes.nearest(EAST)) == ["newer"]
        assert len(await notes.nearest(EAST, version="2")) == 3
        with pytest.raises(NoVectorError, match="it has an embedding of another model"):
            await notes.nearest("other")


async def test_vectors_that_two_devices_wrote_apart_keep_their_models() -> None:
    """Merged field by field, a vector could end up under the name of another model."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put(of(EAST, text="tea"), id="r")
        await meet(laptop, phone)
        await laptop.collection().put(of(NORTH, model="other"), id="r")
        await phone.collection().put(of(NORTHEAST), id="r")
        await meet(laptop, phone)

        for device in (laptop, phone):
            record = await device.collection().get("r")
            assert record is not None
            written = {"minilm@2": (Vector(EAST), Vector(NORTHEAST)), "other@2": (Vector(NORTH),)}
            assert record["embedding"]
            for model, vector in record["embedding"].items():
                assert vector in written[model], (model, vector)


async def test_another_model_is_made_anew_here_and_not_in_the_record() -> None:
    """Two devices that wrote into the record would take turns at it for ever."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put(of(EAST, text="north"), id="r")
        await laptop.collection().put({"text": "no embedding"}, id="plain")
        await carry(laptop, phone)
        before = await phone.values()
        await phone.collection().vectors("embedding", model="own", version="1", dimension=3)
        found = await phone.collection().nearest(NORTH)
        assert ids(found) == [] and why(found) == {"have an embedding of another model,": 1}

        asked: list[str] = []

        def embed(record: dict[str, Any], field: str) -> list[float]:
            asked.append(f"{field} {record['text']}")
            return {"north": NORTH, "east": EAST}[record["text"]]

        phone.node.register_embedder("own", "1", embed)
        await phone.engine.vectors.settle()

        assert [(hit.id, hit.score) for hit in await phone.collection().nearest(NORTH)] == [
            ("r", 1)
        ]
        await phone.engine.vectors.settle()
        assert asked == ["embedding north"]
        assert await phone.values() == before
        await laptop.collection().put({"text": "east"}, id="r")
        await carry(laptop, phone)
        waits = await phone.collection().nearest(NORTH)
        assert [left.why for left in waits.left_out] == [
            "have an embedding of another model, and one of this model is being made"
        ]
        await phone.engine.vectors.settle()
        assert [(hit.id, hit.score) for hit in await phone.collection().nearest(EAST)] == [("r", 1)]
        await phone.engine.vectors.settle()
        assert asked == ["embedding north", "embedding east"]


@pytest.mark.parametrize(
    "made",
    [None, [], [1.0], [0.0, 0.0, 0.0], [float("nan"), 0.0, 1.0], [1e39, 0.0, 0.0], "abc", 7, {}],
)
async def test_a_callback_that_makes_nothing_usable_costs_its_record_only(made: Any) -> None:
    """Models are other people's code."""
    async with World() as world:
        device = await with_three(world)
        notes = device.collection()
        await notes.put(of(EAST, model="theirs"), id="r")
        device.node.register_embedder("minilm", "2", lambda record, field: made)
        await device.engine.vectors.settle()

        found = await notes.nearest(EAST)
        assert len(found) == 3 and why(found) == {"could not be embedded by what": 1}
        device.node.register_embedder("minilm", "2", lambda record, field: Vector(EAST))
        await device.engine.vectors.settle()
        assert len(await notes.nearest(EAST)) == 4


async def test_a_callback_that_raises_tells_its_kind_and_no_content() -> None:
    """What it raises may quote the record."""

    def embed(record: dict[str, Any], field: str) -> list[float]:
        raise ValueError(f"cannot embed {record}")

    async with World() as world:
        device = await with_three(world)
        await device.collection().put(of(EAST, model="theirs"), id="r")
        device.node.register_embedder("minilm", "2", embed)
        await device.engine.vectors.settle()

        assert device.engine.vectors.embedders.failures == {("minilm", "2"): "ValueError"}
        assert len(await device.collection().nearest(EAST)) == 3


# Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what",
    [
        [],
        [1.0],
        [1.0] * 4,
        [0.0, 0.0, 0.0],
        [float("nan"), 1.0, 1.0],
        [float("inf"), 1.0, 1.0],
        [1e39, 0.0, 0.0],
        ["1", "2", "3"],
        [True, True, True],
        [[1.0], [2.0], [3.0]],
        b"\x00" * 12,
        {"a": 1},
        7,
        None,
        Vector([1.0]),
    ],
)
async def test_a_vector_that_cannot_be_compared_is_refused(what: Any) -> None:
    """An answer to it would be made up."""
    async with World() as world:
        device = await with_three(world)

        with pytest.raises(BadValueError, match=r"vector|numbers"):
            await device.collection().nearest(what)


@pytest.mark.parametrize("k", [0, -1, 1_001, True, 1.5, "3"])
async def test_a_number_of_results_that_is_none_is_refused(k: Any) -> None:
    """A search for a million results is a mistake."""
    async with World() as world:
        device = await with_three(world)

        with pytest.raises(BadValueError, match="k: a number from 1 to 1000"):
            await device.collection().nearest(EAST, k=k)


@pytest.mark.parametrize(
    ("model", "version", "dimension"),
    [
        ("", "1", 3),
        ("m", "", 3),
        ("m", "1@2", 3),
        ("$m", "1", 3),
        ("m", 2, 3),
        (None, "1", 3),
        ("m" * 2_000, "1", 3),
        ("m\ud800", "1", 3),
        ("m", "1", 0),
        ("m", "1", -3),
        ("m", "1", 10**9),
        ("m", "1", True),
        ("m", "1", 3.0),
        ("minilm", "2", 4),
    ],
)
async def test_a_model_that_cannot_be_named_or_was_another_is_refused(
    model: Any, version: Any, dimension: Any
) -> None:
    """What is declared stays, so it has to be right."""
    async with World() as world:
        device = await with_three(world)

        with pytest.raises(BadValueError, match=r"model|version|dimension"):
            await device.collection().vectors(
                "embedding", model=model, version=version, dimension=dimension
            )
        assert len(await device.collection().nearest(EAST)) == 3


@pytest.mark.parametrize("field", ["", "x" * 2_000, "a\x00b", "a\ud800", None, 7])
async def test_a_field_that_no_record_can_have_is_refused(field: Any) -> None:
    """It would be followed for ever and find nothing."""
    async with World() as world:
        device = await world.founder("laptop")

        with pytest.raises(BadValueError, match="field"):
            await device.collection().vectors(field, **MODEL)


async def test_where_nothing_is_declared_it_says_how_to() -> None:
    """The next step is the application's."""
    async with World() as world:
        device = await with_three(world)
        with pytest.raises(NotDeclaredError, match=r"collection\.vectors"):
            await device.collection("moods").nearest(EAST)
        with pytest.raises(NotDeclaredError, match=r"collection\.vectors"):
            await device.collection().nearest(EAST, field="'; DROP TABLE vectors; --")
        await device.collection().vectors("picture", **MODEL)
        with pytest.raises(NotDeclaredError, match=r"\['embedding', 'picture'\]"):
            await device.collection().nearest(EAST)
        assert len(await device.collection().nearest(EAST, field="embedding")) == 3


async def test_a_record_that_cannot_be_compared_says_why() -> None:
    """An empty answer would say that nothing is like it."""
    async with World() as world:
        device = await with_three(world)
        notes = device.collection()
        await notes.put({"text": "tea"}, id="plain")
        await notes.put({"embedding": Vector(EAST)}, id="nameless")
        for id, reason in (
            ("nobody", "no record facts/nobody"),
            ("plain", "has no field 'embedding'"),
            ("nameless", "it has an embedding that does not say its model"),
        ):
            with pytest.raises(NoVectorError, match=reason):
                await notes.nearest(id)


async def test_conditions_that_never_compare_are_refused() -> None:
    """As `find` refuses them."""
    async with World() as world:
        device = await with_three(world)

        with pytest.raises(BadValueError, match="kind: only texts"):
            await device.collection().nearest(EAST, where={"kind": [1]})
        hostile = {"'; DROP TABLE vectors; --": "x", '"': 1}
        assert ids(await device.collection().nearest(EAST, where=hostile)) == []


async def test_records_with_bad_vectors_are_counted_and_stop_nothing() -> None:
    """They come from other devices, and from programs that know no better."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        for id, field in {
            "short": covey.embedding("minilm", "2", [1.0]),
            "zero": covey.embedding("minilm", "2", [0.0, 0.0, 0.0]),
            "nameless": Vector(EAST),
            "text": "not a vector",
            "large": "x" * 900_000,
            "list": [1, 2, 3],
            "deep": {"a": {"b": {"c": {"d": [1]}}}},
            "fine": covey.embedding("minilm", "2", [3e38, 3e38, 0.0]),
        }.items():
            await laptop.collection().put({"embedding": field}, id=id)
        await carry(laptop, phone)
        await phone.collection().vectors("embedding", **MODEL)
        found = await phone.collection().nearest(NORTHEAST)

        assert [(hit.id, round(hit.score, 6)) for hit in found] == [("fine", 1.0)]
        assert sum(left.count for left in found.left_out) == 7
        assert {left.why for left in found.left_out} == {
            "have an embedding that does not say its model",
            "have an embedding of another dimension than was declared",
            "have no vector in the field, or one with NaN or infinity in it",
            "have an embedding that is zero everywhere",
        }


# The whole of it ---------------------------------------------------------------------------------

numbers = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=3, max_size=3)
steps = st.lists(
    st.tuples(st.sampled_from("abcde"), st.sampled_from([0, 0, 0, 1, 2]), numbers, st.booleans()),
    max_size=14,
)


@settings(max_examples=25, deadline=None)
@given(
    steps,
    numbers.filter(any),
    st.integers(1, 5),
    st.booleans(),
    st.booleans(),
    st.sets(st.sampled_from("abcde")),
)
def test_after_any_history_the_search_equals_a_comparison_of_the_records(
    history: list[tuple[str, int, list[float], bool]],
    asked: list[float],
    k: int,
    warm: bool,
    filtered: bool,
    removed: set[str],
) -> None:
    """Puts, deletions and vectors that go away, in any order, with the index and without; and at
    the end copies that are removed from this device, as a policy does it.
    """

    async def run() -> None:
        async with World() as world:
            device = await world.founder("laptop")
            notes = device.collection()
            await notes.vectors("embedding", **MODEL)
            if warm:
                index_always(device)
                await device.engine.vectors.settle()
            model: dict[str, tuple[list[float], bool]] = {}
            for at, (id, act, vector, flag) in enumerate(history):
                model.pop(id, None)
                if act == 0:
                    await notes.put(of(vector, flag=flag), id=id, replace=True)
                    model[id] = vector, flag
                elif act == 1:
                    await notes.delete(id)
                else:
                    await notes.put({"flag": flag}, id=id, replace=True)
                if at % 4 == 3:
                    await device.engine.vectors.settle()
            await device.gate.write(lambda conn: remove_copies(conn, removed))
            for id in removed:
                model.pop(id, None)
            expected = sorted(
                (
                    cosine(vector, asked)
                    for vector, flag in model.values()
                    if any(vector) and (flag or not filtered)
                ),
                reverse=True,
            )[:k]
            found = await notes.nearest(asked, k=k, where={"flag": True} if filtered else None)

            assert [hit.score for hit in found] == pytest.approx(expected, abs=1e-6)
            for hit in found:
                vector, flag = model[hit.id]
                assert hit.score == pytest.approx(cosine(vector, asked), abs=1e-6)
                assert flag or not filtered
            zeros = sum(not any(vector) for vector, _ in model.values())
            assert sum(left.count for left in found.left_out) == zeros

    asyncio.run(run())


def remove_copies(conn: Conn, ids: set[str]) -> None:
    for coll_no in numbers_of(conn, "memory", "facts"):
        remove_records(conn, coll_no, sorted(ids))


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    return (
        sum(a * b for a, b in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)
    )


async def test_the_service_answers_with_json_and_refuses_what_is_not() -> None:
    """The local API passes on whatever it was sent."""
    async with World() as world:
        device = await with_three(world)
        service = Service(device.engine, lambda: None)
        place = {"database": "memory", "collection": "facts"}
        answer = await service.call("similar", {**place, "id": "east", "where": {"kind": "b"}})
        json.dumps(answer)

        assert [hit["id"] for hit in answer["records"]] == ["northeast", "north"]
        by_vector = await service.call("similar", {**place, "vector": EAST, "limit": 1})
        assert [hit["id"] for hit in by_vector["records"]] == ["east"]
        for bad in (
            {"id": "east", "vector": EAST},
            {"id": 7},
            {},
            {"id": "east", "limit": 0},
            {"id": "east", "limit": "3"},
            {"id": "east", "where": [1]},
            {"id": "east", "field": 7},
            {"vector": "1,2,3"},
            {"vector": {"a": 1}},
            {"vector": [None, 1, 2]},
        ):
            with pytest.raises(covey.CoveyError) as refused:
                await service.call("similar", {**place, **bad})
            assert refused.value.exit_code == 2, bad
        one = {**place, "field": "f", "model": "m", "version": "1"}
        await service.call("vectors_declare", {**one, "dimension": 2})
        shown = (await service.call("vectors", {"database": "memory"}))["fields"]
        assert {**one, "dimension": 2} in shown and len(shown) == 2
        assert (await service.call("vectors_forget", one)) == {"forgotten": True}
        assert (await service.call("vectors_forget", one)) == {"forgotten": False}
        assert len((await service.call("vectors", {}))["fields"]) == 1


async def test_closing_lets_go_of_the_index() -> None:
    """All nodes of a process share one Chroma."""
    opened, open_index = recorded()
    async with World() as world:
        device = await with_three(world)
        index_always(device, open_index)
        await device.engine.vectors.settle()

    assert [index.closed for index in opened] == [True]


def test_the_module_of_vectors_loads_no_library(tmp_path: Path) -> None:
    """Whoever searches nothing waits for nothing."""
    import subprocess

    program = (
        "import sys, covey.node.main; print([m for m in ('numpy', 'chromadb') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"


async def test_a_look_when_nothing_happened_reads_next_to_nothing() -> None:
    """It is taken after each change, also on a phone in a pocket."""
    async with World() as world:
        device = await with_three(world)
        index_always(device)
        await device.engine.vectors.settle()
        reads: list[object] = []
        read = device.gate.read

        def counted(job: Any) -> Any:
            reads.append(job)
            return read(job)

        device.gate.read = counted  # type: ignore[method-assign]
        writes = device.gate.writes
        await device.engine.vectors.settle()

        assert (len(reads), device.gate.writes - writes) == (1, 0)
