"""Profile text: policies of a mesh as a TOML file, to be read, kept and loaded by people.

    [tags]
    work = "private"              # tag.work, in every database

    [everything]
    quiet = "22:00-07:00"

    [databases.media]
    mode = "summary"
    [databases.media.tags]        # tags in this database only

    [devices.phone]
    unmetered = true
    [devices.phone.databases.media]
    blobs = "thumbnail"

Settings and values are those of `policy_text.py`. Whatever else stands in the file is refused,
with `FILE:LINE: what, what is allowed`; nothing is left out in silence. A file holds no secrets,
and what looks like one is not repeated.

Pure: it is handed the text. Devices are named as people do; who that is, the node knows.
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, NoReturn

from .errors import BadValueError
from .policy import TAG, Said, Value
from .policy_text import (
    PolicyTextError,
    add_setting,
    echo,
    looks_secret,
    shown_key,
    shown_value,
)
from .toml_lines import Path, key_lines

PROFILE_BYTES_MAX = 65_536
"""Of a profile, in UTF-8."""
NAME_BYTES_MAX = 64
"""Of a database; of a device it is more than any name has."""
TABLES = ("everything", "databases", "devices", "tags")

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_SECRET_NAME = re.compile(r"pass|secret|token|credential|private.?key|api.?key|mnemonic|recovery")


class ProfileError(BadValueError):
    """A profile cannot be read. Nothing was changed. The message begins with `FILE:LINE:`."""


class Part(NamedTuple):
    """What a profile says of one device and database."""

    device: str
    """As it is named in the file; empty for every device."""
    database: str
    """Empty for every database."""
    settings: dict[str, Value | None]
    line: int


def parse_profile(text: str, file: str) -> list[Part]:
    """What a profile says, in its order. Tags are a part of their own.

    `file` is how errors call it. Raises ProfileError.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > PROFILE_BYTES_MAX:
        raise ProfileError(f"{file}:1: {size} bytes, {PROFILE_BYTES_MAX} allowed")
    try:
        document = tomllib.loads(text)
        lines = key_lines(text)
    except RecursionError:
        raise ProfileError(f"{file}:1: values stand too deep in one another") from None
    except ValueError as error:
        raise ProfileError(_unreadable(text, file, str(error))) from None
    return _Reading(file, lines).document(document)


def profile_text(said: Said, profile: Said, named: Mapping[bytes, str]) -> str:
    """What counts, as a profile that `parse_profile` reads: the profile, and over it what was said.

    What people said is marked. `named`: devices to how the file calls them; of others nothing is
    told.
    """
    sections: dict[str, list[str]] = {}
    for place in sorted(dict.fromkeys((*profile, *said)), key=_section_order(named)):
        if place[0] and place[0] not in named:
            continue
        settings = {**profile.get(place, {}), **said.get(place, {})}
        for key in sorted(settings, key=_key_order):
            header = _header(named.get(place[0], ""), place[1], key.startswith(TAG))
            name = key[len(TAG) :] if key.startswith(TAG) else shown_key(key)
            mark = "  # said by the mesh" if key in said.get(place, {}) else ""
            line = f"{_quoted(name)} = {_toml_value(key, settings[key])}{mark}"
            sections.setdefault(header, []).append(line)
    parts = [_HEAD, *("\n".join((header, *lines, "")) for header, lines in sections.items())]
    return "\n".join(parts)


_HEAD = """\
# Policies of databases and devices, as they count. Edit a copy, look at what it would do with
# `covey policy profile load FILE --dry-run`, then load it. Lines without a mark are the default.
"""


class _Reading:
    """One file, on its way from tables to parts."""

    def __init__(self, file: str, lines: Mapping[Path, int]) -> None:
        self._file = file
        self._lines = lines
        self._parts: list[Part] = []

    def document(self, document: Mapping[str, Any]) -> list[Part]:
        for name, value in document.items():
            path = (name,)
            if name not in TABLES:
                self._refuse(path, f"no table {echo(name)}{_meant(name, TABLES)}; {_TABLES}")
            table = self._table(path, value)
            if name == "everything":
                self._settings(path, table, "", "")
            elif name == "tags":
                self._tags(path, table, "")
            else:
                each = self._database if name == "databases" else self._device
                for inner, settings in table.items():
                    each((*path, inner), self._table((*path, inner), settings))
        if not self._parts:
            raise ProfileError(f"{self._file}:1: it says nothing; {_TABLES}")
        return self._parts

    def _database(self, path: Path, table: Mapping[str, Any]) -> None:
        self._check_name(path, "database")
        rest = dict(table)
        if "tags" in rest:
            tags = (*path, "tags")
            self._tags(tags, self._table(tags, rest.pop("tags")), path[-1])
        self._settings(path, rest, "", path[-1])

    def _device(self, path: Path, table: Mapping[str, Any]) -> None:
        self._check_name(path, "device")
        rest, inner = dict(table), (*path, "databases")
        databases = rest.pop("databases", {})
        for name, settings in self._table(inner, databases).items():
            self._check_name((*inner, name), "database")
            self._settings((*inner, name), self._table((*inner, name), settings), path[-1], name)
        self._settings(path, rest, path[-1], "")

    def _settings(self, path: Path, table: Mapping[str, Any], device: str, database: str) -> None:
        said: dict[str, Value | None] = {}
        for name, value in table.items():
            at = (*path, name)
            if name == "tags" or name.startswith(TAG) or name == TAG[:-1]:
                self._refuse(
                    at, "tags stand in a table of their own: [tags] or [databases.NAME.tags]"
                )
            if _SECRET_NAME.search(name.casefold()) or looks_secret(name):
                self._refuse(at, "a profile holds no secrets: take this line out of the file")
            self._add(said, at, name, value)
        self._take(path, device, database, said)

    def _tags(self, path: Path, table: Mapping[str, Any], database: str) -> None:
        said: dict[str, Value | None] = {}
        for name, value in table.items():
            self._check_name((*path, name), "tag")
            self._add(said, (*path, name), TAG + name, value)
        self._take(path, "", database, said)

    def _add(self, said: dict[str, Value | None], at: Path, name: str, value: Any) -> None:
        if isinstance(value, bool):
            value = "yes" if value else "no"
        if not isinstance(value, str):
            what = "a table" if isinstance(value, dict) else f"{type(value).__name__}"
            self._refuse(
                at, f'{echo(name)} is {what}; a text in quotes was expected, such as "90d"'
            )
        try:
            add_setting(said, name, value)
        except PolicyTextError as error:
            self._refuse(at, str(error))

    def _take(self, path: Path, device: str, database: str, said: dict[str, Value | None]) -> None:
        if said:
            self._parts.append(Part(device, database, said, self._line(path)))

    def _table(self, path: Path, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self._refuse(path, f"{echo(path[-1])} is no table; {_TABLES}")
        return value

    def _check_name(self, path: Path, what: str) -> None:
        name = path[-1]
        if looks_secret(name):
            self._refuse(
                path, f"a name of a {what} that looks like a secret, which no profile holds"
            )
        size = len(name.encode())
        if not 1 <= size <= NAME_BYTES_MAX or not name.isprintable():
            self._refuse(path, f"a name of a {what} is 1 to {NAME_BYTES_MAX} bytes that print")

    def _line(self, path: Path) -> int:
        return self._lines[path]

    def _refuse(self, path: Path, why: str) -> NoReturn:
        raise ProfileError(f"{self._file}:{self._line(path)}: {why}")


_TABLES = (
    "there are [everything], [databases.NAME], [databases.NAME.tags], [devices.NAME],"
    " [devices.NAME.databases.DB] and [tags]"
)


def _unreadable(text: str, file: str, error: str) -> str:
    """What tomllib says, with its line in front."""
    found = _PLACE.search(error)
    line = text.count("\n") + 1 if found is None or found[1] is None else int(found[1])
    what = _PLACE.sub("", error)
    what = "it is no TOML" if looks_secret(what) else f"it is no TOML: {what[:1].lower()}{what[1:]}"
    return f"{file}:{line}: {what}"


def _meant(text: str, words: Sequence[str]) -> str:
    near = get_close_matches(text.casefold(), words, 1, 0.6)
    return f" (did you mean {near[0]}?)" if near else ""


def _section_order(named: Mapping[bytes, str]) -> Callable[[tuple[bytes, str]], tuple[Any, ...]]:
    """Everything, then databases, then devices, each by name."""
    return lambda place: (named.get(place[0], ""), place[0], place[1])


def _key_order(key: str) -> tuple[bool, str]:
    return (key.startswith(TAG), shown_key(key))


def _header(device: str, database: str, is_tag: bool) -> str:
    path = [
        *(["devices", device] if device else []),
        *(["databases", database] if database else []),
    ]
    if is_tag:
        path.append("tags")
    return f"[{'.'.join(map(_quoted, path or ['everything']))}]"


def _toml_value(key: str, value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _basic(shown_value(key, value))


def _quoted(name: str) -> str:
    return name if _BARE.fullmatch(name) else _basic(name)


def _basic(text: str) -> str:
    """A text in quotes; what does not print, or might end it, is escaped."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(c: str) -> str:
    if c in '"\\':
        return "\\" + c
    return c if c.isprintable() else f"\\U{ord(c):08X}"
