"""Knowledge: documents in chunks that are found by meaning, and collections of documents."""

from dataclasses import dataclass, field

import covey


@dataclass(frozen=True)
class Document:
    title: str
    added_ms: int
    language: str = ""
    id: str = ""


@dataclass(frozen=True)
class Chunk:
    document: str
    number: int
    """Its place in the document, from 0."""
    text: str
    embedding: dict[str, covey.Vector] = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True)
class Shelf:
    """A collection of documents. Which ones: links of the kind `holds`."""

    name: str
    id: str = ""
