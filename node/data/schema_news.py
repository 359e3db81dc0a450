"""Schema news: which version of a schema each device of the mesh has, and keeps the records at.

It travels as an ordinary record: `_schema/<name of the schema>` in the schema's database, private,
with one field for each device, named by its shown id: `{"version", "at", "down", "checksum",
"steps", "time"}`. No two devices write one field, so it has no conflicts. `version` is what the
device has installed, `at` the version to which it brought the records, at `time` (ISO 8601, for
people and to tell who was last), `down` the one from which it took them down, or 0; `checksum` and
`steps` are those of its definition. Of a device that may not write there nothing is told.

Anybody in the mesh may have written it: what is not as above counts as not written.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ...storage import record_rows
from ..mesh_view import NotEntitledError
from ..parameters import Json
from ..record_requests import Put
from ..times import iso_time
from .schema import Schema
from .steps import VERSION_MAX

if TYPE_CHECKING:
    from ..engine import Engine

COLLECTION = "_schema"
_CHARACTERS_MAX = 64


class Said(NamedTuple):
    """What a device said of a schema. `steps` are checksums by number."""

    version: int
    at: int
    down: int
    checksum: str
    steps: Mapping[int, str]
    time: str


class News:
    """Reads and writes what the devices of one engine's mesh say of schemas."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._told: set[tuple[str, str, int]] = set()

    async def said(self, schema: Schema) -> dict[str, Said]:
        """What devices said of a schema, ourselves included, by shown id."""
        row = await self._engine.database.read(
            lambda conn: record_rows.get(conn, schema.database, COLLECTION, schema.name)
        )
        return news(None if row is None or row.value is None else json.loads(row.value))

    async def look(self, schema: Schema) -> list[Json]:
        """What other devices have of a schema; a newer version is told in the log, once."""
        found = []
        devices = self._engine.mesh.registry.devices.values()
        names = {self._engine.shown_id(device.sig_pk): device.name for device in devices}
        for device, said in (await self.said(schema)).items():
            if device == self.us or device not in names:
                continue
            row = {"device_id": device, "name": names[device], "version": said.version}
            found.append({**row, "at": said.at})
            mark = (schema.name, device, said.version)
            if said.version > schema.version and mark not in self._told:
                self._told.add(mark)
                known = {"schema": schema.name, "version": said.version, "ours": schema.version}
                self._engine.tell("schema_newer", {**known, "name": names[device]})
        return found

    def announcement(self, schema: Schema, at: int, down: int = 0) -> Put:
        """The write by which other devices hear of what we have."""
        time = iso_time(self._engine.clock.wall_ms())
        value = {self.us: field_of(schema, at, down, time)}
        return Put(COLLECTION, schema.name, value, None, replace=False)

    async def announce(self, schema: Schema, at: int, down: int = 0) -> None:
        """Say what we have, if that is not what is said already."""
        said = (await self.said(schema)).get(self.us)
        ours = schema.version, at, schema.checksum, schema.steps
        if said is not None and said.at == at:
            # The application that it was taken down for is installed: it stays taken down.
            down = max(down, said.down)
        if said is not None and ours == (said.version, said.at, said.checksum, said.steps):
            return
        try:
            await self._engine.writer.write(schema.database, [self.announcement(schema, at, down)])
        except NotEntitledError:
            return  # This device may not write at that level: others are not told.

    async def taken_down_from(self, schema: Schema) -> int:
        """The version from which this device took the records down, as it says, or 0."""
        said = (await self.said(schema)).get(self.us)
        return 0 if said is None else said.down

    async def withdraw(self, schema: Schema) -> None:
        """Say no more what we have."""

        def without(value: Mapping[str, Any]) -> dict[str, Any]:
            return {name: field for name, field in value.items() if name != self.us}

        if self.us in await self.said(schema):
            put = Put(COLLECTION, schema.name, {}, None, False, remake=without)
            await self._engine.writer.write(schema.database, [put])

    @property
    def us(self) -> str:
        """The shown id of this device."""
        return self._engine.shown_id(self._engine.keys.sig_pk)


def news(value: Mapping[str, Any] | None) -> dict[str, Said]:
    """What is said, by the shown id of the device, in the JSON form of the record."""
    found = {}
    for device, field in sorted((value or {}).items()):
        said = _said(field)
        if said is not None and len(device) <= _CHARACTERS_MAX:
            found[device] = said
    return found


def field_of(schema: Schema, at: int, down: int, time: str) -> dict[str, Any]:
    """What this device says."""
    steps = {str(number): checksum for number, checksum in schema.steps.items()}
    checksum = schema.checksum
    return {
        "version": schema.version,
        "at": at,
        "down": down,
        "checksum": checksum,
        "steps": steps,
        "time": time,
    }


def kept_at(said: Mapping[str, Said]) -> int | None:
    """The version that the records are at, by what all devices say; None if none says anything."""
    highest = max((one.at for one in said.values()), default=None)
    if highest is None:
        return None
    since = max(one.time for one in said.values() if one.at == highest)
    down = taken_down(said, highest, since)
    return highest if down is None else down


def taken_down(said: Mapping[str, Said], at: int, since: str) -> int | None:
    """The version to which a device took the records down from `at` since then, if one did."""
    down = [one for one in said.values() if one.down >= at > one.at and one.time >= since]
    return max(down, key=lambda one: one.time).at if down else None


def other_step(schema: Schema, said: Mapping[str, Said]) -> tuple[int, str] | None:
    """A step of ours that another device applied in another form, and that device."""
    ours = schema.steps
    for device, one in said.items():
        for number in sorted(ours):
            if number <= one.at and one.steps.get(number, ours[number]) != ours[number]:
                return number, device
    return None


def _said(field: Any) -> Said | None:
    match field:
        case {
            "version": int(version),
            "at": int(at),
            "down": int(down),
            "checksum": str(checksum),
            "steps": dict(steps),
            "time": str(time),
        } if all(type(n) is int and 1 <= n <= VERSION_MAX for n in (version, at, down + 1)):
            short = [checksum, time, *steps, *steps.values()]
            if not all(isinstance(each, str) and len(each) <= _CHARACTERS_MAX for each in short):
                return None
            numbered = {int(n): each for n, each in steps.items() if n.isascii() and n.isdigit()}
            return Said(version, at, down, checksum, numbered, time)
    return None
