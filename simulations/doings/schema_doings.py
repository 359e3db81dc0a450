"""What applications do with schemas: each device runs the version that it has, and writes by it."""

from typing import Any

from ...node.api import Node
from ..data_log import Entry, Migrating, held
from ..data_shapes import NAME, PAGES, SCHEMA, TITLE, schema_of
from ..run import Run
from .data_doings import entered
from .fault import Doing
from .user_doings import in_device


def install_schema(run: Run, args: dict[str, Any]) -> None:
    """The application of a version starts on a device, and migrates what is there."""
    database, version = args["database"], args["version"]

    async def act(node: Node) -> None:
        await _start(run, args["device"], node, database, version)

    _migrating(run, args, act)


def migrate_schema(run: Run, args: dict[str, Any]) -> None:
    """Somebody brings the records to a version of the schema, up or down."""

    async def act(node: Node) -> None:
        await node.migrate(SCHEMA, args["version"], backup=False)

    _migrating(run, args, act)


async def _start(run: Run, name: str, node: Node, database: str, version: int) -> None:
    """An application starts: until its schema is installed it writes nothing."""
    device = run.device(name)
    process = None if device is None else device.process
    run.data.applications[name, database] = (None, version)
    await node.install(schema_of(database, version), backup=False)
    run.data.applications[name, database] = (process, version)


def _migrating(run: Run, args: dict[str, Any], act: Any) -> None:
    run.data.used = True
    name, database = args["device"], args["database"]

    async def noted(node: Node) -> None:
        device = run.device(name)
        if device is None:
            return
        before = Migrating(database, device.process, args["version"], held(device, database, PAGES))
        run.data.migrating[name] = before
        run.world.note(name, "decides", f"pages at version {args['version']}")
        await act(node)
        if run.data.migrating.get(name) is before:
            del run.data.migrating[name]

    in_device(run, name, noted)


def write_page(run: Run, args: dict[str, Any]) -> None:
    """Write a page of one's own, under the name that this device's version has for its title."""

    async def act(node: Node, entry: Entry) -> None:
        process, version = run.data.applications.get((args["device"], args["database"]), (None, 0))
        device = run.device(args["device"])
        if version and device is not None and process is not device.process:
            # An application installs its schema at each start, before it writes anything.
            await _start(run, args["device"], node, args["database"], version)
        entry.field = NAME if version > 1 else TITLE
        fields = {entry.field: args["text"], **args["extra"]}
        await node.database(args["database"]).collection(PAGES).put(fields, args["id"])

    entered(run, {**args, "collection": PAGES}, act)


SCHEMA_DOINGS: dict[str, Doing] = {
    "install-schema": install_schema,
    "migrate-schema": migrate_schema,
    "write-page": write_page,
}
