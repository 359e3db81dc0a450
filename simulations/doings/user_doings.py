"""What users do: write, delete, read and search. The witness writes down what they were told."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from hashlib import sha256
from typing import Any

from ... import CoveyError
from ...node.api import Node
from ...node.engine import Engine
from ...node.inbox import NotACandidateError, UnknownConflictError
from ...node.ledger import PRIVACY_NAMES
from ..run import Run
from ..sim_device import USER_TASK, SimDevice
from ..virtual_loop import Process
from ..witness import CANARY, Write
from .fault import Doing

PIECE_BYTES = 100_000


def put(run: Run, args: dict[str, Any]) -> None:
    """Write one record. `fields`: field -> value; `replace` drops the others."""
    database, collection, id = args["database"], args["collection"], args["id"]
    replace, privacy = bool(args.get("replace")), args.get("privacy", "private")

    def try_it(device: SimDevice) -> Write:
        return run.witness.tries(
            device.name,
            device.engine,
            (database, collection, id),
            dict(args["fields"]),
            removes_all=replace,
            privacy=privacy,
        )

    async def act(node: Node) -> bool:
        target = node.database(database).collection(collection)
        await target.put(
            {**args["fields"], **args.get("extra", {})}, id, privacy=privacy, replace=replace
        )
        return True

    _write(run, args["device"], [try_it], act)


def put_together(run: Run, args: dict[str, Any]) -> None:
    """Write several records in one transaction. `records`: [id, fields] each."""
    database, collection = args["database"], args["collection"]
    privacy = args.get("privacy", "private")

    def trying(id: str, fields: dict[str, str]) -> Callable[[SimDevice], Write]:
        return lambda device: run.witness.tries(
            device.name, device.engine, (database, collection, id), fields, privacy=privacy
        )

    async def act(node: Node) -> bool:
        async with node.database(database).transaction() as transaction:
            for id, fields in args["records"]:
                transaction.put(collection, fields, id, privacy=privacy)
        return True

    _write(run, args["device"], [trying(*record) for record in args["records"]], act)


def put_blob(run: Run, args: dict[str, Any]) -> None:
    """Put a content of `size` bytes into the field `file` of a record, whose id is its own."""
    place = (args["database"], args["collection"], args["id"], "file")
    word = f"{CANARY} {args['number']} "
    content = (word * (args["size"] // len(word) + 1)).encode()[: args["size"]]
    run.contents[sha256(content).digest()] = f"{place[2]}, {args['size']} bytes"

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), PIECE_BYTES):
            yield content[start : start + PIECE_BYTES]

    async def act(node: Node) -> None:
        await node.engine.blobs.put(place, pieces(), privacy=args.get("privacy", "private"))

    in_device(run, args["device"], act)


def delete(run: Run, args: dict[str, Any]) -> None:
    """Delete one record."""
    record = (args["database"], args["collection"], args["id"])

    def try_it(device: SimDevice) -> Write:
        return run.witness.tries(
            device.name,
            device.engine,
            record,
            {},
            removes_all=True,
            is_delete=True,
            privacy=args.get("privacy", "private"),
        )

    async def act(node: Node) -> bool:
        return await node.database(record[0]).collection(record[1]).delete(record[2])

    _write(run, args["device"], [try_it], act)


def read(run: Run, args: dict[str, Any]) -> None:
    """Read one record and search for it: neither may ever fail on a good store."""

    async def act(node: Node) -> None:
        collection = node.database(args["database"]).collection(args["collection"])
        await collection.get(args["id"])
        await collection.find(text="canary", limit=3)

    in_device(run, args["device"], act)


def rename(run: Run, args: dict[str, Any]) -> None:
    """Give the device itself another name, which writes to the membership log."""
    device = run.device(args["device"])
    if device is None:
        return
    engine = device.engine

    async def act(_: Node) -> None:
        await engine.trust.rename(engine.keys.sig_pk, args["name"])

    in_device(run, args["device"], act)


def sync(run: Run, args: dict[str, Any]) -> None:
    """A person asks for a sync now."""
    device = run.device(args["device"])
    if device is not None:
        device.engine.reach.hurry()


def _write(
    run: Run,
    name: str,
    trying: list[Callable[[SimDevice], Write]],
    act: Callable[[Node], Awaitable[bool]],
) -> None:
    """Do it in a task of the device, and let the witness write it down."""
    in_device(run, name, lambda node: witnessed(run, name, trying, lambda: act(node)))


async def witnessed(
    run: Run,
    name: str,
    trying: Sequence[Callable[[SimDevice], Write]],
    act: Callable[[], Awaitable[bool]],
) -> None:
    """Do it, and let the witness write it down. `act` tells whether there was anything to do."""
    device = run.device(name)
    if device is None:
        return
    process, engine = device.process, device.engine
    tried = [try_it(device) for try_it in trying]
    try:
        is_done = await act()
    except CoveyError as error:
        run.witness.refused += len(tried)
        if isinstance(error, UnknownConflictError | NotACandidateError):
            for one in tried:
                run.witness.withdraws(one)
        raise
    if not _is_still(device, process):
        return
    for one in tried:
        if is_done or _may_have(engine, one.privacy):
            run.witness.acknowledges(one, engine)
        else:
            # It was told that there is no such record: for this device there is none.
            run.witness.withdraws(one)


def _may_have(engine: Engine, privacy: str) -> bool:
    """Whether this device may have records of a level, now."""
    level = PRIVACY_NAMES.index(privacy)
    return not level or engine.mesh.registry.entitled(engine.our_device(), level)


def _is_still(device: SimDevice, process: Process | None) -> bool:
    return device.is_up and device.process is process


def in_device(run: Run, name: str, act: Callable[[Node], Awaitable[None]]) -> None:
    """Do it in a task of the device; what it was told goes into the trace."""
    device = run.device(name)
    if device is None:
        return
    node, process = device.node, device.process
    assert process is not None

    async def work() -> None:
        try:
            await act(node)
        except CoveyError as error:
            run.world.note(name, "refused", type(error).__name__)

    def begin() -> None:
        process.spawn(work(), USER_TASK)

    process.happen(begin)


USER_DOINGS: dict[str, Doing] = {
    "put": put,
    "put-together": put_together,
    "put-blob": put_blob,
    "delete": delete,
    "read": read,
    "rename": rename,
    "sync": sync,
}
