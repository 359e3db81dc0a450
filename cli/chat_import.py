"""Chat import: what `covey import --format chatgpt|claude` does.

The node reads the export itself, at its absolute path, so that files of gigabytes never cross the
local socket. What cannot be imported is named by its place and does not stop the rest.
"""

import os
from contextlib import closing
from typing import Any

import click

from .options import Settings, open_node
from .output import emit, note, progress, visible

FORMATS = ("chatgpt", "claude")


def import_chat(
    settings: Settings, file: str, params: dict[str, Any], ignored: dict[str, object]
) -> None:
    """Import an export and say what became of it. Raises UsageError."""
    for option, value in ignored.items():
        if value is not None:
            raise click.UsageError(f"{option}: the ids of an export are those of its service")
    if file == "-":
        raise click.UsageError("an export is a file with a list at its end: name it, not `-`")
    done: dict[str, Any] = {}
    broken: list[dict[str, str]] = []
    params = {**params, "file": os.path.abspath(file)}
    with (
        open_node(settings) as node,
        closing(node.stream("import_chat", params)) as events,
        progress("importing", in_bytes=False) as bar,
    ):
        for event in events:
            kind = event.pop("event")
            if kind == "broken":
                broken.append(event)
                note(f"{visible(event['where'])}: {visible(event['why'])}; left out")
            else:
                done = event
                bar.at(event["read"], None)
    if settings.json:
        emit({**done, "left_out": broken})
        return
    note(
        f"{done['read']} records of {done['conversations']} conversations read,"
        f" {done['written']} written, {done['unchanged']} unchanged"
    )
    for name, told in (
        ("blobs", "files put as blobs"),
        ("deleted", "left alone, as they were deleted here before"),
        ("broken", "left out, as they could not be imported"),
    ):
        if done[name]:
            note(f"{done[name]} {told}")
