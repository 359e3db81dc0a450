"""One command of the command line against a running node, as a person or an agent runs it."""

import os
import statistics
import subprocess
import sys
import time

from .budgets import Measure
from .homes import Home
from .workload import COLLECTION, DATABASE

STOP_SECONDS_MAX = 60


def measure_command(home: Home, rounds: int) -> list[Measure]:
    """Wall time of `covey get`, the start of its interpreter included; median."""
    covey = [sys.executable, "-m", "covey.cli.main"]
    covey += ["--home", str(home.path), "--key-file", str(home.key_file)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVEY")}
    node = subprocess.Popen(
        [*covey, "up", "--listen", "127.0.0.1:0", "--no-mdns", "--json"],
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert node.stdout is not None
    try:
        node.stdout.readline()
        _run([*covey, "put", DATABASE, COLLECTION, "m1", '{"text": "hello"}'], environment)
        get = [*covey, "get", DATABASE, COLLECTION, "m1", "--json"]
        taken = [_run(get, environment) for _ in range(rounds + 1)][1:]
        bare = [_run([sys.executable, "-c", "pass"], environment) for _ in range(rounds)]
    finally:
        node.terminate()
        node.communicate(timeout=STOP_SECONDS_MAX)
    note = f"worst {max(taken):.0f} ms; python alone {statistics.median(bare):.0f} ms"
    return [Measure("command", statistics.median(taken), note)]


def _run(arguments: list[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, env=environment)
    return (time.perf_counter() - start) * 1e3
