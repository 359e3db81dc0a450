"""Wild changes: every change to one record that the gate might let in, by members who mean no good.

The changes are spelled perfectly and mean nonsense: predecessors of other fields, edits of deleted
elements, objects over objects, conflicts that nobody made. Only those that pass the gate are kept.
Everything comes from the generator that is handed in; no order depends on a hash.

Spec: docs/protocol.md, section 3, "The gate".
"""

from dataclasses import dataclass, field
from random import Random
from typing import Any

from ...sync.change import (
    DELETE,
    MAKE_LIST,
    MAKE_MAP,
    MAKE_TEXT,
    PUT,
    Change,
    Operations,
    OpId,
)
from ...sync.chunk import decode_tail
from ...sync.column_writing import encode_tail
from ...sync.errors import GateError
from ...sync.history import History

MAKES = (MAKE_MAP, MAKE_LIST, MAKE_TEXT)
SCALARS = (None, True, 1, -7, 1.5, "x", "yy", b"z")


@dataclass(frozen=True, slots=True)
class Op:
    """One operation, as far as a later one may refer to it."""

    id: OpId
    action: int
    target: OpId | None
    key: str | OpId | None
    insert: bool


@dataclass(frozen=True, slots=True)
class Written:
    """One change that passed the gate. `known` are the hashes of its past, in order of writing."""

    actor: bytes
    tail: bytes
    change: Change
    ops: tuple[Op, ...]
    known: tuple[bytes, ...]


@dataclass
class WildChanges:
    """The changes of some actors to one record. `written` is in an order in which they may come."""

    random: Random
    actors: tuple[bytes, ...]
    history: History = field(default_factory=History)
    by_hash: dict[bytes, Written] = field(default_factory=dict)

    @property
    def written(self) -> tuple[Written, ...]:
        return tuple(self.by_hash.values())

    def write(self) -> None:
        """One change of a random actor who knows a random part of the record."""
        actor = self.random.choice(self.actors)
        known = self._some_past(actor)
        inner = {rests_on for each in known.values() for rests_on in each.known}
        heads = sorted(found for found in known if found not in inner)
        start_op = 1 + max((known[head].change.max_op for head in heads), default=0)
        seq = 1 + sum(each.actor == actor for each in known.values())
        own, rows = self._operations([op for e in known.values() for op in e.ops], start_op, actor)
        tail = encode_tail(rows, actor, deps=heads, seq=seq, start_op=start_op)
        try:
            change = decode_tail(tail, actor)
            verdict = self.history.judge(change)
        except GateError:
            return
        self.history.add(change, verdict)
        self.by_hash[change.hash] = Written(actor, tail, change, tuple(own), tuple(known))

    def past(self, written: Written) -> tuple[tuple[bytes, int], ...]:
        """What a change set says of its past, if each actor's log holds these changes alone."""
        seqs: dict[bytes, int] = {}
        for found in written.known:
            change = self.by_hash[found].change
            seqs[change.actor] = max(change.seq, seqs.get(change.actor, 0))
        return tuple(sorted(seqs.items()))

    def _some_past(self, actor: bytes) -> dict[bytes, Written]:
        """All that an actor wrote itself and half of the rest, with all that it rests on."""
        wanted: dict[bytes, None] = {}
        for found, each in self.by_hash.items():
            if self.random.random() < 0.5 or each.actor == actor:
                wanted.update(dict.fromkeys((*each.known, found)))
        return {found: each for found, each in self.by_hash.items() if found in wanted}

    def _operations(
        self, past: list[Op], start_op: int, actor: bytes
    ) -> tuple[list[Op], Operations]:
        own: list[Op] = []
        rows = Operations([], [], [], [], [], [])
        for counter in range(start_op, start_op + self.random.randint(1, 6)):
            op, predecessors = self._operation(past + own, (counter, actor))
            own.append(op)
            rows.objects.append(op.target)
            rows.keys.append(op.key)
            rows.inserts.append(op.insert)
            rows.actions.append(op.action)
            rows.scalars.append(self._scalar(op, past + own))
            rows.predecessors.append(tuple(sorted({found.id for found in predecessors})))
        return own, rows

    def _scalar(self, op: Op, pool: list[Op]) -> Any:
        if op.action != PUT:
            return None
        in_text = any(o.id == op.target and o.action == MAKE_TEXT for o in pool)
        return self.random.choice("pqé") if in_text else self.random.choice(SCALARS)

    def _operation(self, pool: list[Op], own: OpId) -> tuple[Op, list[Op]]:
        target, kind = self._target(pool)
        inside = [op for op in pool if op.target == target]
        key, insert = self._key(pool, inside, kind)
        there = [
            op
            for op in inside
            if op.action != DELETE and key in ((op.id,) if op.insert else (op.key,))
        ]
        action = self._action(kind, insert, there)
        return Op(own, action, target, key, insert), self._predecessors(pool, there, action, insert)

    def _target(self, pool: list[Op]) -> tuple[OpId | None, int]:
        """The object that is written to, and what it seems to be."""
        made = self.random.choice([None, None, *(op for op in pool if op.action in MAKES)])
        kind = MAKE_MAP if made is None else made.action
        if pool and self.random.random() < 0.03:
            return self.random.choice(pool).id, kind  # Whatever that is.
        return (None if made is None else made.id), kind

    def _key(self, pool: list[Op], inside: list[Op], kind: int) -> tuple[str | OpId | None, bool]:
        """Where in the object, and whether that is a new place in a list."""
        elements = [op for op in inside if op.insert]
        if (kind == MAKE_MAP) != (self.random.random() < 0.03):
            return self.random.choice("abc"), False
        if not elements or self.random.random() < 0.6:
            return self.random.choice([None, *(op.id for op in elements)]), True
        return self.random.choice(pool if self.random.random() < 0.05 else elements).id, False

    def _action(self, kind: int, insert: bool, there: list[Op]) -> int:
        action = self.random.choice((MAKE_MAP, PUT, PUT, PUT, MAKE_LIST, MAKE_TEXT))
        if kind == MAKE_TEXT:
            return PUT if insert else DELETE
        return DELETE if there and not insert and self.random.random() < 0.3 else action

    def _predecessors(self, pool: list[Op], there: list[Op], action: int, insert: bool) -> list[Op]:
        if insert:
            return []
        found = self.random.sample(there, self.random.randint(0, len(there)))
        if action == DELETE and not found:
            found = there
        if pool and self.random.random() < 0.1:
            return [*found, self.random.choice(pool)]
        return found
