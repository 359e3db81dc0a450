"""What networks do: cut, slow down, reset, tamper, move machines and forbid multicast."""

from random import Random
from typing import Any

from ..plan import Step
from ..run import Run
from ..sim_network import LAWS, Tampering
from .fault import Doing, FaultKind, Stage, sometimes_when


def cut(run: Run, args: dict[str, Any]) -> None:
    """Nothing goes from `source` to `target`; with `both`, nor back."""
    run.world.network.cut(args["source"], args["target"])
    if args.get("both"):
        run.world.network.cut(args["target"], args["source"])


def mend(run: Run, args: dict[str, Any]) -> None:
    """Undo a cut, both ways."""
    run.world.network.mend(args["source"], args["target"])
    run.world.network.mend(args["target"], args["source"])


def split(run: Run, args: dict[str, Any]) -> None:
    """Cut a group of devices off from all others, both ways."""
    inside = set(args["group"])
    for name in run.devices:
        if name not in inside:
            for member in args["group"]:
                run.world.network.cut(name, member)
                run.world.network.cut(member, name)


def mend_all(run: Run, args: dict[str, Any]) -> None:
    run.world.network.mend()


def law(run: Run, args: dict[str, Any]) -> None:
    """A place (or all) is another kind of network from now on."""
    run.world.network.set_law(args.get("place"), args["law"])


def reset(run: Run, args: dict[str, Any]) -> None:
    """Break every connection between two devices in mid-frame; with `half`, only one is told."""
    run.world.network.break_links(args["one"], args["other"], half=bool(args.get("half")))


def tamper(run: Run, args: dict[str, Any]) -> None:
    """Change, drop, double, swap or shorten the next message from `source` to `target`."""
    run.world.network.tamper(args["source"], args["target"], Tampering(args["how"]))


def slow_reader(run: Run, args: dict[str, Any]) -> None:
    """The device takes only so many bytes a millisecond; without a number, it is itself again."""
    machine = run.world.network.machines.get(args["device"])
    if machine is not None:
        machine.reads_bytes_per_ms = args.get("bytes_per_ms")


def move(run: Run, args: dict[str, Any]) -> None:
    """The device goes to a place, or (null) out of reach."""
    if args["device"] in run.world.network.machines:
        run.world.note(args["device"], "moves", str(args.get("place")))
        run.world.network.move(args["device"], args.get("place"))


def multicast(run: Run, args: dict[str, Any]) -> None:
    """Multicast reaches the device, or not."""
    machine = run.world.network.machines.get(args["device"])
    if machine is not None:
        machine.mdns = bool(args["on"])


def _draw_cut(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    source, target = stage.pair(random)
    args = sometimes_when(random, {"device": source, "source": source, "target": target})
    end = at_ms + stage.length_ms(random)
    back = {"source": source, "target": target}
    return [Step(at_ms, "cut", args, "one-way"), Step(end, "mend", back)]


def _draw_partition(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    size = random.randint(1, max(1, len(stage.names) // 2))
    group = sorted(random.sample(stage.names, size))
    end = at_ms + stage.length_ms(random)
    return [Step(at_ms, "split", {"group": group}, "partition"), Step(end, "mend-all", {})]


def _draw_reset(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    one, other = stage.pair(random)
    args = sometimes_when(random, {"device": one, "one": one, "other": other})
    return [Step(at_ms, "reset", args, "reset")]


def _draw_half_open(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    (step,) = _draw_reset(random, stage, at_ms)
    return [Step(step.at_ms, "reset", {**step.args, "half": True}, "half-open")]


def _draw_tamper(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    source, target = stage.pair(random)
    how = random.choice(list(Tampering)).value
    args = {"device": source, "source": source, "target": target, "how": how}
    return [Step(at_ms, "tamper", sometimes_when(random, args), "tamper")]


def _draw_slow_reader(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    name = random.choice(stage.names)
    rate = random.choice((1, 5, 50))
    return [
        Step(at_ms, "slow-reader", {"device": name, "bytes_per_ms": rate}, "slow-reader"),
        Step(at_ms + stage.length_ms(random), "slow-reader", {"device": name}),
    ]


def _draw_law(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    name = random.choice([n for n in LAWS if n != "instant"])
    return [Step(at_ms, "law", {"law": name}, "law")]


def _draw_address(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    name = random.choice(stage.names)
    args = sometimes_when(random, {"device": name, "place": "home"})
    return [Step(at_ms, "move", args, "address")]


def _draw_away(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    name = random.choice(stage.names)
    return [
        Step(at_ms, "move", sometimes_when(random, {"device": name, "place": None}), "away"),
        Step(at_ms + stage.length_ms(random), "move", {"device": name, "place": "home"}),
    ]


def _draw_no_multicast(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    name = random.choice(stage.names)
    return [
        Step(at_ms, "multicast", {"device": name, "on": False}, "no-multicast"),
        Step(at_ms + stage.length_ms(random), "multicast", {"device": name, "on": True}),
    ]


NETWORK_DOINGS: dict[str, Doing] = {
    "cut": cut,
    "mend": mend,
    "split": split,
    "mend-all": mend_all,
    "law": law,
    "reset": reset,
    "tamper": tamper,
    "slow-reader": slow_reader,
    "move": move,
    "multicast": multicast,
}

NETWORK_FAULTS = (
    FaultKind("one-way", _draw_cut, "nothing goes from one device to another for a while"),
    FaultKind("partition", _draw_partition, "some devices are cut off from the others"),
    FaultKind("reset", _draw_reset, "connections break in mid-frame"),
    FaultKind("half-open", _draw_half_open, "a connection is gone, and one end does not know"),
    FaultKind("tamper", _draw_tamper, "a message is changed, lost, doubled, swapped or cut short"),
    FaultKind("slow-reader", _draw_slow_reader, "a device takes what it is sent very slowly"),
    FaultKind("law", _draw_law, "the network becomes a better or a worse one"),
    FaultKind("address", _draw_address, "a device has another address from one moment to the next"),
    FaultKind("away", _draw_away, "a device is out of reach for a while"),
    FaultKind("no-multicast", _draw_no_multicast, "mDNS does not reach a device"),
)
