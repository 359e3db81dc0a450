"""Hunting: seed after seed with a bug planted, until a checker objects. In a process of its own.

`python -m covey.simulations.mutants.hunting NAME FIRST LAST` runs the mutant's scenario and writes
what came of it as one line of JSON, a `Find`. With `--plain` the seeds are the same and nothing is
planted. It ends by itself: a run that takes more than `RUN_CPU_S_MAX` of processor time is over.
"""

import argparse
import json
import os
import signal
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from .kept_meshes import KeptMeshes
from .mutant import Mutant
from .planting import plant
from .registry import MUTANTS

if TYPE_CHECKING:
    from ..plan import Plan

RUN_CPU_S_MAX = 120
PLANS = Path(__file__).parent / "plans"

CAUGHT, MISSED, HUNG, BROKEN = "caught", "missed", "hung", "broken"


@dataclass(frozen=True, slots=True)
class Find:
    """What came of some seeds. `broken`: nobody objected, but once the simulator itself raised."""

    outcome: str
    seed: int
    """Where that was; the last one if nothing was found."""
    runs: int
    claim: str = ""
    message: str = ""
    cpu_s: float = 0.0


def hunt(mutant: Mutant, first: int, last: int, meshes: Path) -> Find:
    """Run seeds `first` to `last` of what the mutant says until one of them has a violation."""
    # Only now: the module with the bug must not be imported before it is planted.
    from .. import runner

    assert "mesh_disks" in vars(runner), "the runner takes its disks from a template"
    vars(runner)["mesh_disks"] = KeptMeshes(meshes).mesh_disks
    end = Find(MISSED, last, last - first + 1)
    for seed in range(first, last + 1):
        runs = seed - first + 1
        _limit(seed, runs)
        try:
            outcome = runner.run_plan(_plan(mutant, seed))
        except Exception as error:
            if end.outcome is MISSED:
                end = replace(
                    end, outcome=BROKEN, seed=seed, message=f"{type(error).__name__}: {error}"
                )
            continue
        if outcome.violations:
            found = outcome.violations[0]
            end = Find(CAUGHT, seed, runs, found.claim, str(found))
            break
    return replace(end, cpu_s=time.process_time())


def _plan(mutant: Mutant, seed: int) -> "Plan":
    from ..plan import load_plan
    from ..planning import plan_of
    from ..scenarios import SCENARIOS

    if mutant.plan:
        return replace(load_plan(PLANS / mutant.plan), seed=seed)
    return plan_of(SCENARIOS[mutant.scenario], seed)


def _limit(seed: int, runs: int) -> None:
    """End this process, with its find, if the run of this seed goes on for too long."""

    def give_up(number: int, frame: FrameType | None) -> None:
        told = f"a run did not end within {RUN_CPU_S_MAX} s of processor time"
        print(json.dumps(asdict(Find(HUNG, seed, runs, "", told, time.process_time()))), flush=True)
        os._exit(0)

    signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, RUN_CPU_S_MAX)


def main() -> None:
    parser = argparse.ArgumentParser(prog="hunting", description=__doc__)
    parser.add_argument("name", choices=list(MUTANTS))
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    parser.add_argument("--plain", action="store_true", help="plant nothing")
    parser.add_argument("--meshes", type=Path, help="the folder of kept meshes")
    chosen = parser.parse_args()
    mutant = MUTANTS[chosen.name]
    if not chosen.plain:
        plant(mutant)
    with tempfile.TemporaryDirectory(prefix="covey-meshes-") as folder:
        find = hunt(mutant, chosen.first, chosen.last, chosen.meshes or Path(folder))
    print(json.dumps(asdict(find)), flush=True)


if __name__ == "__main__":
    main()
