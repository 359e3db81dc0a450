"""Links: typed, from any record of any domain to any other, and the walk along them.

A link is a record of its own beside its source. Its id follows from what it says, so that two
devices that link the same apart have made one link. Where its target is gone, or not on this
device, the walk says so.
"""

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

DEPTH_MAX = 10
STEPS_MAX = 10_000


@dataclass(frozen=True)
class Link:
    """`source` and `target` are places."""

    source: str
    kind: str
    target: str
    id: str = ""


@dataclass(frozen=True)
class Step:
    """One record that was reached: over which link, in how many steps. `item` None: not here."""

    place: str
    depth: int
    kind: str
    via: str
    item: Any


def link(source: str, kind: str, target: str) -> Link:
    """The one link that says so."""
    said = "\0".join((source, kind, target)).encode()
    return Link(source, kind, target, hashlib.blake2b(said, digest_size=12).hexdigest())


async def walk(
    start: str,
    depth: int,
    outgoing: Callable[[list[str]], Awaitable[Iterable[Link]]],
    kinds: frozenset[str] | None = None,
) -> list[tuple[str, int, Link]]:
    """Places that can be reached in at most `depth` links, nearest first, each once.

    `outgoing` gives the links of some places; those of one level are asked for together. Raises
    ValueError.
    """
    if not 0 <= depth <= DEPTH_MAX:
        raise ValueError(f"a depth of {depth}, 0 to {DEPTH_MAX} allowed")
    seen, level, found = {start}, [start], []
    for far in range(1, depth + 1):
        links = sorted(await outgoing(level), key=lambda one: (one.source, one.kind, one.target))
        level = []
        for one in links:
            if one.target in seen or (kinds is not None and one.kind not in kinds):
                continue
            if len(found) >= STEPS_MAX:
                return found
            seen.add(one.target)
            level.append(one.target)
            found.append((one.target, far, one))
    return found
