"""The second half of the gate: a change against the past of its record, and against that alone."""

from contextlib import suppress
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.sync import crdt
from covey.sync.change import DELETE, MAKE_MAP, PUT, Change, Operations, OpId
from covey.sync.chunk import decode_tail
from covey.sync.column_writing import encode_tail
from covey.sync.errors import DecodeError, GateError, GateRefusal
from covey.sync.history import History
from covey.sync.outline import outline_of
from covey.sync.values import Text, value_text

from .hostile_member import Hostile
from .record_worlds import ACTOR, ACTORS

OTHER = ACTORS[1]
# Operations 1: the list, 2 and 3: its elements, 4: the map, 5: the text, 6 and 7: its characters.
FIRST = decode_tail(
    crdt.create(ACTOR, {"l": [1, 2], "m": {}, "t": Text("ab")}, entry_seq=1).tail, ACTOR
)
LIST, MAP, TEXT = (1, ACTOR), (4, ACTOR), (5, ACTOR)


def change(
    rows: Operations,
    *,
    actor: bytes = OTHER,
    deps: tuple[bytes, ...] = (FIRST.hash,),
    seq: int = 1,
    start_op: int = 8,
) -> Change:
    return decode_tail(encode_tail(rows, actor, deps=deps, seq=seq, start_op=start_op), actor)


def one(
    target: OpId | None = None,
    key: str | OpId | None = "k",
    insert: bool = False,
    action: int = PUT,
    scalar: Any = "x",
    predecessors: tuple[OpId, ...] = (),
) -> Operations:
    """A single operation."""
    return Operations([target], [key], [insert], [action], [scalar], [predecessors])


def history() -> History:
    past = History()
    past.add(FIRST, past.judge(FIRST))
    return past


@pytest.mark.parametrize(
    "rows",
    [
        one(),
        one(MAP),
        one(LIST, None, True),
        one(LIST, (2, ACTOR), True),
        one(LIST, (2, ACTOR), predecessors=((2, ACTOR),)),
        one(LIST, (3, ACTOR), action=DELETE, scalar=None, predecessors=((3, ACTOR),)),
        one(None, "l", predecessors=(LIST,)),
        one(TEXT, (6, ACTOR), True, scalar="é"),
        one(TEXT, (6, ACTOR), action=DELETE, scalar=None, predecessors=((6, ACTOR),)),
        one(LIST, None, True, MAKE_MAP, None),
    ],
)
def test_what_an_honest_device_does_is_let_in(rows: Operations) -> None:
    """A gate that refuses honest changes loses data on every device but one."""
    history().judge(change(rows))


@pytest.mark.parametrize(
    ("refusal", "rows"),
    [
        (GateRefusal.REFERENCE, one((7, OTHER))),
        (GateRefusal.REFERENCE, one(LIST, (2, OTHER), True)),
        (GateRefusal.REFERENCE, one(predecessors=((2, OTHER),))),
        (GateRefusal.KIND, one((2, ACTOR))),
        (GateRefusal.KIND, one(LIST)),
        (GateRefusal.KIND, one(TEXT)),
        (GateRefusal.KIND, one(MAP, None, True)),
        (GateRefusal.KIND, one(MAP, (2, ACTOR), predecessors=((2, ACTOR),))),
        (GateRefusal.KIND, one(LIST, (6, ACTOR), True)),
        (GateRefusal.KIND, one(LIST, (4, ACTOR), predecessors=((4, ACTOR),))),
        (GateRefusal.KIND, one(TEXT, None, True, scalar="two")),
        (GateRefusal.KIND, one(TEXT, None, True, scalar=1)),
        (GateRefusal.KIND, one(TEXT, None, True, MAKE_MAP, None)),
        (GateRefusal.KIND, one(TEXT, (6, ACTOR), predecessors=((6, ACTOR),))),
    ],
)
def test_references_that_lead_nowhere_are_refused(refusal: GateRefusal, rows: Operations) -> None:
    """The library would ignore some, misplace others, and for a few write what it cannot load."""
    with pytest.raises(GateError) as caught:
        history().judge(change(rows))

    assert caught.value.refusal is refusal


@pytest.mark.parametrize(
    ("refusal", "numbers"),
    [
        (GateRefusal.UNKNOWN_DEPENDENCY, {"deps": (bytes(32),)}),
        (GateRefusal.START, {"start_op": 9}),
        (GateRefusal.START, {"start_op": 7}),
        (GateRefusal.START, {"start_op": 2**31 - 1}),
        (GateRefusal.START, {"deps": (), "start_op": 8}),
        (GateRefusal.SEQUENCE, {"seq": 2}),
        (GateRefusal.SEQUENCE, {"actor": ACTOR, "seq": 1}),
        (GateRefusal.SEQUENCE, {"actor": ACTOR, "seq": 3}),
        (GateRefusal.SEQUENCE, {"actor": ACTOR, "deps": (), "start_op": 1}),
        (GateRefusal.SEQUENCE, {"actor": ACTOR, "seq": 2, "deps": (), "start_op": 1}),
    ],
)
def test_numbers_have_one_possible_value(refusal: GateRefusal, numbers: dict[str, Any]) -> None:
    """A number of operations too high poisons a record; two changes with one seq fork it."""
    with pytest.raises(GateError) as caught:
        history().judge(change(one(), **numbers))

    assert caught.value.refusal is refusal


def test_what_is_here_but_not_in_the_past_of_a_change_does_not_exist_for_it() -> None:
    """Another device may not have it yet; it would refuse what we let in, and we would part."""
    past = history()
    beside = change(one(LIST, None, True, MAKE_MAP, None), actor=ACTOR, seq=2)
    past.add(beside, past.judge(beside))
    uses = one((8, ACTOR))

    with pytest.raises(GateError) as caught:
        past.judge(change(uses, start_op=9))
    assert caught.value.refusal is GateRefusal.START
    with pytest.raises(GateError) as caught:
        past.judge(change(one(predecessors=((7, ACTOR),)), deps=(), start_op=1))
    assert caught.value.refusal is GateRefusal.REFERENCE
    past.judge(change(uses, deps=(beside.hash,), start_op=9))


def test_operations_of_one_change_may_refer_to_earlier_ones_of_it_at_the_same_place() -> None:
    """A new map inside a new list is one write for whoever makes it."""
    rows = Operations(
        [None, (8, OTHER), (8, OTHER), (9, OTHER), None],
        ["n", None, (9, OTHER), "x", "n"],
        [False, True, True, False, False],
        [2, 0, PUT, PUT, PUT],
        [None, None, 1, 2, 3],
        [(), (), (), (), ((8, OTHER),)],
    )
    past = history()
    past.judge(change(rows))

    elsewhere = rows._replace(predecessors=[(), (), (), (), ((9, OTHER),)])
    with pytest.raises(GateError) as caught:
        past.judge(change(elsewhere))
    assert caught.value.refusal is GateRefusal.KIND


def test_objects_nest_to_the_limit_and_no_deeper() -> None:
    """Reading recurses; a member must not be able to choose how deep."""

    def chain(levels: int) -> Operations:
        targets = [None, *((level, ACTOR) for level in range(1, levels))]
        return Operations(
            list(targets), ["d"] * levels, [False] * levels, [0] * levels, [None] * levels,
            [()] * levels,
        )  # fmt: skip

    good = change(chain(32), actor=ACTOR, deps=(), start_op=1)
    assert crdt.apply(None, ACTOR, good, 1).value is not None
    with pytest.raises(GateError) as caught:
        crdt.apply(None, ACTOR, change(chain(33), actor=ACTOR, deps=(), start_op=1), 1)
    assert caught.value.refusal is GateRefusal.DEPTH


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32))
def test_what_a_hostile_member_gets_past_the_gate_is_harmless(seed: int) -> None:
    """Every order gives the same record; it can be read, saved and written; nothing panics."""
    hostile = Hostile(Random(seed))
    for _ in range(6):
        hostile.write()
    texts = set()
    state = None
    for _ in range(3 if hostile.changes else 0):
        state = None
        for made in hostile.shuffled():
            state = crdt.apply(state, made.actor, made, 1)
        assert state is not None
        texts.add(value_text(state.value))

    assert len(texts) <= 1
    if state is not None:
        after = crdt.edit(
            crdt.compacted(state), ACTORS[3], {"a": [1], "z": 2}, entry_seq=1, replace=True
        )
        assert after is not None and after.state.value == {"a": [1], "z": 2}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_a_history_restored_from_the_store_is_the_one_that_was_judged(seed: int) -> None:
    """A verdict that depends on whether the node was restarted would part the devices."""
    hostile = Hostile(Random(seed))
    for _ in range(6):
        hostile.write()
    restored = History()
    for made in hostile.changes.values():
        restored.restore(outline_of(made.chunk))

    for part in History.__slots__:
        assert getattr(restored, part) == getattr(hostile.history, part)


@pytest.mark.parametrize("size", range(0, len(FIRST.chunk) - 1, 7))
def test_a_chunk_cut_short_in_the_store_raises_decode_error(size: int) -> None:
    """It means a damaged store, which is told to the user as such."""
    with suppress(DecodeError):
        outline_of(FIRST.chunk[:size])
