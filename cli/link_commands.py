"""Links: `covey links` shows what a record links to, or what links to it.

A field links to a record by the value `{"link": "covey:COLLECTION/ID"}`, or because it was declared
to hold ids (docs/data/links.md). Declarations are of this device and change no record.
"""

from typing import Any

import click

from .options import Settings, json_option, open_node, pass_settings, record_arguments
from .output import emit, note, pretty, say, table, visible


@click.command()
@record_arguments
@click.option(
    "--depth",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    metavar="N",
    help="Follow the links of what is found as well, so many times in all.",
)
@click.option("--back", is_flag=True, help="Show what links to the record instead.")
@click.option(
    "--type", "types", multiple=True, metavar="T", help="Only links of this type. May be repeated."
)
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=100,
    show_default=True,
    metavar="N",
    help="At most so many records.",
)
@json_option
@pass_settings
def links(
    settings: Settings,
    database: str,
    collection: str,
    record_id: str,
    depth: int,
    back: bool,
    types: tuple[str, ...],
    limit: int,
) -> None:
    """Show what a record links to, nearest first. Exit code 1 if there is no such record.

    A field links by the value '{"link": "covey:COLLECTION/ID"}', or for another database
    "covey:DB/COLLECTION/ID"; write ~1 for a slash in a name, and ~0 for a tilde. The type of a link
    is the name of its field, or the path to it, as meta.about. A link to a record that is not here
    is shown as dangling: it may be deleted, or not have arrived.
    """
    params = {
        "database": database,
        "collection": collection,
        "id": record_id,
        "depth": depth,
        "back": back,
        "types": list(types),
        "limit": limit,
    }
    with open_node(settings) as node:
        result = node.call("links", params)
    if settings.json:
        emit(result)
        return
    if not result["links"]:
        note("nothing links to it" if back else "it links to nothing")
        return
    table(("depth", "type", "from", "record"), [_line(row, database) for row in result["links"]])
    if not result["complete"]:
        note(f"there is more than {limit}: see --limit")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def link(context: click.Context) -> None:
    """Say which fields link to other records. Without a subcommand: list.

    The texts in such a field, or in a list in it, count as links on this device.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_fields)


@link.command("list")
@json_option
@pass_settings
def list_fields(settings: Settings) -> None:
    """List the fields that were declared."""
    with open_node(settings) as node:
        result = node.call("link_fields", {})
    if settings.json:
        emit(result)
        return
    rows = [
        (f"{row['database']}/{row['collection']}", row["field"], _place(row))
        for row in result["fields"]
    ]
    if rows:
        table(("collection", "field", "links to"), rows)
    else:
        note("no fields declared")


@link.command("add")
@click.argument("database", metavar="DB")
@click.argument("collection")
@click.argument("field")
@click.argument("to_collection", metavar="TO_COLLECTION")
@click.option("--to-db", "to_database", metavar="DB", help="The database, if it is another one.")
@json_option
@pass_settings
def add_field(
    settings: Settings,
    database: str,
    collection: str,
    field: str,
    to_collection: str,
    to_database: str | None,
) -> None:
    """Let the ids in FIELD count as links to records of TO_COLLECTION."""
    params = {"database": database, "collection": collection, "field": field}
    more = {"to_collection": to_collection, "to_database": to_database}
    with open_node(settings) as node:
        result = node.call("link_declare", {**params, **more})
    if settings.json:
        emit(result)
    elif result["declared"]:
        say(f"{visible(field)} links to {visible(to_collection)}")
    else:
        note("it was declared already")


@link.command("remove")
@click.argument("database", metavar="DB")
@click.argument("collection")
@click.argument("field")
@json_option
@pass_settings
def remove_field(settings: Settings, database: str, collection: str, field: str) -> None:
    """Let the texts in FIELD be texts again. Exit code 1 if they are."""
    params = {"database": database, "collection": collection, "field": field}
    with open_node(settings) as node:
        result = node.call("link_undeclare", params)
    if settings.json:
        emit(result)
    else:
        note(f"{visible(field)} no longer links")


def _line(row: dict[str, Any], database: str) -> tuple[object, ...]:
    name = _name(row, database)
    if row["record"] is None:
        shown = f"{name}  (dangling: not here)"
    else:
        shown = f"{name}  {pretty(row['record'], None)}"
    return row["depth"], row["type"], _name(row["from"], database), shown


def _name(target: dict[str, Any], database: str) -> str:
    name = f"{target['collection']}/{target['id']}"
    return name if target["database"] == database else f"{target['database']}/{name}"


def _place(row: dict[str, Any]) -> str:
    return f"{row['to_database']}/{row['to_collection']}"
