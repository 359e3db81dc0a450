"""Judging: what records that were written apart come to, by the rules of the mesh.

Rules are settings of the mesh: `rule.COLLECTION.FIELD`, else `rule.COLLECTION`, else `rule`, of a
database or of all. Whoever has no rule has *last writer wins*, and a deletion that did not know of
an edit gives way to it. An application may bring rules of its own; a device that lacks one leaves
the field open.

Spec: docs/protocol.md, section 13.
"""

import json
from collections.abc import Mapping

from ..sync.change import DELETED_KEY
from ..sync.policy import RULE
from ..sync.record_state import RecordState
from ..sync.resolution import Resolution, Resolver, RuleOf, resolve
from ..sync.rules import EDIT_WINS, LAST_WRITER_WINS, Rule
from .ledger import Ledger
from .mesh_view import MeshView

NOBODY = bytes(32)
"""Whoever wrote under an instance of which no log is here any more."""


class Judge:
    """Resolves records of one store."""

    def __init__(self, ledger: Ledger, mesh: MeshView, own_rules: Mapping[str, Rule]) -> None:
        self._ledger = ledger
        self._mesh = mesh
        self._own_rules = own_rules

    def resolution(self, key: tuple[int, str, str], state: RecordState) -> Resolution | None:
        """What a record comes to; None where no two changes were made apart."""
        if not state.contested:
            return None
        return resolve(state, self.resolver(key, state))

    def resolver(self, key: tuple[int, str, str], state: RecordState) -> Resolver:
        """What is known of a record beside its changes."""
        scope, collection, id = key
        database = self._ledger.scope_numbered(scope).database
        name = json.dumps([database, collection, id]).encode()

        def stamp(actor: bytes, seq: int) -> tuple[int, bytes]:
            times = state.stamps.get(actor, ())
            hlc = times[seq - 1] if seq <= len(times) else 0
            return hlc, self._ledger.author_of(actor) or NOBODY

        return Resolver(name, stamp, self.rule_of(database, collection), self._own_rules)

    def rule_of(self, database: str, collection: str) -> RuleOf:
        """The rules of a collection, by root field."""
        settings = self._mesh.registry.settings
        layers = [settings.get((b"", database), {}), settings.get((b"", ""), {})]

        def rule_of(field: str) -> str:
            names = (f"{RULE}.{collection}.{field}", f"{RULE}.{collection}", RULE)
            # What holds for all fields of a collection says nothing about deleting a record.
            for name in names[:1] if field == DELETED_KEY else names:
                for layer in layers:
                    if name in layer:
                        return str(layer[name])
            return EDIT_WINS if field == DELETED_KEY else LAST_WRITER_WINS

        return rule_of
