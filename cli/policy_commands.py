"""Policies: `covey policy` shows them, changes them, and explains why a record travels or not.

A change that would stop something from travelling is shown first, and a person is asked. What is
counted is what this device holds. Names and tags come from other devices and are shown escaped.
"""

from typing import Any

import click

from ..node.wording import size_text
from .errors import DeclinedError, NotSoError
from .options import (
    Settings,
    json_option,
    open_node,
    pass_settings,
    person_present,
    record_arguments,
)
from .output import emit, note, say, table, visible

ALL = "*"
PROFILE_BYTES_MAX = 65_536
"""As the node has it (`covey.sync.profile_text`); a larger file is not even read."""


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def policy(context: click.Context) -> None:
    """Show, set and explain what devices want of databases. Without a subcommand: show."""
    if context.invoked_subcommand is None:
        context.invoke(show_policies)


@policy.command("show")
@click.argument("database", metavar="[DB]", required=False)
@click.argument("device", metavar="[D]", required=False)
@json_option
@pass_settings
def show_policies(
    settings: Settings, database: str | None = None, device: str | None = None
) -> None:
    """Show the policies that count, and where each setting comes from.

    With DB and D every setting is shown, else those that are not the default. DB may be * for
    all. What is said of a device and a database counts before what is said of the database, of the
    device, and of everything; the profile comes after them.
    """
    with open_node(settings) as node:
        result = node.call("policy_show", {"database": database, "device": device})
    if settings.json:
        emit(result)
        return
    whole = database not in (None, ALL) and device is not None
    rows = [row for policy in result["policies"] for row in _rows(policy, whole)]
    if rows:
        table(("database", "device", "setting", "value", "from"), rows)
    else:
        note("no databases yet: the first `covey put` makes one")
    if result["tags"]:
        headers = ("tag", "least private level", "in", "from")
        tags = [(t["tag"], t["level"], _place(t["database"]), t["from"]) for t in result["tags"]]
        say()
        table(headers, tags)


@policy.command("set")
@click.argument("database", metavar="DB")
@click.argument("rest", nargs=-1, required=True, metavar="[D] KEY=VALUE …")
@click.option("--dry-run", is_flag=True, help="Only show what would start or stop to travel.")
@click.option("--yes", is_flag=True, help="Do not ask, also if something stops travelling.")
@json_option
@pass_settings
def set_policy(
    settings: Settings, database: str, rest: tuple[str, ...], dry_run: bool, yes: bool
) -> None:
    """Set what a device D, or every one, wants of a database DB, or of all (*).

    \b
    mode=full|summary|metadata|window|on-demand|periodic|local-only
    direction=both|send|receive    priority=high|medium|low|none
    consent=yes|no                 window=90d
    interval=6h|30m                unmetered=yes|no
    charging=yes|no                quiet=22:00-07:00|off
    bandwidth=500KiB/s|off         blobs=all|thumbnail|on-demand
    blob-size=5MiB|off             narrowed=keep|remove
    tag.NAME=device|private|family|public
    KEY=default takes back what was said.

    A device whose name has a = in it is named by its id. A member decides about itself, but for
    consent and tags; an admin about all devices.
    """
    device = rest[0] if "=" not in rest[0] else None
    pairs = rest if device is None else rest[1:]
    params = {"database": database, "device": device, "settings": list(pairs)}
    _change(settings, "policy_set", params, dry_run, yes)


@policy.group("profile")
def profile() -> None:
    """Show all policies as a TOML file, or load one."""


@profile.command("show")
@json_option
@pass_settings
def show_profile(settings: Settings) -> None:
    """Show what counts as a file: the default profile, and over it what was said."""
    with open_node(settings) as node:
        result = node.call("policy_profile", {})
    if settings.json:
        emit(result)
    else:
        for line in result["toml"].splitlines():
            say(visible(line))


@profile.command("load")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Only show what would start or stop to travel.")
@click.option("--yes", is_flag=True, help="Do not ask, also if something stops travelling.")
@json_option
@pass_settings
def load_profile(settings: Settings, file: str, dry_run: bool, yes: bool) -> None:
    """Set all that a TOML file says: everything, or nothing if one line of it is wrong.

    What the file does not name stays as it is. `covey policy profile show` prints one.
    """
    params = {"file": file, "text": _file_text(file)}
    _change(settings, "policy_load", params, dry_run, yes)


@policy.command("explain")
@record_arguments
@click.argument("device", metavar="D")
@json_option
@pass_settings
def explain_policy(
    settings: Settings, database: str, collection: str, record_id: str, device: str
) -> None:
    """Explain why a record does, or does not, travel to a device by itself.

    Exit code 1 if the record is not on this device.
    """
    params = {"database": database, "collection": collection, "id": record_id, "device": device}
    with open_node(settings) as node:
        result = node.call("policy_explain", params)
    if settings.json:
        emit(result)
    else:
        _show_explanation(result, f"{visible(collection)}/{visible(record_id)}")


def _change(
    settings: Settings, method: str, params: dict[str, Any], dry_run: bool, yes: bool
) -> None:
    """Look at a change first, ask a person if it stops something, and make it."""
    with open_node(settings) as node:
        result = node.call(method, {**params, "dry_run": True})
        if not dry_run:
            if result["preview"]["narrows"] and not yes and person_present():
                _show_preview(result)
                if not click.confirm("Change it?", err=True):
                    raise DeclinedError("nothing was changed")
            result = node.call(method, {**params, "dry_run": False})
    _tell_change(settings, result)


def _file_text(file: str) -> str:
    """A file that should be a profile. Raises NotSoError; a larger one is not read."""
    with open(file, "rb") as opened:
        data = opened.read(PROFILE_BYTES_MAX + 1)
    if len(data) > PROFILE_BYTES_MAX:
        raise NotSoError(f"{file}: larger than {size_text(PROFILE_BYTES_MAX)}, so it is no profile")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise NotSoError(f"{file}:{line}: it is not UTF-8 text") from None


def _tell_change(settings: Settings, result: dict[str, Any]) -> None:
    """What was changed, or would be."""
    if settings.json:
        emit(result)
        return
    if result["dry_run"]:
        _show_preview(result)
        return
    for warning in result["warnings"]:
        note(f"note: {visible(warning)}")
    if not result["changes"]:
        say("nothing to change: it is so already")
    for change in result["changes"]:
        say(f"{_of(change)}: {visible(change['text'])}")


def _show_preview(result: dict[str, Any]) -> None:
    """What would start and stop, device by device and in sum, on standard error."""
    for change in result["changes"]:
        note(f"{_of(change)}: {visible(change['text'])}")
    if not result["changes"]:
        note("nothing to change: it is so already")
    preview = result["preview"]
    for row in preview["devices"]:
        note(f"  to {visible(row['device'])}: {_amounts(row)}")
    if len(preview["devices"]) > 1:
        note(f"  in all: {_amounts(preview)}")
    if result["changes"] and not preview["devices"]:
        later = ", but what is written later may not travel" if preview["narrows"] else ""
        note(f"  nothing that is here starts or stops to travel{later}")
    note("  counted from what this device holds")
    for warning in result["warnings"]:
        note(f"note: {visible(warning)}")


def _amounts(row: dict[str, Any]) -> str:
    parts = [
        f"{_records(row[name]['records'])} ({size_text(row[name]['bytes'])}) {verb}"
        for name, verb in (("starts", "start to travel"), ("stops", "stop travelling"))
        if row[name]["entries"]
    ]
    return ", ".join(parts) or "no difference"


def _records(count: int) -> str:
    return f"{count:,} record" + ("" if count == 1 else "s")


def _rows(policy: dict[str, Any], whole: bool) -> list[tuple[str, ...]]:
    """The settings of one policy, a row each: all, or the mode and what is no default."""
    place = (policy["database"], policy["device_name"])
    return [
        (*place, key, setting["value"], setting["from"])
        for key, setting in policy["settings"].items()
        if whole or key == "mode" or setting["from"] != "the default"
    ]


def _of(change: dict[str, Any]) -> str:
    device = "every device" if change["device"] is None else visible(change["device"])
    return f"{_place(change['database'])} on {device}"


def _place(database: str) -> str:
    return "all databases" if database == ALL else visible(database)


def _show_explanation(result: dict[str, Any], name: str) -> None:
    device, record = visible(result["device"]["name"]), result["record"]
    verb = "travels" if result["allowed"] else "does not travel"
    say(f"{name} {verb} to {device}: {visible(result['because'])} (rule: {result['rule']})")
    if result["back"]["rule"] != result["rule"]:
        back = "would come" if result["back"]["allowed"] else "would not come"
        say(f"  from {device} it {back} back: {visible(result['back']['because'])}")
    written = ", ".join(map(visible, record["authors"]))
    say(f"  it is {record['privacy']}, written by {written}")
    for other in result["others"]:
        does = "travel" if other["allowed"] else "do not travel"
        because = visible(other["because"])
        say(f"  the changes of {visible(other['author'])} {does}: {because}")
    if record["tags"]:
        tags = ", ".join(map(visible, record["tags"]))
        rule = record["tag_rule"]
        allowed = "" if rule is None else f"; {visible(rule['tag'])} allows {rule['level']}"
        wide = ": it is too wide, `covey move` narrows it" if record["too_wide"] else ""
        say(f"  tagged {tags}{allowed}{wide}")
    for row in result["settings"]:
        where = visible(row["from"])
        by = f"by {where}" if where.startswith("the ") else f"said of {where}"
        say(f"  {visible(row['device'])}: {row['key']}={visible(row['value'])}, {by}")
    for row in result["conditions"]:
        say(f"  {visible(row['device'])} may hold it back: {row['key']}={visible(row['value'])}")
    if result.get("waiting_for"):
        say(f"  it waits now for {visible(result['waiting_for'])}")
    if result["proved"]:
        say(f"  {device} has it, proved {visible(result['proved_at'])}")
    elif result["rule"] != "here":
        say(f"  it is not proved that {device} has it")
