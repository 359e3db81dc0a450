"""Chat: what an importer finds, as records ready to be put.

A conversation, its messages and its attachments are records. Their ids are made of the ids that
the service gave them, so an export that is imported again finds what it brought before.
`digest_of` tells whether the service says something else than last time.

Times are milliseconds since 1970; texts are sound UTF-8. Whatever a file holds ends in a record
within the limits of `covey.sync.limits`, or in a `FaultError`.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from .archive import Archive, Member
from .json_items import read_items

TEXT_BYTES_MAX = 700_000
"""Of one message or attached text: with the fields around it, it fits a record."""
LABEL_CHARACTERS_MAX = 512
"""Of a title, a model, a name, a tag."""
ID_CHARACTERS_MAX = 200
TIME_MS_MAX = 253_370_764_799_999
MESSAGES_MAX = 100_000
"""Of one conversation."""

Value = dict[str, Any]


class Broken(NamedTuple):
    """A part of an export that is not imported. `where` names file and position, no content."""

    where: str
    why: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message as a record."""

    id: str
    value: Value


@dataclass(frozen=True, slots=True)
class Attachment:
    """What came with a message. `content` is a file of the archive, None if it is not in there."""

    id: str
    value: Value
    content: Member | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as a record, with what belongs to it. Messages are in their order."""

    id: str
    value: Value
    messages: list[Message]
    attachments: list[Attachment]
    faults: list[Broken] = field(default_factory=list)


class FaultError(Exception):
    """A part of an export is not what it must be. Its text says why; never leaves this package."""


class Reading(Protocol):
    """One conversation of an export while it is read."""

    def whole(self) -> Conversation:
        """Raises FaultError if it is no conversation at all."""


def conversations(
    path: str | Path, reading: Callable[[Archive, str, Any], Reading]
) -> Iterator[Conversation | Broken]:
    """Every conversation of an export, in the order of its files; `reading` knows its service.

    It gets the archive, where the conversation stands, and what stands there. Raises
    ExportFileError.
    """
    with Archive(path) as archive:
        for name, stream in archive.conversations():
            for item in read_items(stream):
                where = f"{name}: conversation {item.number}"
                if item.fault is not None:
                    yield Broken(where, item.fault)
                    continue
                try:
                    yield reading(archive, where, item.value).whole()
                except FaultError as fault:
                    yield Broken(where, str(fault))


def record_id(platform: str, *parts: str) -> str:
    """The id of a record that the service calls by `parts`: those, or a hash if they do not fit."""
    plain = "-".join(parts)
    letters = plain.replace("-", "").replace("_", "")
    if len(plain) <= ID_CHARACTERS_MAX and letters.isascii() and letters.isalnum():
        return f"{platform}-{plain}"
    # Lengths first, so that no two lists of parts are hashed alike.
    body = json.dumps(parts).encode("utf-8", "surrogatepass")
    return f"{platform}-{blake2b(body, digest_size=16).hexdigest()}"


def finished(value: Value) -> Value:
    """The record without fields that say nothing, and with the digest of all that it says."""
    said = {name: each for name, each in value.items() if each not in (None, "", [])}
    return said | {"source_digest": digest_of(said)}


def digest_of(value: Value) -> str:
    """16 hex digits of what an export says of a record."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    return blake2b(canonical, digest_size=8).hexdigest()


def text_of(value: object) -> str:
    """A text without halves of characters, which UTF-8 has not; what is no text is empty."""
    if not isinstance(value, str):
        return ""
    return value.encode("utf-8", "replace").decode()


def label_of(value: object) -> str | None:
    """A short text on one line, cut to fit; None if there is none."""
    text = " ".join(text_of(value).split())[:LABEL_CHARACTERS_MAX]
    return text or None


def bounded(text: str) -> str:
    """The text. Raises FaultError if no record can hold it."""
    size = len(text.encode())
    if size > TEXT_BYTES_MAX:
        raise FaultError(f"a text of {size} bytes, {TEXT_BYTES_MAX} fit into a record")
    return text


def required_id(value: object, what: str) -> str:
    """An id that the service gave. Raises FaultError if it gave none."""
    if not isinstance(value, str) or not value:
        raise FaultError(f"no {what}")
    return text_of(value)


def as_map(value: object) -> dict[str, Any]:
    """An object, or an empty one in the place of anything else."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> Sequence[Any]:
    """An array, or an empty one in the place of anything else."""
    return value if isinstance(value, list) else ()


def seconds_to_ms(value: object) -> int | None:
    """A time in seconds since 1970, as milliseconds; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        return None
    return _within(round(value * 1000))


def iso_to_ms(value: object) -> int | None:
    """A time as ISO 8601, in UTC unless it says otherwise; None if it is none."""
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        time = datetime.fromisoformat(value)
        return _within(
            round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
        )
    except (ValueError, OverflowError, OSError):
        return None


def count_of(value: object) -> int | None:
    """A number of bytes; None if it is none."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
    return value if is_count else None  # type: ignore[return-value]  # is_count says it is


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _within(milliseconds: int) -> int | None:
    return milliseconds if 0 <= milliseconds <= TIME_MS_MAX else None
