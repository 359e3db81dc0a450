"""Queries of a node: indexes that keep up, answers that are kept, advice, and live results."""

import pytest

from covey.node.data.asking import Query, prepared
from covey.node.data.queries import ADVISED_WALKS_MIN
from covey.node.data.result_cache import CACHE_BYTES_MAX, ResultCache
from covey.storage import finding
from covey.storage.finding import Page
from covey.storage.index_rows import INDEXES_MAX
from covey.sync.errors import BadValueError

from .memory_world import Device, World, carry, settle_tasks


async def filled(world: World, count: int = 30) -> Device:
    device = await world.founder("laptop")
    await device.collection().put_many(
        [(f"r{n:02}", {"n": n, "kind": "ab"[n % 2]}) for n in range(count)]
    )
    return device


async def ids(device: Device, query: Query) -> list[str]:
    return [found.id for found in await device.engine.queries.find("memory", "facts", query)]


async def behind(device: Device) -> list[int]:
    return [left for _, left in await device.engine.queries.indexes()]


async def test_an_index_is_filled_when_it_is_declared_and_survives_a_restart() -> None:
    async with World() as world:
        device = await filled(world)
        await device.collection().index("kind", "n")
        again = await world.restart(device)

        way = await again.collection().explain({"kind": "a"}, order="-n")

        assert (way.fields, way.ordered) == (("kind", "n"), True)
        assert await behind(again) == [0]


async def test_an_index_takes_what_a_peer_wrote_after_it_was_asked() -> None:
    """The question itself is right at once, and starts the catching up."""
    async with World() as world:
        laptop = await filled(world, 3)
        phone = await world.member(laptop, "phone")
        await phone.collection().index("n")
        await carry(laptop, phone)
        late = await behind(phone)

        found = await ids(phone, Query({"n": {">": 0}}, order="-n"))
        await settle_tasks(phone)

        assert late != [0]
        assert found == ["r02", "r01"]
        assert await behind(phone) == [0]
        assert await ids(phone, Query({"n": {">": 0}}, order="n")) == ["r01", "r02"]


async def test_an_answer_is_kept_until_something_in_its_collection_changes() -> None:
    """L6: most of what an application asks, it has asked before."""
    async with World() as world:
        device = await filled(world, 5)
        cache, query = device.engine.queries.cache, Query({"n": {">=": 3}})
        for _ in range(10):
            assert await ids(device, query) == ["r03", "r04"]
        await device.collection("others").put({"n": 9}, id="x")
        assert await ids(device, query) == ["r03", "r04"]
        kept = (cache.hits, cache.misses)
        await device.collection().put({"n": 9}, id="r00")

        assert kept == (10, 1)
        assert await ids(device, query) == ["r00", "r03", "r04"]
        assert await device.collection().delete("r04")
        assert await ids(device, query) == ["r00", "r03"]


async def test_what_a_caller_does_to_an_answer_stays_with_the_caller() -> None:
    async with World() as world:
        device = await filled(world, 1)
        first = await device.collection().find({"n": 0})
        first[0].value["n"] = "changed"

        assert (await device.collection().find({"n": 0}))[0].value["n"] == 0


def test_the_kept_answers_are_bounded_and_the_oldest_go() -> None:
    cache = ResultCache(bytes_max=4_000)
    keys = [("memory", str(number), finding.Query()) for number in range(100)]
    for key in keys:
        cache.keep(key, Page([], None), 1)

    assert cache.look(keys[0]) is None
    assert cache.look(keys[99]) is not None
    assert CACHE_BYTES_MAX <= 16 << 20


@pytest.mark.parametrize(
    "query",
    [
        Query({"id": {"in": [f"{n:030}" for n in range(1_000)]}}),
        Query({"id": "x" * 100_000}),
        Query({"x" * 100_000: 1}),
        Query({}, "x" * 100_000),
        Query({}, order="x" * 100_000),
    ],
    ids=["list", "value", "field", "words", "order"],
)
def test_a_kept_answer_counts_with_its_question(query: Query) -> None:
    """Who asks for a thousand ids and finds none of them must not fill memory with questions."""
    cache, made = ResultCache(bytes_max=1_000_000), prepared(query)
    keys = [("memory", str(number), made) for number in range(20)]
    for key in keys:
        cache.keep(key, Page([], None), 1)

    assert sum(cache.look(key) is not None for key in keys) <= 10


async def test_advice_names_the_index_that_queries_missed_and_no_value() -> None:
    """It may be shown to whoever maintains the application."""
    async with World() as world:
        device = await filled(world)
        for number in range(ADVISED_WALKS_MIN):
            await device.collection().find({"kind": "secret", "n": {">": number}}, order="-n")

        (advice,) = await device.engine.queries.advice()

        assert (advice.fields, advice.walked) == (("kind", "n"), ADVISED_WALKS_MIN)
        assert advice.shape == "kind =, n > by -n"
        await device.collection().index(*advice.fields)
        assert await device.engine.queries.advice() == []


async def test_a_live_query_tells_what_enters_changes_and_leaves() -> None:
    async with World() as world:
        device = await filled(world, 5)
        facts = device.collection()
        async with facts.live({"n": {">=": 3}}, order="-n", limit=2) as live:
            moments = aiter(live)
            first = await anext(moments)
            await facts.put({"n": 10}, id="r00")
            second = await anext(moments)
            await facts.put({"other": 1}, id="r04")
            third = await anext(moments)
            await device.collection("others").put({"n": 10})
            await facts.put({"n": 0}, id="r01")
            await facts.delete("r00")
            fourth = await anext(moments)

        assert [f.id for f in first.records] == ["r04", "r03"]
        assert [f.id for f in second.records] == ["r00", "r04"]
        assert [[f.id for f in part] for part in (second.entered, second.left)] == [
            ["r00"],
            ["r03"],
        ]
        assert [f.id for f in third.changed] == ["r04"]
        assert [f.id for f in fourth.records] == ["r04", "r03"]


async def test_bad_indexes_are_refused_with_what_is_wrong() -> None:
    async with World() as world:
        device = await filled(world, 1)
        facts = device.collection()
        for fields in ((), ("a",) * 5, ("a", "a"), ("",), ("/a//b",), ("x" * 300,), ("\x00",)):
            with pytest.raises(BadValueError):
                await facts.index(*fields)
        for number in range(INDEXES_MAX):
            await facts.index(f"f{number}")
        with pytest.raises(BadValueError, match="drop one first"):
            await facts.index("one more")
        await facts.index("f0")
        assert await facts.drop_index("f0")
        assert not await facts.drop_index("f0")


async def test_hostile_names_of_fields_are_names() -> None:
    """An index has a table; none of its names comes from a person."""
    async with World() as world:
        device = await filled(world, 1)
        facts = device.collection()
        for name in ("'; DROP TABLE records; --", 'a"b', "a\\b", "/x/'); --", "a$.n", "[0]"):
            if not name.startswith("/"):
                await facts.put({name: 1}, id="it")
            await facts.index(name)
            found = [record.id for record in await facts.find({name: 1})]
            assert found == ([] if name.startswith("/") else ["it"])
        assert await facts.get("r00") is not None
