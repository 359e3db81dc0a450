"""Wishes: what people say about which device takes what, and what they ask for all the same.

Some of it is said by devices that have no right to say it, and half of that by a program that does
not ask whether it has. Most is about a device and a database that a plan writes to, and much of it
is taken back: what travels again then must be what did not travel before.
"""

from random import Random
from typing import Any

from .doings.fault import Stage
from .plan import Step
from .planning import IDS

DATABASES = (
    ("memory", "media"),
    ("memory", "cache"),
    ("notes", "embeddings"),
    ("memory", "notes", "analytics"),
    ("memory", "embeddings", "cache", "media"),
)
"""What plans with wishes write to; some of it the profile keeps from devices."""
_PRIVACIES = ("private", "family", "public", "device")
_MODES = ("full", "on-demand", "local-only", "periodic", "summary", "metadata")
"""All but `window`, with which records come into time buckets (months.py)."""
_DIRECTIONS = ("both", "send", "receive")


def wishes(random: Random, stage: Stage) -> list[Step]:
    """A few policies, and questions and fetches between them."""
    # What goes at intervals goes often enough for a run to see it come.
    often = {"interval_minutes": random.randint(1, 5)}
    everybody = {"device": stage.names[0], "target": "", "database": "", "set": often}
    steps = [Step(50, "policy", everybody)]
    for _ in range(random.randint(3, 14)):
        steps += _policy(random, stage, random.randrange(stage.end_ms))
    for _ in range(random.randint(1, 6)):
        steps.append(_fetch(random, stage, random.randrange(stage.end_ms)))
    for _ in range(random.randint(2, 12)):
        steps.append(_ask(random, stage, random.randrange(stage.end_ms)))
    return steps


def _policy(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    """Somebody says something, and sometimes the opposite later."""
    admin = stage.names[0]
    sayer = random.choice((admin, admin, *stage.names))
    target = random.choice((sayer, random.choice(stage.names), random.choice(stage.names), ""))
    said = _settings(random)
    args: dict[str, Any] = {
        "device": sayer,
        "target": target,
        "database": random.choice((*stage.databases, *stage.databases, "", "")),
        "set": said,
    }
    if sayer != admin and random.random() < 0.5:
        args["unasked"] = True
    steps = [Step(at_ms, "policy", args)]
    if random.random() < 0.5:
        later_ms = at_ms + random.choice((5, 300, 4_000, 30_000))
        back = dict.fromkeys(said) if random.random() < 0.7 else _settings(random)
        steps.append(Step(later_ms, "policy", {**args, "set": back}))
    return steps


def _settings(random: Random) -> dict[str, str | bool | int | None]:
    """One word or two; the first three are those that decide what travels."""
    words: dict[str, str | bool | int | None] = {
        "mode": random.choice((*_MODES, "on-demand", "full", None)),
        "direction": random.choice((*_DIRECTIONS, None)),
        "consent": random.choice((True, False, None)),
        "priority": random.choice(("high", "low", "none")),
        "unmetered": random.random() < 0.5,
        "blob_bytes": random.choice((0, 1_000)),
    }
    keys = random.choices(list(words), weights=(8, 6, 4, 1, 1, 1), k=random.choice((1, 1, 2)))
    return {key: words[key] for key in dict.fromkeys(keys)}


def _fetch(random: Random, stage: Stage, at_ms: int) -> Step:
    args = {
        "device": random.choice(stage.names),
        "database": random.choice(stage.databases),
        "timeout_ms": random.choice((200, 2_000, 20_000)),
    }
    return Step(at_ms, "fetch", args)


def _ask(random: Random, stage: Stage, at_ms: int) -> Step:
    privacy = random.choices(_PRIVACIES, weights=(6, 2, 2, 2))[0]
    args = {
        "device": random.choice(stage.names),
        "database": random.choice(stage.databases),
        "collection": "facts",
        "id": f"{privacy}-{random.randrange(IDS)}",
        "timeout_ms": random.choice((500, 5_000)),
    }
    return Step(at_ms, "ask", args)
