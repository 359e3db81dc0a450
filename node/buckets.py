"""Buckets: which time bucket of which scope a tag stands for.

A scope of a time bucket has no grant that would make it known: whoever writes first in a month
names it by its tag, and the others find out of which of their scopes it is, and which month, by
computing the tags of all there can be. That is 4,095 hashes a scope (about 5 ms), so it is done
when somebody names a tag of that database that nothing else explains, and kept: 40 KB a scope. A
tag that comes without the name of its database is looked for in the months around now only.

Whoever knows the tag key can name buckets in which nobody has written. Such a name becomes a row of
the store and nothing else; there are 4,095 a scope.

Spec: docs/protocol.md, sections 2 ("Scope tag") and 7 ("Buckets"). Tags are 16 bytes.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..crypto.grants import database_tag, scope_tag
from ..storage.log_rows import ensure_scope
from ..storage.store import Store
from ..sync.errors import DecodeError
from ..sync.messages import Digests, decode
from ..sync.policy import BUCKET_MAX, bucket_at, floor_at
from ..sync.session_limits import FLOORS_MAX, TAG_BYTES
from ..sync.sharing import Sharing
from ..sync.vectors import Holdings
from .ledger import Ledger, Scope
from .ports import Clock

if TYPE_CHECKING:
    from .mesh_view import MeshView

NEAR_BUCKETS = 1
"""How far the clock of whoever writes may be from ours, for its push to be taken at once."""
_DIGESTS_TYPE = 0x02
_SCOPE_AT: Mapping[int, slice] = {0x03: slice(4, 20), 0x05: slice(1, 17), 0x07: slice(4, 20)}
"""Where vector, batch and have name their scope: as protocol.md, sections 7 to 9 lay them out."""
_PREFIX_BYTES = 8

Bucket = tuple[Scope, int]
"""The scope without a bucket, and the number of the bucket."""
Floors = tuple[tuple[bytes, int], ...]
"""(database tag, bucket), ascending."""
Named = tuple[bytes | None, list[bytes]]
"""A database tag, if the frame tells one, and tags of scopes that we do not know."""


class BucketTags:
    """The tags of time buckets of one mesh. `tag_key` as in `covey.crypto.grants`."""

    def __init__(self, tag_key: bytes) -> None:
        self._tag_key = tag_key
        self._tables: dict[bytes, tuple[array[int], array[int]]] = {}
        self._near: dict[bytes, Bucket] = {}
        self._near_of: tuple[int, tuple[bytes, ...]] | None = None

    def find(self, tag: bytes, bases: Iterable[Scope]) -> Bucket | None:
        """The bucket of one of these scopes that the tag stands for."""
        prefix = int.from_bytes(tag[:_PREFIX_BYTES], "big")
        for base in bases:
            prefixes, buckets = self._table(base)
            at = bisect_left(prefixes, prefix)
            # Two buckets with one prefix would take 2^52 scopes; then the second is not found.
            if at < len(prefixes) and prefixes[at] == prefix:
                bucket = buckets[at]
                if scope_tag(self._tag_key, base.database, base.privacy, bucket) == tag:
                    return base, bucket
        return None

    def find_near(self, tag: bytes, bases: Iterable[Scope], now: int) -> Bucket | None:
        """As `find`, for the buckets around `now` only: a few hashes a scope, once a month."""
        bases = tuple(bases)
        key = (now, tuple(base.tag for base in bases))
        if key != self._near_of:
            self._near_of = key
            least, most = max(now - NEAR_BUCKETS, 1), min(now + NEAR_BUCKETS, BUCKET_MAX)
            self._near = {
                scope_tag(self._tag_key, base.database, base.privacy, bucket): (base, bucket)
                for base in bases
                for bucket in range(least, most + 1)
            }
        return self._near.get(tag)

    def _table(self, base: Scope) -> tuple["array[int]", "array[int]"]:
        """The first bytes of the tags of all buckets of a scope, ascending, and their buckets."""
        table = self._tables.get(base.tag)
        if table is None:
            rows = sorted(
                (
                    int.from_bytes(
                        scope_tag(self._tag_key, base.database, base.privacy, bucket)[
                            :_PREFIX_BYTES
                        ],
                        "big",
                    ),
                    bucket,
                )
                for bucket in range(1, BUCKET_MAX + 1)
            )
            table = array("Q", [row[0] for row in rows]), array("H", [row[1] for row in rows])
            self._tables[base.tag] = table
        return table


class Buckets:
    """The time buckets that this node knows. Owned by the mesh (`mesh.py`)."""

    def __init__(
        self,
        database: Store,
        ledger: Ledger,
        mesh: "MeshView",
        clock: Clock,
        known: Callable[[], None],
    ) -> None:
        """`known` is told when there are new ones."""
        self._database = database
        self._ledger = ledger
        self._mesh = mesh
        self._clock = clock
        self._known = known
        self._tags: BucketTags | None = None

    def current(self) -> int:
        """The bucket that a record is born into now, by our clock."""
        return bucket_at(self._clock.wall_ms())

    def floors(self) -> Floors:
        """The oldest bucket that this device takes, of databases of which it takes only what is
        new; by our clock, so it is told to each peer.
        """
        mesh, now_ms = self._mesh, self._clock.wall_ms()
        us, key = mesh.us().sig_pk, mesh.tag_key()
        if not mesh.registry.settings:
            return ()
        found = (
            (database_tag(key, name), floor_at(mesh.policy(us, name), now_ms))
            for name in self._ledger.databases()
        )
        return tuple(sorted(one for one in found if one[1])[:FLOORS_MAX])

    async def open(self, base: Scope, bucket: int) -> Scope:
        """A time bucket of a scope, known from now on. Raises StorageError."""
        scope = self._ledger.scope_named(base.database, base.privacy, bucket)
        if scope is None:
            await self._know({(base, bucket)})
            scope = self._ledger.scope_named(base.database, base.privacy, bucket)
        assert scope is not None
        return scope

    async def know_named(
        self, database: bytes | None, tags: Sequence[bytes], sharing: Sharing
    ) -> None:
        """A peer names scopes that we do not know: buckets of those that we share become known.

        `database` is the tag of theirs, if it is told. Raises StorageError.
        """
        bases = self._ledger.bases(database, sharing.privacies)
        if self._tags is None:
            self._tags = BucketTags(self._mesh.tag_key())
        names, now = self._tags, self.current()
        found = [
            names.find_near(tag, bases, now) if database is None else names.find(tag, bases)
            for tag in tags
        ]
        await self._know({bucket for bucket in found if bucket is not None})

    async def _know(self, buckets: Collection[Bucket]) -> None:
        """Know these from now on; all of them in one transaction."""
        key = self._mesh.tag_key()
        fresh = [
            (base, bucket, scope_tag(key, base.database, base.privacy, bucket))
            for base, bucket in sorted(buckets, key=lambda one: (one[0].number, one[1]))
        ]
        if not fresh:
            return
        numbers = await self._database.write(
            lambda conn: [
                ensure_scope(conn, tag, base.database, base.privacy, bucket)
                for base, bucket, tag in fresh
            ]
        )
        for (base, bucket, tag), number in zip(fresh, numbers, strict=True):
            if self._ledger.scope(tag) is None:
                scope = Scope(number, tag, base.database, base.privacy, bucket, base.tag)
                self._ledger.add_scope(scope, database_tag(key, base.database))
        self._known()


def unknown_scopes(frame: bytes, holdings: Holdings) -> Named | None:
    """The scopes that a frame of a peer names and that we do not know; None if there are none.

    Never raises: what is malformed is for the session to judge.
    """
    kind = frame[0] if frame else 0
    if kind in _SCOPE_AT:
        tag = frame[_SCOPE_AT[kind]]
        return (None, [tag]) if len(tag) == TAG_BYTES and not holdings.knows(tag) else None
    if kind != _DIGESTS_TYPE:
        return None
    try:
        message = decode(frame)
    except DecodeError:
        return None
    if not isinstance(message, Digests) or message.level != 1:
        return None
    tags = [tag for tag, _ in message.rows if not holdings.knows(tag)]
    return (message.node, tags) if tags else None
