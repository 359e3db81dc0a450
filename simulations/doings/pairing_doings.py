"""What happens with new devices: they come with an empty home, and are paired by a code."""

from typing import Any

from ..pairings import Attempt
from ..run import Run
from .fault import Doing

_TIMES = ("after_ms", "thinks_ms", "gives_up_ms", "window_ms")


def newcomer(run: Run, args: dict[str, Any]) -> None:
    """A new device is there, set up and switched on. It is in a mesh of its own."""
    name = args["device"]
    if name in run.devices or name not in run.newcomers:
        return
    run.world.note(name, "arrives")
    disk = run.newcomers[name].copy(name, run.world.fresh_identity())
    run.world.add(name, run.prepared(disk)).begin()


def pair(run: Run, args: dict[str, Any]) -> None:
    """An admin shows a code, and the people at new devices type it, or (`wrong`) another one.

    With `picture` they scan what stands beside it, as it is or as a thief has it.
    """
    Attempt(
        run,
        args["device"],
        tuple(args["newcomers"]),
        args["level"],
        wrong=bool(args.get("wrong")),
        picture=str(args.get("picture", "")),
        by_address=bool(args.get("by_address")),
        declines=str(args.get("declines", "")),
        gives_up=str(args.get("gives_up", "")),
        **{name: args[name] for name in _TIMES if name in args},
    ).begin()


PAIRING_DOINGS: dict[str, Doing] = {"newcomer": newcomer, "pair": pair}
