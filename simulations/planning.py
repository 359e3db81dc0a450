"""Planning: a seed becomes a plan. Scenarios say which devices, places, faults and habits.

Swarm testing: each plan may hold a random subset of the kinds of fault, because a run in which
everything goes wrong at once hides what one thing alone would show.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from .dice import Dice
from .doings import FAULTS, Stage
from .plan import Plan, PlanError, Step
from .templates import Part
from .witness import CANARY

FIELDS = ("text", "mood", "place", "note")
IDS = 12
"""Records that a run writes to: few, so that devices meet in them."""

KIND_SHARE = 0.4
"""How likely each kind of fault is to be in a plan at all."""
BURST_SIZE = 8
"""Operations of one burst, on average."""
DEVICES_PLANNED_MAX = 100
OPERATIONS_MAX = 20_000
HOURS_MAX = 8_784.0
"""A year."""

_NAMES = ("laptop", "phone", "tablet", "desktop", "server")
_KINDS = {name: name for name in _NAMES}


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a seed is planned for."""

    name: str
    about: str
    nodes: int
    hours: float
    operations: int
    faults: tuple[str, ...]
    """Kinds that may occur; each plan takes a random part of them."""
    fault_share: float = 0.15
    """Faults for each operation."""
    law: str | None = None
    """The kind of network; a random one if not said."""
    levels: bool = True
    """Whether some devices may be of level limited or guest."""
    level_of: tuple[str, ...] = ()
    """Levels that the first devices surely have."""
    extra: "Callable[[Random, Stage], list[Step]] | None" = None
    """Habits: what happens besides writes and faults, such as a way to work each morning."""
    databases: tuple[tuple[str, ...], ...] = (("memory",), ("memory", "conversations"))
    """What is written to; each plan takes one of these."""
    scales: bool = False
    """Whether more hours mean more operations, if nobody says how many."""

    def operations_in(self, hours: float) -> int:
        """How many operations a plan of so many hours has, if nobody says."""
        if not self.scales:
            return self.operations
        return min(max(round(self.operations * hours / self.hours), 1), OPERATIONS_MAX)


def plan_of(
    scenario: Scenario,
    seed: int,
    *,
    nodes: int | None = None,
    hours: float | None = None,
    operations: int | None = None,
) -> Plan:
    """The plan of a seed. The same arguments give the same plan. Raises PlanError."""
    random = Dice(f"{scenario.name}/{seed}").stream("plan")
    count, length_h, doings = _measures(scenario, nodes, hours, operations)
    cast = _cast(random, count, scenario)
    end_ms = max(int(length_h * 3_600_000), 2_000)
    allowed = [kind for kind in scenario.faults if kind in FAULTS]
    # By name, so that a kind that is added later changes no plan that does not hold it.
    dice = Dice(f"{scenario.name}/{seed}")
    kinds = tuple(k for k in allowed if dice.fraction("kind", k) < KIND_SHARE)
    kinds = kinds or tuple(allowed[:1])
    names = tuple(part.name for part in cast)
    databases = random.choice(scenario.databases)
    writer = _Writer(random, names, databases)
    steps = [writer.step(at_ms) for at_ms in _moments(random, doings, end_ms)]
    steps.sort(key=lambda step: step.at_ms)
    steps = list(_fresh_values(steps))
    stage = Stage(names, end_ms, databases)
    for _ in range(int(doings * scenario.fault_share)) if kinds else ():
        # Most faults come when something is going on.
        at_ms = random.choice(steps).at_ms if random.random() < 0.7 else random.randrange(end_ms)
        at_ms += random.randrange(200)
        steps += FAULTS[random.choice(kinds)].draw(random, stage, at_ms)
    if scenario.extra is not None:
        steps += scenario.extra(dice.stream("extra"), stage)
    steps = [step for step in steps if step.at_ms < end_ms]
    steps.sort(key=lambda step: step.at_ms)
    law = scenario.law or random.choice(("lan", "wifi", "flaky-wifi", "mobile"))
    return Plan(
        scenario.name, seed, cast, law, ("home",) * count, kinds, tuple(steps), end_ms
    )  # fmt: skip


def _measures(
    scenario: Scenario, nodes: int | None, hours: float | None, operations: int | None
) -> tuple[int, float, int]:
    """How many devices, hours and operations: what was asked for, else what the scenario has."""
    count = scenario.nodes if nodes is None else nodes
    if not 1 <= count <= DEVICES_PLANNED_MAX:
        raise PlanError(f"{count} devices: 1 to {DEVICES_PLANNED_MAX} can be simulated")
    length_h = scenario.hours if hours is None else hours
    if not 0 < length_h <= HOURS_MAX:
        raise PlanError(f"{length_h:g} hours: more than 0, up to {HOURS_MAX:g} can be simulated")
    doings = scenario.operations_in(length_h) if operations is None else operations
    if not 0 <= doings <= OPERATIONS_MAX:
        raise PlanError(f"{doings} operations: 0 to {OPERATIONS_MAX} can be simulated")
    return count, length_h, doings


def _cast(random: Random, count: int, scenario: Scenario) -> tuple[Part, ...]:
    """The first is an admin of level full, and most others are full as well."""
    parts = []
    for at in range(count):
        kind = _NAMES[at % len(_NAMES)]
        name = kind if at < len(_NAMES) else f"{kind}-{at // len(_NAMES) + 1}"
        level = "full"
        if scenario.levels and at > 1 and random.random() < 0.2:
            level = random.choice(("limited", "guest"))
        if at < len(scenario.level_of):
            level = scenario.level_of[at]
        parts.append(Part(name, _KINDS[kind], level))
    return tuple(parts)


def _moments(random: Random, count: int, end_ms: int) -> list[int]:
    """People write in bursts, and often on two devices at once; between these they do not."""
    bursts = [random.randrange(end_ms) for _ in range(max(count // BURST_SIZE, 1))]
    moments = []
    for _ in range(count):
        spread_ms = random.choice((5, 60, 600, 6_000))
        moments.append(min(random.choice(bursts) + random.randrange(spread_ms), end_ms - 1))
    return moments


class _Writer:
    """Draws what users do. Every record stays at the privacy level that its id names."""

    def __init__(self, random: Random, names: tuple[str, ...], databases: tuple[str, ...]) -> None:
        self._random = random
        self._names = names
        self._databases = databases

    def step(self, at_ms: int) -> Step:
        random = self._random
        device = random.choice(self._names)
        privacy = random.choices(("private", "family", "public", "device"), weights=(80, 10, 7, 3))[
            0
        ]
        where = {
            "device": device,
            "database": random.choice(self._databases),
            "collection": "facts",
            "privacy": privacy,
        }
        at_hand = random.choices(
            ("put", "replace", "delete", "put-together", "read", "rename", "sync"),
            weights=(58, 6, 10, 10, 10, 2, 4),
        )[0]
        match at_hand:
            case "put" | "replace":
                args: dict[str, Any] = {
                    **where,
                    "id": self._id(privacy),
                    "fields": self._fields(),
                }
                if at_hand == "replace":
                    args["replace"] = True
                if random.random() < 0.1:
                    args["extra"] = {"tags": [random.randrange(9) for _ in range(3)]}
                return Step(at_ms, "put", args)
            case "put-together":
                ids = sorted({self._id(privacy) for _ in range(random.randint(2, 5))})
                records = [[id, self._fields()] for id in ids]
                return Step(at_ms, "put-together", {**where, "records": records})
            case "rename":
                name = f"{device} {random.randrange(100)}"
                return Step(at_ms, "rename", {"device": device, "name": name})
            case "sync":
                return Step(at_ms, "sync", {"device": device})
            case _:
                return Step(at_ms, at_hand, {**where, "id": self._id(privacy)})

    def _id(self, privacy: str) -> str:
        return f"{privacy}-{self._random.randrange(IDS)}"

    def _fields(self) -> dict[str, str]:
        chosen = self._random.sample(FIELDS, self._random.randint(1, 3))
        return dict.fromkeys(chosen, "")


def _fresh_values(steps: list[Step]) -> Iterator[Step]:
    """Give every field that is written a value of its own."""
    for number, step in enumerate(steps):
        args = dict(step.args)
        if "fields" in args:
            args["fields"] = {f: f"{CANARY} {number} {f}" for f in args["fields"]}
        if "records" in args:
            args["records"] = [
                [id, {f: f"{CANARY} {number} {id} {f}" for f in fields}]
                for id, fields in args["records"]
            ]
        yield Step(step.at_ms, step.do, args)
