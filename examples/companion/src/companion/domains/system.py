"""System: settings, what was done, and numbers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    value: str
    id: str = ""


@dataclass(frozen=True)
class AuditEntry:
    """What was done to which place. It holds no content."""

    at_ms: int
    what: str
    about: str = ""
    id: str = ""


@dataclass(frozen=True)
class Metric:
    name: str
    value: float
    at_ms: int
    id: str = ""
