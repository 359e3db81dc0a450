"""Schema methods: what the service and the Python API offer of schemas.

JSON in, JSON out for the service; what is done is in `schemas.py` and `migrating.py`. A definition
comes as the text of its file, so that errors name the line also when another process reads it.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..parameters import Json, UsageError, text
from .schema import schema_named
from .schemas import FAULTS_MAX

if TYPE_CHECKING:
    from ..engine import Engine

HISTORY_LIMIT_MAX = 10_000


class SchemaMethods:
    """The methods, by name, for one engine."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def table(self) -> dict[str, Callable[[Json], Awaitable[Any]]]:
        return {
            "schemas": self._list,
            "schema_show": self._show,
            "schema_install": self._install,
            "schema_remove": self._remove,
            "schema_check": self._check,
            "schema_migrate": self._migrate,
            "schema_history": self._history,
        }

    async def _list(self, _: Json) -> Json:
        return {"schemas": await self._engine.schemas.rows()}

    async def _show(self, params: Json) -> Json:
        schemas, name = self._engine.schemas, text(params, "name")
        definition = dict(schemas.named(name).data)
        return {**await schemas.row(name), "definition": definition}

    async def _install(self, params: Json) -> Json:
        # Imported late: few commands read the file of a schema, and all load this module.
        from .schema_file import parse_schema

        name = "schema" if params.get("file") is None else text(params, "file")
        schema = parse_schema(text(params, "definition"), name, is_json=bool(params.get("is_json")))
        migrate = params.get("migrate", True)
        return await self._engine.schemas.install(
            schema, migrate=bool(migrate), backup=_backup(params)
        )

    async def _remove(self, params: Json) -> Json:
        records = bool(params.get("records"))
        return await self._engine.schemas.uninstall(text(params, "name"), records=records)

    async def _check(self, params: Json) -> Json:
        return await self._engine.schemas.check(text(params, "database"), _limit(params))

    async def _migrate(self, params: Json) -> Json:
        to = params.get("to")
        if to is not None and type(to) is not int:
            raise UsageError("to: the number of a version was expected")
        name = text(params, "name")
        return await self._engine.schemas.migrate(name, to, backup=_backup(params))

    async def _history(self, params: Json) -> Json:
        name = None if params.get("name") is None else text(params, "name")
        return {"history": await self._engine.schemas.history(name, _limit(params))}


class SchemaCalls:
    """What a `Node` offers of schemas."""

    engine: "Engine"

    async def install(
        self, schema: Any, *, migrate: bool = True, backup: str | Path | bool | None = None
    ) -> Json:
        """Let a schema hold here, and bring the records of its collections to its version.

        `schema` is what `register_schema` was put on, its name, or a definition as data. To be
        called at each start of the application: then it only brings up what older devices wrote
        since. Before a migration a backup is made beside the home, or where `backup` says; none if
        it is False. What it did, as `covey schema install --json` prints it.

        Raises SchemaError, SchemaDriftError, MigrationError, StorageError.
        """
        place = Path(backup).absolute() if isinstance(backup, str | Path) else backup
        schemas = self.engine.schemas
        return await schemas.install(schema_named(schema), migrate=migrate, backup=place)

    async def uninstall(self, name: str, *, records: bool = False) -> Json:
        """Let a schema hold no more. Its records stay unless `records` deletes them everywhere.

        Raises NoSchemaError, StorageError.
        """
        return await self.engine.schemas.uninstall(name, records=records)

    async def migrate(
        self, name: str, to: int | None = None, *, backup: str | Path | bool | None = None
    ) -> Json:
        """Bring the records of an installed schema to a version of it, up or down.

        Raises NoSchemaError, SchemaError, MigrationError, StorageError.
        """
        place = Path(backup).absolute() if isinstance(backup, str | Path) else backup
        return await self.engine.schemas.migrate(name, to, backup=place)

    async def schemas(self) -> list[Json]:
        """What is installed here, by priority, with what other devices have of it."""
        return await self.engine.schemas.rows()


def _limit(params: Json) -> int:
    limit = params.get("limit", 100)
    if type(limit) is not int or not 0 < limit <= FAULTS_MAX:
        raise UsageError(f"limit: a number from 1 to {FAULTS_MAX} was expected")
    return limit


def _backup(params: Json) -> Path | bool | None:
    backup = params.get("backup")
    if backup is None or backup is False:
        return backup
    path = Path(text(params, "backup"))
    if not path.is_absolute():
        raise UsageError("backup: the absolute path of a new file was expected")
    return path
