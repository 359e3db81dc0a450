"""Definitions and devices that tests of schemas start from."""

from typing import Any

from covey.node.data.schema import Schema, read_schema
from covey.node.data.steps import Migration

FACTS: dict[str, Any] = {
    "fields": {
        "text": {"type": "string", "required": True, "max_length": 20},
        "kind": {"type": "string", "enum": ["fact", "guess"], "default": "fact"},
        "score": {"type": "number", "min": 0, "max": 1},
    },
    "additional": False,
}
RENAME = {"rename": "body", "to": "text"}


def notes(**fields: Any) -> dict[str, Any]:
    """A collection `facts` of these fields."""
    return {"facts": {"fields": fields}}


def schema(version: int = 1, **said: Any) -> Schema:
    """A schema `memory` of the database `memory`."""
    return read_schema(
        {"name": "memory", "version": version, "collections": {"facts": FACTS}, **said}
    )


def first() -> Schema:
    """Version 1: a fact has a body."""
    return schema(1, collections=notes(body="string"))


def second(*migrations: Migration) -> Schema:
    """Version 2: the body is called text."""
    steps = migrations or (Migration(2, "facts", changes=[RENAME]),)
    return schema(2, collections=notes(text="string"), migrations=steps)
