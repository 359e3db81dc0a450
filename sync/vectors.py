"""Version vectors: what this node holds, what a peer holds, and the difference.

A vector maps an instance id to the head of its log in one scope. `Holdings` is the vector of every
scope this node knows, with digests that are computed when asked for and kept until a head below
them moves: advancing a head costs no hash. It is owned by the engine, which calls `set_head` only
for what is durable, and read by every session.

The control scope (the membership log) stands apart: it is in no database and in no root. Scopes
of privacy 0 (`device`) are held here like all others, and are in no digest and no listing
for a peer, whatever the caller asks for. What else a peer may hear of is a `Sharing`.

A vector that `heads` has returned never changes afterwards, so a session may keep it.

Spec: docs/protocol.md, sections 2 and 7. Tags and instances are 16 bytes, ids and digests 32.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from .digests import LogHead, database_digest, root_digest, vector_digest
from .session_limits import CONTROL_SCOPE, ID_BYTES, SEQ_MAX, TAG_BYTES
from .sharing import ALL_TERMS, Sharing, Terms

__all__ = [
    "CONTROL_SCOPE",
    "DEVICE_PRIVACY",
    "Fork",
    "Holdings",
    "LogHead",
    "Range",
    "Rows",
    "Vector",
    "ahead",
    "entry_count",
    "forks",
    "missing",
]

Vector = Mapping[bytes, LogHead]
Range = tuple[bytes, int, int]
"""Consecutive entries of one log: instance, first seq, last seq."""
Rows = tuple[tuple[bytes, bytes], ...]
"""(tag, digest), ascending by tag."""

DEVICE_PRIVACY = 0
_CONTROL_PRIVACY = -1


class Fork(NamedTuple):
    """Two entries at one place of one log: a proof that its owner's store was copied."""

    instance: bytes
    seq: int
    ours: bytes
    theirs: bytes


class _Scope:
    """One scope. `lent` says that `heads` has left this module and must be copied to change."""

    __slots__ = ("bucket", "database", "digest", "heads", "lent", "limited", "privacy")

    def __init__(self, database: bytes, privacy: int, bucket: int = 0) -> None:
        self.database = database
        self.privacy = privacy
        self.bucket = bucket
        self.heads: dict[bytes, LogHead] = {}
        self.lent = False
        self.digest: bytes | None = None
        self.limited: dict[Terms, tuple[Vector, bytes]] = {}
        """What is shared under terms that leave some authors out, and its digest."""


class Holdings:
    """What this node durably holds, scope by scope. Not thread-safe; one owner writes."""

    def __init__(self) -> None:
        self._scopes = {CONTROL_SCOPE: _Scope(b"", _CONTROL_PRIVACY)}
        self._databases: dict[bytes, list[bytes]] = {}
        self._database_digests: dict[bytes, dict[Sharing, bytes | None]] = {}
        self._roots: dict[Sharing, bytes] = {}
        self._listings: dict[Sharing, tuple[bytes, ...]] = {}

    def add_scope(self, scope: bytes, database: bytes, privacy: int, bucket: int = 0) -> None:
        """Know a scope from now on: its tag, its database's tag, its privacy (0 to 3), its bucket.

        Adding it again changes nothing. A tag stands for one database, privacy and bucket for good.
        """
        assert len(scope) == len(database) == TAG_BYTES and scope != CONTROL_SCOPE
        assert 0 <= privacy <= 3
        known = self._scopes.get(scope)
        if known is not None:
            said = (known.database, known.privacy, known.bucket)
            assert said == (database, privacy, bucket), "a tag of two scopes"
            return
        self._scopes[scope] = _Scope(database, privacy, bucket)
        self._databases.setdefault(database, []).append(scope)
        self._listings.clear()

    def set_head(
        self, scope: bytes, instance: bytes, author: bytes, seq: int, entry_id: bytes
    ) -> None:
        """Record that this log is durable here up to `seq`. The scope is known.

        Also takes a head back to a smaller `seq`: a fork may be settled for the other branch.
        """
        known = self._scopes[scope]
        assert 1 <= seq <= SEQ_MAX and len(instance) == TAG_BYTES and len(entry_id) == ID_BYTES
        if known.lent:
            known.heads = dict(known.heads)
            known.lent = False
        known.heads[instance] = LogHead(author, seq, entry_id)
        known.digest = None
        if known.limited:
            known.limited.clear()
        if known.database in self._database_digests:
            del self._database_digests[known.database]
        if self._roots:
            self._roots.clear()

    def knows(self, scope: bytes) -> bool:
        """Whether `add_scope` was called for it; always true of the control scope."""
        return scope in self._scopes

    def is_shared(self, scope: bytes, sharing: Sharing) -> bool:
        """Whether a peer with whom we share this may hear of this scope."""
        known = self._scopes.get(scope)
        if known is None or known.privacy == DEVICE_PRIVACY:
            return False
        if scope == CONTROL_SCOPE:
            return True
        return known.privacy in sharing.privacies and _is_within(known, sharing)

    def shares(self, scope: bytes, author: bytes, sharing: Sharing) -> bool:
        """Whether a peer with whom we share this may hear of this author's logs of this scope."""
        if not self.is_shared(scope, sharing):
            return False
        return scope == CONTROL_SCOPE or self._terms(scope, sharing).allows(author)

    def same_terms(self, scope: bytes, one: Sharing, other: Sharing) -> bool:
        """Whether two sharings have the same logs of a known scope."""
        return self._terms(scope, one) == self._terms(scope, other)

    def database(self, scope: bytes) -> bytes:
        """The database tag of a known scope; empty for the control scope."""
        return self._scopes[scope].database

    def privacy(self, scope: bytes) -> int:
        """The privacy, 0 to 3, of a known scope; -1 for the control scope."""
        return self._scopes[scope].privacy

    def scopes(self, sharing: Sharing) -> tuple[bytes, ...]:
        """The data scopes that are shared, ascending, never one of privacy 0."""
        listing = self._listings.get(sharing)
        if listing is None:
            listing = tuple(sorted(s for s in self._shared(self._scopes, sharing)))
            self._listings[sharing] = listing
        return listing

    def scopes_of(self, database: bytes, sharing: Sharing) -> tuple[bytes, ...]:
        """The scopes of one database as `scopes` lists them; none if it is unknown."""
        return tuple(sorted(self._shared(self._databases.get(database, ()), sharing)))

    def has_buckets(self, database: bytes) -> bool:
        """Whether a known database has a time bucket here."""
        return any(self._scopes[scope].bucket for scope in self._databases[database])

    def databases(self, sharing: Sharing) -> tuple[bytes, ...]:
        """The database tags that have a scope in `scopes(sharing)`, ascending."""
        return tuple(sorted({self._scopes[s].database for s in self.scopes(sharing)}))

    def heads(self, scope: bytes, sharing: Sharing | None = None) -> Vector:
        """The vector of a known scope, as it is now. The mapping returned never changes.

        With `sharing`, only the logs of it that are shared.
        """
        known = self._scopes[scope]
        terms = ALL_TERMS if sharing is None else self._terms(scope, sharing)
        if terms.only is None and not terms.without:
            known.lent = True
            return known.heads
        return self._limited(known, terms)[0]

    def head(self, scope: bytes, instance: bytes) -> LogHead | None:
        """The head of one log of a known scope."""
        return self._scopes[scope].heads.get(instance)

    def scope_digest(self, scope: bytes, sharing: Sharing | None = None) -> bytes:
        """The digest of a known scope, that of the empty vector included; see `heads`."""
        known = self._scopes[scope]
        terms = ALL_TERMS if sharing is None else self._terms(scope, sharing)
        if terms.only is not None or terms.without:
            return self._limited(known, terms)[1]
        if known.digest is None:
            known.digest = vector_digest(known.heads)
        return known.digest

    def control_digest(self) -> bytes:
        """The digest of the membership log's scope."""
        return self.scope_digest(CONTROL_SCOPE)

    def scope_rows(self, database: bytes, sharing: Sharing) -> Rows:
        """(scope tag, digest) of the database's scopes that have entries: level 1."""
        return tuple(
            (scope, self.scope_digest(scope, sharing))
            for scope in self.scopes_of(database, sharing)
            if self.heads(scope, sharing)
        )

    def database_digest(self, database: bytes, sharing: Sharing) -> bytes | None:
        """The digest of a database; None if none of its scopes has an entry."""
        known = self._database_digests.setdefault(database, {})
        if sharing not in known:
            rows = self.scope_rows(database, sharing)
            known[sharing] = database_digest(rows) if rows else None
        return known[sharing]

    def database_rows(self, sharing: Sharing) -> Rows:
        """(database tag, digest) of the databases that have entries: level 0."""
        digests = ((d, self.database_digest(d, sharing)) for d in sorted(self._databases))
        return tuple((database, digest) for database, digest in digests if digest is not None)

    def root(self, sharing: Sharing) -> bytes:
        """The digest of everything that is shared, the control scope apart."""
        root = self._roots.get(sharing)
        if root is None:
            root = self._roots[sharing] = root_digest(self.database_rows(sharing))
        return root

    def _shared(
        self, scopes: Mapping[bytes, object] | list[bytes] | tuple[()], sharing: Sharing
    ) -> Iterator[bytes]:
        for scope in scopes:
            known = self._scopes[scope]
            shared = known.privacy in sharing.privacies and known.privacy > DEVICE_PRIVACY
            if shared and _is_within(known, sharing):
                yield scope

    def _terms(self, scope: bytes, sharing: Sharing) -> Terms:
        if not sharing.terms or scope == CONTROL_SCOPE:
            return ALL_TERMS
        return sharing.terms_of(self._scopes[scope].database)

    def _limited(self, known: _Scope, terms: Terms) -> tuple[Vector, bytes]:
        limited = known.limited.get(terms)
        if limited is None:
            heads = {i: head for i, head in known.heads.items() if terms.allows(head.author)}
            limited = known.limited[terms] = heads, vector_digest(heads)
        return limited


def _is_within(known: _Scope, sharing: Sharing) -> bool:
    """Whether the terms of its database let a scope be shared at all."""
    if not sharing.terms:
        return True
    terms = sharing.terms_of(known.database)
    return terms.is_open and not 0 < known.bucket < terms.floor


def missing(ours: Vector, theirs: Vector) -> tuple[Range, ...]:
    """The ranges that they hold and we do not, ascending by instance, one a log."""
    ranges = []
    for instance, head in theirs.items():
        held = ours.get(instance)
        held_seq = 0 if held is None else held[1]
        if head[1] > held_seq:
            ranges.append((instance, held_seq + 1, head[1]))
    ranges.sort()
    return tuple(ranges)


def ahead(ours: Vector, theirs: Vector) -> tuple[Range, ...]:
    """The ranges that we hold and they do not."""
    return missing(theirs, ours)


def entry_count(ranges: tuple[Range, ...]) -> int:
    """How many entries the ranges name."""
    return sum(last - first + 1 for _, first, last in ranges)


def forks(ours: Vector, theirs: Vector) -> tuple[Fork, ...]:
    """The logs that stand at one number on both sides with two entry ids, ascending.

    Where the numbers differ nothing shows here; the chain of the entries that follow will.
    """
    found = []
    for instance, head in theirs.items():
        held = ours.get(instance)
        if held is None or held[1] != head[1] or not held[2] or not head[2]:
            continue
        if held[2] != head[2]:
            found.append(Fork(instance, head[1], held[2], head[2]))
    found.sort()
    return tuple(found)
