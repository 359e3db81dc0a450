"""Steps: what takes the records of a collection from one version of a schema to the next, and back.

A `Migration` says it either as data (`changes`: rename, add, remove), which any device can carry
out, or by two functions of a record. Both are functions of the record alone, give the same on every
device, and leave alone what they have changed already (`advance` checks that): so two devices may
do the same work apart, and a record that an older device writes later can be brought up again.

A step is checksummed over its data, or over the source of its functions as it stands in the file,
like the steps of the store: whoever edits a step that was applied is told so. Pure.
"""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from textwrap import dedent
from typing import Any

from ...sync.values import to_json, value_text
from .reading import (
    LIST_MAX,
    Path,
    Read,
    SchemaError,
    name_of,
    read_keys,
    read_table,
    value_of,
    whole_number,
)

Record = dict[str, Any]
Remake = Callable[[Record], Record | None]
"""A record to what it becomes; None, or an equal one, if it stays as it is."""

VERSION_MAX = 9_999
CHECKSUM_BYTES = 16
_CHANGES = ("rename", "add", "remove")


class MigrationError(SchemaError):
    """A step of a migration failed, or is none. The records that it was to change are as before,

    but for those of the same step that were changed before it stopped: `migrate` goes on there.
    """

    exit_code = 1


class Migration:
    """Brings the records of one collection to version `number`, and back to the one before.

    `up` and `down` get the fields of a record and return what they become, or None to leave the
    record as it is. `changes` says the same as data: `{"rename": old, "to": new}`,
    `{"add": field, "value": v}`, `{"remove": field}`, with a `value` to come back if it may.
    Several of one number are one step.

    Raises SchemaError.
    """

    def __init__(
        self,
        number: int,
        collection: str,
        up: Remake | None = None,
        down: Remake | None = None,
        *,
        changes: Sequence[Mapping[str, Any]] = (),
        checksum: str = "",
    ) -> None:
        """`checksum` stands for functions that are not here, or whose source cannot be read."""
        self.number = whole_number(2, VERSION_MAX)(number, ("number",))
        self.collection = name_of(collection, ("collection",))
        self.changes = [_change(one, ("changes", str(at))) for at, one in enumerate(changes)]
        if self.changes and (up or down):
            raise SchemaError("give either changes or functions")
        if not self.changes and up is None and not checksum:
            raise SchemaError("it changes nothing: give changes, or a function up")
        self.up, self.down = up, down
        if self.changes:
            self.up = changing(self.changes, ())
            if all("remove" not in one or "value" in one for one in self.changes):
                self.down = lambda record: _changed(record, _back(self.changes))
        self._source = checksum or ("" if self.changes else _source(up, down))

    def data(self) -> dict[str, Any]:
        """What is kept of it: all of it if it is data, else its place and its checksum."""
        place = {"number": self.number, "collection": self.collection}
        if self.changes:
            return {**place, "changes": [to_json(one) for one in self.changes]}
        return {**place, "checksum": self._source}


def read_migration(data: Any, path: Path) -> Migration:
    """The step that stands in a definition. Raises SchemaError."""
    if isinstance(data, Migration):
        return data
    said = read_keys(data, path, _KEYS)
    for key in ("number", "collection"):
        if key not in said:
            raise SchemaError(f"{key} is missing", path)
    try:
        return Migration(**said)
    except SchemaError as error:
        raise SchemaError(error.message, (*path, *error.path)) from None


def checksums(migrations: Sequence[Migration]) -> dict[int, str]:
    """The checksum of each step by its number: hex digits over all of its parts, in order."""
    parts: dict[int, list[Any]] = {}
    for one in migrations:
        parts.setdefault(one.number, []).append(one.data())
    return {number: digest(part) for number, part in parts.items()}


def digest(data: Any) -> str:
    """A checksum of data in JSON form: 32 hex digits."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=CHECKSUM_BYTES).hexdigest()


def advance(remake: Remake, value: Mapping[str, Any], place: str) -> Record | None:
    """What a function makes of a record; None if it stays as it is.

    Raises MigrationError if the function fails, or changes again what it has just changed: then
    records that are new already, or come from another device, would be spoilt.
    """
    before = value_text(value)
    made = _called(remake, value, place)
    if made is None or (after := value_text(made)) == before:
        return None
    again = _called(remake, made, place)
    if again is not None and value_text(again) != after:
        raise MigrationError(
            f"{place}: done twice it does not give the same; let it leave alone what is new already"
        )
    return made


def composed(functions: Sequence[Remake]) -> Remake:
    """One function after the other, as one."""

    def remake(record: Record) -> Record:
        for function in functions:
            made = function(_copied(record))
            record = record if made is None else made
        return record

    return remake


def changing(changes: Sequence[Mapping[str, Any]], later: Sequence[Mapping[str, Any]]) -> Remake:
    """What changes do to a record that then goes through others, which may be the newest already.

    A field that is added and given another name later would take the place of what a record at the
    newest version has under that name. So it is added only where none of its later names is.
    """
    every = [*changes, *later]
    guarded = [
        {**change, "unless": _later_names(change["add"], every[at + 1 :])}
        if "add" in change
        else change
        for at, change in enumerate(changes)
    ]
    return lambda record: _changed(record, guarded)


def _later_names(name: str, later: Sequence[Mapping[str, Any]]) -> list[str]:
    names = []
    for change in later:
        if change.get("rename") == name:
            name = change["to"]
            names.append(name)
    return names


def _called(remake: Remake, value: Mapping[str, Any], place: str) -> Record | None:
    try:
        made = remake({name: _copied(item) for name, item in value.items()})
        if made is not None:
            value_text(made)
    except MigrationError:
        raise
    except Exception as error:
        raise MigrationError(f"{place}: failed with {type(error).__name__}") from error
    if made is not None and type(made) is not dict:
        raise MigrationError(f"{place}: gave {type(made).__name__}, a dict of fields was expected")
    return made


def _copied(value: Any) -> Any:
    """A copy that a function may change: the other values cannot be changed."""
    if type(value) is dict:
        return {name: _copied(item) for name, item in value.items()}
    return [_copied(item) for item in value] if type(value) is list else value


def _changed(record: Record, changes: Sequence[Mapping[str, Any]]) -> Record:
    for change in changes:
        match change:
            # The old name wins: where both are there, an older device has written it since.
            case {"rename": old, "to": new} if old in record:
                record[new] = record.pop(old)
            case {"add": _, "unless": names} if any(other in record for other in names):
                pass
            case {"add": name, "value": value}:
                record.setdefault(name, _copied(value))
            case {"remove": name}:
                record.pop(name, None)
            case {"drop": name, "value": value} if name in record:
                # What was written there meanwhile stays: only what the step brought goes.
                if value_text(record[name]) == value_text(value):
                    del record[name]
    return record


def _back(changes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    back: list[Mapping[str, Any]] = []
    for change in reversed(changes):
        match change:
            case {"rename": old, "to": new}:
                back.append({"rename": new, "to": old})
            case {"add": name, "value": value}:
                back.append({"drop": name, "value": value})
            case {"remove": name, "value": value}:
                back.append({"add": name, "value": value})
    return back


def _change(data: Any, path: Path) -> dict[str, Any]:
    table = read_table(data, path)
    kinds = [kind for kind in _CHANGES if kind in table]
    if len(kinds) != 1:
        raise SchemaError(f"one of {', '.join(_CHANGES)} was expected", path)
    said = read_keys(table, path, _CHANGE_KEYS[kinds[0]])
    if kinds[0] == "rename" and said.get("to") in (None, said["rename"]):
        raise SchemaError("to: another name was expected", path)
    if kinds[0] == "add" and "value" not in said:
        raise SchemaError("value is missing", path)
    return said


def _source(*functions: Remake | None) -> str:
    """A checksum of functions as they are written."""
    texts = []
    for function in functions:
        try:
            texts.append("" if function is None else dedent(inspect.getsource(function)).strip())
        except (OSError, TypeError):
            raise SchemaError(
                "the source of its function cannot be read: give a checksum of your own, and"
                " another one whenever the function changes"
            ) from None
    return digest(texts)


def _list_of_tables(value: Any, path: Path) -> Any:
    if not isinstance(value, list | tuple) or len(value) > LIST_MAX:
        raise SchemaError(f"an array of at most {LIST_MAX} was expected", path)
    return [read_table(one, (*path, str(at))) for at, one in enumerate(value)]


_KEYS: dict[str, Read] = {
    "number": whole_number(2, VERSION_MAX),
    "collection": name_of,
    "changes": _list_of_tables,
    "checksum": name_of,
}
_CHANGE_KEYS: dict[str, dict[str, Read]] = {
    "rename": {"rename": name_of, "to": name_of},
    "add": {"add": name_of, "value": value_of},
    "remove": {"remove": name_of, "value": value_of},
}
