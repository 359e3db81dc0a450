"""Resolution: the value of a record that was written to apart, and the conflicts in it.

A *conflict* is a contest of registers.py with what is known of it: the rule that decided or leaves
it open, the candidates with device and time, and what became of it. It is *open* while it waits
for a person, *settled* if a rule decided, and *resolved* once somebody wrote there who had seen
the candidates. All of it is a function of the changes of the record and the rules, so every device
has the same value, the same inbox and the same history, in whatever order changes came.

To delete a record while another device edits it is a conflict of the record as a whole: the edit
survives, unless the rule for `$deleted` is `delete-wins`.

Spec: docs/protocol.md, section 13. Devices are 32 bytes; conflict ids 10.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from . import crdt
from .change import DELETED_KEY, Change, OpId
from .editing import Path, Rewrite
from .errors import BadValueError
from .record_state import RecordState
from .registers import Contest, Place
from .rules import (
    DELETE_WINS,
    DELETION_RULES,
    EDIT_WINS,
    LAST_WRITER_WINS,
    Candidate,
    Outcome,
    Rule,
    settle,
)
from .values import from_plain, to_plain

CONFLICT_LABEL = b"cvy-conflict-id1"
CONFLICT_ID_BYTES = 10

Stamp = Callable[[bytes, int], tuple[int, bytes]]
"""An instance and the seq of a change of it, to its time (HLC) and device."""
RuleOf = Callable[[str], str]
"""The name of the rule for a root field; for `$deleted` that of deletions."""


class Known(NamedTuple):
    """One candidate, as people see it."""

    value: Any
    """In the application's form; None for a deletion."""
    device: bytes
    hlc: int
    deletes: bool = False


class Conflict(NamedTuple):
    """One conflict of one record."""

    id: bytes
    field: str
    """The root field and what is in it, joined by dots; empty for the record as a whole."""
    rule: str
    state: str
    """`open`, `settled` or `resolved`."""
    candidates: tuple[Known, ...]
    """In order of time."""
    value: Any
    """What counts now, or what counted before it was resolved; in the application's form."""
    reembed: bool = False
    rule_is_known: bool = True
    """Whether it is open for another reason than that this device does not know its rule."""
    resolved_by: bytes = b""
    resolved_hlc: int = 0
    root: str = ""
    """The root field of `field`."""
    path: Path | None = None
    """Where that is, if there is one way to it."""


class Index(NamedTuple):
    """A candidate, by its place in the order of time."""

    at: int


class Resolution(NamedTuple):
    """What a record is, and what is or was in dispute about it."""

    value: dict[str, Any] | None
    conflicts: tuple[Conflict, ...]


class Resolver(NamedTuple):
    """What is known beside the changes of a record."""

    name: bytes
    """Database, collection and id, in any one spelling: part of the ids of conflicts."""
    stamp: Stamp
    rule_of: RuleOf
    own_rules: Mapping[str, Rule] = {}


def resolve(state: RecordState, resolver: Resolver) -> Resolution:
    """The value and the conflicts of a record whose state is `contested`.

    Raises: GateError(ENGINE) if its document cannot be opened.
    """
    registers = crdt.registers_of(state)
    origin = _origin(state, resolver)
    # By an operation: one place can be in two objects that were put there apart.
    settled: dict[OpId, _Settled] = {}

    def choose(contest: Contest) -> Any:
        found = settled[contest.writes[0].op] = _settle(contest, resolver, origin)
        return found.outcome.value

    plain, contests = registers.read(choose)
    conflicts = [
        _conflict(contest, resolver, settled[contest.writes[0].op], registers.path(contest))
        for contest in contests
        if contest.place != (DELETED_KEY,)
    ]
    if state.deleted:
        conflicts = _ended_by_deletion(conflicts, state, resolver)
    conflicts += _ended(state, resolver, origin)
    # The fields of a deleted record are there until it lives again.
    edited = crdt.shown(plain, plain)
    value: dict[str, Any] | None = edited
    deletion = _deletion(state, resolver, edited)
    if deletion is not None:
        conflicts.insert(0, deletion)
    if state.deleted or (deletion is not None and deletion.rule == DELETE_WINS):
        value = None
    conflicts += _ended_deletions(state, resolver, edited)
    return Resolution(value, tuple(conflicts))


def chosen(
    state: RecordState, resolver: Resolver, conflict_id: bytes, choice: Callable[[Conflict], Any]
) -> Rewrite | None:
    """What has to be written so that in a standing conflict another value counts.

    `choice` gives that value, in the application's form, or an index of the candidates as
    `Index`. None if there is no such conflict, or it is not of a field.

    Raises: BadValueError, if the value cannot be stored.
    """
    registers = crdt.registers_of(state)
    origin = _origin(state, resolver)
    found: list[Rewrite] = []
    root: list[str] = []

    def choose(contest: Contest) -> Any:
        settled = _settle(contest, resolver, origin)
        if _id(resolver, contest.place, [write.op for write in contest.writes]) != conflict_id:
            return settled.outcome.value
        conflict = _conflict(contest, resolver, settled)
        wanted = choice(conflict)
        if isinstance(wanted, Index):
            value = _stored(from_plain(settled.candidates[wanted.at].value))
        else:
            value = _given(contest.place, wanted)
        root[:] = [conflict.root]
        path = registers.path(contest)
        found[:] = [Rewrite(path, value)] if path is not None else []
        return value

    plain, _ = registers.read(choose)
    if found or not root:
        return found[0] if found else None
    return Rewrite((root[0],), _stored(from_plain(plain[root[0]])))


def restored(state: RecordState, resolver: Resolver, conflict_id: bytes) -> Rewrite | None:
    """What has to be written so that what counted before a conflict was resolved counts again.

    None if it is not of a field, or what it was in is not there any more.
    """
    registers = crdt.registers_of(state)
    origin = _origin(state, resolver)
    for contest, _, _ in registers.ended(lambda c: _settle(c, resolver, origin).outcome.value):
        if _id(resolver, contest.place, [write.op for write in contest.writes]) == conflict_id:
            path = registers.path(contest)
            value = _settle(contest, resolver, origin).outcome.value
            return None if path is None else Rewrite(path, _stored(from_plain(value)))
    return None


def settling(resolution: Resolution, value: Mapping[str, Any]) -> list[str | Rewrite]:
    """What a put of `value` has to write even if it seems equal: to write what is in
    dispute settles it. In the application's form. Raises BadValueError."""
    shown = resolution.value or {}
    places: list[str | Rewrite] = []
    for conflict in resolution.conflicts:
        root, path = conflict.root, conflict.path
        if conflict.state == "resolved" or root not in value:
            continue
        plain = to_plain({root: value[root]})
        try:
            before = to_plain({root: shown[root]} if root in shown else {})
        except BadValueError:  # Written by another program: no record of ours may hold it.
            before = {}
        if path is None or not _parallel(path, before, plain):
            places.append(root)
        else:
            places.append(Rewrite(path, _at(plain, path)))
    # What is written as a whole needs nothing inside of it.
    return [p for p in places if isinstance(p, str) or p.path[0] not in places]


def _stored(value: Any) -> Any:
    return to_plain({"value": value})["value"]


def _given(place: Place, value: Any) -> Any:
    """A value from outside. Inside of a vector or blob it is asked for as the whole of it."""
    name, plain = place[-1], _stored(value)
    if isinstance(name, str) and name[:1] == "$":
        if type(plain) is not dict or list(plain) != [name]:
            raise BadValueError(
                f"what is in dispute is a {name[1:]}: give another one, or put the field"
            )
        return plain[name]
    return plain


def _at(plain: Any, path: Path) -> Any:
    for step in path:
        plain = plain[step]
    return plain


def _parallel(path: Path, before: Any, after: Any) -> bool:
    """Whether a path leads to one place in both values."""
    for step in path:
        if type(before) is not type(after):
            return False
        if isinstance(step, int):
            if type(after) is not list or len(before) != len(after) or step >= len(after):
                return False
        elif type(after) is not dict or step not in before or step not in after:
            return False
        before, after = before[step], after[step]
    return True


def _origin(state: RecordState, resolver: Resolver) -> bytes:
    """The device on which the record was born: that of the earliest first change."""
    firsts = [resolver.stamp(actor, 1) for actor in state.actors]
    return min(firsts)[1]


class _Settled(NamedTuple):
    """A contest after its rule was asked."""

    rule: str
    candidates: list[Candidate]
    """In order of time."""
    outcome: Outcome


def _settle(contest: Contest, resolver: Resolver, origin: bytes) -> _Settled:
    rule = resolver.rule_of(str(contest.place[0]))
    candidates = [
        Candidate(*resolver.stamp(write.op[1], write.seq), write.op, write.value)
        for write in contest.writes
    ]
    candidates.sort(key=lambda one: one[:3])
    return _Settled(rule, candidates, settle(rule, candidates, origin, resolver.own_rules))


def _conflict(
    contest: Contest, resolver: Resolver, settled: _Settled, path: Path | None = None
) -> Conflict:
    rule, ordered, outcome = settled
    return Conflict(
        _id(resolver, contest.place, [write.op for write in contest.writes]),
        field_text(contest.place),
        rule,
        "open" if outcome.is_open else "settled",
        tuple(Known(_read(contest.place, one.value), one.device, one.hlc) for one in ordered),
        _read(contest.place, outcome.value),
        outcome.reembed,
        outcome.is_known,
        root=str(contest.place[0]),
        path=path,
    )


def _ended(state: RecordState, resolver: Resolver, origin: bytes) -> list[Conflict]:
    """Conflicts that somebody resolved by a write that saw the candidates.

    Where two did so at once, the earlier of the two is told; what both wrote is a conflict again.
    """
    found: dict[bytes, Conflict] = {}
    registers = crdt.registers_of(state)
    for contest, by, seq in registers.ended(lambda c: _settle(c, resolver, origin).outcome.value):
        if contest.place == (DELETED_KEY,):
            continue
        hlc, device = resolver.stamp(by[1], seq)
        conflict = _conflict(contest, resolver, _settle(contest, resolver, origin))
        known = found.get(conflict.id)
        if known is None or (hlc, device) < (known.resolved_hlc, known.resolved_by):
            found[conflict.id] = conflict._replace(
                state="resolved", resolved_by=device, resolved_hlc=hlc
            )
    return list(found.values())


def _ended_by_deletion(
    conflicts: Sequence[Conflict], state: RecordState, resolver: Resolver
) -> list[Conflict]:
    """Of a deleted record nothing is in dispute any more; of two deletions the earlier is told."""
    made = crdt.registers_of(state).made
    heads = [made[head.hash] for head in state.heads]
    hlc, device = min(resolver.stamp(head.actor, head.seq) for head in heads)
    return [
        conflict._replace(state="resolved", resolved_by=device, resolved_hlc=hlc)
        for conflict in conflicts
    ]


def _deletion(state: RecordState, resolver: Resolver, value: dict[str, Any]) -> Conflict | None:
    """The record was deleted by one device and edited by another that did not know."""
    made = crdt.registers_of(state).made
    heads = [made[head.hash] for head in state.heads]
    if len({head.deletes_record for head in heads}) < 2:
        return None
    return _of_deletion(heads, resolver, value)


def _ended_deletions(
    state: RecordState, resolver: Resolver, value: dict[str, Any]
) -> list[Conflict]:
    """Such conflicts that a change ended which saw both. Of what was edited the value is told as
    it is now."""
    found: dict[bytes, Conflict] = {}
    made = crdt.registers_of(state).made
    if not any(change.deletes_record for change in made.values()):
        return []
    for change in made.values():
        deps = _latest([made[dep] for dep in change.deps], made)
        if len({dep.deletes_record for dep in deps}) < 2:
            continue
        hlc, device = resolver.stamp(change.actor, change.seq)
        ended = _of_deletion(deps, resolver, value)
        known = found.get(ended.id)
        if known is None or (hlc, device) < (known.resolved_hlc, known.resolved_by):
            found[ended.id] = ended._replace(state="resolved", resolved_by=device, resolved_hlc=hlc)
    return [found[id] for id in sorted(found)]


def _latest(changes: Sequence[Change], made: Mapping[bytes, Change]) -> list[Change]:
    """Those that are in the past of no other: a change names its author's last one in any case."""
    if len(changes) < 2:
        return list(changes)
    past: set[bytes] = set()
    waiting = [dep for change in changes for dep in change.deps]
    least = min(change.max_op for change in changes)
    while waiting:
        hash = waiting.pop()
        # Operations are numbered upwards, so what lies below the least of them is not looked for.
        if hash not in past and made[hash].max_op >= least:
            past.add(hash)
            waiting += made[hash].deps
    return [change for change in changes if change.hash not in past]


def _of_deletion(changes: Sequence[Change], resolver: Resolver, value: dict[str, Any]) -> Conflict:
    rule = resolver.rule_of(DELETED_KEY)
    if rule == LAST_WRITER_WINS:  # Of a deletion that would be to lose what was just written.
        rule = EDIT_WINS
    known = []
    for change in changes:
        hlc, device = resolver.stamp(change.actor, change.seq)
        deletes = change.deletes_record
        known.append(Known(None if deletes else value, device, hlc, deletes))
    known.sort(key=lambda one: (one.hlc, one.device, one.deletes))
    return Conflict(
        _id(resolver, (DELETED_KEY,), [(change.max_op, change.hash) for change in changes]),
        "",
        rule,
        "settled" if rule in (DELETE_WINS, EDIT_WINS) else "open",
        tuple(known),
        None if rule == DELETE_WINS else value,
        rule_is_known=rule in DELETION_RULES,
    )


def _id(resolver: Resolver, place: Place, ops: Sequence[OpId]) -> bytes:
    """The same on every device, and another one as soon as another write joins."""
    digest = blake2b(digest_size=CONFLICT_ID_BYTES, person=CONFLICT_LABEL)
    digest.update(len(resolver.name).to_bytes(4, "big") + resolver.name)
    text = field_text(place).encode()
    digest.update(len(text).to_bytes(4, "big") + text)
    for counter, actor in sorted(ops):
        digest.update(counter.to_bytes(8, "big") + actor)
    return digest.digest()


def _read(place: Place, value: Any) -> Any:
    """The application's form. What is inside of a vector or blob is told as the whole of it."""
    name = place[-1]
    return from_plain({name: value} if isinstance(name, str) and name[:1] == "$" else value)


def field_text(place: Place) -> str:
    """A place as people read it: names joined by dots, `[]` for an element of a list."""
    text = ""
    for step in place:
        if isinstance(step, str):
            # What is inside of a vector or counter is that field itself.
            text += "" if text and step[:1] == "$" else f".{step}" if text else step
        else:
            text += "[]"
    return text
