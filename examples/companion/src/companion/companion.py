"""Companion: hears a sentence, and remembers it or answers with what it remembers.

It is no language model, and says so: it writes no sentence of its own about the world. What it
answers is what it was told, found by meaning, with the day on which it was told.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import covey

from .conversations import Conversations
from .domains import AuditEntry, Conversation, Message
from .embedding import Embedding
from .library import Library
from .memories import Memories, Recalled
from .records import Records, place_of

YOU, COMPANION = "you", "companion"
TITLE = "talk"
WORDS_SHOWN_MAX = 40

_KEEP = re.compile(r"(please\s+)?remember(\s+that|\s*:)?\s+(?P<what>.+)", re.I | re.S)
_ASKED = re.compile(
    r"(what|who|whom|whose|where|when|which|why|how|do|does|did|is|are|was|were|can|tell me)\b",
    re.I,
)


@dataclass(frozen=True)
class Hear:
    """A message for the bus: somebody said this."""

    text: str


@dataclass(frozen=True)
class Reply:
    text: str
    recalled: tuple[Recalled, ...] = ()


class Companion:
    """One companion on one device. `now_ms` tells the time in milliseconds since 1970."""

    def __init__(self, records: Records, embedding: Embedding, now_ms: Callable[[], int]) -> None:
        self.records = records
        self.embedding = embedding
        self.now_ms = now_ms
        self.conversations = Conversations(records, embedding)
        self.memories = Memories(records, embedding)
        self.library = Library(records, embedding)
        self._conversation: str | None = None

    def join(self, bus: covey.Bus) -> None:
        """Hear what is sent on a bus, and follow what other devices do."""
        bus.handle(Hear, lambda heard: self.hear(heard.text))
        self.conversations.follow(bus)

    async def start(self) -> None:
        """After the start: tidy the memory, and finish deletions that other devices began."""
        await self.conversations.sweep()
        await self.library.cascade.sweep()
        await self.memories.tidy(self.now_ms())

    async def hear(self, text: str) -> Reply:
        """Answer one sentence. Both are kept as messages. Raises ValueError for an empty one."""
        if not text.strip():
            raise ValueError("nothing was said")
        conversation = await self._current()
        heard = await self.conversations.say(conversation, YOU, text, self.now_ms())
        reply = await self._answer(text.strip(), heard)
        said = await self.conversations.say(conversation, COMPANION, reply.text, self.now_ms())
        here = place_of("conversation", "messages", said.id)
        for recalled in reply.recalled:
            await self.records.link(here, "recalls", recalled.place)
            await self.memories.use(recalled.place, self.now_ms())
        return reply

    async def _answer(self, text: str, heard: Message) -> Reply:
        asked_to_keep = _KEEP.fullmatch(text)
        if asked_to_keep is None and (text.endswith("?") or _ASKED.match(text)):
            found = await self.memories.recall(text, self.now_ms())
            return Reply(_told(found), tuple(found))
        if asked_to_keep is not None:
            text = asked_to_keep["what"].strip()
            place = await self.memories.keep(text, self.now_ms())
            said = f"I will remember: {_short(text)}"
        else:
            place = await self.memories.note(text, self.now_ms())
            said = "Noted, for a week, or for longer if it comes up again."
        await self.records.link(place, "from", place_of("conversation", "messages", heard.id))
        return Reply(said)

    async def forget(self, text: str) -> str:
        """Delete the memory that is nearest to a text; what was deleted, in words."""
        found = await self.memories.recall(text, self.now_ms(), k=1)
        if not found:
            return "I remember nothing like it."
        await self.memories.forget(found[0].place)
        await self._audit("forgotten", found[0].place)
        return f"Forgotten, on all devices: {_short(found[0].memory.text)}"

    async def forget_conversation(self) -> int:
        """Delete the conversation with its messages; what was remembered of it stays."""
        conversation = await self._current()
        count = await self.conversations.delete(conversation, self.now_ms())
        await self._audit("deleted", place_of("conversation", "conversations", conversation))
        self._conversation = None
        return count

    async def _audit(self, what: str, place: str) -> None:
        """What was deleted, by its place alone."""
        await self.records.of("system", "audit").put(AuditEntry(self.now_ms(), what, place))

    async def _current(self) -> str:
        """The newest conversation, which may be of another device, or a new one."""
        repository = self.conversations.care.repository
        if self._conversation is None or await repository.get(self._conversation) is None:
            newest: list[Conversation] = await self.conversations.care.newest(1)
            if not newest:
                newest = [await self.conversations.begin(TITLE, self.now_ms())]
            self._conversation = newest[0].id
        return self._conversation

    def about(self) -> str:
        """What it is, honestly."""
        how = (
            "by meaning, with word meanings that were learned by a language model"
            if self.embedding.is_of_meaning
            else "by words that they share: without the extra companion[meaning] I know no meanings"
        )
        return (
            "I am not a language model. I remember what you tell me, on your devices alone,"
            f" and find it again {how}."
        )


def _told(found: list[Recalled]) -> str:
    if not found:
        return "I remember nothing like it, and I know only what I was told."
    return "You told me:" + "".join(
        f"\n  {_day(one.memory.made_ms)}: {_short(one.memory.text)}" for one in found
    )


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")


def _short(text: str) -> str:
    words = text.split()
    return " ".join(words[:WORDS_SHOWN_MAX]) + (" …" if len(words) > WORDS_SHOWN_MAX else "")
