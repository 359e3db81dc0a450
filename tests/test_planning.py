"""Planning: what a plan holds, and that taking something out of it changes nothing else.

What single scenarios promise, and which files are refused before they run, is in test_plans.py.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.simulations import plan as plan_module
from covey.simulations.doings import FAULTS, Stage
from covey.simulations.doings.user_doings import USER_DOINGS
from covey.simulations.doings.window_doings import WINDOW_DOINGS
from covey.simulations.plan import (
    DEVICES_MAX,
    FORMAT,
    STEPS_MAX,
    Plan,
    PlanError,
    Step,
    load_plan,
    read_plan,
)
from covey.simulations.planning import KIND_SHARE, plan_of
from covey.simulations.runner import SOON_LOOK_MS, run_plan
from covey.simulations.scenarios import SCENARIOS
from covey.simulations.templates import VARIANTS, Part, mesh_disks
from covey.simulations.trace import Event, Trace
from covey.simulations.witness import CANARY

MIXED = SCENARIOS["mixed"]
SEEDS = range(40)


# What a plan holds -----------------------------------------------------------------------------


def values_of(plan: Plan) -> list[str]:
    """Every text that a plan writes into a field."""
    values: list[str] = []
    for step in plan.steps:
        values += step.args.get("fields", {}).values()
        values += [text for _, fields in step.args.get("records", ()) for text in fields.values()]
    return values


def test_every_value_of_a_plan_is_written_once() -> None:
    """Whose value a record shows is read off the value."""
    for seed in SEEDS:
        values = values_of(plan_of(MIXED, seed))

        assert values
        assert [value for value, count in Counter(values).items() if count > 1] == []


def test_every_value_begins_with_the_word_that_no_wire_may_carry() -> None:
    """Else plaintext would be searched for in vain."""
    assert all(value.startswith(CANARY) for value in values_of(plan_of(MIXED, 1)))


def test_a_record_never_changes_its_privacy() -> None:
    """What may be read where is decided when a record is made."""
    for seed in SEEDS:
        privacies: dict[tuple[str, str], set[str]] = {}
        for step in plan_of(MIXED, seed).steps:
            if step.do in WINDOW_DOINGS:
                continue  # Of these the witness is not told.
            ids = [step.args["id"]] if "id" in step.args else []
            ids += [id for id, _ in step.args.get("records", ())]
            for id in ids:
                place = step.args["database"], id
                privacies.setdefault(place, set()).add(step.args["privacy"])

        assert all(len(found) == 1 for found in privacies.values())


def test_devices_meet_in_records() -> None:
    """A plan in which everybody writes for himself tests no merge."""
    for seed in SEEDS:
        writers: dict[str, set[str]] = {}
        for step in plan_of(MIXED, seed).steps:
            if step.do == "put" and step.args["privacy"] == "private":
                writers.setdefault(step.args["id"], set()).add(step.args["device"])

        assert any(len(devices) > 1 for devices in writers.values())


def test_plans_hold_different_kinds_of_faults_and_none_holds_all() -> None:
    """A run in which everything goes wrong at once hides what one thing alone would show."""
    counts = [len(plan_of(MIXED, seed).faults) for seed in SEEDS]

    assert len({plan_of(MIXED, seed).faults for seed in SEEDS}) == len(SEEDS)
    assert max(counts) < len(FAULTS)
    assert abs(sum(counts) / len(counts) / len(FAULTS) - KIND_SHARE) < 0.1


@pytest.mark.parametrize("gone", sorted(FAULTS))
def test_a_kind_that_a_plan_does_not_hold_could_as_well_not_exist(gone: str) -> None:
    """A kind that is added later leaves the plans alone that have none of it."""
    without = replace(MIXED, faults=tuple(kind for kind in MIXED.faults if kind != gone))
    untouched = [seed for seed in SEEDS if gone not in plan_of(MIXED, seed).faults]

    assert untouched
    for seed in untouched:
        assert plan_of(without, seed) == plan_of(MIXED, seed)


@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_a_kind_of_fault_puts_its_name_to_the_steps_with_which_it_strikes(kind: str) -> None:
    """What met which phase of a session is counted by these names, and by nothing else."""
    for seed in SEEDS:
        steps = FAULTS[kind].draw(Random(seed), Stage(("laptop", "phone"), 180_000), 1_000)
        names = [step.fault for step in steps]

        assert kind in names
        assert set(names) <= {kind, ""}


def test_what_users_do_is_no_fault() -> None:
    """Else a write would count as one."""
    for seed in SEEDS:
        assert not [s for s in plan_of(MIXED, seed).steps if s.fault and s.do in USER_DOINGS]


# Files -----------------------------------------------------------------------------------------

texts = st.text(max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
parts = st.builds(Part, texts, texts, texts)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Anything that has the form of a plan."""
    cast = tuple(draw(st.lists(parts, min_size=1, max_size=4)))
    args = st.dictionaries(texts, json_values, max_size=4)
    steps = st.builds(Step, st.integers(), texts, args, texts)
    return Plan(
        draw(texts),
        draw(st.integers()),
        cast,
        draw(texts),
        tuple(draw(st.none() | texts) for _ in cast),
        tuple(draw(st.lists(texts, max_size=3))),
        tuple(draw(st.lists(steps, max_size=5))),
        draw(st.integers()),
    )


@given(plans())
def test_every_plan_comes_back_from_its_json_as_it_was(plan: Plan) -> None:
    """A failure is a file; whatever stands in it must stand there again."""
    assert read_plan(plan.to_json()) == plan


@given(plans(), st.data())
def test_steps_are_taken_out_by_their_indexes_and_nothing_else_changes(
    plan: Plan, data: st.DataObject
) -> None:
    """Shrinking asks for this, over and over."""
    unwanted = data.draw(st.sets(st.integers(-1, 6)))
    left = plan.without(unwanted)

    assert list(left.steps) == [s for at, s in enumerate(plan.steps) if at not in unwanted]
    assert replace(left, steps=plan.steps) == plan


def with_steps(count: int) -> Plan:
    return replace(plan_of(SCENARIOS["two-devices"], 1), steps=(Step(0, "sync", {}),) * count)


def with_devices(count: int) -> Plan:
    cast = tuple(Part(f"d{n}") for n in range(count))
    return replace(with_steps(1), cast=cast, places=("home",) * count)


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (with_steps(STEPS_MAX + 1), f"{STEPS_MAX + 1} steps, {STEPS_MAX} allowed"),
        (with_devices(DEVICES_MAX + 1), f"1 to {DEVICES_MAX} devices"),
        (with_devices(0), "1 to"),
        (replace(with_devices(2), places=("home",)), "each with a place"),
    ],
    ids=["too many steps", "too many devices", "nobody", "a place too few"],
)
def test_a_plan_that_is_too_large_is_refused(plan: Plan, said: str) -> None:
    """A limit has a number, and the message has both."""
    with pytest.raises(PlanError, match=said):
        read_plan(plan.to_json())


def test_a_plan_at_its_limits_is_read() -> None:
    """A limit is allowed."""
    assert len(read_plan(with_steps(STEPS_MAX).to_json()).steps) == STEPS_MAX
    assert len(read_plan(with_devices(DEVICES_MAX).to_json()).cast) == DEVICES_MAX


def test_a_plan_of_another_format_is_told_which_one_is_read() -> None:
    """The cure is another version of the program."""
    text = with_steps(1).to_json().replace(f'"covey_plan": {FORMAT}', '"covey_plan": 99')

    with pytest.raises(PlanError, match=f"format 99, this program reads {FORMAT}"):
        read_plan(text)


def test_a_huge_file_is_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody named the wrong file."""
    monkeypatch.setattr(plan_module, "PLAN_BYTES_MAX", 100)
    path = tmp_path / "plan.json"
    path.write_text(with_steps(1).to_json(), encoding="utf-8")

    with pytest.raises(PlanError, match="no plan is that large"):
        load_plan(path)


@pytest.mark.parametrize("content", [b"\xff\xfe{}", b""], ids=["no UTF-8", "nothing"])
def test_a_file_that_is_no_text_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    """One line that names the file, and no traceback."""
    path = tmp_path / "plan.json"
    path.write_bytes(content)

    with pytest.raises(PlanError, match=r"plan\.json"):
        load_plan(path)


def test_a_doing_that_there_is_not_is_refused_before_anything_runs() -> None:
    """A plan of a newer version would else run without what it is about."""
    plan = replace(with_steps(1), steps=(Step(1, "fly", {}),))

    with pytest.raises(PlanError, match="fly"):
        run_plan(plan)


# What is left runs as before -------------------------------------------------------------------

NEIGHBOURS = Plan(
    "by hand",
    seed=5,
    cast=(Part("laptop"), Part("phone", "phone"), Part("tablet", "tablet"), Part("desktop")),
    law="flaky-wifi",
    places=("home", "home", "office", "office"),
    faults=(),
    steps=(),
    end_ms=60_000,
)


def put(at_ms: int, device: str) -> Step:
    args = {
        **{"device": device, "database": "memory", "collection": "facts", "id": "private-1"},
        **{"privacy": "private", "fields": {"text": f"{CANARY} {at_ms}"}},
    }
    return Step(at_ms, "put", args)


def heard(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, str, str, int]]:
    """Every message before the world is mended: when, from whom, to whom, how long."""
    messages: list[tuple[float, str, str, int]] = []
    mesh_disks(
        plan.cast, plan.seed % VARIANTS, hostile=False
    )  # These are made in a world of their own.

    def message(trace: Trace, at_ms: float, source: str, target: str, data: bytes) -> None:
        if at_ms < plan.end_ms:
            messages.append((at_ms, source, target, len(data)))

    with monkeypatch.context() as patch:
        patch.setattr(Trace, "message", message)
        assert run_plan(plan).violations == []
    return messages


def test_what_others_do_elsewhere_changes_no_message_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every draw names what it is for, so nobody's luck hangs on somebody else's."""
    here = [put(1_000 * n, name) for n in range(5, 40) for name in ("laptop", "phone")]
    there = [
        *(put(1_000 * n + 7, name) for n in range(5, 40, 3) for name in ("tablet", "desktop")),
        Step(12_000, "crash", {"device": "tablet", "power": True}),
        Step(15_000, "start", {"device": "tablet"}),
        Step(20_000, "move", {"device": "desktop", "place": None}),
        Step(30_000, "move", {"device": "desktop", "place": "office"}),
    ]
    both = replace(NEIGHBOURS, steps=tuple(sorted([*here, *there], key=lambda step: step.at_ms)))
    quiet = replace(NEIGHBOURS, steps=tuple(here))
    at_home = ("laptop", "phone")

    with_them = [m for m in heard(both, monkeypatch) if m[1] in at_home]
    without_them = [m for m in heard(quiet, monkeypatch) if m[1] in at_home]

    assert len(with_them) > 100
    assert with_them == without_them


def before(events: list[Event], at_ms: int) -> list[Event]:
    return [event for event in events if event.at_ms < at_ms]


@pytest.mark.parametrize("seed", [2, 3])
def test_a_step_that_is_taken_out_changes_nothing_before_it(seed: int) -> None:
    """What is left of a plan begins as the whole of it began."""
    plan = plan_of(MIXED, seed, nodes=3, operations=20)
    at = len(plan.steps) * 2 // 3
    whole, rest = run_plan(plan), run_plan(plan.without({at}))
    moment_ms = plan.steps[at].at_ms

    assert before(whole.timeline, moment_ms) == before(rest.timeline, moment_ms)
    assert len(before(whole.timeline, moment_ms)) > 5


def test_a_step_that_means_nothing_changes_nothing_at_all() -> None:
    """A device that is not there is down."""
    plan = plan_of(MIXED, 4, nodes=2, operations=10)
    at_ms = plan.end_ms // 2
    more: list[Any] = [Step(at_ms, "sync", {"device": "nobody"})]
    steps = tuple(sorted([*plan.steps, *more], key=lambda step: step.at_ms))

    assert run_plan(replace(plan, steps=steps)).digest == run_plan(plan).digest


@pytest.mark.parametrize(
    ("do", "more"),
    [("move", {"place": None}), ("multicast", {"on": False}), ("slow-reader", {})],
)
def test_what_happens_to_a_clone_that_was_never_made_is_nothing(
    do: str, more: dict[str, Any]
) -> None:
    """Shrinking takes the step away that makes it, and the others must still run."""
    plan = plan_of(SCENARIOS["two-devices"], 1, operations=0, hours=0.001)
    step = Step(1_000, do, {"device": "phone-copy", **more})

    assert run_plan(replace(plan, steps=(step,))).violations == []


def test_a_world_in_which_nothing_is_left_to_do_has_settled_at_once() -> None:
    """Settling takes a tenth of a second in a good network: a second would be no measure of it."""
    plan = plan_of(SCENARIOS["two-devices"], 1, operations=0, hours=0.001)

    assert run_plan(plan).settled_ms == SOON_LOOK_MS
