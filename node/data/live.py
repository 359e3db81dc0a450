"""Live: a query that stays open, and tells how its result changes.

The first thing it yields are the records as they are. Then, after every change of the collection,
local or synced, what entered the result, what changed in it and what left it. The query is asked
again each time, so with an order, a limit or words the result is right by the same rules as that of
`find`; changes that come together are told together.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..happenings import RecordChanged
from ..reader import Found
from .asking import Query

if TYPE_CHECKING:
    from ..engine import Engine


@dataclass(frozen=True, slots=True)
class Moment:
    """The result of a live query now, in order, and what is different from the moment before.

    `entered` and `changed` hold records, `left` what they were when last seen. The first moment
    has all records in `entered`.
    """

    records: tuple[Found, ...]
    entered: tuple[Found, ...]
    changed: tuple[Found, ...]
    left: tuple[Found, ...]


class Live:
    """An async iterator of `Moment`. Use it with `async with`, or close it.

    Listening starts when it is made, so nothing falls between the first result and the next.
    """

    def __init__(self, engine: "Engine", database: str, collection: str, query: Query) -> None:
        self._engine = engine
        self._place = (database, collection)
        self._query = query
        self._subscription = engine.board.subscribe(RecordChanged)

    async def __aiter__(self) -> AsyncIterator[Moment]:
        """Raises BadValueError, StorageError."""
        before = await self._ask()
        yield Moment(tuple(before.values()), tuple(before.values()), (), ())
        async for event in self._subscription:
            # What else has come meanwhile is in the same answer. Lost events are changes too.
            events = [event, *self._subscription.take()]
            if not any(self._matters(one) for one in events):
                continue
            now = await self._ask()
            moment = _difference(before, now)
            before = now
            if moment is not None:
                yield moment

    def close(self) -> None:
        self._subscription.close()

    async def __aenter__(self) -> "Live":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def _matters(self, event: object) -> bool:
        if isinstance(event, RecordChanged):
            return (event.database, event.collection) == self._place
        return True

    async def _ask(self) -> dict[tuple[str, int, int], Found]:
        found = await self._engine.queries.find(*self._place, self._query)
        return {(record.id, record.privacy, record.bucket): record for record in found}


def _difference(
    before: dict[tuple[str, int, int], Found], now: dict[tuple[str, int, int], Found]
) -> Moment | None:
    entered = tuple(now[key] for key in now if key not in before)
    left = tuple(before[key] for key in before if key not in now)
    changed = tuple(now[key] for key in now if key in before and now[key] != before[key])
    moved = list(now) != list(before)
    if not (entered or left or changed or moved):
        return None
    return Moment(tuple(now.values()), entered, changed, left)
