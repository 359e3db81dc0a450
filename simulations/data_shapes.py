"""Data shapes: what the applications of a simulation make of records: views, vectors, a schema.

`VIEWS` are functions of a record, by name and version: a new version gives other rows. The schema
has three versions; its second renames a field by data, and its third fills one in by functions, so
a device without the application can carry out the one and not the other.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from ..node.data.schema import Schema, read_schema
from ..node.data.steps import Migration

Rows = Iterable[tuple[tuple[Any, ...], Any]]

SCHEMA = "sim"
PAGES = "pages"
VERSIONS = 3
TITLE, NAME, STAGE = "title", "name", "stage"

FIELD, MODEL, DIMENSION = "embedding", "sim", 4
"""The field with embeddings, and the model that made them, of two versions."""


def _by_kind(id: str, record: Mapping[str, Any]) -> Rows:
    """What is there by kind and number. A list in place of a number is a mistake of the view's."""
    if isinstance(record.get("n"), list):
        raise ValueError("a list is no number")
    yield (record.get("kind"), record.get("n")), {"place": record.get("place"), "id": id}


def _by_kind_counted(id: str, record: Mapping[str, Any]) -> Rows:
    """What is there by kind alone, each once with a one."""
    yield (str(record.get("kind")),), 1


def _by_word(id: str, record: Mapping[str, Any]) -> Rows:
    """Several rows of one record, or none."""
    for word in str(record.get("topic") or "").split():
        yield (word, id), len(word)


def _by_last_word(id: str, record: Mapping[str, Any]) -> Rows:
    for word in str(record.get("topic") or "").split()[-1:]:
        yield (word,), id


VIEWS: dict[str, tuple[Callable[[str, Mapping[str, Any]], Rows], ...]] = {
    "by-kind": (_by_kind, _by_kind_counted),
    "by-word": (_by_word, _by_last_word),
}
"""Name -> its function at version 1, 2 and so on."""


def _with_stage(record: dict[str, Any]) -> dict[str, Any]:
    record.setdefault(STAGE, 1)
    return record


def _without_stage(record: dict[str, Any]) -> dict[str, Any]:
    record.pop(STAGE, None)
    return record


@lru_cache(maxsize=64)
def schema_of(database: str, version: int) -> Schema:
    """The schema of a database, as an application of that version brings it."""
    named = TITLE if version == 1 else NAME
    fields: dict[str, Any] = {named: "string", "n": "any", "about": "string"}
    migrations = [
        Migration(2, PAGES, changes=[{"rename": TITLE, "to": NAME}]),
        Migration(3, PAGES, up=_with_stage, down=_without_stage),
    ]
    if version == VERSIONS:
        fields[STAGE] = {"type": "integer", "default": 1}
    indexes = [["n"], [named]] if version > 1 else [["n"]]
    said = {"fields": fields, "indexes": indexes, "links": {"about": "facts"}}
    return read_schema(
        {
            "name": SCHEMA,
            "version": version,
            "database": database,
            "collections": {PAGES: said},
            "migrations": migrations[: version - 1],
        }
    )


def migrated(record: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """A record after so many steps up from version 1. Steps leave alone what is new already."""
    made = dict(record)
    if steps > 0 and TITLE in made:
        made[NAME] = made.pop(TITLE)
    if steps > 1:
        made.setdefault(STAGE, 1)
    return made
