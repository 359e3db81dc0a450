"""Caches: what applications keep for a while on this device. Guide: docs/data/cache.md."""

from typing import Any

import click

from ..node.wording import size_text
from .options import Settings, json_option, open_node, pass_settings
from .output import emit, note, say, table, visible


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def cache(context: click.Context) -> None:
    """Show or throw away what applications keep for a while."""
    if context.invoked_subcommand is None:
        context.invoke(stats)


@cache.command()
@json_option
@pass_settings
def stats(settings: Settings) -> None:
    """How much the caches hold, and how often they helped.

    Hits and misses are counted from the start of the node.
    `covey settings set cache_mib=N` says how much they may. Needs the extra `covey[cache]`.
    """
    with open_node(settings) as node:
        found = node.call("cache_stats", {})
    if settings.json:
        emit(found)
        return
    rows = [
        (visible(one["name"]), one["values"], size_text(one["bytes"]), one["hits"], one["misses"])
        for one in found["caches"]
    ]
    if rows:
        table(("cache", "values", "takes", "hits", "misses"), rows)
    say(f"{size_text(found['bytes'])} of {size_text(found['bytes_max'])}, {found['kept']}")
    _show_dropped(found)


@cache.command()
@click.argument("name", required=False, metavar="[NAME]")
@json_option
@pass_settings
def clear(settings: Settings, name: str | None) -> None:
    """Throw away one cache, or all of them with their files.

    Nothing is lost that applications cannot make again. All are thrown away without the extra, too.
    """
    with open_node(settings) as node:
        done = node.call("cache_clear", {"name": name})
    if settings.json:
        emit(done)
    elif name is None:
        say("all caches were thrown away")
    else:
        say(f"{done['values']} values of {visible(name)} were thrown away")


def _show_dropped(found: dict[str, Any]) -> None:
    told = [
        f"{found[kind]} {words}"
        for kind, words in (
            ("expired", "reached their time"),
            ("evicted", "made room"),
            ("unreadable", "did not open"),
            ("failed", "calls met a fault of the disk"),
        )
        if found[kind]
    ]
    if told:
        note(", ".join(told))
