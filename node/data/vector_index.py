"""VectorIndex: the port of an index over vectors in memory.

An index proposes; the encrypted rows decide. It is asked for the numbers of records that are
probably near, and whoever asks scores them again by their rows. So an index that is behind, or
wrong, costs time and never an answer that is not there. It holds numbers and vectors only, keeps
all of it in memory, and touches neither disk nor network.

All calls block; their caller runs them beside the event loop.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Rows = NDArray[np.float32]


class VectorIndex(Protocol):
    """One index: of one field, of one model, of one node. All vectors have length 1."""

    def put(self, numbers: Sequence[int], rows: "Rows") -> None:
        """Add records or replace them. `rows` has the shape (records, dimension)."""

    def remove(self, numbers: Sequence[int]) -> None:
        """Let go of records; of one that is not there, nothing."""

    def nearest(self, row: "Rows", count: int) -> list[int]:
        """Records that are probably the nearest to a vector of shape (dimension,), at most so many,
        the nearest first.
        """

    def close(self) -> None:
        """Let go of everything."""


OpenIndex = Callable[[str, int], VectorIndex]
"""An empty index under a name that no other has in this process, for vectors of a dimension.

Raises ImportError where its library is missing."""
