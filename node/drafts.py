"""Drafts: what one write puts into one scope, before it is sealed; a draft each (`writer.py`)."""

from dataclasses import dataclass, field

from ..sync.changeset import RecordChange
from ..sync.record_state import RecordState
from ..sync.tagging import TagRules
from .committer import Outlet
from .ledger import Scope
from .projection import Key, Row
from .shelf import Shelved


@dataclass(slots=True)
class Draft:
    """The change set under construction for one scope."""

    scope: Scope
    outlet: Outlet | None = None
    """None as long as nothing is to be changed there."""
    hlc: int = 0
    """The time of its entry, once there is a change."""
    changes: list[RecordChange] = field(default_factory=list)
    states: dict[Key, RecordState] = field(default_factory=dict)
    """The newest state of each record touched; later requests build on it."""
    pinned: list[Shelved] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    rules: TagRules = field(default_factory=dict)
