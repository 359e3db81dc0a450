"""Erasure rows: what was erased, and which devices proved to hold it, as functions inside a job."""

import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from .store import Conn
from .text_rows import flush_texts

UNFINISHED = b""
"""In the place of a digest: an erasure that is under way, or was interrupted."""
_LABEL = b"covey erased change 1"


class Erasure(NamedTuple):
    """One erasure. `proofs` maps devices to the time (ms) at which they proved it."""

    erasure_no: int
    database: str
    erased_ms: int
    records: int
    blobs: int
    digest: bytes
    proofs: dict[bytes, int]


class Left(NamedTuple):
    """What a record is since it was erased: `version` as `record_requests.version` tells it."""

    database: str
    collection: str
    id: str
    version: str


class Erased(NamedTuple):
    """A version that an erasure left: nothing that led to it is to be shown."""

    version: str
    erasure_no: int
    erased_ms: int


def add_erasure(conn: Conn, database: str, erased_ms: int, blobs: int) -> int:
    """Keep that something is being erased; its number. Until `end_erasure` it proves nothing."""
    conn.execute(
        "INSERT INTO erasures (database, erased_ms, records, blobs, digest) VALUES (?, ?, 0, ?, ?)",
        (database, erased_ms, blobs, UNFINISHED),
    )
    (number,) = conn.execute("SELECT max(erasure_no) FROM erasures").fetchone()
    return int(number)


def grow_erasure(
    conn: Conn, erasure_no: int, erased_ms: int, records: int, left: Sequence[Left]
) -> None:
    """So many records more were erased, and these are what is left at each of their levels."""
    conn.execute(
        "UPDATE erasures SET records = records + ?, erased_ms = ? WHERE erasure_no = ?",
        (records, erased_ms, erasure_no),
    )
    conn.executemany(
        "INSERT OR IGNORE INTO erased_changes (version, erasure_no) VALUES (?, ?)",
        [(_name_of(one), erasure_no) for one in left if one.version],
    )


def end_erasure(conn: Conn, erasure_no: int, digest: bytes) -> None:
    """All of it is erased. Words that were taken out of full text leave its pages."""
    conn.execute("UPDATE erasures SET digest = ? WHERE erasure_no = ?", (digest, erasure_no))
    flush_texts(conn)
    conn.execute("INSERT INTO record_text (record_text) VALUES ('optimize')")


def erased_by(conn: Conn, left: Sequence[Left]) -> list[Erased]:
    """Which of these versions an erasure left, the latest erasure last."""
    versions = {_name_of(one): one.version for one in left}
    rows = conn.execute(
        "SELECT c.version, e.erasure_no, e.erased_ms FROM json_each(?) v"
        " JOIN erased_changes c ON c.version = v.value"
        " JOIN erasures e ON e.erasure_no = c.erasure_no ORDER BY e.erasure_no",
        (json.dumps(list(versions)),),
    )
    return [Erased(versions[row[0]], row[1], row[2]) for row in rows.fetchall()]


def _name_of(left: Left) -> str:
    """A version alone is the same for all records of one content by one device, so that the past of
    others would be hidden as well. A hash of 32 hex digits, as names of records are content.
    """
    parts = [part.encode("utf-8", "surrogatepass") for part in left]
    framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return blake2b(_LABEL + framed, digest_size=16).hexdigest()


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
