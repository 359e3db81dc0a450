"""Mutants: planted bugs stay plantable, planting works, and the simulator finds some at once.

That all of them are found takes an hour: `make mutants`.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from covey.simulations.mutants.hunting import PLANS
from covey.simulations.mutants.mutant import Mutant, StaleMutantError
from covey.simulations.mutants.mutants_blobs import BLOB_MUTANTS
from covey.simulations.mutants.mutants_conflicts import CONFLICT_MUTANTS
from covey.simulations.mutants.mutants_crypto import CRYPTO_MUTANTS
from covey.simulations.mutants.mutants_data import DATA_MUTANTS
from covey.simulations.mutants.mutants_node import NODE_MUTANTS
from covey.simulations.mutants.mutants_policies import POLICY_MUTANTS
from covey.simulations.mutants.mutants_storage import STORAGE_MUTANTS
from covey.simulations.mutants.mutants_sync import SYNC_MUTANTS
from covey.simulations.mutants.mutants_timing import TIMING_MUTANTS
from covey.simulations.mutants.mutants_trust import TRUST_MUTANTS
from covey.simulations.mutants.planting import path_of, source_of
from covey.simulations.mutants.registry import MUTANTS
from covey.simulations.mutants.verdicts import judge
from covey.simulations.plan import load_plan
from covey.simulations.scenarios import SCENARIOS

BY_FLOOR = {
    "storage": STORAGE_MUTANTS,
    "crypto": CRYPTO_MUTANTS,
    "sync": SYNC_MUTANTS,
    "node": NODE_MUTANTS,
}
BY_FILE = {
    **BY_FLOOR,
    "trust": TRUST_MUTANTS,
    "timing": TIMING_MUTANTS,
    "blobs": BLOB_MUTANTS,
    "policies": POLICY_MUTANTS,
    "conflicts": CONFLICT_MUTANTS,
    "data": DATA_MUTANTS,
}
MUTANTS_MIN = 28
CHEAP = (
    *("a-chunk-counts-before-the-disk-has-it", "copy-keeps-its-instance"),
    "proof-of-the-membership-alone",
)
"""Found by the first or second seed, by three different claims."""
CHEAP_SEEDS = 5

LOAD_PLANTED = """
import sys
from covey.simulations.mutants.mutant import Mutant
from covey.simulations.mutants.planting import plant
plant(Mutant("x", "covey.sync.hlc", "max(last + 1,", "max(last,", "Stamps repeat."))
from covey.sync import hlc
print(hlc.tick(7, 0), hlc.__file__, hlc.__spec__.name)
"""


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_replaces_one_place_of_its_module_by_other_code(name: str) -> None:
    """After a change of production code a mutant may fit nowhere, and then it proves nothing."""
    mutant = MUTANTS[name]
    source = source_of(mutant.module)

    planted = mutant.planted_in(source)

    assert ast.dump(ast.parse(planted)) != ast.dump(ast.parse(source))


def test_there_are_enough_mutants_and_each_floor_has_its_share() -> None:
    """A simulator that is blind to a whole floor would not show it otherwise."""
    assert len(MUTANTS) >= MUTANTS_MIN
    assert {floor: len(mutants) >= 3 for floor, mutants in BY_FLOOR.items()} == dict.fromkeys(
        BY_FLOOR, True
    )


def test_names_are_unique() -> None:
    """The registry is a dictionary: of two mutants with one name it would keep the last."""
    assert len(MUTANTS) == sum(len(mutants) for mutants in BY_FILE.values())


def test_a_mutant_lies_in_the_floor_that_its_file_names() -> None:
    """A bug that is planted in the simulator itself says nothing about it."""
    strays = [
        mutant.name
        for floor, mutants in BY_FLOOR.items()
        for mutant in mutants
        if not mutant.module.startswith(f"covey.{floor}.")
    ]

    assert strays == []
    assert {mutant.scenario for mutant in DATA_MUTANTS} == {"data"}
    for mutants in (TRUST_MUTANTS, POLICY_MUTANTS):
        assert {mutant.module.split(".")[1] for mutant in mutants} == {"sync", "node"}


def test_a_mutant_tells_in_a_sentence_what_is_wrong() -> None:
    """The table of `make mutants` is read by people who did not write the mutants."""
    assert [
        m.name for m in MUTANTS.values() if not (m.about[0].isupper() and m.about[-1] == ".")
    ] == []


def test_every_scenario_and_every_plan_is_there_and_every_plan_is_used() -> None:
    """A name that leads nowhere would end the hunt of its mutant, after all others."""
    plans = {mutant.plan for mutant in MUTANTS.values() if mutant.plan}

    assert {mutant.scenario for mutant in MUTANTS.values()} <= SCENARIOS.keys()
    assert {file.name for file in PLANS.glob("*")} == plans
    assert all(load_plan(PLANS / plan).steps for plan in plans)


def test_a_text_that_does_not_occur_once_is_refused() -> None:
    """Twice is as bad as never: the second place might be another matter."""
    mutant = Mutant("x", "covey.sync.hlc", "a", "b", "A letter is another one.")

    with pytest.raises(StaleMutantError):
        mutant.planted_in("no such letter: " + "zzz" + "aa")


def test_planting_changes_the_module_of_a_fresh_process_and_leaves_its_file() -> None:
    """Tracebacks point into the file, and what Python had compiled before must not be used."""
    before = Path(path_of("covey.sync.hlc")).read_bytes()

    ran = subprocess.run(
        [sys.executable, "-c", LOAD_PLANTED], capture_output=True, text=True, check=True
    )

    assert ran.stdout.split() == ["7", path_of("covey.sync.hlc"), "covey.sync.hlc"]
    assert Path(path_of("covey.sync.hlc")).read_bytes() == before


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where meshes are kept that several hunts start from."""
    return tmp_path_factory.mktemp("meshes")


@pytest.mark.parametrize("name", CHEAP)
def test_the_simulator_finds_a_planted_bug_and_nothing_without_it(name: str, meshes: Path) -> None:
    """The shortest proof that seeds, planting, checkers and the comparison work together."""
    verdict = judge(MUTANTS[name], 1, CHEAP_SEEDS, meshes)

    assert verdict.caught, verdict.find
