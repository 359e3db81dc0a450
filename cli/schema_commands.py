"""Schemas: `covey schema` shows, installs, checks and migrates what holds for collections.

A schema says what records may be, and how older ones become newer ones. Files hold definitions as
TOML or JSON; functions of an application run in the application alone (docs/data/schemas.md).
"""

import os
from typing import Any

import click

from .options import Settings, json_option, limit_option, open_node, pass_settings
from .output import emit, note, pretty, say, table, visible

FILE_BYTES_MAX = 1_048_576


def _backup_options(command: Any) -> Any:
    command = click.option(
        "--no-backup", is_flag=True, help="Migrate without a backup made before."
    )(command)
    return click.option(
        "--backup", metavar="FILE", help="Make the backup there, not beside the home."
    )(command)


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def schema(context: click.Context) -> None:
    """See and change what holds for the records of collections. Without a subcommand: list."""
    if context.invoked_subcommand is None:
        context.invoke(list_schemas)


@schema.command("list")
@json_option
@pass_settings
def list_schemas(settings: Settings) -> None:
    """List the schemas of this device, and who has another version."""
    with open_node(settings) as node:
        found = node.call("schemas", {})
    if settings.json:
        emit(found)
        return
    rows = [
        (
            row["name"],
            row["kind"],
            row["database"],
            str(row["version"]),
            _standing(row),
            ", ".join(f"{one['name']} {one['version']}" for one in row["devices"]),
        )
        for row in found["schemas"]
    ]
    if rows:
        table(("schema", "kind", "database", "version", "records", "other devices"), rows)
    else:
        note("no schemas: `covey schema install FILE` adds one")


@schema.command("show")
@click.argument("name")
@json_option
@pass_settings
def show_schema(settings: Settings, name: str) -> None:
    """Show one schema with its definition."""
    with open_node(settings) as node:
        row = node.call("schema_show", {"name": name})
    if settings.json:
        emit(row)
        return
    say(f"{visible(row['name'])}, version {row['version']}, {_standing(row)}")
    for one in row["devices"]:
        say(f"{visible(one['name'])} has version {one['version']}, its records at {one['at']}")
    say(pretty(row["definition"], indent=2))


@schema.command("install")
@click.argument("file", metavar="FILE")
@click.option("--no-migrate", is_flag=True, help="Leave the records as they are for now.")
@_backup_options
@json_option
@pass_settings
def install_schema(
    settings: Settings, file: str, no_migrate: bool, backup: str | None, no_backup: bool
) -> None:
    """Install a schema, or another version of it, from a TOML or JSON file.

    Its records are brought to its version, after a backup. What does not fit it stays; `check`
    lists it.
    """
    if os.path.getsize(file) > FILE_BYTES_MAX:
        raise click.UsageError(
            f"{visible(file)}: more than {FILE_BYTES_MAX} bytes; is it a schema?"
        )
    with open(file, encoding="utf-8") as source:
        try:
            text = source.read()
        except UnicodeDecodeError:
            raise click.UsageError(f"{visible(file)}: not UTF-8") from None
    params = {
        "definition": text,
        "file": visible(file),
        "is_json": file.lower().endswith(".json"),
        "migrate": not no_migrate,
        "backup": _backup(backup, no_backup),
    }
    with open_node(settings) as node:
        done = node.call("schema_install", params)
    if settings.json:
        emit(done)
        return
    say(f"{visible(done['name'])} version {done['version']}: {_standing(done)}")
    if done["migrated"] is not None:
        _say_migrated(done["migrated"])
    for key in done["rules"]["for_an_admin"]:
        note(f"{visible(key)}: only an admin says how conflicts are decided (covey conflicts rule)")
    for key in done["rules"]["left"]:
        note(f"{visible(key)}: said otherwise already, and left so")


@schema.command("remove")
@click.argument("name")
@click.option("--records", is_flag=True, help="Delete its records too, on all devices.")
@json_option
@pass_settings
def remove_schema(settings: Settings, name: str, records: bool) -> None:
    """Let a schema hold no more on this device. Its records stay, and so does its history."""
    with open_node(settings) as node:
        done = node.call("schema_remove", {"name": name, "records": records})
    if settings.json:
        emit(done)
    else:
        say(f"{visible(name)} removed; {done['deleted']} records deleted")


@schema.command("check")
@click.argument("database", metavar="DB")
@limit_option
@json_option
@pass_settings
def check_records(settings: Settings, database: str, limit: int) -> None:
    """List the records of DB that do not fit their schema: where and why, not what.

    An older device may have written them, or they were there before. They are kept as they are.
    """
    with open_node(settings) as node:
        found = node.call("schema_check", {"database": database, "limit": limit})
    if settings.json:
        emit(found)
        return
    rows = [
        (f"{row['collection']}/{row['id']}", row["field"], row["why"]) for row in found["faults"]
    ]
    if rows:
        table(("record", "field", "why"), rows)
    more = ", and there may be more" if found["more"] else ""
    note(f"{found['records']} records looked at, {len(rows)} faults{more}")


@schema.command("migrate")
@click.argument("name")
@click.option("--to", type=click.IntRange(1), metavar="N", help="To this version, also an older.")
@_backup_options
@json_option
@pass_settings
def migrate_schema(
    settings: Settings, name: str, to: int | None, backup: str | None, no_backup: bool
) -> None:
    """Bring the records of a schema to its version, or to version N of it.

    A migration that was cut off goes on where it was. Records that an older device wrote since are
    brought up as well.
    """
    params = {"name": name, "to": to, "backup": _backup(backup, no_backup)}
    with open_node(settings) as node:
        done = node.call("schema_migrate", params)
    if settings.json:
        emit(done)
    else:
        _say_migrated(done)


@schema.command("history")
@click.argument("name", metavar="[NAME]", required=False)
@limit_option
@json_option
@pass_settings
def show_history(settings: Settings, name: str | None, limit: int) -> None:
    """Show what was done with a schema, or with all, on this device; the newest first."""
    with open_node(settings) as node:
        found = node.call("schema_history", {"name": name, "limit": limit})
    if settings.json:
        emit(found)
        return
    rows = [(row["time"], row["schema"], row["action"], _detail(row)) for row in found["history"]]
    if rows:
        table(("time", "schema", "what", "detail"), rows)
    else:
        note("no history")


def _standing(row: dict[str, Any]) -> str:
    at = f"records at {row['at']}"
    if row["running"] is not None:
        return f"{at}, step {row['running']} under way: covey schema migrate {visible(row['name'])}"
    if row["at"] < row["version"]:
        return f"{at}, to be migrated"
    return at


def _say_migrated(done: dict[str, Any]) -> None:
    for step in done["steps"]:
        say(f"step {step['step']}: {step['changed']} records changed")
    if done["caught_up"]:
        say(f"{done['caught_up']} records of older devices brought up")
    say(f"records at version {done['to']}")
    if done["backup"] is not None:
        note(f"the backup made before: {visible(done['backup'])}")


def _detail(row: dict[str, Any]) -> str:
    hidden = ("time", "schema", "action", "checksum")
    return "  ".join(f"{key} {row[key]}" for key in row if key not in hidden)


def _backup(backup: str | None, no_backup: bool) -> str | bool | None:
    if backup is not None and no_backup:
        raise click.UsageError("--backup and --no-backup: give one of them")
    return False if no_backup else None if backup is None else os.path.abspath(backup)
