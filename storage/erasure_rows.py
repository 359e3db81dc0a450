"""Erasure rows: what was erased, and which devices proved to hold it, as functions inside a job."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from .store import Conn
from .text_rows import flush_texts


class Erasure(NamedTuple):
    """One erasure. `proofs` maps devices to the time (ms) at which they proved it."""

    erasure_no: int
    database: str
    erased_ms: int
    records: int
    blobs: int
    digest: bytes
    proofs: dict[bytes, int]


class Erased(NamedTuple):
    """A version that an erasure left: nothing that led to it is to be shown."""

    version: str
    erasure_no: int
    erased_ms: int


def add_erasure(
    conn: Conn,
    database: str,
    erased_ms: int,
    records: int,
    blobs: int,
    digest: bytes,
    versions: Sequence[str] = (),
) -> int:
    """Keep that something was erased; its number. Words of it leave the index of full text.

    `versions` are what the records are since, of 16 hex digits each.
    """
    conn.execute(
        "INSERT INTO erasures (database, erased_ms, records, blobs, digest) VALUES (?, ?, ?, ?, ?)",
        (database, erased_ms, records, blobs, digest),
    )
    # A word that was taken out stays in the index until its pages are written anew.
    flush_texts(conn)
    conn.execute("INSERT INTO record_text (record_text) VALUES ('optimize')")
    (number,) = conn.execute("SELECT max(erasure_no) FROM erasures").fetchone()
    conn.executemany(
        "INSERT OR IGNORE INTO erased_changes (version, erasure_no) VALUES (?, ?)",
        [(version, number) for version in versions],
    )
    return int(number)


def erased_by(conn: Conn, versions: Sequence[str]) -> list[Erased]:
    """Which of these versions an erasure left, the latest erasure last."""
    rows = conn.execute(
        "SELECT c.version, e.erasure_no, e.erased_ms FROM json_each(?) v"
        " JOIN erased_changes c ON c.version = v.value"
        " JOIN erasures e ON e.erasure_no = c.erasure_no ORDER BY e.erasure_no",
        (json.dumps(list(versions)),),
    )
    return [Erased(*row) for row in rows.fetchall()]


def add_proof(conn: Conn, erasure_no: int, device: bytes, proved_ms: int) -> None:
    """A device proved it. The first proof stays."""
    conn.execute(
        "INSERT OR IGNORE INTO erasure_proofs (erasure_no, device, proved_ms) VALUES (?, ?, ?)",
        (erasure_no, device, proved_ms),
    )


def erasures(conn: Conn, limit: int) -> list[Erasure]:
    """The latest erasures, the newest first."""
    rows = conn.execute(
        "SELECT erasure_no, database, erased_ms, records, blobs, digest FROM erasures"
        " ORDER BY erasure_no DESC LIMIT ?",
        (limit,),
    ).fetchall()
    proofs: dict[int, dict[bytes, int]] = {row[0]: {} for row in rows}
    for number, device, proved_ms in conn.execute(
        "SELECT erasure_no, device, proved_ms FROM erasure_proofs"
        " WHERE erasure_no IN (SELECT value FROM json_each(?)) ORDER BY device",
        (json.dumps(list(proofs)),),
    ).fetchall():
        proofs[number][bytes(device)] = proved_ms
    return [Erasure._make((*row, proofs[row[0]])) for row in rows]


def living(conn: Conn, database: str, names: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Which of these records (collection, id) exist at any level, each once."""
    rows = conn.execute(
        "SELECT DISTINCT n.value ->> 0, n.value ->> 1 FROM json_each(?) n"
        " JOIN scopes s ON s.database = ?"
        " JOIN collections c ON c.scope_no = s.scope_no AND c.name = n.value ->> 0"
        " JOIN records r ON r.coll_no = c.coll_no AND r.id = n.value ->> 1"
        " WHERE r.value IS NOT NULL",
        (json.dumps([list(name) for name in names]), database),
    )
    return [(str(collection), str(id)) for collection, id in rows.fetchall()]


def count_blobs(conn: Conn, database: str, names: Sequence[tuple[str, str]]) -> int:
    """How many blobs these records (collection, id) refer to, each counted once."""
    (count,) = conn.execute(
        "SELECT count(DISTINCT f.blob_no) FROM json_each(?) n"
        " JOIN scopes s ON s.database = ?"
        " JOIN collections c ON c.scope_no = s.scope_no AND c.name = n.value ->> 0"
        " JOIN records r ON r.coll_no = c.coll_no AND r.id = n.value ->> 1"
        " JOIN blob_refs f ON f.record_no = r.record_no",
        (json.dumps([list(name) for name in names]), database),
    ).fetchone()
    return int(count)
