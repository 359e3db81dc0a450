"""Packs: which domain is kept in which database, as which collections, with which indexes.

A database is what policies are said of, and what one change set can span; so a domain is one
database. `conversations`, `personality` and `profile` have a policy of their own in Covey.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

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


def collections_of(pack: Pack) -> dict[str, type]:
    """Those of a pack, with that of the links that go out from its records."""
    return {**pack.collections, LINKS: Link}
