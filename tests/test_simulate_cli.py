"""`covey simulate`: what it answers, what it writes, how it ends.

Exit code 1 says that something was violated, 2 that the question was wrong. Where a violation is
needed, a checker that objects to power cuts is added: the program under test has none to offer.
"""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from covey.cli.main import covey
from covey.simulations import batch, runner
from covey.simulations.checkers import CHECKERS
from covey.simulations.outcome import Outcome
from covey.simulations.plan import Plan, Step, load_plan
from covey.simulations.planning import plan_of
from covey.simulations.runner import run_plan
from covey.simulations.scenarios import SCENARIOS

from .power_cuts import NoPowerCuts

SMALL = ("--virtual-hours", "0.001", "--operations", "3")
"""A run of a few seconds of virtual time: what is asked here does not depend on its length."""


def simulate(*arguments: str) -> Result:
    return CliRunner().invoke(covey, ["simulate", *arguments])


def answer(*arguments: str) -> dict[str, Any]:
    """The one document on standard output."""
    result = simulate(*arguments, "--json")
    (line,) = result.stdout.splitlines()
    document = json.loads(line)
    assert isinstance(document, dict)
    return document


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The file of a plan that violates something."""
    monkeypatch.setattr(runner, "CHECKERS", (*CHECKERS, NoPowerCuts))
    crash = Step(1_000, "crash", {"device": "phone", "power": True})
    plan = plan_of(SCENARIOS["two-devices"], 17, hours=0.001, operations=3)
    plan = replace(plan, steps=(*plan.steps, crash))
    (tmp_path / "failing.json").write_text(plan.to_json(), encoding="utf-8")
    return "failing.json"


@pytest.fixture
def seed_2_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planning gives seed 2 a power cut, which a checker objects to."""
    monkeypatch.setattr(runner, "CHECKERS", (*CHECKERS, NoPowerCuts))

    def planned(scenario: Any, seed: int, **asked: Any) -> Plan:
        plan = plan_of(scenario, seed, **asked)
        crash = Step(1_000, "crash", {"device": "phone", "power": True})
        kept = [step for step in plan.steps if not step.args.get("power")]
        return replace(plan, steps=(*kept, crash) if seed == 2 else tuple(kept))

    monkeypatch.setattr("covey.simulations.planning.plan_of", planned)


# Answers ---------------------------------------------------------------------------------------


def test_without_arguments_two_devices_are_run_with_seed_1() -> None:
    """The shortest command must do something that makes sense."""
    told = answer()
    outcome = run_plan(plan_of(SCENARIOS["two-devices"], 1))

    assert told["scenario"] == "two-devices"
    assert (told["seeds"], told["first_seed"], told["violations"]) == (1, 1, [])
    assert (told["events"], told["messages"]) == (outcome.events, outcome.messages)
    assert told["virtual_seconds"] == outcome.virtual_ms / 1_000


def test_a_run_without_a_violation_ends_with_0_and_writes_nothing(tmp_path: Path) -> None:
    """`covey simulate && deploy`."""
    result = simulate("--seed", "5", *SMALL)

    assert result.exit_code == 0
    assert "two-devices, seed 5: nothing violated" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_sizes_are_taken_from_the_command() -> None:
    """Scenarios are a beginning."""
    told = answer("mixed", "--nodes", "3", "--virtual-hours", "0.002", "--operations", "4")
    plan = plan_of(SCENARIOS["mixed"], 1, nodes=3, hours=0.002, operations=4)

    assert told["events"] == run_plan(plan).events


def test_many_seeds_are_summed_up() -> None:
    """One document, whatever the number of runs."""
    told = answer("--seeds", "3-5", *SMALL)

    assert (told["seeds"], told["first_seed"], told["last_seed"]) == (3, 3, 5)
    assert set(told["settled_ms"]) == {"p50", "p90", "p99", "p100"}


def test_the_report_for_people_has_the_numbers() -> None:
    """Whoever runs a simulation wants to know what it cost and how close it came to its limits."""
    shown = simulate("--seeds", "1-2", *SMALL, "--coverage").stdout

    assert "2 seeds, 1 to 2: nothing violated" in shown
    for part in ("settled", "bytes by kind", "high-water marks", "seeds per hour", "STREAMING"):
        assert part in shown


def test_the_list_names_every_scenario_with_its_sentence() -> None:
    """Nobody should have to read the source to know what there is."""
    shown = simulate("--list").stdout
    told = answer("--list")

    assert all(name in shown and s.about in shown for name, s in SCENARIOS.items())
    assert [row["name"] for row in told["scenarios"]] == list(SCENARIOS)


def test_names_of_scenarios_complete() -> None:
    """A name that must be typed in full is looked up each time."""
    complete = ShellComplete(covey, {}, "covey", "_COVEY_COMPLETE")

    found = complete.get_completions(["simulate"], "co")

    assert [item.value for item in found] == ["commuter"]


def test_the_command_loads_the_simulator_only_when_it_runs() -> None:
    """`covey simulate --help` is waited for by a person."""
    program = "import sys, covey.cli.simulate_commands; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert not any(name.startswith("covey.simulations") for name in loaded.stdout.split())


# Violations ------------------------------------------------------------------------------------


def test_a_violation_ends_with_1_and_tells_how_to_run_it_again(failing: str) -> None:
    """A failure that cannot be replayed is a rumour."""
    result = simulate("--plan", failing)

    assert result.exit_code == 1
    assert "two-devices, seed 17: 1 violation" in result.stdout
    assert "I99 at" in result.stdout and "the power was cut" in result.stdout
    assert "covey simulate --plan failing.json" in result.stdout


def test_the_document_tells_of_the_violation(failing: str) -> None:
    """Scripts read it."""
    told = answer("--plan", failing)
    (violation,) = told["violations"]

    assert {key: violation[key] for key in ("seed", "claim", "device", "message")} == {
        "seed": 17,
        "claim": "I99",
        "device": "phone",
        "message": "the power was cut",
    }
    assert violation["at_ms"] >= 3_600
    assert told["replay"] == "covey simulate --plan failing.json"
    assert told["failed_seed"] == 17


@pytest.mark.usefixtures("seed_2_fails")
def test_the_plan_of_a_failing_seed_is_written_and_fails_again(tmp_path: Path) -> None:
    """Tomorrow's planner may make another plan of the same seed."""
    result = simulate("--seeds", "1-3", *SMALL)
    file = tmp_path / "covey-plan-two-devices-2.json"

    assert result.exit_code == 1
    assert "3 seeds, 1 to 3: 1 violation under 1 of them" in result.stdout
    assert "seed 2: I99" in result.stderr
    assert f"covey simulate --plan {file.name}" in result.stdout
    assert simulate("--plan", file.name).exit_code == 1


@pytest.mark.usefixtures("seed_2_fails")
def test_the_command_that_is_shown_replays_the_violation_exactly() -> None:
    """It is copied and pasted."""
    told = answer("--seed", "2", *SMALL)
    program, command, *arguments = shlex.split(told["replay"])
    again = answer(*arguments)

    assert (program, command) == ("covey", "simulate")
    assert again["violations"] == told["violations"]
    assert again["events"] == told["events"]


@pytest.mark.usefixtures("seed_2_fails")
def test_the_failing_plan_goes_where_it_was_asked_to(tmp_path: Path) -> None:
    """Of many, the failing one is of interest."""
    told = answer("--seeds", "1-3", *SMALL, "--save", "kept plan.json")

    assert told["plan"] == "kept plan.json"
    assert told["replay"] == "covey simulate --plan 'kept plan.json'"
    assert load_plan(tmp_path / "kept plan.json").seed == 2


def test_a_shrunk_plan_is_written_beside_the_whole_one(failing: str, tmp_path: Path) -> None:
    """The whole plan stays: the shrunk one may fail for another reason."""
    result = simulate("--plan", failing, "--shrink")
    shrunk = load_plan(tmp_path / "failing-shrunk.json")

    assert result.exit_code == 1
    assert [step.do for step in shrunk.steps] == ["crash"]
    assert "Shrunk to 1 step on 2 devices" in result.stdout
    assert '1 s: crash {"device": "phone", "power": true}' in result.stdout
    assert "covey simulate --plan failing-shrunk.json" in result.stdout
    assert simulate("--plan", "failing-shrunk.json").exit_code == 1


def test_a_shrinking_that_is_interrupted_keeps_what_it_has(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has waited for an hour wants what came of it."""
    monkeypatch.setattr("covey.simulations.shrink.run_plan", interrupted_at(run_plan, call=6))

    result = simulate("--plan", failing, "--shrink")
    whole, least = load_plan(tmp_path / failing), load_plan(tmp_path / "failing-shrunk.json")

    assert result.exit_code == 130
    assert "and there may be less" in result.stdout
    assert len(least.steps) < len(whole.steps)


@pytest.mark.usefixtures("seed_2_fails")
def test_a_violation_is_told_even_if_its_plan_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full disk must not hide what was found."""

    def no_room(*_: Any, **__: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", no_room)
    result = simulate("--seed", "2", *SMALL)

    assert result.exit_code == 1
    assert "was not written: No space left" in result.stderr
    assert "covey simulate two-devices --seed 2 --virtual-hours 0.001 --operations 3" in (
        result.stdout
    )


def test_what_a_plan_calls_itself_chooses_no_file(failing: str, tmp_path: Path) -> None:
    """A plan may come from anybody, and its scenario is in the name of what is written."""
    text = (tmp_path / failing).read_text(encoding="utf-8")
    hostile = text.replace('"two-devices"', '"../../up\\u202e\\n"')
    (tmp_path / failing).write_text(hostile, encoding="utf-8")

    result = simulate("--plan", failing, "--save", "kept.json")

    assert result.exit_code == 1
    assert "\u202e" not in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == [failing, "kept.json"]


# Files -----------------------------------------------------------------------------------------


def test_a_plan_is_saved_though_nothing_failed_and_runs_as_its_seed_does(tmp_path: Path) -> None:
    """To edit a plan, one must have it."""
    told = answer("mixed", "--seed", "4", *SMALL, "--save", "plan.json")
    again = answer("--plan", "plan.json")

    assert told["plan"] == "plan.json"
    assert (again["events"], again["messages"]) == (told["events"], told["messages"])
    assert again["scenario"] == "mixed"


def test_of_many_seeds_that_pass_no_plan_is_saved_and_that_is_said(tmp_path: Path) -> None:
    """Which of them would it be?"""
    result = simulate("--seeds", "1-2", *SMALL, "--save", "plan.json")

    assert result.exit_code == 0
    assert "nothing failed" in result.stderr
    assert not (tmp_path / "plan.json").exists()


@pytest.mark.parametrize("seeds", [("--seed", "3"), ("--seeds", "2-3")])
def test_a_timeline_is_drawn_of_the_run(seeds: tuple[str, str], tmp_path: Path) -> None:
    """Of many that pass it is the last."""
    told = answer(*seeds, *SMALL, "--timeline", "run.html")
    page = (tmp_path / "run.html").read_text(encoding="utf-8")

    assert told["timeline"] == "run.html"
    assert "two-devices, seed 3" in page and "<svg" in page


@pytest.mark.usefixtures("seed_2_fails")
def test_a_timeline_is_drawn_of_the_failing_run(tmp_path: Path) -> None:
    """It is the one to look at."""
    result = simulate("--seeds", "1-3", *SMALL, "--timeline", "run.html")
    page = (tmp_path / "run.html").read_text(encoding="utf-8")

    assert "The run is drawn in run.html" in result.stdout
    assert "two-devices, seed 2" in page and "the power was cut" in page


# Ends ------------------------------------------------------------------------------------------


def interrupted_at(run: Callable[..., Outcome], call: int) -> Callable[..., Outcome]:
    """Somebody presses Ctrl-C in this call."""
    calls = 0

    def ran(*arguments: Any) -> Outcome:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        return run(*arguments)

    return ran


def test_ctrl_c_ends_a_batch_with_what_was_run_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour of seeds is worth something even if it should have been two."""
    monkeypatch.setattr(batch, "run_plan", interrupted_at(run_plan, call=3))

    result = simulate("--seeds", "1-100", *SMALL, "--json")
    told = json.loads(result.stdout)

    assert result.exit_code == 130
    assert (told["seeds"], told["interrupted"]) == (2, True)
    assert "interrupted after 2 of 100 seeds" in result.stderr


BAD_QUESTIONS = {
    ("nowhere",): "there are two-devices, family",
    ("--seeds", "9-3"): "larger than the last",
    ("--seeds", "1-99999999"): "1000000 allowed",
    ("--seeds", "1-"): "such as 1-100",
    ("--seeds", "-5"): "such as 1-100",
    ("--seed", "-1"): "not in the range",
    ("--seed", "1", "--seeds", "1-2"): "give one of them",
    ("--nodes", "0"): "1 to 100 can be simulated",
    ("--nodes", "101"): "1 to 100 can be simulated",
    ("--virtual-hours", "nan"): "can be simulated",
    ("--virtual-hours", "1e9"): "can be simulated",
    ("--operations", "-1"): "can be simulated",
    ("--jobs", "0"): "not in the range",
    ("--plan", "absent.json"): "absent.json",
    ("--plan", "hello.txt"): "is no plan",
    ("--plan", "later.json"): "format 99",
    ("--plan", "flying.json"): "this version cannot do that",
    ("--plan", "flying.json", "--seed", "1"): "a plan says that itself",
    ("mixed", "--plan", "flying.json"): "a plan says that itself",
    ("--save", "no/such/folder/plan.json"): "no file can be written there",
    ("--timeline", "."): "no file can be written there",
}


@pytest.mark.parametrize("question", BAD_QUESTIONS, ids=" ".join)
def test_a_wrong_question_ends_with_2_and_one_line(
    question: tuple[str, ...], tmp_path: Path
) -> None:
    """A script must tell it from a violation, a person what to do."""
    plan = json.loads(plan_of(SCENARIOS["two-devices"], 1).to_json())
    (tmp_path / "hello.txt").write_text("hello", encoding="utf-8")
    (tmp_path / "later.json").write_text(json.dumps({**plan, "covey_plan": 99}), encoding="utf-8")
    flying = {**plan, "steps": [[1, "fly", {}]]}
    (tmp_path / "flying.json").write_text(json.dumps(flying), encoding="utf-8")

    result = simulate(*question)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert BAD_QUESTIONS[question] in result.stderr


def test_the_help_names_every_option_of_the_contract() -> None:
    """CLI.md is what scripts are written against."""
    context = click.Context(covey)
    command = covey.get_command(context, "simulate")
    assert command is not None
    options = {option for parameter in command.params for option in parameter.opts}

    assert {"--seed", "--seeds", "--nodes", "--plan", "--json", "--shrink", "--timeline"} <= options
    assert {"--list", "--virtual-hours", "--operations", "--jobs", "--save"} <= options
