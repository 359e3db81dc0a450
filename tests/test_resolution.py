"""Conflicts of one record: found by causality, decided by rule, the same in every order."""

from math import isfinite
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.sync import crdt
from covey.sync.chunk import decode_tail
from covey.sync.record_state import RecordState
from covey.sync.registers import Registers, by_id
from covey.sync.resolution import Conflict, Resolution, Resolver, resolve
from covey.sync.rules import MANUAL, RULE_NAMES, Candidate, settle
from covey.sync.values import Counter, Increment, Text, Vector

A, B, C = (letter * 16 for letter in (b"a", b"b", b"c"))
Seeds = st.integers(0, 2**32 - 1)


def device_of(actor: bytes) -> bytes:
    return actor * 2


class Replica:
    """One device with one record; changes travel as tails."""

    def __init__(self, actor: bytes) -> None:
        self.actor = actor
        self.state: RecordState | None = None
        self.seq = 0
        self.seen: set[int] = set()


class Mesh:
    """Three devices, and all changes that were ever made, in order."""

    def __init__(self, value: dict[str, Any] | None = None) -> None:
        self.replicas = {actor: Replica(actor) for actor in (A, B, C)}
        self.log: list[tuple[bytes, bytes, int, int]] = []
        self.now = 0
        self.write(A, value or {"x": 0})
        self.meet()

    def write(
        self, actor: bytes, value: dict[str, Any] | None, at: int | None = None, **how: Any
    ) -> None:
        """Edit, or delete if there is no value; at a time of the writer's clock."""
        replica = self.replicas[actor]
        replica.seq += 1
        self.now += 1
        hlc = self.now if at is None else at
        stamp = {"entry_seq": replica.seq, "hlc": hlc}
        if replica.state is None:
            assert value is not None
            change: Any = crdt.create(actor, value, **stamp)
        elif value is None:
            change = crdt.delete(replica.state, actor, **stamp)
        else:
            change = crdt.edit(replica.state, actor, value, **{"replace": False, **how, **stamp})
        if change is not None:
            replica.state = change.state
            replica.seen.add(len(self.log))
            self.log.append((actor, change.tail, replica.seq, hlc))

    def meet(self, *actors: bytes) -> None:
        """Bring everything that any of these has seen to all of them."""
        group = [self.replicas[actor] for actor in actors or (A, B, C)]
        known = set().union(*(replica.seen for replica in group))
        for replica in group:
            for at in sorted(known - replica.seen):
                actor, tail, seq, hlc = self.log[at]
                replica.state = crdt.apply(replica.state, actor, tail, seq, hlc)
                replica.seen.add(at)

    def stamp(self, actor: bytes, seq: int) -> tuple[int, bytes]:
        times = [hlc for writer, _, _, hlc in self.log if writer == actor]
        return times[seq - 1], device_of(actor)

    def resolver(self, **rules: str) -> Resolver:
        named = {name.replace("__", "$"): rule for name, rule in rules.items()}
        return Resolver(b"r", self.stamp, lambda field: named.get(field, "last-writer-wins"))

    def resolution(self, actor: bytes = A, **rules: str) -> Resolution:
        state = self.replicas[actor].state
        assert state is not None
        return resolve(state, self.resolver(**rules))

    def all_agree(self, **rules: str) -> Resolution:
        found = [self.resolution(actor, **rules) for actor in (A, B, C)]
        assert found[0] == found[1] == found[2]
        assert len({conflict.id for conflict in found[0].conflicts}) == len(found[0].conflicts)
        states = [replica.state for replica in self.replicas.values()]
        # Whoever looks only at contested records misses no conflict.
        assert all(state.contested for state in states if state) or not found[0].conflicts
        return found[0]


def apart(one: Any, other: Any, before: Any = 0) -> Mesh:
    """Two devices write the field x without having seen the other's; then all meet."""
    mesh = Mesh({"x": before})
    mesh.write(A, {"x": one})
    mesh.write(B, {"x": other})
    mesh.meet()
    return mesh


def only(resolution: Resolution) -> Conflict:
    (conflict,) = resolution.conflicts
    return conflict


# Detection ---------------------------------------------------------------------------------------


def test_different_fields_are_no_conflict() -> None:
    """The commonest case, and the one that other tools call a conflict."""
    mesh = Mesh({"x": 0, "y": 0})
    mesh.write(A, {"x": 1})
    mesh.write(B, {"y": 2})
    mesh.meet()

    assert mesh.all_agree() == Resolution({"x": 1, "y": 2}, ())


def test_a_write_that_saw_the_other_is_no_conflict() -> None:
    """Whatever the clocks say."""
    mesh = Mesh()
    mesh.write(A, {"x": 1}, at=10**6)
    mesh.meet()
    mesh.write(B, {"x": 2}, at=1)
    mesh.meet()

    assert mesh.all_agree() == Resolution({"x": 2}, ())


def test_the_same_value_written_twice_is_no_conflict() -> None:
    """Two people who agree need not be asked."""
    assert apart(1, 1).all_agree() == Resolution({"x": 1}, ())


@pytest.mark.parametrize(
    ("before", "one", "other", "merged"),
    [
        ({"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 2}),
        ([1], [1, 2], [0, 1], [0, 1, 2]),
        (Text("ac"), Text("abc"), Text("acd"), Text("abcd")),
        (Counter(1), Increment(2), Increment(3), Counter(6)),
        (0, Increment(2), Increment(3), Counter(5)),
    ],
)
def test_what_merges_without_loss_merges(before: Any, one: Any, other: Any, merged: Any) -> None:
    """Nested fields, lists, texts, counters, also those that were begun apart."""
    mesh = apart(one, other, before)

    assert mesh.all_agree() == Resolution({"x": merged}, ())


def test_a_contested_field_within_a_field_is_named_by_its_path() -> None:
    """So a person sees which part of the settings it is."""
    conflict = only(
        apart({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}, {"a": 1, "b": {"c": 1}}).all_agree()
    )

    assert conflict.field == "x.b.c" and conflict.value == 3
    assert only(apart([1, 5, 3], [1, 6, 3], [1, 2, 3]).all_agree()).field == "x[]"
    assert only(apart(Vector([1.0]), Vector([2.0]), Vector([3.0])).all_agree()).field == "x"


def test_one_place_in_two_objects_put_there_apart_is_decided_in_each_by_itself() -> None:
    """Both maps have a contest at one path: what counts in the one says nothing of the other."""
    mesh = Mesh({"x": 0})
    third, fourth = b"c" * 16, b"d" * 16
    mesh.replicas[fourth] = Replica(fourth)
    mesh.meet(A, fourth)
    mesh.write(A, {"x": {"n": 0}}, at=1000)
    mesh.write(B, {"x": {"n": 0, "more": True}}, at=10)
    for pair, values in (((A, third), (5, 6)), ((B, fourth), (70, 80))):
        mesh.meet(*pair)
        for actor, value in zip(pair, values, strict=True):
            mesh.write(actor, {"x": {"n": value}})
    mesh.meet(*mesh.replicas)
    outer, inner = mesh.all_agree(x="max").conflicts

    assert (outer.field, outer.state, outer.value) == ("x", "open", {"n": 6})
    assert (inner.field, inner.state, inner.value) == ("x.n", "settled", 6)
    assert [known.value for known in inner.candidates] == [5, 6]


def test_three_devices_are_one_conflict_with_three_candidates() -> None:
    """And whoever saw two of the three resolved those two only."""
    mesh = Mesh()
    for actor, value in ((A, 1), (B, 2), (C, 3)):
        mesh.write(actor, {"x": value})
    mesh.meet(A, B)
    mesh.write(A, {"x": 12})
    mesh.meet()
    conflicts = mesh.all_agree().conflicts
    standing = [c for c in conflicts if c.state != "resolved"]
    ended = [c for c in conflicts if c.state == "resolved"]

    assert [[k.value for k in c.candidates] for c in standing] == [[3, 12]]
    assert [[k.value for k in c.candidates] for c in ended] == [[1, 2]]
    assert (ended[0].resolved_by, ended[0].resolved_hlc) == (device_of(A), mesh.now)


# Deciding ----------------------------------------------------------------------------------------


def test_last_writer_wins_by_time_and_not_by_what_the_library_takes() -> None:
    """Candidates are told with device and time, in order of time."""
    mesh = Mesh()
    mesh.write(A, {"x": "late"}, at=50)
    mesh.write(B, {"x": "early"}, at=7)
    mesh.meet()
    resolution = mesh.all_agree()
    conflict = only(resolution)

    assert resolution.value == {"x": "late"} and conflict.state == "settled"
    assert [(k.value, k.device, k.hlc) for k in conflict.candidates] == [
        ("early", device_of(B), 7),
        ("late", device_of(A), 50),
    ]


def test_a_manual_field_is_open_and_shows_the_last_write_meanwhile() -> None:
    """Reading is never blocked by a conflict."""
    resolution = apart("one", "two").all_agree(x=MANUAL)

    assert resolution.value == {"x": "two"} and only(resolution).state == "open"


def test_a_rule_that_this_version_does_not_know_is_manual() -> None:
    """The stricter one wins where devices of different versions disagree."""
    assert only(apart(1, 2).all_agree(x="quantum-mean")).state == "open"


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        ("max", (1, 3, 2.5), 3),
        ("min", ("b", "a"), "a"),
        ("sum", (1, 2, 3), 6),
        ("sum", (0.1, 0.2, 0.3), 0.6),
        ("weighted-average", (1, 2, 6), 3.0),
        (
            "weighted-average",
            ({"value": 1, "weight": 3}, {"value": 5, "weight": 1}),
            {"value": 2.0, "weight": 4},
        ),
        (
            "confidence-blend",
            ({"value": 1.0, "confidence": 0.75}, {"value": 0.0, "confidence": 0.25}),
            {"value": 0.75, "confidence": 0.625},
        ),
        (
            "confidence-blend",
            (
                {"value": "sad", "confidence": 0.3},
                {"value": "calm", "confidence": 0.25},
                {"value": "calm", "confidence": 0.25},
            ),
            {"value": "calm", "confidence": 0.625},
        ),
        ("union", (["a", "b"], ["b", "c"]), ["a", "b", "c"]),
        (
            "chronological",
            ([{"t": "x", "at": 3}], [{"t": "y", "at": 1}, {"t": "z", "at": 9}]),
            [{"t": "y", "at": 1}, {"t": "x", "at": 3}, {"t": "z", "at": 9}],
        ),
        ("chronological", ([2], [1, 2]), [2, 1]),
        ("text", ("a\nb", "a\nc"), "a\nb\nc"),
        ("text", (Text("a"), Text("b")), Text("a\nb")),
        ("origin-wins", ("home", "away", "far"), "home"),
        ("last-writer-wins", (1, "two"), "two"),
    ],
)
def test_rules(rule: str, values: tuple[Any, ...], expected: Any) -> None:
    """Each on candidates that are what it is for."""
    devices = (A, B, C)
    candidates = [
        Candidate(at, device_of(devices[at]), (1, devices[at]), value)
        for at, value in enumerate(values)
    ]
    outcome = settle(rule, candidates, device_of(A))

    assert outcome.value == pytest.approx(expected) if isinstance(expected, float) else True
    if not isinstance(expected, float):
        assert outcome.value == expected and type(outcome.value) is type(expected)
    assert not outcome.is_open


@pytest.mark.parametrize(
    "rule",
    [rule for rule in RULE_NAMES if rule not in ("last-writer-wins", "origin-wins", "vector")],
)
def test_a_rule_that_does_not_fit_leaves_it_to_a_person(rule: str) -> None:
    """A mean of a word and a list is nothing that anybody wants to read."""
    candidates = [Candidate(1, A, (1, A), "word"), Candidate(2, B, (1, B), [1, {"a": None}])]
    outcome = settle(rule, candidates, A)

    assert outcome.is_open and outcome.value == [1, {"a": None}]


@pytest.mark.parametrize("numbers", [(10**400, 1), (1e308, 1e308), (2**63 - 1, 2**63 - 1)])
def test_numbers_that_leave_their_range_are_left_to_a_person(numbers: tuple[Any, Any]) -> None:
    """Nothing may crash on what two devices wrote."""
    candidates = [Candidate(i, A, (i, A), n) for i, n in enumerate(numbers)]

    for rule in ("sum", "weighted-average"):
        outcome = settle(rule, candidates, A)
        assert outcome.is_open or isfinite(outcome.value)


def test_vectors_of_different_content_ask_for_a_new_embedding() -> None:
    """Two embeddings of two texts cannot be blended."""
    conflict = only(apart(Vector([1.0]), Vector([2.0]), Vector([3.0])).all_agree(x="vector"))

    assert conflict.reembed and conflict.value == Vector([2.0])


values = st.one_of(
    st.integers(-9, 9),
    st.floats(-1e3, 1e3),
    st.sampled_from(("a", "b\nc", "")),
    st.lists(st.integers(0, 3), max_size=3),
    st.fixed_dictionaries(
        {"value": st.integers(0, 5), "weight": st.integers(0, 3), "confidence": st.floats(0, 1)}
    ),
    st.builds(Text, st.sampled_from(("a", "b"))),
)


@given(
    st.sampled_from(RULE_NAMES),
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from((A, B, C)), values), min_size=2, max_size=5
    ),
    st.randoms(use_true_random=False),
)
def test_no_rule_depends_on_the_order_of_its_candidates(
    rule: str, parts: list[tuple[int, bytes, Any]], rng: Random
) -> None:
    """Two devices hear of them in two orders."""
    candidates = [Candidate(t, d, (i, d), v) for i, (t, d, v) in enumerate(parts)]
    shuffled = candidates[:]
    rng.shuffle(shuffled)

    assert settle(rule, candidates, A) == settle(rule, shuffled, A)


# Delete against edit -----------------------------------------------------------------------------


def deleted_and_edited() -> Mesh:
    mesh = Mesh({"x": 0, "y": 1})
    mesh.write(A, None)
    mesh.write(B, {"x": 2})
    mesh.meet()
    return mesh


def test_an_edit_survives_a_deletion_that_did_not_know_of_it_and_is_in_the_inbox() -> None:
    """To lose what somebody has just written is worse than to see it once more."""
    resolution = deleted_and_edited().all_agree()
    conflict = only(resolution)

    assert resolution.value == {"x": 2, "y": 1}
    assert (conflict.field, conflict.rule, conflict.state) == ("", "edit-wins", "settled")
    assert [(k.deletes, k.device) for k in conflict.candidates] == [
        (True, device_of(A)),
        (False, device_of(B)),
    ]


def test_a_deletion_wins_where_the_rule_says_so_and_waits_where_it_is_manual() -> None:
    """The rule has a name of its own, because it is about the record and no field."""
    mesh = deleted_and_edited()

    assert mesh.all_agree(__deleted="delete-wins").value is None
    manual = mesh.all_agree(__deleted=MANUAL)
    assert manual.value == {"x": 2, "y": 1} and only(manual).state == "open"


def test_a_write_after_both_ends_it() -> None:
    """Whoever wrote it had seen the deletion and the edit."""
    mesh = deleted_and_edited()
    mesh.write(C, {"x": 3})
    mesh.meet()

    assert mesh.all_agree().value == {"x": 3, "y": 1}
    assert all(c.state == "resolved" for c in mesh.all_agree().conflicts)


# Resolving ---------------------------------------------------------------------------------------


def test_a_resolution_clears_the_conflict_on_all_devices_and_is_remembered() -> None:
    """Also if it writes the value that is shown already."""
    mesh = apart("one", "two")
    before = only(mesh.all_agree(x=MANUAL))
    mesh.write(C, {"x": "two"}, rewrite=("x",))
    mesh.meet()
    after = only(mesh.all_agree(x=MANUAL))

    assert (before.state, after.state, after.id) == ("open", "resolved", before.id)
    assert (after.resolved_by, mesh.all_agree().value) == (device_of(C), {"x": "two"})


def test_two_different_resolutions_at_once_are_a_conflict_again() -> None:
    """Another one: it has another id."""
    mesh = apart("one", "two")
    first = only(mesh.all_agree())
    mesh.write(A, {"x": "one"}, rewrite=("x",))
    mesh.write(B, {"x": "two"}, rewrite=("x",))
    mesh.meet()
    conflicts = mesh.all_agree(x=MANUAL).conflicts
    standing = [c for c in conflicts if c.state == "open"]

    assert [[k.value for k in c.candidates] for c in standing] == [["one", "two"]]
    assert standing[0].id != first.id
    assert {c.id for c in conflicts if c.state == "resolved"} == {first.id}


# Any history -------------------------------------------------------------------------------------


def random_value(rng: Random, depth: int = 0) -> Any:
    what = rng.random()
    if what < 0.4 or depth > 2:
        return rng.choice([1, 2, "x", "y", None, True, 1.5, b"z", Vector([1.0]), Vector([2.0])])
    if what < 0.6:
        names = rng.sample("pqrs", rng.randint(0, 3))
        return {name: random_value(rng, depth + 1) for name in names}
    if what < 0.8:
        return [random_value(rng, depth + 1) for _ in range(rng.randint(0, 4))]
    if what < 0.9:
        return Text("".join(rng.choice("abcd") for _ in range(rng.randint(0, 6))))
    return Increment(rng.randint(1, 5))


def random_life(seed: int, *, counters: bool = True) -> Mesh:
    """Edits, deletions and meetings of two or three at random."""
    rng = Random(seed)
    mesh = Mesh({name: random_value(rng) for name in "fgh"})
    for _ in range(rng.randint(1, 10)):
        fields = rng.sample("fghi", rng.randint(1, 2))
        value = {name: random_value(rng) for name in fields}
        if not counters and "Increment" in repr(value):
            continue
        mesh.write(rng.choice((A, B, C)), None if rng.random() < 0.1 else value, rng.randint(0, 9))
        if rng.random() < 0.4:
            mesh.meet(*rng.sample((A, B, C), 2))
    return mesh


def shuffled_again(mesh: Mesh, rng: Random) -> RecordState:
    """The record of somebody who got all changes in another order that respects causality."""
    left = list(mesh.log)
    taken: set[tuple[bytes, bytes]] = set()
    state: RecordState | None = None
    while left:
        rng.shuffle(left)
        for item in left:
            actor, tail, seq, hlc = item
            deps = decode_tail(tail, actor).deps
            known = {decode_tail(t, a).hash for a, t, _, _ in mesh.log if (a, t) in taken}
            if set(deps) <= known and (state is None) == (not deps):
                state = crdt.apply(state, actor, tail, seq, hlc)
                left.remove(item)
                taken.add((actor, tail))
                break
    assert state is not None
    return state


@given(Seeds)
@settings(max_examples=150, deadline=None)
def test_registers_read_what_the_library_reads(seed: int) -> None:
    """Chosen by the greatest id, the value is that of the CRDT, whatever was written."""
    rng = Random(seed)
    mesh = random_life(seed, counters=False)
    mesh.meet()
    state = mesh.replicas[A].state
    assert state is not None
    changes = [decode_tail(tail, actor) for actor, tail, _, _ in mesh.log]
    rng.shuffle(changes)
    plain, _ = Registers(changes).read(by_id)
    if "'$counter'" not in repr(plain):
        assert (None if state.deleted else crdt.shown(plain, plain)) == state.value


@given(Seeds, st.sampled_from(RULE_NAMES), st.sampled_from(("edit-wins", "delete-wins", MANUAL)))
@settings(max_examples=150, deadline=None)
def test_value_inbox_and_history_do_not_depend_on_the_order_of_arrival(
    seed: int, rule: str, deletions: str
) -> None:
    """For any history, on devices that met in any order."""
    rng = Random(seed)
    mesh = random_life(seed)
    mesh.meet()
    rules = {name: rule for name in "fghi"} | {"__deleted": deletions}
    expected = mesh.all_agree(**rules)
    other = shuffled_again(mesh, rng)
    doc, meta = crdt.encode_state(crdt.compacted(other))
    stored = crdt.decode_state(doc, meta, lambda: decode_tail(mesh.log[0][1], A), mesh.log[0][3])

    assert resolve(other, mesh.resolver(**rules)) == expected
    assert resolve(stored, mesh.resolver(**rules)) == expected
    assert stored.stamps == other.stamps


@given(Seeds)
@settings(max_examples=100, deadline=None)
def test_writing_every_contested_field_ends_every_conflict(seed: int) -> None:
    """What a person settles stays settled, and nothing else comes up by it."""
    mesh = random_life(seed)
    mesh.meet()
    resolution = mesh.all_agree()
    if resolution.value is None:
        return
    roots = sorted({c.field.partition(".")[0].partition("[")[0] for c in resolution.conflicts})
    chosen = {name: "chosen" for name in roots if name}
    mesh.write(B, chosen or {"f": "chosen"}, rewrite=tuple(chosen))
    mesh.meet()
    after = mesh.all_agree()

    assert all(c.state == "resolved" for c in after.conflicts)
    assert {c.id for c in resolution.conflicts if c.field} <= {c.id for c in after.conflicts} | {
        c.id for c in resolution.conflicts if "." in c.field or "[" in c.field
    }


def test_states_of_an_older_store_are_read_without_times() -> None:
    """A store from before there were conflicts opens, and says what it can."""
    from covey.sync.packing import pack
    from covey.sync.record_state import decode_meta

    old = pack([[[b"h" * 32, 3, False]], [[A, 1]], [[A, 7]]])
    found = decode_meta(old)

    assert (found.past, found.stamps, found.contested) == ({A: 7}, {}, False)
