"""TOML lines: in which line of a TOML text each key stands.

`tomllib` tells the line of what it cannot read, and not that of what it read; a person who is told
that a value is not allowed wants to know where. This walks a text that `tomllib` has accepted, so
it checks nothing and understands only where keys begin and where values end.

Pure. Lines count from 1.
"""

import re
import tomllib
from bisect import bisect_left
from collections.abc import Callable

Path = tuple[str, ...]

_BLANK = re.compile(r"[ \t]*")
_GAP = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*'")
_LONG_BASIC = re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''(?:[^']|'(?!''))*'{3,5}", re.DOTALL)
_SECOND = re.compile(r"\]?")
_PLAIN = re.compile(r"[^,\]}#\n]*")


def key_lines(text: str) -> dict[Path, int]:
    """The line in which each key, or table, is named first. `text` is TOML.

    A key of an inline table in an array has the path of the array before its own.
    Raises RecursionError for values nested deeper than this interpreter allows.
    """
    walk = _Walk(text.replace("\r\n", "\n"))
    walk.document()
    return walk.lines


class _Walk:
    """A place in a text, and what was found before it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {}
        self._ends = [found.start() for found in re.finditer("\n", text)]

    def document(self) -> None:
        table: Path = ()
        self._skip(_GAP)
        while self.at < len(self.text):
            if self._here("["):
                self.at += 2 if self.text.startswith("[[", self.at) else 1
                table = self._key(())
                self.at = self.text.index("]", self.at) + 1
                self._skip(_SECOND)
            else:
                self._pair(table)
            self._skip(_GAP)

    def _pair(self, table: Path) -> None:
        path = self._key(table)
        self._skip(_BLANK)
        self.at += 1  # the equals sign
        self._skip(_BLANK)
        self._value(path)

    def _key(self, table: Path) -> Path:
        """A key with all its dots, noted with those before it."""
        path = table
        while True:
            self._skip(_BLANK)
            start = self.at
            path = (*path, self._part())
            self.lines.setdefault(path, bisect_left(self._ends, start) + 1)
            self._skip(_BLANK)
            if not self._here("."):
                return path
            self.at += 1

    def _part(self) -> str:
        if self._here("'"):
            return self._skip(_LITERAL)[1:-1]
        if self._here('"'):
            # Escapes are tomllib's to read.
            (part,) = tomllib.loads(f"{self._skip(_BASIC)} = 0")
            return part
        return self._skip(_BARE_KEY)

    def _value(self, path: Path) -> None:
        if self._here("["):
            self._items("]", lambda: self._value(path))
        elif self._here("{"):
            self._items("}", lambda: self._pair(path))
        elif self._here('"""'):
            self._skip(_LONG_BASIC)
        elif self._here("'''"):
            self._skip(_LONG_LITERAL)
        elif self._here('"'):
            self._skip(_BASIC)
        elif self._here("'"):
            self._skip(_LITERAL)
        else:
            self._skip(_PLAIN)

    def _items(self, end: str, item: Callable[[], None]) -> None:
        """What stands between brackets, with commas between."""
        self.at += 1
        self._skip(_GAP)
        while not self._here(end):
            item()
            self._skip(_GAP)
            if self._here(","):
                self.at += 1
                self._skip(_GAP)
        self.at += 1

    def _here(self, text: str) -> bool:
        return self.text.startswith(text, self.at)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        assert found is not None, "tomllib has accepted this text"
        self.at = found.end()
        return found[0]
