"""Persona: how the companion is."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Persona:
    name: str
    active: bool = False
    greeting: str = ""
    traits: dict[str, float] = field(default_factory=dict)
    """From 0 to 1."""
    id: str = ""
