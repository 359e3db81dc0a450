"""The simulator on the program as it is: every bug it ever found stays gone, and some seeds more.

The plans under tests/plans/ are what was left of a failing run after everything that did not matter
was taken away. `make seeds` runs many more seeds, and `make soak` any number.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from covey.simulations.plan import load_plan
from covey.simulations.planning import plan_of
from covey.simulations.runner import run_plan
from covey.simulations.scenarios import SCENARIOS

PLANS = sorted((Path(__file__).parent / "plans").glob("*.json"))
SEEDS_PER_TEST = 5

_DIGESTS = """
import json, sys
from covey.simulations.planning import plan_of
from covey.simulations.runner import run_plan
from covey.simulations.scenarios import SCENARIOS
print(json.dumps([run_plan(plan_of(SCENARIOS["mixed"], seed)).digest for seed in (3, 17)]))
"""


@pytest.mark.parametrize("plan", PLANS, ids=lambda path: path.stem)
def test_what_the_simulator_found_once_does_not_come_back(plan: Path) -> None:
    """Each file is a bug that was mended; its name says which."""
    outcome = run_plan(load_plan(plan))

    assert [str(violation) for violation in outcome.violations] == []


@pytest.mark.parametrize("first", [1, 6])
@pytest.mark.parametrize("scenario", ["mixed", "data"])
def test_nothing_is_violated_over_some_seeds(scenario: str, first: int) -> None:
    """A failure here is replayed with `covey simulate SCENARIO --seed N`."""
    failed = {
        seed: str(outcome.violations[0])
        for seed in range(first, first + SEEDS_PER_TEST)
        if (outcome := run_plan(plan_of(SCENARIOS[scenario], seed))).violations
    }

    assert failed == {}


def test_a_seed_is_the_same_run_in_every_process() -> None:
    """A failure that cannot be replayed is a rumour; hashes of texts differ in each process."""
    digests = []
    for hash_seed in ("1", "4242"):
        ran = subprocess.run(
            [sys.executable, "-c", _DIGESTS],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.append(json.loads(ran.stdout))

    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 2
