"""Run the benchmarks and show them: `python -m benchmarks [--quick] [--only NAME] [--folder DIR]`.

Homes are made in a temporary folder, which must be on a real disk: on a memory file system every
durable write is free and the table means nothing. Everything is removed at the end.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .budgets import BUDGETS, Measure
from .stage import FULL, QUICK, Stage
from .works import WORKS

RESULTS = Path(__file__).parent / "results" / "latest.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes; budgets do not apply")
    parser.add_argument("--only", action="append", choices=list(WORKS), help="may be repeated")
    parser.add_argument("--folder", type=Path, help="where the homes are made")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="covey-bench-", dir=chosen.folder))
    stage = Stage(folder, QUICK if chosen.quick else FULL)
    measures: list[Measure] = []
    # Others at work on the machine are in every number: the reader of one must know.
    load_before = os.getloadavg()[0]
    try:
        for name in chosen.only or WORKS:
            started = time.monotonic()
            measures += WORKS[name](stage)
            print(f"{name}: done in {time.monotonic() - started:.0f} s", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if measures:
            _show(measures)
            print(f"load before: {load_before:.1f} on {os.cpu_count()} cores")
            _write(measures, quick=chosen.quick, load_before=load_before)


def _show(measures: list[Measure]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("work", no_wrap=True)
    for title in ("measured", "budget", "aim"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("met", no_wrap=True)
    table.add_column("note")
    for measure in measures:
        budget = BUDGETS[measure.name]
        sign = "≥ " if budget.at_least else "≤ "
        table.add_row(
            budget.work,
            f"{_number(measure.value)} {budget.unit}".rstrip(),
            "" if budget.limit is None else sign + _number(budget.limit),
            "" if budget.aim is None else sign + _number(budget.aim),
            {True: "yes", False: "NO", None: ""}[budget.met_by(measure.value)],
            measure.note,
        )
    # Wide enough that nothing is cut when the output goes to a file.
    console = Console()
    Console(width=max(console.width, 150)).print(table)


def _write(measures: list[Measure], *, quick: bool, load_before: float) -> None:
    document: dict[str, Any] = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "quick": quick,
        "machine": {
            "system": platform.platform(),
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "load_before": load_before,
        },
        "measures": [
            {
                **asdict(measure),
                **asdict(BUDGETS[measure.name]),
                "met": BUDGETS[measure.name].met_by(measure.value),
            }
            for measure in measures
        ],
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
