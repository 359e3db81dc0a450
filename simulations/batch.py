"""Batch: many plans, one after another or in several processes, and what they come to together.

`run_plans` yields the outcome of each plan in the order of the plans, whatever the processes. It
holds no more than a few outcomes at a time, and no timeline of a run without a violation. It ends
its processes however it is left: close it (`contextlib.closing`) where an exception may come. A
process that dies under a plan counts as a violation of I14 by that plan, and the others go on.

Times in milliseconds of virtual time, `cpu_s` in seconds of processor time.
"""

import math
import multiprocessing
import multiprocessing.connection
import signal
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from .outcome import Outcome
from .plan import Plan
from .runner import run_plan
from .world import Violation

AHEAD_MAX = 8
"""How many plans each process may be ahead of the slowest."""
VIOLATIONS_KEPT_MAX = 1_000
PERCENTILES = (50, 90, 99, 100)


def run_plans(plans: Iterable[Plan], jobs: int = 1) -> Generator[Outcome, None, None]:
    """Run plans; their outcomes in order. Timelines only of those with a violation."""
    if jobs > 1:
        yield from _in_processes(plans, jobs)
        return
    for plan in plans:
        yield _thinned(run_plan(plan))


def _thinned(outcome: Outcome) -> Outcome:
    if outcome.ok:
        outcome.timeline = []
    return outcome


# Processes -------------------------------------------------------------------------------------


def _in_processes(plans: Iterable[Plan], jobs: int) -> Generator[Outcome, None, None]:
    waiting = iter(plans)
    crew: list[_Worker] = []
    done: dict[int, Outcome] = {}
    told = given = 0
    following = next(waiting, None)
    try:
        while following is not None or told < given:
            while following is not None and given < told + AHEAD_MAX * jobs:
                worker = _idle(crew, jobs)
                if worker is None:
                    break
                worker.give(given, following)
                given += 1
                following = next(waiting, None)
            if told in done:
                yield done.pop(told)
                told += 1
            else:
                _collect(crew, done)
    finally:
        for worker in crew:
            worker.end()


def _idle(crew: "list[_Worker]", jobs: int) -> "_Worker | None":
    """Somebody who has nothing to do, and may be new; None if all are busy."""
    for worker in crew:
        if worker.at is None:
            return worker
    if len(crew) == jobs:
        return None
    crew.append(_Worker())
    return crew[-1]


def _collect(crew: "list[_Worker]", done: dict[int, Outcome]) -> None:
    """Wait until somebody is ready, and take what is there. Who died leaves the crew."""
    busy = [worker for worker in crew if worker.at is not None]
    ready = multiprocessing.connection.wait([worker.connection for worker in busy])
    for worker in busy:
        if worker.connection in ready:
            assert worker.at is not None
            at = worker.at
            done[at], is_alive = worker.take()
            if not is_alive:
                crew.remove(worker)


class _Worker:
    """A process that runs one plan at a time. It hears of no Ctrl-C, and can be ended at once."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.at: int | None = None
        self._plan: Plan | None = None
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs,), daemon=True)
        # A mask is inherited, so not even a child that is still starting is interrupted.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def give(self, at: int, plan: Plan) -> None:
        self.at, self._plan = at, plan
        # If it is dead, taking will tell.
        with suppress(BrokenPipeError):
            self.connection.send(plan)

    def take(self) -> tuple[Outcome, bool]:
        """What came of the plan, and whether the process is still there."""
        assert self._plan is not None
        plan, self.at, self._plan = self._plan, None, None
        try:
            outcome = self.connection.recv()
            assert isinstance(outcome, Outcome)
            return outcome, True
        except (EOFError, ConnectionResetError):
            self._process.join()
            return _lost(plan, self._process.exitcode), False

    def end(self) -> None:
        self._process.terminate()
        self._process.join()
        self.connection.close()


def _work(connection: "multiprocessing.connection.Connection[Any, Any]") -> None:
    while True:
        try:
            plan = connection.recv()
        except EOFError:
            return
        connection.send(_thinned(run_plan(plan)))


def _lost(plan: Plan, exit_code: int | None) -> Outcome:
    """The outcome of a plan whose process died."""
    told = f"the process that ran it died (exit code {exit_code})"
    violation = Violation("I14", 0, "", told)
    return Outcome(plan, [violation], "", 0, 0, None, 0, 0, {}, 0, 0, 0, 0, {})


# Sums ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Summary:
    """What some runs came to. `add` each outcome; of all these only numbers are kept."""

    runs: int = 0
    seeds: list[int] = field(default_factory=list)
    """The first and the last."""
    failed_seeds: list[int] = field(default_factory=list)
    violations: list[tuple[int, Violation]] = field(default_factory=list)
    """With their seeds; no more than VIOLATIONS_KEPT_MAX."""
    violation_count: int = 0
    failure: Outcome | None = None
    """The first run with a violation, whole."""
    events: int = 0
    virtual_ms: int = 0
    settled_ms: list[int] = field(default_factory=list)
    unsettled: int = 0
    messages: int = 0
    message_bytes: int = 0
    bytes_by_kind: Counter[str] = field(default_factory=Counter)
    writes: int = 0
    acknowledged: int = 0
    refused: int = 0
    conflicts: int = 0
    high_water: dict[str, tuple[int, str, int]] = field(default_factory=dict)
    """What -> the most that was seen of it, by which device, under which seed."""
    coverage: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    """Kind of fault -> how many of the plans could hold it."""
    done: Counter[str] = field(default_factory=Counter)
    cpu_s: float = 0.0

    def add(self, outcome: Outcome) -> None:
        """Count one run."""
        seed = outcome.plan.seed
        self.runs += 1
        self.seeds = [*self.seeds[:1], seed]
        if not outcome.ok:
            self.failure = self.failure or outcome
            self.failed_seeds.append(seed)
            self.violation_count += len(outcome.violations)
            room = VIOLATIONS_KEPT_MAX - len(self.violations)
            self.violations += [(seed, violation) for violation in outcome.violations[:room]]
        if outcome.settled_ms is None:
            self.unsettled += 1
        else:
            self.settled_ms.append(outcome.settled_ms)
        for name in ("events", "virtual_ms", "messages", "message_bytes", "cpu_s"):
            setattr(self, name, getattr(self, name) + getattr(outcome, name))
        for name in ("writes", "acknowledged", "refused", "conflicts"):
            setattr(self, name, getattr(self, name) + getattr(outcome, name))
        self.bytes_by_kind.update(outcome.bytes_by_kind)
        self.coverage.update(outcome.coverage)
        self.faults.update(outcome.plan.faults)
        self.done.update(outcome.done)
        for device, marks in outcome.high_water.items():
            for what, value in marks.items():
                if value > self.high_water.get(what, (-1, "", 0))[0]:
                    self.high_water[what] = (value, device, seed)

    @property
    def ok(self) -> bool:
        return not self.failed_seeds

    def settle_percentiles(self) -> dict[int, int]:
        """Percent -> milliseconds within which that many runs had settled; empty if none had."""
        ordered = sorted(self.settled_ms)
        return {
            percent: ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)]
            for percent in PERCENTILES
            if ordered
        }

    @property
    def seeds_per_cpu_hour(self) -> float:
        return self.runs / self.cpu_s * 3_600 if self.cpu_s else 0.0
