"""Forked logs whose two branches reached different devices before these met."""

import pytest

from covey.simulations.plan import Plan, Step
from covey.simulations.runner import run_plan
from covey.simulations.templates import Part

from .simulated import LAPTOP, PHONE

TABLET = Part("tablet", "tablet")


def put(at_ms: int, id: str) -> Step:
    """The laptop writes a private record."""
    args = {"database": "memory", "collection": "facts", "privacy": "private"}
    record = {"id": f"private-{id}", "fields": {"text": f"canary {id}"}}
    return Step(at_ms, "put", {**args, "device": "laptop", **record})


def move(at_ms: int, device: str, place: str | None) -> Step:
    return Step(at_ms, "move", {"device": device, "place": place})


@pytest.mark.xfail(reason="a known weakness of this version", strict=True)
def test_two_devices_with_different_branches_of_a_log_come_to_the_same() -> None:
    """A machine is set back: one device has what it wrote before, another what it wrote then."""
    image = {"device": "laptop", "image": "snapshot"}
    steps = (
        put(500, "common"),
        Step(5_000, "keep-image", image),
        move(6_000, "tablet", None),
        put(6_500, "before"),
        move(7_000, "phone", None),
        Step(7_500, "put-back", {**image, "whole_machine": True}),
        move(8_500, "tablet", "home"),
        put(9_000, "after"),
        move(12_000, "phone", "home"),
    )
    plan = Plan(
        "by hand", 1, (LAPTOP, PHONE, TABLET), "lan", ("home",) * 3, (), steps, end_ms=15_000
    )

    assert [str(violation) for violation in run_plan(plan).violations] == []
