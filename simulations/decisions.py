"""Decisions: what people decide about devices in a run, and what befalls these meanwhile.

A removal alone is quickly believed. So each comes with a scene: whom it concerns is away, cut off,
switched off or just writing, goes on writing, and comes back; or two admins decide at once.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from .doings.fault import Stage
from .plan import Step
from .witness import CANARY

_FIELDS = ("text", "mood", "place", "note")
_IDS = 12
_SHARED_LEVELS = ("full", "limited", "guest")
_WRITES_MAX = 6

Scene = Callable[[Random, Stage, Sequence[str], int], list[Step]]


def decisions(random: Random, stage: Stage) -> list[Step]:
    """A few scenes. Mostly there is a second admin from the start, and sometimes a third."""
    admins = list(stage.names[:1])
    steps = []
    for name in stage.names[1:3]:
        if random.random() < 0.6:
            steps.append(_role(random.randrange(100, 6_000), admins[0], name, "admin"))
            admins.append(name)
    for _ in range(random.randint(1, 4)):
        at_ms = random.randrange(stage.end_ms // 10, stage.end_ms * 9 // 10)
        scene = random.choices(*_SCENES)[0]
        steps += scene(random, stage, admins, at_ms)
    return steps


# Scenes ------------------------------------------------------------------------------------------


def _removal(random: Random, stage: Stage, admins: Sequence[str], at_ms: int) -> list[Step]:
    """Somebody is removed while it is elsewhere, or in the middle of a sentence, or nearby."""
    admin = random.choice(admins)
    target = _another(random, stage, admin)
    before_ms, after_ms = at_ms - _span(random), at_ms + _span(random)
    steps = _absence(random, target, max(before_ms, 0), after_ms)
    steps += _writing(random, stage, target, (before_ms, at_ms + 500))
    steps.append(_about(at_ms, "revoke", admin, target))
    steps += _writing(random, stage, target, (at_ms, after_ms + 20_000))
    # Others build on what it wrote, some of them before they hear of it.
    other = random.choice(stage.names)
    steps += _writing(random, stage, other, (at_ms - 1_000, at_ms + 5_000))
    if random.random() < 0.4:
        adopting_ms = after_ms + _span(random)
        steps.append(_about(adopting_ms, "adopt", random.choice(admins), target))
    return steps


def _two_removals(random: Random, stage: Stage, admins: Sequence[str], at_ms: int) -> list[Step]:
    """Two admins decide at once, apart or together: about each other, one and the same, or two."""
    if len(admins) < 2:
        return _removal(random, stage, admins, at_ms)
    one, other = random.sample(list(admins), 2)
    kind = random.choice(("each other", "the same", "two"))
    first, second = (other, one) if kind == "each other" else (_another(random, stage, one),) * 2
    if kind == "two":
        second = _another(random, stage, other)
    steps = [
        _about(at_ms, "revoke", one, first),
        _about(at_ms + random.choice((0, 1, 10, 200, 3_000)), "revoke", other, second),
    ]
    if random.random() < 0.6:
        side = [other, *(name for name in stage.names if name != one and random.random() < 0.4)]
        args = {"group": list(dict.fromkeys(side))}
        apart_ms = max(at_ms - _span(random), 0)
        steps.append(Step(apart_ms, "split", args))
        # So the two have not seen the same of whom they remove.
        steps += _writing(random, stage, first, (apart_ms, at_ms))
        steps.append(Step(at_ms + 3_000 + _span(random), "mend-all", {}))
    for name in {first: None, second: None}:
        steps += _writing(random, stage, name, (at_ms - 5_000, at_ms + 20_000))
    return steps


def _limit(random: Random, stage: Stage, admins: Sequence[str], at_ms: int) -> list[Step]:
    """Somebody may read less from now on, or more, and sometimes other than that later."""
    admin = random.choice(admins)
    target = _another(random, stage, admin)
    after_ms = at_ms + _span(random)
    steps = _absence(random, target, max(at_ms - _span(random), 0), after_ms)
    for moment_ms in (at_ms, *((after_ms + _span(random),) * random.choice((0, 0, 1)))):
        level = random.choice(_SHARED_LEVELS)
        steps.append(_about(moment_ms, "set-level", admin, target, level=level))
    return steps + _writing(random, stage, target, (at_ms - 3_000, after_ms + 10_000))


def _leaving(random: Random, stage: Stage, admins: Sequence[str], at_ms: int) -> list[Step]:
    """Somebody leaves by itself, in the middle of a sentence or out of everybody's reach."""
    name = random.choice(stage.names)
    steps = _absence(random, name, max(at_ms - _span(random), 0), at_ms + _span(random), off=False)
    steps += _writing(random, stage, name, (at_ms - 3_000, at_ms + 3_000))
    return [*steps, Step(at_ms, "leave", {"device": name})]


def _promotion(random: Random, stage: Stage, admins: Sequence[str], at_ms: int) -> list[Step]:
    """Somebody becomes an admin, or is none any more, and decides something at once."""
    admin = random.choice(admins)
    name = _another(random, stage, admin)
    steps = [_role(at_ms, admin, name, random.choice(("admin", "admin", "member")))]
    decided_ms = at_ms + _span(random)
    return [*steps, _about(decided_ms, "revoke", name, _another(random, stage, name))]


def _new_keys(random: Random, stage: Stage, admins: Sequence[str], at_ms: int) -> list[Step]:
    """Two people ask for new keys, at about the same time."""
    later_ms = at_ms + random.choice((0, 100, 5_000))
    return [
        Step(moment_ms, "rotate-keys", {"device": random.choice(stage.names)})
        for moment_ms in (at_ms, later_ms)
    ]


_SCENES: tuple[tuple[Scene, ...], tuple[int, ...]] = (
    (_removal, _two_removals, _limit, _leaving, _promotion, _new_keys),
    (6, 3, 3, 1, 1, 1),
)


# Parts of them -----------------------------------------------------------------------------------


def _absence(
    random: Random, name: str, from_ms: int, to_ms: int, *, off: bool = True
) -> list[Step]:
    """Where a device is meanwhile: mostly not where it hears what is decided."""
    kind = random.choice(("here", "away", "cut off", *(("asleep", "crashed") if off else ())))
    device: dict[str, Any] = {"device": name}
    match kind:
        case "away":
            return [
                Step(from_ms, "move", {**device, "place": None}),
                Step(to_ms, "move", {**device, "place": "home"}),
            ]
        case "cut off":
            return [Step(from_ms, "split", {"group": [name]}), Step(to_ms, "mend-all", {})]
        case "asleep":
            return [Step(from_ms, "sleep", device), Step(to_ms, "wake", device)]
        case "crashed":
            power = {"power": random.random() < 0.5}
            return [Step(from_ms, "crash", {**device, **power}), Step(to_ms, "start", device)]
    return []


def _writing(random: Random, stage: Stage, name: str, between: tuple[int, int]) -> list[Step]:
    """A few writes, mostly of what all the others write to as well."""
    from_ms, to_ms = max(between[0], 0), min(between[1], stage.end_ms)
    steps = []
    for _ in range(random.randrange(_WRITES_MAX) if from_ms < to_ms else 0):
        at_ms = random.randrange(from_ms, to_ms)
        privacy = random.choices(("private", "family", "public"), weights=(6, 2, 1))[0]
        args = {
            "device": name,
            "database": "memory",
            "collection": "facts",
            "privacy": privacy,
            "id": f"{privacy}-{random.randrange(_IDS)}",
        }
        if random.random() < 0.1:
            steps.append(Step(at_ms, "delete", args))
            continue
        field = random.choice(_FIELDS)
        value = f"{CANARY} {name} {at_ms} {random.getrandbits(32):08x}"
        steps.append(Step(at_ms, "put", {**args, "fields": {field: value}}))
    return steps


def _span(random: Random) -> int:
    """From now to then: at once, in a moment, or much later. Milliseconds."""
    return random.choice((0, 50, 400, 3_000, 15_000, 40_000))


def _another(random: Random, stage: Stage, name: str) -> str:
    return random.choice([other for other in stage.names if other != name] or [name])


def _about(at_ms: int, do: str, admin: str, target: str, **more: str) -> Step:
    return Step(at_ms, do, {"device": admin, "target": target, **more})


def _role(at_ms: int, admin: str, name: str, role: str) -> Step:
    return _about(at_ms, "set-role", admin, name, role=role)
