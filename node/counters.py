"""Counters: how often each thing happened, by name, and nothing about whom it happened with.

A name is a constant of our code, such as `channel.refused.timeout`; an address, an id or anything
else that a peer chose never becomes one. That keeps the set small, safe to show on a health
endpoint, and useless to whoever reads it for finding out who talks to whom.

Counts are since the start of the process. No locking: one event loop owns a `Counters`.
"""

import re

COUNTERS_MAX = 512
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")


class Counters:
    """Named totals that only grow."""

    __slots__ = ("_totals",)

    def __init__(self) -> None:
        self._totals: dict[str, int] = {}

    def add(self, name: str, by: int = 1) -> None:
        """Add `by` (0 or more) to the counter `name`, which begins at 0."""
        assert by >= 0, "a counter only grows"
        if name in self._totals:
            self._totals[name] += by
            return
        assert _NAME.fullmatch(name), f"not a counter name: {name!r}"
        assert len(self._totals) < COUNTERS_MAX, "names must come from our code, not from peers"
        self._totals[name] = by

    def __getitem__(self, name: str) -> int:
        return self._totals.get(name, 0)

    def totals(self) -> dict[str, int]:
        """Return a copy of everything counted so far, in order of name."""
        return dict(sorted(self._totals.items()))
