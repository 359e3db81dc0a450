"""Plant every mutant and see whether the simulator finds it: `python -m covey.simulations.mutants`.

Each mutant is hunted in processes of its own, seed after seed from --first on, until a checker
objects at a seed that passes without it, or --seeds have been run. Ends with 1 if one was not
found.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .mutant import Mutant
from .registry import MUTANTS
from .verdicts import Verdict, judge

SEEDS = 2_000
MESSAGE_CHARACTERS = 100


def main() -> int:
    parser = argparse.ArgumentParser(prog="covey.simulations.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="these mutants only")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="at most so many for each")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="so many processes at a time")
    parser.add_argument("--list", action="store_true", help="only say what there is")
    chosen = parser.parse_args()
    unknown = sorted(set(chosen.names) - MUTANTS.keys())
    if unknown:
        parser.error(f"there is no mutant {', '.join(unknown)}; --list names them all")
    mutants = [MUTANTS[name] for name in chosen.names or MUTANTS]
    if chosen.list:
        for mutant in mutants:
            print(f"{mutant.name:38} {mutant.module:34} {mutant.about}")
        return 0
    verdicts: dict[str, Verdict] = {}
    for verdict in _judged(mutants, chosen.first, chosen.seeds, chosen.jobs):
        verdicts[verdict.mutant.name] = verdict
        print(_line(verdict), file=sys.stderr, flush=True)
    in_order = [verdicts[mutant.name] for mutant in mutants]
    show(in_order)
    return 0 if all(verdict.caught for verdict in in_order) else 1


def _judged(mutants: list[Mutant], first: int, seeds: int, jobs: int) -> Iterator[Verdict]:
    """Verdicts as they come in."""
    last = first + seeds - 1
    with tempfile.TemporaryDirectory(prefix="covey-meshes-") as folder:
        meshes = Path(folder)
        with ThreadPoolExecutor(jobs) as pool:
            under_way = [pool.submit(judge, each, first, last, meshes) for each in mutants]
            for done in as_completed(under_way):
                yield done.result()


def _line(verdict: Verdict) -> str:
    find = verdict.find
    at = f"{find.claim} at seed {find.seed}" if verdict.caught else find.outcome.upper()
    return f"{verdict.mutant.name}: {at} ({find.runs} runs, {find.cpu_s:.0f} s)"


def show(verdicts: list[Verdict]) -> None:
    """The table, and below it what was found without any bug planted."""
    table = Table(box=None, pad_edge=False)
    table.add_column("mutant", no_wrap=True)
    table.add_column("module", no_wrap=True)
    table.add_column("caught by", no_wrap=True)
    for title in ("seed", "runs", "CPU s"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("what the checker said")
    for verdict in verdicts:
        find = verdict.find
        table.add_row(
            verdict.mutant.name,
            verdict.mutant.module.removeprefix("covey."),
            find.claim if verdict.caught else f"NOT ({find.outcome})",
            str(find.seed),
            str(find.runs),
            f"{find.cpu_s:.0f}",
            find.message[:MESSAGE_CHARACTERS],
        )
    # Wide enough that nothing is cut when the output goes to a file.
    console = Console(width=max(Console().width, 190), highlight=False, markup=False)
    console.print(table)
    caught = sum(verdict.caught for verdict in verdicts)
    console.print(f"\n{caught} of {len(verdicts)} planted bugs were found.")
    for plain in sorted({(p.seed, p.message) for v in verdicts for p in v.fails_plain}):
        console.print(f"Seed {plain[0]} fails without any of them: {plain[1]}")


if __name__ == "__main__":
    sys.exit(main())
