"""Records: put, get, delete, move, ls.

A record comes as a JSON object from an argument or from standard input; what does not parse is
refused here with the place of the fault and without its content. Reading and writing is the
node's: see docs/cli.md for what each method gives.
"""

import sys
from typing import Any

import click

from .json_text import read_json
from .options import (
    PRIVACY_LEVELS,
    Settings,
    json_option,
    limit_option,
    open_node,
    pass_settings,
    record_arguments,
    timeout_option,
)
from .output import emit, note, pretty, say, visible
from .record_lines import show_records


@click.command()
@click.argument("database", metavar="DB")
@click.argument("collection")
@click.argument("rest", nargs=-1, metavar="[ID] [JSON|-]")
@click.option(
    "--privacy",
    type=click.Choice(PRIVACY_LEVELS),
    help="Who may hold it; decided when it is born, and changed by `move`. Else as its tags say, or"
    " private.",
)
@click.option("--tag", "tags", multiple=True, metavar="T", help="Add a tag to it. May be repeated.")
@click.option(
    "--merge/--replace",
    default=True,
    help="Keep the fields that are not given (as without either), or drop them.",
)
@json_option
@pass_settings
def put(
    settings: Settings,
    database: str,
    collection: str,
    rest: tuple[str, ...],
    privacy: str | None,
    tags: tuple[str, ...],
    merge: bool,
) -> None:
    """Write one record. Without ID, one is made.

    The record is a JSON object, given as the last argument or, if that is missing or `-`, on
    standard input. A single argument after COLLECTION that is a JSON object is the record.

    The tags of a record are the texts in its field "tags". A rule of the mesh may name the least
    private level of a tag (`covey policy`): to write it to a wider one is refused with exit code 3.
    """
    record_id, text = _id_and_text(rest)
    value = parse_record(_standard_input() if text is None else text)
    params = {
        "database": database,
        "collection": collection,
        "id": record_id,
        "value": value,
        "privacy": privacy,
        "replace": not merge,
        "tags": list(tags),
    }
    with open_node(settings) as node:
        result = node.call("put", params)
    if settings.json:
        emit(result)
    else:
        say(visible(result["id"]))


@click.command()
@record_arguments
@click.option(
    "--meta",
    is_flag=True,
    help="Add who wrote it and when, its privacy, the 30 days of its birth, conflicts.",
)
@timeout_option(
    3,
    may_be_zero=True,
    help="Seconds to wait for other devices if it is not here; 0 asks nobody.",
)
@click.option(
    "--whole", is_flag=True, help="Fetch what stayed behind where only a summary is here."
)
@click.option("--unseal", is_flag=True, help="Open fields that their schema says are encrypted.")
@json_option
@click.option("--at", metavar="TIME", help="As it was then, such as 2026-01-31T12:00:00Z.")
@pass_settings
def get(
    settings: Settings,
    database: str,
    collection: str,
    record_id: str,
    meta: bool,
    timeout_s: float,
    whole: bool,
    unseal: bool,
    at: str | None,
) -> None:
    """Show one record. Exit code 1 if there is none.

    A record that is not on this device is asked for from those that are connected, shown as one
    of them has it, and not kept: `covey fetch` brings a database here. With --at nobody is asked.
    """
    if at is not None and (meta or whole):
        told = "`covey history` tells who wrote, and what stayed behind is not kept as it was"
        raise click.UsageError(f"--meta and --whole do not go with --at: {told}")
    params = {
        "database": database,
        "collection": collection,
        "id": record_id,
        "meta": meta,
        "timeout_s": timeout_s,
        "whole": whole,
        "unseal": unseal,
    }
    with open_node(settings) as node:
        if at is not None:
            record = node.call("get_at", {**params, "at": at})
            return emit(record) if settings.json else say(pretty(record))
        record = node.call("get", params)
    found = record.get("_meta", {})
    if not found.get("here", True):
        note(f"not on this device: shown as {visible(found['answered_by'])} has it, and not kept")
    for name in found.get("behind", ()):
        note(f"{visible(name)} stayed behind: `covey get --whole` fetches it")
    if not meta:
        record.pop("_meta", None)
    if settings.json:
        emit(record)
    else:
        say(pretty(record))


@click.command()
@record_arguments
@json_option
@pass_settings
def delete(settings: Settings, database: str, collection: str, record_id: str) -> None:
    """Delete one record, here and on every other device. Exit code 1 if there is none."""
    params = {"database": database, "collection": collection, "id": record_id}
    with open_node(settings) as node:
        result = node.call("delete", params)
    if settings.json:
        emit(result)
    else:
        note(f"deleted {visible(collection)}/{visible(record_id)}")


@click.command()
@record_arguments
@click.option(
    "--privacy", required=True, type=click.Choice(PRIVACY_LEVELS), help="Who may hold it from now."
)
@json_option
@pass_settings
def move(settings: Settings, database: str, collection: str, record_id: str, privacy: str) -> None:
    """Move one record to another privacy level. Exit code 1 if there is none.

    It is deleted where it was and written anew, in one transaction here. What it was before stays
    on the devices that had it, which may keep copies under the keys of the old level. Somebody who
    edits it there before the news arrives keeps it alive there: then there are two.
    """
    params = {"database": database, "collection": collection, "id": record_id, "privacy": privacy}
    with open_node(settings) as node:
        result = node.call("move", params)
    if settings.json:
        emit(result)
        return
    name = f"{visible(collection)}/{visible(record_id)}"
    if not result["moved"]:
        note(f"{name} is {visible(privacy)} already")
        return
    note(f"moved {name} from {visible(result['from'])} to {visible(privacy)}")
    note(visible(result["remains"]))


@click.command()
@click.argument("database", metavar="DB")
@click.argument("collection", required=False)
@limit_option
@json_option
@pass_settings
def ls(settings: Settings, database: str, collection: str | None, limit: int) -> None:
    """List the records of a database or of one collection."""
    params = {"database": database, "collection": collection, "limit": limit}
    with open_node(settings) as node:
        result = node.call("list", params)
    show_records(settings, result, name_collection=collection is None)


def parse_record(text: str) -> dict[str, Any]:
    """The JSON object in `text`. Raises UsageError that tells the place and not the content."""
    try:
        value = read_json(text)
    except ValueError as error:
        raise click.UsageError(f"the record is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise click.UsageError('a record is a JSON object, such as \'{"text": "hello"}\'')
    return value


def _id_and_text(rest: tuple[str, ...]) -> tuple[str | None, str | None]:
    """(id, JSON text) from what follows COLLECTION; no text means standard input."""
    match rest:
        case [] | ["-"]:
            return None, None
        case [only] if only.lstrip().startswith("{"):
            return None, only
        case [record_id] | [record_id, "-"]:
            return record_id, None
        case [record_id, text]:
            return record_id, text
        case _:
            raise click.UsageError("too many arguments: expected [ID] [JSON|-]; quote the JSON")


def _standard_input() -> str:
    if sys.stdin.isatty():
        note("the record, as JSON, then Ctrl-D:")
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise click.UsageError("standard input is not UTF-8 text") from None
