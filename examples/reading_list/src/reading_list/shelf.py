"""The shelf: articles to read, kept in Covey so that every device has them.

Two rules make edits that were made apart agree, whatever the order in which devices meet:

- An article is known by its address. Who saves it a second time, here or on another device, gets
  the one that is there.
- What was read stays read. Finishing an article only ever writes `read`; a new title or a note
  written elsewhere at the same time touches other fields and cannot undo it.

Notes are private: devices of level full have them, those of level limited and up only see the list.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import covey

DATABASE = "reading"


@dataclass(frozen=True)
class Article:
    address: str
    title: str
    read: bool


class Shelf:
    """The reading list of one device. `node` is an open Covey node."""

    def __init__(self, node: covey.Node) -> None:
        database = node.database(DATABASE)
        self._articles = database.collection("articles")
        self._notes = database.collection("notes")

    async def save(self, address: str, title: str) -> None:
        """Put an article on the list, or give one that is there another title."""
        # `read` is left out: a device that has not heard of the article yet must not unread it.
        await self._articles.put({"title": title}, id=address, privacy="family")

    async def finish(self, address: str) -> None:
        """Mark an article as read. Raises KeyError."""
        await self._require(address)
        await self._articles.put({"read": True}, id=address, privacy="family")

    async def note(self, address: str, text: str) -> None:
        """Keep a note on an article, character by character with those of other devices."""
        await self._require(address)
        await self._notes.put({"text": covey.Text(text)}, id=address)

    async def note_on(self, address: str) -> str:
        """The note on an article; empty if there is none that this device may see."""
        found = await self._notes.get(address)
        return "" if found is None else str(found["text"].content)

    async def unread(self) -> list[Article]:
        """What is still to be read, by title."""
        found = await self._articles.find(order="title", limit=1_000)
        articles = [_article(each.id, each.value) for each in found]
        return [article for article in articles if not article.read]

    async def changes(self) -> AsyncIterator[Article]:
        """Articles as they change here or arrive from other devices, for a screen to redraw."""
        async with self._articles.watch() as watch:
            async for change in watch:
                if change.record is not None:
                    yield _article(change.id, change.record)

    async def _require(self, address: str) -> None:
        if await self._articles.get(address) is None:
            raise KeyError(address)


def _article(address: str, fields: dict[str, Any]) -> Article:
    return Article(address, fields.get("title", address), bool(fields.get("read")))
