"""Queries: find, watch, and the indexes that make them fast.

Contract: docs/cli.md; what conditions and orders mean: docs/data/queries.md.
"""

import re
import shlex
from contextlib import closing
from typing import Any

import click

from .json_text import read_json
from .options import (
    Settings,
    json_option,
    limit_option,
    open_node,
    pass_settings,
    record_arguments,
)
from .output import emit, note, pretty, say, table, visible
from .record_lines import change_line, show_records

_CONDITION = re.compile(r"(?s)(.+?)(!=|>=|<=|\^=|=|>|<)(.*)")
_TESTS = {"^=": "prefix"}


@click.command()
@click.argument("database", metavar="DB")
@click.argument("collection")
@click.argument("conditions", nargs=-1, metavar="[CONDITION …]")
@click.option("--text", metavar="QUERY", help="Records that hold these words.")
@click.option("--order", metavar="F", multiple=True, help="Order by this field. May be repeated.")
@click.option("--desc", is_flag=True, help="The other way round. For one field: `--order=-F`.")
@limit_option
@click.option("--after", metavar="CURSOR", help="Go on where a page stopped: its `next`.")
@click.option("--at", metavar="TIME", help="As they were then, such as 2026-01-31T12:00:00Z.")
@click.option("--explain", is_flag=True, help="Say how the records would be found, and find none.")
@json_option
@pass_settings
def find(
    settings: Settings,
    database: str,
    collection: str,
    conditions: tuple[str, ...],
    text: str | None,
    order: tuple[str, ...],
    desc: bool,
    limit: int,
    after: str | None,
    at: str | None,
    explain: bool,
) -> None:
    """Find records by their fields, by their words, or both.

    A CONDITION is FIELD=VALUE, or with != < <= > >= between them, or ^= for how a text begins;
    quote it for your shell. FIELD is a field of the record, or a path such as /address/city.
    VALUE is JSON if it reads as JSON, else text: `year=1984` is a number, `year='"1984"'` a text.
    An object holds tests by name: `kind={"in":["tea","coffee"]}`.
    """
    params = {
        "database": database,
        "collection": collection,
        "where": parse_conditions(conditions),
        "text": text,
        "order": list(order) or None,
        "descending": desc,
        "limit": limit,
        "after": after,
        "at": at,
    }
    if at is not None and (text is not None or after is not None or explain):
        raise click.UsageError("--text, --after and --explain are about what is: not with --at")
    with open_node(settings) as node:
        if explain:
            return _show_way(settings, node.call("find_explain", params))
        result = node.call("find", params)
    show_records(settings, result, name_collection=False)
    if not settings.json and result.get("next"):
        note(f"there is more: --after {result['next']}")
    if not settings.json and result.get("erased"):
        note(f"{result['erased']} records are left out: they have been erased since")


@click.command()
@click.argument("database", metavar="DB")
@click.argument("collection", required=False)
@click.argument("conditions", nargs=-1, metavar="[CONDITION …]")
@json_option
@pass_settings
def watch(
    settings: Settings, database: str, collection: str | None, conditions: tuple[str, ...]
) -> None:
    """Show every change as it happens. Made here or synced, until Ctrl-C.

    With conditions, as `find` has them: the records that pass, and each that enters, changes or
    leaves.
    """
    params: dict[str, Any] = {"database": database, "collection": collection}
    stream, line = "watch", change_line
    if conditions:
        params["where"] = parse_conditions(conditions)
        stream, line = "live", _live_line
    with open_node(settings, online=True) as node:
        if not settings.json:
            note(f"watching {visible(database)}; Ctrl-C ends")
        with closing(node.stream(stream, params)) as changes:
            for change in changes:
                emit(change) if settings.json else say(line(change))


@click.command()
@click.argument("database", metavar="DB")
@click.argument("words", metavar="QUERY …", nargs=-1, required=True)
@click.option("--collection", metavar="C", help="In this collection alone.")
@limit_option
@json_option
@pass_settings
def search(
    settings: Settings, database: str, words: tuple[str, ...], collection: str | None, limit: int
) -> None:
    """Search all of a database by words, the best first. Words must all occur, in any order.

    `"quoted words"` must occur in that order; the last word may be a beginning.
    """
    params = {"database": database, "text": " ".join(words), "limit": limit}
    with open_node(settings) as node:
        result = node.call("search", {**params, "collection": collection})
    if settings.json:
        return emit(result)
    for hit in result["records"]:
        say(f"{visible(hit['collection'])}/{visible(hit['id'])}")
        say(f"  {visible(_marked(hit['snippet'], hit['marks']))}")
    if not result["records"]:
        note("no records")


@click.command()
@record_arguments
@limit_option
@json_option
@pass_settings
def history(settings: Settings, database: str, collection: str, record_id: str, limit: int) -> None:
    """Show the versions of a record. The newest first: when, by which device, and what it was.

    What was written apart stands under the time at which it was written.
    """
    params = {"database": database, "collection": collection, "id": record_id, "limit": limit}
    with open_node(settings) as node:
        result = node.call("history", params)
    if settings.json:
        return emit(result)
    for one in result["versions"]:
        record = one["record"]
        shown = "deleted" if record is None else pretty(record, indent=None)
        say(f"{one['time'] or 'time not kept':<24}  {visible(one['device'][:9])}  {shown}")
    if "erased" in result:
        erased = result["erased"]
        note(f"erased on {erased['erased_at'][:10]} (receipt {erased['receipt']}): no older ones")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def index(ctx: click.Context) -> None:
    """Indexes over fields, which make queries fast on this device."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(index_list)


@index.command("list")
@json_option
@pass_settings
def index_list(settings: Settings) -> None:
    """Show the indexes of this device."""
    with open_node(settings) as node:
        result = node.call("indexes", {})
    if settings.json:
        return emit(result)
    if not result["indexes"]:
        return note("no indexes; `covey index advise` says which would help")
    rows = [
        [one["database"], one["collection"], _names(one), one["behind"]]
        for one in result["indexes"]
    ]
    table(("database", "collection", "fields", "behind"), rows)


@index.command("create")
@click.argument("database", metavar="DB")
@click.argument("collection")
@click.argument("fields", nargs=-1, required=True, metavar="FIELD …")
@json_option
@pass_settings
def index_create(
    settings: Settings, database: str, collection: str, fields: tuple[str, ...]
) -> None:
    """Make queries by these fields fast, in this order: equal ones first, then one to sort by."""
    _index(settings, "index_create", database, collection, fields, "indexed")


@index.command("drop")
@click.argument("database", metavar="DB")
@click.argument("collection")
@click.argument("fields", nargs=-1, required=True, metavar="FIELD …")
@json_option
@pass_settings
def index_drop(settings: Settings, database: str, collection: str, fields: tuple[str, ...]) -> None:
    """Forget an index. The records stay as they are."""
    _index(settings, "index_drop", database, collection, fields, "dropped")


@index.command("advise")
@json_option
@pass_settings
def index_advise(settings: Settings) -> None:
    """Say which indexes would have served the queries that were asked."""
    with open_node(settings) as node:
        result = node.call("index_advise", {})
    if settings.json:
        return emit(result)
    for one in result["advice"]:
        say(visible(_create_command(one)))
        say(f"  walked all of it {one['walked']} times for: {visible(one['asked'])}")
    if not result["advice"]:
        note("nothing to advise: no query walked a collection often")


def parse_conditions(conditions: tuple[str, ...]) -> dict[str, Any]:
    """What is asked of each field. Raises UsageError."""
    where: dict[str, Any] = {}
    tests: dict[str, dict[str, Any]] = {}
    for condition in conditions:
        match = _CONDITION.fullmatch(condition)
        if match is None:
            raise click.UsageError(f"{condition!r}: expected FIELD=VALUE, or != < <= > >= ^=")
        field, sign, text = match.groups()
        sign, of_field = _TESTS.get(sign, sign), tests.setdefault(field, {})
        if sign in of_field:
            raise click.UsageError(f"{field!r} stands there twice; all conditions must hold")
        try:
            of_field[sign] = read_json(text)
        except ValueError:
            of_field[sign] = text
    for field, asked in tests.items():
        where[field] = asked["="] if list(asked) == ["="] else asked
    return where


def _create_command(one: dict[str, Any]) -> str:
    """What to type for the index that is proposed. Names may hold what a shell would carry out."""
    names = [one["database"], one["collection"], *one["fields"]]
    end_of_options = ["--"] if any(name.startswith("-") for name in names) else []
    return shlex.join(["covey", "index", "create", *end_of_options, *names])


def _index(
    settings: Settings,
    method: str,
    database: str,
    collection: str,
    fields: tuple[str, ...],
    done: str,
) -> None:
    params = {"database": database, "collection": collection, "fields": list(fields)}
    with open_node(settings) as node:
        result = node.call(method, params)
    if settings.json:
        return emit(result)
    say(f"{done}: {_names(result)} of {visible(database)}/{visible(collection)}")


def _show_way(settings: Settings, way: dict[str, Any]) -> None:
    if settings.json:
        return emit(way)
    match way["walks"]:
        case "index":
            order = ", in its order" if way["ordered"] else ""
            say(f"by the index of {', '.join(map(visible, way['index']))}{order}")
        case "words":
            say("by the index of words")
        case _:
            late = way["late"]
            why = f"; an index is {late} or more changes behind, and catches up" if late else ""
            say(f"by walking the collection{why}")


def _marked(text: str, marks: list[list[int]]) -> str:
    """The text with brackets around its hits."""
    for start, end in sorted(marks, reverse=True):
        text = f"{text[:start]}[{text[start:end]}]{text[end:]}"
    return text


def _names(one: dict[str, Any]) -> str:
    return " ".join(visible(field) for field in one["fields"])


def _live_line(change: dict[str, Any]) -> str:
    record = change.get("record")
    line = f"{visible(change['op']):<6}  {visible(change['id'])}"
    return line if record is None else f"{line}  {pretty(record, indent=None)}"
