"""Views: what is read often and is nobody's record: threads, authors, what is unread.

Reading is apart from writing: views are made from messages and marks alone, by `apply`, one change
at a time. Begun anew from all of them, in whatever order they come, they are the same.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import covey

from .domains import Message, ReadMark
from .records import Records

ALL = 10_000_000


@dataclass
class Views:
    """See the module. `us` is the author whose own messages are never unread."""

    us: str
    messages: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    """Message id -> its conversation, author and time. No text."""
    read_until: dict[str, int] = field(default_factory=dict)

    def apply_message(self, id: str, message: Message | None) -> None:
        if message is None:
            self.messages.pop(id, None)
        else:
            self.messages[id] = (message.conversation, message.author, message.at_ms)

    def apply_mark(self, id: str, mark: ReadMark | None) -> None:
        if mark is None:
            self.read_until.pop(id, None)
        else:
            self.read_until[id] = mark.until_ms

    def by_conversation(self) -> dict[str, int]:
        return dict(Counter(conversation for conversation, _, _ in self.messages.values()))

    def by_author(self) -> dict[str, int]:
        return dict(Counter(author for _, author, _ in self.messages.values()))

    def unread(self) -> dict[str, int]:
        """Conversation -> how many messages of others came after what was read; none of 0."""
        return dict(
            Counter(
                conversation
                for conversation, author, at_ms in self.messages.values()
                if author != self.us and at_ms > self.read_until.get(conversation, -1)
            )
        )

    def replay(self, messages: Iterable[Message], marks: Iterable[ReadMark]) -> None:
        """Begin anew, from all there are."""
        self.messages.clear()
        self.read_until.clear()
        for message in messages:
            self.apply_message(message.id, message)
        for mark in marks:
            self.apply_mark(mark.id, mark)


class ReadSide:
    """The views of one device, kept up with what happens here and elsewhere."""

    def __init__(self, records: Records, us: str) -> None:
        self.views = Views(us)
        self._messages = records.of("conversation", "messages")
        self._marks = records.of("conversation", "marks")

    async def follow(self, bus: covey.Bus) -> None:
        """Begin with what there is. What changes meanwhile is told after it: nothing is missed."""

        async def message(change: "covey.Changed[Message]") -> None:
            self.views.apply_message(change.id, change.item)

        async def mark(change: "covey.Changed[ReadMark]") -> None:
            self.views.apply_mark(change.id, change.item)

        bus.follow(self._messages, message)
        bus.follow(self._marks, mark)
        self.views.replay(
            await self._messages.find(limit=ALL, broken=[]),
            await self._marks.find(limit=ALL, broken=[]),
        )

    async def read(self, conversation: str | int, until_ms: int) -> None:
        """Everything up to a time was read, on any device. It is never taken back."""
        mark = await self._marks.get(conversation)
        if mark is None or mark.until_ms < until_ms:
            await self._marks.put(ReadMark(until_ms, str(conversation)))
