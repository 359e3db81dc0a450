"""Similar: records whose embedding is near to that of another record, or to a vector."""

import sys
from typing import Any

import click

from .json_text import read_json
from .options import Settings, json_option, open_node, pass_settings
from .output import emit, note, pretty, say, visible
from .query_commands import parse_conditions


@click.command()
@click.argument("database", metavar="DB")
@click.argument("collection")
@click.argument("record_id", metavar="ID|-")
@click.argument("conditions", nargs=-1, metavar="[CONDITION …]")
@click.option("--field", metavar="F", help="Compare by this field, where several are declared.")
@click.option(
    "--model",
    metavar="NAME@VERSION",
    help="Compare by this model's embeddings; else by those of the model declared last.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000),
    default=10,
    show_default=True,
    metavar="N",
    help="At most so many.",
)
@json_option
@pass_settings
def similar(
    settings: Settings,
    database: str,
    collection: str,
    record_id: str,
    conditions: tuple[str, ...],
    field: str | None,
    model: str | None,
    limit: int,
) -> None:
    """Find records that are near to one of them in meaning.

    Or to a vector: with `-` it is read from standard input, a JSON list of numbers. VALUE is as in
    `covey find`. The field and its model are declared by an application. Needs the extra
    `covey[vectors]`.
    """
    params: dict[str, Any] = {
        "database": database,
        "collection": collection,
        "field": field,
        "limit": limit,
        "where": parse_conditions(conditions),
        **_model(model),
    }
    if record_id == "-":
        params["vector"] = _vector_from_input()
    else:
        params["id"] = record_id
    with open_node(settings) as node:
        found = node.call("similar", params)
    if settings.json:
        emit(found)
        return
    for hit in found["records"]:
        fields = {name: value for name, value in hit["record"].items() if name != found["field"]}
        say(f"{hit['score']:.3f}  {visible(hit['id'])}  {pretty(fields, indent=None)}")
    if not found["records"]:
        note("no records")
    for left in found["left_out"]:
        note(f"left out: {left['count']} that {visible(left['why'])}")


def _model(text: str | None) -> dict[str, str]:
    """Raises UsageError."""
    if text is None:
        return {}
    name, _, version = text.rpartition("@")
    if not name or not version:
        raise click.UsageError("--model: a name and a version, such as minilm@2")
    return {"model": name, "version": version}


def _vector_from_input() -> list[Any]:
    """Raises UsageError that tells the place and not the content."""
    if sys.stdin.isatty():
        note("the vector, as a JSON list of numbers, then Ctrl-D:")
    try:
        value = read_json(sys.stdin.buffer.read().decode())
    except UnicodeDecodeError:
        raise click.UsageError("the vector is not JSON: not UTF-8 text") from None
    except ValueError as error:
        raise click.UsageError(f"the vector is not JSON: {error}") from None
    if not isinstance(value, list):
        raise click.UsageError("a vector is a JSON list of numbers, such as [0.1, -0.5]")
    return value
