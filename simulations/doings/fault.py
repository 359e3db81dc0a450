"""Fault kinds: what a plan may hold, and how its steps are drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from ..plan import Step
from ..run import Run

Doing = Callable[[Run, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """What faults and habits are drawn for: the devices, and the time that the plan has."""

    names: tuple[str, ...]
    end_ms: int
    databases: tuple[str, ...] = ()
    """What is written to."""

    def pair(self, random: Random) -> tuple[str, str]:
        """Two different devices, or one twice if there is no other."""
        one = random.choice(self.names)
        others = [name for name in self.names if name != one] or [one]
        return one, random.choice(others)

    def length_ms(self, random: Random) -> int:
        """How long a fault lasts: mostly seconds, sometimes most of the run."""
        longest = max(self.end_ms // 2, 1_000)
        return min(int(200 * 2 ** (random.random() * 10)), longest)


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One kind. `draw(random, stage, at_ms)` gives the steps of one occurrence.

    Steps with which it strikes bear its name (`Step.fault`); what prepares or ends it does not.
    """

    name: str
    draw: Callable[[Random, Stage, int], list[Step]]
    about: str


PHASES = ("GREETING", "MEMBERSHIP", "COMPARING", "STREAMING")


def sometimes_when(random: Random, args: dict[str, Any]) -> dict[str, Any]:
    """Half of the faults of a device wait for a session of it to be in some phase."""
    if random.random() < 0.5:
        return {**args, "when": random.choice(PHASES)}
    return args
