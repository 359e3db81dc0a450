"""Shrinking: what is left is small, still fails, and was found within the bound.

Most questions here are answered without a run: shrinking is a function of a plan and of `fails`.
The last test asks real runs, under a checker that objects to what it is told to.
"""

from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.simulations import runner
from covey.simulations.checkers import CHECKERS
from covey.simulations.plan import Plan, Step
from covey.simulations.planning import plan_of
from covey.simulations.scenarios import SCENARIOS
from covey.simulations.shrink import RUNS_MAX, shrink, shrink_failure
from covey.simulations.templates import Part

from .power_cuts import NoPowerCuts

DEVICES = ("laptop", "phone", "tablet", "desktop")


def plan_with(steps: list[Step], end_ms: int = 100_000) -> Plan:
    cast = tuple(Part(name, "laptop", "full") for name in DEVICES)
    return Plan("test", 1, cast, "mobile", ("home",) * 4, (), tuple(steps), end_ms)


def numbered(count: int) -> Plan:
    """A plan of steps that are told apart by their moments and name nobody."""
    return plan_with([Step(at * 100, "mend-all", {"number": at}) for at in range(count)])


def numbers(plan: Plan) -> set[int]:
    return {step.args["number"] for step in plan.steps}


def holds(needed: set[int]) -> Callable[[Plan], bool]:
    return lambda plan: needed <= numbers(plan)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_exactly_the_steps_that_matter_are_left(case: tuple[int, set[int]]) -> None:
    """A person reads every step that is left, so none may be there for nothing."""
    count, needed = case

    shrunk = shrink(numbered(count), holds(needed), runs_max=100_000)

    assert shrunk.is_least
    assert numbers(shrunk.plan) == needed


@given(st.integers(0, 40), st.integers(0, 2**32), st.integers(0, 300))
def test_what_is_left_did_fail_whatever_the_answers(count: int, salt: int, runs_max: int) -> None:
    """Failures come and go as steps go; a shrunk plan that passes would mislead."""
    plan, asked = numbered(count), []

    def fails(smaller: Plan) -> bool:
        answer = blake2b(f"{salt}{smaller.to_json()}".encode()).digest()[0] < 100
        asked.append((smaller, answer))
        return answer

    shrunk = shrink(plan, fails, runs_max=runs_max)

    assert shrunk.plan == plan or (shrunk.plan, True) in asked
    assert shrunk.runs == len(asked) <= runs_max


def test_nothing_is_asked_twice() -> None:
    """A question may be a run of a minute."""
    asked: list[str] = []

    def fails(plan: Plan) -> bool:
        asked.append(plan.to_json())
        return {3, 17} <= numbers(plan)

    shrink(numbered(40), fails)

    assert len(asked) == len(set(asked))


def test_a_bound_that_is_reached_gives_the_least_so_far_and_says_so() -> None:
    """Whoever waits may stop waiting, and must not think that this is all."""
    shrunk = shrink(numbered(64), holds({5}), runs_max=3)

    assert shrunk.runs == 3
    assert not shrunk.is_least
    assert {5} <= numbers(shrunk.plan) < numbers(numbered(64))


def test_few_runs_are_enough_for_a_large_plan() -> None:
    """Pieces go before single steps: a thousand steps are not a thousand runs."""
    shrunk = shrink(numbered(1_000), holds({700}))

    assert shrunk.is_least
    assert shrunk.runs < 60


def test_progress_is_told_of_every_run_with_the_least_plan() -> None:
    """A bar that stands still looks like a program that hangs; Ctrl-C keeps what is there."""
    told: list[tuple[int, int]] = []

    shrunk = shrink(
        numbered(32), holds({9}), progress=lambda runs, plan: told.append((runs, len(plan.steps)))
    )

    assert [runs for runs, _ in told] == list(range(1, shrunk.runs + 1))
    assert told[-1] == (shrunk.runs, 1)


def test_steps_of_a_file_may_be_in_any_order() -> None:
    """The runner sorts them, so shrinking must not depend on it."""
    plan = numbered(20)

    shrunk = shrink(replace(plan, steps=plan.steps[::-1]), holds({2, 11}))

    assert [step.args["number"] for step in shrunk.plan.steps] == [2, 11]


# Devices, network, time ------------------------------------------------------------------------


def test_devices_that_nobody_names_go_and_the_admin_stays() -> None:
    """Two devices are read more easily than fifty. The first founds the mesh."""
    step = Step(5, "sync", {"device": "tablet"})

    shrunk = shrink(plan_with([step]), lambda plan: step.args in [s.args for s in plan.steps])

    assert [part.name for part in shrunk.plan.cast] == ["laptop", "tablet"]
    assert shrunk.plan.places == ("home", "home")


def test_a_device_that_a_step_names_anywhere_stays() -> None:
    """A step that names a device that is not there could not be run."""
    steps = [
        Step(1, "split", {"group": ["phone"]}),
        Step(2, "cut", {"source": "desktop", "target": "laptop"}),
    ]

    shrunk = shrink(plan_with(steps), lambda plan: len(plan.steps) == 2)

    assert [part.name for part in shrunk.plan.cast] == ["laptop", "phone", "desktop"]


def test_a_device_without_which_nothing_fails_stays_though_others_go() -> None:
    """All at once may be too much, and one by one not."""
    step = Step(5, "sync", {"device": "laptop"})

    shrunk = shrink(plan_with([step]), lambda plan: "phone" in [part.name for part in plan.cast])

    assert [part.name for part in shrunk.plan.cast] == ["laptop", "phone"]


def test_a_plain_network_and_full_levels_replace_others_if_they_do_as_well() -> None:
    """What is odd in a plan draws suspicion, so it must be there for a reason."""
    limited = plan_with([])
    limited = replace(limited, cast=(limited.cast[0], Part("phone", "phone", "guest")))
    limited = replace(limited, places=("home", "home"))

    anything = shrink(limited, lambda plan: len(plan.cast) == 2).plan
    needs_both = shrink(
        limited, lambda plan: plan.law == "mobile" and "guest" in [p.level for p in plan.cast]
    ).plan

    assert (anything.law, [part.level for part in anything.cast]) == ("lan", ["full", "full"])
    assert (needs_both.law, [part.level for part in needs_both.cast]) == (
        "mobile",
        ["full", "guest"],
    )


def test_pauses_become_short_and_the_end_comes_soon() -> None:
    """A month of which two minutes matter is a run of two minutes."""
    plan = plan_with(
        [Step(40_000_000, "mend-all", {}), Step(900_000_000, "mend-all", {})], 2_592_000_000
    )

    shrunk = shrink(plan, lambda plan: len(plan.steps) == 2).plan

    assert [step.at_ms for step in shrunk.steps] == [1_000, 2_000]
    assert shrunk.end_ms == 3_000


def test_a_pause_that_matters_is_kept() -> None:
    """Some failures need the time in which something runs out."""
    plan = plan_with([Step(10, "mend-all", {}), Step(50_000, "mend-all", {})])

    def fails(plan: Plan) -> bool:
        return len(plan.steps) == 2 and plan.steps[1].at_ms - plan.steps[0].at_ms >= 20_000

    shrunk = shrink(plan, fails).plan

    assert shrunk.steps[1].at_ms - shrunk.steps[0].at_ms == 49_990
    assert shrunk.end_ms == shrunk.steps[1].at_ms + 1_000


# Real runs -------------------------------------------------------------------------------------


def test_a_failing_run_shrinks_to_the_step_that_makes_it_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """This is what `covey simulate --shrink` does."""
    monkeypatch.setattr(runner, "CHECKERS", (*CHECKERS, NoPowerCuts))
    crash = Step(90_000, "crash", {"device": "phone", "power": True})
    plan = plan_of(SCENARIOS["two-devices"], 3)
    plan = replace(plan, steps=(*plan.steps, crash), law="wifi")

    shrunk = shrink_failure(plan, "I99")

    assert [(step.do, step.args) for step in shrunk.plan.steps] == [("crash", crash.args)]
    assert shrunk.plan.law == "lan"
    assert shrunk.plan.end_ms == 2_000
    assert shrunk.is_least and shrunk.runs <= RUNS_MAX


def test_a_plan_that_violates_something_else_is_no_smaller_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise shrinking wanders from one fault to another."""
    monkeypatch.setattr(runner, "CHECKERS", (*CHECKERS, NoPowerCuts))
    plan = plan_of(SCENARIOS["two-devices"], 1, hours=0.001, operations=1)
    crash = Step(50, "crash", {"device": "phone", "power": True})

    shrunk = shrink_failure(replace(plan, steps=(crash,)), "I3")

    assert shrunk.plan.steps == (crash,)


def test_words_that_make_intervals_short_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them a plan fails to settle only because nobody waits for six hours."""
    monkeypatch.setattr(runner, "CHECKERS", (*CHECKERS, NoPowerCuts))
    often = {"interval_minutes": 2}
    said = Step(50, "policy", {"device": "laptop", "target": "", "database": "", "set": often})
    other = Step(60, "policy", {**said.args, "set": {"priority": "low"}})
    crash = Step(90, "crash", {"device": "phone", "power": True})
    plan = plan_of(SCENARIOS["two-devices"], 1, hours=0.001, operations=1)

    shrunk = shrink_failure(replace(plan, steps=(said, other, crash)), "I99")

    assert [step.args for step in shrunk.plan.steps] == [said.args, crash.args]
