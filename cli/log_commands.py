"""Log: what happened, in words; whether the log is whole; how much of it is kept.

Events hold names that other devices chose, so a line is made `visible` as a whole before it is
shown. `verify` ends with exit code 6 if the log was changed.
"""

from contextlib import closing
from typing import Any

import click

from ..node.wording import words
from .errors import LogChangedError, NotSoError
from .options import Settings, json_option, open_node, pass_settings
from .output import emit, note, say, visible


@click.group(invoke_without_command=True)
@click.option("--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@json_option
@click.pass_context
def log(context: click.Context, follow: bool) -> None:
    """Show what happened, oldest first.

    Every sync and every change of trust is in the log, and no content of a record.
    """
    if context.invoked_subcommand is not None:
        return
    settings = context.ensure_object(Settings)
    with (
        open_node(settings, online=follow) as node,
        closing(node.stream("log", {"follow": follow})) as lines,
    ):
        for line in lines:
            emit(line) if settings.json else say(event_line(line))


@log.command("verify")
@click.option("--head", metavar="HEX", help="Also: the log had this head once …")
@click.option("--at", type=click.IntRange(0), metavar="N", help="… when it had N events.")
@json_option
@pass_settings
def verify(settings: Settings, head: str | None, at: int | None) -> None:
    """Check that no event was changed, removed or moved. Exit code 6 if one was.

    Shows the number of events and the head of the chain. Write both down elsewhere: later, `--head`
    and `--at` tell whether the log still holds what it held then. Without that, whoever can
    unlock this home could have written the whole log anew.
    """
    if (head is None) != (at is None):
        raise click.UsageError("--head and --at: give both, as an earlier `verify` showed them")
    with open_node(settings) as node:
        found = node.call("log_verify", {"head": head, "at": at})
    if settings.json:
        emit(found)
    elif found["ok"]:
        _show(found, at)
    if found["ok"]:
        return
    if found.get("passed", False) is None:
        raise NotSoError(found["problem"])
    raise LogChangedError(found["problem"])


@log.command("keep")
@click.option("--days", type=click.IntRange(0, 36_500), metavar="N", help="0: of any age.")
@click.option(
    "--events", type=click.IntRange(100, 10_000_000), metavar="N", help="At most so many."
)
@json_option
@pass_settings
def keep(settings: Settings, days: int | None, events: int | None) -> None:
    """Set how much of the log is kept; without an option, show it.

    Older events go at once, and later with the first event of a day. What stays can be verified.
    The newest 100 stay whatever their age. Resolved conflicts are listed for as many days.
    """
    with open_node(settings) as node:
        kept = node.call("log_keep", {"days": days, "events": events})
    if settings.json:
        emit(kept)
    else:
        age = f"of the last {kept['days']:,} days" if kept["days"] else "of any age"
        say(f"{kept['events']:,} events {age}")


def event_line(event: dict[str, Any]) -> str:
    """One event on one line: its time, if it is known, and what happened, in words."""
    rest = dict(event)
    time = rest.pop("time", None)
    told = visible(words(rest.pop("event", "event"), rest))
    return told if time is None else f"{visible(time)}  {told}"


def _show(found: dict[str, Any], at: int | None) -> None:
    since = f", from {found['from']['time']} on" if found["from"] else ""
    say(f"{found['events']:,} events{since}: nothing was changed")
    if found["forgotten"]:
        note(f"the first {found['forgotten']:,} events are not kept any more")
    if at is not None:
        say(f"it still holds the {at:,} events it held then")
    say(f"at {found['at']}")
    say(f"head {found['head']}")
