"""What happens to processes and homes: crashes, restarts, old images put back, copies, versions."""

from random import Random
from typing import Any

from ...node.links import FEATURES
from ..plan import Step
from ..run import Run
from ..sim_device import SimDevice
from .fault import Doing, FaultKind, Stage, sometimes_when

CLONE = "-copy"


def crash(run: Run, args: dict[str, Any]) -> None:
    """Kill the process; with `power`, the machine."""
    device = run.devices.get(args["device"])
    if device is not None:
        device.crash(power=bool(args.get("power")))


def start(run: Run, args: dict[str, Any]) -> None:
    """Start the device if it does not run."""
    device = run.devices.get(args["device"])
    if device is not None:
        begin(device)


def begin(device: SimDevice) -> None:
    if device.process is None or not device.process.alive:
        device.begin()


def stop(run: Run, args: dict[str, Any]) -> None:
    """Close the device in order."""
    device = run.device(args["device"])
    if device is None or device.process is None or device.process.frozen:
        return
    run.world.loop.create_task(_stop(run, device), name="stopping")


async def _stop(run: Run, device: SimDevice) -> None:
    # Whoever pairs is connected to the node, and is sent away before it closes.
    for attempt in run.pairings:
        await attempt.end(device.name)
    if device.is_up:
        await device.stop()


def keep_image(run: Run, args: dict[str, Any]) -> None:
    """Copy the device's disk as it is now, as a backup does."""
    device = run.devices.get(args["device"])
    if device is None or device.disk.is_rotten:
        return
    if device.is_up:
        device.store.save()
    if device.disk.image is not None:
        run.images[args["image"]] = device.disk.copy(device.name, device.disk.identity)


def put_back(run: Run, args: dict[str, Any]) -> None:
    """The home is set back to an image: as files (another identity) or the whole machine."""
    device, image = run.devices.get(args["device"]), run.images.get(args["image"])
    if device is None or image is None:
        return
    device.crash()
    whole = bool(args.get("whole_machine"))
    identity = image.identity if whole else run.world.fresh_identity()
    commits, calls = device.disk.commits, device.disk.file_calls
    device.disk = image.copy(device.name, identity)
    device.disk.commits, device.disk.file_calls = commits, calls
    run.world.note(device.name, "put back", "whole machine" if whole else "files")
    # What was written since is held by peers or lost; if an instance forked, its places are two.
    run.witness.forget_places(device.name, lost=True)
    run.spoiled.pop(device.name, None)
    device.begin()


def clone(run: Run, args: dict[str, Any]) -> None:
    """A second machine runs a copy of the home, at the same time."""
    device = run.devices.get(args["device"])
    name = f"{args['device']}{CLONE}"
    if device is None or name in run.devices or device.name in run.spoiled:
        return
    if device.is_up:
        device.store.save()
    if device.disk.image is None:
        return
    whole = bool(args.get("whole_machine"))
    identity = device.disk.identity if whole else run.world.fresh_identity()
    copy = device.disk.copy(name, identity)
    run.world.note(name, "cloned from", device.name)
    if whole:
        run.witness.forget_places(device.name)
    made = run.world.add(name, copy, device.machine.place)
    made.begin()


def version(run: Run, args: dict[str, Any]) -> None:
    """The device runs a program of other protocol versions from its next start on, which is now."""
    device = run.devices.get(args["device"])
    if device is None:
        return
    device.crash()
    device.versions = tuple(int(number) for number in args["versions"])
    device.features = tuple(sorted({*FEATURES, *(str(n) for n in args.get("features", ()))}))
    device.begin()


def _draw_crash(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    args = {"device": random.choice(stage.names), "power": random.random() < 0.4}
    return [
        Step(at_ms, "crash", sometimes_when(random, args), "crash"),
        Step(at_ms + stage.length_ms(random), "start", {"device": args["device"]}),
    ]


def _draw_restart_loop(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    name, steps = random.choice(stage.names), []
    for _ in range(random.randint(3, 6)):
        args = {"device": name, "power": random.random() < 0.3}
        steps.append(Step(at_ms, "crash", args, "restart-loop"))
        steps.append(Step(at_ms + random.randint(1, 50), "start", {"device": name}))
        at_ms += random.randint(60, 3_000)
    return steps


def _draw_stop(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    name = random.choice(stage.names)
    return [
        Step(at_ms, "stop", {"device": name}, "restart"),
        Step(at_ms + 3_000 + stage.length_ms(random), "start", {"device": name}),
    ]


def _draw_put_back(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    name = random.choice(stage.names)
    image = f"{name} at {at_ms}"
    later = at_ms + stage.length_ms(random)
    return [
        Step(at_ms, "keep-image", {"device": name, "image": image}),
        Step(
            later,
            "put-back",
            {"device": name, "image": image, "whole_machine": random.random() < 0.5},
            "put-back",
        ),
    ]


def _draw_clone(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    args = {"device": random.choice(stage.names), "whole_machine": random.random() < 0.5}
    return [Step(at_ms, "clone", args, "clone")]


def _draw_version(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    name = random.choice(stage.names)
    versions = random.choice(([1, 2], [1, 2, 7], [2]))
    back = {"device": name, "versions": [1], "features": []}
    other = {"device": name, "versions": versions, "features": ["later"]}
    return [
        Step(at_ms, "version", other, "version"),
        Step(at_ms + stage.length_ms(random), "version", back),
    ]


PROCESS_DOINGS: dict[str, Doing] = {
    "crash": crash,
    "start": start,
    "stop": stop,
    "keep-image": keep_image,
    "put-back": put_back,
    "clone": clone,
    "version": version,
}

PROCESS_FAULTS = (
    FaultKind("crash", _draw_crash, "a process or its machine dies at any moment"),
    FaultKind("restart-loop", _draw_restart_loop, "a device dies again and again as it starts"),
    FaultKind("restart", _draw_stop, "a device is switched off in order, and on again later"),
    FaultKind("put-back", _draw_put_back, "a home is set back to an old image of it"),
    FaultKind("clone", _draw_clone, "two machines run copies of one home at once"),
    FaultKind("version", _draw_version, "a device runs a program of another protocol version"),
)
