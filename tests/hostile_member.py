"""A member who writes every change that the gate might let in, and many that it must not.

Its changes are spelled perfectly and mean nonsense: predecessors of other fields, edits of
deleted elements, objects over objects, conflicts that nobody made. Everything comes from a seed.
"""

from dataclasses import dataclass, field
from random import Random
from typing import Any

from covey.sync.change import (
    DELETE,
    MAKE_LIST,
    MAKE_MAP,
    MAKE_TEXT,
    PUT,
    Change,
    Operations,
    OpId,
)
from covey.sync.chunk import decode_tail
from covey.sync.column_writing import encode_tail
from covey.sync.errors import GateError
from covey.sync.history import History

from .record_worlds import ACTORS

MAKES = (MAKE_MAP, MAKE_LIST, MAKE_TEXT)
SCALARS = (None, True, 1, -7, 1.5, "x", "yy", b"z")


@dataclass(frozen=True)
class Op:
    """One operation, as far as a later one may refer to it."""

    id: OpId
    action: int
    target: OpId | None
    key: str | OpId | None
    insert: bool


@dataclass
class Hostile:
    """Changes to one record that passed the gate, each with its operations and its past."""

    random: Random
    history: History = field(default_factory=History)
    changes: dict[bytes, Change] = field(default_factory=dict)
    ops: dict[bytes, list[Op]] = field(default_factory=dict)
    pasts: dict[bytes, set[bytes]] = field(default_factory=dict)

    def write(self) -> None:
        """One change of a random member who knows a random part of the record."""
        actor = self.random.choice(ACTORS[:3])
        known: set[bytes] = set()
        for found, change in self.changes.items():
            if self.random.random() < 0.5 or change.actor == actor:
                known |= self.pasts[found] | {found}
        heads = sorted(found for found in known if not any(found in self.pasts[k] for k in known))
        start_op = 1 + max((self.changes[head].max_op for head in heads), default=0)
        seq = 1 + sum(self.changes[found].actor == actor for found in known)
        own, rows = self._operations([op for k in known for op in self.ops[k]], start_op, actor)
        tail = encode_tail(rows, actor, deps=heads, seq=seq, start_op=start_op)
        try:
            change = decode_tail(tail, actor)
            verdict = self.history.judge(change)
        except GateError:
            return
        self.history.add(change, verdict)
        self.changes[change.hash] = change
        self.ops[change.hash] = own
        self.pasts[change.hash] = known

    def shuffled(self) -> list[Change]:
        """The changes in a random order in which each follows what it rests on."""
        left = list(self.changes)
        self.random.shuffle(left)
        done: set[bytes] = set()
        order = []
        while left:
            # The very first must be one without a past: a record begins with it.
            found = next(k for k in left if self.pasts[k] <= done)
            left.remove(found)
            done.add(found)
            order.append(self.changes[found])
        return order

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
        choose, chance = self.random.choice, self.random.random
        made = choose([None, None, *(op for op in pool if op.action in MAKES)])
        target = None if made is None else made.id
        kind = MAKE_MAP if made is None else made.action
        if pool and chance() < 0.03:
            target = choose(pool).id  # whatever that is
        inside = [op for op in pool if op.target == target]
        elements = [op for op in inside if op.insert]
        key: str | OpId | None
        if (kind == MAKE_MAP) != (chance() < 0.03):
            key, insert = choose("abc"), False
        elif not elements or chance() < 0.6:
            key, insert = choose([None, *(op.id for op in elements)]), True
        else:
            key, insert = choose(pool if chance() < 0.05 else elements).id, False
        there = [
            op
            for op in inside
            if op.action != DELETE and key in ((op.id,) if op.insert else (op.key,))
        ]
        action = choose((MAKE_MAP, PUT, PUT, PUT, MAKE_LIST, MAKE_TEXT))
        if kind == MAKE_TEXT:
            action = PUT if insert else DELETE
        elif there and not insert and chance() < 0.3:
            action = DELETE
        predecessors = (
            [] if insert else self.random.sample(there, self.random.randint(0, len(there)))
        )
        if action == DELETE and not predecessors:
            predecessors = there
        if not insert and pool and chance() < 0.1:
            predecessors = [*predecessors, choose(pool)]
        return Op(own, action, target, key, insert), predecessors
