"""The runner of plans: what a run leaves behind in its process."""

import gc

from covey.simulations.planning import plan_of
from covey.simulations.runner import run_plan
from covey.simulations.scenarios import SCENARIOS
from covey.simulations.world import World


def test_nothing_of_a_run_is_left_when_it_has_ended() -> None:
    """Thirteen megabytes a seed were, and ten thousand seeds did not fit into any machine."""
    plan = plan_of(SCENARIOS["two-devices"], 1, operations=5)
    run_plan(plan)  # Makes what later runs share.
    gc.collect()
    there = worlds()

    outcome = run_plan(plan)

    assert outcome.ok
    assert [world for world in worlds() if world not in there] == []


def worlds() -> list[World]:
    return [thing for thing in gc.get_objects() if isinstance(thing, World)]
