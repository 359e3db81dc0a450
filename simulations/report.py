"""Report: what came of some runs, as one document for programs and as sections for people.

A section is a title, the heads of columns and rows of cells; whoever shows it decides how. The
document is that of `covey simulate --json` (docs/cli.md): fields may be added, none changes.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .batch import Summary
from .doings import FAULTS
from .doings.fault import PHASES
from .durations import duration
from .run import NO_SESSION

VIOLATIONS_SHOWN_MAX = 10
COLUMNS = (NO_SESSION, *PHASES)
Cells = Counter[tuple[str, str]]
"""(kind of fault, phase of a session) -> how often they met."""


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the report; without heads, a list of names and values."""

    title: str
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def is_of_numbers(self, column: int) -> bool:
        """Whether a column is better read along its right side."""
        return all(not row[column].strip("0123456789,.%-") for row in self.rows)


def verdict(summary: Summary) -> str:
    """One line: how many runs, and whether anything was violated."""
    first, last = summary.seeds[0], summary.seeds[-1]
    runs = f"seed {first}" if summary.runs == 1 else f"{summary.runs} seeds, {first} to {last}"
    if summary.ok:
        return f"{runs}: nothing violated"
    failed = len(summary.failed_seeds)
    of_them = "" if summary.runs == 1 else f" under {failed} of them"
    plural = "" if summary.violation_count == 1 else "s"
    return f"{runs}: {summary.violation_count} violation{plural}{of_them}"


def sections(summary: Summary) -> list[Section]:
    """The numbers of the report."""
    found = [Section("what happened", ("", ""), facts(summary))]
    if summary.bytes_by_kind:
        found.append(
            Section("bytes by kind of message", ("kind", "bytes", "share"), bytes_rows(summary))
        )
    if summary.high_water:
        found.append(
            Section("high-water marks", ("of what", "most", "device"), high_water_rows(summary))
        )
    return found


def coverage_section(summary: Summary, *, met_only: bool = False) -> Section:
    """How often each kind of fault met each phase of a session; `-` where never.

    `met_only`: without the kinds that met none.
    """
    met = {kind for kind, _ in +summary.coverage}
    kinds = [kind for kind in FAULTS if not met_only or kind in met]
    rows: list[tuple[str, ...]] = [
        (kind, *(f"{summary.coverage[kind, phase] or '-'}" for phase in COLUMNS)) for kind in kinds
    ]
    return Section("faults by what a session was doing", ("", *COLUMNS), rows)


def empty_cells(coverage: Cells, kinds: Iterable[str] = FAULTS) -> list[tuple[str, str]]:
    """Kinds of fault and phases of a session that never met."""
    return [(kind, phase) for kind in kinds for phase in COLUMNS if not coverage[kind, phase]]


def never_met_section(summary: Summary) -> Section:
    """The empty cells by name: for each kind that the plans could hold, the phases it missed."""
    missed: dict[str, list[str]] = {}
    for kind, phase in empty_cells(summary.coverage, _planned(summary)):
        missed.setdefault(kind, []).append(phase)
    rows: list[tuple[str, ...]] = [(kind, ", ".join(phases)) for kind, phases in missed.items()]
    return Section("never met", ("kind", "phases"), rows)


def _planned(summary: Summary) -> list[str]:
    """Kinds of fault that some of the plans held: of the others nothing can be expected."""
    return [kind for kind in FAULTS if kind in summary.faults]


def facts(summary: Summary) -> list[tuple[str, ...]]:
    """Names and values."""
    settled = ", ".join(
        f"p{percent} {duration(ms)}" if percent < 100 else f"longest {duration(ms)}"
        for percent, ms in summary.settle_percentiles().items()
    )
    if summary.runs == 1 and summary.settled_ms:
        settled = f"{duration(summary.settled_ms[0])} after the last fault"
    if summary.unsettled and not summary.ok:
        never = "never" if summary.runs == 1 else f"{summary.unsettled} never"
        settled = f"{settled}, {never}" if settled else never
    writes = f"{summary.writes:,} tried, {summary.acknowledged:,} acknowledged"
    rows: list[tuple[str, ...]] = [
        ("virtual time", duration(summary.virtual_ms)),
        *([("settled", settled)] if settled else []),
        ("writes", f"{writes}, {summary.refused:,} refused"),
        ("fields written on two sides", f"{summary.conflicts:,}"),
        ("messages", f"{summary.messages:,} of {summary.message_bytes:,} bytes"),
        ("turns of the loop", f"{summary.events:,}"),
        ("processor time", f"{summary.cpu_s:.2f} s"),
    ]
    if summary.runs > 1:
        rows.append(("seeds per hour of a core", f"{summary.seeds_per_cpu_hour:,.0f}"))
    return rows


def bytes_rows(summary: Summary) -> list[tuple[str, ...]]:
    """Kinds of session messages, the largest first, with their share of all."""
    total = sum(summary.bytes_by_kind.values()) or 1
    return [
        (kind, f"{count:,}", f"{count / total:.1%}")
        for kind, count in summary.bytes_by_kind.most_common()
    ]


def high_water_rows(summary: Summary) -> list[tuple[str, ...]]:
    many = summary.runs > 1
    return [
        (what, f"{most:,}", f"{device}, seed {seed}" if many else device)
        for what, (most, device, seed) in sorted(summary.high_water.items())
    ]


def document(summary: Summary, scenario: str) -> dict[str, Any]:
    """What `--json` shows."""
    percentiles = summary.settle_percentiles()
    return {
        "scenario": scenario,
        "seeds": summary.runs,
        "first_seed": summary.seeds[0] if summary.seeds else None,
        "last_seed": summary.seeds[-1] if summary.seeds else None,
        "violations": [
            {
                "seed": seed,
                "claim": violation.claim,
                "at_ms": violation.at_ms,
                "device": violation.device,
                "message": violation.message,
            }
            for seed, violation in summary.violations
        ],
        "violation_count": summary.violation_count,
        "failed_seeds": summary.failed_seeds,
        "events": summary.events,
        "virtual_seconds": summary.virtual_ms / 1_000,
        "settled_ms": {f"p{percent}": ms for percent, ms in percentiles.items()},
        "never_settled": summary.unsettled,
        "messages": summary.messages,
        "message_bytes": summary.message_bytes,
        "bytes_by_kind": dict(summary.bytes_by_kind),
        "writes": summary.writes,
        "acknowledged": summary.acknowledged,
        "refused": summary.refused,
        "conflicts": summary.conflicts,
        "high_water": {
            what: {"most": most, "device": device, "seed": seed}
            for what, (most, device, seed) in sorted(summary.high_water.items())
        },
        "coverage": _coverage_document(summary),
        "never_met": [list(cell) for cell in empty_cells(summary.coverage, _planned(summary))],
        "cpu_seconds": round(summary.cpu_s, 3),
        "seeds_per_cpu_hour": round(summary.seeds_per_cpu_hour),
    }


def _coverage_document(summary: Summary) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (kind, phase), count in sorted(summary.coverage.items()):
        found.setdefault(kind, {})[phase] = count
    return found
