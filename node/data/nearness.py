"""Nearness: how near two vectors are, exactly, with numpy.

The score of two vectors is the cosine of the angle between them: 1 for one direction, 0 for a right
angle, -1 for opposite ones. It does not depend on their lengths. Rows are made length 1 with
doubles, so that numbers whose squares no float32 can hold are no exception.

numpy is an extra: it is imported when the first vector is searched.
"""

from collections.abc import Sequence
from heapq import nlargest
from typing import TYPE_CHECKING, NamedTuple

from ... import CoveyError

if TYPE_CHECKING:
    from .vector_index import Rows


class MissingVectorsError(CoveyError):
    """The extra for vectors is not installed, so nothing can be searched by them. The records and
    their embeddings are kept and synced as ever.
    """

    exit_code = 1

    def __init__(self) -> None:
        super().__init__(
            "search by vectors needs an extra that is not installed:"
            " pip install 'covey[vectors]'; records are kept and synced without it"
        )


class Scored(NamedTuple):
    """A record and how near it is."""

    score: float
    record_no: int


def require_numpy() -> None:
    """Raises MissingVectorsError."""
    try:
        import numpy  # noqa: F401 - whether it can be
    except ImportError:
        raise MissingVectorsError from None


def unit_rows(vectors: Sequence[bytes], dimension: int) -> "Rows":
    """Vectors as rows of length 1, of shape (vectors, dimension). None of them is all zeros."""
    import numpy as np

    raw = np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(vectors), dimension)
    wide = raw.astype(np.float64)
    wide /= np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
    return wide.astype(np.float32)


def score(
    numbers: Sequence[int], rows: "Rows", row: "Rows", count: int, but: int | None = None
) -> list[Scored]:
    """The nearest of some records to a vector, at most so many; the record `but` is left out.

    `rows` are theirs, in order. All vectors have length 1.
    """
    # A sum of rounded squares can be a little more than 1.
    scores = (rows @ row).clip(-1.0, 1.0).tolist()
    found = [Scored(*pair) for pair in zip(scores, numbers, strict=True) if pair[1] != but]
    return best(found, count)


def best(scored: Sequence[Scored], count: int) -> list[Scored]:
    """The highest scores first; of equal ones the older record."""
    return nlargest(count, scored, key=lambda one: (one.score, -one.record_no))
