"""Nearness: how near two vectors are, exactly, with numpy.

The score of two vectors is the cosine of the angle between them: 1 for one direction, 0 for a right
angle, -1 for opposite ones. It does not depend on their lengths, not even where float32 cannot hold
their squares.

numpy is an extra: it is imported when the first vector is searched.
"""

from collections.abc import Sequence
from heapq import nlargest
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import CoveyError
from ...storage.conditions import Condition

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


SQUARE_MIN, SQUARE_MAX = 1e-20, 1e30
"""Between these a sum of squares is exact enough in float32; beyond them doubles are used."""


class Sought(NamedTuple):
    """What is searched for: a vector of length 1, how many, and who may be among them."""

    row: Any
    k: int
    where: tuple[Condition, ...]
    but: int | None = None


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

    raw = _rows(vectors, dimension)
    with np.errstate(over="ignore", under="ignore"):
        squares = np.einsum("ij,ij->i", raw, raw)
    if len(raw) and not (squares.min() > SQUARE_MIN and squares.max() < SQUARE_MAX):
        wide = raw.astype(np.float64)
        wide /= np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
        return wide.astype(np.float32)
    units: Rows = raw / np.sqrt(squares)[:, None]
    return units


def _rows(vectors: Sequence[bytes], dimension: int) -> "Rows":
    import numpy as np

    rows: Rows = np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(vectors), dimension)
    return rows


def score(
    numbers: Sequence[int], rows: "Rows", row: "Rows", count: int, but: int | None = None
) -> list[Scored]:
    """The nearest of some records to a vector, at most so many; the record `but` is left out.

    `rows` are theirs, in order. All vectors have length 1.
    """
    import numpy as np

    # A sum of rounded squares can be a little more than 1.
    scores = (rows @ row).clip(-1.0, 1.0)
    enough = count + 1
    if len(scores) > enough:
        # All that are as near as the last of them, or which of equal ones came first is chance.
        least = np.partition(scores, -enough)[-enough]
        kept = np.flatnonzero(scores >= least)
    else:
        kept = np.arange(len(scores))
    found = [Scored(float(scores[at]), numbers[at]) for at in kept.tolist()]
    return best([one for one in found if one.record_no != but], count)


def best(scored: Sequence[Scored], count: int) -> list[Scored]:
    """The highest scores first; of equal ones the older record."""
    return nlargest(count, scored, key=lambda one: (one.score, -one.record_no))
