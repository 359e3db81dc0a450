"""What people see of `covey simulate`: the scenarios, the sums of some runs, and what to do next.

Names and violations may come from a plan that somebody else wrote, so they pass through `visible`.
"""

from typing import TYPE_CHECKING, Any

import click

from .output import emit, say, table, visible

if TYPE_CHECKING:
    from ..simulations.batch import Summary
    from ..simulations.report import Section

VIOLATIONS_SHOWN_MAX = 10


def show_scenarios(*, as_json: bool) -> None:
    """All scenarios by name, with what they are and how large."""
    from ..simulations.durations import duration
    from ..simulations.scenarios import SCENARIOS

    if as_json:
        rows = [
            {
                "name": scenario.name,
                "about": scenario.about,
                "nodes": scenario.nodes,
                "virtual_hours": scenario.hours,
                "operations": scenario.operations,
                "faults": list(scenario.faults),
            }
            for scenario in SCENARIOS.values()
        ]
        emit({"scenarios": rows})
        return
    table(
        ("scenario", "devices", "lasts", "operations", "about"),
        (
            (s.name, s.nodes, duration(s.hours * 3_600_000), s.operations, s.about)
            for s in SCENARIOS.values()
        ),
    )


def show_summary(summary: "Summary", scenario: str, *, coverage: bool) -> None:
    """The verdict, the first violations, and the numbers."""
    from ..simulations import report

    colour = "green" if summary.ok else "red"
    say(click.style(f"{visible(scenario)}, {report.verdict(summary)}", fg=colour, bold=True))
    for seed, violation in summary.violations[:VIOLATIONS_SHOWN_MAX]:
        say(f"  seed {seed}: {visible(violation)}")
    if summary.violation_count > VIOLATIONS_SHOWN_MAX:
        say(f"  and {summary.violation_count - VIOLATIONS_SHOWN_MAX} more")
    for section in report.sections(summary):
        _show_section(section)
    if coverage:
        _show_section(report.coverage_section(summary))
        never = report.never_met_section(summary)
        if never.rows:
            _show_section(never)


def show_facts(facts: dict[str, Any]) -> None:
    """Which files were written, and how to run a failure again."""
    if facts:
        say()
    if "timeline" in facts:
        say(f"The run is drawn in {visible(facts['timeline'])}")
    if "replay" not in facts:
        if "plan" in facts:
            say(f"The plan is in {visible(facts['plan'])}")
        return
    say(f"Seed {facts['failed_seed']} failed. To run it again:")
    say(f"  {visible(facts['replay'])}")
    if "shrunk" in facts:
        shrunk = facts["shrunk"]
        least = "" if shrunk["is_least"] else ", and there may be less"
        size = f"{_count(shrunk['steps'], 'step')} on {_count(shrunk['devices'], 'device')}"
        say(f"Shrunk to {size} in {_count(shrunk['runs'], 'run')}{least}:")
        for line in shrunk["story"]:
            say(f"  {visible(line)}")
        if shrunk["steps"] > len(shrunk["story"]):
            say(f"  and {shrunk['steps'] - len(shrunk['story'])} more")
        say("To run that:")
        say(f"  {visible(shrunk['replay'])}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _show_section(section: "Section") -> None:
    say()
    if not any(section.heads):
        width = max(len(row[0]) for row in section.rows)
        for name, value in section.rows:
            say(f"  {name:{width}}  {value}")
        return
    say(section.title)
    columns = list(zip(section.heads, *section.rows, strict=True))
    for at, column in enumerate(columns):
        if at and section.is_of_numbers(at):
            width = max(map(len, column))
            columns[at] = tuple(cell.rjust(width) for cell in column)
    heads, *rows = zip(*columns, strict=True)
    table(heads, rows)
