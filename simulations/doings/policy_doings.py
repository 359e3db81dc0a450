"""What people say about which device takes what, and what they ask for in spite of it.

Whether somebody may say so is the node's to judge. `unasked` leaves that out: the device runs a
program that writes into the membership log whatever it is told, as a member's altered program
might, and it is the other devices that must not believe it.
"""

from typing import Any

from ...node.api import Node
from ...node.service import Service
from ..run import Fetch, Run
from .fault import Doing
from .user_doings import in_device


def policy(run: Run, args: dict[str, Any]) -> None:
    """Say what a device (`target`, empty for every one) wants of a database (empty for all)."""
    device, target = run.device(args["device"]), args["target"]
    id = run.ids.get(target) if target else b""
    if device is None or id is None:
        return
    engine, database, said = device.engine, args["database"], args["set"]

    async def act(_: Node) -> None:
        if args.get("unasked"):
            details = {"device": id, "database": database, "set": dict(said)}
            await engine.mesh.write([("policy", details)])
        else:
            await engine.trust.set_policy(id, database, said)

    words = ", ".join(f"{key}={value}" for key, value in said.items())
    whom = f"{target or 'everybody'}/{database or '*'}"
    run.world.note(device.name, "decides", f"policy of {whom}: {words}")
    in_device(run, device.name, act)


def fetch(run: Run, args: dict[str, Any]) -> None:
    """Take all of a database now, for at most `timeout_ms`."""

    async def act(node: Node) -> None:
        device = run.device(args["device"])
        assert device is not None and device.process is not None, "it runs this"
        wish = Fetch(device.name, device.process, args["database"])
        run.fetching.append(wish)
        try:
            await node.fetch(wish.database, timeout=args["timeout_ms"] / 1000)
        finally:
            run.fetching.remove(wish)

    in_device(run, args["device"], act)


def ask(run: Run, args: dict[str, Any]) -> None:
    """Read one record, wherever it is."""
    asked: dict[str, Any] = {key: args[key] for key in ("database", "collection", "id")}

    async def act(node: Node) -> None:
        params = {**asked, "timeout_s": args["timeout_ms"] / 1000}
        await Service(node.engine, lambda: None).call("get", params)

    in_device(run, args["device"], act)


POLICY_DOINGS: dict[str, Doing] = {
    "policy": policy,
    "fetch": fetch,
    "ask": ask,
}
