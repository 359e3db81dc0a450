"""Record lines: how lists of records and changes are shown to people.

One line a record, cut to the width of a terminal; what a record holds may be anything, so all of it
is made visible first.
"""

from typing import Any

from .options import Settings
from .output import emit, note, on_terminal, pretty, say, visible


def show_records(settings: Settings, result: dict[str, Any], *, name_collection: bool) -> None:
    if settings.json:
        emit(result)
        return
    width = None
    if on_terminal():
        from shutil import get_terminal_size

        width = get_terminal_size().columns
    for record in result["records"]:
        fields = dict(record)
        name = visible(fields.pop("id", ""))
        collection = fields.pop("collection", None) if name_collection else None
        if collection is not None:
            name = f"{visible(collection)}/{name}"
        line = f"{name}  {pretty(fields, indent=None)}"
        say(line if width is None or len(line) <= width else line[: width - 1] + "…")
    if not result["records"]:
        note("no records")


def change_line(change: dict[str, Any]) -> str:
    if change["op"] == "lost":
        return f"lost    {change['count']} changes came faster than they could be shown"
    name = f"{visible(change['collection'])}/{visible(change['id'])}"
    line = f"{visible(change['op']):<6}  {name}  by {visible(change['origin'])}"
    record = change.get("record")
    return line if record is None else f"{line}  {pretty(record, indent=None)}"
