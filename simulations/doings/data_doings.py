"""What applications do with the data layer: they declare, ask, sweep, erase and look back.

What they are told is noted in the run's `DataLog`, together with what their device held at that
moment; checkers judge it. Some collections are written to without the witness, because migrations,
expiry and erasure change what is in them: each has a checker of its own.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from ...node.api import Node
from ...node.data.personal import About, Personal
from ...storage import lifecycle_rows
from ...sync.values import from_json, timestamp_of
from ..data_log import Asked, Entry, Memory, Swept, content, deleted_by, held, of_others
from ..data_questions import ask, view_function
from ..data_shapes import DIMENSION, FIELD, MODEL
from ..run import Run
from ..sim_device import SimDevice
from .fault import Doing
from .user_doings import in_device, put

FADING = "fading"
LETTERS = "letters"
WHO = "who"
UNTIL = "until"


def put_data(run: Run, args: dict[str, Any]) -> None:
    """A `put` whose `extra` may hold whatever a record can, in the JSON form of values."""
    put(run, {**args, "extra": from_json(args.get("extra", {}))})


def set_fields(run: Run, args: dict[str, Any]) -> None:
    """Write fields without telling the witness. `until` is milliseconds from the device's now."""
    run.data.used = True

    async def act(node: Node) -> None:
        fields = from_json(args["extra"])
        if UNTIL in fields:
            fields[UNTIL] += node.engine.clock.wall_ms()
        target = node.database(args["database"]).collection(args["collection"])
        await target.put(fields, args["id"])

    in_device(run, args["device"], act)


# Declaring and asking --------------------------------------------------------------------------


def declare(run: Run, args: dict[str, Any]) -> None:
    """Declare something of a collection on one device, or take it back (`declares`)."""
    run.data.used = True
    said, database = args["declares"], args["database"]
    collection = said["collection"]

    async def act(node: Node) -> None:
        engine = node.engine
        match said["what"]:
            case "index":
                await engine.queries.declare(database, collection, said["fields"])
            case "no-index":
                await engine.queries.drop(database, collection, said["fields"])
            case "link":
                await engine.linking.declare(database, collection, said["field"], said["to"])
            case "no-link":
                await engine.linking.undeclare(database, collection, said["field"])
            case "vectors":
                await engine.vectors.declare(
                    database, collection, FIELD, MODEL, said["version"], DIMENSION
                )
            case "no-vectors":
                await engine.vectors.forget(database, collection, FIELD, MODEL, said["version"])
            case "ages":
                await engine.lifecycle.declare(
                    database,
                    collection,
                    expires_field=said["expires"],
                    keep_days=said["keep"],
                    warm_days=said["warm"],
                    cold_days=said["cold"],
                )
            case _:
                await engine.lifecycle.withdraw(database, collection)

    in_device(run, args["device"], act)


def question(run: Run, args: dict[str, Any]) -> None:
    """Ask the data layer of a device something, and note the answer."""
    run.data.used = True
    database, asked = args["database"], args["question"]
    run.data.questions.setdefault((database, json.dumps(asked, sort_keys=True)), asked)

    async def act(node: Node) -> None:
        device = run.device(args["device"])
        if device is not None:
            await asked_of(run, device, node, database, asked)

    in_device(run, args["device"], act)


async def asked_of(
    run: Run, device: SimDevice, node: Node, database: str, asked: dict[str, Any]
) -> None:
    """Ask, and note what came of it if the device held the same before and after."""

    def registered(name: str, version: int, place: str, collection: str) -> Any:
        # A view of each database, or one would be made anew whenever the other is asked.
        key = (device.name, f"{name} of {place}")
        process, known, view = run.data.views.get(key, (None, 0, None))
        if process is not device.process or known != version:
            function = view_function(name, version)
            view = node.engine.views.register(key[1], version, place, collection, function)
            run.data.views[key] = (device.process, version, view)
        return view

    before = content(device, database)
    answer = await ask(node, database, asked, registered)
    if content(device, database) == before:
        at_ms = run.world.now_ms
        run.data.asked.append(Asked(device.name, at_ms, database, asked, before, answer))


# Age and erasure -------------------------------------------------------------------------------


def sweep(run: Run, args: dict[str, Any]) -> None:
    """Delete what has reached its time, and pack what is old."""

    async def act(node: Node) -> int:
        await node.engine.lifecycle.sweep()
        return 0

    _deleting(run, args["device"], args["database"], FADING, "", act)


def forget_about(run: Run, args: dict[str, Any]) -> None:
    """Erase every letter that is about somebody."""
    database, who = args["database"], args["who"]

    async def act(node: Node) -> int:
        about = About(WHO, who, None, ())
        done = await Personal(node.engine).erase(database, about, dry_run=False)
        return int(done["records"])

    _deleting(run, args["device"], database, LETTERS, who, act)


def _deleting(
    run: Run,
    name: str,
    database: str,
    collection: str,
    who: str,
    delete: Callable[[Node], Awaitable[int]],
) -> None:
    """Let a device delete something, and note what is left if it was alone meanwhile."""
    run.data.used = True

    async def act(node: Node) -> None:
        device, engine = run.device(name), node.engine
        if device is None:
            return
        before, others = held(device, database, collection), of_others(engine)
        rule = await _rule(node, database, collection)
        count = await delete(node)
        if of_others(engine) != others or await _rule(node, database, collection) != rule:
            return
        own = frozenset(log.number for log in engine.ledger.logs() if log.author == _us(node))
        after, gone = held(device, database, collection), deleted_by(device, database, collection)
        moment = run.world.now_ms, own, before, after, gone, rule, engine.clock.wall_ms()
        run.data.swept.append(Swept(name, *moment, who, count))

    in_device(run, name, act)


def _us(node: Node) -> bytes:
    return node.engine.keys.sig_pk


async def _rule(node: Node, database: str, collection: str) -> tuple[str | None, int | None] | None:
    for rule in await node.engine.database.read(lifecycle_rows.rules):
        if (rule.database, rule.collection) == (database, collection):
            return rule.expires_field, rule.keep_days
    return None


# Records of one writer -------------------------------------------------------------------------


def enter(run: Run, args: dict[str, Any]) -> None:
    """Write into a record that no other device writes to, or delete it if there is no text."""

    async def act(node: Node, _: Entry) -> None:
        target = node.database(args["database"]).collection(args["collection"])
        if args["text"]:
            await target.put({"text": args["text"]}, args["id"])
        else:
            await target.delete(args["id"])

    entered(run, args, act)


def entered(run: Run, args: dict[str, Any], act: Callable[[Node, Entry], Awaitable[None]]) -> None:
    """Do it, and note when it began and ended."""
    run.data.used = True

    async def noted(node: Node) -> None:
        device = run.device(args["device"])
        if device is None:
            return
        begun_ms = run.world.loop.time() * 1000
        entry = Entry(
            device.name, device.process, args["database"], args["collection"], args["id"],
            args["text"], node.engine.instance, begun_ms,
        )  # fmt: skip
        run.data.entries.append(entry)
        await act(node, entry)
        entry.done_ms = run.world.loop.time() * 1000

    in_device(run, args["device"], noted)


def remember(run: Run, args: dict[str, Any]) -> None:
    """Read such a record, and note what it was by the device's clock.

    For some seconds after a start, and where the clock was set back, stamps are ahead of it: what
    is written then counts from a later time on, and nothing is noted.
    """
    run.data.used = True

    async def act(node: Node) -> None:
        device = run.device(args["device"])
        if device is None:
            return
        before = held(device, args["database"], args["collection"])
        at_ms, wall_ms = run.world.loop.time() * 1000, node.engine.clock.wall_ms()
        value = await node.database(args["database"]).collection(args["collection"]).get(args["id"])
        is_ahead = node.engine.committer.hlc >> 16 > wall_ms
        if not is_ahead and held(device, args["database"], args["collection"]) == before:
            names = device.name, node.engine.instance, args["database"], args["id"]
            run.data.memories.append(Memory(*names, at_ms, wall_ms, value))

    in_device(run, args["device"], act)


async def as_of(node: Node, database: str, collection: str, id: str, wall_ms: int) -> Any:
    """What a record was, as a device tells it now: by its id, and among all of its collection."""
    target, time = node.database(database).collection(collection), timestamp_of(wall_ms)
    among = [found.value for found in await target.find(at=time) if found.id == id]
    return await target.as_of(id, time), *among


DATA_DOINGS: dict[str, Doing] = {
    "put-data": put_data,
    "set-fields": set_fields,
    "declare": declare,
    "question": question,
    "sweep": sweep,
    "forget-about": forget_about,
    "enter": enter,
    "remember": remember,
}
