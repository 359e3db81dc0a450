"""Record requests: what an application asks of the writer, and how names and levels are spelled.

Values only; `writer.py` carries them out.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from .. import CoveyError
from ..sync.editing import Rewrite
from ..sync.errors import BadValueError
from ..sync.limits import (
    COLLECTION_NAME_BYTES_MAX,
    DATABASE_NAME_BYTES_MAX,
    RECORD_ID_BYTES_MAX,
)
from ..sync.record_state import RecordState
from .ledger import Scope

ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


class PrivacyFixedError(CoveyError):
    """A put names another privacy level than the record was born with. Nothing was written.

    A put never moves a record, because copies under the old level's keys may remain where they are:
    that is for a person to decide (`Move`).
    """

    exit_code = 3


class MoveRefusedError(CoveyError):
    """A record cannot be moved: there is another one of that id at the level. Nothing changed."""

    exit_code = 3


class NotOpenError(Exception):
    """What a write needs first is a scope, or a log in it, that this instance does not have yet.

    It never leaves the writer, which opens it and begins again.
    """

    def __init__(self, privacy: int, bucket: int) -> None:
        super().__init__(privacy, bucket)
        self.privacy = privacy
        self.bucket = bucket


class Was(NamedTuple):
    """A record as it was when a branch of a log was taken out.

    `doc` and `meta` are those of the store; privacy and bucket name its scope.
    """

    doc: bytes
    meta: bytes
    privacy: int
    bucket: int
    spared: frozenset[bytes] | None = None
    """Of somebody else's branch: instances whose changes are written again by who made them."""
    maker: bytes | None = None
    """Whose single change it was; it has no document then."""

    def lived_in(self, scope: Scope) -> bool:
        """Whether this scope of its database is the one it was in."""
        return (scope.privacy, scope.bucket) == (self.privacy, self.bucket)


@dataclass(frozen=True, slots=True)
class Put:
    collection: str
    id: str | None
    value: Mapping[str, Any]
    privacy: str | None
    replace: bool
    rewrite: tuple[str | Rewrite, ...] = ()
    """Fields and places to be written even if they are so already, which settles a conflict."""
    settle: Callable[[tuple[int, str, str], RecordState], Rewrite] | None = None
    """What settles a conflict, looked up in the record as it is when its turn comes."""
    is_late: bool = False
    """It was written long ago, and carried over: what our instance has written since stands."""
    tags: tuple[str, ...] = ()
    """To be added to those that the record has."""
    widest: int | None = None
    """The widest level that the rules of its tags allow; None if they have none. The writer's."""
    bucket: int | None = None
    """The time bucket to be born into; None for that of now, or for none, as the database says."""
    unfit: Mapping[str, str] | None = None
    """Fields that the schema of the collection does not allow, and why. `Fitting`'s."""
    remake: Callable[[Mapping[str, Any]], dict[str, Any] | None] | None = None
    """What makes the record anew from what it shows when its turn comes; None leaves it as it is.

    It stays where there is no record any more."""
    was: Was | None = None
    """What it was written with the knowledge of, if that was not what is here (`rewriting.py`)."""


@dataclass(frozen=True, slots=True)
class Delete:
    collection: str
    id: str
    still: Callable[[tuple[int, str, str], RecordState], bool] | None = None
    """Whether it is still to be deleted, asked of the record as it is when its turn comes."""
    was: Was | None = None
    """As that of a put."""

    def is_over(self, key: tuple[int, str, str], current: RecordState | None) -> bool:
        """Whether the record is not to be deleted any more."""
        return current is not None and self.still is not None and not self.still(key, current)


@dataclass(frozen=True, slots=True)
class Move:
    """Delete a record at its privacy level and write it anew at another, in one transaction."""

    collection: str
    id: str
    privacy: str


Request = Put | Delete | Move


@dataclass(frozen=True, slots=True)
class Written:
    """What became of one write. `version` names the record's state: equal states, equal names."""

    id: str
    version: str
    changed: bool
    was: str | None = None
    """The privacy level at which a `Move` found the record; None if there is none."""


def check_name(what: str, text: str, bytes_max: int) -> None:
    """Names and ids: 1 to `bytes_max` bytes of UTF-8 that print. Raises BadValueError."""
    if not isinstance(text, str):
        raise BadValueError(f"{what}: a text is needed, not {type(text).__name__}")
    size = len(text.encode("utf-8", "surrogatepass"))
    if not 1 <= size <= bytes_max:
        raise BadValueError(f"{what}: {size} bytes, 1 to {bytes_max} allowed")
    if not text.isprintable():
        raise BadValueError(f"{what}: contains a character that cannot be printed")


def check_place(database: str, collection: str | None = None, id: str | None = None) -> None:
    """The names of a database, a collection or a record, by which it may exist.

    Raises BadValueError.
    """
    check_name("database", database, DATABASE_NAME_BYTES_MAX)
    if collection is not None:
        check_name("collection", collection, COLLECTION_NAME_BYTES_MAX)
    if id is not None:
        check_name("id", id, RECORD_ID_BYTES_MAX)


def checked(request: Request, new_id: Callable[[], str]) -> Request:
    """A request with an id, and names that may be. Raises BadValueError."""
    check_name("collection", request.collection, COLLECTION_NAME_BYTES_MAX)
    if isinstance(request, Put) and request.id is None:
        request = replace(request, id=new_id())
    assert request.id is not None
    check_name("id", request.id, RECORD_ID_BYTES_MAX)
    if isinstance(request, Put) and not isinstance(request.value, Mapping):
        raise BadValueError(
            f"{request.collection}/{request.id}: a record is a map of fields,"
            f" not {type(request.value).__name__}"
        )
    return request


def late_value(request: Put, current: RecordState, instance: bytes) -> dict[str, Any]:
    """What a late put has still to write: nothing that our instance has deleted or replaced."""
    value = dict(request.value)
    if instance not in current.past:
        return value
    standing = value if current.value is None else current.value
    return {name: value[name] for name in value if name not in standing}


def time_ordered_id(wall_ms: int, drawn: bytes) -> str:
    """A record id of 20 characters: 48 bits of time, then 52 of 7 random bytes; sorts by time."""
    number = (wall_ms & (1 << 48) - 1) << 52 | (int.from_bytes(drawn, "big") >> 4)
    return "".join(ID_ALPHABET[number >> shift & 31] for shift in range(95, -1, -5))


def version(state: RecordState) -> str:
    """A name for a record's state: 16 hex digits over its heads."""
    return version_of([head.hash for head in state.heads])


def version_of(heads: Sequence[bytes]) -> str:
    """`version`, from the hashes of the heads."""
    return hashlib.blake2b(b"".join(sorted(heads)), digest_size=8).hexdigest()


Aside = Callable[[str, Sequence[Request]], AbstractAsyncContextManager[Sequence[Request]]]
"""Puts what is large beside the records of a database, for as long as they are written."""


@asynccontextmanager
async def as_they_are(_: str, requests: Sequence[Request]) -> AsyncIterator[Sequence[Request]]:
    """Nothing is put beside a record."""
    yield requests
