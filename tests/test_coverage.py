"""Coverage: which kinds of fault met which phase of a session, and which never did."""

from collections import Counter
from dataclasses import replace

from covey.simulations.batch import Summary
from covey.simulations.doings import FAULTS
from covey.simulations.doings.fault import PHASES
from covey.simulations.outcome import Outcome
from covey.simulations.plan import Plan, Step
from covey.simulations.planning import plan_of
from covey.simulations.report import document, empty_cells, never_met_section
from covey.simulations.run import NO_SESSION
from covey.simulations.runner import run_plan
from covey.simulations.scenarios import SCENARIOS

AT_MS = 5_000
STREAMING = "STREAMING"
QUIET = plan_of(SCENARIOS["two-devices"], 1, operations=0, hours=0.01)


def struck(*steps: Step) -> Counter[tuple[str, str]]:
    """What is counted when these steps meet two devices that have long been in sync."""
    outcome = run_plan(replace(QUIET, law="lan", steps=steps))
    assert outcome.violations == []
    return outcome.coverage


def test_a_fault_counts_as_the_kind_that_drew_it() -> None:
    """One doing serves several kinds: a connection that is half open was reset, too."""
    reset = {"device": "phone", "one": "phone", "other": "laptop"}

    for kind in ("reset", "half-open"):
        args = {**reset, "half": kind == "half-open"}
        assert struck(Step(AT_MS, "reset", args, kind)) == {(kind, STREAMING): 1}


def test_the_end_of_a_fault_does_not_count() -> None:
    """The way home would count as a fault that met no session."""
    away = Step(AT_MS, "move", {"device": "phone", "place": None}, "away")
    back = Step(AT_MS + 1_000, "move", {"device": "phone", "place": "home"})

    assert struck(away, back) == {("away", STREAMING): 1}


def test_what_strikes_the_whole_network_counts_for_all_who_run() -> None:
    """Another law meets every session that there is."""
    law = Step(AT_MS, "law", {"law": "mobile"}, "law")
    stop = Step(AT_MS - 3_000, "stop", {"device": "phone"})

    assert struck(law) == {("law", STREAMING): 2}
    assert struck(stop, law) == {("law", NO_SESSION): 1}


def test_who_is_cut_off_counts_each() -> None:
    """A partition is a fault of everybody in the group."""
    split = Step(AT_MS, "split", {"group": ["laptop", "phone"]}, "partition")

    assert struck(split) == {("partition", STREAMING): 2}


def test_empty_cells_are_of_kinds_that_there_are() -> None:
    """A cell that can never be filled would be looked for without end."""
    assert len(empty_cells(Counter())) == len(FAULTS) * (1 + len(PHASES))
    met = Counter({("law", phase): 1 for phase in (NO_SESSION, *PHASES[1:])})
    assert empty_cells(met, ["law"]) == [("law", PHASES[0])]


def outcome_of(plan: Plan, coverage: Counter[tuple[str, str]]) -> Outcome:
    return Outcome(plan, [], "", 10, 2_000, 5, 4, 400, {}, 5, 4, 1, 2, {}, coverage)


def test_the_report_names_what_never_met_of_the_kinds_that_were_planned() -> None:
    """Of a kind that no plan could hold, nothing was to be expected."""
    summary = Summary()
    plan = replace(QUIET, faults=("law", "crash"))
    summary.add(outcome_of(plan, Counter({("crash", phase): 1 for phase in (NO_SESSION, *PHASES)})))
    summary.add(outcome_of(plan, Counter({("law", phase): 1 for phase in PHASES})))

    assert never_met_section(summary).rows == [("law", NO_SESSION)]
    assert document(summary, "mixed")["never_met"] == [["law", NO_SESSION]]
