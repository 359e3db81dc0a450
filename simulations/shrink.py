"""Shrinking: a plan that fails becomes a small plan that still fails, for a person to read.

`shrink` is a function of a plan and of a question, `fails`, that it asks of smaller plans. It takes
away steps (delta debugging: halves, then ever smaller pieces, down to single steps), then devices
that no step names, then what makes the world odd (its kind of network, the levels of devices), then
time that nothing happens in. It does so again until nothing more can go or `runs_max` plans were
tried. What it returns did fail, always; if there were runs enough, no single step can go.

`shrink_failure` asks by running the plans: a plan still fails if a run violates the same claim.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from .plan import Plan, Step
from .runner import run_plan

RUNS_MAX = 400
GAPS_MS = (1_000, 10_000, 60_000)
"""Longest pauses that are tried between two steps, and after the last one."""

Fails = Callable[[Plan], bool]
Told = Callable[[int, Plan], None]
"""Told of each run: how many there were, and the smallest plan that failed so far."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """What is left. `is_least`: it was tried, and nothing more can be taken away."""

    plan: Plan
    runs: int
    is_least: bool


def shrink(
    plan: Plan, fails: Fails, *, runs_max: int = RUNS_MAX, progress: Told | None = None
) -> Shrunk:
    """The smallest plan found that fails. `plan` itself is taken to fail and is not asked of."""
    in_order = tuple(sorted(plan.steps, key=lambda step: step.at_ms))
    search = _Search(replace(plan, steps=in_order), fails, runs_max, progress)
    try:
        while True:
            before = search.least
            for smaller in (_fewer_steps, _fewer_devices, _plainer, _sooner):
                smaller(search)
            if search.least == before:
                return Shrunk(search.least, search.runs, True)
    except _OutOfRunsError:
        return Shrunk(search.least, search.runs, False)


def shrink_failure(
    plan: Plan, claim: str, *, runs_max: int = RUNS_MAX, progress: Told | None = None
) -> Shrunk:
    """Shrink a plan whose run violated this claim.

    Words that make intervals short stay: by the profile some databases are exchanged every six
    hours, and a run without these words fails to settle in time for no other reason.
    """
    intervals = _intervals(plan)

    def fails(smaller: Plan) -> bool:
        return _intervals(smaller) == intervals and any(
            violation.claim == claim for violation in run_plan(smaller).violations
        )

    return shrink(plan, fails, runs_max=runs_max, progress=progress)


def _intervals(plan: Plan) -> list[dict[str, Any]]:
    """What people say of how often periodic databases are exchanged, in order."""
    return [
        step.args
        for step in plan.steps
        if step.do == "policy" and "interval_minutes" in step.args["set"]
    ]


class _OutOfRunsError(Exception):
    """As many plans were tried as may be."""


class _Search:
    """The least plan so far, and how often was asked."""

    def __init__(self, plan: Plan, fails: Fails, runs_max: int, progress: Told | None) -> None:
        self.least = plan
        self.runs = 0
        self._fails = fails
        self._runs_max = runs_max
        self._progress = progress
        self._passed: dict[bytes, None] = {}
        """Digests of plans that did not fail: nobody asks twice."""

    def takes(self, plan: Plan) -> bool:
        """Whether a plan fails too; if so, it is the least. Raises _OutOfRunsError."""
        digest = blake2b(plan.to_json().encode(), digest_size=16).digest()
        if digest in self._passed or plan == self.least:
            return False
        if self.runs == self._runs_max:
            raise _OutOfRunsError
        self.runs += 1
        failed = self._fails(plan)
        if failed:
            self.least = plan
        else:
            self._passed[digest] = None
        if self._progress is not None:
            self._progress(self.runs, self.least)
        return failed


def _fewer_steps(search: _Search) -> None:
    """Take steps away, from large pieces to single ones, until no single one can go."""
    size = max(len(search.least.steps) // 2, 1)
    while search.least.steps:
        took = False
        # From the end: what comes late is seldom the cause.
        end = len(search.least.steps)
        while end > 0:
            piece = set(range(max(end - size, 0), end))
            took = search.takes(search.least.without(piece)) or took
            end -= size
        if not took and size == 1:
            return
        size = size if took and size == 1 else max(size // 2, 1)


def _fewer_devices(search: _Search) -> None:
    """Take devices away that no step names: all at once, or else one by one."""
    idle = _idle(search.least)
    if idle and not search.takes(_without_devices(search.least, idle)):
        for name in idle:
            search.takes(_without_devices(search.least, [name]))


def _idle(plan: Plan) -> list[str]:
    """Devices that no step names; not the first, who is the admin."""
    named = {text for step in plan.steps for text in _texts(step.args)}
    return [part.name for part in plan.cast[1:] if part.name not in named]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _without_devices(plan: Plan, names: list[str]) -> Plan:
    kept = [
        (part, place)
        for part, place in zip(plan.cast, plan.places, strict=True)
        if part.name not in names
    ]
    return replace(
        plan, cast=tuple(part for part, _ in kept), places=tuple(place for _, place in kept)
    )


def _plainer(search: _Search) -> None:
    """A network without surprises, and devices that may all read everything."""
    search.takes(replace(search.least, law="lan"))
    cast = tuple(replace(part, level="full") for part in search.least.cast)
    search.takes(replace(search.least, cast=cast))


def _sooner(search: _Search) -> None:
    """Shorter pauses: the shortest of which the plan still fails."""
    for shorter in (_paused_at_most, _ended_after):
        for gap_ms in GAPS_MS:
            if search.takes(shorter(search.least, gap_ms)):
                break


def _paused_at_most(plan: Plan, gap_ms: int) -> Plan:
    """No pause between two steps, and none before the end, longer than this."""
    steps: list[Step] = []
    before_ms = now_ms = 0
    for step in plan.steps:
        now_ms += min(step.at_ms - before_ms, gap_ms)
        before_ms = step.at_ms
        steps.append(replace(step, at_ms=now_ms))
    end_ms = now_ms + min(plan.end_ms - before_ms, gap_ms)
    return replace(plan, steps=tuple(steps), end_ms=end_ms)


def _ended_after(plan: Plan, gap_ms: int) -> Plan:
    """The end comes so soon after the last step."""
    last_ms = plan.steps[-1].at_ms if plan.steps else 0
    return replace(plan, end_ms=min(plan.end_ms, last_ms + gap_ms))
