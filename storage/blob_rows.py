"""Blob rows: which blobs records refer to, which chunks of them are here, who else has them.

References follow records: whatever writes a record's row replaces the references of that record
in the same transaction (`refer`, `forget_records`). A blob is known from the moment that a record
refers to it, whether or not a byte of it is here.

The life of a blob here: *kept* from its first reference on, or first *being put* by an application
until its manifest is known; *being deleted* while its files are removed. Rows go before files come,
and after files went, so no file is ever without a row. A chunk's bit is set only when its file is
on the disk; a file without its bit is found again by its name.

Functions inside a job. Times are milliseconds since 1970, sizes bytes, ids 32 bytes.
"""

import json
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from .bulk import execute_rows
from .store import Conn


class BlobState(IntEnum):
    """The value is that of the column."""

    KEPT = 0
    PUTTING = 1
    DELETING = 2


class Wanted(IntEnum):
    """Whether a blob is to come here. The value is that of the column."""

    BY_POLICY = 0
    ASKED = 1
    """A person asked for it."""
    EVICTED = 2
    """It was here, and was put away to make room: it comes when somebody asks."""


class Blob(NamedTuple):
    """A blob without its manifest. `id` is empty while it is being put."""

    blob_no: int
    id: bytes
    size: int
    state: BlobState
    place: bytes | None
    wanted: Wanted
    used_ms: int
    held: int
    """How many chunks are here."""
    bits: bytes
    """Which: bit `i % 8`, lowest first, of byte `i // 8`."""


class Reference(NamedTuple):
    """That a field of a record holds a blob, or a variant of one."""

    field: str
    variant: str
    id: bytes
    size: int
    media_type: str
    name: str
    manifest: bytes
    """Of the blob of this id; only the first reference to it stores it."""


class Place(NamedTuple):
    """Where a blob is referred to."""

    database: str
    privacy: int
    scope_no: int
    log_no: int
    """Of the record's latest change."""
    collection: str
    record: str
    field: str
    variant: str
    media_type: str
    name: str


_COLUMNS = (
    "b.blob_no, ifnull(b.blob_id, x''), b.size, b.state, b.place, b.wanted, b.used_ms,"
    " ifnull(c.held, 0), ifnull(c.bits, x'')"
)
_FROM = "FROM blobs b LEFT JOIN blob_chunks c ON c.blob_no = b.blob_no"
_PLACE_COLUMNS = (
    "s.database, s.privacy, s.scope_no, r.log_no, k.name, r.id, f.field, f.variant,"
    " f.media_type, f.name"
)
_PLACES_FROM = (
    "FROM blob_refs f CROSS JOIN records r ON r.record_no = f.record_no"
    " CROSS JOIN collections k ON k.coll_no = r.coll_no"
    " CROSS JOIN scopes s ON s.scope_no = k.scope_no"
)


# References ----------------------------------------------------------------------------------


def refer(conn: Conn, record_no: int, references: Sequence[Reference]) -> None:
    """Replace the references of a record; blobs that are new here become known."""
    conn.execute("DELETE FROM blob_refs WHERE record_no = ?", (record_no,))
    rows = []
    for one in references:
        number = _known(conn, one)
        rows.append((record_no, one.field, one.variant, number, one.media_type, one.name))
    columns = "record_no, field, variant, blob_no, media_type, name"
    execute_rows(conn, f"INSERT OR REPLACE INTO blob_refs ({columns})", 6, rows)


def _known(conn: Conn, one: Reference) -> int:
    found = conn.execute("SELECT blob_no FROM blobs WHERE blob_id = ?", (one.id,)).fetchone()
    if found is not None:
        conn.execute("UPDATE blobs SET unreferenced_ms = NULL WHERE blob_no = ?", found)
        number: int = found[0]
        return number
    conn.execute(
        "INSERT INTO blobs (blob_id, size, state, wanted, used_ms) VALUES (?, ?, 0, 0, 0)",
        (one.id, one.size),
    )
    (number,) = conn.execute("SELECT last_insert_rowid()").fetchone()
    conn.execute("INSERT INTO blob_manifests VALUES (?, ?)", (number, one.manifest))
    return number


def forget_records(conn: Conn, numbers: Sequence[int]) -> None:
    """These records refer to nothing any more."""
    conn.execute(
        "DELETE FROM blob_refs WHERE record_no IN (SELECT value FROM json_each(?))",
        (json.dumps(list(numbers)),),
    )


def places(conn: Conn, blob_no: int) -> list[Place]:
    """Where a blob is referred to, in order."""
    rows = conn.execute(
        f"SELECT {_PLACE_COLUMNS} {_PLACES_FROM} WHERE f.blob_no = ?"
        " ORDER BY s.database, s.privacy, k.name, r.id, f.field, f.variant",
        (blob_no,),
    )
    return [Place(*row) for row in rows.fetchall()]


def referring_logs(conn: Conn, blob_no: int, scope_no: int) -> list[int]:
    """The logs with the latest changes of those records of a scope that refer to a blob."""
    rows = conn.execute(
        f"SELECT DISTINCT r.log_no {_PLACES_FROM} WHERE f.blob_no = ? AND s.scope_no = ?"
        " ORDER BY 1",
        (blob_no, scope_no),
    )
    return [row[0] for row in rows.fetchall()]


def at(
    conn: Conn, database: str, collection: str, record: str, field: str, variant: str
) -> tuple[Blob, Place] | None:
    """The blob at a field of the most private record of this name that has one there."""
    row = conn.execute(
        f"SELECT f.blob_no, {_PLACE_COLUMNS} FROM scopes s"
        " CROSS JOIN collections k ON k.scope_no = s.scope_no AND k.name = ?"
        " CROSS JOIN records r ON r.coll_no = k.coll_no AND r.id = ?"
        " CROSS JOIN blob_refs f ON f.record_no = r.record_no AND f.field = ? AND f.variant = ?"
        " WHERE s.database = ? AND r.value IS NOT NULL ORDER BY s.privacy LIMIT 1",
        (collection, record, field, variant, database),
    ).fetchone()
    if row is None:
        return None
    blob = get(conn, row[0])
    assert blob is not None, "a reference is to a blob"
    return blob, Place(*row[1:])


# Blobs ---------------------------------------------------------------------------------------


def get(conn: Conn, blob_no: int) -> Blob | None:
    """A blob by its number."""
    return _one(conn, "b.blob_no = ?", blob_no)


def by_id(conn: Conn, id: bytes) -> Blob | None:
    """A blob by its id."""
    return _one(conn, "b.blob_id = ?", id)


def _one(conn: Conn, where: str, value: int | bytes) -> Blob | None:
    row = conn.execute(f"SELECT {_COLUMNS} {_FROM} WHERE {where}", (value,)).fetchone()
    return None if row is None else _blob(row)


def _blob(row: Sequence[Any]) -> Blob:
    number, id, size, state, place, wanted, used_ms, held, bits = row
    return Blob(number, id, size, BlobState(state), place, Wanted(wanted), used_ms, held, bits)


def manifest(conn: Conn, blob_no: int) -> bytes | None:
    """The manifest of a blob as it was first referred to."""
    row = conn.execute(
        "SELECT manifest FROM blob_manifests WHERE blob_no = ?", (blob_no,)
    ).fetchone()
    return None if row is None else row[0]


def referred(conn: Conn, after: int, limit: int) -> list[Blob]:
    """Blobs that a record refers to, by number from `after` on."""
    rows = conn.execute(
        f"SELECT {_COLUMNS} {_FROM} WHERE b.blob_no > ? AND b.state = 0"
        " AND EXISTS (SELECT 1 FROM blob_refs f WHERE f.blob_no = b.blob_no)"
        " ORDER BY b.blob_no LIMIT ?",
        (after, limit),
    )
    return [_blob(row) for row in rows.fetchall()]


def incomplete(conn: Conn, chunk_bytes: int) -> list[Blob]:
    """Blobs that a record refers to and that are not whole here, in the order in which they are
    to come: what a person asked for, then the newest.
    """
    rows = conn.execute(
        f"SELECT {_COLUMNS} {_FROM} WHERE b.state = 0"
        " AND ifnull(c.held, 0) < max(1, (b.size + ? - 1) / ?)"
        " AND EXISTS (SELECT 1 FROM blob_refs f WHERE f.blob_no = b.blob_no)"
        " ORDER BY b.wanted = 1 DESC, b.blob_no DESC",
        (chunk_bytes, chunk_bytes),
    )
    return [_blob(row) for row in rows.fetchall()]


def any_blob(conn: Conn) -> bool:
    """Whether this store knows any blob."""
    return conn.execute("SELECT 1 FROM blobs LIMIT 1").fetchone() is not None


def held_bytes(conn: Conn, chunk_bytes: int) -> int:
    """About how much room all chunks take that are here."""
    (total,) = conn.execute(
        "SELECT ifnull(sum(min(b.size, c.held * ?)), 0) FROM blobs b"
        " CROSS JOIN blob_chunks c ON c.blob_no = b.blob_no",
        (chunk_bytes,),
    ).fetchone()
    return int(total)


def begin(conn: Conn, place: bytes, now_ms: int) -> int:
    """A blob is being put under these names of files; its number."""
    conn.execute(
        "INSERT INTO blobs (size, state, place, wanted, used_ms) VALUES (0, 1, ?, 0, ?)",
        (place, now_ms),
    )
    (number,) = conn.execute("SELECT last_insert_rowid()").fetchone()
    return int(number)


def finish(
    conn: Conn, blob_no: int, id: bytes, size: int, manifest: bytes, bits: bytes, now_ms: int
) -> None:
    """What was put is whole: all its chunks are on the disk. No record refers to it yet."""
    conn.execute(
        "UPDATE blobs SET blob_id = ?, size = ?, state = 0, used_ms = ?, unreferenced_ms = ?"
        " WHERE blob_no = ?",
        (id, size, now_ms, now_ms, blob_no),
    )
    conn.execute("INSERT INTO blob_manifests VALUES (?, ?)", (blob_no, manifest))
    set_bits(conn, blob_no, bits)


def set_place(conn: Conn, blob_no: int, place: bytes) -> None:
    """The first chunk of a blob is about to be stored."""
    conn.execute("UPDATE blobs SET place = ? WHERE blob_no = ?", (place, blob_no))


def set_bits(conn: Conn, blob_no: int, bits: bytes) -> None:
    """These chunks are on the disk."""
    held = int.from_bytes(bits, "big").bit_count()
    conn.execute("INSERT OR REPLACE INTO blob_chunks VALUES (?, ?, ?)", (blob_no, held, bits))


def set_wanted(conn: Conn, blob_no: int, wanted: Wanted) -> None:
    """A person asked for this blob, or it was put away."""
    conn.execute("UPDATE blobs SET wanted = ? WHERE blob_no = ?", (int(wanted), blob_no))


def used(conn: Conn, blob_no: int, now_ms: int) -> None:
    """It was fetched or read."""
    conn.execute("UPDATE blobs SET used_ms = ? WHERE blob_no = ?", (now_ms, blob_no))


# Who else has it -----------------------------------------------------------------------------


def add_holder(conn: Conn, blob_no: int, device: bytes) -> None:
    """A device said that it holds all of a blob."""
    conn.execute("INSERT OR IGNORE INTO blob_holders VALUES (?, ?)", (blob_no, device))


def drop_holder(conn: Conn, blob_no: int, device: bytes) -> None:
    """A device said that it does not hold all of a blob any more."""
    conn.execute("DELETE FROM blob_holders WHERE blob_no = ? AND device = ?", (blob_no, device))


def holders(conn: Conn, blob_no: int) -> list[bytes]:
    """The devices that said so, in order."""
    rows = conn.execute(
        "SELECT device FROM blob_holders WHERE blob_no = ? ORDER BY device", (blob_no,)
    )
    return [row[0] for row in rows.fetchall()]


def only_here(conn: Conn) -> int:
    """How many blobs that records refer to are here, at least in part, and held by nobody else."""
    (count,) = conn.execute(
        "SELECT count(*) FROM blobs b CROSS JOIN blob_chunks c ON c.blob_no = b.blob_no"
        " WHERE c.held > 0 AND b.state = 0"
        " AND EXISTS (SELECT 1 FROM blob_refs f WHERE f.blob_no = b.blob_no)"
        " AND NOT EXISTS (SELECT 1 FROM blob_holders h WHERE h.blob_no = b.blob_no)"
    ).fetchone()
    return int(count)


# Deleting ------------------------------------------------------------------------------------


def mark_unreferenced(conn: Conn, now_ms: int) -> None:
    """Note of every blob that no record refers to since when that is, and of others that it is
    not so.
    """
    conn.execute(
        "UPDATE blobs SET unreferenced_ms = ? WHERE state = 0 AND unreferenced_ms IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM blob_refs f WHERE f.blob_no = blobs.blob_no)",
        (now_ms,),
    )
    conn.execute(
        "UPDATE blobs SET unreferenced_ms = NULL WHERE unreferenced_ms IS NOT NULL"
        " AND EXISTS (SELECT 1 FROM blob_refs f WHERE f.blob_no = blobs.blob_no)"
    )


def begin_deleting(conn: Conn, before_ms: int, held: Iterable[int]) -> list[Blob]:
    """Blobs that nobody has referred to since `before_ms` are to be deleted, but for `held` ones.

    Those that were to be deleted before, and are not yet, come as well.
    """
    conn.execute(
        "UPDATE blobs SET state = 2 WHERE state = 0 AND unreferenced_ms < ?"
        " AND blob_no NOT IN (SELECT value FROM json_each(?))"
        " AND NOT EXISTS (SELECT 1 FROM blob_refs f WHERE f.blob_no = blobs.blob_no)",
        (before_ms, json.dumps(sorted(held))),
    )
    return unfinished(conn, BlobState.DELETING)


def give_up(conn: Conn, blob_no: int) -> None:
    """A blob that was put, or evicted, is to be deleted now."""
    conn.execute("UPDATE blobs SET state = 2 WHERE blob_no = ?", (blob_no,))


def unfinished(conn: Conn, state: BlobState) -> list[Blob]:
    """The blobs in a state, by number."""
    rows = conn.execute(f"SELECT {_COLUMNS} {_FROM} WHERE b.state = ? ORDER BY 1", (int(state),))
    return [_blob(row) for row in rows.fetchall()]


def deleted(conn: Conn, blob_no: int, *, evicted: bool = False) -> None:
    """Its files are gone. If a record refers to it, it is known and not here.

    `evicted`: it was put away on purpose, so it does not come back by itself.
    """
    conn.execute("DELETE FROM blob_chunks WHERE blob_no = ?", (blob_no,))
    referred = conn.execute(
        "SELECT 1 FROM blob_refs WHERE blob_no = ? LIMIT 1", (blob_no,)
    ).fetchone()
    if referred is not None:
        conn.execute("UPDATE blobs SET state = 0, place = NULL WHERE blob_no = ?", (blob_no,))
        if evicted:
            set_wanted(conn, blob_no, Wanted.EVICTED)
        return
    for table in ("blobs", "blob_manifests", "blob_holders"):
        conn.execute(f"DELETE FROM {table} WHERE blob_no = ?", (blob_no,))


def evictable(conn: Conn) -> list[Blob]:
    """Blobs that are here, at least in part, and wholly elsewhere; those unused longest first."""
    rows = conn.execute(
        f"SELECT {_COLUMNS} {_FROM} WHERE b.state = 0 AND c.held > 0"
        " AND EXISTS (SELECT 1 FROM blob_holders h WHERE h.blob_no = b.blob_no)"
        " ORDER BY b.used_ms, b.blob_no"
    )
    return [_blob(row) for row in rows.fetchall()]
