"""SQL: questions over collections, answered in memory. Guide: docs/data/analytics.md."""

import csv
import io
import sys
from typing import Any

import click

from .json_text import read_json
from .options import Settings, json_option, open_node, pass_settings
from .output import emit, note, on_terminal, pretty, table, visible


@click.command()
@click.argument("query", metavar="QUERY|-")
@click.argument("values", nargs=-1, metavar="[VALUE …]")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values, with a header.")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=10_000,
    show_default=True,
    metavar="N",
    help="At most so many rows.",
)
@json_option
@pass_settings
def sql(settings: Settings, query: str, values: tuple[str, ...], as_csv: bool, limit: int) -> None:
    """Ask by SQL: one SELECT over collections.

    A table is a collection: `SELECT count(*) FROM memory.facts`. Its columns are id, privacy,
    device, time, value (the whole record, JSON) and its fields; `DESCRIBE memory.facts` shows
    them. Each VALUE stands for one `?`: JSON if it reads as JSON, else text. With `-` the query is
    read from standard input. SQL changes nothing. Needs the extra `covey[analytics]`.
    """
    if as_csv and settings.json:
        raise click.UsageError("--csv and --json: give one of them")
    if query == "-":
        query = _from_input()
    params = {"query": query, "parameters": [_value(text) for text in values], "limit": limit}
    with open_node(settings) as node:
        found = node.call("sql", params)
    if settings.json:
        emit(found)
        return
    if as_csv:
        click.echo(_csv(found), color=True)  # Or what looks like a colour would be left out.
    else:
        headers = [visible(column) for column in found["columns"]]
        table(headers, [[_cell(value) for value in row] for row in found["rows"]])
    if not found["whole"]:
        note("there is more: ask for less, or give a greater --limit")


def _from_input() -> str:
    """Raises UsageError."""
    if sys.stdin.isatty():
        note("the query, then Ctrl-D:")
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise click.UsageError("the query is not UTF-8 text") from None


def _value(text: str) -> Any:
    try:
        value = read_json(text)
    except ValueError:
        return text
    return value if isinstance(value, str | int | float | None) else text


def _csv(found: dict[str, Any]) -> str:
    rows = [found["columns"], *([_cell(value) for value in row] for row in found["rows"])]
    if on_terminal():
        rows = [["" if cell is None else visible(cell) for cell in row] for row in rows]
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(rows)
    return written.getvalue().removesuffix("\n")


def _cell(value: Any) -> Any:
    """Texts and numbers as they are; null is nothing, and the rest is JSON."""
    return value if value is None or type(value) in (str, int, float) else pretty(value, None)
