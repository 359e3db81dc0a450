"""Vector rows: the embeddings of declared fields, taken from records, as functions inside a job.

An embedding is a field of a record: a map from the model that made it to the vector,

    {"embedding": {"minilm@2": {"$vector": "…"}}}

where a model is its name, `@` and its version. So what two devices with two models write apart
stands side by side, and no merge can put a vector under the name of another model.

A *declared field* is one field of one collection, with the one model that this device compares. Its
rows follow the records by the feed (`feed_rows`). A record whose vector cannot be used has a row
without a vector that says why; it never stops the others. What is made here by a callback lives in
these rows alone, and never travels.

Vectors are float32, little-endian, 4 bytes a number. Sizes are counts of numbers.
"""

import base64
import binascii
import json
from array import array
from collections.abc import Sequence
from enum import IntEnum
from math import isfinite
from sys import byteorder
from typing import Any, NamedTuple

from . import feed_rows, sketch_rows
from .store import Conn

NUMBER_BYTES = 4
TEXT_MAX = 200
"""Characters of a text that is kept beside a vector, to be compared with conditions."""

_TAGS = ("$counter", "$text", "$time")


class Standing(IntEnum):
    """Whether a record can be found by its vector, and if not, why. Kept as these numbers."""

    WRITTEN = 0
    """As it stands in the record."""
    MADE = 1
    """Made here by a callback, because the record has one of another model only."""
    OTHER_MODEL = 2
    NO_MODEL = 3
    WRONG_DIMENSION = 4
    NOT_A_VECTOR = 5
    """No vector at all, or one with NaN or infinity in it."""
    ZERO = 6
    """Every number is 0: it points nowhere, so nothing is near to it."""
    NOT_MADE = 7
    """The callback failed, or made nothing that could be used."""


class Declared(NamedTuple):
    """A declared field. `reached` is the last change that its rows have taken."""

    field_no: int
    database: str
    collection: str
    field: str
    model: str
    version: str
    dimension: int
    reached: int

    @property
    def key(self) -> str:
        return model_key(self.model, self.version)


class Taken(NamedTuple):
    """What a page of the feed did to the rows: numbers of records, and their new vectors."""

    put: list[tuple[int, bytes]]
    gone: list[int]
    reached: int
    is_end: bool


class Waiting(NamedTuple):
    """A record whose embedding has to be made here. `value` is its JSON."""

    record_no: int
    change_no: int
    value: str


_DECLARED = "field_no, database, collection, field, model, version, dimension, reached"


def model_key(model: str, version: str) -> str:
    """The name under which the vectors of a model stand in a field. No version holds an `@`."""
    return f"{model}@{version}"


def declare(
    conn: Conn,
    database: str,
    collection: str,
    field: str,
    model: str,
    version: str,
    dimension: int,
) -> Declared:
    """Declare a field, or say again that it is; then it is the latest of its models.

    The dimension of one that exists stays as it was: compare it.
    """
    conn.execute(
        "INSERT INTO vector_fields (database, collection, field, model, version, dimension,"
        " declared) VALUES (?, ?, ?, ?, ?, ?, (SELECT ifnull(max(declared), 0) + 1 FROM"
        " vector_fields)) ON CONFLICT DO UPDATE SET declared = excluded.declared",
        (database, collection, field, model, version, dimension),
    )
    (found,) = declared(conn, database, collection, field, model, version)
    return found


def declared(
    conn: Conn,
    database: str | None = None,
    collection: str | None = None,
    field: str | None = None,
    model: str | None = None,
    version: str | None = None,
) -> list[Declared]:
    """Declared fields, the latest first. None means any."""
    rows = conn.execute(
        f"SELECT {_DECLARED} FROM vector_fields WHERE database = ifnull(?, database)"
        " AND collection = ifnull(?, collection) AND field = ifnull(?, field)"
        " AND model = ifnull(?, model) AND version = ifnull(?, version) ORDER BY declared DESC",
        (database, collection, field, model, version),
    )
    return [Declared(*row) for row in rows.fetchall()]


def forget(conn: Conn, field_no: int) -> None:
    """Undeclare a field. Its rows go; the records stay as they are."""
    sketch_rows.forget(conn, field_no)
    conn.execute("DELETE FROM vectors WHERE field_no = ?", (field_no,))
    conn.execute("DELETE FROM vector_fields WHERE field_no = ?", (field_no,))


def is_behind(conn: Conn, field_no: int) -> bool:
    """Whether there are changes that the rows of this field have not taken."""
    row = conn.execute(
        "SELECT reached FROM vector_fields WHERE field_no = ?", (field_no,)
    ).fetchone()
    return row is not None and row[0] < feed_rows.last_change(conn)


def take(conn: Conn, field: Declared, limit: int) -> Taken:
    """Take the next changes of the feed into the rows of a field, at most `limit`."""
    row = conn.execute(
        "SELECT reached FROM vector_fields WHERE field_no = ?", (field.field_no,)
    ).fetchone()
    if row is None:  # It was undeclared meanwhile.
        return Taken([], [], 0, True)
    numbers = feed_rows.numbers_of(conn, field.database, field.collection)
    page = feed_rows.changes(conn, row[0], numbers, limit)
    before = _rows_of(conn, field.field_no, [mark.record_no for mark in page.marks])
    taken = Taken([], [], page.reached, len(page.marks) < limit)
    for mark in page.marks:
        record = {} if mark.value is None else json.loads(mark.value)
        read = read_vector(record, field)
        fields = "" if read is None else fields_text(record)
        _take_one(conn, field.field_no, mark, before.get(mark.record_no), read, fields, taken)
    if taken.put or taken.gone:
        sketch_rows.loosen(conn, field.field_no, [number for number, _ in taken.put], taken.gone)
    if page.reached != row[0]:
        conn.execute(
            "UPDATE vector_fields SET reached = ? WHERE field_no = ?",
            (page.reached, field.field_no),
        )
    return taken


def _rows_of(
    conn: Conn, field_no: int, numbers: Sequence[int]
) -> dict[int, tuple[int, bytes | None]]:
    rows = conn.execute(
        "SELECT record_no, standing, vector FROM vectors WHERE field_no = ?"
        " AND record_no IN (SELECT value FROM json_each(?))",
        (field_no, json.dumps(list(numbers))),
    )
    return {row[0]: (row[1], row[2]) for row in rows.fetchall()}


def _take_one(
    conn: Conn,
    field_no: int,
    mark: feed_rows.Mark,
    before: tuple[int, bytes | None] | None,
    read: tuple[Standing, bytes | None] | None,
    fields: str,
    taken: Taken,
) -> None:
    if read is None:
        if before is not None:
            conn.execute(
                "DELETE FROM vectors WHERE field_no = ? AND record_no = ?",
                (field_no, mark.record_no),
            )
    else:
        conn.execute(
            "INSERT INTO vectors (field_no, record_no, change_no, standing, fields, vector)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (field_no, record_no) DO UPDATE SET"
            " change_no = excluded.change_no, standing = excluded.standing,"
            " fields = excluded.fields, vector = excluded.vector",
            (field_no, mark.record_no, mark.change_no, int(read[0]), fields, read[1]),
        )
    had, has = None if before is None else before[1], None if read is None else read[1]
    if has is not None and has != had:
        taken.put.append((mark.record_no, has))
    elif has is None and had is not None:
        taken.gone.append(mark.record_no)


def fields_text(record: dict[str, Any]) -> str:
    """JSON of the root fields that have one value, but for long texts."""
    fields = {name: value for name, value in record.items() if _is_short(value)}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def _is_short(value: Any) -> bool:
    if isinstance(value, dict):
        return len(value) == 1 and any(tag in value and _is_short(value[tag]) for tag in _TAGS)
    if isinstance(value, str):
        return len(value) <= TEXT_MAX
    return not isinstance(value, list)


def read_vector(record: dict[str, Any], field: Declared) -> tuple[Standing, bytes | None] | None:
    """What a record in JSON form has for a declared field; None if it lacks the field."""
    embedding = record.get(field.field)
    if embedding is None:
        return None
    if type(embedding) is not dict or not embedding:
        return Standing.NOT_A_VECTOR, None
    if field.key in embedding:
        return _vector_of(embedding[field.key], field.dimension)
    if list(embedding) == ["$vector"]:
        return Standing.NO_MODEL, None
    if any("@" in name and name[:1] != "$" for name in embedding):
        return Standing.OTHER_MODEL, None
    return Standing.NO_MODEL, None


def _vector_of(tagged: Any, dimension: int) -> tuple[Standing, bytes | None]:
    if type(tagged) is not dict or list(tagged) != ["$vector"]:
        return Standing.NOT_A_VECTOR, None
    try:
        data = base64.b64decode(tagged["$vector"], validate=True)
    except (TypeError, ValueError, binascii.Error):
        return Standing.NOT_A_VECTOR, None
    return judge(data, dimension)


def judge(data: bytes, dimension: int) -> tuple[Standing, bytes | None]:
    """Whether float32 numbers can be searched by: then as `WRITTEN`, with the same bytes."""
    if len(data) != dimension * NUMBER_BYTES:
        return (Standing.WRONG_DIMENSION if data else Standing.NOT_A_VECTOR), None
    numbers = array("f", data)
    if byteorder == "big":
        numbers.byteswap()
    if not all(map(isfinite, numbers)):
        return Standing.NOT_A_VECTOR, None
    return (Standing.WRITTEN, data) if any(numbers) else (Standing.ZERO, None)


# Embeddings that are made here ----------------------------------------------------------------


def waiting(conn: Conn, field_no: int, limit: int) -> list[Waiting]:
    """Records with an embedding of another model only, which nobody has tried to make anew."""
    rows = conn.execute(
        "SELECT v.record_no, v.change_no, r.value FROM vectors v"
        " CROSS JOIN records r ON r.record_no = v.record_no WHERE v.field_no = ?"
        " AND v.standing = ? AND v.vector IS NULL AND r.value NOTNULL"
        " ORDER BY v.record_no LIMIT ?",
        (field_no, int(Standing.OTHER_MODEL), limit),
    )
    return [Waiting(*row) for row in rows.fetchall()]


def made(conn: Conn, field_no: int, one: Waiting, vector: bytes | None) -> bool:
    """Keep what was made of a record; None: it could not be. False if the record is another now."""
    standing = Standing.NOT_MADE if vector is None else Standing.MADE
    changed = conn.execute(
        "UPDATE vectors SET standing = ?, vector = ? WHERE field_no = ? AND record_no = ?"
        " AND change_no = ? AND standing = ?",
        (
            int(standing),
            vector,
            field_no,
            one.record_no,
            one.change_no,
            int(Standing.OTHER_MODEL),
        ),
    )
    if changed.rowcount > 0 and vector is not None:
        sketch_rows.loosen(conn, field_no, [one.record_no], [])
    return changed.rowcount > 0


def make_again(conn: Conn, model: str, version: str) -> None:
    """What could not be made with a model waits again: there is a new callback for it."""
    conn.execute(
        "UPDATE vectors SET standing = ? WHERE standing = ? AND vector IS NULL AND field_no IN"
        " (SELECT field_no FROM vector_fields WHERE model = ? AND version = ?)",
        (int(Standing.OTHER_MODEL), int(Standing.NOT_MADE), model, version),
    )
