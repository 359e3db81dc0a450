"""Reading: one piece of a definition after the other, each an error with its place if it is wrong.

Whatever a definition came from (Python, TOML, JSON), nothing is known of it. What is echoed in a
message is cut short and printable. Sizes are bytes of UTF-8.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from ... import CoveyError
from ...sync.errors import BadValueError
from ...sync.limits import COLLECTION_NAME_BYTES_MAX, NAME_BYTES_MAX
from ...sync.values import to_plain
from ..record_requests import check_name

KEYS_MAX = 1_000
LIST_MAX = 256
"""Entries of an enum, indexes of a collection, and other lists."""
ECHO = 40
"""Characters of what was written that a message repeats."""

Path = tuple[str, ...]
Read = Callable[[Any, Path], Any]


class SchemaError(CoveyError):
    """A schema is not one, or does not fit what is installed. Nothing was changed.

    `path` leads to the key that is meant, as far as it is known; the message begins with it.
    """

    exit_code = 2

    def __init__(self, message: str, path: Path = ()) -> None:
        place = ".".join(map(shown_name, path))
        super().__init__(f"{place}: {message}" if path else message)
        self.message = message
        self.path = path


def name_of(value: Any, path: Path, bytes_max: int = COLLECTION_NAME_BYTES_MAX) -> str:
    """A name that prints and is not too long. Raises SchemaError."""
    try:
        check_name("name", value, bytes_max)
    except BadValueError as error:
        raise SchemaError(str(error).removeprefix("name: "), path) from None
    return str(value)


def whole_number(least: int, most: int) -> Read:
    """Reads a whole number within limits."""

    def read(value: Any, path: Path) -> int:
        if type(value) is not int or not least <= value <= most:
            raise SchemaError(f"a whole number from {least} to {most} was expected", path)
        return value

    return read


def read_keys(data: Any, path: Path, keys: Mapping[str, Read]) -> dict[str, Any]:
    """Each key of a table, read as the key says. Raises SchemaError for any other key."""
    found = {}
    for key, value in read_table(data, path).items():
        if key not in keys:
            near = get_close_matches(_snake(str(key)[:ECHO]), keys, 1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            known = ", ".join(sorted(keys))
            raise SchemaError(f"no key {echo(key)}{meant}; there are {known}", path)
        found[key] = keys[key](value, (*path, key))
    return found


def read_table(data: Any, path: Path) -> Mapping[Any, Any]:
    """A table, whatever is in it. Raises SchemaError."""
    if not isinstance(data, Mapping):
        raise SchemaError(f"a table was expected, not {type(data).__name__}", path)
    if len(data) > KEYS_MAX:
        raise SchemaError(f"{len(data)} keys, {KEYS_MAX} allowed", path)
    return data


def read_list(data: Any, path: Path, most: int = LIST_MAX) -> Sequence[Any]:
    if not isinstance(data, list | tuple):
        raise SchemaError(f"an array was expected, not {type(data).__name__}", path)
    if not 1 <= len(data) <= most:
        raise SchemaError(f"{len(data)} entries, 1 to {most} allowed", path)
    return data


def field_name(name: Any, path: Path) -> str:
    if not isinstance(name, str) or not name or name[:1] == "$":
        raise SchemaError(f"{echo(name)}: a field name is a text without '$' before it", path)
    return name_of(name, (*path, name[:ECHO]), NAME_BYTES_MAX)


def boolean(value: Any, path: Path) -> bool:
    if type(value) is not bool:
        raise SchemaError("true or false was expected", path)
    return value


def word(words: Sequence[str]) -> Read:
    def read(value: Any, path: Path) -> str:
        if value not in words or not isinstance(value, str):
            near = get_close_matches(value[:ECHO], words, 1) if isinstance(value, str) else ()
            meant = f" (did you mean {near[0]}?)" if near else ""
            raise SchemaError(f"{echo(value)} is none of {', '.join(words)}{meant}", path)
        return value

    return read


def value_of(value: Any, path: Path) -> Any:
    """A value that a record can hold. Raises SchemaError."""
    try:
        to_plain({"value": value})
    except BadValueError:
        raise SchemaError("no value that a record can hold", path) from None
    return value


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def shown_name(name: Any) -> str:
    """A name as a message has it: whoever made it up may mean harm."""
    text = str(name)[:ECHO]
    return text if text.isprintable() else ascii(text)[1:-1]


def echo(value: Any) -> str:
    """What was written, cut short, in letters that print."""
    return ascii(value if isinstance(value, str | int | float) else type(value).__name__)[:ECHO]
