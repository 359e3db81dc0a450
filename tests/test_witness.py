"""The oracle: what must be in a record and what must not, given only what users did and were told.

It knows nothing of the CRDT. Each of its rules is held here against a case that it must tell and
one that it must let pass; then against a model in which the whole history is known.
"""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.node.engine import Engine
from covey.node.ledger import Ledger, Log, Scope
from covey.simulations.checkers.writes import wrong_values
from covey.simulations.witness import Seen, Witness, Write, maybe_seen, surely_seen

RECORD = ("memory", "facts", "tea")
SCOPE, DATABASE = b"scope".ljust(16, b"."), b"database".ljust(16, b".")
DEVICES = ("laptop", "phone", "tablet")


def log_of(device: str) -> tuple[bytes, bytes]:
    return SCOPE, device.encode()


def write(device: str, place: int, knows: dict[str, int] | None = None, **other: Any) -> Write:
    """An acknowledged write at one place of its device's log, by somebody who knows these places.

    Fields are those of `Write`; `fields` is `{"f": "device place"}` if not said.
    """
    known = {log_of(name): seq for name, seq in (knows or {}).items()}
    made = Write(
        number=other.pop("number", place),
        device=device,
        record=RECORD,
        fields=other.pop("fields", {"f": f"{device} {place}"}),
        removes_all=other.pop("removes_all", False),
        is_delete=other.pop("is_delete", False),
        before=known,
        instance=device.encode(),
        after={**known, log_of(device): place},
        scope=SCOPE,
        first=place,
        last=place,
    )
    for name, value in other.items():
        setattr(made, name, value)
    return made


def delete(device: str, place: int, knows: dict[str, int] | None = None, **other: Any) -> Write:
    return write(device, place, knows, fields={}, removes_all=True, is_delete=True, **other)


def wrong(writes: list[Write], value: dict[str, str] | None) -> list[str]:
    """What the oracle has against a record that shows this."""
    return list(wrong_values(RECORD, writes, value))


# Surely before ---------------------------------------------------------------------------------


def test_what_one_device_was_told_and_then_replaced_is_surely_before_whatever_its_instance() -> (
    None
):
    """A device that joins a mesh, or heals a fork, writes under another name from then on."""
    first, second = write("laptop", 3), write("laptop", 1)
    first.forked = True
    assert not first.surely_before(second)
    first.told, second.asked = 4, 5
    assert first.surely_before(second)
    second.asked = 3
    assert not first.surely_before(second)
    second.asked, first.excused = 5, True
    assert not first.surely_before(second)


def test_a_write_is_surely_before_one_whose_device_had_applied_it() -> None:
    """Only then may anybody be blamed for showing it still."""
    assert write("laptop", 3).surely_before(write("phone", 1, {"laptop": 3}))
    assert write("laptop", 3).surely_before(write("phone", 1, {"laptop": 7}))
    assert write("laptop", 3).surely_before(write("laptop", 4, {"laptop": 3}))


NOT_SURE: dict[str, tuple[Write, Write]] = {
    "not yet applied": (write("laptop", 3), write("phone", 1, {"laptop": 2})),
    "never heard of": (write("laptop", 3), write("phone", 1)),
    "not acknowledged": (write("laptop", 3, after=None), write("phone", 1, {"laptop": 9})),
    "on a branch": (write("laptop", 3, forked=True), write("phone", 1, {"laptop": 9})),
    "at no known place": (write("laptop", 3, last=0), write("phone", 1, {"laptop": 9})),
    "somewhere up to there": (write("laptop", 3, last=5), write("phone", 1, {"laptop": 4})),
    "of another instance": (
        write("laptop", 3, instance=b"another"),
        write("phone", 1, {"laptop": 9}),
    ),
    "of another scope": (write("laptop", 3, scope=b"another"), write("phone", 1, {"laptop": 9})),
}


@pytest.mark.parametrize("case", NOT_SURE)
def test_what_may_have_been_otherwise_is_not_surely_before(case: str) -> None:
    """A violation that is none costs a day."""
    one, other = NOT_SURE[case]

    assert not one.surely_before(other)


# Maybe before ----------------------------------------------------------------------------------


def test_a_write_is_not_even_maybe_before_one_whose_device_cannot_have_had_it() -> None:
    """Only then must it have survived a deletion."""
    assert not write("laptop", 3).maybe_before(write("phone", 1, {"laptop": 2}))
    assert not write("laptop", 3).maybe_before(write("phone", 1))


MAYBE: dict[str, tuple[Write, Write]] = {
    "surely": (write("laptop", 3), write("phone", 1, {"laptop": 3})),
    "it came while the other was written": (
        write("laptop", 3),
        write("phone", 1, after={log_of("laptop"): 3}),
    ),
    "nobody knows how far it is": (
        write("laptop", 5, first=3),
        write("phone", 1, after={log_of("laptop"): 3}),
    ),
    "the other was not acknowledged": (write("laptop", 3), write("phone", 1, after=None)),
    "it lies on a branch": (write("laptop", 3, forked=True), write("phone", 1)),
    "its scope was not made yet": (write("laptop", 3, scope=b""), write("phone", 1)),
}


@pytest.mark.parametrize("case", MAYBE)
def test_what_may_have_been_seen_is_maybe_before(case: str) -> None:
    """A write that a deletion may have seen may be gone."""
    one, other = MAYBE[case]

    assert one.maybe_before(other)


def test_no_write_is_before_itself() -> None:
    """A replacing write would else be blamed for its own values."""
    one = write("laptop", 3, {"laptop": 9})

    assert not one.surely_before(one)
    assert not one.maybe_before(one)


seens = st.dictionaries(
    st.sampled_from([log_of(name) for name in DEVICES]), st.integers(0, 6), max_size=3
)


@st.composite
def writes_of_anybody(draw: st.DrawFn) -> Write:
    """A write as the witness may have put it down, sure or not."""
    device, first = draw(st.sampled_from(DEVICES)), draw(st.integers(1, 5))
    before: Seen = draw(seens)
    grown = {key: seq + draw(st.integers(0, 2)) for key, seq in before.items()}
    return write(
        device,
        first,
        before=before,
        last=draw(st.just(0) | st.integers(first, first + 2)),
        after=draw(st.none() | st.just(grown)),
        forked=draw(st.booleans()),
        scope=draw(st.sampled_from([SCOPE, SCOPE, b""])),
    )


@given(writes_of_anybody(), writes_of_anybody())
def test_what_is_surely_before_is_maybe_before(one: Write, other: Write) -> None:
    """The two questions are asked by different rules, and must not contradict each other."""
    assert not one.surely_before(other) or one.maybe_before(other)


# Values ----------------------------------------------------------------------------------------


def test_what_was_acknowledged_and_never_touched_again_must_be_shown() -> None:
    """I3 in its plainest form."""
    one = write("laptop", 1)

    assert wrong([one], {"f": "laptop 1"}) == []
    assert wrong([one], None) == ["memory/facts/tea.f: write 1 of laptop is lost"]
    assert wrong([one], {"g": "laptop 1"}) == ["memory/facts/tea.f: write 1 of laptop is lost"]


def test_what_nobody_wrote_must_not_be_shown() -> None:
    """Half a value, or that of another record, is no value."""
    one = write("laptop", 1)

    assert wrong([one], {"f": "laptop"}) == ["memory/facts/tea.f: shows what nobody wrote"]


def test_a_write_that_was_not_acknowledged_may_be_shown_or_not() -> None:
    """Its process died: it may have become durable just before."""
    one = write("laptop", 1, after=None)

    assert wrong([one], None) == wrong([one], {"f": "laptop 1"}) == []


def test_a_write_may_be_lost_if_the_disk_that_alone_had_it_is_lost() -> None:
    """An old image was put back before anybody else had heard of it."""
    assert wrong([write("laptop", 1, excused=True)], None) == []


def test_of_two_writes_that_did_not_know_of_each_other_either_may_win() -> None:
    """Which one is the CRDT's business, as long as all devices choose the same."""
    two = [write("laptop", 1), write("phone", 1)]

    assert wrong(two, {"f": "laptop 1"}) == wrong(two, {"f": "phone 1"}) == []
    assert len(wrong(two, None)) == 1


def test_a_value_that_was_knowingly_replaced_must_not_be_shown() -> None:
    """What comes back from the dead is as bad as what is lost."""
    one, two = write("laptop", 1), write("phone", 2, {"laptop": 1})

    assert wrong([one, two], {"f": "phone 2"}) == []
    assert wrong([one, two], {"f": "laptop 1"}) == [
        "memory/facts/tea.f: write 1 of laptop is shown, though phone had it and wrote 2"
    ]


@pytest.mark.parametrize(
    "other",
    [{"after": None}, {"excused": True}, {"fields": {"g": "phone 2"}}, {"before": {}}],
    ids=["not acknowledged", "excused", "another field", "unknowingly"],
)
def test_a_value_may_be_shown_if_what_came_later_did_not_surely_replace_it(
    other: dict[str, Any],
) -> None:
    """The later write may not exist, or not be of this field, or not be later."""
    one, two = write("laptop", 1), write("phone", 2, {"laptop": 1}, **other)

    assert wrong([one, two], {"f": "laptop 1", **other.get("fields", {})}) == []


def test_a_write_that_replaces_a_record_takes_the_fields_it_does_not_name() -> None:
    """`replace` means the whole record."""
    one = write("laptop", 1)
    two = write("phone", 2, {"laptop": 1}, fields={"g": "phone 2"}, removes_all=True)

    assert wrong([one, two], {"g": "phone 2"}) == []
    assert len(wrong([one, two], {"f": "laptop 1", "g": "phone 2"})) == 1


def test_a_field_that_a_replacing_write_cannot_have_seen_must_be_shown() -> None:
    """Only what was seen is replaced."""
    one = write("laptop", 1)
    two = write("phone", 2, fields={"g": "phone 2"}, removes_all=True)

    assert wrong([one, two], {"f": "laptop 1", "g": "phone 2"}) == []
    assert wrong([one, two], {"g": "phone 2"}) == ["memory/facts/tea.f: write 1 of laptop is lost"]


def test_a_record_that_was_knowingly_deleted_must_not_be_shown() -> None:
    """It would come back to life on every device."""
    two = [write("laptop", 1), delete("phone", 2, {"laptop": 1})]

    assert wrong(two, None) == []
    assert len(wrong(two, {"f": "laptop 1"})) == 1


def test_a_record_that_a_deletion_cannot_have_seen_must_be_shown() -> None:
    """Else the deletion of an old version would take the new one with it."""
    two = [write("laptop", 1), delete("phone", 2)]

    assert wrong(two, {"f": "laptop 1"}) == []
    assert len(wrong(two, None)) == 1


def test_a_record_that_a_deletion_may_have_seen_may_be_shown_or_not() -> None:
    """It came while the deletion was being written."""
    two = [write("laptop", 1), delete("phone", 2, after={log_of("laptop"): 1})]

    assert wrong(two, None) == wrong(two, {"f": "laptop 1"}) == []


def test_a_write_beside_a_deletion_keeps_the_whole_record_alive() -> None:
    """Also the fields that the deletion had seen."""
    three = [
        write("laptop", 1),
        delete("phone", 2, {"laptop": 1}),
        write("tablet", 3, {"laptop": 1}, fields={"g": "tablet 3"}),
    ]

    assert wrong(three, {"f": "laptop 1", "g": "tablet 3"}) == []
    assert wrong(three, {"f": "laptop 1"}) == ["memory/facts/tea.g: write 3 of tablet is lost"]


def test_a_write_after_a_deletion_brings_back_nothing_from_before() -> None:
    """A record of the same id is a new one."""
    three = [
        write("laptop", 1),
        delete("phone", 2, {"laptop": 1}),
        write("phone", 3, {"laptop": 1, "phone": 2}, fields={"g": "phone 3"}),
    ]

    assert wrong(three, {"g": "phone 3"}) == []
    assert len(wrong(three, {"f": "laptop 1", "g": "phone 3"})) == 1


def test_a_deletion_that_was_not_acknowledged_deletes_or_not() -> None:
    """Its process died."""
    two = [write("laptop", 1), delete("phone", 2, {"laptop": 1}, after=None)]

    assert wrong(two, None) == wrong(two, {"f": "laptop 1"}) == []


def test_what_somebody_chose_again_is_not_back_from_the_dead() -> None:
    """The value of a candidate is written a second time, by whoever decides."""
    first, second = write("laptop", 1), write("phone", 1, {"laptop": 1})
    chosen = {"f": "laptop 1"}
    again = write("tablet", 1, {"laptop": 1, "phone": 1}, fields=chosen, repeats=True)

    assert wrong([first, second], chosen)
    assert wrong([first, second, again], chosen) == []
    assert wrong([first, second, again], {"f": "phone 1"})
    assert wrong([first, again, write("laptop", 2, {"tablet": 1, "laptop": 1})], chosen)


def test_a_decision_excuses_what_it_may_have_had_and_nothing_else() -> None:
    """It may have brought back an old value, or deleted the record; what came later stays."""
    first, second = write("laptop", 1), write("phone", 1, {"laptop": 1})
    decision = write("tablet", 1, {"laptop": 1, "phone": 1}, fields={}, is_vague=True)
    late = write("laptop", 2, {"tablet": 1, "phone": 1})
    beside = write("phone", 2)

    assert wrong([first, second, decision], {"f": "laptop 1"}) == []
    assert wrong([first, second, decision], None) == []
    assert wrong([first, second, decision, late], None)
    assert wrong([decision, beside], None)
    assert wrong([decision, beside, write("phone", 3, {"phone": 2})], beside.fields)
    assert wrong([first, second, decision], {"f": "nobody's"})


def test_every_field_is_judged_by_itself() -> None:
    """One that is right does not excuse another."""
    one = write("laptop", 1, fields={"f": "1", "g": "2", "h": "3"})

    assert len(wrong([one], {"f": "1", "g": "wrong"})) == 2


# A model ---------------------------------------------------------------------------------------


@dataclass
class History:
    """Devices that write and tell one another, where it is known who knows what."""

    writes: list[Write] = field(default_factory=list)
    knows: dict[str, dict[str, int]] = field(default_factory=lambda: {name: {} for name in DEVICES})
    past: dict[int, frozenset[int]] = field(default_factory=dict)
    """Write -> the writes that its device had, by number. The truth."""

    def act(self, device: str, kind: str, names: list[str]) -> None:
        known = self.knows[device]
        place = known.get(device, 0) + 1
        number = len(self.writes)
        self.past[number] = frozenset(
            w.number for w in self.writes if known.get(w.device, 0) >= w.last
        )
        self.writes.append(
            write(
                device,
                place,
                known,
                number=number,
                fields={} if kind == "delete" else {f: f"{number} {f}" for f in names},
                removes_all=kind != "put",
                is_delete=kind == "delete",
            )
        )
        known[device] = place

    def tell(self, one: str, other: str) -> None:
        for device, place in self.knows[one].items():
            self.knows[other][device] = max(self.knows[other].get(device, 0), place)

    def is_apart(self, one: Write, other: Write) -> bool:
        ids = one.number, other.number
        return ids[0] not in self.past[ids[1]] and ids[1] not in self.past[ids[0]]

    def standing(self, name: str) -> list[Write]:
        """The writes of a field that nobody knowingly replaced or removed."""

        def ends(later: Write) -> bool:
            if later.is_delete:
                # Whatever is written beside a deletion undoes it.
                return not any(self.is_apart(later, w) for w in self.writes if w is not later)
            return name in later.fields or later.removes_all

        return [
            one
            for one in self.writes
            if name in one.fields
            and not any(one.number in self.past[w.number] and ends(w) for w in self.writes)
        ]


FIELDS = ("f", "g")
steps = st.one_of(
    st.tuples(
        st.just("write"),
        st.sampled_from(DEVICES),
        st.sampled_from(["put", "put", "replace", "delete"]),
        st.lists(st.sampled_from(FIELDS), min_size=1, max_size=2, unique=True),
    ),
    st.tuples(st.just("tell"), st.sampled_from(DEVICES), st.sampled_from(DEVICES)),
)


def history_of(acts: list[tuple[Any, ...]]) -> History:
    history = History()
    for kind, *args in acts:
        history.act(*args) if kind == "write" else history.tell(*args)
    return history


@given(st.lists(steps, max_size=14), st.data())
def test_the_oracle_has_nothing_against_what_a_right_merge_shows(
    acts: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    """Whichever of the standing values is chosen: a false alarm costs a day."""
    history = history_of(acts)
    shown = {}
    for name in FIELDS:
        standing = history.standing(name)
        if standing:
            shown[name] = data.draw(st.sampled_from(standing)).fields[name]

    assert wrong(history.writes, shown or None) == []


@given(st.lists(steps, max_size=14), st.data())
def test_the_oracle_tells_of_every_value_that_is_missing_or_came_back(
    acts: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    """What it lets pass nobody will ever see. Without deletions, where more than one is right."""
    history = history_of([act for act in acts if "delete" not in act])
    name = data.draw(st.sampled_from(FIELDS))
    standing = history.standing(name)
    fallen = [w for w in history.writes if name in w.fields and w not in standing]
    others = {n: s[0].fields[n] for n in FIELDS if n != name and (s := history.standing(n))}

    for one in fallen:
        assert len(wrong(history.writes, {**others, name: one.fields[name]})) == 1
    if any(
        not any(
            one.maybe_before(w) for w in history.writes if name not in w.fields and w.removes_all
        )
        for one in standing
    ):
        assert len(wrong(history.writes, others or None)) == 1


# Witnessing ------------------------------------------------------------------------------------


class Node:
    """As much of an engine as the witness looks at."""

    def __init__(self, name: str) -> None:
        self.instance = name.encode()
        self.ledger = Ledger()
        self.scope = Scope(1, SCOPE, "memory", 1)
        self.ledger.add_scope(self.scope, DATABASE)

    def log(self, device: str) -> Log:
        found = self.ledger.log(SCOPE, device.encode())
        if found is None:
            found = Log(len(list(self.ledger.logs())), self.scope, device.encode(), b"author")
            self.ledger.add_log(found)
        return found

    def holds(self, device: str, head: int, tail: int | None = None) -> None:
        log = self.log(device)
        log.head_seq, log.tail_seq = head, tail or head
        log.head_id = bytes([head])

    def tries(self, witness: Witness, **other: Any) -> Write:
        return witness.tries(
            self.instance.decode(),
            cast("Engine", self),
            RECORD,
            {"f": "x"},
            **other,
        )

    def acknowledges(self, witness: Witness, one: Write) -> None:
        witness.acknowledges(one, self)  # type: ignore[arg-type]


def test_what_is_surely_seen_ends_before_the_first_gap() -> None:
    """An entry that waits for its key may be the one that counts."""
    node = Node("laptop")
    node.holds("phone", 9, 12)
    node.log("phone").unapplied = {5, 7}
    node.holds("tablet", 4)
    engine: Any = SimpleNamespace(ledger=node.ledger)

    assert surely_seen(engine) == {log_of("phone"): 4, log_of("tablet"): 4}
    assert maybe_seen(engine) == {log_of("phone"): 12, log_of("tablet"): 4}


def test_a_write_is_put_down_with_what_its_device_had_before_and_after() -> None:
    """Everything else follows from the two."""
    node, witness = Node("laptop"), Witness()
    node.holds("laptop", 2)
    node.holds("phone", 3)
    one = node.tries(witness)
    node.holds("phone", 8)
    node.holds("laptop", 4)
    node.acknowledges(witness, one)

    assert one.before == {log_of("laptop"): 2, log_of("phone"): 3}
    assert one.after == {log_of("laptop"): 4, log_of("phone"): 8}
    assert (one.scope, one.first, one.last) == (SCOPE, 3, 4)
    assert witness.by_record == {RECORD: [one]}


def test_a_write_that_was_withdrawn_is_held_against_nobody() -> None:
    """A device that may not see a record deletes nothing of it, and is told so."""
    node, witness = Node("laptop"), Witness()
    node.holds("laptop", 2)
    one, other = node.tries(witness), node.tries(witness)
    witness.withdraws(one)

    assert witness.by_record == {RECORD: [other]}
    assert not one.acknowledged

    witness.withdraws(other)
    assert witness.by_record == {}


def test_what_is_durable_at_an_acknowledgement_is_held_to_be_there_for_ever() -> None:
    """The head names the whole chain up to it."""
    node, witness = Node("laptop"), Witness()
    node.holds("laptop", 2)
    one = node.tries(witness)
    node.holds("laptop", 3, 5)
    node.acknowledges(witness, one)

    assert witness.held == {("laptop", *log_of("laptop")): (3, b"\x03")}


def test_a_write_into_a_scope_that_nobody_knew_has_any_place_until_it_is_acknowledged() -> None:
    """The first write of a database makes the scope."""
    node, witness = Node("laptop"), Witness()
    node.ledger = Ledger()
    one = node.tries(witness)
    unknown = one.scope, one.first
    node.ledger.add_scope(node.scope, DATABASE)
    node.holds("laptop", 1)
    node.acknowledges(witness, one)

    assert unknown == (b"", 1)
    assert (one.scope, one.first, one.last) == (SCOPE, 1, 1)


def test_a_write_during_which_the_store_changed_its_instance_has_no_place() -> None:
    """The old log was taken out, and its values were written again under the new one."""
    node, witness = Node("laptop"), Witness()
    node.holds("laptop", 2)
    one = node.tries(witness)
    node.instance = b"laptop anew"
    node.acknowledges(witness, one)

    assert one.acknowledged and one.forked
    assert witness.held == {}


def test_places_are_forgotten_of_one_device_or_of_one_instance_of_it() -> None:
    """What was written under another one is as sure as before."""
    nodes, witness = [Node(name) for name in ("laptop", "phone")], Witness()
    writes = []
    for node in nodes:
        node.holds(node.instance.decode(), 1)
        writes.append(node.tries(witness))
        node.acknowledges(witness, writes[-1])
    witness.forget_places("laptop", b"another")
    untouched = [one.forked for one in writes]
    witness.forget_places("laptop", lost=True)

    assert untouched == [False, False]
    assert [(one.forked, one.excused) for one in writes] == [(True, True), (False, False)]
    assert list(witness.held) == [("phone", *log_of("phone"))]


@pytest.mark.parametrize(
    ("two", "count"),
    [
        ([write("laptop", 1), write("phone", 1)], 1),
        ([write("laptop", 1), write("phone", 1, {"laptop": 1})], 0),
        ([write("laptop", 1), write("laptop", 2)], 0),
        ([write("laptop", 1), write("phone", 1, fields={"g": "x"})], 0),
        ([write("laptop", 1), write("phone", 1, after=None)], 0),
    ],
    ids=["apart", "knowingly", "one device", "other fields", "not acknowledged"],
)
def test_conflicts_are_fields_that_two_devices_wrote_unknowingly(
    two: list[Write], count: int
) -> None:
    """A scenario without any tests no merge."""
    witness = Witness()
    witness.by_record = {RECORD: two}

    assert witness.conflicts() == count
