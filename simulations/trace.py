"""Trace: what happened in a run, for people and for comparing runs.

The digest covers every event and every message in order, with their virtual times: two runs with
one digest were the same run. The list of events is what the timeline shows; it is bounded, the
digest is not. Details never hold contents of records.
"""

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

EVENTS_MAX = 50_000


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a device, or (with an empty name) to the world."""

    at_ms: int
    device: str
    kind: str
    detail: str = ""


@dataclass(slots=True)
class Trace:
    """See the module."""

    events: list[Event] = field(default_factory=list)
    dropped: int = 0
    messages: int = 0
    message_bytes: int = 0
    _digest: Any = field(default_factory=lambda: blake2b(digest_size=16))

    def note(self, at_ms: int, device: str, kind: str, detail: str = "") -> None:
        self._digest.update(f"{at_ms} {device} {kind} {detail}\n".encode())
        if len(self.events) < EVENTS_MAX:
            self.events.append(Event(at_ms, device, kind, detail))
        else:
            self.dropped += 1

    def message(self, at_ms: float, source: str, target: str, data: bytes) -> None:
        """A message left; its bytes are ciphertext, and the same in the same run."""
        self.messages += 1
        self.message_bytes += len(data)
        self._digest.update(f"{at_ms} {source}>{target} {len(data)} ".encode())
        self._digest.update(data[:64])

    @property
    def digest(self) -> str:
        """32 hex digits."""
        return str(self._digest.hexdigest())
