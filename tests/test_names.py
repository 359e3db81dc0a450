"""Names of databases, collections and records: one bound for all that is named by them."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from covey import CoveyError, MemoryDatabase, embedding, link_to
from covey.node.api import Collection
from covey.node.data.schema import read_schema
from covey.sync.limits import (
    COLLECTION_NAME_BYTES_MAX,
    DATABASE_NAME_BYTES_MAX,
    RECORD_ID_BYTES_MAX,
)
from covey.sync.values import Vector

from .memory_world import Device, World

LONG_DATABASE = "é" * (DATABASE_NAME_BYTES_MAX // 2)
LONG_COLLECTION = "ü" * (COLLECTION_NAME_BYTES_MAX // 2)
LONG_ID = "ö" * (RECORD_ID_BYTES_MAX // 2)

Use = Callable[[Device, Collection, str], Awaitable[Any]]


async def pages(_: Device, records: Collection, id: str) -> None:
    first = await records.page({"n": {">=": 1}}, order="-n", limit=1)
    rest = await records.page({"n": {">=": 1}}, order="-n", limit=1, after=first.next)
    assert sorted(found.id for found in [*first.records, *rest.records]) == sorted([id, "other"])


async def words(_: Device, records: Collection, id: str) -> None:
    assert [hit.record.id for hit in await records.search("likes tea")] == [id]
    assert [found.id for found in await records.find(text="tea")] == [id]


async def indexes(_: Device, records: Collection, id: str) -> None:
    await records.index("n")
    assert (await records.explain({"n": 1})).fields == ("n",)
    assert [found.id for found in await records.find({"n": 1})] == [id]
    assert await records.drop_index("n")


async def live(_: Device, records: Collection, id: str) -> None:
    async with records.live({"n": 1}) as moments:
        async for moment in moments:
            assert [found.id for found in moment.records] == [id]
            break


async def vectors(_: Device, records: Collection, id: str) -> None:
    pytest.importorskip("numpy")
    await records.vectors("like", model="m", version="1", dimension=2)
    near = await records.nearest(Vector([1.0, 0.0]), k=1)
    assert [found.id for found in near] == [id]


async def links(device: Device, records: Collection, id: str) -> None:
    start = (records.database, records.name, "other")
    walk = await device.node.traverse(start, depth=1)
    back = await device.node.traverse((*start[:2], id), depth=1, back=True)
    assert [one.target.id for one in walk.found] == ["other", id]
    assert [one.target.id for one in back.found] == [id, "other"]
    assert await device.engine.linking.declare(*start[:2], "by", records.name)


async def views(device: Device, records: Collection, id: str) -> None:
    def by_number(id: str, fields: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
        yield [fields["n"]], id

    view = device.node.register_view("numbers", 1, records.database, records.name, by_number)
    assert [row.value for row in await view.rows()] == [id, "other"]


async def schemas(device: Device, records: Collection, id: str) -> None:
    said = {"name": "of-names", "version": 1, "database": records.database}
    fields = {"fields": {"n": "integer"}}
    await device.node.install(read_schema({**said, "collections": {records.name: fields}}))
    with pytest.raises(CoveyError, match="integer"):
        await records.put({"n": "no number"}, id=id)


async def sql(device: Device, records: Collection, id: str) -> None:
    pytest.importorskip("duckdb")
    place = f'"{records.database}"."{records.name}"'
    answer = await device.node.sql(f"SELECT id FROM {place} ORDER BY n")
    assert answer.rows == [(id,), ("other",)]


async def past(_: Device, records: Collection, id: str) -> None:
    (version,) = await records.history(id)
    assert version.time is not None
    assert await records.as_of(id, version.time) == version.record


USES: list[Use] = [pages, words, indexes, live, vectors, links, views, schemas, sql, past]


async def filled(device: Device, database: str, collection: str, id: str) -> Collection:
    records = device.node.database(database).collection(collection)
    await records.put({"n": 1, "text": "likes tea", "like": embedding("m", "1", [1.0, 0.0])}, id=id)
    near = embedding("m", "1", [0.0, 1.0])
    await records.put({"n": 2, "of": link_to(collection, id, database), "like": near}, id="other")
    return records


@pytest.mark.parametrize("use", USES)
async def test_names_of_the_greatest_length_serve_everywhere(use: Use) -> None:
    """A record that can be written can be found, followed and counted."""
    async with World() as world:
        device = await world.founder("laptop")
        records = await filled(device, LONG_DATABASE, LONG_COLLECTION, LONG_ID)
        await use(device, records, LONG_ID)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    "names", [(LONG_DATABASE + "x", "facts"), ("memory", LONG_COLLECTION + "x"), ("memory", "")]
)
async def test_a_name_that_no_record_can_have_is_refused_everywhere(
    use: Use, names: tuple[str, str]
) -> None:
    """An index of it was kept for ever, and a query of it found nothing and said nothing."""
    async with World() as world:
        device = await world.founder("laptop")
        records = device.node.database(names[0]).collection(names[1])
        with pytest.raises(CoveyError) as refused:
            await use(device, records, "r")

    said = str(refused.value)
    if use is sql:  # It has words of its own for a table that is not there.
        assert "no collection" in said or "zero-length" in said
    else:
        assert f"{0 if '' in names else 65} bytes, 1 to 64 allowed" in said


async def test_an_id_that_no_record_can_have_is_refused_everywhere() -> None:
    """It is one byte too long."""
    long = LONG_ID + "x"
    async with World() as world:
        device = await world.founder("laptop")
        records = device.collection()
        for ask in (
            records.put({"n": 1}, id=long),
            records.history(long),
            device.node.traverse(("memory", "facts", long)),
        ):
            with pytest.raises(CoveyError, match="257 bytes, 1 to 256 allowed"):
                await ask
    for names in ((LONG_COLLECTION + "x", "r"), ("facts", long)):
        with pytest.raises(CoveyError, match="allowed"):
            link_to(*names)
    with pytest.raises(CoveyError, match="65 bytes"):
        link_to("facts", "r", LONG_DATABASE + "x")


async def test_a_repository_in_memory_refuses_the_same_names() -> None:
    """A test that passes on memory would fail on a node."""
    with pytest.raises(CoveyError, match="65 bytes"):
        MemoryDatabase(LONG_DATABASE + "x")
    place = MemoryDatabase(LONG_DATABASE)
    order: Any = {"text": None, "order": None, "descending": False, "limit": 1}
    assert await place.search(LONG_COLLECTION, {}, **order) == []
    with pytest.raises(CoveyError, match="65 bytes"):
        await place.search(LONG_COLLECTION + "x", {}, **order)
