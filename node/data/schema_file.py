"""Schema files: a definition as TOML or JSON, with errors that name the line.

`parse_schema` reads a text; whoever has a file reads it first. A key that is there twice is an
error in both. Steps of migrations can only be data here (`changes`), and run no code.

Pure. Lines count from 1; sizes are bytes.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from ...sync.errors import BadValueError
from ...sync.toml_lines import key_lines
from ...sync.values import from_json
from .reading import Path, SchemaError, shown_name
from .schema import Schema, read_schema

DEFINITION_BYTES_MAX = 262_144
_GAP = re.compile(r"[ \t\r\n]*")
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_PLAIN = re.compile(r"[^\s,\]}]+")


class SchemaFileError(SchemaError):
    """A definition in a file is not one. The message begins with file and line."""

    def __init__(self, file: str, line: int | None, message: str, path: Path = ()) -> None:
        place = file if line is None else f"{file}, line {line}"
        where = f"{'.'.join(map(shown_name, path))}: " if path else ""
        super().__init__(f"{place}: {where}{message}")
        self.line = line
        self.path = path


def parse_schema(text: str, file: str = "schema", *, is_json: bool = False) -> Schema:
    """The schema that a text defines. `file` is its name, for messages. Raises SchemaFileError."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > DEFINITION_BYTES_MAX:
        raise SchemaFileError(file, None, f"{size} bytes, {DEFINITION_BYTES_MAX} allowed")
    try:
        data = _read_json(text, file) if is_json else _read_toml(text, file)
        lines = _json_lines(text) if is_json else key_lines(text)
    except RecursionError:
        raise SchemaFileError(file, None, "nested too deep") from None
    try:
        return read_schema(data)
    except SchemaError as error:
        line = _line(lines, error.path)
        raise SchemaFileError(file, line, error.message, error.path) from None


def _read_toml(text: str, file: str) -> Any:
    try:
        return from_json(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        line = int(found[1]) if found else None
        raise SchemaFileError(file, line, f"not TOML: {error}") from None
    except (BadValueError, ValueError) as error:  # Of a number with thousands of digits, too.
        raise SchemaFileError(file, None, str(error)) from None


def _read_json(text: str, file: str) -> Any:
    try:
        return from_json(json.loads(text, object_pairs_hook=_once, parse_constant=_refuse))
    except json.JSONDecodeError as error:
        raise SchemaFileError(file, error.lineno, f"not JSON: {error.msg}") from None
    except (BadValueError, ValueError) as error:
        raise SchemaFileError(file, None, str(error)) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!a:.40} is there twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no value that a record can hold")


def _line(lines: Mapping[Path, int], path: Path) -> int | None:
    """The line of the nearest key that has one: entries of arrays have that of the array."""
    for end in range(len(path), 0, -1):
        names = tuple(name for name in path[:end] if not name.isdigit())
        for known in (path[:end], names):
            if known in lines:
                return lines[known]
    return min(lines.values(), default=None)


def _json_lines(text: str) -> dict[Path, int]:
    """The line in which each key of a JSON text is named first; the text is known to be JSON.

    Keys of objects in arrays have the path of the array before their own.
    """
    lines: dict[Path, int] = {}
    _walk(text, _skip(text, 0), (), lines)
    return lines


def _walk(text: str, at: int, path: Path, lines: dict[Path, int]) -> int:
    """Walk over one value; where it ends."""
    opening = text[at]
    if opening not in "{[":
        found = (_TEXT if opening == '"' else _PLAIN).match(text, at)
        assert found is not None, "json has accepted this text"
        return found.end()
    at = _skip(text, at + 1)
    while text[at] not in "}]":
        inner = path
        if opening == "{":
            key = _TEXT.match(text, at)
            assert key is not None, "json has accepted this text"
            inner = (*path, json.loads(key[0]))
            lines.setdefault(inner, text.count("\n", 0, at) + 1)
            at = _skip(text, _skip(text, key.end()) + 1)
        at = _skip(text, _walk(text, at, inner, lines))
        if text[at] == ",":
            at = _skip(text, at + 1)
    return at + 1


def _skip(text: str, at: int) -> int:
    found = _GAP.match(text, at)
    assert found is not None, "it matches nothing as well"
    return found.end()
