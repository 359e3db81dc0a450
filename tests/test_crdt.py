"""Records: what is written is read, everywhere the same, deleted or not, saved or not."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.sync import crdt
from covey.sync.chunk import decode_chunk, decode_tail
from covey.sync.errors import BadValueError, DecodeError, GateError, GateRefusal
from covey.sync.record_state import NewChange, RecordState, past_of, split_chunks
from covey.sync.values import Counter, Increment, Text, Vector, value_text

from .record_worlds import (
    ACTOR,
    ACTORS,
    MESSAGE,
    Replica,
    deliver,
    flat_records,
    records,
    settle,
)

OTHER, THIRD = ACTORS[1], ACTORS[2]


def written(state: RecordState, value: dict[str, Any], **options: Any) -> NewChange:
    """An edit that must change something."""
    settings = {"entry_seq": 2, "replace": False} | options
    made = crdt.edit(state, settings.pop("actor", ACTOR), value, **settings)
    assert made is not None
    return made


def new(value: dict[str, Any], actor: bytes = ACTOR) -> RecordState:
    return crdt.create(actor, value, entry_seq=1).state


def two_writers(
    start: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]
) -> dict[str, Any] | None:
    """The record after two devices edited it at once and met."""
    base = crdt.create(ACTOR, start, entry_seq=1)
    there = crdt.apply(None, ACTOR, base.tail, 1)
    mine = written(base.state, ours)
    yours = written(there, theirs, actor=OTHER, entry_seq=1)
    here = crdt.apply(mine.state, OTHER, yours.tail, 1)
    there = crdt.apply(yours.state, ACTOR, mine.tail, 2)

    assert value_text(here.value) == value_text(there.value)
    assert here.heads == there.heads and len(here.heads) == 2
    value: dict[str, Any] | None = here.value
    return value


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 3), records, st.booleans()),
        st.tuples(st.just("delete"), st.integers(0, 3)),
        st.tuples(st.just("deliver"), st.integers(0, 3), st.integers(0, 3), st.integers(0, 9)),
        st.tuples(st.just("forget"), st.integers(0, 3)),
    ),
    max_size=14,
)


@settings(max_examples=120, deadline=None)
@given(st.integers(2, 4), steps, st.randoms(use_true_random=False))
def test_replicas_that_saw_the_same_changes_hold_the_same_record(
    count: int, trace: list[tuple[Any, ...]], order: Any
) -> None:
    """This is what sync is: any edits, any order of arrival, one record."""
    replicas = [Replica(actor) for actor in ACTORS[:count]]
    for step in trace:
        replica = replicas[step[1] % count]
        match step:
            case ("put", _, value, replace):
                replica.write(value, replace=replace)
            case ("delete", _):
                replica.delete()
            case ("deliver", _, source, upto):
                deliver(replicas[source % count], replica, upto)
            case ("forget", _):  # closes the document, as the store does
                replica.state = replica.state and stored(replica.state)
    order.shuffle(replicas)
    settle(replicas)

    states = [replica.state for replica in replicas]
    assert len({value_text(state and state.value) for state in states}) == 1
    assert len({state and state.heads for state in states}) == 1
    assert len({state and tuple(sorted(state.actors.items())) for state in states}) == 1
    assert len({past_of(state) for state in states}) == 1


def stored(state: RecordState) -> RecordState:
    """What the store gives back of a state."""
    doc, meta = crdt.encode_state(state)
    return crdt.decode_state(doc, meta, lambda: decode_chunk(state.chunks[0]))


@settings(max_examples=60, deadline=None)
@given(records, records, st.booleans())
def test_what_is_written_is_what_is_read(
    first: dict[str, Any], second: dict[str, Any], replace: bool
) -> None:
    """The least that anybody expects of a store."""
    state = new(first)
    made = crdt.edit(state, ACTOR, second, entry_seq=2, replace=replace)
    expected = second if replace else first | second

    assert value_text(state.value) == value_text(first)
    after = state if made is None else made.state
    assert value_text(after.value) == value_text(expected)
    assert crdt.edit(after, ACTOR, expected, entry_seq=3, replace=True) is None


@given(flat_records)
def test_a_flat_record_never_opens_a_document(fields: dict[str, Any]) -> None:
    """Ten thousand new records must not mean ten thousand documents."""
    made = crdt.create(ACTOR, fields, entry_seq=1)
    theirs = crdt.apply(None, ACTOR, made.tail, 1)

    assert made.state.live is None and theirs.live is None
    assert theirs.value == fields and made.fields is None


def test_the_same_write_makes_the_same_bytes() -> None:
    """A simulation replays from its seed only if nothing here is random or reads a clock."""
    nested = {"l": [1, {"x": Text("abc")}], "c": Counter(2)}
    tails = {crdt.create(ACTOR, dict(value), entry_seq=1).tail for value in [nested, nested]}
    edits = {written(new(nested), {"l": [2]}).tail for _ in range(2)}

    assert len(tails) == len(edits) == 1


def test_edits_of_different_places_merge() -> None:
    """Two people fill in two fields of one form, two lines of one list, two words of one text."""
    assert two_writers({"a": 1, "b": 1}, {"a": 2}, {"b": 2}) == {"a": 2, "b": 2}
    assert two_writers(
        {"m": {"x": 1, "y": {"z": 1}}}, {"m": {"x": 2, "y": {"z": 1}}}, {"m": {"x": 1, "y": {}}}
    ) == {"m": {"x": 2, "y": {}}}
    assert two_writers(
        {"l": ["b", "c"]}, {"l": ["a", "b", "c"]}, {"l": ["b", "c", "d"]}
    ) == {"l": ["a", "b", "c", "d"]}  # fmt: skip
    assert two_writers(
        {"t": Text("the fox")}, {"t": Text("the quick fox")}, {"t": Text("the fox jumps")}
    ) == {"t": Text("the quick fox jumps")}


def test_text_outside_the_basic_plane_is_spliced_by_code_points() -> None:
    """A miscounted emoji would cut the text beside it."""
    assert two_writers(
        {"t": Text("a👍b é")}, {"t": Text("a👍👍b é")}, {"t": Text("a👍b éé")}
    ) == {"t": Text("a👍👍b éé")}  # fmt: skip


def test_counters_add_up() -> None:
    """Three cups here and two there are five cups."""
    assert two_writers({"n": Counter(1)}, {"n": Increment(3)}, {"n": Increment(2)}) == {
        "n": Counter(6)
    }
    assert two_writers({"n": Counter(1)}, {"n": Counter(4)}, {"n": Counter(3)}) == {"n": Counter(6)}
    assert written(new({}), {"n": Increment(5)}).state.value == {"n": Counter(5)}
    assert written(new({"n": "text"}), {"n": Increment(5)}).state.value == {"n": Counter(5)}
    assert crdt.edit(new({"n": Counter(2)}), ACTOR, {"n": Increment(0)}, entry_seq=2, replace=False) is None  # fmt: skip  # noqa: E501 - one thought


def test_a_counter_beyond_its_range_is_refused() -> None:
    """The sum of a device is an integer like any other."""
    state = new({"n": Counter(2**63 - 1)})

    with pytest.raises(BadValueError):
        crdt.edit(state, ACTOR, {"n": Increment(1)}, entry_seq=2, replace=False)
    assert state.value == {"n": Counter(2**63 - 1)}


def test_a_value_of_another_type_is_another_value() -> None:
    """1, 1.0 and true are equal in Python and different in every other language of a mesh."""
    state = new({"a": 1})
    for value in (1.0, True, "1", b"1", [1], {"x": 1}, Text("1"), Vector([1.0]), None, 1):
        state = written(state, {"a": value}).state

        assert state.value is not None and type(state.value["a"]) is type(value)


def test_only_what_differs_is_written() -> None:
    """A whole record rewritten for one field would conflict with everybody's every edit."""
    made = written(new(MESSAGE), MESSAGE | {"topic": "sea"}, replace=True)
    change = decode_tail(made.tail, ACTOR)

    assert change.root_keys == ("topic",) and made.fields is None
    assert change.max_op - change.start_op == 0


def test_fields_touched_below_the_root_are_named() -> None:
    """Conflicts are found by root field, and nested operations do not name theirs."""
    made = written(new({"m": {"x": 1}, "a": 1, "b": 1}), {"m": {"x": 2}, "a": 2}, replace=True)

    assert made.fields == ("a", "b", "m")


def test_equal_fields_can_be_written_again_to_settle_a_conflict() -> None:
    """Choosing the value that happens to win must still end the conflict."""
    base = crdt.create(ACTOR, {"a": 1}, entry_seq=1)
    theirs = written(base.state, {"a": 2}, actor=OTHER, entry_seq=1)
    ours = written(crdt.apply(None, ACTOR, base.tail, 1), {"a": 3})
    both = crdt.apply(ours.state, OTHER, theirs.tail, 1)
    assert both.value is not None
    settled = written(both, {"a": both.value["a"]}, rewrite=("a",))

    assert settled.state.value == both.value and len(settled.state.heads) == 1
    operations = decode_tail(settled.tail, ACTOR).operations
    assert operations is not None and len(operations.predecessors[0]) == 2


# --- deletion --------------------------------------------------------------------------------


def test_a_deleted_record_has_no_value_and_is_deleted_once() -> None:
    """Deleting twice must not cost an entry."""
    gone = crdt.delete(new(MESSAGE), ACTOR, entry_seq=2)

    assert gone is not None and gone.fields is None
    assert gone.state.value is None and gone.state.deleted
    assert crdt.delete(gone.state, ACTOR, entry_seq=3) is None


def test_a_write_after_a_deletion_begins_anew() -> None:
    """What was deleted must not come back with the next write."""
    gone = crdt.delete(new(MESSAGE), ACTOR, entry_seq=2)
    assert gone is not None
    again = written(gone.state, {"topic": "sea"}, entry_seq=3)

    assert again.state.value == {"topic": "sea"} and not again.state.deleted
    assert again.fields is None


def test_a_concurrent_write_outlives_a_deletion_until_both_are_known() -> None:
    """Nobody's words vanish because somebody else tidied up at the same time."""
    base = crdt.create(ACTOR, {"a": 1, "b": 1}, entry_seq=1)
    gone = crdt.delete(base.state, ACTOR, entry_seq=2)
    assert gone is not None
    kept = written(crdt.apply(None, ACTOR, base.tail, 1), {"a": 2}, actor=OTHER, entry_seq=1)
    both = crdt.apply(gone.state, OTHER, kept.tail, 1)
    assert both.value == {"a": 2, "b": 1} and not both.deleted

    gone_again = crdt.delete(both, ACTOR, entry_seq=3)
    assert gone_again is not None and gone_again.state.value is None
    assert written(gone_again.state, {"c": 1}, entry_seq=4).state.value == {"c": 1}


def test_two_concurrent_deletions_are_a_deletion() -> None:
    """Both meant the same."""
    base = crdt.create(ACTOR, {"a": 1}, entry_seq=1)
    ours = crdt.delete(base.state, ACTOR, entry_seq=2)
    theirs = crdt.delete(crdt.apply(None, ACTOR, base.tail, 1), OTHER, entry_seq=1)
    assert ours is not None and theirs is not None
    both = crdt.apply(ours.state, OTHER, theirs.tail, 1)

    assert both.deleted and both.value is None and len(both.heads) == 2


def test_a_record_created_twice_at_once_is_one_record() -> None:
    """Two devices meet a contact on the same day; its id is its phone number."""
    ours, theirs = crdt.create(ACTOR, {"a": 1}, entry_seq=1), crdt.create(OTHER, {"b": 2}, entry_seq=1)  # fmt: skip  # noqa: E501 - a pair

    here = crdt.apply(ours.state, OTHER, theirs.tail, 1)
    there = crdt.apply(theirs.state, ACTOR, ours.tail, 1)

    assert here.value == there.value == {"a": 1, "b": 2}
    assert past_of(here) == ((OTHER, 1), (ACTOR, 1))


def test_an_empty_record_exists() -> None:
    """It has a change, a state and a value like any other."""
    made = crdt.create(ACTOR, {}, entry_seq=1)

    assert made.state.value == {} and not made.state.deleted
    assert written(made.state, {"a": 1}).state.value == {"a": 1}


# --- applying --------------------------------------------------------------------------------


def test_a_change_that_is_already_in_changes_nothing() -> None:
    """After a crash entries are applied again."""
    base = crdt.create(ACTOR, {"a": [1]}, entry_seq=1)
    made = written(base.state, {"a": [1, 2]})
    again = crdt.apply(made.state, ACTOR, base.tail, 1)

    assert again is made.state
    assert crdt.apply(again, ACTOR, made.tail, 2) is again
    assert past_of(crdt.apply(again, ACTOR, made.tail, 5)) == ((ACTOR, 5),)


def test_another_change_with_a_number_that_is_taken_is_refused() -> None:
    """A restored backup that goes on under its old name would fork the record for good."""
    base = new({"a": 1})
    ours, twin = written(base, {"a": 2}), written(new({"a": 1}), {"a": 3})

    with pytest.raises(GateError) as caught:
        crdt.apply(ours.state, ACTOR, twin.tail, 2)
    assert caught.value.refusal is GateRefusal.SEQUENCE
    assert written(ours.state, {"a": 4}).state.value == {"a": 4}


def test_a_change_before_its_dependency_is_refused_and_may_come_again() -> None:
    """The node waits for what is missing; the record must not have been touched."""
    base = crdt.create(ACTOR, {"a": [1]}, entry_seq=1)
    second = written(base.state, {"a": [2]})
    third = written(second.state, {"a": [3]}, entry_seq=3)
    state = crdt.apply(None, ACTOR, base.tail, 1)
    with pytest.raises(GateError) as caught:
        crdt.apply(state, ACTOR, third.tail, 3)
    with pytest.raises(GateError):
        crdt.apply(None, ACTOR, second.tail, 2)

    assert caught.value.refusal is GateRefusal.UNKNOWN_DEPENDENCY
    state = crdt.apply(crdt.apply(state, ACTOR, second.tail, 2), ACTOR, third.tail, 3)
    assert state.value == {"a": [3]}


def test_an_old_state_stays_good() -> None:
    """A transaction that is not committed leaves the state before it in use."""
    base = new({"a": [1], "t": Text("x")})
    one = written(base, {"a": [1, 2]})
    two = written(base, {"t": Text("xy")})
    three = written(one.state, {"b": 1}, entry_seq=3)

    assert base.value == {"a": [1], "t": Text("x")}
    assert one.state.value == {"a": [1, 2], "t": Text("x")}
    assert two.state.value == {"a": [1], "t": Text("xy")}
    assert three.state.value == {"a": [1, 2], "b": 1, "t": Text("x")}


def test_the_past_of_a_change_is_the_version_vector_before_it() -> None:
    """Conflicts are found by it, never by clocks."""
    made = crdt.create(ACTOR, {"a": 1}, entry_seq=7)
    theirs = written(made.state, {"a": 2}, actor=OTHER, entry_seq=3)

    assert past_of(None) == ()
    assert past_of(made.state) == ((ACTOR, 7),)
    assert past_of(theirs.state) == ((OTHER, 3), (ACTOR, 7))


# --- limits ----------------------------------------------------------------------------------


def test_a_write_of_too_many_operations_is_refused_whole() -> None:
    """Every other device would refuse it."""
    many = list(range(10_000))

    with pytest.raises(BadValueError):
        crdt.create(ACTOR, {"l": many}, entry_seq=1)
    with pytest.raises(BadValueError):
        crdt.edit(new({"a": 1}), ACTOR, {"t": Text("x" * 10_000)}, entry_seq=2, replace=False)
    state = new({"l": many[:-1]})
    assert state.value is not None and len(state.value["l"]) == 9_999


def test_the_largest_record_fits_a_change() -> None:
    """The limit on records must be below the one on changes, whatever the record is made of."""
    made = crdt.create(ACTOR, {"a": bytes(460_000), "b": "é" * 230_000}, entry_seq=1)

    assert crdt.apply(None, ACTOR, made.tail, 1).value == made.state.value


# --- storing ---------------------------------------------------------------------------------


def test_a_record_of_one_change_is_stored_as_a_pointer() -> None:
    """Most records never change; their entry is all there is to keep."""
    made = crdt.create(ACTOR, MESSAGE, entry_seq=4)
    doc, meta = crdt.encode_state(made.state)
    change = decode_tail(made.tail, ACTOR)
    state = crdt.decode_state(doc, meta, lambda: change)

    assert doc is None
    assert state.value == MESSAGE and state.past == {ACTOR: 4} and state.heads == made.state.heads


def test_a_state_comes_back_from_the_store_unread() -> None:
    """Applying a change to a record must not cost reading what it was before."""
    made = written(new({"a": [1]}), {"a": [2]})
    doc, meta = crdt.encode_state(made.state)
    state = crdt.decode_state(doc, meta, lambda: pytest.fail("not asked for"))

    assert state.live is None and doc is not None
    assert state.value == {"a": [2]}
    assert (state.heads, state.actors, state.past) == (
        made.state.heads,
        made.state.actors,
        made.state.past,
    )


def test_many_changes_are_compacted_and_nothing_is_lost() -> None:
    """A text edited for a year must not be a thousand chunks."""
    replica = Replica(ACTOR)
    text = ""
    sizes = []
    for index in range(70):
        text += f"line {index}\n"
        replica.write({"t": Text(text)}, replace=True)
        assert replica.state is not None
        doc, meta = crdt.encode_state(replica.state)
        if doc is not None:
            replica.state = crdt.decode_state(doc, meta, lambda: pytest.fail("not asked for"))
            sizes.append(len(split_chunks(doc)))
    assert replica.state is not None

    assert max(sizes) < 32 and replica.state.value == {"t": Text(text)}
    whole = None
    for index, change in enumerate(replica.own):
        whole = crdt.apply(whole, ACTOR, change, index + 1)
    assert whole is not None and whole.heads == replica.state.heads
    assert crdt.compacted(whole).value == replica.state.value


@pytest.mark.parametrize("spoil", [b"x", b"\x85\x6f\x4a\x83", b"\x85\x6f\x4a\x83\0\0\0\0\1\xff\1"])
def test_a_damaged_document_is_told_from_a_bad_change(spoil: bytes) -> None:
    """The store is to be repaired then, not the peer refused."""
    with pytest.raises(DecodeError):
        split_chunks(spoil)
    with pytest.raises(DecodeError):
        crdt.decode_state(b"", b"\x92\xc0\xc0", lambda: pytest.fail("not asked for"))


# --- time ------------------------------------------------------------------------------------


@pytest.fixture
def new_york() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "America/New_York"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.parametrize("milliseconds", [0, 1, 123, 999])
@pytest.mark.parametrize("year", [2, 1883, 1970, 2024, 9998])
@pytest.mark.usefixtures("new_york")
def test_times_survive_a_local_zone_and_its_repeated_hour(year: int, milliseconds: int) -> None:
    """The library gives times out in local time, where one hour a year happens twice."""
    start = datetime(year, 11, 3, 4, 30, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    times = [start + timedelta(minutes=30 * step) for step in range(6)]
    # The list keeps the record from being flat, so the library has to read it.
    state = written(new({"l": []}), {"l": times}).state

    assert state.value == {"l": times}
