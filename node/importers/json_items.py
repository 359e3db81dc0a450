"""JSON items: the elements of a large JSON array, one at a time, each within bounds.

The text is cut at the commas of the outermost array, and each piece is parsed by itself. So memory
is bounded by the largest item and not by the file; size, depth and number of tokens of an item are
counted before it is parsed; and an item that is broken is told with its number while the rest goes
on, which a parser of the whole text cannot do. A text that is an object is one item.

Sizes in bytes; items are counted from 1.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

READ_BYTES = 262_144
ITEM_BYTES_MAX = 32 * 1024 * 1024
ITEM_DEPTH_MAX = 64
ITEM_TOKENS_MAX = 2_000_000
"""Texts, objects and arrays of one item: what parsing it may make."""

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["\[\]{}]', re.DOTALL)
_TOKEN_OR_COMMA = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["\[\]{},]', re.DOTALL)
_IN_TEXT = re.compile(rb'["\\]')
_SPACE = b" \t\r\n"
_MARK = b"\xef\xbb\xbf"


class Source(Protocol):
    """What is read from; `read` gives no bytes at the end."""

    def read(self, size: int, /) -> bytes: ...


class Item(NamedTuple):
    """One element. `fault` says in words why there is no value."""

    number: int
    value: Any
    fault: str | None = None


def read_items(source: Source) -> Iterator[Item]:
    """The elements of the array that `source` holds, in order. What the source raises passes."""
    cutter = _Cutter()
    while chunk := source.read(READ_BYTES):
        yield from cutter.feed(chunk)
        if cutter.is_over:
            return
    yield from cutter.end()


@dataclass(slots=True)
class _Cutter:
    """Where we are in the text. `depth` counts open brackets, the outermost included."""

    depth: int = 0
    number: int = 0
    tokens: int = 0
    in_text: bool = False
    escaped: bool = False
    is_object: bool = False
    is_over: bool = False
    after_comma: bool = False
    fault: str | None = None
    """Why the item under way is not kept; the rest of it is only skipped."""
    kept: bytearray = field(default_factory=bytearray)
    head: bytes = b""
    """What came before the outermost bracket: nothing, or spaces."""

    def feed(self, chunk: bytes) -> Iterator[Item]:
        at = 0
        if not self.depth:
            chunk, self.head = (self.head + chunk).removeprefix(_MARK).lstrip(_SPACE), b""
            if not chunk or _MARK.startswith(chunk):
                self.head = chunk
                return
            at = self._open(chunk[:1])
            if self.is_over:
                yield Item(1, None, "no JSON array or object begins here")
                return
        begun = 0 if self.is_object else at
        while at < len(chunk):
            if self.in_text:
                at = self._text(chunk, at)
                continue
            token = (_TOKEN_OR_COMMA if self.depth == 1 else _TOKEN).search(chunk, at)
            if token is None:
                break
            at = token.end()
            if self._take(token.group()):
                self._keep(chunk[begun : at if self.is_object else at - 1])
                begun = at
                yield from self._finish()
                if self.is_over:
                    return
        self._keep(chunk[begun:])

    def end(self) -> Iterator[Item]:
        """The text is over, though it should not be."""
        if not self.is_over:
            self.fault = "the file ends in the middle of it"
            yield self._item()

    def _open(self, bracket: bytes) -> int:
        self.is_object = bracket == b"{"
        self.is_over = bracket not in (b"{", b"[")
        self.depth = 1
        return 1

    def _text(self, chunk: bytes, at: int) -> int:
        """Go on within a text that began in an earlier chunk; where it stopped."""
        if self.escaped:
            self.escaped = False
            return at + 1
        found = _IN_TEXT.search(chunk, at)
        if found is None:
            return len(chunk)
        if found.group() == b'"':
            self.in_text = False
        else:
            self.escaped = True
        return found.end()

    def _take(self, token: bytes) -> bool:
        """Count one token; True if the item ends with it."""
        first = token[:1]
        if first == b",":
            return not self.is_object
        if first in (b"]", b"}"):
            self.depth -= 1
            self.is_over = self.depth == 0
            return self.is_over
        self.tokens += 1
        if self.tokens > ITEM_TOKENS_MAX:
            self._drop(f"more than {ITEM_TOKENS_MAX} parts")
        if first == b'"':
            self.in_text = len(token) == 1
        else:
            self.depth += 1
            if self.depth > ITEM_DEPTH_MAX:
                self._drop(f"nested deeper than {ITEM_DEPTH_MAX}")
        return False

    def _keep(self, piece: bytes) -> None:
        if self.fault is None and len(self.kept) + len(piece) > ITEM_BYTES_MAX:
            self._drop(f"larger than {ITEM_BYTES_MAX >> 20} MiB")
        if self.fault is None:
            self.kept += piece

    def _drop(self, fault: str) -> None:
        self.fault = self.fault or fault
        self.kept = bytearray()

    def _finish(self) -> Iterator[Item]:
        """The item that ended, if there is one: after `[` and before `]` there may be none."""
        is_empty = self.fault is None and not self.kept.strip(_SPACE)
        if not (is_empty and self.is_over and not self.after_comma):
            yield self._item()
        self.after_comma = not self.is_over
        self.kept, self.tokens, self.fault = bytearray(), 0, None

    def _item(self) -> Item:
        self.number += 1
        if self.fault is not None:
            return Item(self.number, None, self.fault)
        try:
            text = self.kept.decode()
            return Item(self.number, json.loads(text, parse_constant=_refuse_constant))
        except UnicodeDecodeError:
            fault = "not UTF-8 text"
        except json.JSONDecodeError as error:
            # Of the message only what is ours to say: it may quote nothing, but others might.
            fault = f"not JSON at character {error.pos + 1} of it"
        except (ValueError, RecursionError):
            fault = "it holds a number that JSON has not"
        return Item(self.number, None, fault)


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)
