"""Outcomes: what people are told of entries that came, beside the records that they changed.

Numbers, ids and names; never content.
"""

from collections.abc import Iterable
from typing import Any

from ..crypto.identity import short_id
from .audit import Audit
from .ledger import Log
from .mesh_view import MeshView
from .projection import Row


def set_aside(mesh: MeshView, log: Log, why: str) -> dict[str, Any]:
    """What people are told of one entry that is quarantined. `why` quotes nothing of it."""
    author = mesh.registry.devices.get(log.author)
    return {
        "device": short_id(log.author),
        "name": None if author is None else author.name,
        "databases": [log.scope.database] if log.scope.database else [],
        "entries": 1,
        "why": [why],
    }


def tell_disputes(audit: Audit, database: str, hlc: int, rows: Iterable[Row]) -> None:
    """Conflicts that came up by the changes of an entry of this time.

    Listeners hear of each, the log of all of them together.
    """
    told = {"open": 0, "settled": 0}
    strange: list[str] = []
    for row in rows:
        for conflict in row.conflicts or ():
            # One of the candidates is new, so nobody has heard of this conflict.
            if conflict.state in told and any(known.hlc == hlc for known in conflict.candidates):
                told[conflict.state] += 1
                event = {"id": conflict.id.hex(), "database": database, "state": conflict.state}
                if conflict.state == "open" and not conflict.rule_is_known:
                    event["unknown_rule"] = conflict.rule
                    strange.append(conflict.rule)
                audit.tell("conflict", {**event, "rule": conflict.rule})
    if any(told.values()):
        unknown = {"unknown_rules": sorted(set(strange))} if strange else {}
        audit.tally("disputed", {"database": database, **told, **unknown})
