"""Schemas: what an application, or a plugin, says of the records of one database.

    @covey.register_schema("memory", kind="companion", priority=10)
    class Memory:
        version = 2
        collections = {"facts": {"fields": {"text": {"type": "string", "required": True}}}}
        migrations = [covey.Migration(2, "facts", changes=[{"rename": "body", "to": "text"}])]

A registered schema is found by `registered`, in order of priority; it means something for a node
once that node has installed it (`schemas.py`). The same can stand in a file (`schema_file.py`).
Whatever is made from one is a function of its data and of the steps, and checksummed.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ...sync.limits import DATABASE_NAME_BYTES_MAX
from ...sync.values import to_json
from .definition import COLLECTIONS_MAX, CollectionSchema, read_collection
from .reading import (
    Path,
    Read,
    SchemaError,
    name_of,
    read_keys,
    read_table,
    whole_number,
)
from .steps import VERSION_MAX, Migration, checksums, digest, read_migration

T = TypeVar("T")

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,47}")
"""Also the name of a file (the backup before a migration) and the id of a record."""
PRIORITY_DEFAULT = 100
PRIORITY_MAX = 1_000_000
KIND_DEFAULT = "records"
MIGRATIONS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Schema:
    """All that is said of some collections of one database, at one version."""

    name: str
    kind: str
    priority: int
    """Smaller comes first."""
    version: int
    database: str
    collections: Mapping[str, CollectionSchema]
    migrations: tuple[Migration, ...]
    data: Mapping[str, Any]
    """Its definition in JSON form, from which `read_schema` makes an equal one."""

    @property
    def checksum(self) -> str:
        """Of all but what says where it is found: two of one version have the same, or differ."""
        said = {key: self.data[key] for key in ("version", "database", "collections")}
        return digest(said)

    @property
    def steps(self) -> dict[int, str]:
        """The checksums of its steps, by number."""
        return checksums(self.migrations)

    def between(self, low: int, high: int) -> list[int]:
        """The numbers of the steps that lead from one version to a higher one, ascending."""
        return sorted(number for number in self.steps if low < number <= high)

    def parts(self, number: int) -> list[Migration]:
        """What a step does, in order."""
        return [one for one in self.migrations if one.number == number]


def read_schema(data: Any, path: Path = ()) -> Schema:
    """The schema of a definition. Raises SchemaError with the path of what is wrong."""
    said = read_keys(data, path, _KEYS)
    for key in ("name", "version", "collections"):
        if key not in said:
            raise SchemaError(f"{key} is missing", path)
    said = {"kind": KIND_DEFAULT, "priority": PRIORITY_DEFAULT, "database": said["name"], **said}
    migrations: tuple[Migration, ...] = said.pop("migrations", ())
    for at, one in enumerate(migrations):
        where = (*path, "migrations", str(at))
        if one.number > said["version"]:
            raise SchemaError(f"number {one.number} is above version {said['version']}", where)
        if at and one.number < migrations[at - 1].number:
            raise SchemaError("the numbers of migrations ascend", where)
    _refuse_reused_names(said["collections"], migrations, path)
    _refuse_mixed_names(migrations, path)
    plain = {
        **{key: said[key] for key in ("name", "kind", "priority", "version", "database")},
        "collections": to_json(_listed(data["collections"])),
        "migrations": [one.data() for one in migrations],
    }
    return Schema(**said, migrations=migrations, data=plain)


def register_schema(
    name: str, kind: str = KIND_DEFAULT, priority: int = PRIORITY_DEFAULT
) -> Callable[[T], T]:
    """Register what a class, or what a function returns, says as a schema of this process.

    A class has `version`, `collections` and, if it wants, `database` (named as the schema if not)
    and `migrations`; a function returns a map with these. Raises SchemaError, also for a name that
    is taken by another one.
    """

    def register(source: T) -> T:
        said = _said_by(source)
        schema = read_schema({"name": name, "kind": kind, "priority": priority, **said})
        known = _registered.get(name)
        if known is not None and (known.checksum, known.steps) != (schema.checksum, schema.steps):
            raise SchemaError(f"{name}: another schema of this name is registered already")
        _registered[name] = schema
        source.__covey_schema__ = name  # type: ignore[attr-defined]  # so that it stands for it
        return source

    return register


def registered(kind: str | None = None) -> list[Schema]:
    """The schemas of this process, of one kind or all, by priority and then by name."""
    found = (one for one in _registered.values() if kind in (None, one.kind))
    return sorted(found, key=lambda one: (one.priority, one.name))


def schema_named(source: Any) -> Schema:
    """The schema that an application means: one, the name or the source of a registered one, or a
    definition as data. Raises SchemaError.
    """
    if isinstance(source, Schema):
        return source
    if isinstance(source, Mapping):
        return read_schema(source)
    name = source if isinstance(source, str) else getattr(source, "__covey_schema__", None)
    found = _registered.get(name) if isinstance(name, str) else None
    if found is None:
        raise SchemaError(f"{source!a:.60}: no schema is registered as this: register_schema first")
    return found


def unregister_schema(name: str) -> None:
    """Forget a schema of this process; what nodes have installed stays."""
    _registered.pop(name, None)


def find_schema(name: str) -> Schema | None:
    """The registered schema of a name."""
    return _registered.get(name)


_registered: dict[str, Schema] = {}


def _said_by(source: Any) -> Mapping[str, Any]:
    if isinstance(source, type):
        keys = ("version", "database", "collections", "migrations")
        return {key: getattr(source, key) for key in keys if hasattr(source, key)}
    said = source()
    if not isinstance(said, Mapping):
        raise SchemaError(f"{source.__name__}: a map was expected, not {type(said).__name__}")
    return said


def _name(value: Any, path: Path) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise SchemaError("1 to 48 of a-z, 0-9, _ and - were expected, a letter first", path)
    return value


def _collections(data: Any, path: Path) -> dict[str, CollectionSchema]:
    table = read_table(data, path)
    if not 1 <= len(table) <= COLLECTIONS_MAX:
        raise SchemaError(f"{len(table)} collections, 1 to {COLLECTIONS_MAX} allowed", path)
    return {
        _collection_name(name, path): read_collection(one, (*path, str(name)))
        for name, one in table.items()
    }


def _collection_name(name: Any, path: Path) -> str:
    found = name_of(name, (*path, str(name)[:40]))
    if found[:1] == "_":
        raise SchemaError("collections whose names begin with _ are Covey's own", (*path, found))
    return found


def _migrations(data: Any, path: Path) -> tuple[Migration, ...]:
    if not isinstance(data, Sequence) or isinstance(data, str) or len(data) > MIGRATIONS_MAX:
        raise SchemaError(f"an array of at most {MIGRATIONS_MAX} was expected", path)
    return tuple(read_migration(one, (*path, str(at))) for at, one in enumerate(data))


def _refuse_reused_names(
    collections: Mapping[str, CollectionSchema], migrations: Sequence[Migration], path: Path
) -> None:
    """A name that a step takes away must not come back with another meaning.

    Older devices go on writing it in the old one, and nothing in a record tells the two apart.
    """
    for one in migrations:
        gone = [change.get("rename", change.get("remove")) for change in one.changes]
        schema = collections.get(one.collection)
        for name in gone:
            if schema is not None and name in schema.fields:
                raise SchemaError(
                    f"step {one.number} takes the field {name!a:.40} away: give another name to"
                    " what is new",
                    (*path, "collections", one.collection, "fields", str(name)),
                )


def _refuse_mixed_names(migrations: Sequence[Migration], path: Path) -> None:
    """No name is brought back after it was taken away, and no two fields get one name.

    All steps are gone through again for what comes late, also on records that are new already: one
    that came back would lose its value each time, and of two that become one a value is lost.
    """
    taken: dict[tuple[str, str], int] = {}
    targets: dict[tuple[str, str], int] = {}
    for at, one in enumerate(migrations):
        for change in one.changes:
            why = None
            old = one.collection, change.get("rename", change.get("remove", ""))
            new = one.collection, change.get("to", change.get("add", ""))
            if new in taken:
                why = f"brings back the name {new[1]!a:.40}, which step {taken[new]} takes away"
            elif "to" in change and new in targets:
                why = f"gives the name {new[1]!a:.40} to a second field"
            elif targets.get(old) == one.number:
                why = f"renames {old[1]!a:.40} twice: say it in one change"
            if why is not None:
                raise SchemaError(f"step {one.number} {why}", (*path, "migrations", str(at)))
            if old[1]:
                taken[old] = one.number
            if "to" in change:
                targets[new] = one.number


def _listed(value: Any) -> Any:
    """The same with lists and dicts alone, whatever kinds of them an application has."""
    if isinstance(value, Mapping):
        return {name: _listed(item) for name, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


_KEYS: dict[str, Read] = {
    "name": _name,
    "kind": name_of,
    "priority": whole_number(0, PRIORITY_MAX),
    "version": whole_number(1, VERSION_MAX),
    "database": lambda value, path: name_of(value, path, DATABASE_NAME_BYTES_MAX),
    "collections": _collections,
    "migrations": _migrations,
}
