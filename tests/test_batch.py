"""Batches: outcomes come in order, from one process or several, and nothing is left behind."""

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from covey.simulations.batch import VIOLATIONS_KEPT_MAX, Summary, run_plans
from covey.simulations.outcome import Outcome
from covey.simulations.plan import Plan
from covey.simulations.planning import plan_of
from covey.simulations.report import document, sections, verdict
from covey.simulations.scenarios import SCENARIOS
from covey.simulations.world import Violation


def plans(*seeds: int) -> Iterator[Plan]:
    for seed in seeds:
        yield plan_of(SCENARIOS["two-devices"], seed, hours=0.001, operations=5)


class DeadlyPlan(Plan):
    """A plan that kills whoever takes it out of its envelope, as a fault in a library might."""

    def __reduce__(self) -> Any:
        return os._exit, (3,)


def outcome_of(seed: int, settled_ms: int | None = 1_000, **changes: Any) -> Outcome:
    plan = replace(next(plans(1)), seed=seed)
    made = Outcome(plan, [], "", 10, 2_000, settled_ms, 4, 400, {"batch": 300}, 5, 4, 1, 2, {})
    return replace(made, **changes)


def test_processes_give_what_one_process_gives_in_the_same_order() -> None:
    """A seed that fails only beside others could not be replayed."""
    alone = list(run_plans(plans(4, 1, 3)))
    together = list(run_plans(plans(4, 1, 3), jobs=2))

    assert [outcome.plan.seed for outcome in together] == [4, 1, 3]
    assert [outcome.digest for outcome in together] == [outcome.digest for outcome in alone]


def test_timelines_of_runs_that_passed_are_dropped() -> None:
    """A night of seeds must fit into memory."""
    (outcome,) = run_plans(plans(1))

    assert outcome.ok
    assert outcome.timeline == []


def test_plans_are_made_only_when_they_are_needed() -> None:
    """A million seeds must not be planned before the first is run."""
    made: list[int] = []

    def counted() -> Iterator[Plan]:
        for plan in plans(*range(1, 200)):
            made.append(plan.seed)
            yield plan

    runs = run_plans(counted())
    next(runs)

    assert made == [1]


def test_a_process_that_dies_is_a_violation_of_its_plan_and_the_others_go_on() -> None:
    """A library that crashes the interpreter must not take the night's work with it."""
    first, second = plans(1, 2)
    deadly = DeadlyPlan(**{name: getattr(first, name) for name in Plan.__slots__})

    dead, alive = run_plans([deadly, second], jobs=2)

    assert (dead.ok, alive.ok) == (False, True)
    assert dead.plan is deadly
    assert "exit code 3" in dead.violations[0].message


def test_leaving_a_batch_ends_its_processes() -> None:
    """Ctrl-C must give the machine back."""
    runs = run_plans(plans(*range(1, 100)), jobs=2)
    next(runs)
    working = multiprocessing.active_children()

    runs.close()

    assert len(working) == 2
    assert multiprocessing.active_children() == []


# Sums ------------------------------------------------------------------------------------------


def test_sums_are_over_all_runs() -> None:
    """What is told of a night is told of all of it."""
    summary = Summary()
    for seed in (1, 2, 3):
        summary.add(
            outcome_of(seed, coverage=Counter({("crash", "STREAMING"): seed}), cpu_s=float(seed))
        )

    assert (summary.runs, summary.seeds, summary.events) == (3, [1, 3], 30)
    assert (summary.writes, summary.acknowledged, summary.refused, summary.conflicts) == (
        *(15, 12, 3),
        6,
    )
    assert summary.bytes_by_kind == {"batch": 900}
    assert summary.coverage == {("crash", "STREAMING"): 6}
    assert summary.seeds_per_cpu_hour == 3 / 6 * 3_600


def test_percentiles_are_times_within_which_so_many_had_settled() -> None:
    """A mean hides the one that took ten minutes."""
    summary = Summary()
    for seed in range(1, 101):
        summary.add(outcome_of(seed, seed * 10))

    assert summary.settle_percentiles() == {50: 500, 90: 900, 99: 990, 100: 1_000}
    assert Summary().settle_percentiles() == {}


def test_a_run_that_never_settled_is_counted_apart() -> None:
    """It has no time, and must not be left out."""
    summary = Summary()
    summary.add(outcome_of(1, 20))
    summary.add(outcome_of(2, None, violations=[Violation("I2", 5, "", "not settled")]))

    assert summary.unsettled == 1
    assert ("settled", "p50 20 ms, p90 20 ms, p99 20 ms, longest 20 ms, 1 never") in (
        sections(summary)[0].rows
    )


def test_the_highest_mark_is_kept_with_where_it_was_seen() -> None:
    """A number without its seed cannot be looked into."""
    summary = Summary()
    summary.add(outcome_of(1, high_water={"phone": {"tasks": 9}, "laptop": {"tasks": 12}}))
    summary.add(outcome_of(2, high_water={"phone": {"tasks": 11, "links": 0}}))

    assert summary.high_water == {"tasks": (12, "laptop", 1), "links": (0, "phone", 2)}


def test_only_the_first_failure_is_kept_whole() -> None:
    """If everything fails, memory must still suffice."""
    summary = Summary()
    many = [Violation("I3", at, "phone", "lost") for at in range(VIOLATIONS_KEPT_MAX)]
    failing = [outcome_of(seed, violations=many) for seed in (5, 6)]
    for outcome in failing:
        summary.add(outcome)

    assert summary.failure is failing[0]
    assert summary.failed_seeds == [5, 6]
    assert len(summary.violations) == VIOLATIONS_KEPT_MAX
    assert summary.violation_count == 2 * VIOLATIONS_KEPT_MAX


def test_the_verdict_says_how_many_seeds_failed() -> None:
    """One line that a person reads first."""
    one, some = Summary(), Summary()
    one.add(outcome_of(7))
    for seed in (1, 2, 3):
        some.add(outcome_of(seed, violations=[Violation("I3", 1, "", "x")] * (seed % 2)))

    assert verdict(one) == "seed 7: nothing violated"
    assert verdict(some) == "3 seeds, 1 to 3: 2 violations under 2 of them"


def test_the_document_tells_of_each_violation_what_the_contract_says() -> None:
    """Scripts read these fields."""
    summary = Summary()
    summary.add(outcome_of(9, violations=[Violation("I3", 12, "phone", "a write is lost")]))
    told = document(summary, "test")

    assert (told["seeds"], told["events"], told["virtual_seconds"]) == (1, 10, 2.0)
    assert told["violations"] == [
        {"seed": 9, "claim": "I3", "at_ms": 12, "device": "phone", "message": "a write is lost"}
    ]
