"""Conversations: messages, the conversations that they are in, and one face for both.

`MessageCare` and `ConversationCare` each know one kind of record; `Conversations` is made of both
and does what concerns the two. None of them holds state but a cache of hot reads, which every
change, local or synced, empties in time.
"""

from dataclasses import replace
from typing import Any

import covey

from .cascade import Cascade
from .domains import Conversation, Message
from .embedding import Embedding
from .hot import HotReads
from .records import Records

CONTEXT_MESSAGES = 20
RECENT_MESSAGES_MAX = 1_000


class NoConversationError(LookupError):
    """There is no such conversation, or it was deleted."""


class MessageCare:
    """Messages, whatever they are in."""

    def __init__(self, records: Records, embedding: Embedding) -> None:
        self._embedding = embedding
        self.repository = records.of("conversation", "messages")

    async def write(self, message: Message) -> Message:
        """Keep a message, with what it means."""
        return replace(message, id=await self.repository.put(self.embedded(message)))

    def embedded(self, message: Message) -> Message:
        (vector,) = self._embedding.embed([message.text])
        return replace(message, embedding={self._embedding.model: covey.Vector(vector)})

    async def recent(self, conversation: str, count: int) -> list[Message]:
        """The newest, in the order in which they were written."""
        where, newest = {"conversation": conversation}, {"order": "at_ms", "descending": True}
        found = await self.repository.find(where, **newest, limit=count, broken=[])
        return found[::-1]


class ConversationCare:
    """Conversations, whatever is in them."""

    def __init__(self, records: Records) -> None:
        self.repository = records.of("conversation", "conversations")

    async def begin(self, title: str, now_ms: int, room: str = "") -> Conversation:
        conversation = Conversation(title, now_ms, room)
        return replace(conversation, id=await self.repository.put(conversation))

    async def newest(self, count: int = 20) -> list[Conversation]:
        return await self.repository.find(
            order="started_ms", descending=True, limit=count, broken=[]
        )

    async def rename(self, id: str | int, title: str) -> None:
        """Raises NoConversationError."""
        if not await self.repository.patch(id, title=title):
            raise NoConversationError(f"no conversation {id}")


class Conversations:
    """What an application uses: conversations with their messages."""

    def __init__(self, records: Records, embedding: Embedding) -> None:
        self.messages = MessageCare(records, embedding)
        self.care = ConversationCare(records)
        self.cascade = Cascade(
            records, "conversation", "conversations", "messages", field="conversation"
        )
        self.hot: HotReads[list[Message]] = HotReads()

    def follow(self, bus: covey.Bus) -> None:
        """Keep the cache true, and sweep what belongs to a deleted conversation, as it arrives."""
        bus.follow(self.messages.repository, self._message_changed)
        bus.follow(self.cascade.graves, self._grave_changed)
        self.hot.is_followed = True

    async def begin(self, title: str, now_ms: int, room: str = "") -> Conversation:
        return await self.care.begin(title, now_ms, room)

    async def say(self, conversation: str | int, author: str, text: str, now_ms: int) -> Message:
        """Raises NoConversationError."""
        if await self.care.repository.get(conversation) is None:
            raise NoConversationError(f"no conversation {conversation}")
        message = Message(str(conversation), author, text, now_ms)
        written = await self.messages.write(message)
        self.hot.forget(str(conversation))
        return written

    async def context(
        self, conversation: str | int, count: int = CONTEXT_MESSAGES
    ) -> list[Message]:
        """The last messages, oldest first; none of a conversation that was deleted."""
        if not 1 <= count <= RECENT_MESSAGES_MAX:
            raise ValueError(f"{count} messages, 1 to {RECENT_MESSAGES_MAX} allowed")
        id = str(conversation)

        async def read() -> list[Message]:
            if await self.cascade.is_buried(id):
                return []
            return await self.messages.recent(id, count)

        return await self.hot.read(id, count, read)

    async def delete(self, conversation: str | int, now_ms: int) -> int:
        """Delete it and its messages, on every device; how many messages there were here."""
        count = await self.cascade.delete(conversation, now_ms)
        self.hot.forget(str(conversation))
        return count

    async def sweep(self) -> int:
        """After the start: what arrived while nobody followed."""
        return await self.cascade.sweep()

    async def _message_changed(self, change: "covey.Changed[Any]") -> None:
        if change.item is None:
            self.hot.forget_all()
            return
        self.hot.forget(change.item.conversation)
        if await self.cascade.is_buried(change.item.conversation):
            await self.messages.repository.delete(change.id)

    async def _grave_changed(self, change: "covey.Changed[Any]") -> None:
        self.hot.forget_all()
        if change.item is not None:
            await self.cascade.sweep(change.id)
