"""Disputes: rules of conflicts are said while devices are apart, changed, and taken back.

Every rule here leaves a field with one of the values that were written to it, so that whoever
judges values needs to know nothing of rules.
"""

from random import Random

from .doings.fault import Stage
from .plan import Step
from .planning import FIELDS

SHARE = 0.5
"""Of plans in which anything is said of rules."""
RULES = ("manual", "max", "min", "origin-wins", "last-writer-wins", "no-such-rule", None)
DELETION_RULES = ("manual", "edit-wins", None)


def sometimes_disputes(random: Random, stage: Stage) -> list[Step]:
    """A few rules in every other plan, said by an admin."""
    if random.random() >= SHARE:
        return []
    return [_rule(random, stage) for _ in range(random.randint(1, 5))]


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
