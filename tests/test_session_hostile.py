"""One session against peers that keep no rule: whatever can be said, in any order, at any moment.

Every message is well formed and none has to be true. The store and the reader behind the session
are honest. After every step the promises of session.py must hold, and a closed session is silent.
"""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from covey.sync.digests import LogHead
from covey.sync.messages import (
    Ack,
    Batch,
    Digests,
    Greeting,
    Have,
    Reason,
    Root,
    VectorMessage,
    Want,
)
from covey.sync.session import Phase
from covey.sync.session_events import (
    BatchStored,
    DeclareProof,
    Effect,
    EntriesRead,
    PlanReleased,
    ReadEntries,
    SharedScopesChanged,
    StartTimer,
    StoreBatch,
    TimerFired,
)
from covey.sync.sharing import NOBODY, Sharing, Terms
from covey.sync.vectors import CONTROL_SCOPE

from .session_machine import (
    ALL,
    AUTHOR,
    DATABASE,
    LOGS,
    PEER,
    PUBLIC_SCOPE,
    SCOPE,
    SECRET,
    Machine,
    end,
    id_of,
    run_of,
    said,
)

terms = st.builds(
    Terms,
    st.sampled_from((None, NOBODY, AUTHOR, PEER)),
    st.sampled_from(((), (AUTHOR,), (PEER,))),
    st.integers(0, 2),
)
sharings = st.builds(
    lambda privacies, said: Sharing(privacies, ((DATABASE, said),) if said else ()),
    st.frozensets(st.sampled_from((0, 1, 2, 3))),
    st.none() | terms,
)
scopes = st.sampled_from((SCOPE, PUBLIC_SCOPE, SECRET, CONTROL_SCOPE, b"?" * 16))
logs = st.sampled_from(LOGS)
seqs = st.integers(1, 6)
digests = st.sampled_from((b"c" * 32, b"r" * 32))
rows = st.lists(st.tuples(logs, st.just(AUTHOR), seqs, seqs.map(id_of)), unique_by=lambda r: r[0])


@st.composite
def spans(draw: st.DrawFn) -> tuple[bytes, int, int]:
    first = draw(seqs)
    return draw(logs), first, draw(st.integers(first, 8))


runs = spans().map(lambda span: run_of(*span))
remarks = st.one_of(
    st.builds(Root, digests, digests),
    st.builds(Digests, st.just(0), st.just(b""), st.just(())),
    st.builds(lambda d: Digests(0, b"", ((DATABASE, d),)), digests),
    st.builds(lambda s, d: Digests(1, DATABASE, ((s, d),)), scopes, digests),
    st.builds(VectorMessage, scopes, rows.map(lambda found: tuple(sorted(found)))),
    st.builds(lambda s, span: Want(s, (span,)), scopes, spans()),
    st.builds(lambda s, run: Batch(s, (run,)), scopes, runs),
    st.builds(
        lambda s, log, n, c: Ack(s, ((log, n),), c), scopes, logs, seqs, st.integers(0, 9_999)
    ),
    st.builds(lambda s, log, n, i: Have(s, log, AUTHOR, n, id_of(i)), scopes, logs, seqs, seqs),
)
turns = st.one_of(
    remarks,
    remarks,
    st.sampled_from(("work", "timer", "commit", "match", "wake", "scopes")),
)


def carry_on(machine: Machine, todo: list[Effect], data: st.DataObject) -> list[Effect]:
    """Answer the oldest read or store as an honest engine may."""
    asked = todo.pop(0)
    if isinstance(asked, ReadEntries):
        log, first, last = asked.ranges[0]
        return machine.happen(
            EntriesRead(asked.scope, (run_of(log, first, last),), data.draw(st.booleans()))
        )
    assert isinstance(asked, StoreBatch)
    heads = []
    for run in asked.batch.runs:
        head = machine.ours.head(asked.batch.scope, run.instance) or LogHead(AUTHOR, 0, b"")
        if run.first_seq <= head.seq + 1 and head.seq < run.last_seq and data.draw(st.booleans()):
            machine.hold(asked.batch.scope, run.instance, run.last_seq)
        now = machine.ours.head(asked.batch.scope, run.instance)
        heads += [(run.instance, *now)] if now else []
    return machine.happen(BatchStored(asked.batch.scope, tuple(heads), asked.frame_bytes))


@given(st.data(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_nothing_a_peer_can_say_breaks_the_session(data: st.DataObject, in_sync: bool) -> None:
    """Every message is well formed, none has to be true; the node goes on or says why not."""
    machine = Machine(credit=20_000)
    machine.hold(SCOPE, LOGS[0], 3)
    mine = machine.open()
    control = mine.control if in_sync else b"c" * 32
    machine.hear(Greeting(1, (), {}, 50_000, control, b"r" * 32))
    todo: list[Effect] = []
    ended = False
    for turn in data.draw(st.lists(turns, max_size=25)):
        before = machine.state
        effects = take(machine, turn, todo, data)
        reason = end(effects)
        assert not (ended and effects), "a closed session said something"
        assert reason in (None, Reason.MEMBERSHIP_FIRST, Reason.CREDIT_EXCEEDED)
        assert reason is not Reason.MEMBERSHIP_FIRST or not before.telling.met
        ended = ended or reason is not None
        assert len(effects) <= 12
        todo = [] if ended else todo
        todo += [e for e in effects if isinstance(e, ReadEntries | StoreBatch)]
        assert sum(isinstance(e, ReadEntries) for e in todo) <= 1
        check(machine, effects)


def take(machine: Machine, turn: Any, todo: list[Effect], data: st.DataObject) -> list[Effect]:
    control, root = machine.ours.control_digest(), machine.ours.root(ALL)
    match turn:
        case "work":
            return carry_on(machine, todo, data) if todo else []
        case "timer":
            armed = sorted(machine.state.timers, key=lambda timer: timer.value)
            return machine.happen(TimerFired(data.draw(st.sampled_from(armed)))) if armed else []
        case "commit":
            scope, log = data.draw(scopes), data.draw(logs)
            if not machine.ours.knows(scope):
                return []
            head = machine.ours.head(scope, log)
            return machine.grow(scope, log, head.seq + 1 if head else 1)
        case "match":
            return machine.hear(Root(control, data.draw(st.sampled_from((root, b"r" * 32)))))
        case "wake":
            return machine.happen(PlanReleased())
        case "scopes":
            return machine.happen(SharedScopesChanged(data.draw(sharings)))
    return machine.hear(turn)


def check(machine: Machine, effects: list[Effect]) -> None:
    """What holds after every step, whoever is at the other end."""
    state = machine.state
    assert state.sending.credit >= 0 and state.receiving.credit >= 0
    for message in said(effects):
        if isinstance(message, Batch | Want | VectorMessage | Have):
            assert message.scope == CONTROL_SCOPE or state.telling.met
            assert message.scope != SECRET
        assert not isinstance(message, Digests) or state.telling.met
    starts = [effect.timer for effect in effects if isinstance(effect, StartTimer)]
    assert len(starts) == len(set(starts))
    if state.phase is Phase.CLOSED:
        assert not state.timers and machine.plan.in_flight(PEER) == 0
    for effect in effects:
        if isinstance(effect, DeclareProof):
            assert (effect.control, effect.root) == (state.knowledge.control, state.knowledge.root)
