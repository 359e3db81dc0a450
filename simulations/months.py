"""Months: some devices take only what is new of a database, while the months go by.

A run lasts minutes, so the months are those of the wall clocks, which all people set on by months
at about the same moments; each device is hours off by itself. The database is one that nobody else
writes to, so plans without months are as they were.
"""

from random import Random
from typing import Any

from .doings.fault import Stage
from .plan import Step
from .witness import CANARY

DATABASE = "diary"
MONTH_MS = 30 * 86_400_000
HOUR_MS = 3_600_000
SHARE = 0.2
"""How many plans of the scenario `mixed` have months."""
_IDS = 8
_EARLY_MS = 3_000
"""By then every device has been up once, and is known to the others by its id."""


def months(random: Random, stage: Stage) -> list[Step]:
    """One or two devices get a window at some time, mostly early, and may lose it again."""
    admin, *others = stage.names
    steps = []
    for name in random.sample(others, min(random.randint(1, 2), len(others))):
        at_ms = min(random.choice((_EARLY_MS, random.randrange(stage.end_ms))), stage.end_ms - 1)
        days = random.choice((1, 30, 30, 90))
        steps.append(_window(at_ms, admin, name, days))
        if random.random() < 0.4:
            until_ms = random.randrange(at_ms, stage.end_ms)
            steps.append(_window(until_ms, admin, name, random.choice((0, 60))))
    month = random.randint(0, 20)
    for at_ms in sorted(random.randrange(stage.end_ms) for _ in range(random.randint(2, 5))):
        month += random.randint(1, 3)
        for name in stage.names:
            error_ms = month * MONTH_MS + random.randint(-20, 20) * HOUR_MS
            args = {"device": name, "error_ms": error_ms}
            steps.append(Step(at_ms + random.randrange(500), "set-wall", args))
    for number in range(random.randint(15, 30)):
        at_ms, name = random.randrange(stage.end_ms), random.choice(stage.names)
        steps.append(Step(at_ms, *_writing(random, name, number)))
    return steps


def sometimes_months(random: Random, stage: Stage) -> list[Step]:
    """As `months`, in a few plans."""
    return months(random, stage) if random.random() < SHARE else []


def _window(at_ms: int, admin: str, target: str, days: int) -> Step:
    args = {"device": admin, "target": target, "database": DATABASE, "days": days}
    return Step(at_ms, "window", args)


def _writing(random: Random, name: str, number: int) -> tuple[str, dict[str, Any]]:
    args = {"device": name, "database": DATABASE, "collection": "days"}
    args["id"] = f"day-{random.randrange(_IDS)}"
    if random.random() < 0.1:
        return "relabel", {**args, "privacy": random.choice(("private", "family", "public"))}
    text = "" if random.random() < 0.1 else f"{CANARY} {name} {number} of the diary"
    return "jot", {**args, "text": text}
