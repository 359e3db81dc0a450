"""Verdicts: whether a mutant was caught, judged from processes that hunted for it.

A violation counts only if the same seed passes without the bug: that is run in a process of its own
as well. A seed that fails without the bug too says nothing of it; it is kept in `fails_plain`, and
the hunt goes on behind it.
"""

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from .hunting import BROKEN, CAUGHT, MISSED, Find
from .mutant import Mutant


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of one mutant after its hunt."""

    mutant: Mutant
    find: Find
    """How the hunt ended, with all its runs and seconds."""
    fails_plain: tuple[Find, ...] = ()
    """What was found at these seeds without the bug: faults of the program as it is."""

    @property
    def caught(self) -> bool:
        return self.find.outcome == CAUGHT


def judge(mutant: Mutant, first: int, last: int, meshes: Path) -> Verdict:
    """Hunt from seed `first` to `last`; a find that is not the mutant's own is passed over.

    `meshes` is a folder of ours, empty or filled by hunts before (`kept_meshes.py`).
    """
    runs, cpu_s = 0, 0.0
    fails_plain: list[Find] = []
    while True:
        find = hunt_apart(mutant, first, last, meshes)
        runs, cpu_s = runs + find.runs, cpu_s + find.cpu_s
        if find.outcome == CAUGHT:
            plain = hunt_apart(mutant, find.seed, find.seed, meshes, plain=True)
            cpu_s += plain.cpu_s
            if plain.outcome == CAUGHT:
                fails_plain.append(plain)
                first = find.seed + 1
                if first <= last:
                    continue
                find = replace(find, outcome=MISSED, claim="", message="")
        return Verdict(mutant, replace(find, runs=runs, cpu_s=cpu_s), tuple(fails_plain))


def hunt_apart(mutant: Mutant, first: int, last: int, meshes: Path, *, plain: bool = False) -> Find:
    """`hunting.hunt` in a fresh process. A process that dies has found nothing: `broken`."""
    program = [sys.executable, "-m", f"{__package__}.hunting", mutant.name, str(first), str(last)]
    program += ["--meshes", str(meshes)] + ["--plain"] * plain
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        why = (done.stderr.splitlines() or [f"exit code {done.returncode}"])[-1]
        return Find(BROKEN, first, 0, "", why)
    return Find(**json.loads(lines[-1]))
