"""Sketch rows: vectors in few bytes, many to a row, as functions inside a job.

To compare all vectors of a field, all their pages have to be decrypted. A sketch of a vector takes
a quarter of them, and a block of sketches is one row. What a sketch says is for whoever makes it
(`covey.node.data.sketches`); here it is a row of bytes, all of one length in a block.

A block is the numbers of its records, 8 bytes each, little-endian, then one sketch for each. A
vector that changes or goes leaves its sketch at once, for it tells what the record said: its number
becomes `NO_RECORD` and its bytes zero. It is *loose* until it is put into a block. A block of
which less than half is left is broken up.
"""

import json
from array import array
from collections.abc import Iterable, Sequence
from sys import byteorder
from typing import NamedTuple

from .store import Conn

NUMBER_BYTES = 8
NO_RECORD = -1


class Held(NamedTuple):
    """A vector and the record that it belongs to."""

    record_no: int
    vector: bytes


class Block(NamedTuple):
    """A block: how many sketches it has room for, and the bytes of it."""

    block_no: int
    room: int
    sketches: bytes


def loosen(conn: Conn, field_no: int, put: Iterable[int], gone: Iterable[int]) -> None:
    """These records have new vectors, and those none any more: no block tells of the old ones."""
    put, gone = list(put), list(gone)
    numbers = json.dumps(put + gone)
    placed: dict[int, set[int]] = {}
    rows = conn.execute(
        "SELECT block_no, record_no FROM vector_places WHERE field_no = ? AND block_no NOTNULL"
        " AND record_no IN (SELECT value FROM json_each(?))",
        (field_no, numbers),
    )
    for block_no, record_no in rows.fetchall():
        placed.setdefault(block_no, set()).add(record_no)
    for block_no, records in placed.items():
        _wipe(conn, field_no, block_no, records)
    conn.execute(
        "DELETE FROM vector_places WHERE field_no = ?"
        " AND record_no IN (SELECT value FROM json_each(?))",
        (field_no, numbers),
    )
    conn.executemany(
        "INSERT INTO vector_places VALUES (?, ?, NULL)", [(field_no, number) for number in put]
    )


def _wipe(conn: Conn, field_no: int, block_no: int, records: set[int]) -> None:
    count, held = conn.execute(
        "SELECT count, sketches FROM vector_blocks WHERE block_no = ?", (block_no,)
    ).fetchone()
    numbers, sketches = _numbers(held, count), bytearray(held)
    start = count * NUMBER_BYTES
    size = (len(held) - start) // count
    for at, number in enumerate(numbers):
        if number in records:
            numbers[at] = NO_RECORD
            sketches[start + at * size : start + (at + 1) * size] = bytes(size)
    if 2 * numbers.count(NO_RECORD) > count:
        _place(conn, field_no, [number for number in numbers if number != NO_RECORD], None)
        conn.execute("DELETE FROM vector_blocks WHERE block_no = ?", (block_no,))
        return
    sketches[:start] = _packed(numbers)
    # Of the same length, so that SQLite writes only the pages that are different.
    conn.execute(
        "UPDATE vector_blocks SET sketches = ? WHERE block_no = ?", (bytes(sketches), block_no)
    )


def add_block(conn: Conn, field_no: int, numbers: Sequence[int], sketches: bytes) -> None:
    """Put loose vectors into a block of their own. `sketches` are theirs, in order."""
    conn.execute(
        "INSERT INTO vector_blocks (field_no, count, sketches) VALUES (?, ?, ?)",
        (field_no, len(numbers), _packed(array("q", numbers)) + sketches),
    )
    block_no = conn.execute("SELECT last_insert_rowid()").fetchone()[0]
    _place(conn, field_no, numbers, block_no)


def _place(conn: Conn, field_no: int, numbers: Sequence[int], block_no: int | None) -> None:
    conn.execute(
        "UPDATE vector_places SET block_no = ? WHERE field_no = ?"
        " AND record_no IN (SELECT value FROM json_each(?))",
        (block_no, field_no, json.dumps(list(numbers))),
    )


def forget(conn: Conn, field_no: int) -> None:
    """Remove all blocks of a field."""
    conn.execute("DELETE FROM vector_blocks WHERE field_no = ?", (field_no,))
    conn.execute("DELETE FROM vector_places WHERE field_no = ?", (field_no,))


def blocks(conn: Conn, field_no: int, after: int, limit: int) -> list[Block]:
    """The next blocks of a field, in order. Fewer than `limit`: there are no more."""
    rows = conn.execute(
        "SELECT block_no, count, sketches FROM vector_blocks WHERE field_no = ? AND block_no > ?"
        " ORDER BY block_no LIMIT ?",
        (field_no, after, limit),
    )
    return [Block(*row) for row in rows.fetchall()]


def loose(conn: Conn, field_no: int, after: int, limit: int) -> list[Held]:
    """The next vectors that are in no block, by record number. Fewer: there are no more."""
    rows = conn.execute(
        "SELECT p.record_no, v.vector FROM vector_places p CROSS JOIN vectors v"
        " ON v.field_no = p.field_no AND v.record_no = p.record_no WHERE p.field_no = ?"
        " AND p.block_no ISNULL AND p.record_no > ? ORDER BY p.record_no LIMIT ?",
        (field_no, after, limit),
    )
    return [Held(*row) for row in rows.fetchall()]


def loose_count(conn: Conn, field_no: int) -> int:
    """How many vectors are in no block."""
    count: int = conn.execute(
        "SELECT count(*) FROM vector_places WHERE field_no = ? AND block_no ISNULL", (field_no,)
    ).fetchone()[0]
    return count


def _numbers(block: bytes, count: int) -> "array[int]":
    numbers = array("q", block[: count * NUMBER_BYTES])
    if byteorder == "big":
        numbers.byteswap()
    return numbers


def _packed(numbers: "array[int]") -> bytes:
    if byteorder == "big":
        numbers = array("q", numbers)
        numbers.byteswap()
    return numbers.tobytes()
