"""Run rows: entries of several logs in the order in which this store got them, for a batch.

The order of arrival respects causality, so a receiver can apply as it reads. A log may be cut
only after an entry whose signature is held; between two cuts its entries stay together.
"""

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple

from .log_rows import ENTRY_OVERHEAD_BYTES
from .store import Conn

RUN_OVERHEAD_BYTES = 256
"""What beginning another run costs in a batch, about: ids, one segment head, a signature."""


class OrderedEntry(NamedTuple):
    log_no: int
    seq: int
    heading_no: int
    salt: bytes
    ct: bytes
    entry_id: bytes
    signature: bytes | None


class Picked(NamedTuple):
    """`complete`: nothing of the ranges asked for is left that could be given."""

    entries: list[OrderedEntry]
    complete: bool


def pick_in_order(
    conn: Conn,
    ranges: Sequence[tuple[int, int, int]],
    bytes_max: int,
    entries_max: int,
    runs_max: int,
) -> Picked:
    """Entries of the ranges (log_no, first, last), oldest arrival first, within the bounds.

    At least one piece up to a signature is given even if it exceeds the bounds. A range that we do
    not hold from its first entry on gives nothing.
    """
    cursors = [_pieces(conn, *wanted) for wanted in ranges]
    heap: list[tuple[int, int, list[OrderedEntry]]] = []
    for index, cursor in enumerate(cursors):
        first = next(cursor, None)
        if first is not None:
            heap.append((first[0], index, first[1]))
    heapify(heap)
    picked: list[OrderedEntry] = []
    size = runs = 0
    last_log = -1
    while heap:
        _, index, piece = heap[0]
        starts_run = piece[0].log_no != last_log
        size += sum(len(e.ct) + ENTRY_OVERHEAD_BYTES for e in piece)
        size += RUN_OVERHEAD_BYTES * starts_run
        runs += starts_run
        if picked and (
            size > bytes_max or len(picked) + len(piece) > entries_max or runs > runs_max
        ):
            return Picked(picked, False)
        picked += piece
        last_log = piece[0].log_no
        following = next(cursors[index], None)
        if following is None:
            heappop(heap)
        else:
            heapreplace(heap, (following[0], index, following[1]))
    return Picked(picked, True)


def _pieces(
    conn: Conn, log_no: int, first: int, last: int
) -> Iterator[tuple[int, list[OrderedEntry]]]:
    """Pieces of one log, each up to a signature: (arrival of its first entry, entries).

    The piece that holds `last` is given whole, though it may reach beyond.
    """
    rows = conn.execute(
        "SELECT arrival, log_no, seq, heading_no, salt, ct, entry_id, signature FROM entries"
        " WHERE log_no = ? AND seq >= ? ORDER BY seq",
        (log_no, first),
    )
    piece: list[OrderedEntry] = []
    arrival, expected = 0, first
    for row in rows:
        entry = OrderedEntry(*row[1:])
        if entry.seq != expected or (not piece and entry.seq > last):
            return
        if not piece:
            arrival = row[0]
        piece.append(entry)
        expected += 1
        if entry.signature is not None:
            yield arrival, piece
            piece = []
