"""Storage: what takes room in this home, how long records stay, and tidying up."""

from typing import Any

import click

from ..node.wording import size_text
from .options import Settings, json_option, open_node, pass_settings
from .output import emit, say, table, visible


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def storage(context: click.Context) -> None:
    """Show what takes room here, and what could be freed."""
    if context.invoked_subcommand is None:
        context.invoke(report)


@storage.command()
@json_option
@pass_settings
def report(settings: Settings) -> None:
    """Bytes by database and collection, of history, blobs and full text."""
    with open_node(settings) as node:
        found = node.call("storage", {})
    if settings.json:
        emit(found)
        return
    _show_collections(found["collections"])
    store = found["store"]
    rows = [
        ("history of " + (row["database"] or "the mesh"), size_text(row["bytes"]))
        for row in found["history"]
    ]
    rows += [
        ("full text", size_text(store["text"])),
        ("indexes and the rest", size_text(store["rest"] + store["dictionaries"])),
        ("free pages", size_text(store["free"])),
        ("the store as a whole", size_text(store["bytes"])),
        ("blobs, beside it", size_text(found["blobs"])),
        ("caches of applications", size_text(found["caches"])),
    ]
    table(("what", "takes"), rows)
    for rule in found["rules"]:
        say(_rule(rule))
    _show_could_free(found["could_free"])


@storage.command()
@click.argument("database", metavar="DB")
@click.argument("collection")
@click.option("--days", type=int, metavar="N", help="Delete records N days after their change.")
@click.option("--expires", metavar="F", help="Delete a record at the time in its field F.")
@click.option("--warm", type=int, metavar="N", help="Pack documents after N days. [default: 30]")
@click.option("--cold", type=int, metavar="N", help="Pack them tighter after N. [default: 180]")
@click.option("--withdraw", is_flag=True, help="Forget what was said of this collection.")
@json_option
@pass_settings
def keep(
    settings: Settings,
    database: str,
    collection: str,
    days: int | None,
    expires: str | None,
    warm: int | None,
    cold: int | None,
    withdraw: bool,
) -> None:
    """Say how long records stay and when they are packed, on this device.

    It replaces what was said before. A record that reached its time is deleted on all devices.
    """
    said = {"days": days, "expires": expires, "warm": warm, "cold": cold}
    if withdraw and any(value is not None for value in said.values()):
        raise click.UsageError("--withdraw: forgets the whole rule, so give nothing else")
    params = {"database": database, "collection": collection, "withdraw": withdraw, **said}
    with open_node(settings) as node:
        done = node.call("storage_keep", params)
    if settings.json:
        emit(done)
    elif withdraw:
        say("forgotten" if done["withdrawn"] else "nothing was said of it")
    else:
        say(_rule(done))


@storage.command()
@json_option
@pass_settings
def tidy(settings: Settings) -> None:
    """Delete what has reached its time and pack what is old, now."""
    with open_node(settings) as node:
        done = node.call("storage_tidy", {})
    if settings.json:
        emit(done)
        return
    say(f"{done['expired']} records reached their time and were deleted")
    if done["refused"]:
        say(f"{done['refused']} more may only be deleted by another device")
    say(
        f"{done['packed']} documents packed: {size_text(done['before'])}"
        f" are {size_text(done['after'])} now"
    )


def _show_collections(collections: list[dict[str, Any]]) -> None:
    if not collections:
        say("no records yet")
        return
    rows = [
        (
            visible(row["database"]),
            visible(row["collection"]),
            row["records"],
            row["deleted"],
            size_text(row["values"]),
            size_text(row["documents"]),
            f"{row['warm']} / {row['cold']}",
            f"{size_text(row['packed'])} of {size_text(row['packed_from'])}",
        )
        for row in collections
    ]
    head = ("database", "collection", "records", "deleted", "values", "documents", "warm / cold")
    table((*head, "packed"), rows)


def _show_could_free(could: dict[str, int]) -> None:
    if could["expired"] or could["packable"]:
        say(
            f"`covey storage tidy` would delete {could['expired']} records and pack"
            f" {could['packable']} documents ({size_text(could['packable_bytes'])})"
        )
    if could["free_pages"]:
        say(f"{size_text(could['free_pages'])} are free and used before the file grows")


def _rule(rule: dict[str, Any]) -> str:
    parts = []
    if rule["days"] is not None:
        parts.append(f"deleted {rule['days']} days after their last change")
    if rule["expires"] is not None:
        parts.append(f"deleted at the time in their field {visible(rule['expires'])}")
    parts.append(f"packed after {rule['warm']} days, tighter after {rule['cold']}")
    return f"{visible(rule['database'])}/{visible(rule['collection'])}: {'; '.join(parts)}"
