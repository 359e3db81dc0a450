"""Memory: working (soon gone), episodic (what happened), semantic (what is so), procedural."""

from dataclasses import dataclass, field

import covey


@dataclass(frozen=True)
class Memory:
    text: str
    made_ms: int
    importance: float = 0.5
    """From 0 to 1, as it was made."""
    used_ms: int = 0
    """When it was last recalled, on any device."""
    uses: covey.Counter = field(default_factory=lambda: covey.Counter(0))
    """How often it was recalled: devices that were apart add up."""
    expires_ms: int | None = None
    """For working memory: when it is forgotten, unless it was of use."""
    embedding: dict[str, covey.Vector] = field(default_factory=dict)
    """Model -> what it makes of the text. Vectors of two models are never compared."""
    id: str = ""


@dataclass(frozen=True)
class Skill(Memory):
    """How something is done."""

    steps: tuple[str, ...] = ()
