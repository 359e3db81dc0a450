"""Ledger: which logs and scopes this node holds, and how far, in memory.

The store is the truth; the ledger mirrors the heads of all logs so that a write, a batch or a
session never has to ask the disk where a chain ends. Each log has two ends: the *head* is
durable, the *tail* is assigned to an entry on its way to the disk. They differ only while a
commit is under way; `roll_back` forgets a tail whose commit failed.

Sessions see durable heads only, through `Holdings` (covey.sync.vectors).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..crypto.entry import ZERO_ID
from ..crypto.grants import CONTROL_SCOPE
from ..sync.vectors import Holdings

PRIVACY_NAMES = ("device", "private", "family", "public")
"""Index = the privacy byte of docs/protocol.md, section 2; smaller is more private."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The smallest unit of keys, logs and selective sync."""

    number: int
    tag: bytes
    database: str
    privacy: int
    bucket: int = 0
    """Its time bucket (`covey.sync.policy.bucket_at`); 0 for none."""
    base_tag: bytes = b""
    """Of a bucket: the tag of the scope without one, which has the keys."""

    @property
    def key_tag(self) -> bytes:
        """The scope that grants and epochs name: a bucket has no keys of its own."""
        return self.base_tag or self.tag

    @property
    def place(self) -> tuple[int, int]:
        """Of records with one id in several scopes of a database the first is meant: the most
        private one, then the one in the newest bucket. Which all devices hold: those that take
        only what is new have that one.
        """
        return self.privacy, -self.bucket


@dataclass(slots=True, eq=False)
class Log:
    """The chain of one instance in one scope, as far as we hold it."""

    number: int
    scope: Scope
    instance: bytes
    author: bytes
    head_seq: int = 0
    head_id: bytes = ZERO_ID
    tail_seq: int = 0
    tail_id: bytes = ZERO_ID
    unapplied: set[int] = field(default_factory=set)
    """Entries held but not applied: they wait for something, are quarantined, or on the shelf."""
    shelved: set[int] = field(default_factory=set)
    """Those on the shelf (`vouching.py`)."""
    landing: tuple[int, bytes] | None = None
    """Where it will stand when the batch is durable that the store is writing now."""

    def has_applied(self, seq: int) -> bool:
        return seq <= self.head_seq and seq not in self.unapplied


class Ledger:
    """All scopes and logs of one store. Owned by the engine; mutated on its event loop only."""

    def __init__(self, authors: Mapping[bytes, bytes] = {}) -> None:
        """`authors`: instances of which it is known whose they are, before any log tells."""
        self.holdings = Holdings()
        self._by_tag: dict[bytes, Scope] = {}
        self._by_name: dict[tuple[str, int, int], Scope] = {}
        self._of_database: dict[str, list[Scope]] = {}
        self._by_number: dict[int, Scope] = {}
        self._databases: dict[str, None] = {}
        self._logs: dict[tuple[bytes, bytes], Log] = {}
        self._log_by_number: dict[int, Log] = {}
        self._authors = dict(authors)

    def add_scope(self, scope: Scope, database_tag: bytes) -> None:
        self._by_tag[scope.tag] = scope
        self._by_name[scope.database, scope.privacy, scope.bucket] = scope
        if scope.database:
            self._databases.setdefault(scope.database)
        self._by_number[scope.number] = scope
        if scope.tag != CONTROL_SCOPE:
            self.holdings.add_scope(scope.tag, database_tag, scope.privacy, scope.bucket)
            if not scope.bucket:
                self._list(scope)

    def add_log(self, log: Log) -> None:
        self._logs[log.scope.tag, log.instance] = log
        self._log_by_number[log.number] = log
        self._authors.setdefault(log.instance, log.author)
        if log.scope.bucket:
            self._list(log.scope)
        if log.head_seq:
            self._publish(log)

    def scope(self, tag: bytes) -> Scope | None:
        return self._by_tag.get(tag)

    def scope_named(self, database: str, privacy: int, bucket: int = 0) -> Scope | None:
        return self._by_name.get((database, privacy, bucket))

    def scopes_of(self, database: str) -> Sequence[Scope]:
        """The scopes in which a database may have records, in order of `Scope.place`.

        A bucket in which nobody has written is not among them: to name one costs nothing.
        """
        return self._of_database.get(database, ())

    def bases(self, database_tag: bytes | None, privacies: Collection[int]) -> list[Scope]:
        """The scopes without a bucket of these privacies, of one database or of all."""
        return [
            scope
            for scope in self.scopes()
            if not scope.bucket
            and scope.privacy in privacies
            and database_tag in (None, self.holdings.database(scope.tag))
        ]

    def scope_numbered(self, number: int) -> Scope:
        return self._by_number[number]

    def scopes(self) -> Iterable[Scope]:
        """Every data scope, in order of name, privacy and bucket."""
        return [self._by_name[key] for key in sorted(self._by_name) if self._by_name[key].database]

    def databases(self) -> Collection[str]:
        """The names of the databases that have a scope here, in order of arrival."""
        return self._databases

    def log(self, scope: bytes, instance: bytes) -> Log | None:
        return self._logs.get((scope, instance))

    def author_of(self, instance: bytes) -> bytes | None:
        """Whose instance this is, as far as is known here. An instance has one author."""
        return self._authors.get(instance)

    def log_numbered(self, number: int) -> Log:
        return self._log_by_number[number]

    def logs(self) -> Iterator[Log]:
        return iter(self._logs.values())

    def made_durable(self, log: Log, seq: int, entry_id: bytes) -> None:
        """The store has committed everything of this log up to `seq`."""
        log.head_seq, log.head_id = seq, entry_id
        if log.tail_seq < seq:
            log.tail_seq, log.tail_id = seq, entry_id
        self._publish(log)

    def roll_back(self, log: Log) -> None:
        """A commit failed: what was assigned but is not durable never happened."""
        log.tail_seq, log.tail_id = log.head_seq, log.head_id
        log.unapplied = {seq for seq in log.unapplied if seq <= log.head_seq}
        log.shelved = {seq for seq in log.shelved if seq <= log.head_seq}

    def _list(self, scope: Scope) -> None:
        listed = self._of_database.get(scope.database, ())
        if scope not in listed:
            # A new list: whoever goes through the one before may be waiting for something.
            self._of_database[scope.database] = sorted([*listed, scope], key=lambda s: s.place)

    def _publish(self, log: Log) -> None:
        self.holdings.set_head(log.scope.tag, log.instance, log.author, log.head_seq, log.head_id)
