"""Data log: what devices were told of what is made from records, and what was there to make it of.

Doings write it and checkers judge it. A question is noted with every record of its database as it
stood when the answer was given, so whoever judges needs no node: an answer is right or wrong by
those records alone. Where something changed while the question was answered it is not noted, for
then nobody can say which records the answer is about.

Times: `at_ms` is virtual, `wall_ms` what the device's clock said. Values are the JSON of records.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..node.engine import Engine
from ..storage.store import Conn
from .sim_device import SimDevice
from .virtual_loop import Process
from .witness import Seen, surely_seen

Question = Mapping[str, Any]
"""As it stands in a plan; what there is to ask: `data_questions.py`."""


class Held(NamedTuple):
    """One live record of one device. `value` is its JSON; (log_no, seq) made it what it is."""

    record_no: int
    collection: str
    id: str
    privacy: int
    bucket: int
    value: str
    hlc: int
    log_no: int
    seq: int


class LinkField(NamedTuple):
    """A field that was declared to hold ids, on one device."""

    database: str
    collection: str
    field: str
    to_database: str
    to_collection: str


class Content(NamedTuple):
    """What there is to make something of."""

    records: tuple[Held, ...]
    links: tuple[LinkField, ...]
    vectors: tuple[tuple[Any, ...], ...]
    """The fields with vectors that are declared: of one that is not there is nothing to compare."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, its answer, and what the device held of the database."""

    device: str
    at_ms: int
    database: str
    question: Question
    content: Content
    answer: Any


@dataclass(frozen=True, slots=True)
class Swept:
    """What a device held of a collection before and after it deleted something by itself.

    Noted only if nothing came from others meanwhile. `who` is empty for a sweep of what has
    expired; for an erasure it is whom the records were about, and `count` what the device told.
    """

    device: str
    at_ms: int
    own_logs: frozenset[int]
    before: tuple[Held, ...]
    after: tuple[Held, ...]
    deleted_by: Mapping[int, int]
    """Record -> the log that it was deleted by."""
    rule: tuple[str | None, int | None] | None
    """The field with the time of expiry and the days to keep, None without a rule."""
    wall_ms: int
    who: str = ""
    count: int = 0


@dataclass(slots=True, eq=False)
class Entry:
    """One write to a record that no other device writes to. An empty text deletes it."""

    device: str
    process: Process | None
    database: str
    collection: str
    id: str
    text: str
    instance: bytes
    begun_ms: float
    done_ms: float | None = None
    """When it was acknowledged; None if it never was: then it may be there or not."""
    field: str = ""
    """The field that has the text."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a device answered for a record that it alone writes to, by its clock."""

    device: str
    instance: bytes
    database: str
    id: str
    at_ms: float
    wall_ms: int
    value: Any


@dataclass(frozen=True, slots=True)
class Migrating:
    """A migration that began, and what it found. It is over, or its process died in it."""

    database: str
    process: Process | None
    version: int
    before: tuple[Held, ...]


@dataclass(slots=True)
class DataLog:
    """All of it, for one run."""

    questions: dict[tuple[str, str], Question] = field(default_factory=dict)
    """Every question of the plan that was asked, by its database and text, to be asked again."""
    asked: list[Asked] = field(default_factory=list)
    swept: list[Swept] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    memories: list[Memory] = field(default_factory=list)
    migrating: dict[str, Migrating] = field(default_factory=dict)
    views: dict[tuple[str, str], tuple[Process | None, int, Any]] = field(default_factory=dict)
    """(device, view) -> the process that registered it, its version, and the view."""
    applications: dict[tuple[str, str], tuple[Process | None, int]] = field(default_factory=dict)
    """(device, database) -> the process in which its schema was installed last, and the version."""
    used: bool = False
    """Whether this plan has to do with any of this: in others checkers do nothing."""


_HELD = """
SELECT r.record_no, c.name, r.id, s.privacy, s.bucket, r.value, r.hlc, r.log_no, r.seq
FROM records r JOIN collections c ON c.coll_no = r.coll_no JOIN scopes s ON s.scope_no = c.scope_no
WHERE s.database = ? AND r.value NOTNULL ORDER BY r.record_no
"""
_DELETED = """
SELECT r.record_no, r.log_no FROM records r JOIN collections c ON c.coll_no = r.coll_no
JOIN scopes s ON s.scope_no = c.scope_no
WHERE s.database = ? AND c.name = ? AND r.value IS NULL
"""


def held(device: SimDevice, database: str, collection: str | None = None) -> tuple[Held, ...]:
    """The live records of a database, or of one collection of it, by number."""
    rows = device.store.look(lambda conn: conn.execute(_HELD, (database,)).fetchall())
    found = tuple(Held(*row) for row in rows)
    return found if collection is None else of_collection(found, collection)


def of_collection(rows: tuple[Held, ...], collection: str) -> tuple[Held, ...]:
    return tuple(row for row in rows if row.collection == collection)


def content(device: SimDevice, database: str) -> Content:
    """What a device has to answer questions of a database from."""

    def declared(conn: Conn) -> tuple[list[Any], list[Any]]:
        vectors = conn.execute("SELECT field_no, collection, model, version FROM vector_fields")
        return conn.execute("SELECT * FROM link_fields").fetchall(), vectors.fetchall()

    links, vectors = device.store.look(declared)
    fields = tuple(LinkField(*row) for row in links)
    return Content(held(device, database), fields, tuple(vectors))


def deleted_by(device: SimDevice, database: str, collection: str) -> dict[int, int]:
    """Deleted record -> the number of the log that its latest change stands in."""
    names = (database, collection)
    return dict(device.store.look(lambda conn: conn.execute(_DELETED, names).fetchall()))


def of_others(engine: Engine) -> Seen:
    """What a device has applied of the logs of other instances."""
    return {key: seq for key, seq in surely_seen(engine).items() if key[1] != engine.instance}
