"""What disks do: fill up, fail, lose what was not synced, and rot."""

from random import Random
from typing import Any

from ..plan import Step
from ..run import Run
from ..sim_disk import Fate
from .fault import Doing, FaultKind, Stage


def doom_commit(run: Run, args: dict[str, Any]) -> None:
    """A commit some commits ahead meets a fate; a process that dies at it starts again later."""
    device = run.devices.get(args["device"])
    if device is not None:
        device.disk.doom_commit(int(args["ahead"]), Fate(args["fate"]))


def doom_call(run: Run, args: dict[str, Any]) -> None:
    """The same for a call on a small file."""
    device = run.devices.get(args["device"])
    if device is not None:
        device.disk.doom_call(int(args["ahead"]), Fate(args["fate"]))


def full(run: Run, args: dict[str, Any]) -> None:
    """The disk has no room, or has room again."""
    device = run.devices.get(args["device"])
    if device is not None:
        device.disk.is_full = bool(args["on"])


def rot(run: Run, args: dict[str, Any]) -> None:
    """A bit flips: in a small file by name, or (`store.db`) for good in a page of the store."""
    device = run.devices.get(args["device"])
    if device is None:
        return
    device.disk.rot(args["file"])
    if device.disk.is_rotten:
        run.spoiled[device.name] = "its store has rotted"
        run.witness.forget_places(device.name, lost=True)


def _draw_commit(kind: str, *fates: Fate) -> Any:
    def draw(random: Random, stage: Stage, at_ms: int) -> list[Step]:
        name, fate = random.choice(stage.names), random.choice(fates)
        ahead = random.randint(1, 6)
        doomed = {"device": name, "ahead": ahead, "fate": fate.value}
        steps = [Step(at_ms, "doom-commit", doomed, kind)]
        if fate in (Fate.DIES_BEFORE, Fate.DIES_AFTER):
            steps.append(Step(at_ms + stage.length_ms(random), "start", {"device": name}))
        if fate is Fate.UNSURE:
            # Only a power cut right after shows that nobody knew.
            power = {"device": name, "power": True}
            steps += [
                Step(at_ms + random.randint(1, 400), "crash", power, kind),
                Step(at_ms + 400 + stage.length_ms(random), "start", {"device": name}),
            ]
        return steps

    return draw


def _draw_call(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    """The small files are written at starts, so a restart comes with it."""
    name = random.choice(stage.names)
    fate = random.choice((Fate.DIES_BEFORE, Fate.DIES_AFTER, Fate.FAILS))
    power = random.random() < 0.5
    doomed = {"device": name, "ahead": random.randint(1, 5), "fate": fate.value}
    return [
        Step(at_ms, "doom-call", doomed),
        Step(at_ms + 1, "crash", {"device": name, "power": power}, "crash-at-file"),
        Step(at_ms + 2, "start", {"device": name}),
        Step(
            at_ms + random.randint(50, 500),
            "crash",
            {"device": name, "power": True},
            "crash-at-file",
        ),
        Step(at_ms + 500 + stage.length_ms(random), "start", {"device": name}),
    ]


def _draw_full(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    name = random.choice(stage.names)
    return [
        Step(at_ms, "full", {"device": name, "on": True}, "disk-full"),
        Step(at_ms + stage.length_ms(random), "full", {"device": name, "on": False}),
        Step(at_ms + stage.end_ms // 2, "start", {"device": name}),
    ]


def _draw_rot(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    name = random.choice(stage.names[1:] or stage.names)
    what = "store.db" if random.random() < 0.3 else "instance.token"
    return [
        Step(at_ms, "rot", {"device": name, "file": what}, "bit-rot"),
        Step(at_ms + 500, "crash", {"device": name}),
        Step(at_ms + 1_000, "start", {"device": name}),
    ]


DISK_DOINGS: dict[str, Doing] = {
    "doom-commit": doom_commit,
    "doom-call": doom_call,
    "full": full,
    "rot": rot,
}

DISK_FAULTS = (
    FaultKind(
        "crash-at-commit",
        _draw_commit("crash-at-commit", Fate.DIES_BEFORE, Fate.DIES_AFTER),
        "the process dies at a commit, before or after it is on the disk",
    ),
    FaultKind("crash-at-file", _draw_call, "the process dies at a call on a small file"),
    FaultKind("io-error", _draw_commit("io-error", Fate.FAILS), "a commit fails"),
    FaultKind(
        "unsure-commit",
        _draw_commit("unsure-commit", Fate.UNSURE),
        "a commit fails, and is there all the same after a power cut",
    ),
    FaultKind("disk-full", _draw_full, "there is no room on the disk for a while"),
    FaultKind("bit-rot", _draw_rot, "a bit flips on the disk"),
)
