"""Databases: `covey db` lists, creates and shows them.

A database also comes into being with its first `put`; `create` is for giving it a policy first.
"""

import click

from .options import Settings, json_option, open_node, pass_settings
from .output import emit, say, table, visible


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def db(context: click.Context) -> None:
    """List, create and show databases. Without a subcommand: list."""
    if context.invoked_subcommand is None:
        context.invoke(list_databases)


@db.command("list")
@json_option
@pass_settings
def list_databases(settings: Settings) -> None:
    """List the databases of this device."""
    with open_node(settings) as node:
        result = node.call("databases", {})
    if settings.json:
        emit(result)
        return
    rows = [(row["name"], row["policy"], row["records"]) for row in result["databases"]]
    if rows:
        table(("database", "policy", "records"), rows)
    else:
        say("no databases yet: the first `covey put` makes one")


@db.command("create")
@click.argument("name")
@click.option("--policy", metavar="P", help="Its mode, as in `covey policy set`, on all devices.")
@json_option
@pass_settings
def create_database(settings: Settings, name: str, policy: str | None) -> None:
    """Create a database."""
    with open_node(settings) as node:
        result = node.call("database_create", {"name": name, "policy": policy})
    if settings.json:
        emit(result)
    else:
        say(f"created {visible(name)}")


@db.command("show")
@click.argument("name")
@json_option
@pass_settings
def show_database(settings: Settings, name: str) -> None:
    """Show one database."""
    with open_node(settings) as node:
        result = node.call("database_show", {"name": name})
    if settings.json:
        emit(result)
        return
    for field, value in result.items():
        say(f"{visible(field):<10}{visible(value)}")
