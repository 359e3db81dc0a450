"""What a schema says of a collection reaches indexes, vectors, links and the age of records."""

from typing import Any

import pytest

from covey.node.data.asking import Query
from covey.node.data.definition import read_collection
from covey.node.data.reading import SchemaError
from covey.storage import vector_rows
from covey.sync.errors import BadValueError
from covey.sync.values import Vector

from .memory_world import Device, World

FACTS: dict[str, Any] = {
    "fields": {"kind": "string", "about": "string", "until": "time", "embedding": "object"},
    "indexes": ["kind"],
    "vectors": {"embedding": {"model": "mini", "version": "1", "dimension": 3}},
    "links": {"about": "people"},
    "expires": "until",
    "tier": "cold",
}


async def declared(device: Device) -> dict[str, Any]:
    engine = device.engine
    return {
        "indexes": [index.fields for index, _ in await engine.queries.indexes()],
        "vectors": [one.field for one in await engine.database.read(vector_rows.declared)],
        "links": [one.field for one in await engine.linking.declared()],
        "age": [
            (rule.expires_field, rule.keep_days, rule.cold_days)
            for rule in await engine.lifecycle.rules()
        ],
    }


async def test_a_schema_declares_what_is_made_from_its_records_and_takes_it_back() -> None:
    """Who installs a plugin and removes it finds the device as it was."""
    async with World() as world:
        laptop = await world.founder("laptop")
        await laptop.node.install(
            {"name": "mind", "version": 1, "database": "memory", "collections": {"facts": FACTS}}
        )
        await laptop.collection().put({"kind": "a"}, id="r")

        assert await declared(laptop) == {
            "indexes": [("kind",)],
            "vectors": ["embedding"],
            "links": ["about"],
            "age": [("until", None, 0)],
        }
        way = await laptop.engine.queries.explain("memory", "facts", Query({"kind": "a"}))
        assert way.fields == ("kind",)

        await laptop.node.uninstall("mind")

        assert await declared(laptop) == {"indexes": [], "vectors": [], "links": [], "age": []}


async def test_what_a_newer_version_declares_otherwise_replaces_what_was() -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        newer = {**FACTS, "indexes": [["kind", "until"]], "expires": "30d"}
        for version, said in ((1, FACTS), (2, newer)):
            await laptop.node.install(
                {
                    "name": "mind",
                    "version": version,
                    "database": "memory",
                    "collections": {"facts": said},
                }
            )

        found = await declared(laptop)

        assert found["indexes"] == [("kind", "until")]
        assert found["age"] == [(None, 30, 0)]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"expires": "12h"}, "days such as 90d"),
        ({"expires": "kind"}, "type time"),
        ({"expires": "nowhere"}, "type time"),
        ({"fields": {**FACTS["fields"], "embedding": "vector"}}, "a vector by its model"),
    ],
)
def test_what_no_part_can_do_is_refused_when_it_is_read(said: dict[str, Any], why: str) -> None:
    with pytest.raises(SchemaError, match=why):
        read_collection({**FACTS, **said})


@pytest.mark.parametrize("is_newer", [False, True])
async def test_what_cannot_be_declared_leaves_no_schema_half_installed(is_newer: bool) -> None:
    """The next try was refused as another definition of a version that nobody could use."""
    bad = {**FACTS, "vectors": {"embedding": {"model": "mini", "version": "2", "dimension": 3}}}
    good = {"name": "mind", "version": 1, "database": "memory", "collections": {"facts": FACTS}}
    async with World() as world:
        laptop = await world.founder("laptop")
        await laptop.collection().vectors("embedding", model="mini", version="2", dimension=4)
        if is_newer:
            await laptop.node.install(good)
        before = await declared(laptop), await laptop.node.schemas()

        with pytest.raises(BadValueError, match="was declared with 4"):
            await laptop.node.install(
                {**good, "version": 2, "collections": {"facts": bad, "moods": {}}}
            )

        assert (await declared(laptop), await laptop.node.schemas()) == before
        await laptop.collection().put({"kind": 7 if not is_newer else "a"}, id="r")
        await laptop.node.install({**good, "version": 2})
        assert [row["version"] for row in await laptop.node.schemas()] == [2]


@pytest.mark.parametrize(
    ("model", "version", "dimension", "why"),
    [
        ("$m", "1", 3, "does not start with"),
        ("m", "1@2", 3, "has no @"),
        ("m", "1", 8_193, "from 1 to 8192"),
        ("m", "1", 0, "from 1 to 8192"),
        ("", "1", 3, "1 to 64 allowed"),
    ],
)
def test_a_model_that_no_vectors_can_have_is_refused_where_it_stands(
    model: str, version: str, dimension: int, why: str
) -> None:
    """Later nobody could say which line was wrong."""
    vectors = {"embedding": {"model": model, "version": version, "dimension": dimension}}

    with pytest.raises(SchemaError, match=why) as refused:
        read_collection({**FACTS, "vectors": vectors})

    assert refused.value.path[:2] == ("vectors", "embedding")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"mini@1": Vector([1.0, 2.0])}, r"embedding.mini@1: a vector of 2 numbers, 3 expected"),
        ({"mini@1": [1.0, 2.0, 3.0]}, r"embedding.mini@1: array, vector expected"),
        ({"mini@1": None}, r"embedding.mini@1: null is not allowed"),
    ],
)
async def test_a_vector_that_is_none_of_its_model_is_refused(value: Any, why: str) -> None:
    """It would be left out of every search, and be noticed then."""
    async with World() as world:
        laptop = await world.founder("laptop")
        schema = {"name": "memory", "version": 1, "collections": {"facts": FACTS}}
        await laptop.node.install(schema)

        with pytest.raises(BadValueError, match=why):
            await laptop.collection().put({"embedding": value}, id="r")
        await laptop.collection().put({"embedding": {"other@1": Vector([1.0])}}, id="r")
