"""Result cache: pages of queries that were asked before, as long as they are still true.

A page is kept with the number of the last change that it has seen. It is true as long as nothing
of its collection has changed since, which the feed tells (`storage/feed_rows.py`): what a peer
wrote ends it just as a put here does. In memory, bounded in bytes, those of the question included;
what was used longest ago goes.
"""

from collections import OrderedDict
from typing import NamedTuple

from ...storage.finding import Page, Query

CACHE_BYTES_MAX = 8 << 20
RECORD_BYTES = 300
"""What a record costs beside its text: its row as Python has it."""

VALUE_BYTES = 300
"""What a value that is asked for costs beside its text."""

Key = tuple[str, str, Query]


class Kept(NamedTuple):
    page: Page
    seen: int
    size: int


class ResultCache:
    """The pages of one node. `hits` and `misses` count what was asked of it."""

    def __init__(self, bytes_max: int = CACHE_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self._size = 0
        self.hits = 0
        self.misses = 0

    def look(self, key: Key) -> Kept | None:
        """What was kept, true or not."""
        return self._kept.get(key)

    def hit(self, key: Key, kept: Kept, seen: int) -> None:
        """What was kept is still true, as of a later change."""
        self.hits += 1
        if self._kept.get(key) is kept:
            self._kept[key] = kept._replace(seen=seen)
            self._kept.move_to_end(key)

    def keep(self, key: Key, page: Page, seen: int) -> None:
        """Keep a page that was just read, if it is not too large by itself."""
        self.misses += 1
        self.forget(key)
        size = sum(len(found.value) + RECORD_BYTES for found in page.records) + _size_of(key[2])
        if size > self._bytes_max // 4:
            return
        self._kept[key] = Kept(page, seen, size)
        self._size += size
        while self._size > self._bytes_max:
            _, oldest = self._kept.popitem(last=False)
            self._size -= oldest.size

    def forget(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._size -= kept.size


def _size_of(query: Query) -> int:
    """About how much room a question takes: a list of ids may be far larger than what it finds."""
    asked = [operand.value for condition in query.where for operand in condition.operands]
    texts = [
        *(query.text, *(condition.field for condition in query.where)),
        *(field for field, _ in query.order),
        *asked,
        *(query.after or ()),
    ]
    return RECORD_BYTES + sum(
        VALUE_BYTES + (len(text) if isinstance(text, str) else 0) for text in texts
    )
