"""Registers: what a record's changes say together, place by place, and where they contradict.

A *register* is a place that holds one value: a name of a map, or an element of a list. A write
takes the place of all writes that its author had seen there, so what is left of several writes is
what nobody who wrote later had seen: concurrent writes. Where more than one is left, and they
differ, there is a *contest*. This is causality alone; no clock decides whether there is one.

Lists and texts merge by themselves: concurrent inserts stand side by side, and a delete takes
away what was seen. Different names of one map merge as well, and so do the parts of counters.

The outcome depends on the set of changes alone, never on their order of arrival. What is chosen
in a contest is the caller's (`Choose`), and what was not chosen stays in its register until
somebody writes there who saw it.

Spec: docs/protocol.md, section 13; the Automerge binary format for ids and the order of lists.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from .change import DELETE, MAKE_LIST, MAKE_MAP, MAKE_TEXT, PUT, Change, OpId
from .editing import Path
from .values import Text, same

Place = tuple[str | OpId, ...]
"""From the root: names of maps, and ids of list elements."""

_Register = tuple[OpId | None, str | OpId]
"""The object and the name or element in it."""


class Write(NamedTuple):
    """One write that nothing has taken the place of."""

    op: OpId
    """Its id; the actor is the instance that wrote it."""
    seq: int
    """The sequence number of its change, among those of its actor."""
    value: Any
    """Plain; what is inside an object is as the choices there make it."""


class Contest(NamedTuple):
    """Writes of one place that did not know of one another, in the order of their ids."""

    place: Place
    writes: tuple[Write, ...]
    target: OpId | None
    """The object in which the place is; None for the record itself."""


Choose = Callable[[Contest], Any]
"""The plain value that counts in a contest. Depends on its argument alone."""


class _Op(NamedTuple):
    id: OpId
    seq: int
    action: int
    scalar: Any


class Registers:
    """The registers of one record after a set of changes."""

    def __init__(self, changes: Iterable[Change]) -> None:
        """`changes` that passed the gate, in any order; together with all they rest on."""
        self._written: dict[_Register, list[_Op]] = {}
        self._names: dict[OpId | None, dict[str, None]] = {}
        self._after: dict[tuple[OpId | None, OpId | None], list[OpId]] = {}
        """A list and an element of it (None: its beginning) to what was inserted right after."""
        self._gone: set[OpId] = set()
        self._ops: dict[OpId, _Op] = {}
        self._at: dict[OpId, _Register] = {}
        """An object to where it was put."""
        self._ends: list[tuple[_Register, tuple[OpId, ...], OpId, int]] = []
        """Register, the writes that one took the place of, its id and the seq of its change."""
        self.made: dict[bytes, Change] = {}
        """Every change by its hash, without its operations."""
        for change in changes:
            self.add(change)

    def read(self, choose: Choose) -> tuple[dict[str, Any], list[Contest]]:
        """The plain value of the record, and every contest in what is shown, outer ones first."""
        found: list[Contest] = []
        return self._map(None, (), choose, found), found

    def ended(self, choose: Choose) -> list[tuple[Contest, OpId, int]]:
        """Every contest that a write ended: with the id of that write and the seq of its change.

        In order of these ids. What was in an object is told as it is now.
        """
        ended = []
        for (target, key), ids, by, seq in sorted(self._ends, key=lambda end: end[2]):
            place = (*self._place(target), key)
            left = sorted(self._ops[id] for id in ids if id in self._ops)
            writes = tuple(Write(op.id, op.seq, self._read(op, place, choose, [])) for op in left)
            if len(writes) < 2 or _one_counter(writes) is not None:
                continue
            if not all(same(write.value, writes[0].value) for write in writes):
                ended.append((Contest(place, writes, target), by, seq))
        return ended

    def path(self, contest: Contest) -> Path | None:
        """Where that is, counted; None if an object on the way is gone, or itself in contest."""
        path: list[str | int] = []
        target, key = contest.target, contest.place[-1]
        while True:
            if isinstance(key, str):
                path.append(key)
            else:
                assert target is not None
                shown = [element for element, _ in self._shown(target)]
                if key not in shown:
                    return None
                path.append(shown.index(key))
            if target is None:
                return tuple(reversed(path))
            holder = target
            target, key = self._at[holder]
            if [op.id for op in self._left(target, key)] != [holder]:
                return None

    def add(self, change: Change) -> None:
        """Take up one change more."""
        self.made[change.hash] = change._replace(flat=None, operations=None, body=b"")
        if change.flat is not None:
            for row, (name, scalar) in enumerate(change.flat.items()):
                op = _Op((change.start_op + row, change.actor), change.seq, PUT, scalar)
                self._write(None, name, op)
            return
        rows = change.operations
        assert rows is not None
        for row, target in enumerate(rows.objects):
            action, key = rows.actions[row], rows.keys[row]
            op = _Op((change.start_op + row, change.actor), change.seq, action, rows.scalars[row])
            ended = rows.predecessors[row]
            self._gone.update(ended)
            if rows.inserts[row]:
                assert not isinstance(key, str)
                self._after.setdefault((target, key), []).append(op.id)
                self._write(target, op.id, op)
                continue
            assert key is not None
            if len(ended) > 1:
                self._ends.append(((target, key), ended, op.id, change.seq))
            if action != DELETE:
                self._write(target, key, op)

    def _write(self, target: OpId | None, key: str | OpId, op: _Op) -> None:
        self._written.setdefault((target, key), []).append(op)
        self._ops[op.id] = op
        if op.action != PUT:
            self._at[op.id] = (target, key)
        if type(key) is str:
            self._names.setdefault(target, {})[key] = None

    def _map(
        self, target: OpId | None, place: Place, choose: Choose, found: list[Contest]
    ) -> dict[str, Any]:
        value = {}
        for name in sorted(self._names.get(target, ())):
            left = self._left(target, name)
            if left:
                value[name] = self._chosen(target, left, (*place, name), choose, found)
        return value

    def _place(self, target: OpId | None) -> Place:
        place: list[str | OpId] = []
        while target is not None:
            target, key = self._at[target]
            place.append(key)
        return tuple(reversed(place))

    def _left(self, target: OpId | None, key: str | OpId) -> list[_Op]:
        ops = self._written.get((target, key), ())
        return sorted(op for op in ops if op.id not in self._gone)

    def _chosen(
        self,
        target: OpId | None,
        left: Sequence[_Op],
        place: Place,
        choose: Choose,
        found: list[Contest],
    ) -> Any:
        if len(left) == 1:
            return self._read(left[0], place, choose, found)
        inner: list[list[Contest]] = [[] for _ in left]
        writes = tuple(
            Write(op.id, op.seq, self._read(op, place, choose, inside))
            for op, inside in zip(left, inner, strict=True)
        )
        counter = _one_counter(writes)
        if counter is not None:
            return counter
        if all(same(write.value, writes[0].value) for write in writes):
            return writes[0].value
        contest = Contest(place, writes, target)
        found.append(contest)
        value = choose(contest)
        for write, inside in zip(writes, inner, strict=True):
            if write.value is value:
                found += inside
        return value

    def _read(self, op: _Op, place: Place, choose: Choose, found: list[Contest]) -> Any:
        if op.action == MAKE_MAP:
            return self._map(op.id, place, choose, found)
        if op.action == MAKE_TEXT:
            return Text("".join(self._elements(op.id, place, choose, found)))
        if op.action == MAKE_LIST:
            return self._elements(op.id, place, choose, found)
        return op.scalar

    def _elements(
        self, target: OpId, place: Place, choose: Choose, found: list[Contest]
    ) -> list[Any]:
        return [
            self._chosen(target, left, (*place, element), choose, found)
            for element, left in self._shown(target)
        ]

    def _shown(self, target: OpId) -> Iterator[tuple[OpId, list[_Op]]]:
        """The elements in order: what was inserted later at one place stands first there."""
        # Not by recursion: a text is one element after the other, thousands deep.
        waiting = sorted(self._after.get((target, None), ()))
        while waiting:
            element = waiting.pop()
            left = self._left(target, element)
            if left:
                yield element, left
            waiting += sorted(self._after.get((target, element), ()))


def _one_counter(writes: Sequence[Write]) -> dict[str, Any] | None:
    """Counters that were begun apart are one counter, with the parts of all."""
    parts: dict[str, int] = {}
    for write in writes:
        inner = write.value.get("$counter") if type(write.value) is dict else None
        if type(inner) is not dict or len(write.value) != 1:
            return None
        if any(type(part) is not int for part in inner.values()):
            return None
        for actor, part in inner.items():
            # A device adds to the one counter that it sees, beside what it put into another.
            parts[actor] = parts.get(actor, 0) + part
    return {"$counter": parts}


def by_id(contest: Contest) -> Any:
    """The choice of the CRDT library: the greatest id. For comparing with it."""
    return contest.writes[-1].value
