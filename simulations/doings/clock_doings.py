"""What clocks do: run fast or slow, be years off, jump; and stand still while a lid is closed."""

from random import Random
from typing import Any

from ..plan import Step
from ..run import Run
from .fault import Doing, FaultKind, Stage, sometimes_when

YEAR_MS = 365 * 86_400_000


def set_wall(run: Run, args: dict[str, Any]) -> None:
    """The wall clock is off by so much from now on."""
    device = run.devices.get(args["device"])
    if device is not None:
        device.clock.wall_error_ms = int(args["error_ms"])
        run.world.note(device.name, "clock", f"{args['error_ms']} ms off")


def drift(run: Run, args: dict[str, Any]) -> None:
    """The device's clocks gain so many millionths, until it is set anew; at its next start."""
    device = run.devices.get(args["device"])
    if device is not None:
        device.clock.set_drift(int(args["ppm"]))


def sleep(run: Run, args: dict[str, Any]) -> None:
    device = run.device(args["device"])
    if device is not None:
        device.sleep()


def wake(run: Run, args: dict[str, Any]) -> None:
    device = run.devices.get(args["device"])
    if device is not None:
        device.wake()


def _draw_jump(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    error_ms = random.choice(
        (
            random.randint(-10 * YEAR_MS, 10 * YEAR_MS),
            random.randint(-600_000, 600_000),
            random.randint(-3_000, 3_000),
        )
    )
    args = {"device": random.choice(stage.names), "error_ms": error_ms}
    return [Step(at_ms, "set-wall", args, "clock-jump")]


def _draw_drift(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    ppm = random.choice((-50_000, -200, 200, 50_000))
    args = {"device": random.choice(stage.names), "ppm": ppm}
    return [Step(at_ms, "drift", args, "clock-drift")]


def _draw_sleep(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    name = random.choice(stage.names)
    return [
        Step(at_ms, "sleep", sometimes_when(random, {"device": name}), "sleep"),
        Step(at_ms + stage.length_ms(random), "wake", {"device": name}),
    ]


CLOCK_DOINGS: dict[str, Doing] = {
    "set-wall": set_wall,
    "drift": drift,
    "sleep": sleep,
    "wake": wake,
}

CLOCK_FAULTS = (
    FaultKind("clock-jump", _draw_jump, "a wall clock is suddenly seconds to years off"),
    FaultKind("clock-drift", _draw_drift, "a device's clocks run fast or slow"),
    FaultKind("sleep", _draw_sleep, "a lid is closed for a while, and the clocks part"),
)
