"""Forgetting: how memories fade, are strengthened, and become one. Pure functions.

A memory fades by half in a time that grows with every use, as in Ebbinghaus' curve: what is
recalled often stays. Working memory is gone when it expires, unless it was of use: then it is
consolidated into episodic memory, and what was said again and again into semantic memory.
Two devices that consolidate the same apart come to the same id, and so to one memory.
"""

import hashlib
from collections.abc import Mapping, Sequence
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
    found: list[tuple[str, dict[str, list[float]], list[Memory]]] = []
    for memory in sorted(memories, key=lambda one: (one.made_ms, one.id)):
        words = _plain(memory.text)
        vectors = {model: vector.floats() for model, vector in memory.embedding.items()}
        for its_words, its_vectors, group in found:
            if words == its_words or _alike(vectors, its_vectors):
                group.append(memory)
                break
        else:
            found.append((words, vectors, [memory]))
    return [group for _, _, group in found]


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


def _alike(one: Mapping[str, Sequence[float]], other: Mapping[str, Sequence[float]]) -> bool:
    return any(
        model in other
        and len(vector) == len(other[model])
        and sum(map(mul, vector, other[model])) >= ALIKE
        for model, vector in one.items()
    )
