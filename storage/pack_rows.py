"""Pack rows: documents of old records in less room, as functions inside a job.

A record that was changed more than once has its document beside its value: mostly history, and
larger than the value. Packed, it is compressed and lies in a table of its own. Nobody sees a
difference but in room and time: `record_rows` unpacks what it reads, and a record that is written
again is not packed any more. Values stay as they are, because queries look into them.

A *warm* record is compressed by itself. A *cold* one is compressed against a dictionary of its
collection, because one small document has little in common with itself and much with the others.

Sizes in bytes. Nothing of it is decided here (`covey.node.data.lifecycle`), nothing of it travels.
"""

import json
import zlib
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from .bulk import execute_rows
from .store import Conn, Value

DICTIONARY_BYTES_MAX = 32_768
"""What the window of DEFLATE sees."""
DICTIONARY_RECORDS = 200
DICTIONARY_RECORDS_MIN = 20
"""Of fewer records a dictionary costs more than it saves."""
_RAW = -zlib.MAX_WBITS
_LEVELS = {1: 6, 2: 9}


class Tier(IntEnum):
    """How the document of a record lies here. The values are those of the column `tier`."""

    HOT = 0
    WARM = 1
    COLD = 2


class Age(NamedTuple):
    """What packing goes by. `plain` is the size of a document that is not packed, 0 if none."""

    record_no: int
    coll_no: int
    hlc: int
    tier: Tier
    plain: int
    deleted: bool


class Packed(NamedTuple):
    """What packing did."""

    records: int
    before: int
    after: int

    def plus(self, other: "Packed") -> "Packed":
        """What both did."""
        return Packed(
            self.records + other.records, self.before + other.before, self.after + other.after
        )


def ages(conn: Conn, after: int, limit: int) -> list[Age]:
    """The next records after a number in the order of the table, deleted ones too."""
    rows = conn.execute(
        "SELECT r.record_no, r.coll_no, r.hlc, ifnull(p.tier, 0),"
        " ifnull(length(r.doc) + ifnull(length(r.meta), 0), 0), r.value IS NULL"
        " FROM records r LEFT JOIN record_packs p ON p.record_no = r.record_no"
        " WHERE r.record_no > ? ORDER BY r.record_no LIMIT ?",
        (after, limit),
    )
    return [
        Age(number, coll_no, hlc, Tier(tier), plain, bool(deleted))
        for number, coll_no, hlc, tier, plain, deleted in rows.fetchall()
    ]


def pack(conn: Conn, tier: Tier, coll_no: int, record_numbers: Sequence[int]) -> Packed:
    """Bring documents of one collection into a tier; those that have none are passed over."""
    assert tier is not Tier.HOT, "only writing makes a record hot"
    number, dictionary = _dictionary(conn, coll_no) if tier is Tier.COLD else (None, b"")
    rows: list[tuple[Value, ...]] = []
    before = after = 0
    for record_no in dict.fromkeys(record_numbers):
        found = _plain(conn, record_no)
        if found is None:
            continue
        doc, meta, size = found
        plain = doc + (meta or b"")
        body = _compress(plain, dictionary, _LEVELS[tier])
        doc_bytes = len(doc) if meta is not None else -len(doc)
        rows.append((record_no, int(tier), number, doc_bytes, len(plain), body))
        before, after = before + size, after + len(body)
    _move(conn, rows)
    return Packed(len(rows), before, after)


def _move(conn: Conn, rows: Sequence[tuple[Value, ...]]) -> None:
    """Write the packs, and take the documents out of the records.

    A row that only becomes shorter keeps its page: SQLite joins pages when rows are taken out, and
    never when they shrink. So packs are taken out and put in anew, and so is what is left of a
    record, by giving it another number and then its own again. No trigger is on that column.
    """
    numbers = json.dumps([row[0] for row in rows])
    of_rows = "WHERE record_no IN (SELECT value FROM json_each(?))"
    conn.execute(f"DELETE FROM record_packs {of_rows}", (numbers,))
    execute_rows(
        conn,
        "INSERT INTO record_packs (record_no, tier, dictionary_no, doc_bytes, plain_bytes, body)",
        6,
        rows,
    )
    conn.execute(
        "UPDATE records SET record_no = -record_no, doc = x'', meta = NULL"
        f" {of_rows} AND length(doc) > 0",
        (numbers,),
    )
    conn.execute("UPDATE records SET record_no = -record_no WHERE record_no < 0")


def unpacked(conn: Conn, record_numbers: Sequence[int]) -> dict[int, tuple[bytes, bytes | None]]:
    """(doc, meta) of packed records, by number."""
    rows = conn.execute(
        "SELECT record_no, dictionary_no, doc_bytes, plain_bytes, body FROM record_packs"
        " WHERE record_no IN (SELECT value FROM json_each(?))",
        (json.dumps(list(record_numbers)),),
    ).fetchall()
    dictionaries: dict[int | None, bytes] = {None: b""}
    found: dict[int, tuple[bytes, bytes | None]] = {}
    for record_no, number, doc_bytes, plain_bytes, body in rows:
        if number not in dictionaries:
            dictionaries[number] = _dictionary_numbered(conn, number)
        plain = _expand(bytes(body), dictionaries[number], plain_bytes)
        doc, meta = plain[: abs(doc_bytes)], plain[abs(doc_bytes) :]
        found[record_no] = doc, meta if doc_bytes > 0 else None
    assert len(found) == len(set(record_numbers)), "an empty document has its pack"
    return found


def drop_idle_dictionaries(conn: Conn) -> int:
    """Forget dictionaries that no pack refers to; how many."""
    used = "SELECT dictionary_no FROM record_packs WHERE dictionary_no NOTNULL"
    return conn.execute(
        f"DELETE FROM pack_dictionaries WHERE dictionary_no NOT IN ({used})"
    ).rowcount


def _plain(conn: Conn, record_no: int) -> tuple[bytes, bytes | None, int] | None:
    """(doc, meta, what they take now), or None if there is no document."""
    row = conn.execute("SELECT doc, meta FROM records WHERE record_no = ?", (record_no,)).fetchone()
    if row is None or row[0] is None:
        return None
    if row[0]:
        doc, meta = row
        return doc, meta, len(doc) + len(meta or b"")
    ((doc, meta),) = unpacked(conn, [record_no]).values()
    (size,) = conn.execute(
        "SELECT length(body) FROM record_packs WHERE record_no = ?", (record_no,)
    ).fetchone()
    return doc, meta, size


def _dictionary(conn: Conn, coll_no: int) -> tuple[int | None, bytes]:
    """The dictionary of a collection, made of documents that are not packed if there is none."""
    row = conn.execute(
        "SELECT dictionary_no, body FROM pack_dictionaries WHERE coll_no = ?"
        " ORDER BY dictionary_no DESC LIMIT 1",
        (coll_no,),
    ).fetchone()
    if row is not None:
        return row[0], bytes(row[1])
    samples = conn.execute(
        "SELECT record_no FROM records WHERE coll_no = ? AND doc NOTNULL LIMIT ?",
        (coll_no, DICTIONARY_RECORDS),
    ).fetchall()
    if len(samples) < DICTIONARY_RECORDS_MIN:
        return None, b""
    plains = [found for (sample,) in samples if (found := _plain(conn, sample)) is not None]
    body = b"".join(doc + (meta or b"") for doc, meta, _ in plains)[-DICTIONARY_BYTES_MAX:]
    conn.execute("INSERT INTO pack_dictionaries (coll_no, body) VALUES (?, ?)", (coll_no, body))
    (number,) = conn.execute(
        "SELECT max(dictionary_no) FROM pack_dictionaries WHERE coll_no = ?", (coll_no,)
    ).fetchone()
    return number, body


def _dictionary_numbered(conn: Conn, number: int) -> bytes:
    row = conn.execute(
        "SELECT body FROM pack_dictionaries WHERE dictionary_no = ?", (number,)
    ).fetchone()
    assert row is not None, "a dictionary stays as long as a pack needs it"
    return bytes(row[0])


def _compress(plain: bytes, dictionary: bytes, level: int) -> bytes:
    made = zlib.compressobj(level, zlib.DEFLATED, _RAW, 9, zdict=dictionary)
    return made.compress(plain) + made.flush()


def _expand(body: bytes, dictionary: bytes, size: int) -> bytes:
    # At most what was packed: no damage can make more of it.
    return zlib.decompressobj(_RAW, zdict=dictionary).decompress(body, size or 1)
