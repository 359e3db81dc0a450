"""Outcome: what came of one run, as plain values that can cross a process boundary."""

from collections import Counter
from dataclasses import dataclass, field

from .plan import Plan
from .trace import Event
from .world import Violation


@dataclass(slots=True)
class Outcome:
    """One run. Times are virtual milliseconds; `cpu_s` is what the run cost."""

    plan: Plan
    violations: list[Violation]
    digest: str
    """Equal for equal runs, whatever the process."""
    events: int
    """Turns of the event loop."""
    virtual_ms: int
    settled_ms: int | None
    """How long after the last fault everybody held the same; None if never."""
    messages: int
    message_bytes: int
    bytes_by_kind: dict[str, int]
    """Bytes of session frames by kind of message, as sent by all devices."""
    writes: int
    acknowledged: int
    refused: int
    conflicts: int
    """Fields that were written by devices that did not know of each other's write."""
    high_water: dict[str, dict[str, int]]
    coverage: Counter[tuple[str, str]] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    timeline: list[Event] = field(default_factory=list)
    cpu_s: float = 0.0

    @property
    def ok(self) -> bool:
        return not self.violations
