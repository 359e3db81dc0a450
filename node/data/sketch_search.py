"""SketchSearch: the nearest of all vectors of a field, exactly, by reading few of them.

Blocks of sketches are read one after the other and say how near each record may be. Those that may
be nearer than the nearest so far are read and compared, the most promising first, until nobody is
left who may. Vectors in no block yet are compared one by one. Memory is bounded by `ROUND_ROWS`.

A field is put into blocks when the index is looked after, in the background, and only if that is
worth it: fewer vectors, or shorter ones, are compared as soon.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from ...storage import sketch_rows, vector_queries
from ...storage.sketch_rows import NO_RECORD, Block, Held
from ...storage.store import Conn, Store
from ...storage.vector_rows import Declared
from ..blobs import Beside
from .nearness import Scored, Sought, best, score, unit_rows
from .sketches import bounds, sketches_of

T = TypeVar("T")

DIMENSION_MIN = 64
"""Shorter vectors lie so close together in the store that sketches would save nothing."""
BLOCK_ROWS = 256
BLOCKS_AT_ONCE = 16
"""Read and compared at once: of 384 numbers, 8 MB."""
ROUND_ROWS = 65_536
"""Records whose bounds are held at once, 12 bytes each."""
COMPARED_AT_ONCE = (64, 1_024)
"""Vectors that are read and compared at once: at first, and at most."""
COMPARED_SHARE = 8
"""If more than one of so many have to be compared, reading all in order is quicker."""


class SketchSearch:
    """The sketches of one declared field."""

    def __init__(self, declared: Declared, store: Store, beside: Beside) -> None:
        self._number = declared.field_no
        self._dimension = declared.dimension
        self._store = store
        self._beside = beside
        self._moves = 0
        self._moving = 0
        self.block_rows = BLOCK_ROWS
        self.is_worth_it = declared.dimension >= DIMENSION_MIN

    @contextmanager
    def moving(self) -> Iterator[None]:
        """While rows are written, by which vectors may go into blocks or out of them."""
        self._moves += 1
        self._moving += 1
        try:
            yield
        finally:
            self._moving -= 1

    async def add(self) -> bool:
        """Put loose vectors into a block; False if there are too few. The rows must not change
        meanwhile. Raises StorageError.
        """
        if not self.is_worth_it:
            return False
        held = await self._read(sketch_rows.loose, -1, self.block_rows)
        if len(held) < self.block_rows:
            return False
        vectors, numbers = [one.vector for one in held], [one.record_no for one in held]
        sketches = await self._beside(partial(sketches_of, vectors, self._dimension))
        with self.moving():
            await self._store.write(
                lambda conn: sketch_rows.add_block(conn, self._number, numbers, sketches)
            )
        return True

    async def nearest(self, sought: Sought) -> list[Scored] | None:
        """The nearest records, best first; None if all of them have to be read in order.

        Conditions are not asked. Raises StorageError.
        """
        if self._moving or not self.is_worth_it:
            return None
        moves, after, found = self._moves, -1, list[Scored]()
        while True:
            bounded, after, is_end = await self._round(after, sought.row)
            if not bounded and after < 0:
                return None  # There are no blocks.
            refined = await self._refined(bounded, sought, found) if bounded else found
            if refined is None:
                return None
            found = refined
            if is_end:
                break
        found = await self._with_loose(sought, found)
        # What moved while it was looked for may have been overlooked.
        return None if self._moving or moves != self._moves else found

    async def _round(self, after: int, row: Any) -> tuple[list[tuple[Any, Any]], int, bool]:
        """The bounds of the next blocks, the last of these, and whether there are no more."""
        found, rows = list[tuple[Any, Any]](), 0
        while rows < ROUND_ROWS:
            blocks: list[Block] = await self._read(sketch_rows.blocks, after, BLOCKS_AT_ONCE)
            if blocks:
                found.append(await self._beside(partial(bounds, blocks, self._dimension, row)))
                rows += len(found[-1][0])
                after = blocks[-1].block_no
            if len(blocks) < BLOCKS_AT_ONCE:
                return found, after, True
        return found, after, False

    async def _refined(
        self, bounded: list[tuple[Any, Any]], sought: Sought, found: list[Scored]
    ) -> list[Scored] | None:
        """The nearest of those found and of a round; None if the bounds keep too few away."""
        import numpy as np

        numbers = np.concatenate([numbers for numbers, _ in bounded])
        most = np.concatenate([most for _, most in bounded])
        most[numbers == NO_RECORD] = -np.inf
        least, most_at_once = COMPARED_AT_ONCE
        size = max(least, 2 * sought.k)
        left = max(size, len(most) // COMPARED_SHARE)
        while True:
            enough = found[-1].score if len(found) == sought.k else -np.inf
            # Also who is as near as the last of them: of equal ones the older record comes first.
            may_be = np.flatnonzero((most >= enough) & (most > -np.inf))
            if not len(may_be):
                return found
            if len(may_be) > size:
                may_be = may_be[np.argpartition(-most[may_be], size)[:size]]
            left -= len(may_be)
            if left < 0:
                return None
            found = await self._with(await self._among(numbers[may_be].tolist()), sought, found)
            most[may_be] = -np.inf
            size = max(size, min(2 * size, most_at_once))

    async def _with_loose(self, sought: Sought, found: list[Scored]) -> list[Scored]:
        after, limit = -1, COMPARED_AT_ONCE[1]
        while True:
            held = await self._read(sketch_rows.loose, after, limit)
            found = await self._with(held, sought, found)
            if len(held) < limit:
                return found
            after = held[-1].record_no

    async def _with(self, held: list[Held], sought: Sought, found: list[Scored]) -> list[Scored]:
        if not held:
            return found

        def job() -> list[Scored]:
            rows = unit_rows([one.vector for one in held], self._dimension)
            numbers = [one.record_no for one in held]
            return score(numbers, rows, sought.row, sought.k, sought.but)

        return best([*found, *await self._beside(job)], sought.k)

    async def _among(self, numbers: list[int]) -> list[Held]:
        return await self._store.read(
            lambda conn: vector_queries.among(conn, self._number, numbers)
        )

    async def _read(self, job: Callable[[Conn, int, int, int], T], after: int, limit: int) -> T:
        return await self._store.read(lambda conn: job(conn, self._number, after, limit))
