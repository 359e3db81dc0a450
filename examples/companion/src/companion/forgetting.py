"""Forgetting: how memories fade, are strengthened, and become one. Pure functions.

A memory fades by half in a time that grows with every use, as in Ebbinghaus' curve: what is
recalled often stays. Working memory is gone when it expires, unless it was of use: then it is
consolidated into episodic memory, and what was said again and again into semantic memory.
Two devices that consolidate the same apart come to the same id, and so to one memory.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import mul

import covey

from .domains import Memory

DAY_MS = 86_400_000
HALF_LIFE_DAYS = 7.0
WORKING_DAYS = 7
USES_MIN = 2
"""From so many uses on, a working memory has been of use."""
SAID_AGAIN_MIN = 3
"""From so many times on, what was said again counts as so."""
IMPORTANT = 0.8
ALIKE = 0.95
HEAD = 32
"""So many numbers of two vectors are compared before the others."""
ROUNDING = 1e-6


@dataclass(frozen=True)
class Kept:
    """A memory that is kept for good, of which kind, and the ids of those that it is made of."""

    kind: str
    memory: Memory
    made_of: tuple[str, ...]


@dataclass(frozen=True)
class Consolidation:
    """What becomes of working memories: some are kept, some are gone, and the others stay."""

    kept: list[Kept]
    gone: list[str]


def strength(memory: Memory, now_ms: int) -> float:
    """How present a memory is: its importance, halved with time since it was made or last used.

    From 0 to 1. A clock that is behind makes nothing stronger than it was.
    """
    since_ms = max(now_ms - max(memory.made_ms, memory.used_ms), 0)
    half_life_ms = HALF_LIFE_DAYS * DAY_MS * (1 + max(memory.uses.total, 0))
    return min(max(memory.importance, 0.0), 1.0) * 0.5 ** (since_ms / half_life_ms)


def reinforced(memory: Memory, now_ms: int) -> Memory:
    """The memory after it was recalled."""
    return replace(
        memory,
        uses=covey.Counter(memory.uses.total + 1),
        used_ms=max(memory.used_ms, now_ms),
    )


def is_expired(memory: Memory, now_ms: int) -> bool:
    """True from the moment on at which it expires; never for what does not."""
    return memory.expires_ms is not None and now_ms >= memory.expires_ms


def together(importances: Sequence[float]) -> float:
    """The importance of what was said several times: more than each, and never above 1."""
    left = 1.0
    for importance in importances:
        left *= 1 - min(max(importance, 0.0), 1.0)
    return 1 - left


def groups(memories: Sequence[Memory]) -> list[list[Memory]]:
    """Those that say the same, together; oldest first. Only vectors of one model are compared."""
    found: list[list[Memory]] = []
    by_words: dict[str, int] = {}
    by_model: dict[tuple[str, int], list[tuple[int, _Direction]]] = {}
    for memory in sorted(memories, key=lambda one: (one.made_ms, one.id)):
        words = _plain(memory.text)
        of_models = {
            (model, len(vector.floats())): _Direction(vector.floats())
            for model, vector in memory.embedding.items()
        }
        # The oldest group that it belongs to: by its words, or by what it means if that is older.
        at = by_words.get(words, len(found))
        for model, direction in of_models.items():
            for older, its in by_model.get(model, ()):
                if older >= at:
                    break
                if direction.is_like(its):
                    at = older
        if at < len(found):
            found[at].append(memory)
            continue
        by_words[words] = at
        for model, direction in of_models.items():
            by_model.setdefault(model, []).append((at, direction))
        found.append([memory])
    return found


def consolidate(working: Sequence[Memory], now_ms: int) -> Consolidation:
    """What to keep for good of working memory, and what to let go. Changes nothing itself."""
    kept, gone = [], []
    for group in groups(working):
        uses = sum(memory.uses.total for memory in group)
        importance = together([memory.importance for memory in group])
        said_again = len(group) >= SAID_AGAIN_MIN
        if said_again or uses >= USES_MIN or importance >= IMPORTANT:
            kind = "semantic" if said_again else "episodic"
            made_of = tuple(memory.id for memory in group)
            kept.append(Kept(kind, _one_of(group, importance, uses), made_of))
        else:
            gone += [memory.id for memory in group if is_expired(memory, now_ms)]
    return Consolidation(kept, gone)


def memory_id(text: str) -> str:
    """The id of a memory that is kept for good: the same for the same words on every device."""
    return hashlib.blake2b(_plain(text).encode("utf-8", "replace"), digest_size=12).hexdigest()


def _one_of(group: Sequence[Memory], importance: float, uses: int) -> Memory:
    first = group[0]
    return replace(
        first,
        id=memory_id(first.text),
        importance=importance,
        uses=covey.Counter(uses),
        used_ms=max(memory.used_ms for memory in group),
        expires_ms=None,
    )


def _plain(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())


class _Direction:
    """A vector of length 1 or 0, to be compared with many others."""

    def __init__(self, vector: Sequence[float]) -> None:
        self._head, self._tail = vector[:HEAD], vector[HEAD:]
        self._tail_length = math.hypot(*self._tail)

    def is_like(self, other: "_Direction") -> bool:
        likeness = sum(map(mul, self._head, other._head))
        # What is left adds no more than the product of its lengths (Cauchy and Schwarz), so a few
        # numbers tell most pairs apart.
        if likeness + self._tail_length * other._tail_length < ALIKE - ROUNDING:
            return False
        return likeness + sum(map(mul, self._tail, other._tail)) >= ALIKE
