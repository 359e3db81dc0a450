"""The simulator: `simulate` runs many devices in this process, on virtual time, and judges them.

One seed is one run, and the same run everywhere. A run that violates what must hold is told with
the command that replays it; its plan is written to a file, so that it can be replayed where no seed
makes that plan any more. Exit code 1 says that something was violated, 2 that the question was
wrong; a plan from a file counts as part of the question.

Everything that runs and judges is in `covey.simulations`, which is imported only when it is needed.
"""

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from .options import Settings, json_option
from .output import emit, note, progress, visible
from .simulate_showing import show_facts, show_scenarios, show_summary

if TYPE_CHECKING:
    from ..simulations.batch import Summary
    from ..simulations.outcome import Outcome
    from ..simulations.plan import Plan
    from ..simulations.planning import Scenario
    from ..simulations.shrink import Shrunk

SEEDS_MAX = 1_000_000
STEPS_TOLD_MAX = 12
"""Of a shrunk plan; whoever wants more reads the plan."""
JOBS_MAX = 256


def _scenario_names(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    from ..simulations.scenarios import SCENARIOS

    return [
        CompletionItem(name, help=scenario.about)
        for name, scenario in SCENARIOS.items()
        if name.startswith(begun)
    ]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asked for. None where they said nothing."""

    scenario: str | None
    show_list: bool
    seed: int | None
    seeds: str | None
    nodes: int | None
    virtual_hours: float | None
    operations: int | None
    plan: str | None
    shrink: bool
    timeline: str | None
    jobs: int
    save: str | None
    coverage: bool


@click.command()
@click.argument("scenario", required=False, metavar="[SCENARIO]", shell_complete=_scenario_names)
@click.option("--list", "show_list", is_flag=True, help="List the scenarios.")
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Run this seed; else 1.")
@click.option("--seeds", metavar="A-B", help="Run all seeds from A to B.")
@click.option("--nodes", type=int, metavar="N", help="So many devices.")
@click.option("--virtual-hours", type=float, metavar="H", help="So many hours of virtual time.")
@click.option("--operations", type=int, metavar="N", help="So many writes, reads and deletions.")
@click.option("--plan", metavar="FILE", help="Run the plan in FILE, of whatever scenario.")
@click.option("--shrink", is_flag=True, help="Cut a failing plan down to what matters.")
@click.option(
    "--timeline",
    metavar="FILE",
    help="Draw the run as a page of HTML; of many, the first that fails, else the last.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, JOBS_MAX),
    default=1,
    show_default=True,
    metavar="N",
    help="Run seeds in so many processes.",
)
@click.option("--save", metavar="FILE", help="Write the plan (of many, the failing one) to FILE.")
@click.option("--coverage", is_flag=True, help="Show which faults met which phase of a session.")
@json_option
@click.pass_context
def simulate(context: click.Context, /, **asked: Any) -> None:
    """Run simulated devices through all kinds of trouble.

    Afterwards nothing may be lost, leaked or untrue.

    The devices run the real node on virtual time, with a simulated network, disk and clock. The
    seed decides everything that users and fate do, so a seed is always the same run.

    SCENARIO is one of `covey simulate --list`; without one it is two-devices. Exit code 1 says that
    something was violated; the plan is then in a file, and a command that replays it is shown.
    """
    settings = context.ensure_object(Settings)
    run = _Simulation(Asked(**asked), as_json=settings.json)
    if not run.all():
        context.exit(1)


class _Simulation:
    """One call of the command."""

    def __init__(self, asked: Asked, *, as_json: bool) -> None:
        self.asked = asked
        self.as_json = as_json
        self.facts: dict[str, Any] = {}
        """What the answer tells besides the sums."""

    def all(self) -> bool:
        """Do what was asked for; whether nothing was violated."""
        if self.asked.show_list:
            show_scenarios(as_json=self.as_json)
            return True
        _check(self.asked)
        if self.asked.plan is not None:
            from ..simulations.plan_checks import load_checked

            plan = load_checked(Path(self.asked.plan))
            return self._answer(*self._run_one(plan), plan.scenario)
        scenario, seeds = _scenario(self.asked.scenario), _seeds(self.asked)
        if len(seeds) == 1:
            return self._answer(*self._run_one(self._planned(scenario, seeds[0])), scenario.name)
        return self._answer(*self._run_many(scenario, seeds), scenario.name)

    def _planned(self, scenario: "Scenario", seed: int) -> "Plan":
        from ..simulations.planning import plan_of

        asked = self.asked
        return plan_of(
            scenario,
            seed,
            nodes=asked.nodes,
            hours=asked.virtual_hours,
            operations=asked.operations,
        )

    # Running -----------------------------------------------------------------------------------

    def _run_one(self, plan: "Plan") -> "tuple[Summary, Outcome]":
        from ..simulations.batch import Summary
        from ..simulations.runner import run_plan

        summary = Summary()
        with progress(f"seed {plan.seed}", in_bytes=False) as bar:
            # In seconds: a bar of milliseconds is a bar of digits.
            outcome = run_plan(plan, lambda done, total: bar.at(done // 1_000, total // 1_000))
        summary.add(outcome)
        return summary, outcome

    def _run_many(self, scenario: "Scenario", seeds: range) -> "tuple[Summary, Outcome | None]":
        """The sums, and the run to draw. Ctrl-C ends it, and what was run so far is told."""
        from ..simulations.batch import Summary, run_plans

        plans: Iterator[Plan] = (self._planned(scenario, seed) for seed in seeds)
        summary = Summary()
        try:
            with (
                closing(run_plans(plans, self.asked.jobs)) as outcomes,
                progress(scenario.name, in_bytes=False) as bar,
            ):
                for outcome in outcomes:
                    summary.add(outcome)
                    bar.at(summary.runs, len(seeds))
                    if not outcome.ok:
                        note(f"seed {outcome.plan.seed}: {visible(outcome.violations[0])}")
        except KeyboardInterrupt:
            if not summary.runs:
                raise
            self.facts["interrupted"] = True
            note(f"interrupted after {summary.runs} of {len(seeds)} seeds")
        if summary.failure is None and self.asked.timeline and "interrupted" not in self.facts:
            return summary, self._run_one(self._planned(scenario, seeds[-1]))[1]
        return summary, summary.failure

    # The answer --------------------------------------------------------------------------------

    def _answer(self, summary: "Summary", drawn: "Outcome | None", scenario: str) -> bool:
        replay = ""
        if summary.failure is not None:
            replay = self._keep_failure(summary.failure)
        elif self.asked.save is not None:
            self._keep_passed(summary, drawn)
        if self.asked.timeline is not None and drawn is not None:
            from ..simulations.timeline import timeline

            page = timeline(drawn, replay or self._command(drawn.plan))
            if _write(self.asked.timeline, page):
                self.facts["timeline"] = self.asked.timeline
        if summary.failure is not None and self.asked.shrink:
            self._shrink(summary.failure)
        self._show(summary, scenario)
        if "interrupted" in self.facts:
            raise KeyboardInterrupt
        return summary.ok

    def _keep_failure(self, failure: "Outcome") -> str:
        """Write the failing plan to a file; the command that replays it."""
        plan = failure.plan
        path = self.asked.save or self.asked.plan or f"{_file_name(plan)}.json"
        is_there = path == self.asked.plan or _write(path, plan.to_json())
        self.facts["failed_seed"] = plan.seed
        if is_there:
            self.facts["plan"] = path
        replay = _replay(path) if is_there else self._command(plan)
        self.facts["replay"] = replay
        return replay

    def _keep_passed(self, summary: "Summary", outcome: "Outcome | None") -> None:
        assert self.asked.save is not None
        if summary.runs > 1 or outcome is None:
            note(f"nothing failed, so there is no plan to write to {visible(self.asked.save)}")
        elif _write(self.asked.save, outcome.plan.to_json()):
            self.facts["plan"] = self.asked.save

    def _command(self, plan: "Plan") -> str:
        """The command that makes this run from its seed, or from the file it came from."""
        if self.asked.plan is not None:
            return _replay(self.asked.plan)
        words = ["covey", "simulate", plan.scenario, "--seed", str(plan.seed)]
        for option in ("nodes", "virtual_hours", "operations"):
            value = getattr(self.asked, option)
            if value is not None:
                words += [f"--{option.replace('_', '-')}", f"{value:g}"]
        return shlex.join(words)

    def _shrink(self, failure: "Outcome") -> None:
        """Shrink the failing plan and write down what is left. Ctrl-C ends it with the least."""
        from ..simulations.shrink import RUNS_MAX, Shrunk, shrink_failure

        plan = failure.plan
        least = Shrunk(plan, 0, False)
        with progress("shrinking", in_bytes=False) as bar:

            def told(runs: int, smaller: "Plan") -> None:
                nonlocal least
                least = Shrunk(smaller, runs, False)
                bar.at(runs, RUNS_MAX)

            try:
                least = shrink_failure(plan, failure.violations[0].claim, progress=told)
            except KeyboardInterrupt:
                self.facts["interrupted"] = True
        self._keep_shrunk(least)

    def _keep_shrunk(self, least: "Shrunk") -> None:
        from ..simulations.durations import duration

        whole = self.facts.get("plan") or f"{_file_name(least.plan)}.json"
        path = str(Path(whole).with_suffix("")) + "-shrunk.json"
        if _write(path, least.plan.to_json()):
            self.facts["shrunk"] = {
                "plan": path,
                "replay": _replay(path),
                "steps": len(least.plan.steps),
                "devices": len(least.plan.cast),
                "runs": least.runs,
                "is_least": least.is_least,
                "story": [
                    f"{duration(step.at_ms)}: {step.do} {json.dumps(step.args)}"
                    for step in least.plan.steps[:STEPS_TOLD_MAX]
                ],
            }

    def _show(self, summary: "Summary", scenario: str) -> None:
        from ..simulations import report

        if self.as_json:
            emit({**report.document(summary, scenario), **self.facts})
            return
        show_summary(summary, scenario, coverage=self.asked.coverage)
        show_facts(self.facts)


# The question ----------------------------------------------------------------------------------


def _check(asked: Asked) -> None:
    """Raises UsageError for what cannot be asked together, before anything takes time."""
    if asked.seed is not None and asked.seeds is not None:
        raise click.UsageError("--seed and --seeds: give one of them")
    if asked.plan is not None:
        for option in ("scenario", "seed", "seeds", "nodes", "virtual_hours", "operations"):
            if getattr(asked, option) is not None:
                name = option.upper() if option == "scenario" else f"--{option.replace('_', '-')}"
                raise click.UsageError(f"--plan and {name}: a plan says that itself")
    for option, path in (("--save", asked.save), ("--timeline", asked.timeline)):
        if path is not None and (not Path(path).parent.is_dir() or Path(path).is_dir()):
            raise click.UsageError(f"{option} {path}: no file can be written there")


def _scenario(name: str | None) -> "Scenario":
    from ..simulations.scenarios import DEFAULT_SCENARIO, SCENARIOS

    found = SCENARIOS.get(name or DEFAULT_SCENARIO)
    if found is None:
        raise click.UsageError(f"no scenario is named {name!r}; there are {', '.join(SCENARIOS)}")
    return found


def _seeds(asked: Asked) -> range:
    if asked.seeds is None:
        seed = 1 if asked.seed is None else asked.seed
        return range(seed, seed + 1)
    parsed = re.fullmatch(r"([0-9]{1,18})(?:-([0-9]{1,18}))?", asked.seeds)
    if parsed is None:
        raise click.UsageError(f"--seeds {asked.seeds}: expected A-B, such as 1-100")
    first, last = int(parsed[1]), int(parsed[2] or parsed[1])
    if first > last:
        raise click.UsageError(f"--seeds {asked.seeds}: the first is larger than the last")
    if last - first >= SEEDS_MAX:
        count = last - first + 1
        raise click.UsageError(f"--seeds {asked.seeds}: {count} seeds, {SEEDS_MAX} allowed")
    return range(first, last + 1)


# Files -----------------------------------------------------------------------------------------


def _file_name(plan: "Plan") -> str:
    """Without its ending. A plan from a file may call its scenario anything."""
    scenario = re.sub(r"[^A-Za-z0-9_-]+", "-", plan.scenario)[:60]
    return f"covey-plan-{scenario}-{plan.seed}"


def _replay(path: str) -> str:
    return shlex.join(["covey", "simulate", "--plan", path])


def _write(path: str, text: str) -> bool:
    """Write a file; if that fails, say why: what was found must be told all the same."""
    try:
        Path(path).write_text(text, encoding="utf-8")
        return True
    except OSError as error:
        note(f"{visible(path)} was not written: {error.strerror}")
        return False
