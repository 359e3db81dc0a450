"""Hot reads: answers that are asked for again and again, kept until something they show changes.

Nothing is kept as long as nobody follows the changes: an old answer is worse than a slow one.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

V = TypeVar("V")

ANSWERS_MAX = 256


class HotReads(Generic[V]):
    """Answers by subject (such as a conversation) and form (such as how many messages)."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, dict[object, V]] = OrderedDict()
        self._changes = 0
        self.is_followed = False
        self.hits = self.misses = 0

    async def read(self, subject: str, form: object, read: Callable[[], Awaitable[V]]) -> V:
        """The kept answer, or a new one."""
        answers = self._answers.get(subject, {})
        if form in answers:
            self.hits += 1
            self._answers.move_to_end(subject)
            return answers[form]
        self.misses += 1
        changes = self._changes
        answer = await read()
        # What changed while it was read may not be in it.
        if self.is_followed and changes == self._changes:
            self._answers.setdefault(subject, {})[form] = answer
            while len(self._answers) > ANSWERS_MAX:
                self._answers.popitem(last=False)
        return answer

    def forget(self, subject: str) -> None:
        self._changes += 1
        self._answers.pop(subject, None)

    def forget_all(self) -> None:
        self._changes += 1
        self._answers.clear()
