"""The Repository interface: what both promise, the one over a node and the one in memory.

The second stands in for the first in tests of applications: where they differ, a test of an
application passes and the application does not work.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import covey
from covey.sync.errors import BadValueError

from ..memory_world import World


class Mood(Enum):
    CALM = "calm"
    CROSS = "cross"


@dataclass(frozen=True)
class Fact:
    text: str
    cups: int = 0
    weight: float = 1.0
    sure: bool | None = None
    seen: datetime | None = None
    mood: Mood = Mood.CALM
    tags: tuple[str, ...] = ()
    uses: covey.Counter = field(default_factory=lambda: covey.Counter(0))
    more: dict[str, Any] = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True)
class Visit:
    fact: str
    id: str = ""


@dataclass
class Kept:
    """A repository of facts, one of visits beside it, and how records come there otherwise."""

    facts: covey.Repository[Fact]
    visits: covey.Repository[Visit]
    elsewhere: covey.Repository[Visit]
    """In another database."""
    write: Callable[[str, dict[str, Any]], Any]
    """Fields into the collection of facts, past the repository: as another version would."""


@pytest.fixture(params=["node", "memory"])
async def kept(request: pytest.FixtureRequest) -> AsyncIterator[Kept]:
    facts, visits = covey.DataclassCodec(Fact), covey.DataclassCodec(Visit)
    if request.param == "memory":
        place = covey.MemoryDatabase("memory")
        raw = covey.MemoryRepository(place, "facts", _Raw())
        yield Kept(
            covey.MemoryRepository(place, "facts", facts),
            covey.MemoryRepository(place, "visits", visits),
            covey.MemoryRepository(covey.MemoryDatabase("other"), "visits", visits),
            lambda id, fields: raw.put((id, fields)),
        )
        return
    async with World() as world:
        node = (await world.founder("laptop")).node
        database = node.database("memory")
        yield Kept(
            covey.RecordRepository(database, "facts", facts),
            # From another `Database` of the same name: it is the same place.
            covey.RecordRepository(node.database("memory"), "visits", visits),
            covey.RecordRepository(node.database("other"), "visits", visits),
            lambda id, fields: database.collection("facts").put(fields, id=id),
        )


class _Raw:
    """A codec that shows records as they are."""

    def encode(self, item: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
        return item

    def encode_some(self, fields: Any) -> dict[str, Any]:
        return dict(fields)

    def decode(self, id: str, fields: Any) -> tuple[str, dict[str, Any]]:
        return id, dict(fields)


FULL = Fact(
    "naïve tea",
    3,
    2.0,
    True,
    datetime(2024, 2, 29, 12, 30, 0, 123_000, tzinfo=UTC),
    Mood.CROSS,
    ("a", "b"),
    covey.Counter(4),
    {"inner": [1, None]},
    "full",
)


async def test_an_item_comes_back_equal(kept: Kept) -> None:
    """A domain that gets back something else has two kinds of objects."""
    assert await kept.facts.put(FULL) == "full"

    assert await kept.facts.get("full") == FULL
    assert await kept.facts.find() == [FULL]


async def test_an_item_without_an_id_gets_one_that_no_other_has(kept: Kept) -> None:
    """Two items under one id would be one."""
    ids = [await kept.facts.put(Fact("tea")) for _ in range(5)]

    assert len(set(ids)) == 5 and all(ids)
    assert [(await kept.facts.find({}, limit=5))[n].id for n in range(5)] == sorted(ids)


async def test_a_whole_number_is_the_text_of_its_digits(kept: Kept) -> None:
    """Applications that count their records need not say str() at every call."""
    await kept.facts.put(Fact("tea", id="7"))

    assert await kept.facts.get(7) == await kept.facts.get("7") == Fact("tea", id="7")
    assert await kept.facts.patch(7, cups=2)
    assert await kept.facts.delete(7)
    assert await kept.facts.get("7") is None


@pytest.mark.parametrize("id", [True, 1.5, None, b"7", ("7",)])
async def test_what_is_no_id_is_refused(kept: Kept, id: Any) -> None:
    """True would be record 1, and None the record called None."""
    for call in (kept.facts.get(id), kept.facts.delete(id), kept.facts.patch(id, cups=1)):
        with pytest.raises(covey.RecordShapeError, match="an id is a text or a whole number"):
            await call
    with pytest.raises(covey.RecordShapeError):
        await kept.facts.put(Fact("tea", id=id))


@pytest.mark.parametrize("id", ["x" * 10_000, "a\nb", "\x00"])
async def test_an_id_that_no_record_may_have_is_refused(kept: Kept, id: str) -> None:
    """It would have to be refused later, by another device."""
    with pytest.raises(BadValueError, match="id"):
        await kept.facts.put(Fact("tea", id=id))


@pytest.mark.parametrize(
    "bad",
    [
        Fact("tea", weight=float("nan")),
        Fact("tea", weight=float("inf")),
        Fact("tea", cups=2**63),
        Fact("tea", more={"$blob": 1}),
        Fact("tea", more={"": 1}),
        Fact("tea", more={"x": {1, 2}}),
        Fact("x" * 20_000_000),
        Fact("tea", seen=datetime(2024, 1, 1)),
        Fact("half \ud800"),
    ],
)
async def test_a_value_that_no_record_may_hold_is_refused_and_nothing_is_written(
    kept: Kept, bad: Fact
) -> None:
    """Both refuse it, or a test in memory passes what a node does not."""
    before = replace(FULL, id="r")
    await kept.facts.put(before)
    with pytest.raises(BadValueError):
        await kept.facts.put(replace(bad, id="r"))

    assert await kept.facts.find() == [before]


@pytest.mark.parametrize(
    "wrong",
    [{"cups": "3"}, {"cups": True}, {"sure": 1}, {"mood": "calmer"}, {"tags": "a"}, {"no": 1}],
)
async def test_a_field_that_the_class_has_not_like_this_is_not_written(
    kept: Kept, wrong: dict[str, Any]
) -> None:
    """What could be written and not be read again would break every list it is in."""
    await kept.facts.put(FULL)
    with pytest.raises(covey.RecordShapeError, match=next(iter(wrong))):
        await kept.facts.patch("full", **wrong)

    assert await kept.facts.get("full") == FULL


async def test_a_patch_leaves_the_other_fields_and_makes_no_record(kept: Kept) -> None:
    """It is what merges: a whole item would take back what another device did."""
    await kept.facts.put(FULL)

    assert await kept.facts.patch("full", cups=5, mood=Mood.CALM)
    assert await kept.facts.get("full") == replace(FULL, cups=5, mood=Mood.CALM)
    assert not await kept.facts.patch("none", cups=5)
    assert await kept.facts.get("none") is None


async def test_increments_add_up(kept: Kept) -> None:
    """That is what a counter is for."""
    await kept.facts.put(FULL)
    for by in (1, 5):
        await kept.facts.patch("full", uses=covey.Increment(by))

    found = await kept.facts.get("full")
    assert found is not None and found.uses.total == 10


async def test_what_is_deleted_is_gone_and_comes_back_empty(kept: Kept) -> None:
    """Fields of a former life would be somebody's deleted words."""
    await kept.write("r", {"text": "tea", "secret": "x"})

    assert await kept.facts.delete("r")
    assert not await kept.facts.delete("r")
    assert await kept.facts.get("r") is None and await kept.facts.find() == []
    await kept.facts.put(Fact("anew", id="r"))
    assert await kept.facts.find({"secret": "x"}) == []


async def test_fields_of_another_version_stay(kept: Kept) -> None:
    """A device with an older application must not remove what a newer one has written."""
    await kept.write("r", {"text": "tea", "colour": "green"})
    (fact,) = await kept.facts.find()
    await kept.facts.put(replace(fact, cups=1))

    assert fact == Fact("tea", id="r")
    assert await kept.facts.find({"colour": "green"}) == [Fact("tea", 1, id="r")]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"cups": 1}, "has no field 'text'"),
        ({"text": 5}, "'text' is no Fact.text: str is needed, not int"),
        ({"text": "tea", "mood": "odd"}, "it is none of calm, cross"),
        ({"text": "tea", "tags": [1]}, "str is needed, not int"),
    ],
)
async def test_a_record_that_is_no_item_is_told_and_can_be_left_out(
    kept: Kept, fields: dict[str, Any], said: str
) -> None:
    """One odd record of a peer must neither look like an item nor hide all others."""
    await kept.facts.put(FULL)
    await kept.write("odd", fields)
    broken: list[covey.RecordShapeError] = []

    with pytest.raises(covey.RecordShapeError, match=f"odd: .*{said}"):
        await kept.facts.get("odd")
    with pytest.raises(covey.RecordShapeError, match="odd"):
        await kept.facts.find()
    assert await kept.facts.find(broken=broken) == [FULL]
    assert [str(error).split(":")[0] for error in broken] == ["odd"]


async def test_hostile_names_are_names(kept: Kept) -> None:
    """Nothing that a person typed becomes a query."""
    await kept.facts.put(FULL)
    for name in (
        "'; DROP TABLE records; --",
        '"',
        "$.text",
        "a\\",
        "text' OR '1'='1",
        "",
        "/a/b",
        "-text",
        "~",
    ):
        assert await kept.facts.find({name: "x"}) == []
        assert await kept.facts.find(text=name, order=name) in ([], [FULL])

    assert await kept.facts.find({"text": "' OR 1=1 --"}) == []
    assert await kept.facts.get("full") == FULL
    for value in ([1], {"a": 1}):
        with pytest.raises(BadValueError, match="compare"):
            await kept.facts.find({"text": value})


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([-1.0, 0.5, 2.0]),
    st.sampled_from(["", "a", "A", "é", "tea", "2"]),
)
ROWS = st.lists(
    st.dictionaries(st.sampled_from(["x", "y"]), SCALARS, max_size=2), min_size=1, max_size=6
)
QUERIES = st.tuples(
    st.dictionaries(st.sampled_from(["x", "y"]), SCALARS, max_size=1),
    st.sampled_from([None, "x", "y", "z"]),
    st.booleans(),
    st.integers(1, 7),
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(ROWS, st.lists(QUERIES, min_size=1, max_size=8))
def test_both_find_the_same(
    rows: list[dict[str, Any]], queries: list[tuple[dict[str, Any], str | None, bool, int]]
) -> None:
    """Equality, order and limit are where a stand-in is tempted to do what Python does."""

    async def compare() -> None:
        async with World() as world:
            node = (await world.founder("laptop")).node
            real = covey.RecordRepository(node.database("d"), "c", _Raw())
            memory = covey.MemoryRepository(covey.MemoryDatabase(), "c", _Raw())
            for number, row in enumerate(rows):
                for repository in (real, memory):
                    await repository.put((str(number), row))
            for where, order, descending, limit in queries:
                asked: dict[str, Any] = {"order": order, "descending": descending, "limit": limit}
                assert await real.find(where, **asked) == await memory.find(where, **asked)

    asyncio.run(compare())


async def test_words_are_found(kept: Kept) -> None:
    """All of them, in any order, whatever their case and accents; the last may be a beginning."""
    await kept.facts.put(FULL)
    await kept.facts.put(Fact("green Tea, hot", tags=("kitchen",), id="new"))

    for text, ids in {
        "tea": ["new", "full"],
        "TEA gre": ["new"],
        "gre tea": [],
        "naive": ["full"],
        "kitchen": ["new"],
        "coffee": [],
        "...": [],
    }.items():
        assert [fact.id for fact in await kept.facts.find(text=text)] == ids, text


async def test_a_unit_is_written_whole_when_its_block_ends(kept: Kept) -> None:
    """A visit of a fact that does not exist is what units are for."""
    await kept.visits.put(Visit("old", id="v1"))
    async with covey.UnitOfWork(kept.facts, kept.visits) as work:
        fact = work.put(kept.facts, Fact("tea"))
        work.put(kept.visits, Visit(fact, id="v2"))
        work.delete(kept.visits, "v1")
        work.delete(kept.visits, "never")
        assert await kept.facts.get(fact) is None
        assert await work.get(kept.facts, fact) == Fact("tea", id=fact)
        assert await work.get(kept.visits, "v1") is None
        assert await work.patch(kept.facts, fact, cups=2)
        assert await work.patch(kept.facts, fact, uses=covey.Increment(2))
        seen = await work.get(kept.facts, fact)
        assert seen is not None and seen.uses.total == 2
        assert not await work.patch(kept.visits, "v1", fact="x")

    assert await kept.facts.get(fact) == Fact("tea", 2, uses=covey.Counter(2), id=fact)
    assert await kept.visits.find() == [Visit(fact, id="v2")]
    assert work.changed == [True, True, True, False, True, True]


async def test_a_unit_that_fails_leaves_everything_as_it_was(kept: Kept) -> None:
    """Half of an operation is worse than none."""
    await kept.facts.put(FULL)
    with pytest.raises(ZeroDivisionError):
        async with covey.UnitOfWork(kept.facts, kept.visits) as work:
            work.put(kept.visits, Visit("full"))
            work.delete(kept.facts, "full")
            raise ZeroDivisionError
    with pytest.raises(BadValueError):
        async with covey.UnitOfWork(kept.facts, kept.visits) as work:
            work.put(kept.visits, Visit("full"))
            work.put(kept.facts, Fact("tea", weight=float("nan")))

    assert await kept.facts.find() == [FULL] and await kept.visits.find() == []


async def test_a_unit_that_is_entered_within_itself_is_refused_and_writes_nothing(
    kept: Kept,
) -> None:
    """The inner block would write what was collected, and the outer one the same once more."""
    await kept.facts.put(Fact("tea", id="tea"))
    unit = covey.UnitOfWork(kept.facts)
    with pytest.raises(covey.CoveyError, match="open already"):
        async with unit:
            await unit.patch(kept.facts, "tea", uses=covey.Increment(1))
            async with unit:
                pass

    found = await kept.facts.get("tea")
    assert found is not None and found.uses.total == 0


async def test_a_unit_within_another_is_by_itself(kept: Kept) -> None:
    """Nothing is locked and there are no save points: an application must know it."""
    with pytest.raises(ValueError, match="outer"):
        async with covey.UnitOfWork(kept.facts) as outer:
            outer.put(kept.facts, Fact("outer", id="outer"))
            async with covey.UnitOfWork(kept.facts) as inner:
                inner.put(kept.facts, Fact("inner", id="inner"))
            raise ValueError("outer")

    assert await kept.facts.get("outer") is None
    assert await kept.facts.get("inner") == Fact("inner", id="inner")


@pytest.mark.parametrize(
    "asked",
    [{"where": {1: 2}}, {"where": "tea"}, {"where": []}, {"order": 5}, {"order": ["text"]}],
)
async def test_what_means_nothing_is_refused_in_words(kept: Kept, asked: dict[str, Any]) -> None:
    """An application may pass on what it was sent."""
    with pytest.raises(BadValueError):
        await kept.facts.find(**asked)


async def test_no_item_has_an_id_that_is_no_text(kept: Kept) -> None:
    """Half a character comes from file names and command lines."""
    assert await kept.facts.get("\ud800") is None
    assert await kept.facts.patch("\ud800", text="tea") is False


async def test_a_unit_across_databases_is_refused_in_words(kept: Kept) -> None:
    """It could not be whole: each database has its own logs, policies and devices."""
    with pytest.raises(covey.CoveyError, match=r"'memory' and visits in 'other'.*change set"):
        covey.UnitOfWork(kept.facts, kept.elsewhere)
    async with covey.UnitOfWork(kept.facts) as work:
        with pytest.raises(covey.CoveyError, match="visits is none of this unit's"):
            work.put(kept.visits, Visit("full"))
        with pytest.raises(covey.CoveyError, match="none of this unit's"):
            work.delete(kept.elsewhere, 1)
    with pytest.raises(covey.CoveyError, match="not open"):
        work.put(kept.facts, FULL)
    with pytest.raises(covey.CoveyError, match="needs a repository"):
        covey.UnitOfWork()
    assert await kept.visits.find() == await kept.elsewhere.find() == []


async def test_changes_are_told_in_order_and_odd_ones_end_nothing(kept: Kept) -> None:
    """Indexes, caches and screens follow a repository by them."""
    told: list[covey.Changed[Fact]] = []
    async with kept.facts.changes() as changes:
        await kept.facts.put(FULL)
        await kept.visits.put(Visit("full"))
        await kept.write("odd", {"text": 5})
        await kept.facts.delete("full")
        async for change in changes:
            told.append(change)
            if len(told) == 3:
                break

    assert [(change.id, change.item) for change in told] == [
        ("full", FULL),
        ("odd", None),
        ("full", None),
    ]
    assert [change.problem is None for change in told] == [True, False, True]


@dataclass(frozen=True)
class Remember:
    text: str


async def test_messages_are_carried_out_and_changes_told(kept: Kept) -> None:
    """Who asks for an operation need not know who does it, nor who wants to hear of it."""
    bus, told = covey.Bus(), []

    async def remember(message: Remember) -> str:
        return await kept.facts.put(Fact(message.text, id="new"))

    async def listen(change: covey.Changed[Fact]) -> None:
        told.append(change.item)

    bus.handle(Remember, remember)
    bus.follow(kept.facts, listen)
    await kept.facts.put(FULL)
    async with bus:
        assert await bus.send(Remember("tea")) == "new"

    assert told == [FULL, Fact("tea", id="new")]
    with pytest.raises(covey.CoveyError, match="nobody handles a str; handled: Remember"):
        await bus.send("tea")
    with pytest.raises(covey.CoveyError, match="Remember is handled already"):
        bus.handle(Remember, remember)


async def test_a_listener_that_fails_is_not_passed_over(kept: Kept) -> None:
    """An index that is no longer kept up must not look as if it were."""

    async def fail(_: covey.Changed[Fact]) -> None:
        raise LookupError("the screen is gone")

    bus = covey.Bus()
    bus.follow(kept.facts, fail)
    with pytest.raises(ExceptionGroup) as raised:
        async with bus:
            await kept.facts.put(FULL)
            with suppress(TimeoutError):
                await asyncio.Event().wait()

    assert raised.value.subgroup(LookupError) is not None


async def test_an_error_in_the_block_of_a_bus_stays_what_it_is(kept: Kept) -> None:
    """Who catches the errors of Covey around it must not have to look into groups."""

    async def listen(_: covey.Changed[Fact]) -> None: ...

    bus = covey.Bus()
    bus.follow(kept.facts, listen)
    with pytest.raises(covey.RecordShapeError):
        async with bus:
            await kept.facts.put(FULL)
            await kept.facts.patch("full", cups="many")


async def test_a_filter_has_the_values_of_the_domain_and_a_limit_is_a_number(kept: Kept) -> None:
    """A limit of -1 is no limit in SQL, and all but the last in Python."""
    await kept.facts.put(FULL)

    assert await kept.facts.find({"mood": Mood.CROSS}) == [FULL]
    assert await kept.facts.find({"mood": Mood.CALM}) == []
    assert await kept.facts.find(limit=0) == []
    for limit in (-1, 1.0, "5", True, None):
        with pytest.raises(BadValueError, match="limit"):
            await kept.facts.find(limit=limit)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [int, Mood, FULL])
def test_only_a_dataclass_has_a_codec(kind: Any) -> None:
    """Anything else fails at its first record, far from where it was named."""
    with pytest.raises(covey.RecordShapeError, match="a dataclass is needed"):
        covey.DataclassCodec(kind)


def test_a_class_that_no_record_can_hold_is_refused_when_it_is_named() -> None:
    """The first item of it would be refused, or worse, come back as another one."""

    @dataclass
    class NoId:
        text: str

    @dataclass
    class Deep:
        inner: complex
        id: str = ""

    for kind, said in ((NoId, "field `id: str`"), (Deep, "Deep.inner: a record cannot hold")):
        with pytest.raises(covey.RecordShapeError, match=said):
            covey.DataclassCodec(kind)
