"""Message views: the projections that an application with conversations needs, ready made.

A message is a record with the fields `thread` and `author` (texts or numbers) and `at` (a time, or
whatever else sorts as times do: milliseconds, ISO 8601 in UTC). `read` is true once it was read;
what the reader wrote themselves is never unread. A record that lacks one of these is skipped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from .views import View

if TYPE_CHECKING:
    from ..engine import Engine

VERSION = 1
PREVIEW_CHARACTERS = 80

Rows = Iterator[tuple[tuple[Any, ...], Any]]


@dataclass(frozen=True, slots=True)
class MessageViews:
    """Three views of one collection of messages."""

    threads: View
    """Key (thread, at): `{"author", "text"}`, the text cut off after 80 characters."""
    authors: View
    """Key (author, at): the thread."""
    unread: View
    """Key (thread, at): null. `groups(1)` counts what is unread in each thread."""


def message_views(
    engine: "Engine", database: str, collection: str = "messages", *, reader: Any = "user"
) -> MessageViews:
    """The views of a collection, as `reader` sees it. Raises BadValueError."""
    name = f"{database}/{collection}"
    register = engine.views.register
    unread = partial(_unread, reader)
    return MessageViews(
        register(f"{name} by thread", VERSION, database, collection, _by_thread),
        register(f"{name} by author", VERSION, database, collection, _by_author),
        register(f"{name} unread by {reader}", VERSION, database, collection, unread),
    )


def _by_thread(_: str, message: dict[str, Any]) -> Rows:
    text = getattr(message.get("text"), "content", message.get("text"))
    shown = text[:PREVIEW_CHARACTERS] if isinstance(text, str) else None
    yield (message["thread"], message["at"]), {"author": message["author"], "text": shown}


def _by_author(_: str, message: dict[str, Any]) -> Rows:
    yield (message["author"], message["at"]), message["thread"]


def _unread(reader: Any, _: str, message: dict[str, Any]) -> Rows:
    if message["author"] != reader and message.get("read") is not True:
        yield (message["thread"], message["at"]), None
