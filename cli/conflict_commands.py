"""Conflicts: `covey conflicts` shows what was written apart, and lets a person decide.

*open* waits for a person, *settled* was decided by a rule and can be changed, *resolved* was
decided by somebody who saw all candidates. Deciding works without any other device near, and
clears the conflict on all of them.
"""

from typing import Any

import click

from .json_text import read_json
from .options import Settings, json_option, limit_option, open_node, pass_settings
from .output import emit, note, pretty, say, table, visible


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def conflicts(context: click.Context) -> None:
    """See and decide what was written apart. Without a subcommand: list."""
    if context.invoked_subcommand is None:
        context.invoke(list_conflicts)


@conflicts.command("list")
@click.argument("database", metavar="[DB]", required=False)
@click.option("--all", "all_states", is_flag=True, help="Those that were resolved as well.")
@limit_option
@json_option
@pass_settings
def list_conflicts(
    settings: Settings, database: str | None = None, all_states: bool = False, limit: int = 100
) -> None:
    """List conflicts, open ones first.

    What was resolved is listed for as many days as `covey log keep` says, and can be shown and
    undone by its id after that.
    """
    params: dict[str, Any] = {"database": database, "all": all_states}
    found: list[dict[str, Any]] = []
    with open_node(settings) as node:
        while len(found) < limit:
            page = node.call("conflicts", {**params, "limit": min(limit - len(found), 1_000)})
            found += page["conflicts"]
            if page["more"] is None:
                break
            params["after"] = page["more"]
    if settings.json:
        emit({"conflicts": found})
        return
    rows = [
        (row["id"], row["state"], _place(row), row["rule"], str(len(row["candidates"])))
        for row in found
    ]
    if rows:
        table(("id", "state", "where", "rule", "candidates"), rows)
    else:
        note("no conflicts")


@conflicts.command("show")
@click.argument("conflict", metavar="ID")
@json_option
@pass_settings
def show_conflict(settings: Settings, conflict: str) -> None:
    """Show one conflict: its candidates, and why it is as it is."""
    with open_node(settings) as node:
        row = node.call("conflict_show", {"conflict": conflict})
    _show(settings, row)


@conflicts.command("resolve")
@click.argument("conflict", metavar="[ID]", required=False)
@click.option("--take", metavar="DEVICE", help="The value that this device wrote counts.")
@click.option("--value", metavar="JSON", help="This value counts.")
@click.option("--all", "database", metavar="DB", help="All open conflicts of DB; with --take.")
@json_option
@pass_settings
def resolve_conflict(
    settings: Settings,
    conflict: str | None,
    take: str | None,
    value: str | None,
    database: str | None,
) -> None:
    """Decide a conflict, here and on every other device."""
    if (conflict is None) == (database is None):
        raise click.UsageError("name one conflict, or all of a database with --all DB")
    if (take is None) == (value is None) or (database is not None and take is None):
        raise click.UsageError("say --take DEVICE, or for one conflict --value JSON")
    params: dict[str, Any] = {"take": take} if take is not None else {"value": _value(value)}
    with open_node(settings) as node:
        if database is not None:
            done = node.call("conflict_resolve_all", {"database": database, **params})
        else:
            row = node.call("conflict_resolve", {"conflict": conflict, **params})
    if database is None:
        _show(settings, row)
    elif settings.json:
        emit(done)
    else:
        say(f"{done['resolved']} resolved, {done['left']} to which that device wrote nothing")


@conflicts.command("undo")
@click.argument("conflict", metavar="ID")
@json_option
@pass_settings
def undo_conflict(settings: Settings, conflict: str) -> None:
    """Take a decision back. That of a rule for the other value, or that of a person."""
    with open_node(settings) as node:
        row = node.call("conflict_undo", {"conflict": conflict})
    _show(settings, row)


@conflicts.command("rules")
@json_option
@pass_settings
def list_rules(settings: Settings) -> None:
    """List the rules that decide. Where there is none, the last writer wins."""
    with open_node(settings) as node:
        found = node.call("rules", {})
    if settings.json:
        emit(found)
        return
    rows = [
        (
            row["database"] or "*",
            row["of"] or "*",
            row["rule"] if row["known"] else f"{row['rule']} (not known on this device)",
        )
        for row in found["rules"]
    ]
    if rows:
        table(("database", "of", "rule"), rows)
    else:
        note(f"no rules: {found['otherwise']} everywhere")


@conflicts.command("rule")
@click.argument("database", metavar="DB")
@click.argument("place", nargs=-1, metavar="[COLLECTION [FIELD]]")
@click.argument("rule", metavar="RULE")
@json_option
@pass_settings
def set_rule(settings: Settings, database: str, place: tuple[str, ...], rule: str) -> None:
    """Say how conflicts are decided, for the whole mesh. An admin does.

    DB may be `*`; FIELD may be `$deleted`, for records deleted here and edited there. RULE is
    one that `docs/conflicts.md` tells, or `default`.
    """
    if len(place) > 2:
        raise click.UsageError("expected DB [COLLECTION [FIELD]] RULE")
    collection, field = (*place, None, None)[:2]
    params = {
        "database": "" if database == "*" else database,
        "collection": collection,
        "field": field,
        "rule": rule,
    }
    with open_node(settings) as node:
        done = node.call("rule_set", params)
    if settings.json:
        emit(done)
    else:
        say(f"{visible(database)} {visible(' '.join(place))}: {visible(rule)}")


def _value(text: str | None) -> Any:
    try:
        return read_json(text or "")
    except ValueError as error:
        raise click.UsageError(f"--value is not JSON: {error}") from None


def _place(row: dict[str, Any]) -> str:
    field = f" {visible(row['field'])}" if row["field"] else ""
    name = f"{visible(row['database'])} {visible(row['collection'])}/{visible(row['record'])}"
    return f"{name}{field}"


def _show(settings: Settings, row: dict[str, Any]) -> None:
    if settings.json:
        emit(row)
        return
    say(f"{visible(row['id'])}  {visible(row['state'])}  {_place(row)}")
    say(f"because   {visible(row['because'])}")
    if row.get("resolved_by"):
        say(f"resolved  by {visible(row['resolved_by'])}, {visible(row['resolved_at'])}")
    say(f"counts    {pretty(row['value'], indent=None)}")
    for known in row["candidates"]:
        what = "deleted" if known.get("deletes") else pretty(known["value"], indent=None)
        say(f"{visible(known['device_name'])}, {visible(known['time'])}: {what}")
