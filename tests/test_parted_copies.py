"""Copies of homes that met nobody who could carry anything between them, and what is expected then.

Each plan runs on the real node; what is expected of whom is read off the run at its end.
"""

from dataclasses import replace

import pytest

from covey.simulations.checkers.copies import spoil_parted_copies
from covey.simulations.doings import DOINGS
from covey.simulations.plan import Plan, Step
from covey.simulations.run import Run
from covey.simulations.runner import run_plan
from covey.simulations.templates import Part
from covey.simulations.world import Violation

from .simulated import GUEST, LAPTOP, PHONE

TABLET = Part("tablet", "tablet")
END_MS = 6_000


def put(at_ms: int, device: str, id: str) -> Step:
    """A private write: a guest may not read it."""
    args = {
        "device": device,
        "database": "memory",
        "collection": "facts",
        "privacy": "private",
        "id": f"private-{id}",
        "fields": {"text": f"canary {id}"},
    }
    return Step(at_ms, "put", args)


def does(at_ms: int, do: str, *devices: str) -> list[Step]:
    return [Step(at_ms, do, {"device": name, "power": False}) for name in devices]


def rots(at_ms: int, device: str) -> list[Step]:
    """Nothing that this device holds can be read any more."""
    rot = Step(at_ms, "rot", {"device": device, "file": "store.db"})
    return [rot, *does(at_ms + 1, "crash", device), *does(at_ms + 2, "start", device)]


def plan_of(cast: tuple[Part, ...], *steps: Step) -> Plan:
    return Plan("by hand", 1, cast, "lan", ("home",) * len(cast), (), steps, END_MS)


@pytest.fixture
def run_of(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The run of each plan that was run since."""
    runs: list[Run] = []

    def keep(run: Run) -> None:
        runs[:] = [run]
        spoil_parted_copies(run)

    monkeypatch.setattr("covey.simulations.runner.spoil_parted_copies", keep)
    return runs


def outcome(plan: Plan) -> list[Violation]:
    return run_plan(plan).violations


COPY = does(2_000, "clone", "laptop")
WRITES = (put(1_000, "laptop", "before"), put(4_000, "laptop", "after"))


def test_a_third_device_that_may_read_all_brings_copies_together(run_of: list[Run]) -> None:
    """This is what the product promises, so it must be asked for."""
    assert outcome(plan_of((LAPTOP, PHONE), WRITES[0], *COPY, WRITES[1])) == []
    assert run_of[0].spoiled == {}


def test_without_a_third_device_a_copy_is_expected_to_lack_what_came_later(
    run_of: list[Run],
) -> None:
    """Its own device is the only one that has it, and nobody looks for himself."""
    plan = plan_of((LAPTOP, PHONE), WRITES[0], *COPY, *rots(3_000, "phone"), WRITES[1])

    assert outcome(plan) == []
    assert run_of[0].spoiled.keys() == {"phone", "laptop-copy"}


def test_a_third_device_carries_only_what_it_may_read(run_of: list[Run]) -> None:
    """A guest is no bridge for what is private."""
    plan = plan_of((LAPTOP, GUEST), WRITES[0], *COPY, WRITES[1])

    assert outcome(plan) == []
    assert run_of[0].spoiled.keys() == {"laptop-copy"}


BOTH = ("laptop", "phone")
TWO_MESHES = (
    *does(2_000, "crash", *BOTH),
    *does(2_001, "clone", *BOTH),
    *does(3_500, "start", *BOTH),
)
"""The copies find each other, and then the devices do."""


def test_copies_that_found_each_other_are_expected_to_lack_what_the_devices_wrote_later(
    run_of: list[Run],
) -> None:
    """Every store has a link to every device, so no store looks for another."""
    plan = plan_of((LAPTOP, PHONE), WRITES[0], *TWO_MESHES, WRITES[1])

    assert outcome(plan) == []
    assert run_of[0].spoiled.keys() == {"laptop-copy", "phone-copy"}


def test_one_device_that_was_not_copied_brings_all_together(run_of: list[Run]) -> None:
    """All find it, whichever they are."""
    plan = plan_of((LAPTOP, PHONE, TABLET), WRITES[0], *TWO_MESHES, WRITES[1])

    assert outcome(plan) == []
    assert run_of[0].spoiled == {}


def test_a_copy_that_finds_nobody_is_told(
    run_of: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever lacks a link looks for one: that it stays away is a defect, not a weakness."""
    lonely = Step(4_500, "lonely", {})

    def cut_off(run: Run, args: object) -> None:
        network = run.world.network
        goes = network.goes
        monkeypatch.setattr(
            network,
            "goes",
            lambda *ends: goes(*ends) and "laptop-copy" not in {end.name for end in ends},
        )

    monkeypatch.setitem(DOINGS, "lonely", cut_off)
    plan = plan_of((LAPTOP, PHONE), WRITES[0], *COPY, WRITES[1])
    steps = (*plan.steps, lonely, put(5_000, "phone", "last"))

    violations = outcome(replace(plan, steps=steps))

    assert [v.claim for v in violations] == ["I2"]
    assert run_of[0].spoiled == {}
