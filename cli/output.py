"""Output: one JSON document for programs, or tables and sentences for people.

Names and records may come from other devices, so whatever a person sees passes through `visible`
or `pretty`: control, bidirectional and zero-width characters are shown as escapes and reach no
terminal. JSON for programs is plain ASCII. Answers go to standard output, messages to standard
error. Tables are drawn with rich on a terminal; elsewhere they are columns of plain text.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import click


def emit(document: Any) -> None:
    """Print one JSON document on one line, in ASCII."""
    click.echo(json.dumps(document, separators=(", ", ": ")))


def say(line: str = "") -> None:
    """Print one line of the answer for people. Foreign text in it is already `visible`."""
    click.echo(line)


def note(line: str) -> None:
    """Print one line that is no part of the answer, on standard error."""
    click.echo(line, err=True)


def visible(text: object) -> str:
    """`text` with everything that does not print shown as an escape, on one line."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown
    )


def pretty(document: Any, indent: int | None = 2) -> str:
    """`document` as JSON for people: letters as they are, whatever does not print escaped."""
    text = json.dumps(document, ensure_ascii=False, indent=indent)
    if text.isprintable():
        return text
    return "".join(c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] for c in text)


def on_terminal() -> bool:
    """Is the answer read on a terminal?"""
    return sys.stdout.isatty()


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headers. Every cell is made `visible`."""
    cells = [[visible("" if cell is None else cell) for cell in row] for row in rows]
    if on_terminal():
        _rich_table(headers, cells)
        return
    lines = [list(headers), *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def _rich_table(headers: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for header in headers:
        drawn.add_column(header, overflow="fold")
    for row in cells:
        # A Text is shown as it is: a device named "[red]" is no colour.
        drawn.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(drawn)


class Progress(Protocol):
    """How far something is. `done` and `total` in the same unit; total None if not known."""

    def at(self, done: int, total: int | None) -> None: ...


class _NoProgress:
    def at(self, done: int, total: int | None) -> None:
        return None


@contextmanager
def progress(title: str, *, in_bytes: bool) -> Iterator[Progress]:
    """A bar on standard error while the block runs; nothing if that is no terminal."""
    if not sys.stderr.isatty():
        yield _NoProgress()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    amount = DownloadColumn() if in_bytes else MofNCompleteColumn()
    console = Console(stderr=True)
    columns = (TextColumn(title, markup=False), BarColumn(), amount, TimeRemainingColumn())
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=None)

        class _Bar:
            def at(self, done: int, total: int | None) -> None:
                bars.update(task, completed=done, total=total)

        yield _Bar()
