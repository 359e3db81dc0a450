"""What is around a device, and what it makes of it: networks that cost, mains, policies.

A plan says what the system of a device tells of its network and power, and what people say of
databases; what waits for what follows from both. A phone on its battery is in phone mode.
"""

from random import Random
from typing import Any

from ...node.api import Node
from ...node.surroundings import Surroundings
from ..plan import Step
from ..run import Run
from .fault import Doing, FaultKind, Stage
from .user_doings import in_device

AT_HOME = Surroundings(metered=False, mains=True, battery=100)
"""Nothing waits but for its interval."""


def surround(run: Run, args: dict[str, Any]) -> None:
    """The system of a device says something else of network and power from now on."""
    device = run.devices.get(args["device"])
    if device is not None:
        device.surround(Surroundings(args["metered"], args["mains"], args.get("battery")))


def say_policy(run: Run, args: dict[str, Any]) -> None:
    """A device says of itself what it wants of a database, or an admin of everybody."""
    device = run.device(args["device"])
    if device is None:
        return
    trust = device.engine.trust
    of = b"" if args.get("everybody") else device.engine.keys.sig_pk

    async def act(_: Node) -> None:
        await trust.set_policy(of, args["database"], args["said"])

    in_device(run, args["device"], act)


def _draw(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    name = random.choice(stage.names)
    metered, mains = random.choice((True, True, None)), random.choice((False, False, True, None))
    args = {
        "device": name,
        "metered": metered,
        "mains": mains,
        "battery": random.choice((None, 5, 60)),
    }
    steps = [Step(at_ms, "surround", args, "surroundings")]
    if random.random() < 0.7:
        back = {"device": name, "metered": False, "mains": True, "battery": 100}
        steps.append(Step(at_ms + stage.length_ms(random), "surround", back))
    return steps


SURROUNDINGS_DOINGS: dict[str, Doing] = {"surround": surround, "say-policy": say_policy}

SURROUNDINGS_FAULTS = (
    FaultKind("surroundings", _draw, "a device is on a network that costs, or on its battery"),
)
