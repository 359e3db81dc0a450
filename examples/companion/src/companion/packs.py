"""Packs: which domain is kept in which database, as which collections, with which indexes.

A database is what policies are said of, and what one change set can span; so a domain is one
database. `conversations`, `personality` and `profile` have a policy of their own in Covey.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, get_args, get_origin, get_type_hints

import covey

from . import domains
from .links import Link

Fields = tuple[str, ...]


@dataclass(frozen=True)
class Pack:
    """The schema of one domain."""

    domain: str
    database: str
    collections: Mapping[str, type]
    indexes: Mapping[str, tuple[Fields, ...]] = field(default_factory=dict)
    """Collection -> the fields that are asked for together."""
    version: int = 1


PACKS = (
    Pack(
        "identity",
        "profile",
        {"people": domains.Person, "accounts": domains.Account},
        {"people": (("name",),), "accounts": (("person",),)},
    ),
    Pack(
        "conversation",
        "conversations",
        {
            "conversations": domains.Conversation,
            "messages": domains.Message,
            "marks": domains.ReadMark,
            "graves": domains.Grave,
        },
        {"conversations": (("started_ms",),), "messages": (("conversation", "at_ms"),)},
    ),
    Pack(
        "memory",
        "memory",
        {
            "working": domains.Memory,
            "episodic": domains.Memory,
            "semantic": domains.Memory,
            "procedural": domains.Skill,
        },
        {"working": (("expires_ms",),)},
    ),
    Pack(
        "knowledge",
        "knowledge",
        {
            "documents": domains.Document,
            "chunks": domains.Chunk,
            "shelves": domains.Shelf,
            "graves": domains.Grave,
        },
        {"chunks": (("document", "number"),)},
    ),
    Pack(
        "cognition",
        "cognition",
        {"agents": domains.Agent, "tasks": domains.Task, "reasoning": domains.Reasoning},
        {"tasks": (("state", "due_ms"),), "reasoning": (("task",),)},
    ),
    Pack("persona", "personality", {"personas": domains.Persona}, {"personas": (("active",),)}),
    Pack(
        "provenance",
        "provenance",
        {"sources": domains.Source, "citations": domains.Citation},
        {"citations": (("claim",),)},
    ),
    Pack(
        "system",
        "system",
        {"settings": domains.Setting, "audit": domains.AuditEntry, "metrics": domains.Metric},
        {"metrics": (("name", "at_ms"),)},
    ),
)

LINKS = "links"
LINK_INDEXES = (("source",), ("target",))


PRIORITY = 50


def schema_of(pack: Pack) -> dict[str, Any]:
    """The pack as `Node.install` takes it: what a record has to have follows from its class."""
    collections: dict[str, dict[str, Any]] = {}
    for name, kind in collections_of(pack).items():
        hints = get_type_hints(kind)
        fields = {
            each.name: _field(hints[each.name], each)
            for each in dataclasses.fields(kind)
            if each.name != "id"
        }
        indexes = LINK_INDEXES if name == LINKS else pack.indexes.get(name, ())
        collections[name] = {"fields": fields}
        if indexes:
            collections[name]["indexes"] = [list(index) for index in indexes]
    return {
        "name": f"companion-{pack.domain}",
        "kind": "companion",
        "priority": PRIORITY,
        "version": pack.version,
        "database": pack.database,
        "collections": collections,
    }


_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object"}


def _field(hint: Any, each: "dataclasses.Field[Any]") -> dict[str, Any]:
    missing = dataclasses.MISSING
    told: dict[str, Any] = {}
    if each.default is missing and each.default_factory is missing:
        told["required"] = True
    options = get_args(hint)
    if type(None) in options:
        told["nullable"] = True
        (hint,) = (option for option in options if option is not type(None))
    kind = get_origin(hint) or hint
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {**told, "type": "string", "enum": [member.value for member in kind]}
    if kind is covey.Counter:
        return {**told, "type": "counter"}
    if kind is tuple:
        return {**told, "type": "array", "items": _TYPES[get_args(hint)[0]]}
    return {**told, "type": _TYPES[kind]}


def collections_of(pack: Pack) -> dict[str, type]:
    """Those of a pack, with that of the links that go out from its records."""
    return {**pack.collections, LINKS: Link}
