"""Library: documents in chunks, and search in them and in messages together."""

from dataclasses import dataclass
from typing import Any

import covey

from .cascade import Cascade
from .domains import Chunk, Document
from .embedding import Embedding
from .nearest import nearest
from .records import Records, place_of

CHUNK_WORDS = 80
OVERLAP_WORDS = 15
CHUNKS_MAX = 300
"""With their vectors about half of a change set, which holds about a megabyte."""


@dataclass(frozen=True)
class Hit:
    place: str
    text: str
    likeness: float


def chunks_of(text: str) -> list[str]:
    """Pieces of some words, each beginning with the last words of the one before."""
    words = text.split()
    step = CHUNK_WORDS - OVERLAP_WORDS
    starts = range(0, max(len(words) - OVERLAP_WORDS, 1), step)
    return [" ".join(words[at : at + CHUNK_WORDS]) for at in starts if words]


class Library:
    """The documents of one person, on one device."""

    def __init__(self, records: Records, embedding: Embedding) -> None:
        self._embedding = embedding
        self.documents = records.of("knowledge", "documents")
        self.chunks = records.of("knowledge", "chunks")
        self._messages = records.of("conversation", "messages")
        self.cascade = Cascade(records, "knowledge", "documents", "chunks", field="document")

    async def add(self, title: str, text: str, now_ms: int, language: str = "") -> str:
        """Keep a document with its chunks, which belong to it: all or nothing. Its id.

        Raises ValueError for one of too many chunks, CoveyError for one whose words are so long
        that its chunks do not fit one change set; nothing was written then.
        """
        pieces = chunks_of(text)
        if len(pieces) > CHUNKS_MAX:
            raise ValueError(f"{title}: {len(pieces)} chunks, {CHUNKS_MAX} allowed: split it")
        vectors = self._embedding.embed(pieces) if pieces else []
        async with covey.UnitOfWork(self.documents, self.chunks) as work:
            id = work.put(self.documents, Document(title, now_ms, language))
            for number, (piece, vector) in enumerate(zip(pieces, vectors, strict=True)):
                chunk = Chunk(id, number, piece, {self._embedding.model: covey.Vector(vector)})
                work.put(self.chunks, chunk)
        return id

    async def remove(self, document: str | int, now_ms: int) -> int:
        """Delete it with its chunks on all devices; how many chunks there were."""
        return await self.cascade.delete(document, now_ms)

    async def search(
        self, question: str, k: int = 5, *, chunks: Any = None, messages: Any = None
    ) -> list[Hit]:
        """Chunks and messages that are near in meaning. `chunks` and `messages` are filters by
        field; a kind whose filter is False is left out.
        """
        (asked,) = self._embedding.embed([question])
        hits = []
        for place, repository, where in (
            ("knowledge/chunks", self.chunks, chunks),
            ("conversation/messages", self._messages, messages),
        ):
            if where is False:
                continue
            nearby = await nearest(repository, asked, self._embedding, k=k, where=where)
            hits += [
                Hit(place_of(*place.split("/"), near.item.id), near.item.text, near.likeness)
                for near in nearby.found
                if near.likeness >= self._embedding.near
            ]
        return sorted(hits, key=lambda hit: (-hit.likeness, hit.place))[:k]
