"""What people do with windows: a device takes only what is new of a database, or all of it again.

What is written to such a database the witness is not told: two devices that do not hold the same
months may make one record twice, and then no rule says whose write is shown. That all devices hold
the same of what they share, and nobody says so too early, is for the other checkers.
"""

from typing import Any

from ...node.api import Node
from ..run import Run
from .fault import Doing
from .user_doings import in_device


def window(run: Run, args: dict[str, Any]) -> None:
    """An admin decides how many days of a database a device takes; 0 for all of them."""
    device, id = run.device(args["device"]), run.ids.get(args["target"])
    if device is None or id is None:
        return
    trust, days = device.engine.trust, args["days"]
    said = {"mode": "window", "window_days": days} if days else {"mode": None}
    run.world.note(args["device"], "decides", f"{args['target']} takes {days or 'all'} days")

    async def act(_: Node) -> None:
        await trust.set_policy(id, args["database"], said)

    in_device(run, args["device"], act)


def jot(run: Run, args: dict[str, Any]) -> None:
    """Write a record, or delete it if there is no text, without telling the witness."""

    async def act(node: Node) -> None:
        target = node.database(args["database"]).collection(args["collection"])
        if args["text"]:
            await target.put({"text": args["text"]}, args["id"], privacy=args.get("privacy"))
        else:
            await target.delete(args["id"])

    in_device(run, args["device"], act)


def relabel(run: Run, args: dict[str, Any]) -> None:
    """Move a record to another privacy level, without telling the witness."""

    async def act(node: Node) -> None:
        target = node.database(args["database"]).collection(args["collection"])
        await target.move(args["id"], privacy=args["privacy"])

    in_device(run, args["device"], act)


WINDOW_DOINGS: dict[str, Doing] = {"window": window, "jot": jot, "relabel": relabel}
