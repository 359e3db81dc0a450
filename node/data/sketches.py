"""Sketches: what a vector says about every score, in a quarter of its bytes.

A sketch of a vector x of length 1 is `scale`, `error` and one signed byte c for each of its
numbers: x lies within `error` (a length) of `scale` times c. By the inequality of Cauchy and
Schwarz the score of x and a vector q of length 1 is at most `scale` (c·q) + `error`. So whoever
has all sketches knows whom to compare, and that nobody else can be nearer: where the bound is loose
it costs time, and never a record.

Layout: `scale` and `error` (float32, little-endian), then the bytes. numpy is an extra: it is
imported when it is used.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...storage.sketch_rows import NUMBER_BYTES, Block
from .nearness import unit_rows

if TYPE_CHECKING:
    from .vector_index import Rows

HEAD_BYTES = 8
LEVELS = 127
ROUNDING = 1.3e-7
"""For each number of a vector: what rounding to float32 may add to two sums of products that come
to 1 at most (Higham, Accuracy and Stability of Numerical Algorithms, 3.1), with some to spare."""


def sketches_of(vectors: Sequence[bytes], dimension: int) -> bytes:
    """The sketches of vectors, one after the other. None of the vectors is all zeros."""
    import numpy as np

    rows = unit_rows(vectors, dimension)
    scales = np.abs(rows).max(axis=1).astype("<f4") / LEVELS
    codes = np.rint(rows / scales[:, None]).clip(-LEVELS, LEVELS).astype(np.int8)
    apart = rows.astype(np.float64) - codes * scales[:, None].astype(np.float64)
    errors = np.sqrt(np.einsum("ij,ij->i", apart, apart))
    held = np.empty((len(rows), HEAD_BYTES + dimension), dtype=np.uint8)
    held[:, :4] = scales.astype("<f4")[:, None].view(np.uint8)
    # Rounded up: an error that is told too small would hide somebody.
    held[:, 4:HEAD_BYTES] = (errors * (1 + 1e-6) + 1e-7).astype("<f4")[:, None].view(np.uint8)
    held[:, HEAD_BYTES:] = codes.view(np.uint8)
    return held.tobytes()


def bounds(blocks: Sequence[Block], dimension: int, row: "Rows") -> tuple[Any, "Rows"]:
    """The numbers of all records in blocks, and how near to a vector of length 1 each may be."""
    import numpy as np

    numbers, most = [], []
    # A block at a time, in one buffer: what fits the cache of a core takes a twentieth of the time.
    buffer = np.empty((max(block.room for block in blocks), dimension), dtype=np.float32)
    for block in blocks:
        numbers.append(np.frombuffer(block.sketches, "<i8", block.room))
        stored = np.frombuffer(block.sketches, np.uint8, offset=block.room * NUMBER_BYTES)
        held = stored.reshape(block.room, HEAD_BYTES + dimension)
        head = held[:, :HEAD_BYTES].copy().view("<f4")
        codes = buffer[: block.room]
        codes[:] = held[:, HEAD_BYTES:].view(np.int8)
        most.append((codes @ row) * head[:, 0] + head[:, 1] + ROUNDING * (dimension + 8))
    return np.concatenate(numbers), np.concatenate(most)
