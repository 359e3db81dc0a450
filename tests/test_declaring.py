"""What a schema says of a collection reaches indexes, vectors, links and the age of records."""

from typing import Any

import pytest

from covey.node.data.asking import Query
from covey.node.data.definition import read_collection
from covey.node.data.reading import SchemaError
from covey.storage import vector_rows

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
