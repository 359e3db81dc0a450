"""Scenarios that `covey simulate` knows by name, and the habits that some of them have.

A scenario says what is likely; the seed says what happens. Habits are drawn from a stream of their
own, so they are the same whatever else a plan holds. A day of a habit is 24 hours of virtual time,
or the whole run where that is shorter, so that a quick look at a scenario still shows its point.
"""

from random import Random
from typing import Any

from ..crypto.blob import CHUNK_BYTES
from .data_steps import data
from .decisions import decisions
from .disputes import sometimes_decisions, sometimes_disputes
from .doings import FAULTS, Stage
from .months import months, sometimes_months
from .pairings import THEFTS, WHOLE
from .plan import Step
from .planning import FIELDS, IDS, Scenario
from .wishes import DATABASES, wishes
from .witness import CANARY

DAY_MS = 86_400_000
DEFAULT_SCENARIO = "two-devices"

_ALL = tuple(FAULTS)
_LASTING = ("hostile", "clone", "put-back", "bit-rot", "surroundings")
_AT_PAIRING = tuple(kind for kind in FAULTS if kind not in _LASTING)
"""What goes wrong while devices pair, and leaves what they have stored as it was."""
_BETWEEN_PEOPLE = (
    *("away", "sleep", "crash", "restart", "partition", "one-way", "reset", "half-open", "law"),
    *("crash-at-commit", "io-error", "unsure-commit", "disk-full", "slow-reader"),
)
"""What goes wrong while people decide about devices; it harms no store for good."""
_ACCIDENTS = tuple(kind for kind in FAULTS if kind not in ("hostile", "surroundings"))
"""Everything that goes wrong without anybody's ill will."""


def _months_and_disputes(random: Random, stage: Stage) -> list[Step]:
    """What a few plans have of time buckets, and others of rules and of what people decide."""
    return [
        *sometimes_months(random, stage),
        *sometimes_disputes(random, stage),
        *sometimes_decisions(random, stage),
    ]


def _commute(random: Random, stage: Stage) -> list[Step]:
    """The second device leaves home each morning and comes back each evening.

    It works at the office, where the third device always is: what the two places know of each
    other, it carries. The lid of the first is closed at night. A run starts at six in the morning.
    """
    if len(stage.names) < 2:
        return []
    home, phone, *rest = stage.names
    steps = [Step(0, "move", {"device": name, "place": "office"}) for name in rest[:1]]
    steps += _every_morning(stage)
    day_ms = min(DAY_MS, stage.end_ms)
    for morning_ms in range(0, stage.end_ms, day_ms):

        def at(share: float, start_ms: int = morning_ms) -> int:
            return start_ms + int((share + random.uniform(-0.01, 0.01)) * day_ms)

        steps += [
            Step(at(0.07), "move", {"device": phone, "place": None}),
            Step(at(0.10), "move", {"device": phone, "place": "office"}),
            Step(at(0.45), "move", {"device": phone, "place": None}),
            Step(at(0.48), "move", {"device": phone, "place": "home"}),
            Step(at(0.70), "sleep", {"device": home}),
            Step(at(0.97), "wake", {"device": home}),
        ]
    return steps


def _long_journey(random: Random, stage: Stage) -> list[Step]:
    """The second device is out of reach for nearly all of the time, and comes back in the end."""
    traveller = stage.names[min(1, len(stage.names) - 1)]
    leaves_ms = int(stage.end_ms * random.uniform(0.02, 0.08))
    returns_ms = int(stage.end_ms * random.uniform(0.90, 0.97))
    return [
        Step(leaves_ms, "move", {"device": traveller, "place": None}),
        Step(returns_ms, "move", {"device": traveller, "place": "home"}),
        *_every_morning(stage),
    ]


def _wishes(random: Random, stage: Stage) -> list[Step]:
    """At the beginning, and now and then, somebody says what a device wants of a database, when."""
    steps = []
    moments = [1_000] * 3 + [random.randrange(stage.end_ms) for _ in range(4)]
    for at_ms in moments:
        said = random.choice(
            (
                {"unmetered": True, "priority": "low"},
                {"charging": True},
                {"unmetered": True, "charging": True},
                {"mode": "periodic", "interval_minutes": random.randint(1, 5)},
                {"priority": random.choice(("high", "low"))},
                {"bandwidth": random.choice((3_000, 50_000))},
                {"unmetered": False, "charging": False, "mode": "full", "bandwidth": 0},
            )
        )
        args = {
            "device": random.choice(stage.names),
            "database": random.choice(("memory", "memory", "conversations")),
            "said": said,
        }
        steps.append(Step(at_ms + random.randrange(500), "say-policy", args))
    return steps


def _every_morning(stage: Stage) -> list[Step]:
    """Whatever crashed is switched on again the next day: somebody wants to use it."""
    mornings = range(DAY_MS, stage.end_ms, DAY_MS)
    return [Step(at_ms, "start", {"device": name}) for at_ms in mornings for name in stage.names]


def _new_devices(random: Random, stage: Stage) -> list[Step]:
    """New devices come and are paired, some of them more than once, and with a slip of the finger.

    What goes wrong goes wrong between the two of them, and mostly while they pair. Each has written
    something before, and writes on.
    """
    admin, steps = stage.names[0], []
    names = [f"newcomer-{number}" for number in range(1, random.randint(1, 3) + 1)]
    for name in names:
        level = random.choices(("full", "limited", "guest"), weights=(3, 1, 1))[0]
        kind = random.choice(("phone", "tablet"))
        at_ms = random.randrange(stage.end_ms // 2)
        steps.append(Step(at_ms, "newcomer", {"device": name, "kind": kind}))
        steps += _writes_of(random, stage, name, level, at_ms + 100)
        for _ in range(random.randint(1, 3)):
            at_ms += random.randint(500, 10_000)
            args = _pairing(random, admin, names, name, level)
            steps.append(Step(at_ms, "pair", args))
            for _ in range(random.choice((0, 1, 1, 2))):
                fault, spread_ms = FAULTS[random.choice(_AT_PAIRING)], random.choice((400, 9_000))
                struck_ms = at_ms + args["after_ms"] + random.randrange(spread_ms)
                steps += fault.draw(random, Stage((admin, name), stage.end_ms), struck_ms)
            at_ms += random.randint(1_000, 40_000)
    return steps


def _files(random: Random, stage: Stage) -> list[Step]:
    """Contents of up to three chunks are put into few records, some of which are deleted."""
    steps = []
    for number in range(random.randint(4, 9)):
        at_ms = random.randrange(stage.end_ms)
        privacy = random.choice(("private", "private", "family"))
        args: dict[str, Any] = {
            "device": random.choice(stage.names),
            "database": "memory",
            "collection": "files",
            "privacy": privacy,
            "id": f"{privacy}-file-{random.randrange(4)}",
        }
        if number and random.random() < 0.15:
            steps.append(Step(at_ms, "delete", args))
        else:
            size = random.choice((0, 1, 5_000, CHUNK_BYTES, random.randrange(3 * CHUNK_BYTES)))
            steps.append(Step(at_ms, "put-blob", {**args, "size": size, "number": number}))
    return steps


def _pairing(random: Random, admin: str, names: list[str], name: str, level: str) -> dict[str, Any]:
    """How the people at the two devices go about it."""
    args: dict[str, Any] = {
        "device": admin,
        "newcomers": [name],
        "level": level,
        "by_address": random.random() < 0.3,
        "after_ms": random.choice((0, 200, 3_000)),
        "thinks_ms": random.choice((0, 0, 500, 5_000, 50_000)),
        "window_ms": random.choice((4_000, 20_000, 120_000)),
    }
    if random.random() < 0.25:
        args["wrong"] = True
    if random.random() < 0.4:
        args["picture"] = random.choice((WHOLE, WHOLE, *THEFTS))
    if random.random() < 0.1:
        args["declines"] = random.choice((admin, name))
    if random.random() < 0.2:
        args["newcomers"] = random.sample(names, len(names))
    if random.random() < 0.2:
        args["gives_up"] = random.choice((admin, name))
        args["gives_up_ms"] = args["after_ms"] + random.randrange(args["thinks_ms"] + 1_000)
    return args


def _writes_of(random: Random, stage: Stage, name: str, level: str, from_ms: int) -> list[Step]:
    """What somebody writes on a new device, as private as a device of this level may share."""
    privacy = {"full": "private", "limited": "family", "guest": "public"}[level]
    moments = [from_ms, *(random.randrange(from_ms, stage.end_ms) for _ in range(4))]
    return [
        Step(
            at_ms,
            "put",
            {
                "device": name,
                "database": "memory",
                "collection": "facts",
                "privacy": privacy,
                "id": f"{privacy}-{random.randrange(IDS)}",
                "fields": {random.choice(FIELDS): f"{CANARY} {name} {number}"},
            },
        )
        for number, at_ms in enumerate(moments)
        if at_ms < stage.end_ms
    ]


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "two-devices",
            "A laptop and a phone of one person, and every kind of accident.",
            nodes=2,
            hours=0.05,
            operations=40,
            faults=_ACCIDENTS,
        ),
        Scenario(
            "family",
            "Six devices of a household, some of which may not read everything.",
            nodes=6,
            hours=0.1,
            operations=80,
            faults=("away", "sleep", "crash", "restart", "partition", "address", "law", "io-error"),
            level_of=("full", "full", "full", "limited", "guest", "limited"),
        ),
        Scenario(
            "commuter",
            "A phone carries changes between home and office, day after day.",
            nodes=3,
            hours=72,
            operations=90,
            faults=("crash", "restart", "reset", "half-open", "law", "no-multicast", "clock-drift"),
            levels=False,
            extra=_commute,
            scales=True,
        ),
        Scenario(
            "flaky-wifi",
            "Three devices on a network that loses, breaks and garbles.",
            nodes=3,
            hours=0.05,
            operations=50,
            faults=("reset", "tamper", "slow-reader", "half-open", "one-way", "no-multicast"),
            fault_share=0.6,
            law="flaky-wifi",
        ),
        Scenario(
            "long-offline",
            "A device is away for weeks, everybody goes on writing, and it comes back.",
            nodes=3,
            hours=336,
            operations=100,
            faults=("crash", "restart", "sleep", "clock-drift", "law", "io-error"),
            levels=False,
            extra=_long_journey,
            scales=True,
        ),
        Scenario(
            "hostile-peer",
            "Three devices, and a peer that breaks every rule.",
            3,
            0.02,
            20,
            ("hostile",),
            1.0,
        ),
        Scenario(
            "restore",
            "Homes are put back from old images and run in two copies, and processes die.",
            nodes=3,
            hours=0.05,
            operations=40,
            faults=("put-back", "clone", "crash", "crash-at-commit"),
            fault_share=0.3,
        ),
        Scenario(
            "disk",
            "Disks fill up, fail, forget what was not synced, and rot.",
            nodes=3,
            hours=0.05,
            operations=50,
            faults=(
                *("crash-at-commit", "crash-at-file", "io-error"),
                *("unsure-commit", "disk-full", "bit-rot"),
            ),
            fault_share=0.4,
        ),
        Scenario(
            "clocks",
            "Clocks are years off, jump, run fast or slow, and stand still.",
            nodes=4,
            hours=0.1,
            operations=60,
            faults=("clock-jump", "clock-drift", "sleep", "crash"),
            fault_share=0.4,
        ),
        Scenario(
            "crowd",
            "Fifty devices and few writes: what does not grow, and what does.",
            nodes=50,
            hours=0.005,
            operations=15,
            faults=("crash", "restart", "address", "reset"),
            fault_share=0.2,
            law="wifi",
            levels=False,
        ),
        Scenario(
            "pairing",
            "New devices join by a code, while networks, disks and clocks fail.",
            nodes=3,
            hours=0.05,
            operations=20,
            faults=_AT_PAIRING,
            extra=_new_devices,
        ),
        Scenario(
            "trust",
            "Devices are removed, limited and adopted while others write, fail and are away.",
            nodes=5,
            hours=0.05,
            operations=40,
            faults=_BETWEEN_PEOPLE,
            extra=decisions,
        ),
        Scenario(
            "roaming",
            "Networks that cost, batteries, intervals: what waits stays, and then catches up.",
            nodes=3,
            hours=0.5,
            operations=60,
            faults=("surroundings", "away", "sleep", "crash", "restart", "reset", "law"),
            fault_share=0.4,
            levels=False,
            extra=_wishes,
        ),
        Scenario(
            "months",
            "Months go by, and some devices take only what is new of a database.",
            nodes=4,
            hours=0.05,
            operations=20,
            faults=(*_BETWEEN_PEOPLE, "put-back", "clone", "clock-drift"),
            extra=months,
        ),
        Scenario(
            "blobs",
            "Files are put, replaced and deleted, while networks and disks fail.",
            nodes=3,
            hours=0.05,
            operations=20,
            faults=(
                *("away", "crash", "restart", "partition", "reset", "half-open", "law"),
                *("slow-reader", "crash-at-commit", "crash-at-file", "io-error"),
                *("unsure-commit", "disk-full"),
            ),
            fault_share=0.5,
            law="mobile",
            extra=_files,
        ),
        Scenario(
            "policies",
            "Devices take less than they may, ask for the rest, and change their minds.",
            nodes=5,
            hours=0.05,
            operations=50,
            faults=_ALL,
            level_of=("full", "full", "full", "limited"),
            databases=DATABASES,
            extra=wishes,
        ),
        Scenario(
            "data",
            "Applications declare, ask, migrate and erase, while everything fails.",
            nodes=3,
            hours=0.05,
            operations=20,
            faults=tuple(kind for kind in _ACCIDENTS if kind != "clone"),
            fault_share=0.4,
            extra=data,
        ),
        Scenario(
            "mixed",
            "Five devices and every kind of fault.",
            nodes=5,
            hours=0.05,
            operations=60,
            faults=_ALL,
            extra=_months_and_disputes,
        ),
    )
}
