"""VectorField: one declared field in this process: its rows kept up, its index, its search.

The rows in the store follow the records page by page. The index in memory, if there is one, is
filled from them slice by slice, and gets what changes meanwhile. Until every slice is in, and
whenever the index fails, a search reads all rows and compares them: slower, and exact.

A search by the index is scored by the rows again, and by fewer than it asked for it goes on to the
exact way. So what it gives is always there, with its exact score; the index decides only whether
somebody near was overlooked.
"""

import asyncio
import json
from collections.abc import Callable
from functools import partial
from typing import Any

from ...storage import sketch_rows, vector_queries, vector_rows
from ...storage.conditions import Condition
from ...storage.errors import StorageError
from ...storage.sketch_rows import Held
from ...storage.store import Conn, Store
from ...storage.vector_rows import Declared, Taken, Waiting
from ..blobs import Beside
from .embedders import Embedders
from .nearness import Scored, Sought, best, score, unit_rows
from .sketch_search import SketchSearch
from .vector_index import OpenIndex, VectorIndex

PAGE_CHANGES = 500
"""Changes of one transaction: parsing them takes a few hundredths of a second."""
SLICE_ROWS = 250
"""Vectors that are read and put into the index at once."""
COMPARED_AT_ONCE = 500
"""Vectors that are read and compared at once: of 384 numbers, 750 KB, so that they and what is made
of them stay in the cache of a core. Eight times as many take three times as long."""
EMBEDDED_AT_ONCE = 32
EMBEDDED_MS = 1_000
"""What was made is kept that often: a model may take a second for each, and the process end."""
CANDIDATES = (64, 1_024)
"""How many an index is asked for, at least, and again if too few of those pass the conditions."""

TRIAL_VECTORS = 24
ROUNDING = 1e-6
TRIAL_FOUND = 10
TRIAL_RECALL = 0.97
"""An index that finds fewer of the nearest ten of a sample is not used. A little more than is
promised (0.95), because vectors that it holds are found more easily than new ones."""


class VectorField:
    """See the module. `open_index` None: every search is exact."""

    def __init__(
        self, declared: Declared, store: Store, beside: Beside, owe: Callable[[], None]
    ) -> None:
        """`owe` is called when the index has to be filled anew."""
        self.declared = declared
        self._owe = owe
        self.failure = ""
        """The kind of error that ended the index: never its text."""
        self._store = store
        self._beside = beside
        self.sketches = SketchSearch(declared, store, beside)
        self._turn = asyncio.Lock()
        """Rows and index change together, or the index would miss what came in between."""
        self._embedding = asyncio.Lock()
        self._index: VectorIndex | None = None
        self._filled_to = -1
        self._owes_index = False
        self._is_closed = False
        self.is_warm = False

    # Keeping up --------------------------------------------------------------------------------

    async def catch_up(self) -> None:
        """Take every change of the records into rows and index. Raises StorageError."""
        # Asked before the turn is waited for: while the index is filled, searches go on.
        if not (self._owes_index or await self._is_behind()):
            return
        async with self._turn:
            if self._owes_index:
                await self._drop_index()
            while await self._is_behind():
                taken = await self._change(
                    lambda conn: vector_rows.take(conn, self.declared, PAGE_CHANGES)
                )
                if taken.is_end:
                    break

    async def _is_behind(self) -> bool:
        number = self.declared.field_no
        return await self._store.read(lambda conn: vector_rows.is_behind(conn, number))

    async def embed(self, embedders: Embedders) -> None:
        """Make the embeddings that wait for this device's model by its callback."""
        model = self.declared.model, self.declared.version
        number = self.declared.field_no
        async with self._embedding:
            while model in embedders and (
                waiting := await self._store.read(
                    lambda conn: vector_rows.waiting(conn, number, EMBEDDED_AT_ONCE)
                )
            ):
                made = await self._embedded(embedders, waiting)
                async with self._turn:
                    await self._change(partial(self._keep, made))

    async def _embedded(
        self, embedders: Embedders, waiting: list[Waiting]
    ) -> list[tuple[Waiting, bytes | None]]:
        """What is made of them, or of the first of them, if that takes longer than a while."""
        declared, made = self.declared, list[tuple[Waiting, bytes | None]]()
        model = declared.model, declared.version
        until_ms = embedders.clock.monotonic_ms() + EMBEDDED_MS
        for one in waiting:
            value = json.loads(one.value)
            vector = await embedders.embed(model, value, declared.field, declared.dimension)
            made.append((one, vector))
            if model not in embedders or embedders.clock.monotonic_ms() >= until_ms:
                break
        return made

    def _keep(self, made: list[tuple[Waiting, bytes | None]], conn: Conn) -> Taken:
        put = [
            (one.record_no, vector)
            for one, vector in made
            # A record that was changed meanwhile waits again, and is embedded as it is then.
            if vector_rows.made(conn, self.declared.field_no, one, vector) and vector is not None
        ]
        return Taken(put, [], 0, True)

    async def _change(self, job: Callable[[Conn], Taken]) -> Taken:
        """Change rows, then the index alike. Whoever stops waiting in between leaves a debt."""
        if self._owes_index:
            await self._drop_index()
        self._owes_index = True
        try:
            with self.sketches.moving():
                taken = await self._store.write(job)
        except StorageError:
            self._owes_index = False  # Nothing was written.
            raise
        if self._index is not None and (taken.put or taken.gone):
            await self._try(lambda index: self._apply(index, taken))
        self._owes_index = False
        return taken

    def _apply(self, index: VectorIndex, taken: Taken) -> None:
        index.remove(taken.gone)
        self._put(index, [Held(*one) for one in taken.put])

    def _put(self, index: VectorIndex, held: list[Held]) -> None:
        rows = unit_rows([one.vector for one in held], self.declared.dimension)
        index.put([one.record_no for one in held], rows)

    async def sketch(self, rows_min: int) -> None:
        """Put what is new into blocks, if there are so many rows that it is worth it. Needs numpy.

        Raises StorageError.
        """
        number = self.declared.field_no
        if not self.sketches.is_worth_it or not await self._store.read(
            lambda conn: (
                sketch_rows.loose_count(conn, number) >= self.sketches.block_rows
                and vector_queries.count(conn, number) >= rows_min
            )
        ):
            return
        while not self._is_closed:
            async with self._turn:
                if not await self.sketches.add():
                    return

    # The index ---------------------------------------------------------------------------------

    async def fill(self, open_index: OpenIndex, name: str, rows_min: int) -> None:
        """Fill the index until it is warm, if there are so many rows that it is worth having."""
        if self._needs_no_filling():  # Asked at each change, so before anything is counted.
            return
        if await self._rows() < rows_min:
            return
        while not self._needs_no_filling():
            async with self._turn:
                if self._owes_index:
                    await self._drop_index()
                await self._fill_slice(open_index, name)

    async def _rows(self) -> int:
        number = self.declared.field_no
        return await self._store.read(lambda conn: vector_queries.count(conn, number))

    def _needs_no_filling(self) -> bool:
        return bool(self.is_warm or self.failure or self._is_closed)

    async def _fill_slice(self, open_index: OpenIndex, name: str) -> None:
        if self._index is None:
            try:
                dimension = self.declared.dimension
                self._index = await self._beside(lambda: open_index(name, dimension))
            except Exception as error:
                self.failure = type(error).__name__
                return
        held = await self._page(self._filled_to, (), SLICE_ROWS)
        if not held:
            self.is_warm = await self._is_good()
        elif await self._try(lambda index: self._put(index, held)):
            self._filled_to = held[-1].record_no

    async def _is_good(self) -> bool:
        """Whether the index finds what there is, as a sample says. One that does not is given up.

        Vectors that are scattered evenly, as embeddings are not, are found badly by any graph.
        """
        number, count = self.declared.field_no, TRIAL_VECTORS
        sample = await self._store.read(lambda conn: vector_queries.sample(conn, number, count))
        rows = unit_rows([one.vector for one in sample], self.declared.dimension)
        trials = [Sought(row, TRIAL_FOUND, ()) for row in rows]
        exact = await self._all_scored(trials)
        found = 0
        for sought, nearest in zip(trials, exact, strict=True):
            index = self._index
            numbers = None if index is None else await self._asked(index, sought.row, CANDIDATES[0])
            if numbers is None:
                return False
            (ours,) = await self._scored(await self._among(numbers, ()), [sought])
            # By the score and not the record: of equal vectors any will do.
            found += sum(one.score >= nearest[-1].score - ROUNDING for one in ours)
        if found >= TRIAL_RECALL * sum(map(len, exact)):
            return True
        self.failure = "it overlooks too many"
        await self._drop_index()
        return False

    async def _try(self, act: Callable[[VectorIndex], None]) -> bool:
        """Whether a call of the index succeeded. An index that fails is given up: it is never the
        only copy of anything, and a search without it is exact.
        """
        index = self._index
        assert index is not None
        try:
            await self._beside(lambda: act(index))
        except Exception as error:
            self.failure = type(error).__name__
            await self._drop_index()
            return False
        return True

    async def _drop_index(self) -> None:
        index, self._index = self._index, None
        self._filled_to, self.is_warm, self._owes_index = -1, False, False
        if not self._is_closed:
            self._owe()
        if index is not None:
            try:
                await self._beside(index.close)
            except Exception as error:
                self.failure = self.failure or type(error).__name__

    async def close(self) -> None:
        """Let go of the index. The rows stay."""
        self._is_closed = True
        async with self._turn:
            await self._drop_index()

    # Searching ---------------------------------------------------------------------------------

    async def search(self, sought: Sought) -> tuple[list[Scored], bool]:
        """The nearest records, best first, and whether every row was compared."""
        if self.is_warm:
            found = await self._by_index(sought)
            if found is not None and len(found) == sought.k:
                return found, False
        return await self._exactly(sought), True

    async def _by_index(self, sought: Sought) -> list[Scored] | None:
        found: list[Scored] | None = None
        for candidates in CANDIDATES:
            index, asked = self._index, candidates * max(1, sought.k // TRIAL_FOUND)
            if index is None:
                return None
            numbers = await self._proposed(index, sought, asked)
            if numbers is None:
                return None
            held = await self._among(numbers, sought.where)
            (found,) = await self._scored(held, [sought])
            if len(found) == sought.k or not sought.where:
                break
        return found

    async def _proposed(self, index: VectorIndex, sought: Sought, count: int) -> list[int] | None:
        numbers = await self._asked(index, sought.row, count)
        if numbers is None:
            async with self._turn:
                if self._index is index:
                    await self._drop_index()
        return numbers

    async def _asked(self, index: VectorIndex, row: Any, count: int) -> list[int] | None:
        try:
            proposed: list[int] = await self._beside(lambda: index.nearest(row, count))
            return proposed
        except Exception as error:
            if self._index is index:  # Else it was closed while we asked.
                self.failure = type(error).__name__
            return None

    async def _exactly(self, sought: Sought) -> list[Scored]:
        if not sought.where:
            nearest = await self.sketches.nearest(sought)
            if nearest is not None:
                return nearest
        (found,) = await self._all_scored([sought])
        return found

    async def _all_scored(self, wanted: list[Sought]) -> list[list[Scored]]:
        """What every row says to several searches under the same conditions."""
        found: list[list[Scored]] = [[] for _ in wanted]
        after = -1
        where = wanted[0].where if wanted else ()
        while held := await self._page(after, where, COMPARED_AT_ONCE):
            for at, scored in enumerate(await self._scored(held, wanted)):
                found[at] = best([*found[at], *scored], wanted[at].k)
            after = held[-1].record_no
            if len(held) < COMPARED_AT_ONCE:
                break
        return found

    async def _scored(self, held: list[Held], wanted: list[Sought]) -> list[list[Scored]]:
        def job() -> list[list[Scored]]:
            rows = unit_rows([one.vector for one in held], self.declared.dimension)
            numbers = [one.record_no for one in held]
            return [score(numbers, rows, each.row, each.k, each.but) for each in wanted]

        scored: list[list[Scored]] = await self._beside(job)
        return scored

    async def _among(self, numbers: list[int], where: tuple[Condition, ...]) -> list[Held]:
        number = self.declared.field_no
        return await self._store.read(
            lambda conn: vector_queries.among(conn, number, numbers, where)
        )

    async def _page(self, after: int, where: tuple[Condition, ...], limit: int) -> list[Held]:
        number = self.declared.field_no
        return await self._store.read(
            lambda conn: vector_queries.page(conn, number, after, limit, where)
        )
