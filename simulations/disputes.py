"""Disputes: rules of conflicts are said while devices are apart, changed, and taken back; people
decide what is in dispute, apart and at once, and take it back.

Every rule here leaves a field with one of the values that were written to it, so that whoever
judges values needs to know nothing of rules.
"""

from random import Random
from typing import Any

from .doings.fault import Stage
from .plan import Step
from .planning import FIELDS, IDS
from .witness import CANARY

SHARE = 0.5
"""Of plans in which anything is said of rules."""
RULES = ("manual", "max", "min", "origin-wins", "last-writer-wins", "no-such-rule", None)
DELETION_RULES = ("manual", "edit-wins", None)


def sometimes_disputes(random: Random, stage: Stage) -> list[Step]:
    """A few rules in every other plan, said by an admin."""
    if random.random() >= SHARE:
        return []
    return [_rule(random, stage) for _ in range(random.randint(1, 5))]


def sometimes_decisions(random: Random, stage: Stage) -> list[Step]:
    """In every other plan people write one field on two devices at once, and decide what counts."""
    if random.random() >= SHARE:
        return []
    steps = []
    for _ in range(random.randint(1, 4)):
        at_ms = random.randrange(stage.end_ms)
        steps += _contest(random, stage, at_ms)
        for _ in range(random.randint(1, 4)):
            steps.append(_decision(random, stage, at_ms))
            # At once on another device as well, or later, when others may know of it.
            at_ms += random.choice((0, 3, 200, 5_000, 30_000))
    return steps


def _contest(random: Random, stage: Stage, at_ms: int) -> list[Step]:
    """Two devices write one field, or one of them deletes the record."""
    args = {
        "database": random.choice(stage.databases),
        "collection": "facts",
        "privacy": "private",
        "id": f"private-{random.randrange(IDS)}",
    }
    field = random.choice(FIELDS)
    steps: list[Step] = []
    for name in random.sample(stage.names, min(len(stage.names), 2)):
        fields = {field: f"{CANARY} contest {random.getrandbits(32):08x}"}
        step = Step(at_ms, "put", {"device": name, **args, "fields": fields})
        if steps and random.random() < 0.2:
            step = Step(at_ms, "delete", {"device": name, **args})
        steps.append(step)
    return steps


def _decision(random: Random, stage: Stage, contested_ms: int) -> Step:
    at_ms = contested_ms + random.choice((50, 500, 4_000, 20_000))
    args: dict[str, Any] = {
        "device": random.choice(stage.names),
        "database": random.choice(stage.databases),
        "pick": random.randrange(8),
    }
    if random.random() < 0.35:
        return Step(at_ms, "undo", args)
    if random.random() < 0.3:
        args["value"] = f"{CANARY} decided {random.getrandbits(32):08x}"
    else:
        args["take"] = random.randrange(3)
    return Step(at_ms, "resolve", args)


def _rule(random: Random, stage: Stage) -> Step:
    rule: str | None
    if random.random() < 0.15:
        key, rule = "rule.facts.$deleted", random.choice(DELETION_RULES)
    else:
        key = random.choice(("rule", "rule.facts", f"rule.facts.{random.choice(FIELDS)}"))
        rule = random.choice(RULES)
    args = {
        "device": stage.names[0],
        "target": "",
        "database": random.choice((*stage.databases, "")),
        "set": {key: rule},
    }
    return Step(random.randrange(stage.end_ms), "policy", args)
