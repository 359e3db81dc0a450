"""Conflict rules of schemas: said for the whole mesh when a schema is installed, if an admin does.

A rule has to be the same on every device, so it is a setting of the mesh (docs/conflicts.md), and
only an admin can say it. What a person has said already stays. A member's device installs the rest
of a schema and tells which rules are still to be said.
"""

from typing import TYPE_CHECKING

from ...sync.policy import is_setting
from ...sync.rules import DELETION_RULES, RULE_NAMES
from ..conflict_methods import DELETED
from ..inbox import rule_key
from ..parameters import Json
from .reading import SchemaError
from .schema import Schema

if TYPE_CHECKING:
    from ..engine import Engine

SETTINGS_PER_OPERATION = 32


class RulesOfSchema:
    """Says and takes back the rules of schemas in one engine's mesh."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def require_known(self, schema: Schema) -> None:
        """Raises SchemaError for a rule that this device does not have."""
        known = (*RULE_NAMES, *self._engine.own_rules)
        for key, rule in rules_of(schema).items():
            allowed = DELETION_RULES if key.endswith(DELETED) else known
            if rule not in allowed:
                raise SchemaError(
                    f"{schema.name}: no conflict rule {rule!a:.40}; there are {', '.join(allowed)},"
                    " and what the application registers before it installs the schema"
                )
            if not is_setting(key, rule):
                raise SchemaError(f"{schema.name}: {key!a:.40}: too long a name to have a rule")

    async def say(self, schema: Schema, before: Schema | None) -> Json:
        """Say the rules: which were said, which stay as a person wants them, which an admin owes.

        Those of `before` that are no more are taken back.
        """
        was = {} if before is None else rules_of(before)
        wanted, standing = rules_of(schema), self._standing(schema.database)
        gone: dict[str, str | None] = {
            key: None for key in was if key not in wanted and standing.get(key) == was[key]
        }
        fresh = {
            key: rule
            for key, rule in wanted.items()
            if key not in standing or (standing[key] == was.get(key) and was[key] != rule)
        }
        left = [key for key in wanted if standing.get(key, wanted[key]) != wanted[key]]
        left = [key for key in left if key not in fresh]
        if not self._is_admin():
            return {"said": [], "left": sorted(left), "for_an_admin": sorted(fresh)}
        await self._set(schema.database, {**gone, **fresh})
        return {"said": sorted(fresh), "left": sorted(left), "for_an_admin": []}

    async def take_back(self, schema: Schema) -> Json:
        """Take back the rules that stand as the schema said them."""
        standing = self._standing(schema.database)
        ours = [key for key, rule in rules_of(schema).items() if standing.get(key) == rule]
        if not self._is_admin():
            return {"taken_back": [], "for_an_admin": sorted(ours)}
        await self._set(schema.database, dict.fromkeys(ours))
        return {"taken_back": sorted(ours), "for_an_admin": []}

    def _standing(self, database: str) -> dict[str, str]:
        said = self._engine.mesh.registry.settings.get((b"", database), {})
        return {key: str(value) for key, value in said.items()}

    def _is_admin(self) -> bool:
        return self._engine.mesh.us().role == "admin"

    async def _set(self, database: str, said: dict[str, str | None]) -> None:
        pairs = sorted(said.items())
        for start in range(0, len(pairs), SETTINGS_PER_OPERATION):
            part = dict(pairs[start : start + SETTINGS_PER_OPERATION])
            await self._engine.trust.set_policy(b"", database, part)


def rules_of(schema: Schema) -> dict[str, str]:
    """The settings of the mesh that a schema asks for."""
    found = {}
    for name, collection in schema.collections.items():
        if collection.rule is not None:
            found[rule_key(name, None)] = collection.rule
        if collection.deletion is not None:
            found[rule_key(name, DELETED)] = collection.deletion
        for field, rule in collection.rules.items():
            found[rule_key(name, field)] = rule
    return found
