"""Witness: what users were told, to be held against what is there at the end.

It writes down each write as it is tried and as it is acknowledged, with what its device had seen of
the others' writes at both moments. From that follows, without asking the CRDT, what may and what
must be in a record when all devices have everything: a write that somebody has surely seen and
replaced must be gone, and a write that nobody can have seen must not.

Values are texts of their own for each write, so that whose value it is can be read off it. Only who
decides a conflict writes the value of another once more.
"""

from dataclasses import dataclass

from ..node.engine import Engine
from ..node.ledger import PRIVACY_NAMES, Log

CANARY = "canary"
"""Every value begins with it; it must never be seen on a wire."""

Seen = dict[tuple[bytes, bytes], int]
"""Scope tag and instance -> the last entry of that log that is applied, and all before it."""

RecordName = tuple[str, str, str]


@dataclass(slots=True, eq=False)
class Write:
    """One put or delete of one record by one device."""

    number: int
    device: str
    record: RecordName
    fields: dict[str, str]
    """Field -> value; empty for a delete."""
    removes_all: bool
    """A delete, or a put that drops the fields it does not name."""
    is_delete: bool
    before: Seen
    """What the device had surely applied when the write was asked for."""
    instance: bytes
    privacy: str = "private"
    after: Seen | None = None
    """What it can have seen at most; set when the write was acknowledged."""
    scope: bytes = b""
    """Where the record lives; empty while the scope has not been made."""
    first: int = 1
    """The first place that the write can have in the log of its instance."""
    last: int = 0
    """The last place it can have; set when acknowledged."""
    repeats: bool = False
    """Its value is that of an earlier write, which somebody chose."""
    is_vague: bool = False
    """A decision: it may have brought back or taken away whatever its device can have had."""
    forked: bool = False
    """It was written under an instance that forked or was lost: its place says nothing."""
    asked: int = 0
    """When it was asked for, in the order of all that the witness was told."""
    told: int = 0
    """When it was acknowledged, in the same order."""
    excused: bool = False
    """An old image was put back since: it may be on no disk any more."""

    @property
    def acknowledged(self) -> bool:
        return self.after is not None

    def surely_before(self, later: "Write") -> bool:
        """Whether the later write's device had this one when the later was asked for."""
        if self is later or not self.acknowledged:
            return False
        if self.device == later.device and 0 < self.told < later.asked and not self.excused:
            return True  # One after the other on one disk, under whatever instance.
        if self.forked or not self.last:
            return False
        return later.before.get((self.scope, self.instance), 0) >= self.last

    def maybe_before(self, later: "Write") -> bool:
        """Whether the later write's device can have had this one."""
        if self is later:
            return False
        if later.after is None or self.forked or not self.scope:
            return True
        return later.after.get((self.scope, self.instance), 0) >= self.first


class Witness:
    """All writes of a run."""

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.by_record: dict[RecordName, list[Write]] = {}
        self.held: dict[tuple[str, bytes, bytes], tuple[int, bytes]] = {}
        """(device, scope, instance) -> the durable head of the device's own log at the last
        acknowledgement: seq and entry id."""
        self._moments = 0
        self.refused = 0
        """Writes that failed with an error that was told."""

    def tries(
        self,
        device: str,
        engine: Engine,
        record: RecordName,
        fields: dict[str, str],
        *,
        removes_all: bool = False,
        is_delete: bool = False,
        privacy: str = "private",
        repeats: bool = False,
        is_vague: bool = False,
    ) -> Write:
        """A write is about to be asked for."""
        write = Write(
            len(self.writes), device, record, fields, removes_all, is_delete,
            surely_seen(engine), engine.instance, privacy,
        )  # fmt: skip
        write.repeats, write.is_vague = repeats, is_vague
        log = _own_log(engine, write)
        if log is not None:
            write.scope, write.first = log.scope.tag, log.tail_seq + 1
        self._moments += 1
        write.asked = self._moments
        self.writes.append(write)
        self.by_record.setdefault(record, []).append(write)
        return write

    def acknowledges(self, write: Write, engine: Engine) -> None:
        """The caller was told that the write is durable."""
        self._moments += 1
        write.told = self._moments
        write.after = maybe_seen(engine)
        if engine.instance != write.instance:
            write.forked = True  # The store went over to another instance meanwhile.
            return
        log = _own_log(engine, write)
        if log is not None:
            write.scope, write.last = log.scope.tag, log.tail_seq
            key = (write.device, log.scope.tag, log.instance)
            if log.head_seq:
                self.held[key] = (log.head_seq, log.head_id)

    def withdraws(self, write: Write) -> None:
        """The caller was told that there was nothing to write to, and rightly so."""
        self.by_record[write.record].remove(write)
        if not self.by_record[write.record]:
            del self.by_record[write.record]

    def conflicts(self) -> int:
        """Fields that two devices wrote without either having the other's write."""
        found = 0
        for writes in self.by_record.values():
            done = [write for write in writes if write.acknowledged]
            for at, one in enumerate(done):
                for other in done[at + 1 :]:
                    apart = one.device != other.device and not (
                        one.maybe_before(other) or other.maybe_before(one)
                    )
                    if apart:
                        found += len(one.fields.keys() & other.fields.keys())
        return found

    def forget_places(
        self, device: str, instance: bytes | None = None, *, lost: bool = False
    ) -> None:
        """What this device wrote (under an instance) may lie on a branch of its log.

        `lost`: some of it may have been on its disk only, and that is gone.
        """
        for write in self.writes:
            if write.device == device and instance in (None, write.instance):
                write.forked = True
                write.excused = write.excused or lost
        for key in list(self.held):
            if key[0] == device and instance in (None, key[2]):
                del self.held[key]


def _own_log(engine: Engine, write: Write) -> Log | None:
    """The log that this store's instance has where the record lives."""
    scope = engine.ledger.scope_named(write.record[0], PRIVACY_NAMES.index(write.privacy))
    return None if scope is None else engine.ledger.log(scope.tag, engine.instance)


def surely_seen(engine: Engine) -> Seen:
    """What a device has applied of each log, without a gap."""
    seen: Seen = {}
    for log in engine.ledger.logs():
        first_missing = min(log.unapplied, default=log.head_seq + 1)
        seen[log.scope.tag, log.instance] = min(log.head_seq, first_missing - 1)
    return seen


def maybe_seen(engine: Engine) -> Seen:
    """The most that a device can have applied of each log."""
    return {(log.scope.tag, log.instance): log.tail_seq for log in engine.ledger.logs()}
