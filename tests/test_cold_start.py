"""A command that opens a home loads what it needs: its start is most of its time."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from covey.node.data import (
    analytics_methods,
    cache_methods,
    link_methods,
    past_methods,
    personal,
    query_methods,
    storage_methods,
    vector_methods,
    view_methods,
)
from covey.node.data.late_methods import TABLES, late_methods

from .memory_world import World
from .processes import Device, homes

LATE = (
    *("crypto.cache", "node.data.caches", "node.data.cache_api", "storage.rocks"),
    *("node.data.analytics", "node.data.declaring", "node.data.lifecycle"),
    *("node.data.linking", "node.data.live", "node.data.nearness", "node.data.past"),
    *("node.data.past_finding", "node.data.personal", "node.data.queries", "node.data.ranking"),
    *("node.data.schema_file", "node.data.searching", "node.data.vectors", "node.data.views"),
    *("node.data.importing", "storage.analytics_database", "storage.finding", "storage.link_rows"),
    *("storage.vector_queries", "storage.view_rows", "sync.versions"),
    *("node.mdns", "node.websocket", "node.websocket_link"),
)
"""What `get`, `put`, `delete`, `ls` and `status` of a home can do without."""

NETWORK = {"aiohttp", "email.policy", "yarl", "zeroconf"}
"""What only the network stands on. It took longer to load than all of Covey."""


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    with homes(tmp_path_factory.mktemp("cold"), "laptop") as (device,):
        device.init()
        device.run("put", "memory", "facts", "tea", "{}")
        yield device


def loaded(device: Device, *command: str) -> set[str]:
    """The modules that a command has loaded in its process, those of Covey without its name."""
    device.prefix = ("env", "PYTHONPROFILEIMPORTTIME=1")
    run = device.attempt(*command)
    device.prefix = ()
    assert run.returncode == (command[0] == "status")  # It is alone, and in sync with nobody.
    names = [line.rsplit("|", 1)[-1].strip() for line in run.stderr.splitlines()]
    return {name.removeprefix("covey.") for name in names}


@pytest.mark.parametrize(
    "command",
    [
        ("get", "memory", "facts", "tea"),
        ("put", "memory", "facts", "tea", '{"n": 1}'),
        ("ls", "memory", "facts"),
        ("status",),
    ],
    ids=lambda command: command[0],
)
def test_a_plain_command_loads_nothing_of_queries_and_what_is_made_from_records(
    laptop: Device, command: tuple[str, ...]
) -> None:
    """A script that asks for one record paid for search, vectors, views and analysis."""
    modules = loaded(laptop, *command)

    assert "node.engine" in modules
    assert modules & {*LATE, *NETWORK} == set()


@pytest.mark.parametrize("name", LATE)
def test_what_is_to_be_loaded_late_is_there(name: str) -> None:
    """A name that was changed would pass for ever."""
    assert find_spec(f"covey.{name}") is not None


async def test_each_late_method_is_one_of_its_class() -> None:
    """The names stand twice: here, so that they are known before the class is loaded."""
    async with World() as world:
        engine = (await world.founder("laptop")).engine
        made: dict[str, Any] = {
            "AnalyticsMethods": analytics_methods.AnalyticsMethods(engine),
            "CacheMethods": cache_methods.CacheMethods(engine),
            "LinkMethods": link_methods.LinkMethods(engine),
            "PastMethods": past_methods.PastMethods(engine),
            "PersonalMethods": personal.PersonalMethods(engine),
            "QueryMethods": query_methods.QueryMethods(engine),
            "StorageMethods": storage_methods.StorageMethods(engine),
            "VectorMethods": vector_methods.VectorMethods(engine),
            "ViewMethods": view_methods.ViewMethods(engine),
        }

        assert {name: tuple(one.table()) for name, one in made.items()} == {
            name: names for (_, name), names in TABLES.items()
        }
        assert set(late_methods(engine)) == {name for names in TABLES.values() for name in names}
