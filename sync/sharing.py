"""Sharing: what two devices have in common, as their sessions ask for it.

`policy.decide` says of one item whether it may travel between two devices. `Sharing` says the same
of everything at once, in the terms of the session: which privacy levels, and for each database
whose logs and which time buckets. Both devices compute the same from the same membership log, so
their digests cover the same logs. What is not shared is in no digest, vector, want or batch.

Spec: docs/protocol.md, sections 7 and 12. Database tags are 16 bytes, device ids 32.
"""

from collections.abc import Iterable
from typing import NamedTuple

from .policy import Item, Party, decide

NOBODY = b""
_DEVICE_PRIVACY = 0


class Terms(NamedTuple):
    """Which logs of one database are shared."""

    only: bytes | None = None
    """Only those of this author; `NOBODY` for none at all, None for everybody's."""
    without: tuple[bytes, ...] = ()
    """Not those of these authors; ascending."""
    floor: int = 0
    """Not those of older time buckets."""

    @property
    def is_open(self) -> bool:
        """Whether anything of the database is shared."""
        return self.only != NOBODY

    def allows(self, author: bytes) -> bool:
        """Whether the logs of this author are shared."""
        return (self.only is None or self.only == author) and author not in self.without

    def covers(self, other: "Terms") -> bool:
        """Whether all logs that `other` shares are shared by these terms. False if in doubt."""
        if not other.is_open:
            return True
        if self.floor > other.floor or not self.is_open:
            return False
        if other.only is not None:
            return self.allows(other.only)
        return self.only is None and {*self.without} <= {*other.without}


ALL_TERMS = Terms()
CLOSED = Terms(NOBODY)


class Sharing(NamedTuple):
    """What two devices share. `NOTHING` is shared with a device that is not known."""

    privacies: frozenset[int] = frozenset()
    """1 private, 2 family, 3 public; never 0."""
    terms: tuple[tuple[bytes, Terms], ...] = ()
    """(database tag, terms) where they are not `ALL_TERMS`, ascending."""

    @classmethod
    def of(cls, privacies: Iterable[int], terms: Iterable[tuple[bytes, Terms]] = ()) -> "Sharing":
        """The one spelling of a sharing: without privacy 0, and without terms that say nothing."""
        limited = sorted((tag, said) for tag, said in terms if said != ALL_TERMS)
        return cls(frozenset(privacies) - {_DEVICE_PRIVACY}, tuple(limited))

    def terms_of(self, database: bytes) -> Terms:
        """The terms of a database by its tag."""
        for tag, terms in self.terms:
            if tag == database:
                return terms
        return ALL_TERMS

    def covers(self, other: "Sharing", database: bytes) -> bool:
        """Whether all that `other` shares of a database is shared here as well."""
        wanted = other.terms_of(database)
        if not wanted.is_open:
            return True
        return other.privacies <= self.privacies and self.terms_of(database).covers(wanted)

    def with_floors(self, floors: Iterable[tuple[bytes, int]]) -> "Sharing":
        """The same without the buckets below these floors, given as (database tag, bucket)."""
        terms = dict(self.terms)
        for tag, floor in floors:
            said = terms.get(tag, ALL_TERMS)
            terms[tag] = said._replace(floor=max(said.floor, floor))
        return Sharing.of(self.privacies, terms.items())


NOTHING = Sharing()


def terms_between(one: Party, other: Party) -> Terms:
    """Which logs of a database two active members share, by what both want of it.

    Their levels do not matter here. Floors are not theirs to compute: each device tells its own.
    """
    # Two stores of one device have one id between them.
    ids = tuple(dict.fromkeys((one.id, other.id)))
    allowed = {author: _travels(author, one, other) for author in (*ids, NOBODY)}
    if allowed[NOBODY]:  # The author is a third device, whoever that is.
        return Terms(None, tuple(sorted(id for id in ids if not allowed[id])))
    own = [id for id in ids if allowed[id]]
    assert len(own) < 2, "who takes nothing of others takes nothing of the other"
    return Terms(own[0]) if own else CLOSED


def _travels(author: bytes, one: Party, other: Party) -> bool:
    item = Item(1, author)
    return decide(item, one._replace(level="full"), other._replace(level="full")).allowed
