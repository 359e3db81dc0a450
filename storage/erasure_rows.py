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


def add_erasure(
    conn: Conn, database: str, erased_ms: int, records: int, blobs: int, digest: bytes
) -> int:
    """Keep that something was erased; its number. Words of it leave the index of full text."""
    conn.execute(
        "INSERT INTO erasures (database, erased_ms, records, blobs, digest) VALUES (?, ?, ?, ?, ?)",
        (database, erased_ms, records, blobs, digest),
    )
    # A word that was taken out stays in the index until its pages are written anew.
    flush_texts(conn)
    conn.execute("INSERT INTO record_text (record_text) VALUES ('optimize')")
    (number,) = conn.execute("SELECT max(erasure_no) FROM erasures").fetchone()
    return int(number)


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
