"""Waiting: the entries of this store that are held and not applied yet, and what each waits for.

What becomes of a record must not depend on the order in which entries arrive, or devices that hold
the same would show different data. So an entry waits until everything it rests on has come, and it
is held back while an earlier entry of its log waits that touches one of its records, or that cannot
be read and so might.

Knows no store and no key: the applier (`applying.py`) does. A *place* is a log number and a seq.
"""

from bisect import insort
from collections.abc import Iterable, Iterator, Sequence

from .projection import Key

Place = tuple[int, int]
Missing = int | bytes | tuple[bytes, bytes, int] | frozenset[bytes]
"""A moment of monotonic time in milliseconds; a key id; scope, instance and seq of another entry;
or hashes of changes, one of which will do to look again."""


class _Line:
    """The waiting entries of one log."""

    __slots__ = ("by_record", "missing", "records", "unread")

    def __init__(self) -> None:
        self.missing: dict[int, Missing | None] = {}
        self.records: dict[int, Sequence[Key]] = {}
        self.by_record: dict[Key, list[int]] = {}
        self.unread: list[int] = []


class Waiting:
    """All places that wait, in order of arrival."""

    def __init__(self) -> None:
        self._lines: dict[int, _Line] = {}
        self._count = 0
        self._for_changes: dict[bytes, set[Place]] = {}

    def __len__(self) -> int:
        return self._count

    def by_log(self) -> Iterator[tuple[int, int]]:
        """The number of each log, and how many of its entries wait."""
        return ((log, len(line.missing)) for log, line in self._lines.items())

    def __contains__(self, place: Place) -> bool:
        line = self._lines.get(place[0])
        return line is not None and place[1] in line.missing

    def add(self, place: Place, records: Sequence[Key] | None) -> None:
        """Line up an entry that touches these records; None while it cannot be read."""
        log, seq = place
        line = self._lines.setdefault(log, _Line())
        follows = not line.missing or seq > next(reversed(line.missing))
        line.missing[seq] = None
        if not follows:
            line.missing = dict(sorted(line.missing.items()))
        self._count += 1
        if records is None:
            insort(line.unread, seq)
        else:
            self._enter(line, seq, records)

    def read(self, place: Place, records: Sequence[Key]) -> None:
        """Now it is known which records it touches."""
        line = self._lines[place[0]]
        if place[1] in line.unread:
            line.unread.remove(place[1])
            self._enter(line, place[1], records)

    def remove(self, place: Place) -> None:
        """It is applied or set aside. Removing what is not there changes nothing."""
        log, seq = place
        line = self._lines.get(log)
        if line is None or seq not in line.missing:
            return
        self._forget_changes(place, line.missing.pop(seq))
        self._count -= 1
        if seq in line.unread:
            line.unread.remove(seq)
        for record in line.records.pop(seq, ()):
            behind = line.by_record[record]
            behind.remove(seq)
            if not behind:
                del line.by_record[record]
        if not line.missing:
            del self._lines[log]

    def wait_for(self, place: Place, missing: Missing) -> None:
        """Note what a place waits for first."""
        line = self._lines[place[0]]
        self._forget_changes(place, line.missing[place[1]])
        line.missing[place[1]] = missing
        if isinstance(missing, frozenset):
            for change in sorted(missing):
                self._for_changes.setdefault(change, set()).add(place)

    def look_again(self, place: Place) -> None:
        """What it waited for has come; what else it needs is not known yet."""
        line = self._lines[place[0]]
        self._forget_changes(place, line.missing[place[1]])
        line.missing[place[1]] = None

    def came(self, changes: Iterable[bytes]) -> None:
        """Changes were applied: who waits for one of them may be looked at again."""
        if not self._for_changes:
            return
        for change in changes:
            for place in sorted(self._for_changes.get(change, ())):
                self.look_again(place)

    def places(self) -> list[tuple[Place, Missing | None]]:
        """Every place with what it waits for, log by log, each log in order."""
        return [
            ((log, seq), missing)
            for log, line in self._lines.items()
            for seq, missing in line.missing.items()
        ]

    def is_next(self, place: Place) -> bool:
        """Whether no earlier entry of its log stands before it."""
        log, seq = place
        line = self._lines[log]
        if line.unread and line.unread[0] < seq:
            return False
        return all(line.by_record[record][0] == seq for record in line.records.get(seq, ()))

    def stands_before(self, log: int, records: Iterable[Key]) -> bool:
        """Whether an entry that follows in this log and touches these records would overtake."""
        line = self._lines.get(log)
        if line is None:
            return False
        return bool(line.unread) or any(record in line.by_record for record in records)

    def _enter(self, line: _Line, seq: int, records: Sequence[Key]) -> None:
        line.records[seq] = tuple(dict.fromkeys(records))
        for record in line.records[seq]:
            insort(line.by_record.setdefault(record, []), seq)

    def _forget_changes(self, place: Place, missing: Missing | None) -> None:
        if isinstance(missing, frozenset):
            for change in sorted(missing):
                places = self._for_changes[change]
                places.discard(place)
                if not places:
                    del self._for_changes[change]
