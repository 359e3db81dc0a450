"""Projection: a record's state as the row that queries read.

The log is the truth; rows are made from states and can be made again from the entries. A row holds
the record's JSON, the words it is found by, and where its latest change stands. The
document itself is stored from the second change on; until then the row points at the entry.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ..storage import blob_rows, conflict_rows, record_rows
from ..storage.blob_rows import Reference
from ..storage.conflict_rows import ConflictState
from ..storage.record_rows import NewRecord, Record, RecordUpdate
from ..storage.store import Conn
from ..sync.change import CHANGE_CHUNK
from ..sync.crdt import encode_state
from ..sync.record_state import RecordState
from ..sync.resolution import Conflict, Known, Resolution
from ..sync.values import BlobRef, Text, to_json, value_text
from .ledger import Log

SEARCH_CHARACTERS_MAX = 100_000
"""Of one record; what lies beyond is stored but not found by its words."""

HLC_STORED_MAX = 2**63 - 1
"""A stamp of a peer has 64 bits, an integer of SQLite 63. It is shown and decides nothing."""

_CONFLICT_STATES = {
    "open": ConflictState.OPEN,
    "settled": ConflictState.SETTLED,
    "resolved": ConflictState.RESOLVED,
}

_BLOB_TAG = '"$blob":'
"""In the JSON of every record that refers to a blob, and never within a text of it."""

Key = tuple[int, str, str]
"""Scope number, collection name, record id."""


class Row(NamedTuple):
    """One record, ready to be written. `fields` is what watchers are told."""

    scope: int
    collection: str
    id: str
    value: str | None
    text: str
    hlc: int
    log: int
    seq: int
    item: int
    doc: bytes | None
    meta: bytes | None
    fields: dict[str, Any] | None
    conflicts: tuple[Conflict, ...] | None = None
    """What is or was in dispute; None if its changes all knew of one another."""
    blobs: tuple[Reference, ...] = ()
    """The blobs that it refers to, variants of theirs included."""


def project(
    log: Log,
    seq: int,
    hlc: int,
    key: Key,
    item: int,
    state: RecordState,
    resolution: Resolution | None = None,
) -> Row:
    """The row for a state whose latest change is number `item` of entry `seq` of `log`.

    `resolution` is what a contested state comes to (`judging.py`).
    """
    hlc = min(hlc, HLC_STORED_MAX)
    doc: bytes | None = None
    meta: bytes | None = None
    if not _is_first(state, log.instance, seq):
        doc, meta = encode_state(state)
    value, conflicts = (state.value, None) if resolution is None else resolution
    held = tuple(_candidates(conflicts)) if conflicts else ()
    if value is None:
        return Row(*key, None, "", hlc, log.number, seq, item, doc, meta, None, conflicts, held)
    text, shown = search_text(value), value_text(value)
    blobs = (*references(value), *held) if _BLOB_TAG in shown else held
    return Row(*key, shown, text, hlc, log.number, seq, item, doc, meta, value, conflicts, blobs)


def _is_first(state: RecordState, instance: bytes, seq: int) -> bool:
    """Whether the entry at `seq` is all there is to say of this record."""
    chunks = state.chunks
    return len(chunks) == 1 and chunks[0][8] == CHANGE_CHUNK and state.past == {instance: seq}


def search_text(value: Any) -> str:
    """Every text in a record, in order of its fields, a line each."""
    parts: list[str] = []
    _gather(value, parts)
    return "\n".join(parts)[:SEARCH_CHARACTERS_MAX]


def _gather(value: Any, parts: list[str]) -> None:
    if type(value) is str:
        parts.append(value)
    elif isinstance(value, dict):
        for name in value:
            _gather(value[name], parts)
    elif isinstance(value, list | tuple):
        for item in value:
            _gather(item, parts)
    elif isinstance(value, Text):
        parts.append(value.content)


def references(value: Any, place: str = "") -> Iterator[Reference]:
    """The blobs in a record with the fields they stand in: `photo`, `album.cover`, `photos[2]`."""
    if isinstance(value, BlobRef):
        yield _reference(place, "", value)
        for name, variant in value.variants:
            yield _reference(place, name, variant)
    elif isinstance(value, dict):
        for name in value:
            yield from references(value[name], f"{place}.{name}" if place else name)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from references(item, f"{place}[{index}]")


def _candidates(conflicts: Sequence[Conflict]) -> Iterator[Reference]:
    """What a person may still decide for: it must not be deleted meanwhile."""
    for conflict in conflicts:
        for number, known in enumerate(conflict.candidates, 1):
            yield from references(known.value, f"{conflict.field} (candidate {number})")


def _reference(field: str, variant: str, ref: BlobRef) -> Reference:
    return Reference(field, variant, ref.id, ref.size, ref.media_type, ref.name, ref.manifest)


def taken(conn: Conn, rows: Iterable[Row]) -> set[Key]:
    """Those of the rows whose record exists already, deleted or not."""
    found: set[Key] = set()
    for (scope, collection), group in _grouped(rows).items():
        number = record_rows.ensure_collection(conn, scope, collection)
        ids = [row.id for row in group]
        found.update((scope, collection, id) for id in record_rows.existing(conn, number, ids))
    return found


def insert(conn: Conn, rows: Iterable[Row]) -> None:
    """Write rows of records that do not exist."""
    for (scope, collection), group in _grouped(rows).items():
        number = record_rows.ensure_collection(conn, scope, collection)
        _insert(conn, number, group)


def upsert(conn: Conn, rows: Iterable[Row]) -> None:
    """Write rows whether their records exist or not; of one record the last row counts."""
    for (scope, collection), group in _grouped(rows).items():
        number = record_rows.ensure_collection(conn, scope, collection)
        last = {row.id: row for row in group}
        known: dict[str, Record] = record_rows.existing(conn, number, list(last))
        fresh = [row for id, row in last.items() if id not in known]
        made = _insert(conn, number, fresh)
        numbers = dict(zip((row.id for row in fresh), made, strict=True))
        numbers.update((id, record.record_no) for id, record in known.items())
        disputed = {
            numbers[id]: [conflict_row(each) for each in row.conflicts]
            for id, row in last.items()
            if row.conflicts is not None
        }
        if disputed:
            conflict_rows.replace_conflicts(conn, disputed)
        record_rows.update_records(
            conn,
            [_update(known[id].record_no, row) for id, row in last.items() if id in known],
        )
        for id, old in known.items():
            row = last[id]
            if row.blobs or row.conflicts is not None or _BLOB_TAG in (old.value or ""):
                blob_rows.refer(conn, old.record_no, row.blobs)


def _insert(conn: Conn, collection: int, rows: Sequence[Row]) -> list[int]:
    """Rows of records that do not exist, with what they refer to; their numbers, in order."""
    numbers = record_rows.insert_records(conn, [_new(collection, row) for row in rows])
    for number, row in zip(numbers, rows, strict=True):
        if row.blobs:
            blob_rows.refer(conn, number, row.blobs)
    return numbers


def remove(conn: Conn, keys: Iterable[Key]) -> None:
    """Take rows away of which nothing is left that counts; those not there are no fault."""
    ids: dict[tuple[int, str], list[str]] = {}
    for scope, collection, id in keys:
        ids.setdefault((scope, collection), []).append(id)
    for (scope, collection), gone in ids.items():
        number = record_rows.ensure_collection(conn, scope, collection)
        record_rows.remove_records(conn, number, gone)


def _grouped(rows: Iterable[Row]) -> dict[tuple[int, str], list[Row]]:
    groups: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.scope, row.collection), []).append(row)
    return groups


def _new(number: int, row: Row) -> NewRecord:
    return NewRecord(
        number,
        row.id,
        row.value,
        row.hlc,
        row.log,
        row.seq,
        row.item,
        row.doc,
        row.meta,
        row.text,
    )


def _update(record: int, row: Row) -> RecordUpdate:
    return RecordUpdate(
        record, row.value, row.hlc, row.log, row.seq, row.item, row.doc, row.meta, row.text
    )


def conflict_row(conflict: Conflict) -> conflict_rows.Conflict:
    """A conflict as its row in the store."""
    newest = max((known.hlc for known in conflict.candidates), default=0)
    hlc = min(conflict.resolved_hlc or newest, HLC_STORED_MAX)
    body: dict[str, Any] = {
        "candidates": [_known(known) for known in conflict.candidates],
        "value": to_json(conflict.value),
    }
    if conflict.reembed:
        body["reembed"] = True
    if conflict.resolved_by:
        body["by"] = conflict.resolved_by.hex()
    state = int(_CONFLICT_STATES[conflict.state])
    return conflict_rows.Conflict(
        conflict.id, state, hlc, conflict.field, conflict.rule, json.dumps(body, sort_keys=True)
    )


def _known(known: Known) -> dict[str, Any]:
    told = {"value": to_json(known.value), "device": known.device.hex(), "hlc": known.hlc}
    return {**told, "deletes": True} if known.deletes else told
