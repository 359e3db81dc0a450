"""Plans: the same seed is the same plan, scenarios hold what they promise, bad files are told so.

A plan may come from a file that somebody edited: what cannot be run is refused as one line, before
anything runs.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.simulations.data_checks import DECLARED
from covey.simulations.data_questions import ASKED
from covey.simulations.doings import DOINGS, FAULTS
from covey.simulations.doings.data_doings import DATA_DOINGS
from covey.simulations.doings.schema_doings import SCHEMA_DOINGS
from covey.simulations.hostile.registry import MISBEHAVIOURS
from covey.simulations.months import MONTH_MS
from covey.simulations.plan import Plan, PlanError, Step, read_plan
from covey.simulations.plan_checks import NEEDS, check_plan, load_checked
from covey.simulations.planning import Scenario, plan_of
from covey.simulations.scenarios import DAY_MS, DEFAULT_SCENARIO, SCENARIOS

NAMES = (
    *("two-devices", "family", "commuter", "flaky-wifi", "long-offline", "hostile-peer"),
    *("restore", "disk", "clocks", "crowd", "pairing", "trust", "roaming", "months", "blobs"),
    "policies",
    "data",
    "mixed",
)
USERS_DO = {"put", "put-together", "delete", "read", "rename", "sync"}
POLICIES_DO = ("policy", "fetch", "ask")
SEEDS = range(20)


def every_plan(scenario: Scenario) -> list[Plan]:
    return [plan_of(scenario, seed) for seed in SEEDS]


def places(plan: Plan, name: str) -> list[tuple[int, str | None]]:
    """When a device goes where."""
    return [
        (step.at_ms, step.args["place"])
        for step in plan.steps
        if step.do == "move" and step.args["device"] == name
    ]


# What a seed gives -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_is_one_plan_and_another_seed_another(name: str) -> None:
    """A seed in a report is worth nothing if it gives something else tomorrow."""
    scenario = SCENARIOS[name]

    assert plan_of(scenario, 7).to_json() == plan_of(scenario, 7).to_json()
    assert len({plan.to_json() for plan in every_plan(scenario)}) == len(SEEDS)


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_comes_back_from_its_file_as_it_was(name: str) -> None:
    """A failing plan is kept as a file, and run again from it."""
    plan = plan_of(SCENARIOS[name], 3)

    assert read_plan(plan.to_json()) == plan


@pytest.mark.parametrize("name", NAMES)
def test_what_a_scenario_plans_can_be_run(name: str) -> None:
    """A step that no device can do would be left out unseen."""
    for plan in every_plan(SCENARIOS[name]):
        check_plan(plan)


@pytest.mark.parametrize("name", NAMES)
def test_the_steps_of_a_plan_are_in_order_and_end_in_time(name: str) -> None:
    """The world is mended at the end of a plan: nothing may come later."""
    for plan in every_plan(SCENARIOS[name]):
        moments = [step.at_ms for step in plan.steps]
        assert moments == sorted(moments)
        assert moments[-1] < plan.end_ms


def test_no_operations_are_no_steps_of_users() -> None:
    """Nothing is a number too: whoever asks for none must not be given the default."""
    plan = plan_of(SCENARIOS["two-devices"], 1, operations=0)

    assert plan.steps == ()


def test_what_was_asked_for_goes_before_what_the_scenario_has() -> None:
    """A scenario is a beginning: its size is a person's to choose."""
    plan = plan_of(SCENARIOS["mixed"], 1, nodes=7, hours=1.5, operations=11)

    assert (len(plan.cast), plan.end_ms) == (7, 5_400_000)
    assert sum(step.do in USERS_DO for step in plan.steps) == 11
    assert plan.cast[5].name == "laptop-2"


@pytest.mark.parametrize(
    "asked",
    [
        {"nodes": 0},
        {"nodes": 101},
        {"hours": 0.0},
        {"hours": -1.0},
        {"hours": float("nan")},
        {"hours": float("inf")},
        {"hours": 10_000.0},
        {"operations": -1},
        {"operations": 20_001},
    ],
)
def test_sizes_that_cannot_be_simulated_are_refused(asked: dict[str, Any]) -> None:
    """Better one line now than a machine without memory in an hour."""
    with pytest.raises(PlanError, match="can be simulated"):
        plan_of(SCENARIOS["mixed"], 1, **asked)


def test_a_plan_error_ends_a_command_as_wrong_usage() -> None:
    """A script tells a wrong question from a violation by the exit code."""
    assert PlanError.exit_code == 2


# The scenarios ---------------------------------------------------------------------------------


def test_the_scenarios_are_those_that_the_guide_names() -> None:
    """`covey simulate NAME` is in people's scripts."""
    assert tuple(SCENARIOS) == NAMES
    assert DEFAULT_SCENARIO in SCENARIOS


@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_says_what_it_is_in_a_sentence(name: str) -> None:
    """`--list` is where people choose."""
    about = SCENARIOS[name].about

    assert about[0].isupper() and about.endswith(".") and len(about) <= 80


@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_names_only_faults_that_there_are_and_holds_no_others(name: str) -> None:
    """A misspelt fault would be left out of every plan, and nobody would miss it."""
    scenario = SCENARIOS[name]

    assert set(scenario.faults) <= FAULTS.keys()
    assert all(set(plan.faults) <= set(scenario.faults) for plan in every_plan(scenario))


def test_over_some_seeds_every_fault_of_a_scenario_is_in_a_plan() -> None:
    """A fault that no seed holds tests nothing."""
    for scenario in SCENARIOS.values():
        seen = {kind for seed in range(60) for kind in plan_of(scenario, seed).faults}
        assert seen == set(scenario.faults), scenario.name


def test_mixed_keeps_its_size() -> None:
    """Seeds that are known to find planted bugs are seeds of this scenario."""
    mixed = SCENARIOS["mixed"]

    assert (mixed.nodes, mixed.hours, mixed.operations) == (5, 0.05, 60)
    assert mixed.faults == tuple(FAULTS)


def test_the_commuter_leaves_and_returns_every_day_of_a_month() -> None:
    """What the phone carries between home and office is the point of this scenario."""
    plan = plan_of(SCENARIOS["commuter"], 1, hours=720)
    days = [places(plan, "phone")[4 * day : 4 * day + 4] for day in range(30)]

    assert len(places(plan, "phone")) == 120
    for day, moves in enumerate(days):
        assert [place for _, place in moves] == [None, "office", None, "home"]
        assert all(day * DAY_MS <= at_ms < (day + 1) * DAY_MS for at_ms, _ in moves)


def test_somebody_is_always_at_the_office() -> None:
    """A phone that meets nobody there carries nothing."""
    plan = plan_of(SCENARIOS["commuter"], 1)

    assert places(plan, "tablet") == [(0, "office")]


def test_a_short_commute_still_goes_there_and_back() -> None:
    """A quick look at a scenario must show what it is about."""
    plan = plan_of(SCENARIOS["commuter"], 1, hours=0.1)

    assert [place for _, place in places(plan, "phone")] == [None, "office", None, "home"]


def test_policies_are_about_what_is_written_and_some_are_not_the_sayers_to_set() -> None:
    """A policy of a database that nobody writes to keeps nothing from anybody."""
    plans = every_plan(SCENARIOS["policies"])
    done = {do: [s.args for p in plans for s in p.steps if s.do == do] for do in POLICIES_DO}
    written = [{s.args["database"] for s in p.steps if s.do == "put"} for p in plans]

    for plan, databases in zip(plans, written, strict=True):
        about = {s.args["database"] for s in plan.steps if s.do in POLICIES_DO}
        assert about - {""} <= databases
    assert set.union(*written) == {"memory", "notes", "media", "cache", "embeddings", "analytics"}
    assert min(map(len, done.values())) > len(plans)
    assert any(args.get("unasked") for args in done["policy"])
    assert any(None in args["set"].values() for args in done["policy"])
    assert all(len({part.level for part in plan.cast}) > 1 for plan in plans)


def test_plans_of_data_hold_every_habit_and_ask_what_was_declared() -> None:
    """What no plan does is not tested, however good its checker is."""
    plans = every_plan(SCENARIOS["data"])
    steps = [step for plan in plans for step in plan.steps]
    declared = {step.args["declares"]["what"] for step in steps if step.do == "declare"}
    asked = {step.args["question"]["ask"] for step in steps if step.do == "question"}
    done = {step.do for step in steps}

    assert declared == set(DECLARED)
    assert asked == set(ASKED)
    assert {*DATA_DOINGS, *SCHEMA_DOINGS} <= done
    assert {step.args["version"] for step in steps if step.do == "install-schema"} == {1, 2, 3}
    assert {step.args["version"] for step in steps if step.do == "migrate-schema"} == {1, 2}


@pytest.mark.parametrize("name", ["data", "mixed"])
def test_habits_of_the_data_layer_are_in_its_own_scenario_alone(name: str) -> None:
    """What the other scenarios cost and find stays as it was."""
    done = {step.do for plan in every_plan(SCENARIOS[name]) for step in plan.steps}

    assert bool(done & {*DATA_DOINGS, *SCHEMA_DOINGS}) == (name == "data")


def test_habits_do_not_depend_on_how_much_is_written() -> None:
    """Otherwise nobody could vary one thing and leave the other."""
    few, many = (plan_of(SCENARIOS["commuter"], 5, operations=count) for count in (0, 200))

    assert places(few, "phone") == places(many, "phone")


@pytest.mark.parametrize("name", ["commuter", "long-offline"])
def test_longer_runs_hold_more_operations_unless_a_number_is_asked_for(name: str) -> None:
    """A month with the writes of three days would be a month of silence."""
    scenario = SCENARIOS[name]
    longer = plan_of(scenario, 1, hours=scenario.hours * 10)
    asked = plan_of(scenario, 1, hours=scenario.hours * 10, operations=30)

    assert sum(s.do in USERS_DO for s in longer.steps) == scenario.operations * 10
    assert sum(s.do in USERS_DO for s in asked.steps) == 30


@pytest.mark.parametrize("seed", SEEDS)
def test_long_offline_is_away_for_weeks_and_both_sides_write(seed: int) -> None:
    """What comes back after weeks must meet what was written meanwhile."""
    plan = plan_of(SCENARIOS["long-offline"], seed)
    (leaves_ms, away), (returns_ms, back) = places(plan, "phone")
    meanwhile = [
        step.args["device"]
        for step in plan.steps
        if step.do == "put" and leaves_ms < step.at_ms < returns_ms
    ]

    assert (away, back) == (None, "home")
    assert returns_ms - leaves_ms > 10 * DAY_MS
    assert "phone" in meanwhile and set(meanwhile) - {"phone"}


@pytest.mark.parametrize("seed", SEEDS)
def test_in_months_somebody_takes_only_what_is_new_and_clocks_go_on_by_months(seed: int) -> None:
    """Without a window there are no buckets, and with one month there is nothing old."""
    plan = plan_of(SCENARIOS["months"], seed)
    windows = [step.args["days"] for step in plan.steps if step.do == "window"]
    clocks = {step.args["error_ms"] // MONTH_MS for step in plan.steps if step.do == "set-wall"}

    assert any(windows) and len(clocks) > 1
    assert sum(step.do == "jot" for step in plan.steps) > 5


def test_some_plans_of_mixed_have_months_and_most_have_not() -> None:
    """Every kind of fault meets a window; the other plans are as they were."""
    plans = every_plan(SCENARIOS["mixed"])
    with_months = [plan for plan in plans if any(step.do == "window" for step in plan.steps)]

    assert 0 < len(with_months) < len(plans) / 2


def test_plans_of_mixed_say_rules_of_conflicts_before_and_after_what_is_written() -> None:
    """A rule that comes late, or is not known, has to part no two devices."""
    rules = [
        (plan, step.args["set"])
        for plan in every_plan(SCENARIOS["mixed"])
        for step in plan.steps
        if step.do == "policy" and any(key.startswith("rule") for key in step.args["set"])
    ]
    said = {rule for _, words in rules for rule in words.values()}

    assert len(rules) > len(SEEDS) and {"manual", "no-such-rule", "max", None} <= said
    assert 0 < len({plan.seed for plan, _ in rules}) < len(every_plan(SCENARIOS["mixed"]))


def test_people_decide_in_plans_of_mixed_what_was_written_apart_just_before() -> None:
    """There is nothing to decide where no two devices wrote at once."""
    plans = every_plan(SCENARIOS["mixed"])
    deciding = [plan for plan in plans if any(s.do in ("resolve", "undo") for s in plan.steps)]
    resolved = [s.args for plan in deciding for s in plan.steps if s.do == "resolve"]

    assert 0 < len(deciding) < len(plans)
    assert any("take" in args for args in resolved) and any("value" in args for args in resolved)
    assert any(step.do == "undo" for plan in deciding for step in plan.steps)
    for plan in deciding:
        written = [(s.at_ms, s.args["id"]) for s in plan.steps if s.do in ("put", "delete")]
        assert len(set(written)) < len(written)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_family_has_members_who_may_not_read_everything(seed: int) -> None:
    """Levels are what this scenario is about; chance must not leave them out."""
    levels = [part.level for part in plan_of(SCENARIOS["family"], seed).cast]

    assert levels[:2] == ["full", "full"]
    assert {"limited", "guest"} <= set(levels)


def test_flaky_wifi_is_always_flaky_and_a_crowd_is_fifty() -> None:
    """The name says so."""
    assert {plan.law for plan in every_plan(SCENARIOS["flaky-wifi"])} == {"flaky-wifi"}
    assert len(plan_of(SCENARIOS["crowd"], 1).cast) == 50


# Plans from files ------------------------------------------------------------------------------


def edited(**changes: Any) -> str:
    """The text of a good plan with other values in it."""
    document = json.loads(plan_of(SCENARIOS["two-devices"], 1).to_json())
    return json.dumps({**document, **changes})


PAIR = {"device": "laptop", "newcomers": ["phone"], "level": "full"}
POLICY = {"device": "laptop", "target": "", "database": "", "set": {"mode": "full"}}

BAD_PLANS = {
    "nothing": "",
    "no JSON": "hello",
    "a list": "[1]",
    "very deep": "[" * 100_000,
    "another format": edited(covey_plan=2),
    "no steps": edited(steps=None),
    "half a step": edited(steps=[[1, "sync"]]),
    "an infinite end": edited().replace('"end_ms": 180000', '"end_ms": 1e999'),
    "an end before the start": edited(end_ms=-1),
    "an end in a thousand years": edited(end_ms=10**15),
    "nobody": edited(cast=[], places=[]),
    "one place too few": edited(places=["home"]),
    "a place that is a number": edited(places=["home", 7]),
    "one name twice": edited(cast=[{"name": "phone"}, {"name": "phone"}]),
    "a name that is a number": edited(cast=[{"name": 1}, {"name": "phone"}]),
    "an unknown level": edited(cast=[{"name": "a", "level": "deity"}, {"name": "phone"}]),
    "an unknown kind": edited(cast=[{"name": "a", "kind": "toaster"}, {"name": "phone"}]),
    "a part with more": edited(cast=[{"name": "a", "colour": "red"}, {"name": "phone"}]),
    "an unknown law": edited(law="string and cans"),
    "an unknown doing": edited(steps=[[1, "fly", {}]]),
    "a step before the start": edited(steps=[[-1, "sync", {"device": "phone"}]]),
    "a step after the end": edited(steps=[[180_000, "sync", {"device": "phone"}]]),
    "a fault that there is not": edited(steps=[[1, "sync", {"device": "phone"}, "tedium"]]),
    "a step with more": edited(steps=[[1, "sync", {"device": "phone"}, "crash", 5]]),
    "a newcomer who is there": edited(
        steps=[[1, "newcomer", {"device": "phone", "kind": "phone"}]]
    ),
    "a pairing in the past": edited(
        steps=[[1, "pair", {**PAIR, "after_ms": -1}]],
    ),
    "a stranger": edited(steps=[[1, "sync", {"device": "fridge"}]]),
    "a device that is a list": edited(steps=[[1, "crash", {"device": ["phone"]}]]),
    "a phase that there is not": edited(
        steps=[[1, "crash", {"device": "phone", "when": "DREAMING"}]]
    ),
    "a policy that cannot be": edited(steps=[[1, "policy", {**POLICY, "set": {"mode": "fast"}}]]),
    "a policy of nothing": edited(steps=[[1, "policy", {**POLICY, "set": {}}]]),
    "a policy of a list": edited(steps=[[1, "policy", {**POLICY, "set": ["mode"]}]]),
    "a policy of a stranger": edited(steps=[[1, "policy", {**POLICY, "target": "fridge"}]]),
    "a decision on nothing": edited(steps=[[1, "undo", {"device": "phone", "database": "memory"}]]),
    "a decision for a list": edited(
        steps=[[1, "resolve", {"device": "phone", "database": "m", "pick": 0, "value": ["a"]}]]
    ),
    "a fetch of a number": edited(
        steps=[[1, "fetch", {"device": "phone", "database": 7, "timeout_ms": 1}]]
    ),
    "a fetch without end": edited(
        steps=[[1, "fetch", {"device": "phone", "database": "memory", "timeout_ms": 10**12}]]
    ),
    "a question that there is not": edited(
        steps=[[1, "question", {"device": "phone", "database": "m", "question": {"ask": "why"}}]]
    ),
    "a question without its vector": edited(
        steps=[[1, "question", {"device": "phone", "database": "m", "question": {"ask": "near"}}]]
    ),
    "a declaration of a list": edited(
        steps=[[1, "declare", {"device": "phone", "database": "m", "declares": ["index"]}]]
    ),
    "a version that there is not": edited(
        steps=[[1, "install-schema", {"device": "phone", "database": "m", "version": 4}]]
    ),
    "a fate that there is not": edited(
        steps=[[1, "doom-commit", {"device": "phone", "ahead": 1, "fate": "sings"}]]
    ),
    "an attack that there is not": edited(
        steps=[[1, "attack", {"device": "phone", "name": "politeness"}]]
    ),
}


@pytest.mark.parametrize("name", BAD_PLANS)
def test_a_plan_that_cannot_be_run_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    """Plans are edited by hand, and come from other versions."""
    file = tmp_path / "plan.json"
    file.write_text(BAD_PLANS[name], encoding="utf-8")

    with pytest.raises(PlanError) as refused:
        load_checked(file)

    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nested too deep"),
        (edited().replace('"end_ms": 180000', '"end_ms": 1e999'), "a number is infinite"),
        (edited().replace('"seed": 1', '"seed": -Infinity'), "a number is infinite"),
    ],
)
def test_a_text_that_no_number_or_stack_can_hold_is_no_plan(text: str, said: str) -> None:
    """Whoever reads a plan expects one error, whatever the text."""
    with pytest.raises(PlanError, match=said):
        read_plan(text, "plan.json")


def test_a_plan_from_before_steps_knew_their_fault_is_read() -> None:
    """The plans of bugs that were found are kept for years."""
    plan = read_plan(edited(steps=[[1, "crash", {"device": "phone"}]]))

    assert plan.steps == (Step(1, "crash", {"device": "phone"}),)
    check_plan(plan)


def test_a_plan_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A misspelt name is no defect of the program."""
    with pytest.raises(PlanError, match=r"nowhere\.json"):
        load_checked(tmp_path / "nowhere.json")


@given(
    st.sampled_from(["seed", "cast", "law", "places", "faults", "end_ms", "steps", "covey_plan"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=8,
    ),
)
def test_whatever_stands_in_a_plan_it_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: Any
) -> None:
    """No text makes the program fall over."""
    file = tmp_path_factory.mktemp("plans") / "plan.json"
    file.write_text(edited(**{key: value}), encoding="utf-8")

    try:
        plan = load_checked(file)
    except PlanError:
        return

    assert read_plan(plan.to_json()) == plan


def test_every_doing_has_a_row_that_says_what_it_needs() -> None:
    """A doing without a row would be run with whatever a file holds."""
    assert NEEDS.keys() == DOINGS.keys()


@pytest.mark.parametrize("do", NEEDS)
def test_a_step_without_what_it_needs_is_refused_by_name(do: str) -> None:
    """It would end the run in the middle as a defect."""
    plan = plan_of(SCENARIOS["two-devices"], 1)
    samples: dict[str, Any] = {
        **{"device": "phone", "source": "phone", "target": "laptop", "one": "phone"},
        **{"other": "laptop", "group": ["phone"], "database": "memory", "collection": "facts"},
        **{"id": "private-1", "fields": {"text": "x"}, "records": [["private-1", {"text": "x"}]]},
        **{
            "law": "lan",
            "how": "flip",
            "on": True,
            "ahead": 1,
            "fate": "fails",
            "file": "store.db",
        },
        **{"metered": None, "mains": False, "said": {"unmetered": True}},
        **{"error_ms": 5, "ppm": 5, "image": "one", "versions": [1], "name": "desk"},
        **{"size": 5, "number": 1, "pick": 0},
        **{"set": {"mode": "full"}, "timeout_ms": 5},
        **{"kind": "phone", "newcomers": ["phone"], "level": "guest", "role": "admin"},
        **{"days": 30, "text": "x", "privacy": "family", "extra": {"n": 1}, "who": "ann"},
        **{"declares": {"what": "index", "collection": "facts", "fields": ["n"]}, "version": 2},
        **{"question": {"ask": "words", "text": "tea"}},
    }
    args = {key: samples[key] for key in NEEDS[do]}
    if do == "attack":
        args["name"] = next(iter(MISBEHAVIOURS))
    if do == "newcomer":
        args["device"] = "tablet"
    check_plan(replace(plan, steps=(Step(1, do, args),)))

    for key in args:
        for broken in ({k: v for k, v in args.items() if k != key}, {**args, key: [[]]}):
            with pytest.raises(PlanError, match=f"step 1 \\({do}\\).*{key}"):
                check_plan(replace(plan, steps=(Step(1, do, broken),)))
