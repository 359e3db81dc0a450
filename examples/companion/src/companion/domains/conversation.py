"""Conversation: what was said, by whom, in answer to what."""

from dataclasses import dataclass, field

import covey


@dataclass(frozen=True)
class Conversation:
    title: str
    started_ms: int
    room: str = ""
    id: str = ""


@dataclass(frozen=True)
class Message:
    conversation: str
    author: str
    text: str
    at_ms: int
    reply_to: str | None = None
    room: str = ""
    source: str = "companion"
    """The platform that it was written on."""
    tags: tuple[str, ...] = ()
    embedding: dict[str, covey.Vector] = field(default_factory=dict)
    """Model -> what it makes of the text. Vectors of two models are never compared."""
    id: str = ""


@dataclass(frozen=True)
class ReadMark:
    """Up to when a conversation was read. Its id is that of the conversation."""

    until_ms: int
    id: str = ""


@dataclass(frozen=True)
class Grave:
    """Says that something was deleted with all that belongs to it. Its id is that of the deleted.

    A device that was away may have written to what is deleted; the grave tells every device that
    this goes as well. It holds no content.
    """

    at_ms: int
    id: str = ""
