"""Batch: consecutive entries of one scope as they travel, grouped so that little is said twice.

A batch holds runs, each a piece of one log with one signature at its end; a run holds segments,
each of entries that share kind, key and membership heads. An entry is the plain tuple
(salt, ciphertext): everything else of its header the receiver computes.

`decode_batch` checks shape and bounds only. Who may write, whether the chain continues and
whether the signature holds is for the one who stores the batch. `encode_batch` and `decode_batch`
are inverse; neighbouring segments that share everything are one segment, and two are refused.

Spec: docs/protocol.md, section 8. All sizes are bytes, all fixed integers big-endian.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from .errors import DecodeError
from .session_limits import (
    ENTRIES_PER_BATCH_MAX,
    FRAME_BYTES_MAX,
    HEADS_PER_SEGMENT_MAX,
    ID_BYTES,
    RUNS_PER_BATCH_MAX,
    SEQ_MAX,
    TAG_BYTES,
    ZERO_ID,
)

BATCH_TYPE = 0x05
SALT_BYTES = 8
SIGNATURE_BYTES = 64

_HEAD_BYTES = 1 + TAG_BYTES
_RUN_HEAD_BYTES = ID_BYTES + TAG_BYTES + 8 + ID_BYTES

SealedEntry = tuple[bytes, bytes]
"""Salt (8 bytes) and ciphertext of one entry."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Entries that share what stands here. `heads` are membership op ids, strictly ascending."""

    kind: int
    key_id: bytes
    heads: tuple[bytes, ...]
    entries: Sequence[SealedEntry]


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive entries of one log, from `first_seq` on; `signature` is of the last one.

    `prev_id` is the id of the entry before the first, 32 zero bytes if `first_seq` is 1.
    """

    author: bytes
    instance: bytes
    first_seq: int
    prev_id: bytes
    segments: tuple[Segment, ...]
    signature: bytes

    @property
    def last_seq(self) -> int:
        """The number of the last entry."""
        return self.first_seq - 1 + sum(len(segment.entries) for segment in self.segments)


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries of one scope on their way. Runs are in the order in which the sender got them."""

    scope: bytes
    runs: tuple[Run, ...]


def encode_batch(scope: bytes, runs: Sequence[Run]) -> bytes:
    """The frame of a batch. The caller keeps within the bounds of section 8."""
    assert len(scope) == TAG_BYTES and 1 <= len(runs) <= RUNS_PER_BATCH_MAX
    parts = [bytes((BATCH_TYPE,)), scope]
    for run in runs:
        _encode_run(run, parts)
    frame = b"".join(parts)
    assert len(frame) <= FRAME_BYTES_MAX, "a batch beyond one frame"
    return frame


def decode_batch(frame: bytes) -> Batch:
    """The batch in a frame, its type byte included.

    Raises: DecodeError for everything that `encode_batch` cannot write, and beyond the bounds.
    """
    if not _HEAD_BYTES < len(frame) <= FRAME_BYTES_MAX or frame[0] != BATCH_TYPE:
        raise DecodeError(f"batch: a frame of {len(frame)} bytes is none")
    runs: list[Run] = []
    at, end, room = _HEAD_BYTES, len(frame), ENTRIES_PER_BATCH_MAX
    try:
        while at < end:
            if len(runs) == RUNS_PER_BATCH_MAX:
                raise DecodeError(f"batch: more than {RUNS_PER_BATCH_MAX} runs")
            run, at = _decode_run(frame, at, room)
            runs.append(run)
            room -= run.last_seq - run.first_seq + 1
    except IndexError:
        raise DecodeError(f"batch: ends within run {len(runs) + 1}") from None
    return Batch(frame[1:_HEAD_BYTES], tuple(runs))


def _encode_run(run: Run, parts: list[bytes]) -> None:
    segments = _merged(run.segments)
    parts += (run.author, run.instance, run.first_seq.to_bytes(8, "big"), run.prev_id)
    parts.append(encode_uleb(len(segments)))
    for segment in segments:
        parts += (bytes((segment.kind,)), segment.key_id, encode_uleb(len(segment.heads)))
        parts += segment.heads
        parts.append(encode_uleb(len(segment.entries)))
        for salt, ct in segment.entries:
            parts += (salt, encode_uleb(len(ct)), ct)
    parts.append(run.signature)


def _merged(segments: tuple[Segment, ...]) -> Sequence[Segment]:
    """The same entries with no two neighbours alike."""
    merged = [segments[0]]
    for segment in segments[1:]:
        last = merged[-1]
        if _alike(last, segment):
            entries = (*last.entries, *segment.entries)
            merged[-1] = Segment(last.kind, last.key_id, last.heads, entries)
        else:
            merged.append(segment)
    return merged


def _alike(one: Segment, other: Segment) -> bool:
    return (one.kind, one.key_id, one.heads) == (other.kind, other.key_id, other.heads)


def _decode_run(frame: bytes, at: int, room: int) -> tuple[Run, int]:
    """Read one run of at most `room` entries. Raises IndexError where the frame ends too soon."""
    after = at + _RUN_HEAD_BYTES
    head = frame[at:after]
    first_seq = int.from_bytes(head[48:56], "big")
    prev_id = head[56:]
    if not 1 <= first_seq <= SEQ_MAX or (first_seq == 1) != (prev_id == ZERO_ID):
        raise DecodeError(f"batch: a run cannot start at {first_seq} after {prev_id.hex()}")
    count, at = decode_uleb(frame, after)
    if not 1 <= count <= room:
        raise DecodeError(f"batch: a run of {count} segments, 1 to {room} allowed")
    segments: list[Segment] = []
    for _ in range(count):
        segment, at = _decode_segment(frame, at, room)
        if segments and _alike(segments[-1], segment):
            raise DecodeError("batch: two neighbouring segments are alike")
        room -= len(segment.entries)
        segments.append(segment)
    end = at + SIGNATURE_BYTES
    if end > len(frame):
        raise IndexError
    run = Run(head[:32], head[32:48], first_seq, prev_id, tuple(segments), frame[at:end])
    if run.last_seq > SEQ_MAX:
        raise DecodeError(f"batch: a run reaches beyond entry {SEQ_MAX}")
    return run, end


def _decode_segment(frame: bytes, at: int, room: int) -> tuple[Segment, int]:
    kind = frame[at]
    key_id = frame[at + 1 : at + 33]
    head_count, at = decode_uleb(frame, at + 33)
    if head_count > HEADS_PER_SEGMENT_MAX:
        raise DecodeError(f"batch: {head_count} heads, {HEADS_PER_SEGMENT_MAX} allowed")
    heads_end = at + ID_BYTES * head_count
    heads = tuple([frame[i : i + ID_BYTES] for i in range(at, heads_end, ID_BYTES)])
    if not all(one < other for one, other in pairwise(heads)):
        raise DecodeError("batch: membership heads are not in ascending order")
    count, at = decode_uleb(frame, heads_end)
    if not 1 <= count <= room:
        raise DecodeError(f"batch: a segment of {count} entries, 1 to {room} allowed")
    end = len(frame)
    entries = []
    for _ in range(count):
        # Inlined, as this runs for every entry: most ciphertexts have a length of two bytes.
        ct_at = at + 10
        low, high = frame[at + 8], frame[at + 9]
        if low >= 0x80 and 0 < high < 0x80:
            ct_end = ct_at + (low & 0x7F | high << 7)
        else:
            length, ct_at = decode_uleb(frame, at + 8)
            ct_end = ct_at + length
        if ct_end > end:
            raise IndexError
        entries.append((frame[at : at + 8], frame[ct_at:ct_end]))
        at = ct_end
    return Segment(kind, key_id, heads, entries), at


@lru_cache(maxsize=512)  # Ciphertexts have some 250 lengths, so this is mostly a look-up.
def encode_uleb(number: int) -> bytes:
    """A number below 2^28 in the shortest unsigned LEB128."""
    if number < 0x80:
        return bytes((number,))
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    if number < 0x20_0000:
        return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))
    assert number < 0x1000_0000
    middle = (number >> 7 & 0x7F | 0x80, number >> 14 & 0x7F | 0x80)
    return bytes((number & 0x7F | 0x80, *middle, number >> 21))


def decode_uleb(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at` and where it ends.

    Raises: IndexError where the data ends too soon; DecodeError if it is not the shortest form
    or takes more than four bytes.
    """
    number = 0
    for shift in (0, 7, 14, 21):
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                raise DecodeError("leb128: not the shortest form")
            return number, at
    raise DecodeError("leb128: longer than four bytes")
