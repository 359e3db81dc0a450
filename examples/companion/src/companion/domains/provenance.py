"""Provenance: where something is from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    kind: str
    """conversation, document, import or person."""
    where: str
    """A place, or an address outside."""
    seen_ms: int
    id: str = ""


@dataclass(frozen=True)
class Citation:
    claim: str
    """The place of what is claimed."""
    source: str
    quote: str = ""
    id: str = ""
