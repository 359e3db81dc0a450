"""Identity: who the companion talks with, and who they talk of."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Person:
    name: str
    relation: str = ""
    """To the owner: sister, colleague, or "self"."""
    notes: str = ""
    id: str = ""


@dataclass(frozen=True)
class Account:
    """How a person is called elsewhere."""

    person: str
    service: str
    handle: str
    id: str = ""
