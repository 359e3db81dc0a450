"""Views: `covey views` lists what applications made of the records, and drops what nobody reads."""

import click

from .options import Settings, json_option, open_node, pass_settings
from .output import emit, note, table, visible


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def views(context: click.Context) -> None:
    """See the views that applications keep. Without a subcommand: list.

    A view is read by its application (docs/data/views.md).
    """
    if context.invoked_subcommand is None:
        context.invoke(list_views)


@views.command("list")
@json_option
@pass_settings
def list_views(settings: Settings) -> None:
    """List the views of this device.

    `skipped` counts records that a view could make nothing of, `behind` changes that it has not
    looked at yet; it does before it answers.
    """
    with open_node(settings) as node:
        result = node.call("views", {})
    if settings.json:
        emit(result)
        return
    rows = [
        (
            *(row["name"], row["version"], f"{row['database']}/{row['collection']}"),
            *(row["rows"], row["skipped"], row["behind"]),
        )
        for row in result["views"]
    ]
    if rows:
        table(("view", "version", "collection", "rows", "skipped", "behind"), rows)
    else:
        note("no views")


@views.command("drop")
@click.argument("name")
@json_option
@pass_settings
def drop_view(settings: Settings, name: str) -> None:
    """Remove a view and its rows. Records stay; an application can make it anew."""
    with open_node(settings) as node:
        result = node.call("view_drop", {"name": name})
    if settings.json:
        emit(result)
    else:
        note(f"dropped {visible(name)}")
