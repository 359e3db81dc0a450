"""Blobs: files that stay outside of records, put, got and listed.

The node reads and writes the files itself, so a gigabyte does not cross the local socket; only
`blob get -o -` sends the content through it. A name that came from another device is shown, and
becomes the name of a file only in the folder where the command was given.
"""

import base64
import os
import sys
from contextlib import closing
from typing import Any

import click

from ..node.wording import size_text
from .options import (
    PRIVACY_LEVELS,
    Settings,
    json_option,
    open_node,
    pass_settings,
    record_arguments,
    timeout_option,
)
from .output import emit, note, say, table, visible

_STEPS = {"K": 10, "M": 20, "G": 30, "T": 40}


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def blob(context: click.Context) -> None:
    """Put, get and list blobs: files outside of records. Without a subcommand: list."""
    if context.invoked_subcommand is None:
        context.invoke(list_blobs)


@blob.command()
@record_arguments
@click.argument("field")
@click.argument("file", metavar="FILE")
@click.option("--type", "media_type", metavar="T", help="The media type; else guessed by the name.")
@click.option(
    "--privacy",
    type=click.Choice(PRIVACY_LEVELS),
    help="Who may hold the record, if this makes it. Else private.",
)
@json_option
@pass_settings
def put(
    settings: Settings,
    database: str,
    collection: str,
    record_id: str,
    field: str,
    file: str,
    media_type: str | None,
    privacy: str | None,
) -> None:
    """Put a file into a field of a record. The record is made if there is none."""
    params = {
        **_place(database, collection, record_id, field),
        "file": os.path.abspath(file),
        "type": _guessed(file) if media_type is None else media_type,
        "privacy": privacy,
    }
    with open_node(settings) as node:
        done = node.call("blob_put", params)
    if settings.json:
        emit(done)
    else:
        size, id = size_text(done["blob"]["size"]), done["blob"]["id"]
        say(f"{visible(collection)}/{visible(done['id'])} {visible(field)}: {size}, blob {id[:16]}")


@blob.command()
@record_arguments
@click.argument("field")
@click.option(
    "-o",
    "--output",
    "file",
    metavar="FILE|-",
    help="Write to this new file, or to standard output; else to one of the blob's own name.",
)
@click.option("--variant", metavar="V", help="A small stand-in of it, such as `thumbnail`.")
@timeout_option(30)
@json_option
@pass_settings
def get(
    settings: Settings,
    database: str,
    collection: str,
    record_id: str,
    field: str,
    file: str | None,
    variant: str | None,
    timeout_s: float,
) -> None:
    """Write a blob to a new file. What is not here is fetched now; exit code 4 if nobody gives it.

    A file that is there is never replaced.
    """
    params: dict[str, Any] = {
        **_place(database, collection, record_id, field),
        "variant": variant,
        "timeout_s": timeout_s,
    }
    with open_node(settings, online=True) as node:
        if file == "-":
            with closing(node.stream("blob_read", params)) as pieces:
                for piece in pieces:
                    sys.stdout.buffer.write(base64.b64decode(piece["data"]))
            sys.stdout.buffer.flush()
            return
        params |= {"file": os.path.abspath(file or "."), "is_folder": file is None}
        done = node.call("blob_get", params)
    if settings.json:
        emit(done)
        return
    say(f"{visible(done['file'])}: {size_text(done['bytes'])}")
    for giver in done["from"]:
        note(f"{giver['chunks']} chunks from {visible(giver['device'])}")


@blob.command("ls")
@click.argument("database", metavar="DB", required=False)
@json_option
@pass_settings
def list_blobs(settings: Settings, database: str | None = None) -> None:
    """List the blobs that records refer to, and how much of each is here."""
    with open_node(settings) as node:
        found = node.call("blob_list", {"database": database})
    if settings.json:
        emit(found)
        return
    rows = [
        (
            row["id"][:16],
            size_text(row["size"]),
            f"{row['here']}/{row['chunks']}",
            ", ".join(visible(name) for name in row["held_by"]),
            "\n".join(_shown(place) for place in row["places"]),
        )
        for row in found["blobs"]
    ]
    if rows:
        table(("blob", "size", "here", "also on", "in"), rows)
    else:
        say("no blobs yet: `covey blob put` makes one")


@blob.command()
@click.argument("size", required=False)
@json_option
@pass_settings
def quota(settings: Settings, size: str | None) -> None:
    """Show how much room blobs take here, or limit it: `500M`, `20G`, or `none`.

    What another device holds is put away for what is new, and fetched again when it is asked for.
    The only copy of a blob is never put away.
    """
    params = {} if size is None else {"bytes": parse_size(size)}
    with open_node(settings) as node:
        found = node.call("blob_quota", params)
    if settings.json:
        emit(found)
    else:
        limit = size_text(found["quota"]) if found["quota"] else "any number of bytes"
        say(f"{size_text(found['used'])} of {limit}")


def parse_size(text: str) -> int:
    """Bytes: a number, one with K, M, G or T (of 1024), or `none` for 0. Raises UsageError."""
    if text == "none":
        return 0
    digits, step = (text[:-1], _STEPS[text[-1]]) if text[-1:] in _STEPS else (text, 0)
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 15 or int(digits) == 0:
        raise click.UsageError(f"{text!r}: a size such as 500M or 20G was expected, or none")
    return int(digits) << step


def _place(database: str, collection: str, record_id: str, field: str) -> dict[str, str]:
    return {"database": database, "collection": collection, "id": record_id, "field": field}


def _guessed(file: str) -> str:
    import mimetypes

    return mimetypes.guess_type(file)[0] or "application/octet-stream"


def _shown(place: dict[str, Any]) -> str:
    where = f"{place['database']} {place['collection']}/{place['id']} {place['field']}"
    variant = f" ({place['variant']})" if place["variant"] else ""
    return visible(f"{where}{variant}")
