"""Drift: whether a schema is the one that was installed, and its steps those that were applied.

A step that was applied is a fact of the records. Whoever edits it is told, by its checksum, before
anything is done; so is who gives another definition under a version that is known.
"""

import json
from collections.abc import Mapping, Sequence

from ...storage.schema_rows import Done, Installed
from ...sync.values import from_json
from .reading import SchemaError
from .schema import Schema, read_schema
from .schema_news import Said, other_step


class SchemaDriftError(SchemaError):
    """A schema is another one than what was installed or applied under its name and version.

    Nothing was changed. Give what is new a version and a step of its own.
    """

    exit_code = 3


def refuse_drift(schema: Schema, before: Installed | None, said: Mapping[str, Said]) -> None:
    """Raises SchemaDriftError where what was applied is not what is there now."""
    if before is not None:
        was, at = schema_of(before), before.at_version
        if schema.version < at:
            raise SchemaDriftError(
                f"{schema.name}: the records here are at version {at} and this is version"
                f" {schema.version}: with the newer one `covey schema migrate {schema.name}"
                f" --to {schema.version}` takes them down first"
            )
        if schema.version == was.version and schema.checksum != was.checksum:
            raise SchemaDriftError(
                f"{schema.name}: version {schema.version} was installed with other collections:"
                " give what is new another version"
            )
        reached = _reached(before)
        for number in sorted(was.steps.keys() | schema.steps.keys()):
            if number <= reached and was.steps.get(number) != schema.steps.get(number):
                raise SchemaDriftError(
                    f"{schema.name}: step {number} was applied in another form: put it back,"
                    " and write a new step"
                )
    if other := other_step(schema, said):
        raise SchemaDriftError(
            f"{schema.name}: another device ({other[1]}) applied another step {other[0]}: one"
            " of the two programs has to be changed"
        )


def refuse_other_steps(schema: Schema, applied: Mapping[int, str]) -> None:
    """Raises SchemaDriftError where the records were brought up by steps that are no more.

    `applied` is what `applied_steps` says of a schema that was removed while its records stayed.
    """
    for number, checksum in sorted(applied.items()):
        if number > schema.version:
            raise SchemaDriftError(
                f"{schema.name}: its records were left at version {max(applied)} when it was"
                f" removed, and this is version {schema.version}: install the newer one, and"
                f" `covey schema migrate {schema.name} --to {schema.version}`"
            )
        if schema.steps.get(number) != checksum:
            raise SchemaDriftError(
                f"{schema.name}: step {number} was applied in another form before it was removed:"
                " put it back, and write a new step"
            )


def applied_steps(history: Sequence[Done], database: str) -> dict[int, str]:
    """The steps that the records of a database went through here, with their checksums.

    `history` is that of one schema, the newest first.
    """
    found: dict[int, str] = {}
    for row in reversed(history):
        said = json.loads(row.detail)
        if said.get("database", database) != database:
            continue
        if row.action == "up" and "checksum" in said:
            found[said["step"]] = said["checksum"]
        elif row.action == "down":
            found.pop(said.get("step"), None)
    return found


def schema_of(row: Installed) -> Schema:
    """The schema of a row, without the functions that the application has."""
    return read_schema(from_json(json.loads(row.definition)))


def _reached(row: Installed) -> int:
    """The highest step that any record may have gone through."""
    running = 0 if row.running is None else int(json.loads(row.running)["step"])
    return max(row.at_version, running)
