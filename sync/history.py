"""The past of one record, as far as a new change may refer to it: the second half of the gate.

chunk.py judges a change in itself; `History.judge` judges it against the changes of the record
that we hold. Everything is decided by the change's own causal past (its dependencies and their
dependencies), never by what else has arrived: so every device comes to the same verdict,
whatever the order of arrival, and a refused change is refused everywhere.

Promises: after `judge`, each object, list element and predecessor that the change names exists
in its past and is of the right kind, and the numbers of the change are the only possible ones.
What the library does with a reference that leads nowhere ranges from ignoring it to writing a
document that it cannot load again, so none gets there.

A History grows with the number of changes and of runs of inserted elements, not with the text.
It is mutable and has one owner (the document in crdt.py). Spec: docs/protocol.md, section 3.
"""

from bisect import bisect_right
from typing import NamedTuple

from .change import DELETE, MAKE_LIST, MAKE_MAP, MAKE_TEXT, PUT, Change, Operations, OpId
from .errors import GateError, GateRefusal
from .limits import RECORD_DEPTH_MAX
from .outline import Outline

_ROOT = (MAKE_MAP, 0)
_Span = tuple[int, int]  # first and last counter


class Verdict(NamedTuple):
    """What `History.add` needs to know of a change that was judged good."""

    clock: dict[bytes, int]  # actor to sequence number, of the past and the change itself
    objects: dict[OpId, tuple[int, int]]  # made by the change: kind and depth
    elements: dict[OpId, list[int]]  # inserted by the change: counters, by list


class History:
    """The changes of one record, indexed for `judge`."""

    __slots__ = ("_changes", "_elements", "_objects", "_spans")

    def __init__(self) -> None:
        self._changes: dict[bytes, tuple[int, dict[bytes, int]]] = {}  # hash: max_op, clock
        self._spans: dict[bytes, list[_Span]] = {}  # actor: operations of each change
        self._objects: dict[OpId, tuple[int, int]] = {}
        self._elements: dict[OpId, dict[bytes, list[_Span]]] = {}

    def __contains__(self, change_hash: bytes) -> bool:
        return change_hash in self._changes

    def __len__(self) -> int:
        return len(self._changes)

    def judge(self, change: Change) -> Verdict:
        """Whether `change`, which is not in the history yet, may follow. Changes nothing.

        Raises: GateError with UNKNOWN_DEPENDENCY, SEQUENCE, START, REFERENCE, KIND or DEPTH.
        """
        clock, largest = self._past_of(change.deps)
        before = change.seq - 1
        if clock.get(change.actor, 0) != before or len(self._of(change.actor)) != before:
            raise GateError(GateRefusal.SEQUENCE)
        if change.start_op != largest + 1:
            raise GateError(GateRefusal.START)
        verdict = Verdict(clock, {}, {})
        if change.operations is not None:
            _Judge(self, change, verdict).run(change.operations)
        clock[change.actor] = change.seq
        return verdict

    def add(self, change: Change, verdict: Verdict) -> None:
        """Let a judged change in."""
        self._changes[change.hash] = (change.max_op, verdict.clock)
        self._spans.setdefault(change.actor, []).append((change.start_op, change.max_op))
        self._objects.update(verdict.objects)
        for target, counters in verdict.elements.items():
            for counter in counters:
                self._insert(target, change.actor, counter)

    def restore(self, change: Outline) -> None:
        """Let a change of our own store in, which was judged when it came.

        Raises: GateError(UNKNOWN_DEPENDENCY) if the store lacks what it rests on.
        """
        clock, _ = self._past_of(change.deps)
        clock[change.actor] = change.seq
        self._changes[change.hash] = (change.max_op, clock)
        self._spans.setdefault(change.actor, []).append((change.start_op, change.max_op))
        for made, kind, target in change.made:
            depth = 0 if target is None else self._objects[target][1]
            self._objects[made] = (kind, depth + 1)
        for target, counter in change.inserted:
            self._insert(target, change.actor, counter)

    def happened(self, op: OpId, clock: dict[bytes, int]) -> bool:
        """Whether an operation is in the past that `clock` stands for."""
        counter, actor = op
        spans = self._of(actor)
        at = _span_before(spans, counter)
        return 0 <= at < clock.get(actor, 0) and counter <= spans[at][1]

    def object(self, target: OpId) -> tuple[int, int] | None:
        """Kind and depth of an object."""
        return self._objects.get(target)

    def has_element(self, target: OpId, element: OpId) -> bool:
        """Whether a list or text holds an element, deleted or not."""
        counter, actor = element
        spans = self._elements.get(target, {}).get(actor, [])
        at = _span_before(spans, counter)
        return at >= 0 and counter <= spans[at][1]

    def _past_of(self, deps: tuple[bytes, ...]) -> tuple[dict[bytes, int], int]:
        """The clock of all that `deps` stand for, as a copy, and the largest operation of it."""
        clock: dict[bytes, int] = {}
        largest = 0
        for dep in deps:
            if dep not in self._changes:
                raise GateError(GateRefusal.UNKNOWN_DEPENDENCY)
            max_op, seqs = self._changes[dep]
            largest = max(largest, max_op)
            if not clock:
                clock = seqs.copy()
            else:
                for actor, seq in seqs.items():
                    if seq > clock.get(actor, 0):
                        clock[actor] = seq
        return clock, largest

    def _insert(self, target: OpId, actor: bytes, counter: int) -> None:
        spans = self._elements.setdefault(target, {}).setdefault(actor, [])
        if spans and spans[-1][1] == counter - 1:
            spans[-1] = (spans[-1][0], counter)
        else:
            spans.append((counter, counter))

    def _of(self, actor: bytes) -> list[_Span]:
        return self._spans.get(actor, [])


def _span_before(spans: list[_Span], counter: int) -> int:
    """The index of the last span that starts at or before `counter`; -1 if there is none."""
    return bisect_right(spans, (counter, 2**64)) - 1


class _Judge:
    """Judges the operations of one change; collects what it makes and inserts in `verdict`."""

    __slots__ = ("actor", "history", "start", "verdict")

    def __init__(self, history: History, change: Change, verdict: Verdict) -> None:
        self.history = history
        self.actor = change.actor
        self.start = change.start_op
        self.verdict = verdict

    def run(self, operations: Operations) -> None:
        objects, elements = self.verdict.objects, self.verdict.elements
        last: OpId | None = None
        kind, depth = _ROOT
        for row, target in enumerate(operations.objects):
            if target != last:
                kind, depth = _ROOT if target is None else self._object(target)
                last = target
            key = operations.keys[row]
            action = operations.actions[row]
            if (type(key) is str) != (kind == MAKE_MAP):
                raise GateError(GateRefusal.KIND)
            if type(key) is tuple:
                assert target is not None
                self._element(target, key)
            inserts = operations.inserts[row]
            if kind == MAKE_TEXT and not _is_text_edit(action, inserts, operations.scalars[row]):
                raise GateError(GateRefusal.KIND)
            if action in (MAKE_MAP, MAKE_LIST, MAKE_TEXT):
                if depth >= RECORD_DEPTH_MAX:
                    raise GateError(GateRefusal.DEPTH)
                objects[self.start + row, self.actor] = (action, depth + 1)
            if inserts:
                assert target is not None
                elements.setdefault(target, []).append(self.start + row)
            if operations.predecessors[row]:
                self._predecessors(operations, row)

    def _object(self, target: OpId) -> tuple[int, int]:
        own = self.verdict.objects.get(target)
        if own is not None:
            return own
        if not self.history.happened(target, self.verdict.clock):
            raise GateError(GateRefusal.REFERENCE)
        known = self.history.object(target)
        if known is None:
            raise GateError(GateRefusal.KIND)
        return known

    def _element(self, target: OpId, element: OpId) -> None:
        counter, actor = element
        if actor == self.actor and counter >= self.start:
            # Rows of one change are numbered upwards, so the list is sorted.
            own = self.verdict.elements.get(target, [])
            at = bisect_right(own, counter) - 1
            if at < 0 or own[at] != counter:
                raise GateError(GateRefusal.REFERENCE)
        elif not self.history.happened(element, self.verdict.clock):
            raise GateError(GateRefusal.REFERENCE)
        elif not self.history.has_element(target, element):
            raise GateError(GateRefusal.KIND)

    def _predecessors(self, operations: Operations, row: int) -> None:
        for op in operations.predecessors[row]:
            counter, actor = op
            if actor != self.actor or counter < self.start:
                if not self.history.happened(op, self.verdict.clock):
                    raise GateError(GateRefusal.REFERENCE)
                continue
            earlier = counter - self.start
            same_place = operations.objects[earlier] == operations.objects[row] and (
                operations.keys[row]
                == (op if operations.inserts[earlier] else operations.keys[earlier])
            )
            if not same_place or operations.actions[earlier] == DELETE:
                raise GateError(GateRefusal.KIND)


def _is_text_edit(action: int, inserts: bool, scalar: object) -> bool:
    """Texts know two operations: insert one character, and delete one."""
    if inserts:
        return action == PUT and type(scalar) is str and len(scalar) == 1
    return action == DELETE
