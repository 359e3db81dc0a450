"""What hostile peers do: the misbehaviours of `simulations.hostile`, committed from a machine.

The machine stands at the same place as the devices and is nobody's. Its keys are those of members
that the template has enrolled beside the cast (`MALLORY`), one for each level, or a stranger's.
"""

from random import Random
from typing import Any

from ...node.ports import Address
from ..hostile.attacker import Attacker
from ..hostile.registry import MISBEHAVIOURS
from ..hostile.registry import run as commit
from ..plan import Step
from ..run import Run
from ..sim_clock import ProcessClock, SimClock
from ..sim_connection import SimTransport
from ..sim_entropy import SimEntropy
from ..templates import REMOVED, VARIANTS, mallory_keys
from ..virtual_loop import Process
from .fault import Doing, FaultKind, Stage

MACHINE = "mallory"


def attack(run: Run, args: dict[str, Any]) -> None:
    """A hostile peer commits a misbehaviour against a device."""
    device = run.device(args["device"])
    if device is None:
        return
    misbehaviour = MISBEHAVIOURS[args["name"]]
    world, number = run.world, run.done["attack"]
    machine = world.network.machines.get(MACHINE) or world.network.add(MACHINE)
    process = machine.process
    if process is None:
        process = machine.process = Process(MACHINE, world.misfortune_of(MACHINE))
        world.outsiders.append(process)
    entropy = SimEntropy(world.dice, MACHINE, number)
    attacker = Attacker(
        SimTransport(world.network, machine, process),
        Address(device.machine.host, device.port),
        device.engine,
        mallory_keys(run.plan.seed % VARIANTS, misbehaviour.stands_as),
        ProcessClock(SimClock(), process),
        entropy,
        world.dice.stream("attack", number),
        accomplice=mallory_keys(run.plan.seed % VARIANTS, "limited"),
        removed=mallory_keys(run.plan.seed % VARIANTS, REMOVED),
    )
    run.hostile.append(misbehaviour.name)
    run.leaves_waiting = run.leaves_waiting or misbehaviour.leaves_waiting
    world.note(device.name, "attacked", misbehaviour.name)
    process.spawn(commit(attacker, misbehaviour.name), "attack")


def _draw_attack(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    steps = []
    for _ in range(random.randint(1, 3)):
        args = {"device": random.choice(stage.names), "name": random.choice(list(MISBEHAVIOURS))}
        steps.append(Step(at_ms, "attack", args, "hostile"))
        at_ms += random.randrange(2_000)
    return steps


PEER_DOINGS: dict[str, Doing] = {"attack": attack}

PEER_FAULTS = (FaultKind("hostile", _draw_attack, "a peer breaks the rules, by name"),)
