"""Outgoing: entries of the store, or just committed, as runs and frames for peers."""

from collections.abc import Iterator, Sequence

from ..crypto.entry import ZERO_ID
from ..storage import log_rows
from ..storage.log_rows import Heading
from ..storage.run_rows import OrderedEntry, Picked, pick_in_order
from ..storage.store import Conn, Store
from ..sync.messages import Run, Segment, encode_batch
from ..sync.session_events import EntriesRead, ReadEntries
from ..sync.vectors import Range
from .committer import Staged
from .ledger import Ledger, Log
from .stored import split_heads

RUNS_PER_BATCH_MAX = 256
ENTRIES_PER_BATCH_MAX = 4096
PUSH_BYTES_MAX = 256 * 1024


async def read_entries(database: Store, ledger: Ledger, request: ReadEntries) -> EntriesRead:
    """Answer a session's wish for entries, in order of arrival, cut where signatures are."""
    ranges: list[tuple[int, int, int]] = []
    for instance, first, last in sorted(request.ranges):
        log = ledger.log(request.scope, instance)
        if log is None or first > log.head_seq:
            continue
        if ranges and ranges[-1][0] == log.number:
            # Wanted twice, in two messages: in a run an entry stands once.
            first = max(first, ranges[-1][2] + 1)
        if first <= min(last, log.head_seq):
            ranges.append((log.number, first, min(last, log.head_seq)))
    runs, complete = await database.read(
        lambda conn: _read_runs(conn, ledger, ranges, request.bytes_max)
    )
    return EntriesRead(request.scope, tuple(runs), complete)


async def whole_log(
    database: Store, ledger: Ledger, scope: bytes, ranges: Sequence[Range]
) -> list[bytes]:
    """All entries of the ranges as batch frames, in order of arrival."""
    frames: list[bytes] = []
    left = {instance: (first, last) for instance, first, last in ranges}
    while left:
        request = ReadEntries(
            scope, tuple((i, *bounds) for i, bounds in sorted(left.items())), PUSH_BYTES_MAX
        )
        answer = await read_entries(database, ledger, request)
        if answer.runs:
            frames.append(encode_batch(scope, answer.runs))
        for run in answer.runs:
            left[run.instance] = (run.last_seq + 1, left[run.instance][1])
        left = {i: (first, last) for i, (first, last) in left.items() if first <= last}
        if answer.done:
            break
    return frames


def _read_runs(
    conn: Conn, ledger: Ledger, ranges: Sequence[tuple[int, int, int]], bytes_max: int
) -> tuple[list[Run], bool]:
    picked: Picked = pick_in_order(
        conn, ranges, bytes_max, ENTRIES_PER_BATCH_MAX, RUNS_PER_BATCH_MAX
    )
    headings = log_rows.headings_by_no(conn, {entry.heading_no for entry in picked.entries})
    runs: list[Run] = []
    start = 0
    entries = picked.entries
    for at in range(1, len(entries) + 1):
        if at == len(entries) or entries[at].log_no != entries[start].log_no:
            first = entries[start]
            prev = ZERO_ID
            if first.seq > 1:
                before = log_rows.entry_id_at(conn, first.log_no, first.seq - 1)
                assert before is not None, "a log has no gaps"
                prev = before
            log = ledger.log_numbered(first.log_no)
            runs.append(_run(log, prev, entries[start:at], headings))
            start = at
    return runs, picked.complete


def _run(
    log: Log, prev: bytes, entries: Sequence[OrderedEntry], headings: dict[int, Heading]
) -> Run:
    segments: list[Segment] = []
    start = 0
    for at in range(1, len(entries) + 1):
        if at == len(entries) or entries[at].heading_no != entries[start].heading_no:
            heading = headings[entries[start].heading_no]
            segments.append(
                Segment(
                    heading.kind,
                    heading.key_id,
                    split_heads(heading.heads),
                    [(entry.salt, entry.ct) for entry in entries[start:at]],
                )
            )
            start = at
    signature = entries[-1].signature
    assert signature is not None, "a run ends at a signature"
    return Run(log.author, log.instance, entries[0].seq, prev, tuple(segments), signature)


def staged_frame(log: Log, staged: Sequence[Staged]) -> Iterator[tuple[bytes, Sequence[Staged]]]:
    """Frames with entries of one log that have just become durable, and what each holds."""
    start = size = 0
    for at, one in enumerate(staged):
        size += len(one.ciphertext) + 16
        if at + 1 == len(staged) or size >= PUSH_BYTES_MAX or at + 1 - start >= 1024:
            part = staged[start : at + 1]
            yield _staged_batch(log, part), part
            start, size = at + 1, 0


def _staged_batch(log: Log, part: Sequence[Staged]) -> bytes:
    segments: list[Segment] = []
    start = 0
    for at in range(1, len(part) + 1):
        if at == len(part) or part[at].outlet is not part[start].outlet:
            heading = part[start].outlet.heading
            entries = [(one.salt, one.ciphertext) for one in part[start:at]]
            segments.append(
                Segment(heading.kind, heading.key_id, part[start].outlet.heads, entries)
            )
            start = at
    first = part[0]
    run = Run(log.author, log.instance, first.seq, first.prev, tuple(segments), part[-1].signature)
    return encode_batch(log.scope.tag, [run])
