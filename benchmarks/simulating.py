"""One run of the simulator in a process of its own: what it costs in time and in memory.

`python -m benchmarks.simulating SCENARIO SEED HOURS` runs it and prints one line of JSON. The most
memory that a process ever had cannot be set back, so each run has its own.
"""

import json
import resource
import subprocess
import sys
from typing import Any

from covey.simulations.planning import plan_of
from covey.simulations.runner import run_plan
from covey.simulations.scenarios import SCENARIOS


def simulated_apart(scenario: str, seed: int, hours: float) -> dict[str, Any]:
    """`cpu_s`, `peak_kib`, `devices`, `hours` and `violated` of one run."""
    command = [sys.executable, "-m", "benchmarks.simulating", scenario, str(seed), str(hours)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def main() -> None:
    name, seed, hours = sys.argv[1:]
    outcome = run_plan(plan_of(SCENARIOS[name], int(seed), hours=float(hours)))
    used = resource.getrusage(resource.RUSAGE_SELF)
    answer = {
        # All of the process, with its start and the making of the mesh.
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_kib": used.ru_maxrss,
        "devices": len(outcome.plan.cast),
        "hours": outcome.virtual_ms / 3_600_000,
        "violated": len(outcome.violations),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
